"""An embedded engine, and an Auto Loader over files that a test writes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from proa.autoloader import AutoLoader, KnownFiles
from proa.graph.leaves import FilesLeaf
from proa.storage import Store
from proa.testing import FakeClock


@dataclass
class LocalEngine:
    """The part of an engine that the Auto Loader needs."""

    spark: Any

    def on_workers(self, function: Any) -> Any:
        return function

    def rows(self, relation: Any) -> list[dict[str, Any]]:
        """The relation's rows, as dictionaries."""
        from pyspark.sql.connect.dataframe import DataFrame
        from pyspark.sql.connect.plan import LogicalPlan

        class Raw(LogicalPlan):
            def __init__(self) -> None:
                super().__init__(None)

            def plan(self, session: Any) -> Any:
                return relation

        return [row.asDict(recursive=True) for row in DataFrame(Raw(), self.spark).collect()]


@pytest.fixture(scope="session")
def engine() -> Iterator[LocalEngine]:
    """An engine in this process, for all tests of the process."""
    os.environ["RUST_LOG"] = "error"
    from pysail.spark import SparkConnectServer
    from pyspark.sql.connect.session import SparkSession

    server = SparkConnectServer()
    server.start(background=True)
    _, port = server.listening_address
    spark = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").create()
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    yield LocalEngine(spark)
    spark.stop()
    server.stop()


@dataclass
class Source:
    """A folder of files and an Auto Loader that reads it, batch after batch."""

    engine: LocalEngine
    folder: Path
    state: Store
    clock: FakeClock = field(default_factory=FakeClock)
    batch: int = 0

    def write(self, name: str, content: str | bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        path.write_bytes(data)
        os.utime(path, ns=(0, (1_700_000_000 + len(list(self.folder.rglob("*")))) * 10**9))

    def loader(
        self, options: Mapping[str, str] | None = None, schema: str | None = None, path: str = ""
    ) -> AutoLoader:
        written = {"cloudFiles.format": "json", **(options or {})}
        leaf = FilesLeaf("files:0", path or str(self.folder), written, schema)
        return AutoLoader(
            leaf, state=self.state, storage_options={}, clock=self.clock, parallelism=2
        )

    def read(
        self, options: Mapping[str, str] | None = None, schema: str | None = None, path: str = ""
    ) -> list[dict[str, Any]]:
        """One update: everything new, evolving as often as it takes."""
        loader = self.loader(options, schema, path)
        known = KnownFiles(self.state)
        backlog = loader.discover(known)
        rows: list[dict[str, Any]] = []
        while files := backlog.take():
            for _ in range(5):
                try:
                    rows += self.engine.rows(loader.relation(self.engine, files))
                    break
                except Exception as error:
                    if not loader.evolve(self.engine, error, files):
                        raise
            loader.record(known, self.batch, files)
            self.batch += 1
        known.compact()
        return rows


@pytest.fixture
def source(engine: LocalEngine, tmp_path: Path) -> Source:
    folder = tmp_path / "landing"
    folder.mkdir()
    return Source(engine, folder, Store.open(str(tmp_path / "state")))


@pytest.fixture
def by() -> Callable[..., list[dict[str, Any]]]:
    """Rows in the order of a column."""

    def order(rows: list[dict[str, Any]], *columns: str) -> list[dict[str, Any]]:
        return sorted(rows, key=lambda row: tuple(str(row[c]) for c in columns))

    return order
