"""Deliver: what the journal orders, into every landing zone, each at its own pace.

A zone's manifest is a prefix of the journal. Data files come first, then the entry that names them:
a reader never sees a file that is not there.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar, cast

from proa.errors import ConflictError, DataError, ProaError, UnavailableError
from proa.landing.handover import Handover, Parcel
from proa.landing.manifest import FOLDER, Manifest, Shipment, ShippedFile
from proa.steps import Step, step
from proa.storage import NotFoundError, Store

_THREADS = 4
_LOOKED_BACK = 100
"""Files; so many of a zone's last ones are looked for."""


@dataclass(frozen=True)
class ShipSource:
    """Where files come from."""

    name: str
    store: Store
    journal: Store
    """Where the order is decided; usually the same as `store`."""
    settle: float = 0.0
    """Seconds for which a file must not have changed."""
    event_time: str | None = None


@dataclass(frozen=True)
class Zone:
    """A landing zone: where files go. Opened anew in each cycle, because it may be down."""

    name: str
    location: str
    options: Mapping[str, str] = field(default_factory=dict)

    def open(self) -> Store:
        return Store.open(self.location, self.options)


@dataclass(frozen=True)
class ZoneReport:
    """What one zone received in a cycle."""

    zone: str
    files: int = 0
    bytes: int = 0
    restored: tuple[str, ...] = ()
    """Files that had been shipped before, were lost, and are there again."""
    through: int | None = None
    """The sequence number up to which the zone has everything; None when it could not be asked."""
    error: ProaError | None = None


_In = TypeVar("_In")
_Out = TypeVar("_Out")
Delivered = Callable[[str, Shipment], None]


