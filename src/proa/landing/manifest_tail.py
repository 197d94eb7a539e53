"""What came after a place in a manifest's order, and where the manifest of a folder is.

Whoever reads a landing zone in its order asks for what is new only: finding it costs the same
however many files went before, and lists nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from proa.landing.manifest import FOLDER, SCHEMA, Manifest, Shipment, rows_of
from proa.lazy import compute as pc
from proa.storage import Store, is_url

_FEW = 32
"""Shipments that are asked for one by one before the segments are looked at."""


@dataclass(frozen=True)
class ListedFolder:
    """A folder in a landing zone whose files manifests list."""

    zone: str
    """Absolute path or URL of the landing zone."""
    sources: tuple[str, ...]
    """Names of the sources whose files lie in the folder, sorted."""


def find_listed_folder(folder: str, options: Mapping[str, str]) -> ListedFolder | None:
    """Look in the folder and those above it for the manifests of its files.

    Returns None when there are none, or when the folder is a zone in which others put files too.
    """
    own = _sources(folder, options)
    if own:
        others = {name for name in _folders(folder, options) if name[:1] not in {"_", "."}}
        return ListedFolder(folder, own) if others <= set(own) else None
    zone, _, below = folder.rpartition("/")
    while zone.strip("/") and not zone.endswith(":/"):
        source = below.partition("/")[0]
        if _has_manifest(zone, source, options):
            return ListedFolder(zone, (source,))
        zone, _, name = zone.rpartition("/")
        below = f"{name}/{below}"
    return None


def _sources(zone: str, options: Mapping[str, str]) -> tuple[str, ...]:
    if not is_url(zone):
        manifests = Path(zone, FOLDER)
        return tuple(sorted(p.name for p in manifests.iterdir())) if manifests.is_dir() else ()
    return tuple(Store.open(zone, options).folders(FOLDER))


def _folders(zone: str, options: Mapping[str, str]) -> list[str]:
    return Store.open(zone, options).folders()


def _has_manifest(zone: str, source: str, options: Mapping[str, str]) -> bool:
    if not is_url(zone):
        return Path(zone, FOLDER, source).is_dir()
    return next(iter(Store.open(zone, options).walk(f"{FOLDER}/{source}")), None) is not None


class ManifestTail:
    """The files of one source after a place in its order. Remembers what it has read."""

    def __init__(self, zone: Store, source: str) -> None:
        self._zone = zone
        self._source = source
        self._rows = pa.Table.from_batches([], SCHEMA)
        self._after = -1
        self._head = -1

    @property
    def head(self) -> int:
        """The number of the last file, as of the last look."""
        return max(self._head, 0)

    def rows_after(self, after: int) -> pa.Table:
        """Look for the files after number `after`, where a shipment ends; a table of `SCHEMA`."""
        if not 0 <= self._after <= after <= self._head:
            self._after = self._head = after
            self._rows = self._begin(after)
        manifest = Manifest(self._zone, self._source)
        self._extend(self._shipments(manifest, None))
        self._rows = self._rows.slice(after - self._after)
        self._after = after
        return self._rows

    def rows_of(self, first: int, last: int | None) -> pa.Table:
        """The files of the shipments `first` to `last`, None for all that follow, as `rows_after`.

        The manifest is asked when they are not among those that were read last.
        """
        rows = self._rows
        if last is None or not 0 <= self._after < first or last > self._head:
            rows = Manifest(self._zone, self._source).table(first - 1)
        shipments = rows["shipment"]
        inside = pc.greater_equal(shipments, first)
        if last is not None:
            inside = pc.and_(inside, pc.less_equal(shipments, last))
        return rows.filter(inside)

    def _begin(self, after: int) -> pa.Table:
        manifest = Manifest(self._zone, self._source)
        first = self._shipments(manifest, _FEW)
        if len(first) < _FEW:
            rows = rows_of(first)
        else:
            manifest.refresh()
            rows = manifest.table(after)
        self._head = after + len(rows)
        return rows

    def _extend(self, shipments: list[Shipment]) -> None:
        if shipments:
            self._rows = pa.concat_tables([self._rows, rows_of(shipments)])
            self._head = shipments[-1].last

    def _shipments(self, manifest: Manifest, most: int | None) -> list[Shipment]:
        """The shipments after `_head`, asked for one by one."""
        found: list[Shipment] = []
        head = self._head
        while most is None or len(found) < most:
            shipment = manifest.shipment(head + 1)
            if shipment is None:
                break
            found.append(shipment)
            head = shipment.last
        return found
