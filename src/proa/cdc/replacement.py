"""Replace flows: the rows of a key are all rows of its highest sequence.

A batch takes out the rows of its keys that have a lower sequence, and adds its own unless the table has
a higher one. The rows carry their sequence, so nothing else must be remembered, and the table is a function
of the bag of all rows, whatever batches they came in.
"""

# ruff: noqa: S608 - identifiers are quoted, no value of a row is put into a query

from __future__ import annotations

from pathlib import Path

from proa.cdc.local_database import duck_database, parquet_source
from proa.cdc.table_merge import (
    FILE,
    POSITION,
    FileMerge,
    Merged,
    MergeInput,
    invalid_changes,
)
from proa.text import duckdb_identifier


def replace_keys(given: MergeInput, sequence: str) -> Merged:
    """Compute what a batch of rows makes of a table whose column `sequence` orders each key's rows.

    Raises DataError for rows without key or sequence.
    """
    with duck_database() as (database, scratch):
        return _Replacement(given, database, Path(scratch)).run(sequence)


class _Replacement(FileMerge):
    """One batch of a replace flow."""

    updates = False

    def run(self, sequence: str) -> Merged:
        shape, keys = self.shape, self.shape.key_names
        order = shape.order_of(duckdb_identifier(sequence))
        source = parquet_source(self.local(self.given.changes))
        self.execute(
            f"""CREATE TABLE fresh AS SELECT {shape.key_values()}, {order} AS o,
                {shape.struct_of(self.names(source))} AS v FROM {source}"""
        )
        self.check_keys()
        if count := self.number("SELECT count(*) FROM fresh WHERE o IS NULL"):
            raise invalid_changes(
                self.given.dataset, count, "NULL as the sequence", "NULL_SEQUENCE"
            )
        self.execute(
            f"CREATE TABLE touched AS SELECT {keys}, max(o) AS o FROM fresh GROUP BY {keys}"
        )
        self.read_old(sequence)
        self.execute(
            f"""CREATE TABLE highest AS SELECT {keys}, max(o) AS o FROM
                (SELECT {keys}, o FROM touched UNION ALL SELECT {keys}, o FROM old) GROUP BY {keys}"""
        )
        self.execute(
            f"CREATE TABLE removed AS SELECT * FROM old ANTI JOIN highest USING ({keys}, o)"
        )
        self.execute(
            f"""CREATE TABLE added AS SELECT *, CAST(NULL AS VARCHAR) AS file
                FROM fresh SEMI JOIN highest USING ({keys}, o)"""
        )
        upserted, deleted = (self.number(f"SELECT count(*) FROM {t}") for t in ("added", "removed"))
        removes, adds = self.write_rows()
        changes = self.write_changes() if self.given.feed and removes else ()
        return Merged(adds, removes, None, upserted, deleted, changes, 0)

    def read_old(self, sequence: str) -> None:
        """Make `old`: the rows that the table has of the touched keys."""
        shape, keys = self.shape, self.shape.key_names
        self.paths = self.touched_files()
        if not self.paths:
            self.execute(
                f"""CREATE TABLE old AS SELECT {keys}, o, v, '' AS file, 0 AS pos
                    FROM (SELECT {shape.no_event}) WHERE false"""
            )
            return
        source = self.placed_source(list(self.paths))
        names = self.names(source)
        values = shape.struct_of(names, "t.") if self.given.feed else "NULL"
        self.execute(
            f"""CREATE TABLE old AS SELECT * FROM (SELECT {shape.key_values("t.")},
                {shape.order_of(f"t.{duckdb_identifier(sequence)}")} AS o, CAST({values} AS {shape.value_type}) AS v,
                {FILE} AS file, {POSITION} AS pos FROM {source} t) SEMI JOIN touched USING ({keys})"""
        )
