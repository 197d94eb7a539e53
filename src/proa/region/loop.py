"""The control loop: one thread that owns every change of state that no client asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from proa.clock import Clock
from proa.region.state import LostError, StateUnavailableError
from proa.times import millis

LONGEST_WAIT_S = 5.0
_AFTER_ERROR_S = 1.0

_log = structlog.get_logger("proa.region")


class LoopPart(Protocol):
    """Something that the loop looks after."""

    def turn(self) -> None:
        """Do what is due; never wait."""

    def next_due(self) -> int | None:
        """When something is due by the clock alone, milliseconds since 1970; None for never."""


class ControlLoop:
    """Gives every part its turn, whenever there may be something to do."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.lost: str | None = None
        """Why the loop has ended by itself: another server has the state. None: it has not."""
        self._parts: Sequence[LoopPart] = ()
        self._bell = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.turns = 0
        """How many turns there were."""

    def wake(self) -> None:
        """Say that there may be something to do."""
        self._bell.set()

    def look_after(self, parts: Sequence[LoopPart]) -> None:
        """Say what the loop looks after; before `start`."""
        self._parts = parts

    def turn(self) -> None:
        """One turn of every part, in order."""
        for part in self._parts:
            part.turn()
        self.turns += 1

    def start(
        self,
        owned: Callable[[], None] = lambda: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin to loop, in a thread of its own.

        `owned` is called now and then and raises LostError when another server has taken the
        state over. Then, or when a write finds out, the loop ends and calls `on_lost`.
        """
        self._thread = threading.Thread(
            target=self._loop, args=(owned, on_lost), name="proa-control", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End the loop after its turn."""
        self._ended.set()
        self._bell.set()
        if self._thread is not None:
            self._thread.join()

    def _loop(self, owned: Callable[[], None], on_lost: Callable[[], None]) -> None:
        look_at = self._clock.monotonic()
        while not self._ended.is_set():
            self._bell.clear()
            try:
                if self._clock.monotonic() >= look_at:
                    owned()
                    look_at = self._clock.monotonic() + LONGEST_WAIT_S
                well = self._turn_of_each()
                wait = self._until_due() if well else _AFTER_ERROR_S
            except LostError as error:
                _log.error("the region's state is lost; the server ends", error=str(error))
                self.lost = str(error)
                on_lost()
                return
            except StateUnavailableError as error:
                _log.warning("the region's state does not answer; looking again", error=str(error))
                wait = _AFTER_ERROR_S
            self._clock.wait(wait, self._bell)

    def _turn_of_each(self) -> bool:
        """One turn of every part, those after one that fails included; whether all went well."""
        well = True
        for part in self._parts:
            try:
                part.turn()
            except (LostError, StateUnavailableError):
                raise
            except Exception:  # noqa: BLE001 - the loop must outlive any mistake
                _log.exception("the control loop goes on after an error")
                well = False
        self.turns += 1
        return well

    def _until_due(self) -> float:
        due = [time for part in self._parts if (time := part.next_due()) is not None]
        now = millis(self._clock.now())
        return max(0.0, min([LONGEST_WAIT_S, *((time - now) / 1000 for time in due)]))
