"""What a schedule leads to is what a clock that ticks every second sees."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.recovery.advice import (
    PERIODS,
    Forecast,
    MeasuredArrival,
    Objectives,
    Processing,
    cheapest,
    duration_text,
    forecast,
    forecasts,
    play,
)
from proa.recovery.advice_plot import as_svg, as_text
from proa.region.jobs.quartz import CronExpression

RATE = 10


@dataclass
class Second:
    """A standby, second by second; written without a thought for speed."""

    arrivals: list[MeasuredArrival]
    processing: Processing
    period: int | None
    phase: int
    lag: float = 0.0
    missing: float = 0.0
    recovery: float = 0.0

    def play(self) -> Second:
        waiting: list[MeasuredArrival] = []
        under_way: list[MeasuredArrival] = []
        done: list[MeasuredArrival] = []
        ends: float | None = None
        second = int(self.arrivals[0].at)
        while len(done) < len(self.arrivals):
            seen = [one for one in self.arrivals if one.at < second]
            if missing := [one for one in seen if one not in done]:
                self.missing = max(self.missing, second - missing[0].at)
                self.lag = max(self.lag, second - (done[-1].at if done else seen[0].at))
            if ends == second:
                done, under_way, ends = done + under_way, [], None
            landed = [one for one in self.arrivals if one.at == second]
            if self.period is None:
                waiting, landed = waiting + landed, []
            due = waiting if self.period is None else (second - self.phase) % self.period == 0
            if ends is None and due:
                under_way, waiting = waiting, []
                ends = second + self._seconds(under_way)
            waiting += landed
            left = 0.0 if ends is None else ends - second
            self.recovery = max(self.recovery, left + self._seconds(waiting))
            second += 1
        return self

    def _seconds(self, shipments: list[MeasuredArrival]) -> float:
        size = sum(one.size for one in shipments)
        start = 0 if self.period is None else self.processing.startup
        return start + self.processing.overhead + size / self.processing.rate


GAPS = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 30)), min_size=1, max_size=12)


def arrivals_of(gaps: list[tuple[int, int]]) -> list[MeasuredArrival]:
    """Shipments, by the seconds before each and the seconds that each takes."""
    at, arrivals = 1000, []
    for gap, seconds in gaps:
        at += gap
        arrivals.append(MeasuredArrival(at, seconds * RATE))
    return arrivals


@given(
    gaps=GAPS,
    startup=st.integers(0, 9),
    overhead=st.integers(1, 5),
    period=st.sampled_from([None, 1, 4, 7, 30, 100]),
    phase=st.integers(0, 99),
)
def test_the_runs_of_a_schedule_are_what_a_simulation_sees(gaps, startup, overhead, period, phase):
    arrivals, processing = arrivals_of(gaps), Processing(startup, overhead, RATE)
    seen = Second(arrivals, processing, period, phase).play()
    runs = play(arrivals, processing, period, phase)
    assert (runs.lag, runs.missing, runs.recovery) == (seen.lag, seen.missing, seen.recovery)


@settings(max_examples=25)
@given(gaps=GAPS.filter(lambda gaps: len(gaps) < 8), period=st.sampled_from([30, 60, 100]))
def test_no_phase_of_a_schedule_is_worse_than_its_forecast(gaps, period):
    arrivals = arrivals_of([(gap, seconds % 3) for gap, seconds in gaps])
    processing = Processing(2, 1, RATE)
    seen = [Second(arrivals, processing, period, phase).play() for phase in range(period)]
    said = forecast(arrivals, processing, period)
    assert said.missing == max(one.missing for one in seen)
    assert said.lag == max(one.lag for one in seen)
    assert said.recovery == max(one.recovery for one in seen)


HOURLY = [MeasuredArrival(3600 * hour, 36_000) for hour in range(100)]


def test_more_than_can_be_processed_is_never_advised():
    slow = Processing(0, 0, 5)
    choices = forecasts(HOURLY, slow)
    assert not any(choice.keeps_up for choice in choices)
    assert cheapest(choices, Objectives(None, None)) is None


def test_the_cheapest_schedule_that_meets_both_objectives_is_advised():
    choices = forecasts(HOURLY, Processing(60, 30, 1000, switch=10))
    best = cheapest(choices, Objectives(rpo=1800, rto=600))
    assert best is not None
    assert (best.name, best.cron) == ("every 15 min", "0 0/15 * * * ?")
    assert (best.missing, best.recovery) == (900 + 126, 126 + 90 + 10)
    assert cheapest(choices, Objectives(rpo=100, rto=None)).name == "continuous"
    refused = [choice.failures(Objectives(rpo=None, rto=20)) for choice in choices]
    assert all("rto is 20 s" in phrases[0] for phrases in refused)


def test_the_compute_of_a_day_is_the_bytes_and_the_starts():
    hourly = forecast(HOURLY, Processing(60, 30, 1000), 3600)
    arrived = 100 * 36 / (99 / 24)
    assert hourly.compute == pytest.approx(24 * 90 + arrived)
    assert forecast(HOURLY, Processing(60, 30, 1000), None).compute == 86_400


@pytest.mark.parametrize("period", PERIODS)
def test_every_schedule_is_a_quartz_expression_with_that_period(period):
    cron = Forecast(period, True, 0, 0, 0, 0).cron
    expression = CronExpression.parse(cron)
    first = expression.next_after(datetime(2026, 1, 1, tzinfo=UTC), "UTC")
    second = expression.next_after(first, "UTC")
    assert (second - first).total_seconds() == period


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.4, "0.4 s"), (60, "1 min"), (5400, "1 h 30 min"), (90_061, "1 d 1 h")],
)
def test_durations_are_told_in_their_two_largest_units(seconds, text):
    assert duration_text(seconds) == text


def test_the_plots_say_what_the_table_says():
    choices = forecasts(HOURLY, Processing(60, 30, 1000))
    objectives = Objectives(rpo=1800, rto=600)
    picture = as_svg(choices, objectives)
    assert picture.startswith("<svg")
    assert all(choice.name in picture for choice in choices)
    lines = as_text(choices, objectives).splitlines()
    assert len(lines) == len(choices) + 1
    assert lines[1].startswith("continuous")
