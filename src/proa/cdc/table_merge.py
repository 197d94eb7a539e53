"""A table's files and what changes in them: the part that all merges have in common.

The work is SQL over Parquet files in an embedded DuckDB; rows never become Python objects. Files
without a touched key are not read, files without a changed row are not written.
"""

# ruff: noqa: S608 - identifiers are quoted, no value of a row is put into a query

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import types as T  # noqa: N812 - the name that Spark's users know it by

from proa.cdc.local_database import THREADS, LocalDatabase, parquet_source
from proa.cdc.memory import Memory
from proa.cdc.shape import ChangeShape
from proa.errors import DataError
from proa.graph.table_options import CHANGE_TYPE
from proa.lake import DataFile, Destination, Table, write_batches
from proa.lake.table_schema import to_arrow
from proa.text import duckdb_identifier, duckdb_literal

FILE_BYTES = 4 << 20
"""Files of a merged table stay small: a change of one row writes little anew, and threads share them."""
CHANGES = "_change_data"
"""Below the table: where Delta keeps files that say what changed."""
GROUP_BYTES = 8 << 20
"""Arrow bytes of a row group: several of a file are read at the same time."""
FILE, POSITION = "__proa_file", "file_row_number"


@dataclass(frozen=True)
class MergeInput:
    """One batch of change rows and the table that they change."""

    table: Table
    version: int
    """The version of the table that is changed; -1: it has no rows, whatever the table shows."""
    generation: int
    """The generation that the batch belongs to."""
    shape: ChangeShape
    dataset: str
    changes: Sequence[str]
    """Locations of the Parquet files with the change rows."""
    schema: Any
    """The table's columns after the batch, as a StructType."""
    partition_by: tuple[str, ...]
    attempt: str
    feed: bool = False
    """Whether the table records what changed, row by row."""
    versions: tuple[Any, ...] | None = None
    """For snapshots: their versions, oldest first; empty for one that has only a time. None: the
    rows are changes."""


@dataclass(frozen=True)
class Merged:
    """What a batch does to a table. Nothing of it is part of the table yet."""

    adds: tuple[DataFile, ...]
    removes: tuple[str, ...]
    """Files of the table, relative to it, in whose place `adds` are."""
    memory: Memory | None
    """What an AUTO CDC target remembers from now on; None for other merges."""
    upserted: int
    deleted: int
    changes: tuple[DataFile, ...]
    """Files that say row by row what changed, where the table records that and files are removed."""
    ties: int
    """Keys that had several different changes of one sequence."""


