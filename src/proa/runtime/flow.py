"""One flow: where it stands, which batch is next, and that batch's way into the table.

A batch is planned, computed and committed, in this order, and each step is found done or not done
by whoever comes next. The target's log says which batch was the last; the checkpoint says what the
next one consists of, if somebody has planned it already.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from proa.engine import PYTHON_FAILED
from proa.errors import ConflictError, DataError, UserError
from proa.graph import FilesLeaf, FlowNode, TableLeaf
from proa.lake import Change, Destination, Outcome, Table, WriteResult, discard, write
from proa.lake.table import TYPES_CHANGED
from proa.lake.table_schema import WIDENING, keeps_types, merged, storable, to_arrow
from proa.layout import app_id
from proa.pipelines.ddl import parse_schema
from proa.pipelines.definitions import Dataset, DatasetKind
from proa.runtime import expectation_columns
from proa.runtime.checkpoint import Checkpoint, FilesInput, Input, Plan
from proa.runtime.context import Context
from proa.runtime.event_time import Span, joined, span
from proa.runtime.external_source import ExternalTableSource
from proa.runtime.fingerprint import fingerprint
from proa.runtime.sources import Backlog, FilesSource, Source, TableSource
from proa.storage import Store


@dataclass
class FlowProgress:
    """What a flow has done in an update so far."""

    batches: int = 0
    rows: int = 0
    dropped: int = 0
    files: int = 0
    """Raw files read."""
    bytes: int = 0
    """Bytes written."""
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    backlog: Backlog = field(default_factory=Backlog)
    event_time: Span | None = None
    """When the events of the rows written happened, where the tables say so."""
    waiting_for: str | None = None
    """What is not there yet, without which the flow cannot begin."""

    def add(self, plan: Plan, result: WriteResult, event_time: Span | None) -> None:
        self.batches += 1
        self.rows += result.rows
        self.dropped += result.dropped
        self.files += plan.files
        self.event_time = joined(self.event_time, event_time)
        self.bytes += sum(file.size for file in result.files)
        for outcome in result.outcomes:
            total = self.outcomes.setdefault(
                outcome.expectation, Outcome(outcome.expectation, outcome.violation)
            )
            total.passed += outcome.passed
            total.failed += outcome.failed


class FlowRunner:
    """Runs the batches of one flow. Kept between updates, so that what it knows stays warm."""

    def __init__(
        self, node: FlowNode, dataset: Dataset, context: Context, *, volatile: bool = False
    ) -> None:
        """`volatile`: the query may yield other rows although its inputs are unchanged."""
        self.node = node
        self.dataset = dataset
        self._volatile = volatile
        self._context = context
        self._table: Table = context.table(node.target)
        self.definition = fingerprint(node, dataset)
        """The query's fingerprint."""
        self._generation: int | None = None
        self._checkpoint: Checkpoint
        self._sources: dict[str, Source] = {}
        self._last: Plan | None = None
        self._looked = False
        self._frame: Any = None
        """The query of the batch that was computed last."""

    @property
    def name(self) -> str:
        return self.node.flow.name

    @property
    def is_view(self) -> bool:
        """Whether the flow recomputes a materialized view."""
        return self.dataset.kind is DatasetKind.MATERIALIZED_VIEW

    @property
    def _app_id(self) -> str:
        return app_id(self.name, self._generation or 0)

    def run(self, progress: FlowProgress, stop: threading.Event) -> None:
        """Bring everything that is available now into the table, batch by batch.

        Raises what stopped it; whatever was committed stays committed, and running again goes on
        from there.
        """
        self._looked = False
        while not stop.is_set():
            plan, was_pending = self._next_plan(progress)
            if plan is None:
                return
            try:
                self._execute(plan, progress)
            except DataError as error:
                if error.condition != _NO_FILES:
                    raise
                progress.waiting_for = str(error)
                return
            if self.node.flow.once or (self.is_view and not was_pending):
                return

    # -- where are we? ------------------------------------------------------------------------------

    def _next_plan(self, progress: FlowProgress) -> tuple[Plan | None, bool]:
        """The plan of the batch after the last committed one, and whether it was there already.

        No plan when there is nothing to do.
        """
        began = self._context.clock.now()
        self._table.refresh()
        self._enter(self._table.generation)
        last = self._table.transaction(self._app_id)
        number = 0 if last is None else last + 1
        if self.node.flow.once and number > 0:
            return None, False
        self._catch_up(number)
        pending = self._checkpoint.read(number)
        if pending is not None:
            # What it reads is in our list of what is new, if we have made one.
            self._looked = False
            self._remember(pending)
            return pending, True
        if not self._looked:
            for source in self._sources.values():
                source.refresh()
            self._looked = True
        plan = self._planned(number, progress)
        if plan is None:
            return None, False
        standing = self._checkpoint.put(plan)
        if self._slept_since(began):
            raise ConflictError(f"the flow {self.name!r} has slept; it looks again where it stands")
        self._remember(standing)
        if standing != plan:
            self._looked = False
        return standing, standing != plan

    def _slept_since(self, began: datetime) -> bool:
        """Whether so much time has passed that maintenance may have removed what we know of."""
        return self._context.clock.now() - began > _LONG

    def _enter(self, generation: int) -> None:
        """Forget everything that belongs to another generation."""
        if generation == self._generation:
            return
        context = self._context
        self._generation = generation
        url = context.layout.checkpoint(self.node.target, self.name, generation)
        self._checkpoint = Checkpoint(Store.open(url, context.options))
        self._last = None
        self._looked = False
        self._sources = {}
        for leaf in self.node.plan.leaves:
            if isinstance(leaf, FilesLeaf):
                state = self._checkpoint.leaf(leaf.key)
                self._sources[leaf.key] = FilesSource(leaf, state, context.options, context.clock)
            elif isinstance(leaf, TableLeaf):
                self._sources[leaf.key] = ExternalTableSource(leaf, context.options)
            else:
                self._sources[leaf.key] = TableSource(leaf, context.table(leaf.dataset))

    def _catch_up(self, number: int) -> None:
        """Know what the batches before `number` have read, whoever ran them."""
        files = [s for s in self._sources.values() if isinstance(s, FilesSource) and s.streaming]
        known = min((source.known_through for source in files), default=number - 1)
        if self._last is not None and self._last.batch == number - 1 and known >= number - 1:
            return
        for batch in range(max(0, min(known + 1, number - 1)), number):
            plan = self._checkpoint.committed(batch)
            if plan is None:
                raise DataError(
                    f"batch {batch} of the flow {self.name!r} is in the table and its plan is not"
                    f" in the checkpoint; restore the checkpoint, or refresh"
                    f" {self.node.target!r} fully",
                    condition="CHECKPOINT_DAMAGED",
                )
            self._remember(plan)
        self._looked = False

    def _remember(self, plan: Plan) -> None:
        self._last = plan
        for source in self._sources.values():
            source.mark_planned(plan)

    # -- plan ---------------------------------------------------------------------------------------

    def _planned(self, number: int, progress: FlowProgress) -> Plan | None:
        before: Mapping[str, Input] = {}
        if self._last is not None and self._last.batch == number - 1:
            before = self._last.inputs
        inputs: dict[str, Input] = {}
        any_new = False
        for key, source in self._sources.items():
            found, new = source.next_input(before.get(key))
            if found is None:
                progress.waiting_for = key.split(":")[1] if ":" in key else key
                return None
            inputs[key] = found
            any_new = any_new or (new and source.streaming)
        progress.waiting_for = None
        progress.backlog = sum(
            (source.backlog(inputs[key]) for key, source in self._sources.items()), Backlog()
        )
        kept = {key: value for key, value in before.items() if key not in inputs}
        plan = Plan(number, {**_unmoved(kept), **inputs}, self.definition, self.is_view)
        if self.is_view or self.node.flow.once:
            current = self.is_view and not self._volatile and self._is_current(plan)
            return None if current else plan
        return plan if any_new else None

    def _is_current(self, plan: Plan) -> bool:
        last = self._last
        return (
            last is not None
            and last.batch == plan.batch - 1
            and (last.inputs, last.definition) == (plan.inputs, plan.definition)
        )

    # -- compute and commit -------------------------------------------------------------------------

    def _execute(self, plan: Plan, progress: FlowProgress) -> None:
        began = self._context.clock.now()
        inputs = self._bound(plan)
        for _ in range(_TRIES):
            done = self._computed(inputs)
            committed = self._stored(plan, done, began)
            if committed is not None:
                break
            discard(done.target, done.result)
        else:
            raise ConflictError(f"the types of {self._table.url!r} are changed all the time")
        if committed:
            covered = span(done.result.files, self._context.event_time)
            progress.add(plan, done.result, None if self.is_view else covered)
        for source in self._sources.values():
            source.mark_committed(plan.batch)
        self._checkpoint.settled(plan.batch)

    def _stored(self, plan: Plan, done: _Computed, began: datetime) -> bool | None:
        """Make the batch part of the table; whether it was this attempt that did.

        None when another flow has given the table other types than the files have: they must be
        written once more.
        """
        if not self._fits(done):
            return None
        if self._slept_since(began):
            self._table.check([f"{self._table.url}/{file.path}" for file in done.result.files])
        try:
            return self._commit(plan, done)
        except ConflictError as error:
            if error.condition != TYPES_CHANGED:
                raise
            return None

    def _computed(self, inputs: Mapping[str, Input]) -> _Computed:
        """The batch in files, which break no rule that fails the update."""
        while True:
            try:
                done = self._compute(inputs)
                break
            except Exception as error:
                if not self._evolved(error, inputs):
                    self._explain(error)
                    raise
        broken = done.result.broken
        if broken is not None:
            discard(done.target, done.result)
            raise DataError(
                f"the expectation {broken.expectation!r} of {self.node.target!r} is broken by"
                f" {broken.failed} row{'s' * (broken.failed != 1)}, and nothing of the batch was"
                f" stored; mend the data or the rule. For example: {'; '.join(broken.samples)}",
                condition="EXPECTATION_VIOLATED",
            )
        return done

    def set_up(self) -> None:
        """Make the table when its columns are declared and it is not there yet.

        A table that is there gets the comment and the properties that are declared now.
        """
        declared = self.declared
        if self._table.exists:
            # Of two runners that say the same at once, one is enough.
            with suppress(ConflictError):
                self._table.describe(self.dataset.comment, self.dataset.properties)
            return
        if declared is None:
            return
        self._table.create(
            declared,
            partition_by=self._partitions(declared),
            comment=self.dataset.comment,
            properties=self.dataset.properties,
            metadata={"update": self._context.update_id},
        )

    @property
    def declared(self) -> Any:
        """The columns that the user has declared, as a StructType; None for the query's own."""
        schema = self.dataset.schema
        if schema is None:
            return None
        return storable(
            parse_schema(schema) if isinstance(schema, str) else schema, self.node.target
        )

    def _bound(self, plan: Plan) -> dict[str, Input]:
        """The plan's inputs for the leaves that the query has now."""
        inputs: dict[str, Input] = {}
        for key, source in self._sources.items():
            found = plan.inputs.get(key)
            if found is None:
                source.refresh()
                found = source.empty_input()
            if found is None:
                raise ConflictError(f"{key!r} is not there any more; plan the batch anew")
            inputs[key] = found
        return inputs

    def _compute(self, inputs: Mapping[str, Input]) -> _Computed:
        context, engine = self._context, self._context.engine
        rules = self.dataset.expectations
        with engine.translating():
            schemas = {k: s.schema(engine, inputs[k]) for k, s in self._sources.items()}
            query = self.node.plan.bind({k: engine.empty(s) for k, s in schemas.items()})
            schema = self._shape(storable(engine.schema(query), self.node.target))
            relations = {k: s.relation(engine, inputs[k]) for k, s in self._sources.items()}
            frame = engine.dataframe(self.node.plan.bind(relations))
            self._frame = frame
            target = Destination(
                url=self._table.url,
                options=context.options,
                schema=to_arrow(schema),
                attempt=context.ids.new(),
                partition_by=self._partitions(schema),
                flags=expectation_columns.flags_of(rules),
            )
            try:
                with engine.translating():
                    result = write(engine, expectation_columns.flagged(frame, rules), target)
            except UserError:
                expectation_columns.check(engine, engine.dataframe(query), rules, self.node.target)
                raise
        return _Computed(schema, target, result)

    def _explain(self, error: Exception) -> None:
        """Raise what failed in the user's Python code with the way there.

        On its way through the write stage an error loses its traceback; so the query is run again
        without that stage, up to where it fails.
        """
        if getattr(error, "condition", None) != PYTHON_FAILED or self._frame is None:
            return
        with self._context.engine.translating():
            for _ in self._frame.toLocalIterator():
                pass

    def _shape(self, query: Any) -> Any:
        """The columns that the table has after the batch."""
        given = self.declared
        if given is not None:
            if len(merged(given, query, self.node.target).fields) > len(given.fields):
                known = {f.name.lower() for f in given.fields}
                extra = [f.name for f in query.fields if f.name.lower() not in known]
                raise DataError(
                    f"the query of {self.node.target!r} yields {', '.join(map(repr, extra))}, which"
                    " its schema does not name; add them to the schema or drop them in the query",
                    condition="USER_SPECIFIED_AND_INFERRED_SCHEMA_NOT_COMPATIBLE",
                )
            query = given
        if self.is_view or not self._table.exists or self._table.is_empty:
            return query
        return merged(self._table.schema, query, self.node.target, widen=self._widens)

    @property
    def _widens(self) -> bool:
        """Whether the table's columns may take wider types."""
        allowed = str(self.dataset.properties.get(WIDENING, "false")).lower() == "true"
        files = [s for s in self._sources.values() if isinstance(s, FilesSource)]
        return allowed or any(source.widens for source in files)

    def _partitions(self, schema: Any) -> tuple[str, ...]:
        names = {f.name.lower(): f.name for f in schema.fields}
        missing = [c for c in self.dataset.partition_cols if c.lower() not in names]
        if missing:
            raise DataError(
                f"{self.node.target!r} is partitioned by {missing[0]!r}, which is none of its"
                f" columns: {', '.join(names.values())}",
                condition="PARTITION_COLUMN_NOT_FOUND",
            )
        return tuple(names[c.lower()] for c in self.dataset.partition_cols)

    def _evolved(self, error: Exception, inputs: Mapping[str, Input]) -> bool:
        for key, source in self._sources.items():
            if source.evolve(self._context.engine, error, inputs[key]):
                self._context.schema_evolved(self.node, key)
                return True
        return False

    def _commit(self, plan: Plan, done: _Computed) -> bool:
        """Make the batch part of the table; whether it was this attempt that did."""
        committed = self._table.commit(
            Change(
                app_id=self._app_id,
                batch=plan.batch,
                attempt=done.target.attempt,
                generation=self._generation or 0,
                adds=done.result.files,
                overwrite=self.is_view,
                schema=done.schema,
                metadata={
                    "flow": self.name,
                    "generation": self._generation or 0,
                    "batch": plan.batch,
                    "update": self._context.update_id,
                    "inputs": plan.versions,
                    "definition": plan.definition,
                    "rows": done.result.rows,
                },
            )
        )
        if not committed.by_us:
            discard(done.target, done.result)
        return committed.by_us

    def _fits(self, done: _Computed) -> bool:
        """Give the table the columns and partitions that the batch's files have.

        False when another flow has made the table since, with wider types than the files have:
        they must be written once more.
        """
        table, parts = self._table, done.target.partition_by
        if not table.exists:
            table.create(
                done.schema,
                partition_by=parts,
                comment=self.dataset.comment,
                properties=self.dataset.properties,
                metadata={"update": self._context.update_id},
            )
        if self.is_view and parts == table.partition_by:
            return True
        for _ in range(_TRIES):
            version, wanted = table.version, done.schema
            if not table.is_empty:
                wanted = merged(table.schema, done.schema, self.node.target, widen=self._widens)
            if not keeps_types(done.schema, wanted):
                return False
            try:
                if not table.is_empty and not keeps_types(table.schema, wanted):
                    self._widen(version, wanted, parts)
                else:
                    table.evolve(wanted, parts, version=version)
            except ConflictError:
                continue
            return True
        raise ConflictError(f"the columns of {table.url!r} are changed by others all the time")

    def _widen(self, version: int, schema: Any, partition_by: tuple[str, ...]) -> None:
        """Write the table's rows once more, in wider types, and put them in the old ones' place."""
        context, table = self._context, self._table
        files = table.files(version)
        table.check(files)
        target = Destination(
            url=table.url,
            options=context.options,
            schema=to_arrow(schema),
            attempt=context.ids.new(),
            partition_by=partition_by,
        )
        frame = context.engine.dataframe(context.engine.parquet(files, schema))
        result = write(context.engine, frame, target)
        try:
            table.rewrite(version, result.files, schema)
        except ConflictError:
            discard(target, result)
            raise


@dataclass(frozen=True)
class _Computed:
    """A batch that lies in files and is not part of the table yet."""

    schema: Any
    """The table's columns with the batch in it."""
    target: Destination
    result: WriteResult


_TRIES = 20
_LONG = timedelta(hours=1)
_NO_FILES = "CF_EMPTY_DIR_FOR_SCHEMA_INFERENCE"


def _unmoved(inputs: Mapping[str, Input]) -> dict[str, Input]:
    """Positions in leaves that the query does not have now, should it have them again."""
    return {key: value for key, value in inputs.items() if not isinstance(value, FilesInput)}
