"""Which rows an operator with state lets through in a batch, and what it remembers afterwards.

Everything is defined over whole shipments, so it does not matter which batch they come in. For the
rows of shipment n of a stream the watermark is the greatest event time of that stream's shipments
before n, minus the delay; what is not later than it is late. A window is let through when the
watermarks of all streams, all shipments so far counted, have reached its end: no row for it can
come any more. Which rows are let through is so a function of what was shipped.
"""

# ruff: noqa: S608 - identifiers are quoted, no value of a row is put into a query

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from proa.cdc.local_database import LocalDatabase, duck_database, parquet_source
from proa.errors import DataError, PipelineError
from proa.formats.place import PLACE, TIME
from proa.graph.stateful_plan import KEY, StatefulOperator, StatefulPlan
from proa.graph.stream_joins import LEFT, NEW, OVER, RIGHT
from proa.lake import Destination, write_batches
from proa.lake.table_schema import to_arrow
from proa.streaming.stream_state import FOREVER, StateFile, StateStore, StreamState
from proa.text import duckdb_identifier

_UNTIL = "__proa_until"
"""The watermark, in microseconds, from which on a remembered row is needed no more."""
_MARK = "__proa_mark"
_RANK = "__proa_rank"
_INDEX = "__proa_index"
_AT = "__proa_at"
"""The event time of a row that is remembered for a join, in microseconds."""
_FOLDER = "released"
_ORDER = f"{PLACE}.stream, {PLACE}.shipment, {PLACE}.file, {PLACE}.start, {PLACE}.row"


@dataclass(frozen=True)
class ReleaseInput:
    """The rows of a batch at an operator."""

    plan: StatefulPlan
    rows: Sequence[str]
    """Locations of Parquet files with the rows, their hidden columns included."""
    clock: Sequence[str] | None
    """Files with the rows that the watermark is about, when they are others."""
    columns: Any
    """The columns of the rows without the hidden ones, as a StructType."""
    before: StreamState
    """The state after the batch before."""
    attempt: str


@dataclass(frozen=True)
class Released:
    """What an operator does with a batch."""

    files: tuple[str, ...]
    """Locations of the files with the rows that it lets through."""
    columns: Any
    """Their columns, as a StructType."""
    state: StreamState
    """What it remembers, not numbered yet."""


def release(given: ReleaseInput, store: StateStore) -> Released:
    """Compute what the operator lets through, and remembers.

    Raises DataError for rows that have no place in an order of shipments. Files of a failed attempt
    may be left; no log knows them.
    """
    with duck_database() as (database, scratch):
        return _Release(given, store, database, scratch).run()


def release_pairs(given: tuple[ReleaseInput, ReleaseInput], store: StateStore) -> list[Released]:
    """Compute what a join of two streams lets through of its left and its right side, and remembers.

    Raises as `release`. Both results have the same state.
    """
    with duck_database() as (left, left_scratch), duck_database() as (right, right_scratch):
        sides = [
            _StreamSide(0, given[0], store, left, left_scratch),
            _StreamSide(1, given[1], store, right, right_scratch),
        ]
        seen = {f"{side.index}:{s}": m for side in sides for s, m in side.read_rows().items()}
        for side, other in (sides, sides[::-1]):
            side.meet(other)
        written = [side.pairing(other) for side, other in (sides, sides[::-1])]
        files = [file for side, other in (sides, sides[::-1]) for file in side.remember_rows(other)]
        contract = given[0].plan.contract
        state = replace(given[0].before, contract=contract, seen=seen, files=tuple(files))
        return [
            Released(paths, side.marked_columns, state)
            for side, paths in zip(sides, written, strict=True)
        ]


