"""Rows of a table that a batch computes anew, found by the values of some columns; and partial sums.

NULL is a value here: the rows of a group without a key are a group.
"""

# ruff: noqa: S608 - identifiers are quoted, no value of a row is put into a query

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pyspark.sql import types as T  # noqa: N812 - the name that Spark's users know it by

from proa.cdc.local_database import LocalDatabase, duck_database
from proa.cdc.shape import duck_type
from proa.cdc.table_merge import FILE, POSITION, FileMerge, Merged, MergeInput, change_files
from proa.graph.table_options import CHANGE_TYPE
from proa.lake import DataFile, Destination, write_batches
from proa.lake.table_schema import to_arrow
from proa.text import duckdb_identifier


@dataclass(frozen=True)
class TouchedKeys:
    """Keys whose rows are computed anew."""

    columns: tuple[str, ...]
    """The table's columns that make a key."""
    files: tuple[str, ...]
    """Locations of Parquet files with the keys, as `key_name` calls their columns."""
    settled: tuple[str, ...] = ()
    """Locations of Parquet files with rows of these keys that are at hand, as the table's are."""


@dataclass(frozen=True)
class PartialGroups:
    """What a change adds to groups and takes from them, and the groups as they are."""

    table: Any
    """The table that holds the groups."""
    version: int
    schema: Any
    """Its columns, a StructType."""
    keys: tuple[str, ...]
    measures: Mapping[str, str]
    """The other columns: rows, count, sum, min or max."""
    added: tuple[str, ...]
    """Locations of Parquet files with the groups of the rows that came."""
    removed: tuple[str, ...]
    """The same of the rows that went."""


def key_name(number: int) -> str:
    """The column of the key's part `number` in files of keys."""
    return f"__proa_k{number}"


def replace_touched(given: MergeInput, touched: TouchedKeys, adds: Sequence[DataFile]) -> Merged:
    """Compute what a table is without the rows of these keys and with the settled ones.

    `adds` are files below the table that come besides, for the change feed.
    """
    with duck_database() as (database, scratch):
        return _TouchedMerge(given, database, Path(scratch)).run(touched, adds)


def files_with_keys(
    table: Any, version: int, column: str, keys: Sequence[str], bounds: Any = None
) -> list[str] | None:
    """The files of a version, by their paths in the table, that may hold rows of these keys.

    `bounds` stand for the column's own. Returns None if that is not known.
    """
    bounds = table.key_bounds(column, version) if bounds is None else bounds
    if bounds is None:
        return None
    with duck_database() as (database, scratch):
        local = LocalDatabase(database, Path(scratch), table.options)
        return local.paths_between(bounds, f"SELECT {key_name(0)} AS k FROM {local.source(keys)}")


def merge_groups(
    given: PartialGroups, destination: Destination
) -> tuple[tuple[DataFile, ...], tuple[DataFile, ...], tuple[DataFile, ...]]:
    """Add partial groups to those of a table.

    Writes files into `destination`: the keys that are touched, the rows that some of these have now,
    and the keys of the others, of which the parts do not tell.
    """
    with duck_database() as (database, scratch):
        return _GroupMerge(given, database, Path(scratch)).run(destination)


