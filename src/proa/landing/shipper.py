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
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from proa.clock import Clock
from proa.errors import ConflictError, DataError
from proa.landing.delivery import Delivered, Delivery, ShipSource, Zone, ZoneReport, in_threads
from proa.landing.event_span import event_span
from proa.landing.handover import Handover, Parcel
from proa.landing.manifest import Manifest, Shipment, ShippedFile, microseconds
from proa.steps import Step, step
from proa.storage import NotFoundError, ObjectInfo
from proa.storage.visible import LeftOut, is_own, left_out

IN_MEMORY = 64 * 1024 * 1024
"""Files up to this size are read once and kept until they are written; larger ones are read again."""
_PARCEL_BYTES = 16 * 1024 * 1024
_PARCEL_FILES = 500
_THREADS = 4
_LOOK_BACK_EVERY = timedelta(minutes=1)
"""How often zones are asked for the files that they got last."""


@dataclass(frozen=True)
class Refusal:
    """A file that will not be shipped, and why."""

    path: str
    reason: str


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
    left_out: Mapping[LeftOut, int] = field(default_factory=dict)
    """How many files have names that are never shipped, by reason."""


class Shipper:
    """Ships one source. `ship` may be called again and again; call `close` at the end."""

    def __init__(
        self,
        source: ShipSource,
        zones: Sequence[Zone],
        clock: Clock,
        *,
        delivered: Delivered = lambda _zone, _shipment: None,
        stop: threading.Event | None = None,
    ) -> None:
        """`delivered` is called, in threads, after each shipment to each zone."""
        self.source = source
        self._clock = clock
        self._stop = stop or threading.Event()
        self._delivery = Delivery(source, zones, delivered, self._stop)
        self._journal = Manifest(source.journal, source.name)
        self._known: dict[str, int] | None = None
        self._refused: dict[str, tuple[int, Refusal]] = {}
        self._readers = ThreadPoolExecutor(_THREADS, "proa-read")
        self._looked_back: datetime | None = None

    def ship(self, *, patience: float | None = None) -> ShipReport:
        """One cycle: decide the order of what is new, deliver what each zone lacks.

        With `patience`, zones that are not done so many seconds after the order go on in the
        background and are named in the report's `busy`. Raises UnavailableError when the source or its journal does not answer.
        """
        finished = self._delivery.collect()
        try:
            self._learn()
        except BaseException:
            self._forget()
            raise
        handover = self._delivery.start(
            self._journal.head, 8 * _PARCEL_BYTES, look_back=self._is_time_to_look_back()
        )
        orders = _Orders()
        try:
            self._order(handover, orders)
        except BaseException:
            # What we tried may have happened: the next cycle looks before it decides anything.
            self._forget()
            raise
        finally:
            handover.close()
            finished += self._delivery.wait(patience)
        return ShipReport(
            self.source.name,
            self._journal.head,
            orders.files,
            orders.bytes,
            tuple(sorted(finished, key=lambda report: report.zone)),
            self._delivery.busy,
            tuple(sorted((r for _, r in self._refused.values()), key=lambda r: r.path)),
            tuple(sorted(orders.waiting)),
            dict(sorted(orders.left_out.items())),
        )

    def _is_time_to_look_back(self) -> bool:
        now, before = self._clock.now(), self._looked_back
        if before is not None and now - before < _LOOK_BACK_EVERY:
            return False
        self._looked_back = now
        return True

    def close(self) -> None:
        """Let what has begun end."""
        self._delivery.close()
        self._readers.shutdown(wait=True, cancel_futures=True)

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
        best = self._delivery.furthest()
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
            taken = [one for one in in_threads(self._readers, self._take, group) if one is not None]
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
                reason = left_out(info.path)
                if reason is not None:
                    orders.left_out[reason] += not is_own(info.path)
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
        for info, taken in zip(
            touched, in_threads(self._readers, self._take, touched), strict=True
        ):
            if taken is None:
                continue
            file, _ = taken
            if file.sha256 == hashes[info.path]:
                self._known[info.path] = _mark(info)
            else:
                self._refused[info.path] = (
                    _mark(info),
                    _replacement_refusal(file, hashes[info.path]),
                )

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


@dataclass
class _Orders:
    files: int = 0
    bytes: int = 0
    waiting: list[str] = field(default_factory=list)
    left_out: Counter[LeftOut] = field(default_factory=Counter)


def _replacement_refusal(file: ShippedFile, shipped: str) -> Refusal:
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