class _Release(LocalDatabase):
    def __init__(self, given: ReleaseInput, store: StateStore, database: Any, scratch: str) -> None:
        super().__init__(database, Path(scratch), store.options)
        self.given = given
        self.plan = given.plan
        self.store = store
        self.before = given.before
        self.visible = [field.name for field in given.columns.fields]
        self.now: int | None = None
        """The watermark after the batch."""
        self.latest_mark: int | None = None
        """The greatest watermark of a shipment in the batch."""

    def run(self) -> Released:
        seen = self.read_rows()
        if self.plan.operator is StatefulOperator.DEDUPLICATE:
            self.deduplicate()
        elif self.plan.operator is StatefulOperator.DEDUPLICATE_WITHIN:
            self.deduplicate_within()
        elif self.plan.operator is StatefulOperator.SESSION:
            self.sessions()
        else:
            self.windows()
        columns = self.columns()
        names = ", ".join(duckdb_identifier(field.name) for field in columns.fields)
        files = self.write(f"SELECT {names} FROM released", _FOLDER, to_arrow(columns))
        state = replace(
            self.before,
            contract=self.plan.contract,
            seen=seen,
            closed=self.now,
            files=self.remember(self.now),
        )
        return Released(tuple(f"{self.store.url}/{path}" for path, _ in files), columns, state)

    # -- what there is ----------------------------------------------------------------------------

    def read_rows(self) -> Mapping[str, int]:
        """Make `timed`: the rows with the watermark of their shipment; how far each stream is."""
        rows = self.relation(self.given.rows)
        self.execute(f"CREATE VIEW fresh AS SELECT * FROM {rows}")
        timed = self.plan.delay is not None
        if timed:
            self.check_time()
        told = self.shipments("fresh", f"max(epoch_us({TIME}))" if timed else "NULL")
        lost = sum(lacking for _, _, _, lacking in told)
        if lost:
            raise DataError(
                f"{lost} row{'s' * (lost != 1)} have no place in the order of shipments, and an"
                " operator with state needs one. If their landing zone has no manifest, ship the files"
                " or run 'proa adopt'; if one flow loads several sources, load each by its own flow;"
                " if their table was written before the operator was added, refresh it fully",
                condition="STREAM_WITHOUT_ORDER",
            )
        if not timed:
            self.execute(
                f"CREATE VIEW timed AS SELECT *, CAST(NULL AS BIGINT) AS {_MARK} FROM fresh"
            )
            return {}
        if self.given.clock is not None:
            clock = self.relation(self.given.clock)
            told = self.shipments(clock, f"max(epoch_us({TIME}))")
        seen = self.mark_shipments(told)
        if seen and set(seen) >= set(self.plan.streams):
            self.now = min(seen.values()) - self._delay
        return seen

    def shipments(self, rows: str, latest: str) -> list[tuple[str, int, int | None, int]]:
        """For each shipment of rows its stream, its number, what `latest` is, and how many rows lack a
        place.
        """
        found: list[tuple[str, int, int | None, int]] = self.execute(
            f"""SELECT {PLACE}.stream, {PLACE}.shipment, {latest}, count(*) FILTER ({PLACE} IS NULL)
                FROM {rows} GROUP BY 1, 2 ORDER BY 1, 2"""
        ).fetchall()
        return found

    def mark_shipments(self, told: Sequence[tuple[str, int, int | None, int]]) -> Mapping[str, int]:
        """Make `timed` of `fresh`; returns how far each stream is then."""
        seen = dict(self.before.seen)
        marks: list[tuple[str, int, int | None]] = []
        for stream, shipment, latest, _ in told:
            past = seen.get(stream)
            marks.append((stream, shipment, None if past is None else past - self._delay))
            if latest is not None:
                seen[stream] = latest if past is None else max(past, latest)
        self.latest_mark = max((mark for _, _, mark in marks if mark is not None), default=None)
        if len(marks) == 1 and self.given.clock is None:
            [(_, _, mark)] = marks
            value = "NULL" if mark is None else str(mark)
            self.execute(
                f"CREATE VIEW timed AS SELECT *, CAST({value} AS BIGINT) AS {_MARK} FROM fresh"
            )
            return dict(sorted(seen.items()))
        columns = list(zip(*marks, strict=True)) or [(), (), ()]
        kinds = {"s": pa.string(), "n": pa.int64(), "w": pa.int64()}
        arrays = [pa.array(c, kind) for c, kind in zip(columns, kinds.values(), strict=True)]
        self.keep("mark", pa.Table.from_arrays(arrays, names=list(kinds)))
        self.execute(
            f"""CREATE VIEW timed AS SELECT fresh.*, mark.w AS {_MARK} FROM fresh LEFT JOIN mark
                ON mark.s = fresh.{PLACE}.stream AND mark.n = fresh.{PLACE}.shipment"""
        )
        return dict(sorted(seen.items()))

    @property
    def _delay(self) -> int:
        return self.plan.delay or 0

    def empty_rows(self) -> str:
        """SQL of no rows, with the hidden columns that count."""
        schema = pa.schema(
            [*to_arrow(self.given.columns), pa.field(TIME, pa.timestamp("us", "UTC"))]
        )
        place = (
            "NULL::STRUCT(stream VARCHAR, shipment BIGINT, file VARCHAR, start BIGINT, row BIGINT)"
        )
        keys = [key for key in self.plan.keys if key.startswith(KEY)]
        extra = "".join(f", NULL AS {key}" for key in keys)
        self.keep("nothing", schema.empty_table())
        return f"(SELECT *, {place} AS {PLACE}{extra} FROM nothing)"

    def keep(self, name: str, rows: pa.Table) -> None:
        """Make a table of rows. What is registered only, cursors do not see."""
        self.database.register("given", rows)
        self.execute(f"CREATE OR REPLACE TABLE {name} AS SELECT * FROM given")

    def relation(self, files: Sequence[str]) -> str:
        return parquet_source(self.local(files)) if files else self.empty_rows()

    def check_time(self) -> None:
        kind = self.time_type
        if not kind.startswith("TIMESTAMP"):
            raise PipelineError(
                f"the watermark's column is of type {kind}; cast it to a timestamp, or read it as"
                " one (schemaHints)",
                condition="EVENT_TIME_IS_NOT_ON_TIMESTAMP_TYPE",
                location=self.plan.location,
            )

    @cached_property
    def time_type(self) -> str:
        """DuckDB's type of the event time; that of a moment where there are no rows."""
        found = self.execute(f"SELECT typeof({TIME}) FROM fresh LIMIT 1").fetchone()
        return "TIMESTAMP WITH TIME ZONE" if found is None else str(found[0])

    def memory_query(self, where: str = "true") -> str:
        """SQL of the rows that the state holds; "" for none."""
        if not self.before.files:
            return ""
        files = self.local([f"{self.store.url}/{file.path}" for file in self.before.files])
        return f"SELECT * FROM {parquet_source(files)} WHERE {where}"

    def columns(self) -> Any:
        """The columns of the rows that are let through."""
        from pyspark.sql.types import StructField, StructType, TimestampNTZType, TimestampType

        name = self.window_name
        if not name:
            return self.given.columns
        aware = self.time_type.endswith("ZONE")
        kind = TimestampType() if aware else TimestampNTZType()
        window = StructType([StructField("start", kind), StructField("end", kind)])
        return StructType([*self.given.columns.fields, StructField(name, window)])

    @property
    def window_name(self) -> str:
        """The column that holds a row's window; "" when it has none."""
        if self.plan.operator is StatefulOperator.SESSION:
            return "session_window"
        window = self.plan.window
        return "window" if window is not None and window.length else ""

    # -- duplicates -------------------------------------------------------------------------------

    @property
    def keys(self) -> list[str]:
        return [duckdb_identifier(key) for key in (self.plan.keys or self.visible)]

    def live(self) -> str:
        """SQL of the rows that are not late."""
        if self.plan.delay is None:
            return "SELECT * FROM timed"
        return f"""SELECT * FROM timed
            WHERE {_MARK} IS NULL OR {TIME} IS NULL OR epoch_us({TIME}) > {_MARK}"""

    def first(self, source: str) -> str:
        """SQL of the first row of each key."""
        rest = ", ".join(map(duckdb_identifier, self.visible))
        return f"""SELECT * EXCLUDE ({_RANK}) FROM (SELECT *, row_number() OVER
            (PARTITION BY {", ".join(self.keys)} ORDER BY {_ORDER}, {rest}) AS {_RANK}
            FROM ({source})) WHERE {_RANK} = 1"""

    def same(self, left: str, right: str) -> str:
        return " AND ".join(f"{left}.{key} IS NOT DISTINCT FROM {right}.{key}" for key in self.keys)

    def deduplicate(self) -> None:
        """Make `released` and `learned` for the first rows of keys."""
        known = self.memory_query()
        new = f"ANTI JOIN ({known}) k ON {self.same('f', 'k')}" if known else ""
        self.execute(
            f"CREATE TABLE released AS SELECT f.* FROM ({self.first(self.live())}) f {new}"
        )
        until = f"coalesce(epoch_us({TIME}), {FOREVER})" if self.plan.forgets else f"{FOREVER}"
        self.execute(
            f"""CREATE TABLE learned AS SELECT {", ".join(self.keys)}, {until} AS {_UNTIL}
                FROM released"""
        )

    def deduplicate_within(self) -> None:
        """As `deduplicate`, and keys are new again once the watermark has passed them."""
        keys = ", ".join(self.keys)
        known, rest = self.memory_query(), self.live()
        if known:
            latest = f"SELECT {keys}, max({_UNTIL}) AS {_UNTIL} FROM ({known}) GROUP BY {keys}"
            rest = f"""SELECT r.* FROM ({rest}) r LEFT JOIN ({latest}) k
                ON {self.same("r", "k")} WHERE k.{_UNTIL} IS NULL OR {_MARK} >= k.{_UNTIL}"""
        until = f"coalesce(epoch_us({TIME}) + {self.plan.delay}, {FOREVER})"
        found: list[str] = []
        while True:
            first = f"first{len(found)}"
            self.execute(f"CREATE TABLE {first} AS {self.first(rest)}")
            found.append(f"SELECT * FROM {first}")
            soonest = self.execute(f"SELECT min({until}) FROM {first}").fetchone()[0]
            if soonest is None or self.latest_mark is None or self.latest_mark < soonest:
                break
            self.execute(
                f"""CREATE TABLE after{first} AS SELECT r.* FROM ({rest}) r JOIN
                    (SELECT {keys}, {until} AS {_UNTIL} FROM {first}) f
                    ON {self.same("r", "f")} WHERE r.{_MARK} >= f.{_UNTIL}"""
            )
            rest = f"SELECT * FROM after{first}"
        self.execute(f"CREATE VIEW released AS {' UNION ALL '.join(found)}")
        self.execute(
            f"""CREATE TABLE learned AS SELECT {keys}, max({until}) AS {_UNTIL}
                FROM released GROUP BY {keys}"""
        )

    # -- windows ----------------------------------------------------------------------------------

    def moment(self, micros: str) -> str:
        aware = self.time_type.endswith("ZONE")
        return f"make_timestamp{'tz' * aware}({micros})"

    def struct_of(self, start: str, end: str) -> str:
        return f"""struct_pack("start" := {self.moment(start)}, "end" := {self.moment(end)})"""

    def windows(self) -> None:
        """Make `released` and `learned`: rows of windows that are over, and of those that are not."""
        window = self.plan.window
        assert window is not None
        names = ", ".join(map(duckdb_identifier, self.visible))
        at = f"epoch_us({TIME})"
        if window.length:
            count = math.ceil(window.length / window.slide)
            last = f"({at} - (({at} - {window.offset}) % {window.slide} + {window.slide}) % {window.slide})"
            start = f"({last} - {_INDEX} * {window.slide})"
            end = f"({start} + {window.length})"
            value = f", {self.struct_of(start, end)} AS {duckdb_identifier(self.window_name)}"
            source = f"timed, (SELECT unnest(range({count})) AS {_INDEX})"
            inside = f"{end} > {at}"
        else:
            end, value, source, inside = at, "", "timed", "true"
        self.execute(
            f"""CREATE VIEW pair AS SELECT {names}{value}, {end} AS {_UNTIL} FROM {source}
                WHERE {TIME} IS NOT NULL AND {inside}
                AND ({_MARK} IS NULL OR {end} > {_MARK})"""
        )
        over = "false" if self.now is None else f"{_UNTIL} <= {self.now}"
        known = self.memory_query(f"{_UNTIL} > {self.closed_before} AND {over}")
        older = f"UNION ALL BY NAME {known}" if known else ""
        self.execute(f"CREATE VIEW released AS SELECT * FROM pair WHERE {over} {older}")
        self.execute(f"CREATE VIEW learned AS SELECT * FROM pair WHERE NOT ({over})")

    @property
    def closed_before(self) -> int:
        return -FOREVER if self.before.closed is None else self.before.closed

    def sessions(self) -> None:
        """As `windows`; a session's end depends on all of its rows, so all are looked at.

        A row is late by its own time here, so that none can come for a session that is over.
        """
        window = self.plan.window
        assert window is not None
        hidden = list(self.plan.keys)
        names = ", ".join([*map(duckdb_identifier, self.visible), *hidden, TIME])
        known = self.memory_query()
        older = f"UNION ALL BY NAME SELECT * EXCLUDE ({_UNTIL}) FROM ({known})" if known else ""
        at = f"epoch_us({TIME})"
        parts = "".join(f"{key}, " for key in hidden)
        by = f"PARTITION BY {', '.join(hidden)} " if hidden else ""
        self.execute(
            f"""CREATE TABLE open AS SELECT {names} FROM ({self.live()}) WHERE {TIME} IS NOT NULL
                {older}"""
        )
        self.execute(
            f"""CREATE TABLE run AS SELECT *, sum(CAST({_MARK} AS INTEGER)) OVER
                ({by}ORDER BY {at} ROWS UNBOUNDED PRECEDING) AS {_INDEX} FROM
                (SELECT *, coalesce({at} > lag({at}) OVER ({by}ORDER BY {at})
                 + {window.length}, true) AS {_MARK} FROM open)"""
        )
        start, end = f"min({at}) OVER s", f"(max({at}) OVER s + {window.length})"
        self.execute(
            f"""CREATE TABLE whole AS SELECT * EXCLUDE ({_MARK}, {_INDEX}),
                {self.struct_of(start, end)} AS {self.window_name}, {end} AS {_UNTIL}
                FROM run WINDOW s AS (PARTITION BY {parts}{_INDEX})"""
        )
        over = "false" if self.now is None else f"{_UNTIL} <= {self.now}"
        self.execute(f"CREATE VIEW released AS SELECT * FROM whole WHERE {over}")
        self.execute(
            f"CREATE VIEW learned AS SELECT {names}, {FOREVER} AS {_UNTIL} FROM whole WHERE NOT ({over})"
        )

    # -- what is written --------------------------------------------------------------------------

    def remember(self, watermark: int | None) -> tuple[StateFile, ...]:
        """Write what is remembered from `watermark` on; its files."""
        now = -FOREVER if watermark is None else watermark
        files = [file for file in self.before.files if file.until > now]
        count = self.number("SELECT count(*) FROM learned")
        merged = replace(self.before, files=tuple(files)).merges(count) if count else 0
        if self.plan.operator is StatefulOperator.SESSION:
            merged = len(files)
        left = files[: len(files) - merged]
        query = "SELECT * FROM learned"
        if merged and self.plan.operator is not StatefulOperator.SESSION:
            paths = self.local([f"{self.store.url}/{file.path}" for file in files[len(left) :]])
            query += f" UNION ALL BY NAME SELECT * FROM {parquet_source(paths)}"
        schema = self.execute(f"{query} LIMIT 0").to_arrow_table().schema
        source = f"SELECT * FROM ({query}) WHERE {_UNTIL} > {now}"
        until = self.execute(f"SELECT max({_UNTIL}) FROM ({source})").fetchone()[0]
        written = self.write(source, "rows", schema) if until is not None else []
        return (*left, *(StateFile(path, rows, until) for path, rows in written))

    def write(self, query: str, folder: str, schema: pa.Schema) -> list[tuple[str, int]]:
        """Write rows below the state's folder; paths in the table's folder, and rows."""
        place = f"{self.store.folder}/{folder}"
        target = Destination(
            url=f"{self.store.url}/{place}",
            options=self.store.options,
            schema=schema,
            attempt=self.given.attempt,
            passing=folder == _FOLDER,
        )
        files = write_batches(self.batches(query), target)
        return [(f"{place}/{file.path}", file.rows) for file in files]