class _TouchedMerge(FileMerge):
    """One replacement of rows."""

    updates = False

    def run(self, touched: TouchedKeys, adds: Sequence[DataFile]) -> Merged:
        keys = [f"{key_name(n)} AS {duckdb_identifier(c)}" for n, c in enumerate(touched.columns)]
        self.execute(
            f"""CREATE TABLE touched AS SELECT {", ".join(keys)}, {key_name(0)} AS k0
                FROM {self.source(touched.files)}"""
        )
        self.paths = self.touched_files()
        values = ", ".join(duckdb_identifier(f.name) for f in self.given.schema.fields)
        columns = f", {values}" if self.given.feed else ""
        rows = f"SELECT '' AS file, 0 AS pos{columns} FROM touched LIMIT 0"
        if self.paths:
            same = _same_keys(touched.columns, "t", "touched")
            rows = f"""SELECT {FILE} AS file, {POSITION} AS pos{columns}
                FROM {self.placed_source(list(self.paths))} t SEMI JOIN touched ON {same}"""
        elif self.given.feed:
            rows = f"SELECT '' AS file, 0 AS pos{self.no_values()}"
        self.execute(f"CREATE TABLE removed AS {rows}")
        self.row = values
        self.execute(f"CREATE VIEW added AS {self.settled_rows(touched)}")
        deleted = self.number("SELECT count(*) FROM removed")
        removes, files = self.write_rows()
        changes = self.write_feed(touched, adds) if self.given.feed and removes else ()
        return Merged(files, removes, None, 0, deleted, changes, 0)

    def no_values(self) -> str:
        fields = self.given.schema.fields
        nulls = [
            f"CAST(NULL AS {duck_type(f.dataType)}) AS {duckdb_identifier(f.name)}" for f in fields
        ]
        return f", {', '.join(nulls)} WHERE false"

    def settled_rows(self, touched: TouchedKeys) -> str:
        if not touched.settled:
            return f"SELECT NULL AS k0, CAST(NULL AS VARCHAR) AS file{self.no_values()}"
        keys = [f"{duckdb_identifier(name)} AS k{n}" for n, name in enumerate(touched.columns)]
        return f"""SELECT *, {", ".join(keys)}, CAST(NULL AS VARCHAR) AS file
            FROM {self.source(touched.settled)}"""

    def write_feed(self, touched: TouchedKeys, adds: Sequence[DataFile]) -> tuple[DataFile, ...]:
        """Write what changed as Delta's change feed has it."""
        parts = [f"SELECT {self.row}, 'delete' AS {duckdb_identifier(CHANGE_TYPE)} FROM removed"]
        files = [*(f"{self.given.table.url}/{file.path}" for file in adds), *touched.settled]
        if files:
            parts.append(
                f"SELECT {self.row}, 'insert' AS {duckdb_identifier(CHANGE_TYPE)} FROM {self.source(files)}"
            )
        columns = T.StructType(
            [*self.given.schema.fields, T.StructField(CHANGE_TYPE, T.StringType())]
        )
        return change_files(self.given, self.batches(" UNION ALL BY NAME ".join(parts)), columns)


class _GroupMerge(LocalDatabase):
    """Partial groups on their way into a table's."""

    def __init__(self, given: PartialGroups, database: Any, scratch: Path) -> None:
        super().__init__(database, scratch, given.table.options)
        self.given = given

    def run(
        self, destination: Destination
    ) -> tuple[tuple[DataFile, ...], tuple[DataFile, ...], tuple[DataFile, ...]]:
        given = self.given
        keys = ", ".join(map(duckdb_identifier, given.keys))
        for name, files in (("plus", given.added), ("minus", given.removed)):
            self.execute(
                f"CREATE TABLE {name} AS {self.groups(self.source(files) if files else '')}"
            )
        self.execute(
            f"CREATE TABLE touched AS SELECT {keys} FROM plus UNION SELECT {keys} FROM minus"
        )
        self.execute(f"CREATE TABLE old AS {self.old_groups()}")
        joins = " ".join(
            f"LEFT JOIN {side} ON {_same_keys(given.keys, side, 'touched')}"
            for side in ("old", "plus", "minus")
        )
        measures = [
            _Measure(name, role, self.type_of(name)) for name, role in given.measures.items()
        ]
        alive = " OR ".join(
            ["minus.there IS NULL", *(m.shows_rows for m in measures if m.shows_rows)]
        )
        gone = " OR ".join([m.is_over for m in measures if m.is_over] or ["false"])
        unclear = " OR ".join(f"coalesce({m.is_unclear}, false)" for m in measures)
        values = ", ".join(f"{m.value} AS {duckdb_identifier(m.name)}" for m in measures)
        names = ", ".join(f"touched.{duckdb_identifier(key)}" for key in given.keys)
        self.execute(
            f"""CREATE TABLE merged AS SELECT {names}, {values}, coalesce({gone}, false) AS gone,
                {unclear} OR NOT coalesce({alive}, false) AS unclear FROM touched {joins}"""
        )
        self.execute("UPDATE merged SET unclear = false WHERE gone")
        renamed = ", ".join(
            f"{duckdb_identifier(key)} AS {key_name(n)}" for n, key in enumerate(given.keys)
        )
        rows = ", ".join(duckdb_identifier(f.name) for f in given.schema.fields)
        return (
            self.write(f"SELECT {renamed} FROM touched", self.key_schema(), destination),
            self.write(
                f"SELECT {rows} FROM merged WHERE NOT gone AND NOT unclear",
                given.schema,
                destination,
            ),
            self.write(
                f"SELECT {renamed} FROM merged WHERE unclear", self.key_schema(), destination
            ),
        )

    def groups(self, source: str) -> str:
        """SQL of partial groups; `there` tells them from groups that are missing."""
        fields = self.given.schema.fields
        if source:
            columns = [duckdb_identifier(f.name) for f in fields]
            return f"SELECT {', '.join(columns)}, true AS there FROM {source}"
        nulls = [
            f"CAST(NULL AS {duck_type(f.dataType)}) AS {duckdb_identifier(f.name)}" for f in fields
        ]
        return f"SELECT {', '.join(nulls)}, true AS there WHERE false"

    def old_groups(self) -> str:
        """SQL of the touched groups as the table has them."""
        given, table = self.given, self.given.table
        files = list(table.whole_files(given.version))
        bounds = table.key_bounds(given.keys[0], given.version)
        if bounds is not None:
            near = self.paths_between(
                bounds, f"SELECT {duckdb_identifier(given.keys[0])} AS k FROM touched"
            )
            files = [file for file in files if file.removeprefix(f"{table.url}/") in near]
        if not files:
            return self.groups("")
        table.check(files)
        return f"""{self.groups(f"{self.source(files)} t")} SEMI JOIN touched ON
            {_same_keys(given.keys, "t", "touched")}"""

    def type_of(self, name: str) -> Any:
        return next(f.dataType for f in self.given.schema.fields if f.name == name)

    def key_schema(self) -> Any:
        return T.StructType(
            [T.StructField(key_name(n), self.type_of(k)) for n, k in enumerate(self.given.keys)]
        )

    def write(self, query: str, columns: Any, destination: Destination) -> tuple[DataFile, ...]:
        where = replace(
            destination, schema=to_arrow(_nullable(columns)), partition_by=(), flags=(), hidden=()
        )
        return write_batches(self.batches(query), where)


