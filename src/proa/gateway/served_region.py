"""ServedRegion: what the gateway knows of one region, and whether it answers."""

from __future__ import annotations

import threading

from anyio import CapacityLimiter

from proa.clock import Clock
from proa.errors import ProaError, UnavailableError
from proa.gateway.shares import Published, Shares, read_published
from proa.gateway.snapshots import SnapshotReader
from proa.settings import GatewaySettings, RegionSettings

_AT_ONCE = 32
"""Requests that read a region's storage at one time. Each region has its own: those that hang on a lost
region leave the next one free."""


class ServedRegion:
    """One region as consumers may come to read it.

    Its storage is looked at all the time while it is active, so that a request for a region that does not
    answer is refused at once.
    """

    def __init__(
        self, name: str, settings: RegionSettings, gateway: GatewaySettings, clock: Clock
    ) -> None:
        self.name = name
        self.settings = settings
        self.snapshots = SnapshotReader(settings.options)
        self.limiter = CapacityLimiter(_AT_ONCE)
        self._gateway = gateway
        self._clock = clock
        self._published: Published | None = None
        self._shares: Shares | None = None
        self._failure: ProaError | None = None
        self._began: float | None = None
        self._lock = threading.Lock()

    def look(self) -> None:
        """Look at the region's storage. Never raises a ProaError."""
        with self._lock:
            self._began = self._clock.monotonic()
            try:
                published = read_published(self.name, self.settings)
                if published != self._published:
                    self._published = published
                    self._shares = Shares(published, self._gateway.shares)
                self._failure = None
            except ProaError as error:
                self._failure = error
            finally:
                self._began = None

    def check(self) -> None:
        """Raise UnavailableError if the storage did not answer, or has not for too long. Waits for nothing."""
        if self._failure is not None:
            raise UnavailableError(
                f"the active region {self.name} does not answer: {self._failure}"
            ) from self._failure
        began = self._began
        if began is not None and self._clock.monotonic() - began > self._gateway.patience:
            raise UnavailableError(
                f"the storage of the active region {self.name} has not answered for"
                f" {self._gateway.patience:g} s"
            )

    def shares(self) -> Shares:
        """The shares as they were last seen; looks if nobody has. Raises UnavailableError."""
        if self._shares is None:
            self.look()
        self.check()
        if self._shares is None:
            raise UnavailableError(f"the storage of {self.name} was not read yet; ask again")
        return self._shares

    def dataset_url(self, dataset: str) -> str | None:
        """Where a public dataset's table is. Returns None when it is not there."""
        if self._published is None:
            self.look()
        return None if self._published is None else self._published.urls.get(dataset)
