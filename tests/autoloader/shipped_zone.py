"""A landing zone that a test ships to, and regions that read it in batches of their own."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from proa.autoloader import AutoLoader, KnownFiles
from proa.errors import DataError
from proa.graph.leaves import FilesLeaf
from proa.landing import Manifest, Shipment, ShippedFile
from proa.storage import Store
from proa.testing import FakeClock

T0 = datetime(2026, 1, 1, tzinfo=UTC)
Rows = Sequence[Mapping[str, Any]]


def content(kind: str, rows: Rows) -> bytes:
    """The bytes of a file with these rows."""
    if kind == "json":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    names = list(dict.fromkeys(name for row in rows for name in row))
    if kind == "csv":
        lines = [",".join(names), *(",".join(str(r.get(n, "")) for n in names) for r in rows)]
        return ("\n".join(lines) + "\n").encode()
    columns = {n: pa.array([row.get(n) for row in rows]) for n in names} or {"z": pa.nulls(0)}
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


@dataclass
class Zone:
    """A landing zone with one source, `s`."""

    folder: Path
    shipped: int = 0

    @property
    def store(self) -> Store:
        return Store.open(str(self.folder))

    def ship(self, files: Mapping[str, bytes]) -> Shipment:
        """Land the files, then name them in the manifest as one shipment."""
        manifest = Manifest(self.store, "s")
        manifest.refresh()
        at = T0 + timedelta(minutes=manifest.head)
        for name, data in files.items():
            self.store.put(f"s/{name}", data)
        shipment = Shipment(
            first=manifest.head + 1,
            shipped_at=at,
            files=tuple(
                ShippedFile(
                    path=name, size=len(data), sha256=hashlib.sha256(data).hexdigest(), modified=at
                )
                for name, data in files.items()
            ),
        )
        manifest.append(shipment)
        return shipment


@dataclass
class Region:
    """What a region makes of a zone's files: a table, as the flow's commits would grow it."""

    engine: Any
    zone: Zone
    state: Path
    options: Mapping[str, str]
    path: str = "s"
    rows: list[dict[str, Any]] = field(default_factory=list)
    columns: list[tuple[str, str]] = field(default_factory=list)
    through: Mapping[str, int] | None = None
    stopped: bool = False

    def loader(self) -> AutoLoader:
        leaf = FilesLeaf("files:0", f"{self.zone.folder}/{self.path}", dict(self.options), None)
        state = Store.open(str(self.state))
        return AutoLoader(leaf, state=state, storage_options={}, clock=FakeClock(), parallelism=2)

    def run(self, most: int = 1000) -> None:
        """One update: everything there is, in batches of at most so many files."""
        loader = self.loader()
        backlog = loader.discover(KnownFiles(Store.open(str(self.state))), after=self.through)
        backlog._options = type(backlog._options)(**{**vars(backlog._options), "max_files": most})
        while not self.stopped and (files := backlog.take()):
            try:
                self._batch(loader, files)
            except DataError:
                self.stopped = True
                return
            self.through = backlog.positions

    def _batch(self, loader: AutoLoader, files: Any) -> None:
        for _ in range(20):
            try:
                rows = self.engine.rows(loader.relation(self.engine, files))
                break
            except DataError:
                raise
            except Exception as error:
                if not loader.evolve(self.engine, error, files):
                    raise
        known = {name for name, _ in self.columns}
        schema = loader.schema(self.engine, files)
        types = {f.name: f.dataType.simpleString() for f in schema.fields}
        self.columns = [(name, types[name]) for name, _ in self.columns]
        self.columns += [(n, kind) for n, kind in types.items() if n not in known]
        self.rows += rows

    def table(self) -> tuple[list[tuple[str, str]], list[str]]:
        """The columns in their order, and the rows in none."""
        names = [name for name, _ in self.columns]
        return self.columns, sorted(str([row.get(name) for name in names]) for row in self.rows)
