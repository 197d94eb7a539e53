"""Pauses between tries of one thing, for everything in Proa that tries again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from proa.clock import Ids


@dataclass(frozen=True)
class Retries:
    """How often something is tried again, and after which pauses."""

    attempts: int | None
    """Tries after the first one; None for without end."""
    first: float
    """Seconds before the second try; doubles from try to try."""
    longest: float = 3600.0
    spread: float = 0.1
    """A pause is longer by a random share of this, so that many do not try again at once."""

    def pause(self, failures: int, ids: Ids) -> float:
        """Seconds to wait after so many failures in a row, from 1."""
        pause = min(self.longest, self.first * 2.0 ** min(failures - 1, 32))
        return pause * (1 + self.spread * ids.jitter())

    def pauses(self, ids: Ids) -> Iterator[float]:
        """The pauses in seconds, one for each retry."""
        failures = 1
        while self.attempts is None or failures <= self.attempts:
            yield self.pause(failures, ids)
            failures += 1