@dataclass(frozen=True)
class _Measure:
    """An aggregate of a group, and SQL of what its parts say."""

    name: str
    role: str
    type: Any

    def part(self, side: str) -> str:
        return f"{side}.{duckdb_identifier(self.name)}"

    @property
    def total(self) -> str:
        """What was there, plus what came, minus what went."""
        wide = duck_type(self.type) if isinstance(self.type, T.DecimalType) else "HUGEINT"
        old, plus, minus = (
            f"coalesce(CAST({self.part(side)} AS {wide}), 0)" for side in ("old", "plus", "minus")
        )
        return f"({old} + {plus} - {minus})"

    @property
    def nearest(self) -> str:
        """The least or greatest value of what was there and what came."""
        call = "least" if self.role == "min" else "greatest"
        return f"{call}({self.part('old')}, {self.part('plus')})"

    @property
    def value(self) -> str:
        """The aggregate's value now, where it is clear."""
        if self.role in {"min", "max"}:
            return self.nearest
        value = f"CAST({self.total} AS {duck_type(self.type)})"
        if self.role != "sum":
            return value
        sides = " OR ".join(f"{self.part(side)} IS NOT NULL" for side in ("old", "plus", "minus"))
        return f"CASE WHEN {sides} THEN {value} END"

    @property
    def is_unclear(self) -> str:
        """Whether the parts do not tell the value: what was taken may have been the last or least."""
        minus = self.part("minus")
        if self.role in {"min", "max"}:
            beyond = ">" if self.role == "min" else "<"
            return f"({minus} IS NOT NULL AND NOT coalesce({minus} {beyond} {self.nearest}, false))"
        if self.role != "sum":
            return f"({self.total} < 0)"
        unclear = f"({minus} IS NOT NULL AND {self.total} = 0)"
        if isinstance(self.type, T.DecimalType):
            # NULL may be a sum that was too large.
            unclear = f"({unclear} OR (old.there AND {self.part('old')} IS NULL))"
        return unclear

    @property
    def shows_rows(self) -> str:
        """Whether the measure proves that the group has rows; "" where it cannot."""
        if self.role in {"min", "max"}:
            return f"({self.nearest} IS NOT NULL AND NOT {self.is_unclear})"
        return f"({self.total} <> 0)"

    @property
    def is_over(self) -> str:
        """Whether the measure proves that the group has no rows; "" where it cannot."""
        return f"({self.total} = 0)" if self.role == "rows" else ""


def _same_keys(columns: Sequence[str], left: str, right: str) -> str:
    """SQL that compares keys, of which `touched` in a replacement has the columns `k0, k1, ...`."""
    return " AND ".join(
        f"{left}.{duckdb_identifier(name)} IS NOT DISTINCT FROM {right}.{duckdb_identifier(name)}"
        for name in columns
    )


def _nullable(columns: Any) -> Any:
    return T.StructType([T.StructField(f.name, f.dataType, True) for f in columns.fields])
