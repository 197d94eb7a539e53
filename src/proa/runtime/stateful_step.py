"""The step of a batch that an operator with state takes: from the new rows to those it lets through."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from pyspark.sql.connect import proto
from pyspark.sql.types import StructType

from proa.engine import Engine, Relation
from proa.errors import ConflictError, DataError
from proa.formats.place import PLACE, TIME, with_place
from proa.graph import FlowNode
from proa.graph.plan import bind
from proa.graph.row_places import column_reference
from proa.graph.stateful_plan import KEY, RELEASED, RELEASED_RIGHT, StatefulPlan
from proa.graph.stream_joins import JoinSide
from proa.lake import Destination, Table, discard_attempt, write_frame
from proa.lake.table_schema import to_arrow
from proa.storage import Store
from proa.streaming.release import Released, ReleaseInput, release, release_pairs
from proa.streaming.stream_state import StateStore, StreamState, state_app

_Stage = Callable[[Relation, str], tuple[list[str], StructType]]


class StatefulStep:
    """What stands between the two halves of a flow's plan."""

    def __init__(self, node: FlowNode, engine: Engine, table: Table, plan: StatefulPlan) -> None:
        self._node = node
        self._engine = engine
        self._table = table
        self._plan = plan
        self._store = StateStore(table.url, table.options, node.flow.name)

    @contextmanager
    def run(
        self,
        relations: Mapping[str, Relation],
        schemas: Mapping[str, Any],
        attempt: str,
        batch: int,
        generation: int,
    ) -> Iterator[tuple[Relation, Mapping[str, int]]]:
        """Yield the plan of the batch's result, and the `txn` that its commit must carry.

        `schemas` are the columns of the leaves. What the plan reads is there until the context ends. Raises ConflictError when another
        runner was first, DataError when the state does not fit the query.
        """
        number = self._number()
        before = self._state(number, batch, generation)
        written: list[tuple[Destination, Any]] = []
        streams, empty = self._node.plan.streams, self._engine.empty
        outline = {
            key: empty(with_place(columns) if key in streams else columns)
            for key, columns in schemas.items()
        }

        def stage(template: Relation, name: str) -> tuple[list[str], StructType]:
            schema = self._engine.schema(bind(template, outline))
            return self._stage(bind(template, relations), schema, f"{attempt}-{name}", written)

        try:
            parts = self._release(stage, before, attempt)
            state = self._store.put(
                replace(parts[0].state, batch=batch, generation=generation), number or 0
            )
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
        visible = StructType([f for f in schema.fields if not _is_hidden(f.name)])
        destination = Destination(
            url=f"{self._table.url}/{self._store.folder}/batch",
            options=self._table.options,
            schema=to_arrow(schema),
            attempt=attempt,
        )
        files = write_frame(self._engine, self._engine.dataframe(relation), destination).files
        written.append((destination, files))
        return [f"{destination.url}/{file.path}" for file in files], visible

    def _remove(self, files: tuple[str, ...]) -> None:
        store = Store.open(self._table.url, self._table.options)
        for file in files:
            with suppress(Exception):
                store.delete(file.removeprefix(f"{self._table.url}/"))


def _is_hidden(name: str) -> bool:
    return name in {PLACE, TIME} or name.startswith(KEY)


def _only(relation: Relation, names: tuple[str, ...]) -> Relation:
    plan = proto.Relation()
    plan.project.input.CopyFrom(relation)
    plan.project.expressions.extend(map(column_reference, names))
    return plan
