"""AUTO CDC: merges change rows, or the differences between snapshots, into a table's files."""

# ruff: noqa: S608 - identifiers are quoted, no value of a row is put into a query

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from proa.cdc import memory as memories
from proa.cdc.fold import fold_statements
from proa.cdc.local_database import duck_database, parquet_source
from proa.cdc.memory import Memory, MemoryStore, memory_events, newest_events
from proa.cdc.newest_rows import merge_newest
from proa.cdc.table_merge import (
    FILE,
    POSITION,
    FileMerge,
    Merged,
    MergeInput,
    invalid_changes,
)
from proa.graph.change_target import DELETE, END_AT, SEQUENCE, START_AT, TRUNCATE, UPDATE
from proa.lake import Destination, write_batches
from proa.text import duckdb_identifier


def merge(given: MergeInput) -> Merged:
    """Compute what a batch of changes makes of a table.

    Raises DataError for changes without key or sequence, and for a target that was built
    otherwise. Files of a failed attempt may be left; no log knows them.
    """
    store = MemoryStore(given.table.url, given.table.options)
    number = given.table.transaction(memories.MEMORY, given.version) if given.version >= 0 else None
    before = store.read(number, given.generation)
    before.check(given.shape, given.dataset)
    if (merged := merge_newest(given, before, store)) is not None:
        return merged
    with duck_database() as (database, scratch):
        return _Merge(given, before, store, database, Path(scratch)).run()


