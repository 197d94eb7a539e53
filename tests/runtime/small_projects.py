"""Small projects for the tests of the runtime: their files, their data and what must come out."""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

from proa.engine import Engine
from proa.landing import Manifest, Shipment, ShippedFile
from proa.runtime import Runner, UpdateRequest, UpdateResult
from proa.storage import Store
from proa.testing import FakeClock


@dataclass
class Project:
    """A pipeline with a landing zone and a storage of its own."""

    folder: Path
    """Where the source files are."""
    base: str
    """Path or URL below which landing zone and storage lie."""
    engine: Engine
    options: Mapping[str, str] = field(default_factory=dict)
    configuration: Mapping[str, str] = field(default_factory=dict)
    clock: Any = field(default_factory=FakeClock)
    files: list[Path] = field(default_factory=list)

    @property
    def landing(self) -> Store:
        return Store.open(f"{self.base}/landing", self.options)

    @property
    def storage(self) -> str:
        return f"{self.base}/storage"

    def write(self, text: str, name: str = "pipeline.py") -> Project:
        """A source file of the pipeline."""
        path = self.folder / name
        header = "from pyspark import pipelines as dp\nfrom pyspark.sql import functions as F\n"
        path.write_text((header if name.endswith(".py") else "") + textwrap.dedent(text))
        if path not in self.files:
            self.files.append(path)
        return self

    def land(self, path: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """A JSON file in the landing zone."""
        body = "".join(json.dumps(row, default=str) + "\n" for row in rows)
        self.landing.put(path, body.encode())

    def ship(self, source: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """A JSON file in the landing zone, as a shipment that its manifest names."""
        body = "".join(json.dumps(row, default=str) + "\n" for row in rows)
        self.ship_bytes(source, body.encode())

    def ship_bytes(self, source: str, body: bytes, suffix: str = "json") -> None:
        """A file in the landing zone, as a shipment that its manifest names."""
        manifest = Manifest(self.landing, source)
        manifest.refresh()
        number = manifest.head + 1
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
        path = f"{number:05d}.{suffix}"
        self.landing.put(f"{source}/{path}", body)
        sha256 = hashlib.sha256(body).hexdigest()
        file = ShippedFile(path=path, size=len(body), sha256=sha256, modified=at)
        manifest.append(Shipment(first=number, shipped_at=at, files=(file,)))

    def runner(self, **options: Any) -> Runner:
        return Runner.from_settings(
            "test",
            self.storage,
            self.files,
            {"landing_zone": f"{self.base}/landing", **self.configuration},
            storage_options=self.options,
            engine=self.engine,
            clock=self.clock,
            **options,
        )

    def run(self, **request: Any) -> UpdateResult:
        """One update by a new runner, as after a restart."""
        with self.runner() as runner:
            return runner.update(UpdateRequest(**request))

    def table(self, name: str, version: int | None = None) -> DeltaTable:
        url = f"{self.storage}/tables/{name}"
        return DeltaTable(url, version=version, storage_options=dict(self.options))

    def rows(self, name: str, *columns: str, version: int | None = None) -> list[Any]:
        """The table's rows in order; of one column the values, of several tuples, else dicts."""
        found = self.table(name, version).to_pyarrow_table().to_pylist()
        if len(columns) == 1:
            return sorted((row[columns[0]] for row in found), key=str)
        if columns:
            return sorted((tuple(row[c] for c in columns) for row in found), key=str)
        return sorted(found, key=str)

    def exists(self, name: str) -> bool:
        return DeltaTable.is_deltatable(f"{self.storage}/tables/{name}", dict(self.options))


def ok(result: UpdateResult) -> UpdateResult:
    """The result, once it is sure that the update went well."""
    if result.error is not None:
        raise result.error
    assert result.state == "COMPLETED"
    return result
