"""SQL over Parquet files in a DuckDB of one's own; rows never become Python objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from proa.storage import Store, is_url
from proa.text import duckdb_literal

THREADS = 2
_MEMORY_LIMIT = "1200MB"
_ROWS = 65_536
"""Rows of a batch on its way from DuckDB into a file."""


@contextmanager
def duck_database() -> Iterator[tuple[Any, str]]:
    """A database in memory, and a folder for what does not fit; both are gone afterwards."""
    import duckdb

    with TemporaryDirectory(prefix="proa-cdc-") as scratch:
        settings = {
            "threads": THREADS,
            "memory_limit": _MEMORY_LIMIT,
            "temp_directory": f"{scratch}/spill",
        }
        database = duckdb.connect(config=settings)
        try:
            database.execute("SET TimeZone = 'UTC'")
            yield database, scratch
        finally:
            database.close()


class LocalFiles:
    """Files that can be read here, wherever they lie."""

    def __init__(self, scratch: Path, options: Mapping[str, str]) -> None:
        """`options` reach remote files, which are fetched into the folder `scratch`."""
        self.scratch = scratch
        self.options = options

    def local(self, locations: Sequence[str]) -> list[str]:
        """Paths at which these files can be read: remote ones are fetched."""
        if not any(map(is_url, locations)):
            return list(locations)
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(self.fetch, locations))

    def fetch(self, location: str) -> str:
        folder, _, name = location.rpartition("/")
        path = self.scratch / f"{abs(hash(folder)):x}-{name}"
        if not path.exists():
            store = Store.open(folder, self.options)
            with path.with_suffix(".part").open("wb") as file:
                for chunk in store.chunks(name):
                    file.write(chunk)
            path.with_suffix(".part").rename(path)
        return str(path)


class LocalDatabase(LocalFiles):
    """A database with what is asked of it again and again."""

    def __init__(self, database: Any, scratch: Path, options: Mapping[str, str]) -> None:
        super().__init__(scratch, options)
        self.database = database

    def execute(self, statement: str) -> Any:
        return self.database.execute(statement)

    def number(self, query: str) -> int:
        return int(self.execute(query).fetchone()[0])

    def names(self, source: str) -> list[str]:
        """The columns of a relation."""
        return list(self.execute(f"SELECT * FROM {source} LIMIT 0").to_arrow_table().schema.names)  # noqa: S608 - a relation's name

    def batches(self, query: str) -> Iterator[pa.RecordBatch]:
        cursor = self.database.cursor()
        cursor.execute("SET TimeZone = 'UTC'")
        yield from cursor.execute(query).to_arrow_reader(_ROWS)

    def source(self, locations: Sequence[str]) -> str:
        """SQL that reads Parquet files, wherever they lie, as one relation."""
        return parquet_source(self.local(locations))

    def paths_between(self, bounds: Any, keys: str) -> list[str]:
        """The paths of `bounds` (`path`, `low`, `high`) between which a value may lie.

        `keys` is SQL of the values, as `k`; NULL may be anywhere.
        """
        self.database.register("bounds", bounds)
        rows = self.execute(
            f"""SELECT path FROM bounds WHERE low IS NULL OR high IS NULL OR EXISTS
                (SELECT 1 FROM ({keys}) WHERE k IS NULL OR k BETWEEN low AND high)"""  # noqa: S608
        ).to_arrow_table()
        paths: list[str] = rows.column(0).to_pylist()
        return paths


def parquet_source(paths: Sequence[str], options: str = "") -> str:
    """SQL that reads Parquet files as one relation."""
    files = ", ".join(map(duckdb_literal, paths))
    return f"read_parquet([{files}], union_by_name = true, hive_partitioning = false{options})"
