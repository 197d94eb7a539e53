"""Which schedule of the standby meets the objectives: measured arrivals are played against each one.

A run takes what has landed when it begins; what lands meanwhile waits for the next one. So how far a
standby is behind, and how long it needs when the active region is lost, follow from the arrivals and from
how long a run takes. Nothing is averaged: the worst moment of the measured time counts, and the schedule
may begin at the worst second of its period, because tomorrow's shipments come at other times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

DAY_S = 86_400.0
_HOUR_S = 3600
_PHASES = 8
"""How many of the phases of a schedule are played."""
PERIODS = tuple(
    60 * minutes for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 240, 360, 720, 1440)
)
"""Seconds between two runs, of the schedules that are looked at."""


@dataclass(frozen=True)
class MeasuredArrival:
    """A shipment, as a region's landing zone receives it."""

    at: float
    """Seconds since 1970."""
    size: int
    """Bytes."""


@dataclass(frozen=True)
class Processing:
    """How long updates take."""

    startup: float
    """Seconds until an update that was started by a schedule computes anything."""
    overhead: float
    """Seconds of a batch that reads nothing."""
    rate: float
    """Bytes of raw files a second."""
    switch: float = 0.0
    """Seconds that a change of roles takes besides."""

    def seconds(self, size: int, *, warm: bool = False) -> float:
        """How long an update over `size` bytes takes; `warm`: its process runs already."""
        return (0.0 if warm else self.startup) + self.overhead + size / self.rate


@dataclass(frozen=True)
class Objectives:
    """What the team has promised, in seconds; None where it has promised nothing."""

    rpo: float | None
    rto: float | None


@dataclass(frozen=True)
class Forecast:
    """What a schedule of the standby leads to, at the worst moment. Times are seconds."""

    period: int | None
    """Between two runs; None: the standby runs all the time, as the active region does."""
    keeps_up: bool
    """False: more arrives than is processed, and the standby falls behind for ever."""
    lag: float
    """Of the standby's tables, just before a run ends."""
    missing: float
    """How long the oldest shipment waits until it is in the standby's tables: held against `rpo`."""
    recovery: float
    """From the loss of the active region until the standby has processed everything: against `rto`."""
    compute: float
    """Seconds a day that the standby computes."""

    @property
    def name(self) -> str:
        """The schedule in words."""
        return "continuous" if self.period is None else f"every {duration_text(self.period)}"

    @property
    def cron(self) -> str | None:
        """The schedule as a Quartz expression, for UTC. None for a continuous one."""
        if self.period is None:
            return None
        minutes, hours = self.period // 60, self.period // _HOUR_S
        if minutes < 60:
            return f"0 0/{minutes} * * * ?"
        return {1: "0 0 * * * ?", 24: "0 0 0 * * ?"}.get(hours, f"0 0 0/{hours} * * ?")

    def failures(self, objectives: Objectives) -> list[str]:
        """Why it does not meet the objectives, a phrase each; empty when it does."""
        if not self.keeps_up:
            return ["more arrives than it can process"]
        phrases = []
        if objectives.rpo is not None and self.missing > objectives.rpo:
            phrases.append(
                f"up to {duration_text(self.missing)} would be missing, rpo is"
                f" {duration_text(objectives.rpo)}"
            )
        if objectives.rto is not None and self.recovery > objectives.rto:
            phrases.append(
                f"recovery takes up to {duration_text(self.recovery)}, rto is"
                f" {duration_text(objectives.rto)}"
            )
        return phrases


def forecast(
    arrivals: Sequence[MeasuredArrival], processing: Processing, period: int | None
) -> Forecast:
    """Play `arrivals`, sorted by time, against a schedule, wherever in its period the runs begin."""
    phases = [0.0] if period is None else _bad_phases(arrivals, period)
    plays = [play(arrivals, processing, period, phase) for phase in phases]
    span = max(DAY_S, arrivals[-1].at - arrivals[0].at) if arrivals else DAY_S
    busy = sum(arrival.size for arrival in arrivals) / processing.rate * DAY_S / span
    scheduled = 0.0 if period is None else busy + DAY_S / period * processing.seconds(0)
    return Forecast(
        period,
        busy <= DAY_S,
        max(one.lag for one in plays),
        max(one.missing for one in plays),
        max(one.recovery for one in plays) + processing.switch,
        DAY_S if period is None else min(DAY_S, scheduled),
    )


