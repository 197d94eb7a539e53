"""A landing zone that a test ships to, and regions that read it in batches of their own."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import types as t

from proa.autoloader import AutoLoader, KnownFiles
from proa.errors import ProaError
from proa.formats.reader_options import METADATA_NAME
from proa.graph.leaves import FilesLeaf
from proa.landing import Manifest, Shipment, ShippedFile
from proa.pipelines.ddl import parse_type
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


class WorkerError(Exception):
    """What an engine tells of a worker's error: its text."""


@dataclass
class InProcessEngine:
    """An engine that calls functions in this process, partition after partition."""

    backwards: bool = False
    """Whether the last partition comes first: workers have no order."""
    function: Any = None
    partitions: int = 0
    schema: Any = None

    @property
    def spark(self) -> Any:
        return self

    @property
    def client(self) -> None:
        return None

    @property
    def _plan(self) -> Any:
        return self

    def to_proto(self, client: None) -> Any:
        return self

    @property
    def root(self) -> Any:
        return self

    def on_workers(self, function: Any) -> Any:
        return function

    def range(self, start: int, end: int, step: int, partitions: int) -> InProcessEngine:
        return replace(self, partitions=partitions)

    def mapInArrow(self, function: Any, schema: Any) -> InProcessEngine:  # noqa: N802 - Spark's name
        return replace(self, function=function, schema=schema)

    def collect(self) -> list[dict[str, Any]]:
        """The rows of all partitions."""
        rows: list[dict[str, Any]] = []
        for number in range(self.partitions)[:: -1 if self.backwards else 1]:
            given = pa.RecordBatch.from_pydict({"id": pa.array([number], pa.int64())})
            try:
                batches = list(self.function([given]))
            except Exception as error:  # noqa: BLE001 - as an engine does
                raise WorkerError(str(error)) from None
            rows += [row for batch in batches for row in batch.to_pylist()]
        return rows

    def rows(self, relation: InProcessEngine) -> list[dict[str, Any]]:
        return relation.collect()


class CrashError(Exception):
    """A region's process ends here."""


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
    stopped: str = ""
    """Why the region does not go on; empty while it does."""
    schema: str | None = None
    planned: tuple[Any, Any] | None = None
    """The files of a batch that is planned and not committed, and its positions."""
    generation: int = 0

    def loader(self) -> AutoLoader:
        path = f"{self.zone.folder}/{self.path}"
        leaf = FilesLeaf("files:0", path, dict(self.options), self.schema)
        return AutoLoader(
            leaf, state=self.store, storage_options={}, clock=FakeClock(), parallelism=2
        )

    @property
    def store(self) -> Store:
        return Store.open(f"{self.state}/{self.generation}")

    def refresh_fully(self) -> None:
        """Forget everything: the next update begins with the first file."""
        self.generation += 1
        self.rows, self.columns = [], []
        self.through, self.planned, self.stopped = None, None, ""

    def run(self, most: int = 1000, crash_at: int = -1) -> None:
        """One update: everything there is, in batches of at most so many files.

        The process ends at the step with the number `crash_at`, and nobody goes on.
        """
        steps = iter(range(1_000_000))

        def step() -> None:
            if next(steps) == crash_at:
                raise CrashError

        with suppress(CrashError):
            loader = self.loader()
            known = KnownFiles(self.store)
            backlog = loader.discover(known, after=self.through)
            backlog._options = replace(backlog._options, max_files=most)
            step()
            while not self.stopped:
                if self.planned is None:
                    files = backlog.take()
                    if not files:
                        return
                    self.planned = (files, backlog.positions)
                    step()
                else:  # another process has planned it
                    files = self.planned[0]
                try:
                    rows, columns = self._batch(loader, files, step)
                except ProaError as error:
                    self.stopped = f"{type(error).__name__} {error.condition}"
                    return
                step()
                known_names = {name for name, _ in self.columns}
                self.columns = [(n, columns.get(n, kind)) for n, kind in self.columns]
                self.columns += [(n, kind) for n, kind in columns.items() if n not in known_names]
                self.rows += rows
                self.through, self.planned = self.planned[1], None
                backlog = loader.discover(known, after=self.through)
                backlog._options = replace(backlog._options, max_files=most)

    def _batch(
        self, loader: AutoLoader, files: Any, step: Callable[[], None]
    ) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """The rows of a batch and the types of its columns."""
        for _ in range(60):
            try:
                rows = self.engine.rows(loader.relation(self.engine, files))
                break
            except ProaError:
                raise
            except Exception as error:
                step()
                if not loader.evolve(self.engine, error, files):
                    raise
                step()
        else:
            raise AssertionError("the schema never settles")
        fields = loader.schema(self.engine, files).fields
        # A query names the metadata or does not get them.
        return rows, {f.name: f.dataType.simpleString() for f in fields if f.name != METADATA_NAME}

    def table(self) -> tuple[list[tuple[str, str]], list[str]]:
        """The columns in their order, and the rows in none, each with its metadata."""
        types = [(name, parse_type(kind)) for name, kind in self.columns]
        rows = [
            str([*(_widest(row.get(n), kind) for n, kind in types), row.get(METADATA_NAME)])
            for row in self.rows
        ]
        return self.columns, sorted(rows)

    def history(self) -> list[tuple[Any, ...]]:
        """The versions of the schema, and what decided them."""
        return [
            (v.number, v.shipment, str(v.schema), sorted(v.decided.items()))
            for v in self.loader().versions()
        ]


def _widest(value: Any, kind: t.DataType) -> Any:
    """The value as a table shows it whose column has grown to the type: what it lacks is NULL."""
    if value is None:
        return None
    if isinstance(kind, t.StructType):
        return {f.name: _widest(value.get(f.name), f.dataType) for f in kind.fields}
    if isinstance(kind, t.ArrayType):
        return [_widest(each, kind.elementType) for each in value]
    if isinstance(kind, t.MapType):
        return [(key, _widest(each, kind.valueType)) for key, each in value]
    return value
