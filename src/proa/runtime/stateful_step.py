"""The step of a batch that an operator with state takes: from the new rows to those it lets through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

from pyspark.sql.connect import proto
from pyspark.sql.types import StructField, StructType, TimestampType

from proa.engine import Engine, Relation
from proa.errors import ConflictError, DataError, UserError
from proa.formats.place import PLACE, TIME, with_place
from proa.graph import FlowNode
from proa.graph.plan import bind
from proa.graph.row_places import column_reference
from proa.graph.stateful_plan import (
    KEY,
    RELEASED,
    RELEASED_RIGHT,
    StatefulOperator,
    StatefulPlan,
)
from proa.graph.stream_joins import JoinSide
from proa.lake import Destination, Table, discard_attempt, write_frame
from proa.lake.table_schema import to_arrow
from proa.storage import Store
from proa.streaming.release import Released, ReleaseInput, release, release_pairs
from proa.streaming.stream_state import StateStore, StreamState, state_app
from proa.text import quote_identifier

_Stage = Callable[[Relation, str], tuple[list[str], StructType]]


class StatefulStep:
    """What stands between the two halves of a flow's plan."""

    def __init__(
        self,
        node: FlowNode,
        engine: Engine,
        table: Table,
        plan: StatefulPlan,
        schemas: Mapping[str, Any],
    ) -> None:
        """`schemas` are the columns of the leaves. It serves all batches that have these."""
        self.schemas = schemas
        streams = node.plan.streams
        self._outline = {
            key: engine.empty(with_place(columns) if key in streams else columns)
            for key, columns in schemas.items()
        }
        self._node = node
        self._engine = engine
        self._table = table
        self._plan = plan
        self._analysed: dict[str, StructType] = {}
        self._store = StateStore(table.url, table.options, node.flow.name)

    @contextmanager
    def run(
        self,
        relations: Mapping[str, Relation],
        attempt: str,
        batch: int,
        generation: int,
    ) -> Iterator[tuple[Relation, Mapping[str, int]]]:
        """Yield the plan of the batch's result, and the `txn` that its commit must carry.

        What the plan reads is there until the context ends. Raises ConflictError when another
        runner was first, DataError when the state does not fit the query.
        """
        number = self._number()
        before = self._state(number, batch, generation)
        written: list[tuple[Destination, Any]] = []

        def stage(template: Relation, name: str) -> tuple[list[str], StructType]:
            schema = self._schema(template, name)
            relation = bind(template, relations)
            if template is self._plan.rows and self._columns is not None:
                schema = self._needed_columns(schema)
                relation = _only(relation, map(quote_identifier, schema.names))
            return self._stage(relation, schema, f"{attempt}-{name}", written)

        try:
            parts = self._release(stage, before, attempt)
            after = replace(
                parts[0].state,
                batch=batch,
                generation=generation,
                left_out=self._left_out(parts[0].state),
            )
            state = self._store.put(after, number or 0)
            files = tuple(file for part in parts for file in part.files)
            leaves = {
                leaf: self._engine.parquet(part.files, part.columns)
                if part.files
                else self._engine.empty(part.columns)
                for leaf, part in zip((RELEASED, RELEASED_RIGHT), parts, strict=False)
            }
            try:
                result = bind(self._plan.result, {**relations, **leaves})
                yield result, {state_app(self._node.flow.name): state.number}
            finally:
                self._remove(files)
        finally:
            for destination, made in written:
                with suppress(Exception):
                    discard_attempt(destination, made)

    @property
    def leaf_columns(self) -> Mapping[str, frozenset[str]]:
        """Which columns, in lower case, are read of a leaf, for those of which not all are."""
        columns, key = self._columns, self._plan.leaf
        return {} if columns is None else {key: columns}

    @cached_property
    def _columns(self) -> frozenset[str] | None:
        """The columns that count of the rows; None: all.

        It is all as well where the query says something else over these columns alone.
        """
        columns, engine, empty = self._plan.columns, self._engine, self._engine.empty
        if columns is None:
            return None
        rows = _visible(self._schema(self._plan.rows, "rows-0"))
        if len({name.lower() for name in rows.names}) < len(rows.names):
            return None
        window = StructType().add("start", TimestampType()).add("end", TimestampType())
        found = [
            [*fields, *(StructField(name, window) for name in ("window", "session_window"))]
            for fields in (rows.fields, self._needed_columns(rows).fields)
        ]
        try:
            results = [
                engine.schema(
                    bind(self._plan.result, {**self._outline, RELEASED: empty(StructType(fields))})
                )
                for fields in found
            ]
        except UserError:
            return None
        return columns if results[0] == results[1] else None

    def _schema(self, template: Relation, name: str) -> StructType:
        """The columns of a part of the plan, its hidden ones too; `name` tells the parts apart."""
        if name not in self._analysed:
            self._analysed[name] = self._engine.schema(bind(template, self._outline))
        return self._analysed[name]

    def _left_out(self, state: StreamState) -> tuple[str, ...]:
        """The columns that rows in the state's files lack; `state` says which the older ones do."""
        if not state.files or self._plan.operator not in _REMEMBERING_ROWS:
            return ()
        rows, named = _visible(self._schema(self._plan.rows, "rows-0")), self._columns
        now = {n.lower() for n in rows.names if named is not None and n.lower() not in named}
        return tuple(sorted(now.union(state.left_out)))

    def _needed_columns(self, schema: StructType) -> StructType:
        assert self._plan.columns is not None
        names = self._plan.columns
        return StructType(
            [f for f in schema.fields if f.name.lower() in names or _is_hidden(f.name)]
        )

    def _release(self, stage: _Stage, before: StreamState, attempt: str) -> list[Released]:
        """What is let through: of a join by its two sides."""
        plan = self._plan
        given = []
        inputs: Sequence[StatefulPlan | JoinSide] = plan.sides or (plan,)
        for index, part in enumerate(inputs):
            rows, columns = stage(part.rows, f"rows-{index}")
            clock = None
            if part.clock is not None:
                clock, _ = stage(_only(part.clock, (PLACE, TIME)), f"clock-{index}")
            name = f"{attempt}-{index}" if plan.sides else attempt
            given.append(ReleaseInput(plan, rows, clock, columns, before, name))
        if plan.sides:
            return release_pairs((given[0], given[1]), self._store)
        return [release(given[0], self._store)]

    def _number(self) -> int | None:
        table = self._table
        with table.lock:
            return table.transaction(state_app(self._node.flow.name)) if table.exists else None

    def _state(self, number: int | None, batch: int, generation: int) -> StreamState:
        before = self._store.read(number, generation)
        name, target = self._node.flow.name, self._node.target
        before.check(self._plan.contract, name, target)
        before.check_columns(self._columns, name, target)
        if before.batch >= batch:
            raise ConflictError(f"another runner of {name!r} was first; look where it stands")
        if before.batch != batch - 1:
            raise DataError(
                f"the flow {name!r} has rows of batches before its query had an operator with"
                f" state; refresh the table fully (--full-refresh {target})",
                condition="STREAMING_STATE_DRIFT",
            )
        return before

    def _stage(
        self,
        relation: Relation,
        schema: StructType,
        attempt: str,
        written: list[tuple[Destination, Any]],
    ) -> tuple[list[str], StructType]:
        """Compute rows into files of their own; where these are, and the columns that users see."""
        visible = _visible(schema)
        destination = Destination(
            url=f"{self._table.url}/{self._store.folder}/batch",
            options=self._table.options,
            schema=to_arrow(schema),
            attempt=attempt,
            passing=True,
        )
        files = write_frame(self._engine, self._engine.dataframe(relation), destination).files
        written.append((destination, files))
        return [f"{destination.url}/{file.path}" for file in files], visible

    def _remove(self, files: tuple[str, ...]) -> None:
        store = Store.open(self._table.url, self._table.options)
        for file in files:
            with suppress(Exception):
                store.delete(file.removeprefix(f"{self._table.url}/"))


_REMEMBERING_ROWS = frozenset({StatefulOperator.WINDOW, StatefulOperator.SESSION})
"""Operators whose state has all columns that the query names; that of others has keys, or all columns."""


def _is_hidden(name: str) -> bool:
    return name in {PLACE, TIME} or name.startswith(KEY)


def _visible(schema: StructType) -> StructType:
    return StructType([f for f in schema.fields if not _is_hidden(f.name)])


def _only(relation: Relation, names: Iterable[str]) -> Relation:
    plan = proto.Relation()
    plan.project.input.CopyFrom(relation)
    plan.project.expressions.extend(map(column_reference, names))
    return plan
