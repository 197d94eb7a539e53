"""Ship: the new files of a source into every landing zone, in one order, each exactly once.

The order of a source's files is decided in its *journal*, a manifest that lives with the source (the
one place that must be there to ship anything). Each zone's manifest is a prefix of the journal: zones
may be behind, they cannot disagree, whichever of them were down when. A file goes through three
dangerous steps: its place in the journal, its bytes in a zone, its entry in that zone's manifest.
Each is a create that can be repeated: whoever finds it done compares and goes on.

The source must keep a file until every zone has it (or another zone can give it back).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar, cast

from proa.clock import Clock
from proa.errors import ConflictError, DataError, ProaError, UnavailableError
from proa.landing.event_span import event_span
from proa.landing.handover import Handover, Parcel
from proa.landing.manifest import FOLDER, Manifest, Shipment, ShippedFile, microseconds
from proa.steps import Step, step
from proa.storage import NotFoundError, ObjectInfo, Store
from proa.storage.visible import is_hidden, is_temporary

IN_MEMORY = 64 * 1024 * 1024
"""Files up to this size are read once and kept until they are written; larger ones are read again."""
_PARCEL_BYTES = 16 * 1024 * 1024
_PARCEL_FILES = 500
_THREADS = 4


@dataclass(frozen=True)
class Source:
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
class Refusal:
    """A file that will not be shipped, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class ZoneReport:
    """What one zone received in a cycle."""

    zone: str
    files: int = 0
    bytes: int = 0
    through: int | None = None
    """The sequence number up to which the zone has everything; None when it could not be asked."""
    error: ProaError | None = None


@dataclass(frozen=True)
class ShipReport:
    """What a cycle did for one source."""

    source: str
    head: int
    """The sequence number of the last file whose order is decided."""
    files: int = 0
    """New files in this cycle."""
    bytes: int = 0
    zones: tuple[ZoneReport, ...] = ()
    busy: tuple[str, ...] = ()
    """Zones that are still receiving what they missed."""
    refused: tuple[Refusal, ...] = ()
    waiting: tuple[str, ...] = ()
    """Files that are still being written."""


_In = TypeVar("_In")
_Out = TypeVar("_Out")
Delivered = Callable[[str, Shipment], None]