def play(
    arrivals: Sequence[MeasuredArrival], processing: Processing, period: int | None, phase: float
) -> Play:
    """The worst moments of the runs that begin `phase` seconds after the multiples of `period`."""
    runs = Play(arrivals, processing, period, phase)
    while runs.next < len(arrivals):
        runs.run()
    return runs


def _bad_phases(arrivals: Sequence[MeasuredArrival], period: int) -> list[float]:
    """Phases in which a run begins just before a shipment after which most arrives within a period."""
    sizes: dict[float, int] = {0.0: 0}
    end = size = 0
    for arrival in arrivals:
        while end < len(arrivals) and arrivals[end].at < arrival.at + period:
            size += arrivals[end].size
            end += 1
        phase = arrival.at % period
        sizes[phase] = max(size, sizes.get(phase, 0))
        size -= arrival.size
    return sorted(sizes, key=lambda phase: -sizes[phase])[:_PHASES]


def forecasts(arrivals: Sequence[MeasuredArrival], processing: Processing) -> list[Forecast]:
    """What each schedule leads to, the continuous one first, then by their periods."""
    return [forecast(arrivals, processing, period) for period in (None, *PERIODS)]


def cheapest(choices: Sequence[Forecast], objectives: Objectives) -> Forecast | None:
    """The choice that computes least of those that meet the objectives. None when none does."""
    meeting = [choice for choice in choices if not choice.failures(objectives)]
    return min(meeting, key=lambda choice: (choice.compute, choice.missing), default=None)


class Play:
    """One schedule's runs over the arrivals, from one run to the next."""

    def __init__(
        self,
        arrivals: Sequence[MeasuredArrival],
        processing: Processing,
        period: int | None,
        phase: float,
    ) -> None:
        self._arrivals = arrivals
        self._processing = processing
        self._period = period
        self._phase = phase
        self._warm = period is None
        self._free_at = arrivals[0].at if arrivals else 0.0
        self.next = 0
        """The first arrival that no run has taken."""
        self.lag = self.missing = 0.0
        self.recovery = processing.seconds(0, warm=self._warm)

    def run(self) -> None:
        """The next run, and the worst moments until it ends."""
        first = self._arrivals[self.next].at
        start = self._free_at
        if self._period is None:
            start = max(start, first)
        else:
            start = math.ceil((start - self._phase) / self._period) * self._period + self._phase
            # Runs over nothing matter only where one is under way when something arrives.
            idle = self._processing.seconds(0)
            if start + self._step(idle) < first:
                skipped = math.floor((first - idle - start) / self._step(idle))
                start += max(0, skipped) * self._step(idle)
        newest = self._arrivals[self.next - 1].at if self.next else first
        taken = self.next
        size = 0
        while taken < len(self._arrivals) and self._is_in_time(self._arrivals[taken], start):
            size += self._arrivals[taken].size
            taken += 1
        end = start + self._processing.seconds(size, warm=self._warm)
        if taken > self.next:
            self.lag = max(self.lag, end - newest)
            self.missing = max(self.missing, end - first)
        self._look_at_losses(start, end, taken)
        # Runs that take no time do not begin twice at one moment.
        self.next, self._free_at = taken, end if self._period is None else max(end, start + 0.001)

    def _is_in_time(self, arrival: MeasuredArrival, start: float) -> bool:
        """Whether a run takes a shipment. One that comes as a scheduled run begins is too late."""
        return arrival.at <= start if self._period is None else arrival.at < start

    def _step(self, idle: float) -> float:
        """Seconds from one run over nothing to the next one."""
        assert self._period is not None
        return max(1, math.ceil(idle / self._period)) * self._period

    def _look_at_losses(self, start: float, end: float, position: int) -> None:
        """The active region is lost while a run is under way: it ends, and another one takes the rest."""
        size = 0
        rest = self._processing.seconds(0, warm=self._warm)
        self.recovery = max(self.recovery, end - start + rest)
        while position < len(self._arrivals) and self._arrivals[position].at < end:
            size += self._arrivals[position].size
            rest = self._processing.seconds(size, warm=self._warm)
            self.recovery = max(self.recovery, end - self._arrivals[position].at + rest)
            position += 1


def duration_text(seconds: float) -> str:
    """A duration for people, in its two largest units: `1 h 30 min`."""
    if seconds < 60:
        return (
            f"{seconds:.0f} s"
            if seconds >= 9.5 or seconds == round(seconds)
            else f"{seconds:.1f} s"
        )
    whole = round(seconds)
    parts = []
    for unit, length in (("d", 86_400), ("h", _HOUR_S), ("min", 60), ("s", 1)):
        count, whole = divmod(whole, length)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
