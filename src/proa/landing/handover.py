"""Where the one who orders files and those who deliver them meet: shipments with their bytes.

The order goes on as fast as the fastest zone. A slow zone finds the bytes gone and reads them from
the source again; a zone that is down is not waited for.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

from proa.landing.manifest import Shipment


@dataclass(frozen=True)
class Parcel:
    """A shipment and the bytes of those of its files that are in memory, by path."""

    shipment: Shipment
    contents: Mapping[str, bytes]

    @property
    def size(self) -> int:
        return sum(len(content) for content in self.contents.values())


class Handover:
    """Parcels on their way from one orderer to several zones, at most about `limit` bytes."""

    def __init__(self, zones: set[str], head: int, limit: int, *, others: bool = False) -> None:
        """`others`: zones that are not here are alive too, catching up in the background."""
        self._changed = threading.Condition()
        self._cursors = dict.fromkeys(zones, 0)
        self._head = head
        self._limit = limit
        self._parcels: dict[int, Parcel] = {}
        self._held = 0
        self._closed = False
        self._others = others

    def offer(self, parcel: Parcel) -> bool:
        """Hand over the parcel after the last one; waits for room. False: no zone is left."""
        with self._changed:
            self._parcels[parcel.shipment.first] = parcel
            self._held += parcel.size
            self._head = parcel.shipment.last
            self._changed.notify_all()
            self._changed.wait_for(self._may_go_on)
            while self._held > self._limit and self._parcels:
                self._drop(next(iter(self._parcels)))
            return self._others or bool(self._cursors)

    def advance(self, head: int) -> None:
        """Another shipper decided the order up to `head`: zones look those shipments up."""
        with self._changed:
            self._head = max(self._head, head)
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing more will be offered."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def next(self, zone: str, cursor: int) -> Parcel | int | None:
        """What `zone`, which has everything up to `cursor`, is to deliver next.

        A parcel, or the number of a shipment to look up, or None when the order is closed and the
        zone is at its end.
        """
        with self._changed:
            self._cursors[zone] = cursor
            reached = min(self._cursors.values())
            for first in [first for first in self._parcels if first <= reached]:
                self._drop(first)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._head > cursor or self._closed)
            if self._head <= cursor:
                return None
            return self._parcels.get(cursor + 1, cursor + 1)

    def leave(self, zone: str) -> None:
        """`zone` is at its end or down."""
        with self._changed:
            self._cursors.pop(zone, None)
            self._changed.notify_all()

    def _may_go_on(self) -> bool:
        return (
            self._held <= self._limit
            or not self._cursors
            or max(self._cursors.values()) >= self._head
        )

    def _drop(self, first: int) -> None:
        self._held -= self._parcels.pop(first).size
