"""Gateway: the parts put together, followed by threads that look at the record and the active region."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

import anyio
import anyio.to_thread

from proa.clock import Clock, Ids
from proa.errors import UnavailableError
from proa.gateway.active_region import ActiveRegion, EpochMemory, Serving
from proa.gateway.links import Links, link_key
from proa.gateway.recipients import Recipients
from proa.gateway.served_region import ServedRegion
from proa.gateway.shared_versions import VersionLine
from proa.settings import ProjectSettings
from proa.storage import Store

LOOK_S = 0.4
"""How often the control record and the active region are looked at: a change is seen within a second."""

Answer = TypeVar("Answer")


class Gateway:
    """What consumers read. `start` follows the control record until `stop`."""

    def __init__(
        self,
        settings: ProjectSettings,
        state: Store,
        clock: Clock,
        ids: Ids,
        looked: Callable[[Serving | None], None] = lambda _serving: None,
    ) -> None:
        """`looked` is told, after each look, what is served: None while nothing is."""
        self.settings = settings
        self.clock = clock
        self.ids = ids
        self.active = ActiveRegion(settings, EpochMemory(state), clock)
        self.recipients = Recipients(state, clock, ids)
        self.links = Links(link_key(state, ids), clock, settings.gateway.link_lifetime)
        self.versions = VersionLine(self.active.region_in)
        self.regions: Mapping[str, ServedRegion] = {
            name: ServedRegion(name, region, settings.gateway, clock)
            for name, region in settings.regions.items()
        }
        self._looked = looked
        self.has_looked = threading.Event()
        """Set when a region was looked at for the first time."""
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def address(self) -> str | None:
        """Where consumers reach it, if that is said."""
        address = self.settings.gateway.address
        return None if address is None else address.rstrip("/")

    def start(self) -> None:
        """Begin to follow the record and the active region."""
        loops = [partial(self.active.look, place) for place in self.active.places]
        for look in (*loops, self.look_at_region):
            thread = threading.Thread(target=self._repeat, args=(look,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Stop following. A thread that waits for a lost region is left behind."""
        self._stopping.set()

    def look_at_region(self) -> None:
        """Look at the storage of the region that is served now, if any is."""
        try:
            serving = self.active.serving()
        except UnavailableError:
            self._looked(None)
            return
        self._looked(serving)
        self.regions[serving.region].look()
        self.has_looked.set()

    def now(self) -> tuple[Serving, ServedRegion]:
        """What is served now. Raises UnavailableError, at once, while nothing can be."""
        serving = self.active.serving()
        region = self.regions[serving.region]
        region.check()
        return serving, region

    async def read(self, work: Callable[[Serving, ServedRegion], Answer]) -> Answer:
        """What `work` finds in the active region.

        Raises UnavailableError when the region takes too long, or is no longer active when it is done.
        """
        serving, region = self.now()
        patience = self.settings.gateway.patience
        try:
            with anyio.fail_after(patience):
                answer = await anyio.to_thread.run_sync(
                    work, serving, region, limiter=region.limiter, abandon_on_cancel=True
                )
        except TimeoutError as error:
            raise UnavailableError(
                f"the active region {region.name} has not answered within {patience:g} s"
            ) from error
        if self.active.serving() != serving:
            raise UnavailableError("the active region has changed meanwhile; ask again")
        return answer

    def _repeat(self, look: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            look()
            self.clock.wait(LOOK_S, self._stopping)
