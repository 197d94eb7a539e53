"""Gives a folder that somebody else fills, in every landing zone, a manifest.

What lies in all zones with the same bytes gets its numbers; what does not waits. The first zone's
manifest is the journal: it is written first, and the others are brought up to it before anything new
is numbered. So adopting may be interrupted anywhere, and is done again by doing it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from proa.clock import Clock
from proa.errors import ConflictError, DataError, UnknownOutcome, UserError
from proa.landing.delivery import Zone, hash_of
from proa.landing.manifest import Manifest, Shipment, ShippedFile
from proa.steps import Step, step
from proa.storage import ObjectInfo, Store
from proa.storage.visible import is_hidden

_READERS = 8


@dataclass(frozen=True)
class AdoptReport:
    """What adopting a folder has done."""

    source: str
    files: int
    """Files that have a number now and had none."""
    through: int
    """The number of the last file."""
    waiting: Mapping[str, str] = field(default_factory=dict)
    """Files without a number, and why."""


class _AdoptedZone:
    """A landing zone with the folder."""

    def __init__(self, zone: Zone, source: str) -> None:
        self.name = zone.name
        self.source = source
        self.store: Store = zone.open()
        self.manifest = Manifest(self.store, source)
        self.manifest.refresh()

    def visible_files(self) -> dict[str, ObjectInfo]:
        """The files that readers see, by their paths in the folder."""
        below = f"{self.source}/"
        found = {info.path.removeprefix(below): info for info in self.store.walk(self.source)}
        return {path: info for path, info in found.items() if not is_hidden(path)}

    def hash(self, path: str) -> str:
        return hash_of(self.store, f"{self.source}/{path}")

    def append(self, shipment: Shipment) -> None:
        """Add a shipment. Raises ConflictError when another one stands in its place."""
        try:
            with step(Step.SHIP_PUT_MANIFEST):
                self.manifest.append(shipment)
        except (ConflictError, UnknownOutcome):
            self.manifest.refresh()
            if self.manifest.shipment(shipment.first) != shipment:
                raise
        self.manifest.compact()


def adopt_files(source: str, zones: Sequence[Zone], clock: Clock) -> AdoptReport:
    """Number the files of the folder `source` that no manifest names yet, in all zones alike.

    Raises UnavailableError when a zone does not answer, UserError when no zone has the folder,
    DataError when the zones' manifests differ, ConflictError when somebody else adopts meanwhile.
    """
    adopted = [_AdoptedZone(zone, source) for zone in zones]
    listings = [zone.visible_files() for zone in adopted]
    if not any(listings) and not any(zone.manifest.head for zone in adopted):
        raise UserError(
            f"no landing zone has a folder {source!r} with files; name a folder that lies in them"
        )
    _align(adopted)
    known = set(adopted[0].manifest.table()["path"].to_pylist())
    waiting, files = {}, []
    paths = sorted({path for listing in listings for path in listing} - known)
    with ThreadPoolExecutor(_READERS) as pool:
        compared = pool.map(lambda path: _compare(path, adopted, listings), paths)
        for path, found in zip(paths, compared, strict=True):
            if isinstance(found, str):
                waiting[path] = found
            else:
                files.append(found)
    if files:
        files.sort(key=lambda file: (file.modified, file.path))
        first = adopted[0].manifest.head + 1
        shipment = Shipment(first=first, shipped_at=clock.now(), files=tuple(files))
        for zone in adopted:
            zone.append(shipment)
    return AdoptReport(source, len(files), adopted[0].manifest.head, waiting)


def _align(zones: Sequence[_AdoptedZone]) -> None:
    """Bring the manifests of all zones up to the first one's."""
    journal = zones[0].manifest
    rows = journal.table().select(["seq", "path", "sha256"])
    for zone in zones[1:]:
        own = zone.manifest.table().select(["seq", "path", "sha256"])
        if own.num_rows > rows.num_rows or own != rows.slice(0, own.num_rows):
            raise DataError(
                f"the manifests of {zone.source!r} in {zones[0].name!r} and {zone.name!r} differ;"
                " restore one of them from a copy",
                condition="INVALID_MANIFEST",
            )
        while zone.manifest.head < journal.head:
            shipment = journal.shipment(zone.manifest.head + 1)
            if shipment is None:
                raise DataError(
                    f"the manifest of {zone.source!r} in {zone.name!r} ends inside of a shipment;"
                    f" restore it from {zones[0].name!r}",
                    condition="INVALID_MANIFEST",
                )
            zone.append(shipment)


def _compare(
    path: str, zones: Sequence[_AdoptedZone], listings: Sequence[Mapping[str, ObjectInfo]]
) -> ShippedFile | str:
    """The file as manifests name it, or why it must wait."""
    for zone, listing in zip(zones, listings, strict=True):
        if path not in listing:
            return f"it is not in {zone.name}"
    info = listings[0][path]
    sha256 = zones[0].hash(path)
    for zone, listing in zip(zones[1:], listings[1:], strict=True):
        if listing[path].size != info.size or zone.hash(path) != sha256:
            return f"it has other bytes in {zone.name} than in {zones[0].name}"
    return ShippedFile(path=path, size=info.size, sha256=sha256, modified=info.modified)