class Shipper:
    """Ships one source. `ship` may be called again and again; call `close` at the end."""

    def __init__(
        self,
        source: Source,
        zones: Sequence[Zone],
        clock: Clock,
        *,
        delivered: Delivered = lambda _zone, _shipment: None,
        stop: threading.Event | None = None,
    ) -> None:
        """`delivered` is called, in threads, after each shipment to each zone."""
        self.source = source
        self.zones = {zone.name: zone for zone in zones}
        self._clock = clock
        self._delivered = delivered
        self._stop = stop or threading.Event()
        self._journal = Manifest(source.journal, source.name)
        self._known: dict[str, int] | None = None
        self._refused: dict[str, tuple[int, Refusal]] = {}
        self._running: dict[str, Future[ZoneReport]] = {}
        self._manifests: dict[str, Manifest] = {}
        self._workers = ThreadPoolExecutor(max(1, len(zones)), "proa-zone")
        self._readers = ThreadPoolExecutor(_THREADS, "proa-read")
        # One pool for each zone: a zone that hangs must not hold another one's threads.
        self._writers = {name: ThreadPoolExecutor(_THREADS, "proa-write") for name in self.zones}

    def ship(self, *, patience: float | None = None) -> ShipReport:
        """One cycle: decide the order of what is new, deliver what each zone lacks.

        With `patience`, zones that are not done so many seconds after the order go on in the
        background and are named in the report's `busy`. Raises UnavailableError when the source or its journal does not answer.
        """
        finished = self._collect()
        try:
            self._learn()
        except BaseException:
            self._forget()
            raise
        idle = set(self.zones) - set(self._running)
        handover = Handover(idle, self._journal.head, 8 * _PARCEL_BYTES, others=bool(self._running))
        for name in sorted(idle):
            self._running[name] = self._workers.submit(self._serve, self.zones[name], handover)
        orders = _Orders()
        try:
            self._order(handover, orders)
        except BaseException:
            # What we tried may have happened: the next cycle looks before it decides anything.
            self._forget()
            raise
        finally:
            handover.close()
            wait(self._running.values(), patience)
            finished += self._collect()
        return ShipReport(
            self.source.name,
            self._journal.head,
            orders.files,
            orders.bytes,
            tuple(sorted(finished, key=lambda report: report.zone)),
            tuple(sorted(self._running)),
            tuple(sorted((r for _, r in self._refused.values()), key=lambda r: r.path)),
            tuple(sorted(orders.waiting)),
        )

    def close(self) -> None:
        """Let what has begun end."""
        for pool in (self._workers, self._readers, *self._writers.values()):
            pool.shutdown(wait=True, cancel_futures=True)

    # -- the order ---------------------------------------------------------------------------

    def _learn(self) -> None:
        """Bring the journal, and what is known from it, up to date."""
        if self._known is not None:
            for shipment in self._journal.refresh():
                self._remember(shipment)
            return
        self._journal.refresh()
        if self._journal.head == 0:
            self._restore_journal()
        table = self._journal.table().select(["path", "size", "modified"])
        self._known = {}
        for batch in table.to_batches():
            columns = (
                batch["path"].to_pylist(),
                batch["size"].to_pylist(),
                batch["modified"].cast("int64").to_pylist(),
            )
            self._known.update(
                (path, _fingerprint(size, modified))
                for path, size, modified in zip(*columns, strict=True)
            )

    def _forget(self) -> None:
        self._journal = Manifest(self.source.journal, self.source.name)
        self._known = None

    def _restore_journal(self) -> None:
        """A journal that was lost is copied back from the zone that is furthest."""
        best: Manifest | None = None
        for zone in self.zones.values():
            try:
                manifest = Manifest(zone.open(), self.source.name)
                manifest.refresh()
            except UnavailableError:
                continue
            if manifest.head > (best.head if best else 0):
                best = manifest
        while best is not None and self._journal.head < best.head:
            shipment = best.shipment(self._journal.head + 1)
            if shipment is None:
                raise DataError(
                    f"cannot restore the order of source {self.source.name!r}: the manifest entry"
                    f" {self._journal.head + 1} is missing in the furthest landing zone",
                    condition="INVALID_MANIFEST",
                )
            self._append(shipment)

    def _append(self, shipment: Shipment) -> bool:
        """Put `shipment` into the journal. False when another shipper was first."""
        try:
            with step(Step.SHIP_PUT_JOURNAL):
                self._journal.append(shipment)
        except ConflictError:
            return False
        self._journal.compact()
        return True

    def _remember(self, shipment: Shipment) -> None:
        assert self._known is not None
        for file in shipment.files:
            self._known[file.path] = _fingerprint(file.size, microseconds(file.modified))

    def _order(self, handover: Handover, orders: _Orders) -> None:
        found = self._new_files(orders)
        for group in _groups(found):
            if self._stop.is_set():
                return
            taken = [one for one in _spread(self._readers, self._take, group) if one is not None]
            orders.waiting += sorted({info.path for info in group} - {one[0].path for one in taken})
            parcel = self._decide(taken)
            if parcel is None:
                handover.advance(self._journal.head)
                continue
            orders.files += len(parcel.shipment.files)
            orders.bytes += parcel.shipment.size
            if not handover.offer(parcel):
                return

    def _new_files(self, orders: _Orders) -> list[ObjectInfo]:
        """The source's files that have no place in the order yet, oldest first."""
        assert self._known is not None
        settled = self._clock.now() - timedelta(seconds=self.source.settle)
        new, touched = [], []
        refused, self._refused = self._refused, {}
        for info in self.source.store.walk():
            known = self._known.get(info.path)
            if known is None:
                if is_hidden(info.path) or is_temporary(info.path):
                    continue
                if self.source.settle and info.modified > settled:
                    orders.waiting.append(info.path)
                else:
                    new.append(info)
            elif known != (mark := _mark(info)):
                if info.path in refused and refused[info.path][0] == mark:
                    self._refused[info.path] = refused[info.path]
                else:
                    touched.append(info)
        if touched:
            self._look_again(touched)
        return sorted(new, key=lambda info: (info.modified, info.path))

    def _look_again(self, touched: list[ObjectInfo]) -> None:
        """Files that changed since they were shipped: the same bytes are fine, others are refused."""
        assert self._known is not None
        hashes = self._hashes({info.path for info in touched})
        for info, taken in zip(touched, _spread(self._readers, self._take, touched), strict=True):
            if taken is None:
                continue
            file, _ = taken
            if file.sha256 == hashes[info.path]:
                self._known[info.path] = _mark(info)
            else:
                self._refused[info.path] = (_mark(info), _replaced(file, hashes[info.path]))

    def _hashes(self, wanted: set[str]) -> dict[str, str]:
        import pyarrow as pa
        import pyarrow.compute as pc

        table = self._journal.table()
        rows = table.filter(pc.is_in(table["path"], pa.array(sorted(wanted), pa.string())))
        return dict(zip(rows["path"].to_pylist(), rows["sha256"].to_pylist(), strict=True))

    def _take(self, info: ObjectInfo) -> tuple[ShippedFile, bytes | None] | None:
        """Read a file of the source; None when it changed or vanished meanwhile."""
        store = self.source.store
        try:
            if info.size <= IN_MEMORY:
                content: bytes | None = store.get(info.path)
                assert content is not None
                digest, size = hashlib.sha256(content), len(content)
            else:
                content, digest, size = None, hashlib.sha256(), 0
                for chunk in store.chunks(info.path):
                    digest.update(chunk)
                    size += len(chunk)
            after = store.head(info.path)
        except NotFoundError:
            return None
        if _mark(after) != _mark(info) or size != info.size:
            return None
        span = event_span(info.path, content, self.source.event_time) if content else None
        file = ShippedFile(
            path=info.path,
            size=size,
            sha256=digest.hexdigest(),
            modified=info.modified,
            event_min=span[0] if span else None,
            event_max=span[1] if span else None,
        )
        return file, content

    def _decide(self, taken: list[tuple[ShippedFile, bytes | None]]) -> Parcel | None:
        """Give the files their place in the journal, unless another shipper just did."""
        assert self._known is not None
        while taken:
            shipment = Shipment(
                first=self._journal.head + 1,
                shipped_at=self._clock.now(),
                files=tuple(file for file, _ in taken),
            )
            if self._append(shipment):
                self._remember(shipment)
                contents = {file.path: content for file, content in taken if content is not None}
                return Parcel(shipment, contents)
            for theirs in self._journal.refresh():
                self._remember(theirs)
            # What they shipped meanwhile is looked at again in the next cycle, as a known file.
            taken = [one for one in taken if one[0].path not in self._known]
        return None

    # -- the zones ---------------------------------------------------------------------------

    def _collect(self) -> list[ZoneReport]:
        """The reports of zones that are at their end. A worker's death is ours too."""
        reports = []
        for name, future in list(self._running.items()):
            if future.done():
                del self._running[name]
                reports.append(future.result())
        return reports

    def _serve(self, zone: Zone, handover: Handover) -> ZoneReport:
        """Deliver to one zone until it has everything that is ordered."""
        files = size = 0
        through: int | None = None
        error: ProaError | None = None
        try:
            store = zone.open()
            manifest = self._manifest_of(zone, store)
            through = manifest.head
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
        except ProaError as failure:
            error = failure
        finally:
            handover.leave(zone.name)
            if error is not None:
                self._manifests.pop(zone.name, None)
        return ZoneReport(zone.name, files, size, through, error)

    def _manifest_of(self, zone: Zone, store: Store) -> Manifest:
        """The zone's manifest up to date; what an earlier cycle learned holds while it is there."""
        manifest = self._manifests.get(zone.name)
        if manifest is None or not manifest.is_there():
            manifest = Manifest(store, self.source.name)
            manifest.refresh()
            self._agree(zone, manifest)
            self._manifests[zone.name] = manifest
        else:
            manifest.refresh()
        return manifest

    def _look_up(self, first: int) -> Parcel:
        shipment = Manifest(self.source.journal, self.source.name).shipment(first)
        if shipment is None:
            raise self._disagreement(f"has no shipment that begins with file {first}")
        return Parcel(shipment, {})

    def _agree(self, zone: Zone, manifest: Manifest) -> None:
        """A zone whose last shipment the journal does not have belongs to another order."""
        last = manifest.newest
        if last is None:
            return
        ours = Manifest(self.source.journal, self.source.name).shipment(last.first)
        if ours != last:
            raise self._disagreement(
                f"and the manifest of landing zone {zone.name!r} differ at file {last.first}"
            )

    def _disagreement(self, what: str) -> DataError:
        journal = self.source.journal.url_of(f"{FOLDER}/{self.source.name}")
        return DataError(
            f"the journal {journal!r} {what}; restore the journal from the landing zone that is"
            " furthest, or give the source a new name",
            condition="MANIFEST_CONFLICT",
        )

    def _deliver(self, zone: Zone, store: Store, manifest: Manifest, parcel: Parcel) -> None:
        """Data files first, then the manifest entry: a reader never sees a file that is not there."""

        def land(file: ShippedFile) -> None:
            self._land(zone, store, file, parcel.contents.get(file.path))

        _spread(self._writers[zone.name], land, parcel.shipment.files)
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
        path = f"{self.source.name}/{file.path}"
        try:
            with step(Step.SHIP_PUT_FILE):
                if content is not None:
                    store.create(path, content)
                else:
                    self._copy(zone, store, path, file)
        except ConflictError:
            # An earlier attempt of ours, or another shipper's: the same bytes, or somebody else's.
            there = _hash(store, path)
            if there != file.sha256:
                raise DataError(
                    f"the landing zone {zone.name!r} holds other bytes under {path!r}"
                    f" (SHA-256 {there}) than were shipped (SHA-256 {file.sha256});"
                    " remove that file, it did not come from the shipper",
                    condition="SHIPPED_FILE_DIFFERS",
                ) from None
            return
        arrived = store.checks_writes or (
            store.get(path) == content if content is not None else _hash(store, path) == file.sha256
        )
        if not arrived:
            store.delete(path)
            raise UnavailableError(
                f"{path!r} was damaged on its way to the landing zone {zone.name!r};"
                " it was removed and will be sent again"
            )

    def _copy(self, zone: Zone, store: Store, path: str, file: ShippedFile) -> None:
        """Copy from the source or, when it has the file no more, from another zone."""
        places: list[tuple[Callable[[], Store], str]] = [(lambda: self.source.store, file.path)]
        places += [(other.open, path) for other in self.zones.values() if other is not zone]
        reasons = []
        for open_place, there in places:
            try:
                place = open_place()
                store.create_from(path, _verified(place, there, file), file.size)
            except _WrongBytesError as error:
                reasons.append(str(error))
            except NotFoundError as error:
                reasons.append(str(error))
            except UnavailableError as error:
                if place is self.source.store:
                    raise
                reasons.append(str(error))
            else:
                return
        raise DataError(
            f"the landing zone {zone.name!r} cannot get {file.path!r} of source"
            f" {self.source.name!r}: {'; '.join(reasons)}; put the original file back",
            condition="SHIPPED_FILE_LOST",
        )