class Delivery:
    """Brings one source's shipments to its zones. Call `close` at the end."""

    def __init__(
        self,
        source: ShipSource,
        zones: Sequence[Zone],
        delivered: Delivered,
        stop: threading.Event,
    ) -> None:
        """`delivered` is called, in threads, after each shipment to each zone."""
        self._source = source
        self._zones = {zone.name: zone for zone in zones}
        self._delivered = delivered
        self._stop = stop
        self._running: dict[str, Future[ZoneReport]] = {}
        self._manifests: dict[str, Manifest] = {}
        self._workers = ThreadPoolExecutor(max(1, len(zones)), "proa-zone")
        # One pool for each zone: a zone that hangs must not hold another one's threads.
        self._writers = {name: ThreadPoolExecutor(_THREADS, "proa-write") for name in self._zones}

    @property
    def busy(self) -> tuple[str, ...]:
        """The zones that are still receiving what they missed, sorted."""
        return tuple(sorted(self._running))

    def start(self, head: int, limit: int, *, look_back: bool) -> Handover:
        """Let each idle zone serve itself from the handover that is returned.

        It begins at file `head`, and holds about `limit` bytes. With `look_back` each zone's last
        files are looked for, and sent again where they are gone.
        """
        idle = set(self._zones) - set(self._running)
        handover = Handover(idle, head, limit, others=bool(self._running))
        for name in sorted(idle):
            self._running[name] = self._workers.submit(
                self._serve, self._zones[name], handover, look_back
            )
        return handover

    def wait(self, patience: float | None) -> list[ZoneReport]:
        """Wait up to `patience` seconds for all zones; returns `collect`'s reports."""
        wait(self._running.values(), patience)
        return self.collect()

    def collect(self) -> list[ZoneReport]:
        """Take the reports of zones that are at their end. A worker's death is ours too."""
        reports = []
        for name, future in list(self._running.items()):
            if future.done():
                del self._running[name]
                reports.append(future.result())
        return reports

    def furthest(self) -> Manifest | None:
        """Look for the manifest of the zone that has received most; None when none answers."""
        best: Manifest | None = None
        for zone in self._zones.values():
            try:
                manifest = Manifest(zone.open(), self._source.name)
                manifest.refresh()
            except UnavailableError:
                continue
            if manifest.head > (best.head if best else 0):
                best = manifest
        return best

    def restore(self, zone: Zone, file: ShippedFile) -> None:
        """Put a shipped file that the zone lost there again; DataError if nobody has its bytes."""
        store = zone.open()
        with step(Step.SHIP_PUT_FILE), suppress(ConflictError):
            self._copy(zone, store, f"{self._source.name}/{file.path}", file)

    def close(self) -> None:
        """Let what has begun end."""
        for pool in (self._workers, *self._writers.values()):
            pool.shutdown(wait=True, cancel_futures=True)

    def _serve(self, zone: Zone, handover: Handover, look_back: bool) -> ZoneReport:  # noqa: FBT001 - submitted
        """Deliver to one zone until it has everything that is ordered."""
        files = size = 0
        restored: list[str] = []
        through: int | None = None
        error: ProaError | None = None
        try:
            store = zone.open()
            manifest = self._manifest_of(zone, store)
            through = manifest.head
            recent = manifest.recent(_LOOKED_BACK) if look_back else []
            while not self._stop.is_set():
                todo = handover.next(zone.name, through)
                if todo is None:
                    break
                parcel = todo if isinstance(todo, Parcel) else self._look_up(todo)
                self._deliver(zone, store, manifest, parcel)
                through = manifest.head
                files += len(parcel.shipment.files)
                size += parcel.shipment.size
                self._delivered(zone.name, parcel.shipment)
            restored += self._fill_holes(zone, store, recent)
        except ProaError as failure:
            error = failure
        finally:
            handover.leave(zone.name)
            if error is not None:
                self._manifests.pop(zone.name, None)
        return ZoneReport(zone.name, files, size, tuple(restored), through, error)

    def _fill_holes(self, zone: Zone, store: Store, files: Sequence[ShippedFile]) -> list[str]:
        """Send those of the files again that the zone lost. DataError if nobody has one's bytes."""
        paths = [f"{self._source.name}/{file.path}" for file in files]
        there = in_threads(self._writers[zone.name], store.exists, paths)
        lost = [file for file, is_there in zip(files, there, strict=True) if not is_there]
        for file in lost:
            self.restore(zone, file)
        return sorted(file.path for file in lost)

    def _manifest_of(self, zone: Zone, store: Store) -> Manifest:
        """The zone's manifest up to date; what an earlier cycle learned holds while it is there."""
        manifest = self._manifests.get(zone.name)
        if manifest is None or not manifest.is_there():
            manifest = Manifest(store, self._source.name)
            manifest.refresh()
            self._agree(zone, manifest)
            self._manifests[zone.name] = manifest
        else:
            manifest.refresh()
        return manifest

    def _look_up(self, first: int) -> Parcel:
        shipment = Manifest(self._source.journal, self._source.name).shipment(first)
        if shipment is None:
            raise self._disagreement(f"has no shipment that begins with file {first}")
        return Parcel(shipment, {})

    def _agree(self, zone: Zone, manifest: Manifest) -> None:
        """A zone whose last shipment the journal does not have belongs to another order."""
        last = manifest.newest
        if last is None:
            return
        ours = Manifest(self._source.journal, self._source.name).shipment(last.first)
        if ours != last:
            raise self._disagreement(
                f"and the manifest of landing zone {zone.name!r} differ at file {last.first}"
            )

    def _disagreement(self, what: str) -> DataError:
        journal = self._source.journal.url_of(f"{FOLDER}/{self._source.name}")
        return DataError(
            f"the journal {journal!r} {what}; restore the journal from the landing zone that is"
            " furthest, or give the source a new name",
            condition="MANIFEST_CONFLICT",
        )

    def _deliver(self, zone: Zone, store: Store, manifest: Manifest, parcel: Parcel) -> None:
        """Data files first, then the manifest entry: a reader never sees a file that is not there."""

        def land(file: ShippedFile) -> None:
            self._land(zone, store, file, parcel.contents.get(file.path))

        in_threads(self._writers[zone.name], land, parcel.shipment.files)
        shipment = parcel.shipment
        try:
            with step(Step.SHIP_PUT_MANIFEST):
                manifest.append(shipment)
        except ConflictError:
            manifest.refresh()
            if manifest.shipment(shipment.first) != shipment:
                raise self._disagreement(
                    f"and the manifest of landing zone {zone.name!r} differ at file {shipment.first}"
                ) from None
        manifest.compact()

    def _land(self, zone: Zone, store: Store, file: ShippedFile, content: bytes | None) -> None:
        path = f"{self._source.name}/{file.path}"
        try:
            with step(Step.SHIP_PUT_FILE):
                if content is not None:
                    store.create(path, content)
                else:
                    self._copy(zone, store, path, file)
        except ConflictError:
            # An earlier attempt of ours, or another shipper's: the same bytes, or somebody else's.
            there = hash_of(store, path)
            if there != file.sha256:
                raise DataError(
                    f"the landing zone {zone.name!r} holds other bytes under {path!r}"
                    f" (SHA-256 {there}) than were shipped (SHA-256 {file.sha256});"
                    " remove that file, it did not come from the shipper",
                    condition="SHIPPED_FILE_DIFFERS",
                ) from None
            return
        arrived = store.checks_writes or (
            store.get(path) == content
            if content is not None
            else hash_of(store, path) == file.sha256
        )
        if not arrived:
            store.delete(path)
            raise UnavailableError(
                f"{path!r} was damaged on its way to the landing zone {zone.name!r};"
                " it was removed and will be sent again"
            )

    def _copy(self, zone: Zone, store: Store, path: str, file: ShippedFile) -> None:
        """Copy from the source or, when it has the file no more, from another zone."""
        places: list[tuple[Callable[[], Store], str]] = [(lambda: self._source.store, file.path)]
        places += [(other.open, path) for other in self._zones.values() if other is not zone]
        reasons = []
        for open_place, there in places:
            try:
                place = open_place()
                store.create_from(path, _verified_chunks(place, there, file), file.size)
            except _WrongBytesError as error:
                reasons.append(str(error))
            except NotFoundError as error:
                reasons.append(str(error))
            except UnavailableError as error:
                if place is self._source.store:
                    raise
                reasons.append(str(error))
            else:
                return
        raise DataError(
            f"the landing zone {zone.name!r} cannot get {file.path!r} of source"
            f" {self._source.name!r}: {'; '.join(reasons)}; put the original file back",
            condition="SHIPPED_FILE_LOST",
        )


class _WrongBytesError(DataError):
    """A place holds other bytes than were shipped."""


def _verified_chunks(place: Store, path: str, file: ShippedFile) -> Iterator[bytes]:
    """The bytes at `path`; raises, after the last one, when they are not those of `file`."""
    digest = hashlib.sha256()
    for chunk in place.chunks(path):
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != file.sha256:
        raise _WrongBytesError(
            f"{place.url_of(path)!r} holds other bytes (SHA-256 {digest.hexdigest()})"
            f" than were shipped (SHA-256 {file.sha256})"
        )


def hash_of(store: Store, path: str) -> str:
    """Compute the SHA-256 of an object, in hexadecimal digits."""
    digest = hashlib.sha256()
    for chunk in store.chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def in_threads(
    pool: ThreadPoolExecutor, function: Callable[[_In], _Out], items: Sequence[_In]
) -> list[_Out]:
    """`function` of each item, in the items' order; a task for each thread, not for each item."""
    threads = min(_THREADS, len(items))
    results: list[_Out | None] = [None] * len(items)

    def work(offset: int) -> None:
        for index in range(offset, len(items), threads):
            results[index] = function(items[index])

    list(pool.map(work, range(threads)))
    return cast("list[_Out]", results)
