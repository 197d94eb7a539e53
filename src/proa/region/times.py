"""The three ways in which the API writes a moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def millis(moment: datetime) -> int:
    """Milliseconds since 1970."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def moment(value: int) -> datetime:
    """The moment `value` milliseconds after 1970, UTC."""
    return EPOCH + timedelta(milliseconds=value)


def rfc3339(value: int) -> str:
    """Milliseconds since 1970 as text: `2026-01-01T00:00:00.000Z`."""
    return moment(value).isoformat(timespec="milliseconds").replace("+00:00", "Z")
