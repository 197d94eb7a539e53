"""A duration or a moment means the same wherever it is written; what is not one is refused everywhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from proa.autoloader import options
from proa.cli.failover import _seconds
from proa.errors import UserError
from proa.graph.table_options import TableOptions
from proa.http.api_errors import ApiError, moment_parameter
from proa.settings import Duration
from proa.times import as_moment, duration_setting, moment_option, parse_duration, parse_moment

UNITS = ["us", "ms", "milliseconds", "s", "sec", "seconds", "min", "minute", "h", "hours", "d", "days",
         "w", "weeks", "month", "year"]  # fmt: skip
TEXTS = st.lists(
    st.tuples(st.integers(0, 10_000), st.sampled_from(UNITS)).map(lambda p: f"{p[0]} {p[1]}"),
    min_size=1,
    max_size=2,
).map(" ".join) | st.text("0123456789 .smhdinute", max_size=8)


def file_age(text: str) -> float | None:
    written = {"cloudFiles.format": "json", "cloudFiles.maxFileAge": text}
    return options.parse(written, schema_given=True).max_age


READERS: dict[str, Callable[[str], float | None]] = {
    "Auto Loader option": file_age,
    "setting of proa.yml": TypeAdapter(Duration).validate_python,
    "table property": lambda text: duration_setting(text, "delta.logRetentionDuration"),
    "option of a command": lambda text: _seconds(text, "--patience"),
}


def read(reader: Callable[[str], float | None], text: str) -> float | None:
    """Seconds; None where the text is refused."""
    try:
        return reader(text)
    except (UserError, ValidationError):
        return None


@given(TEXTS)
def test_every_reader_of_durations_agrees(text: str) -> None:
    try:
        expected: float | None = parse_duration(text)
    except ValueError:
        expected = None
    assert {name: read(reader, text) for name, reader in READERS.items()} == dict.fromkeys(
        READERS, expected
    )


@pytest.mark.parametrize("text", ["500 ms", "1 min", "90 sec", "1.5 hours", "1 month", "2 weeks"])
def test_what_once_differed_is_a_duration_everywhere(text: str) -> None:
    assert {read(reader, text) for reader in READERS.values()} == {parse_duration(text)}


def as_of(text: str) -> datetime | None:
    table_options = TableOptions.of({"timestampAsOf": text}, "t", streaming=False)
    return table_options.as_of


MOMENT_READERS: dict[str, Callable[[str], Any]] = {
    "Auto Loader option": options.parse_time,
    "option of a table's read": as_of,
    "option of a command": lambda text: moment_option(text, "--as-of"),
    "parameter of a request": lambda text: moment_parameter(text, "as_of"),
    "column's value": as_moment,
}


@pytest.mark.parametrize(
    "text",
    ["2026-03-01", "2026-03-01 12:30:00", "2026-03-01T12:30:00Z", "2026-03-01T12:30:00.25+02:00"],
)
def test_every_reader_of_moments_agrees(text: str) -> None:
    assert {reader(text) for reader in MOMENT_READERS.values()} == {parse_moment(text)}


@pytest.mark.parametrize("reader", MOMENT_READERS.values(), ids=MOMENT_READERS)
@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "12:30:00"])
def test_what_is_not_a_moment_is_refused_by_every_reader(
    text: str, reader: Callable[[str], Any]
) -> None:
    with pytest.raises((UserError, ValueError, ApiError)):
        reader(text)
