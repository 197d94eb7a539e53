"""How long a region remembers what happened: as long as Databricks.

Apart because it says how long what is kept, in one place.
"""

from __future__ import annotations

from proa.clock import Clock
from proa.region.jobs.runs import Runs
from proa.region.pipelines.pipeline_events import Events
from proa.region.pipelines.updates import Updates
from proa.times import millis

KEPT_DAYS = 60
_DAY_MS = 24 * 60 * 60 * 1000


class Retention:
    """The part of the control loop that forgets, once a day."""

    def __init__(self, clock: Clock, events: Events, updates: Updates, runs: Runs) -> None:
        self._clock = clock
        self._events = events
        self._updates = updates
        self._runs = runs
        self._next = 0

    def turn(self) -> None:
        """Forget what is older than `KEPT_DAYS` days. What a pipeline stored keeps its own log."""
        now = millis(self._clock.now())
        if now < self._next:
            return
        self._next = now + _DAY_MS
        before = now - KEPT_DAYS * _DAY_MS
        self._events.forget(before)
        self._updates.forget(before)
        self._runs.forget(before)

    def next_due(self) -> int | None:
        """When the next look is due."""
        return self._next
