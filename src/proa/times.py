"""Moments and durations as people and protocols write them. One grammar for every setting and option."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from proa.errors import SettingsError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_UNIT_SECONDS: dict[str, float] = {
    unit: seconds
    for seconds, units in (
        (1e-6, "us microsecond"),
        (1e-3, "ms millisecond"),
        (1, "s sec second"),
        (60, "m min minute"),
        (3600, "h hr hour"),
        (86400, "d day"),
        (7 * 86400, "w week"),
        (30 * 86400, "month"),
        (365 * 86400, "year"),
    )
    for unit in units.split()
}
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*")


def parse_duration(text: str) -> float:
    """Read a duration ("90 days", "500 ms", "1 hour 30 minutes", "interval 1 week"); returns seconds.

    A month has 30 days, a year 365, as for Spark's streaming options. Raises ValueError, with a
    phrase that says what is expected, if `text` is not a duration.
    """
    rest = text.lower().strip().removeprefix("interval ")
    seconds, position = 0.0, 0
    while match := _PART.match(rest, position):
        unit = match.group(2)
        length = _UNIT_SECONDS.get(unit) or _UNIT_SECONDS.get(unit.removesuffix("s"))
        if length is None:
            break
        seconds += float(match.group(1)) * length
        position = match.end()
    if not position or position < len(rest):
        raise ValueError("a duration such as '10 seconds' or '90 days'")
    return seconds


def duration_setting(text: str, setting: str) -> float:
    """Read the duration that `setting` has; returns seconds.

    Raises SettingsError, which names the setting, if `text` is not a duration.
    """
    try:
        return parse_duration(text)
    except ValueError as error:
        raise SettingsError(f"{setting} must be {error}, not {text!r}") from None


def parse_moment(text: str) -> datetime:
    """Read a moment in ISO 8601; without a zone it is UTC. Raises ValueError if it is not one."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def moment_option(text: str, option: str) -> datetime:
    """Read the moment that `option` has, as `parse_moment` does.

    Raises SettingsError, which names the option, if `text` is not a moment.
    """
    try:
        return parse_moment(text)
    except ValueError as error:
        raise SettingsError(
            f"{option} {text!r} is not a time; write it like 2023-02-28T13:00:00Z"
        ) from error


def utc_text(moment: date | time, timespec: str = "auto") -> str:
    """Write a moment in ISO 8601: in UTC, with `Z`, if it has a zone; a date or time of day as it is.

    `timespec` is that of `datetime.isoformat`.
    """
    if not isinstance(moment, datetime):
        return moment.isoformat()
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC)
    return moment.isoformat(timespec=timespec).replace("+00:00", "Z")


def millis(moment: datetime) -> int:
    """Milliseconds from 1970 to `moment`."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def moment(value: int) -> datetime:
    """The moment `value` milliseconds after 1970, UTC."""
    return EPOCH + timedelta(milliseconds=value)


def rfc3339(value: int) -> str:
    """Write `value` milliseconds after 1970 as text: `2026-01-01T00:00:00.000Z`."""
    return utc_text(moment(value), "milliseconds")


def as_moment(value: Any) -> datetime | None:
    """Read a column's value as a moment; without a zone it is UTC, a number counts seconds.

    Returns None for None. Raises ValueError if the value is not a time.
    """
    if value is None:
        return None
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    return parse_moment(str(value))