class FileMerge(LocalDatabase):
    """One merge on its way. Who makes the tables `removed` (`file`, `pos`: places of rows that go)
    and `added` (key, `v`, `file`: rows that come, and near which) has it written here.
    """

    updates = True
    """Whether a row that comes is another state of the row of its key that goes."""

    def __init__(self, given: MergeInput, database: Any, scratch: Path) -> None:
        super().__init__(database, scratch, given.table.options)
        self.given = given
        self.shape = given.shape
        self.paths: dict[str, str] = {}
        """Table files by the path at which DuckDB reads them."""
        self.row = given.shape.row_of()
        """SQL of the target's columns from those of `added`."""

    def check_keys(self) -> None:
        """Raise DataError for a row in `fresh` that belongs to no key."""
        missing = " OR ".join(f"k{i} IS NULL" for i in range(len(self.shape.keys)))
        if count := self.number(f"SELECT count(*) FROM fresh WHERE {missing}"):
            raise invalid_changes(self.given.dataset, count, "NULL in a key", "NULL_KEY")

    def touched_files(self) -> dict[str, str]:
        """The files that may hold a touched key: path to read from, and path in the table."""
        table, shape = self.given.table, self.shape
        files = table.whole_files(self.given.version) if self.given.version >= 0 else ()
        if not files:
            return {}
        key = next(f for f in shape.columns.fields if f.name.lower() == shape.keys[0].lower())
        bounds = table.key_bounds(key.name, self.given.version)
        wanted = files
        if bounds is not None:
            paths = self.paths_between(bounds, "SELECT k0 AS k FROM touched")
            wanted = tuple(f"{table.url}/{path}" for path in paths)
        table.check(wanted)
        return dict(
            zip(
                self.local(wanted),
                (file.removeprefix(f"{table.url}/") for file in wanted),
                strict=True,
            )
        )

    # -- what is written --------------------------------------------------------------------------

    def write_rows(self) -> tuple[tuple[str, ...], tuple[DataFile, ...]]:
        """Write the changed files anew, and new rows into files of their own."""
        rows = self.execute("SELECT DISTINCT file FROM removed ORDER BY file").to_arrow_table()
        changed = rows.column(0).to_pylist()
        queries = [(self.rewritten_rows(group), 2 * FILE_BYTES) for group in file_groups(changed)]
        if self.number("SELECT count(*) FROM added WHERE file IS NULL"):
            keys = self.shape.key_names
            rows_of_new_keys = f"SELECT {self.row} FROM added WHERE file IS NULL ORDER BY {keys}"
            queries.append((rows_of_new_keys, FILE_BYTES))
        with ThreadPoolExecutor(THREADS) as pool:
            parts = pool.map(lambda part: self.write(*part), queries)
            files = [file for part in parts for file in part]
        return tuple(self.paths[path] for path in changed), tuple(files)

    def rewritten_rows(self, paths: Sequence[str]) -> str:
        """SQL of the rows that the files `paths` are to have from now on."""
        here = f"file IN ({', '.join(map(duckdb_literal, paths))})"
        file = f"t.{FILE} = r.file AND " if len(paths) > 1 else ""
        return f"""SELECT * EXCLUDE ({FILE}, {POSITION}) FROM {self.placed_source(paths)} t
            ANTI JOIN (SELECT file, pos FROM removed WHERE {here}) r ON {file}t.{POSITION} = r.pos
            UNION ALL BY NAME SELECT {self.row} FROM added WHERE {here}"""

    def placed_source(self, paths: Sequence[str]) -> str:
        """SQL that reads files of the table with the place of each row: its file and position."""
        return parquet_source(paths, f", filename = '{FILE}', file_row_number = true")

    def write_changes(self) -> tuple[DataFile, ...]:
        """Write what changed as Delta's change feed has it: rows that went, and rows that came."""
        row = self.shape.key_names + (", s" if self.shape.history else "")
        change = f"AS {duckdb_identifier(CHANGE_TYPE)}"
        sides = (
            ("removed", "added", "delete", self.updates and "update_preimage"),
            ("added", "removed", "insert", self.updates and "update_postimage"),
        )
        query = " UNION ALL BY NAME ".join(
            f"""SELECT {self.row},
                CASE WHEN ({row}) IN (SELECT ({row}) FROM {other}) THEN '{both or one}' ELSE '{one}' END
                {change} FROM {side}"""
            for side, other, one, both in sides
        )
        columns = T.StructType(
            [*self.given.schema.fields, T.StructField(CHANGE_TYPE, T.StringType())]
        )
        return change_files(self.given, self.batches(query), columns)

    def write(self, query: str, file_bytes: int) -> tuple[DataFile, ...]:
        return write_batches(
            self.batches(query), merge_destination(self.given, file_bytes=file_bytes)
        )


def file_groups(paths: Sequence[str]) -> list[list[str]]:
    """Files that are written anew together: small ones become one."""
    groups: list[list[str]] = []
    room = 0
    for path in paths:
        size = Path(path).stat().st_size
        if not groups or size > room:
            groups.append([])
            room = FILE_BYTES
        groups[-1].append(path)
        room -= size
    return groups


def merge_destination(
    given: MergeInput,
    folder: str = "",
    columns: Any = None,
    file_bytes: int = 2 * FILE_BYTES,
) -> Destination:
    """Where the files of a merge go: `columns`, a StructType, are the table's own if not given."""
    return Destination(
        url=given.table.url + folder,
        options=given.table.options,
        schema=to_arrow(columns or given.schema),
        attempt=given.attempt,
        partition_by=given.partition_by,
        file_bytes=file_bytes,
        group_bytes=GROUP_BYTES,
    )


def change_files(
    given: MergeInput, batches: Iterable[pa.RecordBatch], columns: Any
) -> tuple[DataFile, ...]:
    """Write rows of a change feed, with the columns `columns`, beside the table's files."""
    files = write_batches(batches, merge_destination(given, f"/{CHANGES}", columns))
    return tuple(replace(file, path=f"{CHANGES}/{file.path}") for file in files)


def invalid_changes(dataset: str, count: int, what: str, condition: str) -> DataError:
    return DataError(
        f"{count} change{'s' * (count != 1)} for {dataset!r} {'have' if count != 1 else 'has'}"
        f" {what}; filter them out in the source, or give them a value",
        condition=f"AUTOCDC_MICROBATCH_VALIDATION.{condition}",
    )
