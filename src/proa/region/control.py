"""The control loop: one thread that owns every change of state that no client asked for."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

import structlog

from proa.clock import Clock
from proa.region.times import millis

LONGEST_WAIT_S = 5.0
_AFTER_ERROR_S = 1.0

_log = structlog.get_logger("proa.region")


class Part(Protocol):
    """Something that the loop looks after."""

    def turn(self) -> None:
        """Do what is due; never wait."""

    def next_due(self) -> int | None:
        """When something is due by the clock alone, milliseconds since 1970; None for never."""


class Control:
    """Gives every part its turn, whenever there may be something to do."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._parts: Sequence[Part] = ()
        self._bell = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.turns = 0
        """How many turns there were."""

    def wake(self) -> None:
        """Say that there may be something to do."""
        self._bell.set()

    def look_after(self, parts: Sequence[Part]) -> None:
        """Say what the loop looks after; before `start`."""
        self._parts = parts

    def turn(self) -> None:
        """One turn of every part, in order."""
        for part in self._parts:
            part.turn()
        self.turns += 1

    def start(self) -> None:
        """Begin to loop, in a thread of its own."""
        self._thread = threading.Thread(target=self._loop, name="proa-control", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the loop after its turn."""
        self._ended.set()
        self._bell.set()
        if self._thread is not None:
            self._thread.join()

    def _loop(self) -> None:
        while not self._ended.is_set():
            self._bell.clear()
            try:
                self.turn()
                wait = self._until_due()
            except Exception:  # noqa: BLE001 - the loop must outlive a state that cannot be read just now
                _log.exception("the control loop goes on after an error")
                wait = _AFTER_ERROR_S
            self._clock.wait(wait, self._bell)

    def _until_due(self) -> float:
        due = [time for part in self._parts if (time := part.next_due()) is not None]
        now = millis(self._clock.now())
        return max(0.0, min([LONGEST_WAIT_S, *((time - now) / 1000 for time in due)]))