@dataclass
class _Orders:
    files: int = 0
    bytes: int = 0
    waiting: list[str] = field(default_factory=list)


class _WrongBytesError(DataError):
    """A place holds other bytes than were shipped."""


def _verified(place: Store, path: str, file: ShippedFile) -> Iterator[bytes]:
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


def _hash(store: Store, path: str) -> str:
    digest = hashlib.sha256()
    for chunk in store.chunks(path):
        digest.update(chunk)
    return digest.hexdigest()


def _replaced(file: ShippedFile, shipped: str) -> Refusal:
    return Refusal(
        file.path,
        f"its bytes changed after it was shipped: SHA-256 was {shipped}, is {file.sha256};"
        " shipped files are immutable, publish the new bytes under a new name",
    )


def _mark(info: ObjectInfo) -> int:
    return _fingerprint(info.size, microseconds(info.modified))


def _fingerprint(size: int, modified: int) -> int:
    """Size and time of a file in one number, which is smaller than a tuple."""
    return size << 64 | modified


def _spread(
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


def _groups(files: list[ObjectInfo]) -> Iterator[list[ObjectInfo]]:
    """Cut into shipments of bounded size and number."""
    group: list[ObjectInfo] = []
    size = 0
    for info in files:
        if group and (size + info.size > _PARCEL_BYTES or len(group) == _PARCEL_FILES):
            yield group
            group, size = [], 0
        group.append(info)
        size += info.size
    if group:
        yield group
