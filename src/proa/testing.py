"""Fakes that Proa's tests, and yours, pass in: a clock, ids, and faults at dangerous steps.

Faults are values. A test lists them, runs, and asserts what is left::

    with probing(FaultProbe(Kill(Step.SHIP_PUT_MANIFEST, When.AFTER))), pytest.raises(Killed):
        shipper.ship()
    shipper.ship()  # a new process: whatever was interrupted is finished, nothing happens twice
"""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from proa.errors import UnavailableError, UnknownOutcome
from proa.steps import Step

START = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """A clock that moves only when somebody waits on it or pushes it."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._elapsed = 0.0
        self._lock = threading.Lock()
        self.waits: list[float] = []
        """Every wait that was asked for, in seconds."""

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    def wait(self, seconds: float, until: threading.Event | None = None) -> bool:
        """Return at once; the time has passed. Unless `until` is set: then none has."""
        self.waits.append(seconds)
        if until is not None and until.is_set():
            return True
        self.advance(seconds)
        return False

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._elapsed += max(0.0, seconds)


class FixedIds:
    """Ids that count up from 1 and jitter that is always the same."""

    def __init__(self, *, jitter: float = 0.5) -> None:
        self._count = 0
        self._jitter = jitter
        self._lock = threading.Lock()

    def new(self) -> str:
        with self._lock:
            self._count += 1
            return str(uuid.UUID(int=self._count))

    def jitter(self) -> float:
        return self._jitter


class Killed(BaseException):
    """The process died here. Not an Exception: no handler of the product may survive it."""


class When(StrEnum):
    """On which side of a step's effect a fault strikes."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True)
class Kill:
    """The process dies, before or after the effect."""

    step: Step
    when: When = When.BEFORE
    at: int = 1
    """Which time, when the step is reached several times; counted from 1."""

    def strike(self) -> BaseException:
        return Killed(f"killed {self.when} {self.step}")

    def __str__(self) -> str:
        return f"kill {self.when} {self.step} #{self.at}"


@dataclass(frozen=True)
class Fail:
    """The store or engine refuses: nothing happened."""

    step: Step
    at: int = 1
    when = When.BEFORE

    def strike(self) -> BaseException:
        return UnavailableError(f"{self.step} failed on purpose")

    def __str__(self) -> str:
        return f"fail {self.step} #{self.at}"


@dataclass(frozen=True)
class FailFrom(Fail):
    """The store or engine refuses from that time on: nothing happens any more."""

    def __str__(self) -> str:
        return f"fail {self.step} from #{self.at} on"


@dataclass(frozen=True)
class LoseAnswer:
    """The effect happened and the answer never came."""

    step: Step
    at: int = 1
    when = When.AFTER

    def strike(self) -> BaseException:
        return UnknownOutcome(f"the answer to {self.step} was lost on purpose")

    def __str__(self) -> str:
        return f"lose the answer to {self.step} #{self.at}"


Fault = Kill | Fail | LoseAnswer


class FaultProbe:
    """Plays `faults` at their steps; use with `proa.steps.probing`, one probe per process life.

    Once killed, every later step of every thread dies too, as in a dead process.
    """

    def __init__(self, *faults: Fault) -> None:
        self.faults = faults
        self.reached: Counter[Step] = Counter()
        """How often each step was begun."""
        self.struck: list[Fault] = []
        """The faults that came to pass, in order."""
        self._done: Counter[Step] = Counter()
        self._dead = False
        self._lock = threading.Lock()

    def before(self, step: Step) -> None:
        with self._lock:
            if self._dead:
                raise Killed(f"{step}: the process is dead already")
            self.reached[step] += 1
            self._strike(step, When.BEFORE, self.reached[step])

    def after(self, step: Step) -> None:
        with self._lock:
            self._done[step] += 1
            self._strike(step, When.AFTER, self._done[step])

    def _strike(self, step: Step, when: When, count: int) -> None:
        for fault in self.faults:
            met = count >= fault.at if isinstance(fault, FailFrom) else count == fault.at
            if (fault.step, fault.when) == (step, when) and met:
                self.struck.append(fault)
                self._dead = self._dead or isinstance(fault, Kill)
                raise fault.strike()


def every_fault(steps: Iterable[Step] = Step, *, at: int = 1) -> list[Fault]:
    """All faults at all of `steps`: killed before, killed after, refused, answer lost."""
    return [
        fault
        for name in steps
        for fault in (
            Kill(name, When.BEFORE, at),
            Kill(name, When.AFTER, at),
            Fail(name, at),
            LoseAnswer(name, at),
        )
    ]
