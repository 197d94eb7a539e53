"""Moments and durations are read in one way everywhere."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.errors import SettingsError
from proa.times import duration_setting, millis, moment, parse_duration, rfc3339, utc_text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500 ms", 0.5),
        ("90 sec", 90),
        ("1 min", 60),
        ("5m", 300),
        ("1.5 hours", 5400),
        ("12 hours", 43200),
        ("90 days", 7776000),
        ("interval 1 week", 604800),
        ("INTERVAL 1 Day 12 Hours", 129600),
        ("1 month", 2592000),
        ("0 seconds", 0),
    ],
)
def test_a_duration_is_numbers_with_units(text, seconds):
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "days", "5 parsecs", "5 days ago", "-1 day", "interval"])
def test_what_is_no_duration_is_refused_with_the_name_of_the_setting(text):
    with pytest.raises(SettingsError, match=r"pause must be a duration .* not"):
        duration_setting(text, "pause")


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9000, 1, 1)))  # noqa: DTZ001
def test_a_moment_survives_milliseconds_and_text(value):
    written = value.replace(tzinfo=UTC, microsecond=value.microsecond // 1000 * 1000)
    assert moment(millis(written)) == written
    assert datetime.fromisoformat(rfc3339(millis(written))) == written


def test_a_date_has_no_zone():
    assert utc_text(date(2026, 1, 5)) == "2026-01-05"
