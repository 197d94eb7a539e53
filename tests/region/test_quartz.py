"""Quartz expressions: held against what Quartz itself answered, and against their own meaning."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.errors import UserError
from proa.region.jobs.quartz import CronExpression, time_zone

CASES = json.loads((Path(__file__).parent / "quartz_cases.json").read_text())
INSTANTS = st.integers(946_684_800, 3_786_912_000).map(
    lambda seconds: datetime.fromtimestamp(seconds, UTC)
)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_thousand_schedules_fire_when_quartz_fires_them():
    wrong = []
    for expression, zone, after, fires in CASES["fires"]:
        expected = None if fires is None else moment(fires)
        actual = CronExpression.parse(expression).next_after(moment(after), zone)
        if expected != actual:
            wrong.append((expression, zone, after, fires, actual))
    assert wrong == []
    assert len(CASES["fires"]) > 1000


@pytest.mark.parametrize("expression", CASES["quartz_refuses"])
def test_what_quartz_refuses_is_refused(expression):
    with pytest.raises(UserError, match="invalid quartz cron expression") as raised:
        CronExpression.parse(expression)
    assert raised.value.condition == "INVALID_CRON_EXPRESSION"


@pytest.mark.parametrize("expression", CASES["quartz_ignores"])
def test_what_quartz_silently_ignores_is_refused(expression):
    with pytest.raises(UserError, match="invalid quartz cron expression"):
        CronExpression.parse(expression)


@pytest.mark.parametrize(
    ("long", "short"),
    [
        ("0 0 9 ? * MONDAY", "0 0 9 ? * MON"),
        ("0 0 9 ? * MON-FRIDAY", "0 0 9 ? * MON-FRI"),
        ("0 0 9 ? * TUESDAY,THURSDAY", "0 0 9 ? * TUE,THU"),
        ("0 0 9 1 JANUARY,JULY ?", "0 0 9 1 JAN,JUL ?"),
        ("0 0 9 1 MAY-JULY ?", "0 0 9 1 MAY-JUL ?"),
    ],
)
def test_long_names_mean_what_quartz_reads_in_them(long, short):
    after = moment("2026-01-01T00:00:00Z")
    times = [CronExpression.parse(text).next_after(after, "UTC") for text in (long, short)]
    assert times[0] == times[1]


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("0 0 25 * * ?", "hours '25': 25 is not between 0 and 23"),
        ("0 0 0 ? * FUN", "day-of-week 'FUN': 'FUN' is not one of its values"),
        ("0 0 12 ? * ?", "'\\?' can only be specified for Day-of-Month -OR- Day-of-Week"),
        ("0 0 12 * * *", "both a day-of-week \\('\\*'\\) AND a day-of-month \\('\\*'\\) parameter"),
        ("0 0 0 1 1 ? 2030-2025", "year '2030-2025': the first year must not be later"),
        ("* * *", "has 3 fields, not 6 or 7"),
    ],
)
def test_an_error_names_the_field_and_its_value(expression, says):
    with pytest.raises(UserError, match=says):
        CronExpression.parse(expression)


def test_a_time_that_the_clock_skips_does_not_fire_that_day():
    nightly = CronExpression.parse("0 30 2 * * ?")
    fires = nightly.next_after(moment("2026-03-08T05:00:00Z"), "America/New_York")
    assert fires == moment("2026-03-09T02:30:00-04:00")


def test_a_time_that_the_clock_shows_twice_fires_once_the_second_time():
    nightly = CronExpression.parse("0 30 1 * * ?")
    first = nightly.next_after(moment("2026-11-01T00:00:00-04:00"), "America/New_York")
    second = nightly.next_after(first, "America/New_York")
    assert first == moment("2026-11-01T01:30:00-05:00")
    assert second == moment("2026-11-02T01:30:00-05:00")


def test_a_schedule_whose_year_is_over_never_fires():
    once = CronExpression.parse("0 0 0 1 1 ? 2026")
    assert once.next_after(moment("2026-01-01T00:00:00Z"), "UTC") is None


@given(
    hour=st.integers(0, 23),
    minute=st.integers(0, 59),
    after=INSTANTS,
)
def test_a_daily_schedule_in_utc_fires_within_a_day_at_its_time(hour, minute, after):
    fires = CronExpression.parse(f"0 {minute} {hour} * * ?").next_after(after, "UTC")
    assert fires is not None
    assert after < fires <= after + timedelta(days=1)
    assert (fires.hour, fires.minute, fires.second) == (hour, minute, 0)


@given(
    text=st.text("0123456789*?/,-LW#MONJA ", max_size=20),
    after=INSTANTS,
)
def test_any_text_is_either_a_schedule_or_a_users_mistake(text, after):
    try:
        expression = CronExpression.parse(f"0 0 {text}")
    except UserError as error:
        assert "invalid quartz cron expression" in str(error)  # noqa: PT017 - either is right
    else:
        fires = expression.next_after(after, "Europe/Oslo")
        assert fires is None or fires > after


@pytest.mark.parametrize(
    ("name", "offset"),
    [
        ("UTC", 0),
        ("GMT+5:30", 5.5),
        ("GMT-3", -3),
        ("GMT+0545", 5.75),
        ("Asia/Kolkata", 5.5),
        ("PRT", -4),
    ],
)
def test_time_zones_go_by_javas_names(name, offset):
    assert datetime(2026, 1, 1, tzinfo=time_zone(name)).utcoffset() == timedelta(hours=offset)


@pytest.mark.parametrize("name", ["", "Mars/Base", "../etc/passwd", "America", "GMT+99", "utc\n"])
def test_an_unknown_time_zone_is_refused_not_taken_for_gmt(name):
    with pytest.raises(UserError, match="there is no time zone"):
        time_zone(name)