class _StreamSide(_Release):
    """One side of a join: its rows, each with whether it is new and whether it waits any longer."""

    def __init__(
        self, index: int, given: ReleaseInput, store: StateStore, database: Any, scratch: str
    ) -> None:
        begin = f"{index}:"
        seen = {
            key.removeprefix(begin): time
            for key, time in given.before.seen.items()
            if key.startswith(begin)
        }
        files = tuple(file for file in given.before.files if file.side == index)
        self.index = index
        self.side = given.plan.sides[index]
        plan = replace(given.plan, delay=self.side.delay, streams=self.side.streams)
        before = replace(given.before, seen=seen, files=files)
        super().__init__(replace(given, plan=plan, before=before), store, database, scratch)
        self.mark = (LEFT, RIGHT)[index]
        self.is_moving = False
        """Whether there are new rows, or rows that stay without a partner from now on."""
        self.watermark_before: int | None = None
        if seen and set(seen) >= set(plan.streams) and plan.delay is not None:
            self.watermark_before = min(seen.values()) - plan.delay

    @property
    def marked_columns(self) -> Any:
        from pyspark.sql.types import LongType, StructField, StructType

        return StructType([*self.given.columns.fields, StructField(self.mark, LongType())])

    def meet(self, other: _StreamSide) -> None:
        """Make `whole`: what is remembered and what is new, by what has come on the other side."""
        names = ", ".join(map(duckdb_identifier, self.visible))
        at = f"epoch_us({TIME})" if self.plan.delay is not None else "CAST(NULL AS BIGINT)"
        fresh = f"SELECT {names}, {at} AS {_AT}, {NEW} AS {_MARK} FROM ({self.live()})"
        known = self.memory_query()
        if known:
            fresh += f" UNION ALL BY NAME SELECT * EXCLUDE ({_UNTIL}), 0 AS {_MARK} FROM ({known})"
        over = "false"
        if self.side.keeps:
            end = f"({_AT} + {self.side.reach})"
            over = f"({_AT} IS NULL AND {_MARK} = {NEW})"
            if other.now is not None:
                last = -FOREVER if other.watermark_before is None else other.watermark_before
                over += f" OR ({end} <= {other.now} AND ({_MARK} = {NEW} OR {end} > {last}))"
        self.execute(
            f"""CREATE TABLE whole AS SELECT *, CAST({_MARK} + CASE WHEN {over} THEN {OVER} ELSE 0
                END AS BIGINT) AS {self.mark} FROM ({fresh})"""
        )
        self.is_moving = self.number(f"SELECT count(*) FROM whole WHERE {self.mark} > 0") > 0

    def pairing(self, other: _StreamSide) -> tuple[str, ...]:
        """Write the rows that are joined in this batch; where they are."""
        names = ", ".join(duckdb_identifier(field.name) for field in self.marked_columns.fields)
        where = "true" if other.is_moving else f"{self.mark} > 0"
        query = f"SELECT {names} FROM whole WHERE {where}"
        files = self.write(query, _FOLDER, to_arrow(self.marked_columns))
        return tuple(f"{self.store.url}/{path}" for path, _ in files)

    def remember_rows(self, other: _StreamSide) -> list[StateFile]:
        """Write what may find a partner yet, or tells that a row of the other side had one."""
        until = str(FOREVER)
        reach = self.side.reach
        if reach is not None:
            if other.side.keeps and other.side.reach is not None:
                reach = max(reach, reach + other.side.reach)
            until = f"coalesce({_AT} + {reach}, {-FOREVER})"
        names = ", ".join(map(duckdb_identifier, self.visible))
        self.execute(
            f"""CREATE TABLE learned AS SELECT {names}, {_AT}, {until} AS {_UNTIL} FROM whole
                WHERE {self.mark} % 2 = {NEW}"""
        )
        marks = [mark for mark in (self.now, other.now) if mark is not None]
        files = self.remember(min(marks) if len(marks) == 2 else None)
        return [replace(file, side=self.index) for file in files]