class _Merge(FileMerge):
    """One merge on its way."""

    def __init__(
        self, given: MergeInput, before: Memory, store: MemoryStore, database: Any, scratch: Path
    ) -> None:
        super().__init__(given, database, scratch)
        self.before = before
        self.store = store
        self.truncates = False
        """Whether the batch holds a truncation that is newer than all before."""
        self.unique = False
        """Whether no key has two changes in `fresh`."""

    def run(self) -> Merged:
        if self.given.versions is None:
            self.view_changes()
            if self.read_newest():
                return self.replace_rows()
            self.read_changes()
        else:
            self.read_snapshots()
        self.apply_truncation()
        ties = self.count_ties()
        self.read_known()
        if not self.shape.history and not self.shape.partial:
            self.keep_news()
        self.read_old()
        for statement in fold_statements(self.shape):
            self.execute(statement)
        self.compare()
        upserted, deleted = self.counts()
        removes, adds = self.write_rows()
        changes = self.write_changes() if self.given.feed and removes else ()
        return Merged(adds, removes, self.write_memory(), upserted, deleted, changes, ties)

    # -- whole rows of which each is newer than what the table has ---------------------------------

    def read_newest(self) -> bool:
        """Make `fresh` of the newest change of each key, unless the table has a newer one.

        Its columns are the key, `o`, `d` and each value as a column of its own. Returns False, and
        leaves no table, where more than that must be known to tell which rows the target has.
        """
        shape, keys = self.shape, self.shape.key_names
        names = self.names("change")
        if shape.history or shape.partial or self.given.feed or self.before.truncated is not None:
            return False
        if TRUNCATE in names and self.number(f"SELECT count(*) FROM change WHERE {TRUNCATE}"):
            return False
        deletes = f"coalesce({DELETE}, false)" if DELETE in names else "false"
        self.execute(
            f"""CREATE TABLE fresh AS SELECT {shape.key_values()},
                {shape.order_of(SEQUENCE)} AS o, {deletes} AS d, {shape.columns_of(names)}
                FROM change"""
        )
        self.check_changes()
        self.execute(
            f"CREATE TABLE newest AS SELECT {keys}, max(o) AS o FROM fresh GROUP BY {keys}"
        )
        rows = self.number("SELECT count(*) FROM fresh")
        unique = rows == self.number("SELECT count(*) FROM newest")
        if unique or rows == self.number(
            f"SELECT count(*) FROM (SELECT DISTINCT {keys}, o FROM fresh)"
        ):
            if not unique:
                self.take_fresh(f"SEMI JOIN newest USING ({keys}, o)")
            if self.drop_late():
                return True
        for name in ("newest", "fresh"):
            self.execute(f"DROP TABLE {name}")
        return False

    def drop_late(self) -> bool:
        """Take out of `fresh` what the memory has newer changes of.

        Returns False where it has one of the same moment that left a row.
        """
        events = memory_events(self.memory_files(), self.shape, values=False)
        if not events:
            return True
        keys = self.shape.key_names
        self.execute(
            f"""CREATE TABLE late AS SELECT {keys}, m.o = fresh.o AND NOT m.d AS same
                FROM ({events}) m JOIN fresh USING ({keys}) WHERE m.o >= fresh.o"""
        )
        late, same = self.execute("SELECT count(*), count(*) FILTER (same) FROM late").fetchone()
        if late and not same:
            self.take_fresh(f"ANTI JOIN late USING ({keys})")
        self.execute("DROP TABLE late")
        return not same

    def take_fresh(self, condition: str) -> None:
        self.execute(f"CREATE OR REPLACE TABLE fresh AS SELECT fresh.* FROM fresh {condition}")

    def replace_rows(self) -> Merged:
        """Put the rows of `fresh` in the place of those that the table has of its keys."""
        shape, keys = self.shape, self.shape.key_names
        self.execute(f"CREATE VIEW touched AS SELECT {keys} FROM fresh")
        self.execute("CREATE TABLE truncation AS SELECT o FROM fresh LIMIT 0")
        self.execute(
            f"""CREATE VIEW remember AS SELECT {keys}, o, d,
                CAST(NULL AS {shape.value_type}) AS v, CAST(NULL AS VARCHAR[]) AS u FROM fresh"""
        )
        self.paths = self.touched_files()
        rows = f"SELECT {keys}, '' AS file, 0 AS pos FROM fresh LIMIT 0"
        if self.paths:
            rows = f"""SELECT {shape.key_values("t.")}, {FILE} AS file, {POSITION} AS pos
                FROM {self.placed_source(list(self.paths))} t SEMI JOIN touched ON {self.same_key()}"""
        self.execute(f"CREATE TABLE removed AS {rows}")
        near = "removed"
        same = f"SELECT count(*) FROM fresh SEMI JOIN removed USING ({keys})"
        if self.number("SELECT count(*) FROM removed") != self.number(same):
            # Somebody else wrote a key twice.
            near = f"(SELECT {keys}, max(file) AS file FROM removed GROUP BY {keys})"
        # Values are not copied: each file that is written takes its own out of `fresh`.
        self.execute(
            f"""CREATE VIEW added AS SELECT fresh.*, near.file
                FROM fresh LEFT JOIN {near} near USING ({keys}) WHERE NOT d"""
        )
        self.row = shape.row_of(flat=True)
        upserted = self.number("SELECT count(*) FROM fresh WHERE NOT d")
        deleted = self.number(f"{same} WHERE d")
        removes, adds = self.write_rows()
        return Merged(adds, removes, self.write_memory(), upserted, deleted, (), 0)

    # -- what there is ----------------------------------------------------------------------------

    def view_changes(self) -> None:
        """Make `change` of the batch's files."""
        files = self.local(self.given.changes)
        self.execute(f"CREATE VIEW change AS SELECT * FROM {parquet_source(files)}")

    def read_changes(self) -> None:
        """Make `fresh` and `truncation` of the changes."""
        shape = self.shape
        names = self.names("change")
        truncates = TRUNCATE if TRUNCATE in names else "false"
        deletes = DELETE if DELETE in names else "false"
        updates = UPDATE if UPDATE in names else "NULL"
        self.execute(
            f"""CREATE TABLE fresh AS SELECT {shape.key_values()},
                {shape.order_of(SEQUENCE)} AS o,
                coalesce({deletes}, false) AS d,
                CASE WHEN NOT coalesce({deletes}, false) THEN {shape.struct_of(names)} END AS v,
                CAST({updates} AS VARCHAR[]) AS u
                FROM change WHERE NOT coalesce({truncates}, false)"""
        )
        self.execute(
            f"""CREATE TABLE truncation AS SELECT max(o) AS o FROM
                (SELECT {shape.order_of(SEQUENCE)} AS o FROM change
                 WHERE coalesce({truncates}, false)) HAVING max(o) IS NOT NULL"""
        )
        self.check_changes()

    def check_changes(self) -> None:
        """Raises DataError for a change that belongs to no key or has no place in the order."""
        self.check_keys()
        if count := self.number(f"SELECT count(*) FROM change WHERE {SEQUENCE} IS NULL"):
            raise invalid_changes(
                self.given.dataset, count, "NULL as the sequence", "NULL_SEQUENCE"
            )

    def read_snapshots(self) -> None:
        """Make `fresh` of what differs between the table and the snapshots, one after the other."""
        shape, keys = self.shape, self.shape.key_names
        files = self.local(self.given.changes)
        self.execute(
            f"CREATE TABLE truncation AS SELECT CAST(NULL AS {shape.order_type}) AS o LIMIT 0"
        )
        self.execute(f"CREATE TABLE moment AS {self.moments(files)}")
        rows = f"SELECT {shape.no_event} WHERE false"
        if files:
            source = parquet_source(files)
            rows = f"""SELECT {shape.key_values()}, {shape.order_of(SEQUENCE)} AS o,
                {shape.struct_of(self.names(source))} AS v FROM {source}"""
        self.execute(
            f"""CREATE TABLE state AS
                SELECT 0 AS n, {keys}, v FROM ({self.current_rows()})
                UNION ALL SELECT n, {keys}, max(v) AS v FROM ({rows}) JOIN moment USING (o)
                GROUP BY n, {keys}"""
        )
        self.execute(
            f"""CREATE TABLE fresh AS SELECT {keys}, o, v IS NULL AS d, v,
                CAST(NULL AS VARCHAR[]) AS u FROM
                (SELECT n, {keys}, v, lag(v) OVER (PARTITION BY {keys} ORDER BY n) AS previous FROM
                 (SELECT DISTINCT {keys} FROM state)
                 CROSS JOIN (SELECT n FROM moment UNION ALL SELECT 0)
                 LEFT JOIN state USING (n, {keys}))
                JOIN moment USING (n) WHERE v IS DISTINCT FROM previous"""
        )
        self.check_keys()

    def moments(self, files: Sequence[str]) -> str:
        """SQL of the snapshots: their order `o` and number `n`, counted from 1."""
        kind, versions = self.shape.order_type, self.given.versions
        if versions:
            self.database.register(
                "versions",
                pa.table({"o": list(versions), "n": list(range(1, len(versions) + 1))}),
            )
            return f"SELECT CAST(o AS {kind}) AS o, n FROM versions"
        if files:
            found = f"SELECT {self.shape.order_of(SEQUENCE)} AS o FROM {parquet_source(files)}"
            return f"SELECT max(o) AS o, 1 AS n FROM ({found})"
        # A snapshot without rows has its time from the clock, as others have it from the engine.
        now = self.given.table.clock.now().isoformat()
        text = f"TIMESTAMPTZ '{now}'" if kind == "TIMESTAMPTZ" else "0"
        return f"SELECT CAST({text} AS {kind}) AS o, 1 AS n"

    def current_rows(self) -> str:
        """SQL of the rows that the table has now: `k0, ..., v`."""
        shape, table = self.shape, self.given.table
        files = table.whole_files(self.given.version) if self.given.version >= 0 else ()
        if not files:
            return f"SELECT {shape.no_event} WHERE false"
        table.check(files)
        source = parquet_source(self.local(files))
        current = f"WHERE {END_AT} IS NULL" if shape.history else ""
        return f"""SELECT {shape.key_values()}, {shape.struct_of(self.names(source))} AS v
            FROM {source} {current}"""

    def apply_truncation(self) -> None:
        """Take changes out that a truncation has undone; make `touched`."""
        if self.before.truncated is not None:
            [path] = self.local([f"{self.store.url}/{self.before.truncated}"])
            self.execute(
                f"""CREATE TABLE truncated AS
                    SELECT CAST(o AS {self.shape.order_type}) AS o FROM {parquet_source([path])}"""
            )
            self.truncates = bool(
                self.number("SELECT count(*) FROM truncation t, truncated b WHERE t.o > b.o")
            )
            if not self.truncates:
                self.execute("DELETE FROM truncation")
                self.execute("INSERT INTO truncation SELECT o FROM truncated")
        else:
            self.truncates = bool(self.number("SELECT count(*) FROM truncation"))
        self.execute("DELETE FROM fresh WHERE o < (SELECT o FROM truncation)")
        self.touch()

    def touch(self) -> None:
        """Make `touched` of the keys in `fresh`, and of those that a truncation deletes."""
        keys = self.shape.key_names
        self.execute(f"CREATE OR REPLACE TABLE touched AS SELECT DISTINCT {keys} FROM fresh")
        rows = self.number("SELECT count(*) FROM fresh")
        self.unique = rows == self.number("SELECT count(*) FROM touched")
        if self.truncates:
            known = newest_events(self.memory_files(), self.shape, touched=False)
            self.execute(
                f"""INSERT INTO touched SELECT DISTINCT {keys} FROM ({known})
                    WHERE o < (SELECT o FROM truncation) EXCEPT SELECT {keys} FROM touched"""
            )

    def keep_news(self) -> None:
        """Leave in `fresh` the greatest change of each key, unless the table has a greater one.

        What comes late, or once more, so touches no file. `known` is then what the table has of the
        same moment.
        """
        keys = self.shape.key_names
        if not self.unique:
            self.execute(
                f"""CREATE OR REPLACE TABLE fresh AS
                    SELECT {keys}, m.o AS o, m.d AS d, m.v AS v, NULL AS u FROM
                    (SELECT {keys}, max(struct_pack(o := o, d := d, v := v)) AS m FROM fresh
                     GROUP BY {keys})"""
            )
        if not self.number("SELECT count(*) FROM known"):
            return
        self.execute(
            f"""CREATE OR REPLACE TABLE fresh AS SELECT fresh.* FROM fresh
                LEFT JOIN known USING ({keys}) WHERE known.o IS NULL OR fresh.o > known.o
                OR (fresh.o = known.o AND NOT known.d)"""
        )
        self.execute(
            f"""CREATE OR REPLACE TABLE known AS
                SELECT * FROM known SEMI JOIN fresh USING ({keys}, o)"""
        )
        self.touch()

    def read_known(self) -> None:
        """Make `known`: what the memory holds of the touched keys."""
        files = self.memory_files() if self.given.versions is None else []
        known = newest_events(files, self.shape, touched=True)
        self.execute(f"CREATE TABLE known AS SELECT * FROM ({known}) WHERE d IS NOT NULL")
        self.execute("DELETE FROM known WHERE o < (SELECT o FROM truncation)")

    def read_old(self) -> None:
        """Make `old`: the rows that the table has of the touched keys."""
        shape = self.shape
        self.paths = self.touched_files()
        none = f"{shape.no_event}, CAST(NULL AS {shape.order_type}) AS s"
        period = "NULL AS s, NULL AS e"
        if not self.paths:
            self.execute(
                f"""CREATE TABLE old AS SELECT {shape.key_names}, s, s AS e, v, '' AS file, 0 AS pos
                    FROM (SELECT {none}) WHERE false"""
            )
            return
        source = self.placed_source(list(self.paths))
        names = self.names(source)
        if shape.history:
            period = ", ".join(
                f"{shape.order_of(duckdb_identifier(name))} AS {short}"
                for name, short in ((START_AT, "s"), (END_AT, "e"))
            )
        values = shape.struct_of(names, "t.")
        seen = shape.history or shape.partial or self.given.feed
        if not (seen or self.number("SELECT count(*) FROM known")):
            # Every change is newer than its row, so it does not matter what that was.
            values = f"CAST(NULL AS {shape.value_type})"
        self.execute(
            f"""CREATE TABLE old AS SELECT {shape.key_values("t.")}, {period},
                {values} AS v, {FILE} AS file, {POSITION} AS pos
                FROM {source} t SEMI JOIN touched ON {self.same_key()}"""
        )
        if shape.history:
            self.execute("DELETE FROM old WHERE s IS NULL")

    # -- what changes -----------------------------------------------------------------------------

    def compare(self) -> None:
        """Make `removed` (places of rows that go) and `added` (rows that come, and near which)."""
        keys = self.shape.key_names
        row = f"{keys}, s" if self.shape.history else keys
        self.execute(
            f"""CREATE TABLE kept AS SELECT old.* FROM old JOIN result USING ({row})
                WHERE old.e IS NOT DISTINCT FROM result.e AND old.v IS NOT DISTINCT FROM result.v"""
        )
        self.execute("CREATE TABLE removed AS SELECT * FROM old ANTI JOIN kept USING (file, pos)")
        self.execute(
            f"""CREATE TABLE added AS SELECT result.*, near.file FROM
                (SELECT * FROM result ANTI JOIN kept USING ({row})) result LEFT JOIN
                (SELECT {keys}, max(file) AS file FROM removed GROUP BY {keys}) near
                USING ({keys})"""
        )

    def counts(self) -> tuple[int, int]:
        """How many rows were inserted or updated, and how many keys deleted."""
        keys = self.shape.key_names
        upserted = self.number("SELECT count(*) FROM added")
        active, closed = "", 0
        if self.shape.history:
            active = "WHERE e IS NULL"
            closed = self.number(
                f"""SELECT count(*) FROM added JOIN removed USING ({keys}, s)
                    WHERE added.v IS NOT DISTINCT FROM removed.v AND added.e IS NOT NULL"""
            )
        deleted = self.number(
            f"""SELECT count(*) FROM (SELECT DISTINCT {keys} FROM old {active})
                ANTI JOIN (SELECT {keys} FROM result {active}) USING ({keys})"""
        )
        return upserted - closed, deleted

    def count_ties(self) -> int:
        """Keys with several different changes of one sequence, of which the greatest holds."""
        if self.unique:
            return 0
        keys = self.shape.key_names
        return self.number(
            f"""SELECT count(*) FROM (SELECT 1 FROM (SELECT DISTINCT {keys}, o, d, v FROM fresh)
                GROUP BY {keys}, o HAVING count(*) > 1)"""
        )

    def write_memory(self) -> Memory:
        """Write what the memory is to hold from now on."""
        shape, keys, before = self.shape, self.shape.key_names, self.before
        if self.given.versions is not None:
            # Snapshots come in their order, so nothing that the rows do not tell is asked for.
            versions = self.given.versions
            latest = memories.version_text(versions[-1]) if versions else before.latest
            return replace(before, contract=shape.contract(), latest=latest)
        order = f"{keys}, o, d, v, u"
        self.execute(
            f"""CREATE TABLE learned AS SELECT {order} FROM remember UNION ALL BY NAME
                SELECT {keys} FROM touched ANTI JOIN remember USING ({keys})"""
        )
        count = self.number("SELECT count(*) FROM learned")
        merged = len(before.files) if self.truncates else before.merges(count)
        left = before.files[: len(before.files) - merged]
        if merged:
            older = newest_events(self.memory_files()[len(left) :], shape, touched=False)
            self.execute(
                f"""INSERT INTO learned SELECT {order} FROM ({older})
                    ANTI JOIN touched USING ({keys})"""
            )
        if not left:
            self.execute("DELETE FROM learned WHERE d IS NULL")
            self.execute("DELETE FROM learned WHERE o < (SELECT o FROM truncation)")
            self.forget()
        files = self.write_beside(f"SELECT {order} FROM learned ORDER BY {keys}")
        truncated = before.truncated
        if self.truncates:
            truncated = self.write_beside("SELECT o FROM truncation")[0][0]
        return replace(
            before, contract=shape.contract(), files=(*left, *files), truncated=truncated
        )

    def forget(self) -> None:
        """Delete deletions, and history that is not a row, from before the time that is kept."""
        clock = self.shape.clock_of("o")
        if clock is None or self.shape.retention is None:
            return
        what = "true" if self.shape.history else "d"
        self.execute(
            f"""DELETE FROM learned WHERE {what} AND {clock} <
                (SELECT max({clock}) FROM learned) - {self.shape.retention}"""
        )

    def write_beside(self, query: str) -> tuple[tuple[str, int], ...]:
        target = Destination(
            url=f"{self.store.url}/{memories.FOLDER}",
            options=self.store.options,
            schema=self.execute(f"{query} LIMIT 0").to_arrow_table().schema,
            attempt=self.given.attempt,
            group_bytes=8 << 20,
        )
        return memories.memory_files(write_batches(self.batches(query), target))

    # -- helpers ----------------------------------------------------------------------------------

    def same_key(self) -> str:
        """SQL that compares the table's key `t` with the one in `touched`."""
        names = (duckdb_identifier(key) for key in self.shape.keys)
        return " AND ".join(f"t.{name} = touched.k{i}" for i, name in enumerate(names))

    def memory_files(self) -> list[str]:
        return self.local([f"{self.store.url}/{path}" for path, _ in self.before.files])
