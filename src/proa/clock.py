"""Time and ids, injected: nothing else in Proa may ask the operating system for either."""

from __future__ import annotations

import random  # noqa: TID251 - this is the one place
import threading
import time
import uuid
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What time it is, and waiting for it to pass."""

    def now(self) -> datetime:
        """The wall clock, with time zone UTC."""

    def monotonic(self) -> float:
        """Seconds that never run backwards; only differences mean anything."""

    def wait(self, seconds: float, until: threading.Event | None = None) -> bool:
        """Let time pass. True when `until` was set before the time was over."""


class Ids(Protocol):
    """New identifiers, and the jitter of back-off."""

    def new(self) -> str:
        """A fresh UUID, 36 characters."""

    def jitter(self) -> float:
        """A number in [0, 1)."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)  # noqa: TID251 - this is the one place

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float, until: threading.Event | None = None) -> bool:
        return (until or threading.Event()).wait(max(0.0, seconds))


class RandomIds:
    """Version 4 UUIDs and the machine's randomness."""

    def new(self) -> str:
        return str(uuid.uuid4())  # noqa: TID251 - this is the one place

    def jitter(self) -> float:
        return random.random()  # noqa: S311 - spreads load, keeps no secret
