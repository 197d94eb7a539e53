"""One batch: computed into files, and made part of its target."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from proa.cdc.table_merge import FILE_BYTES, GROUP_BYTES
from proa.clock import Clock
from proa.engine import PYTHON_FAILED, Engine, Relation
from proa.errors import ConflictError, DataError, PipelineError, UserError
from proa.formats.place import place_field
from proa.graph import FlowNode
from proa.lake import WriteResult
from proa.lake.commit import STALE_FILES
from proa.lake.table_schema import storable
from proa.pipelines.definitions import Dataset
from proa.runtime import expectation_columns
from proa.runtime.checkpoint import Input, Plan
from proa.runtime.context import Context
from proa.runtime.fingerprint import fingerprint
from proa.runtime.flow_kinds import BatchWork, FlowKind, Replace, Stored
from proa.runtime.sources import FilesSource, Source
from proa.runtime.stateful_step import StatefulStep
from proa.runtime.target import Attempt, TableTarget, Target, TargetDelivery
from proa.runtime.view_refresh import (
    QUERY,
    REFRESH,
    Refresh,
    Technique,
    ViewBatch,
    ViewRefresher,
)

LONG = timedelta(hours=1)
"""A process that has slept longer looks again: maintenance may have removed what it knows of."""


def slept_since(began: datetime, clock: Clock) -> bool:
    """Whether so much time has passed that what was seen at `began` may be gone."""
    return clock.now() - began > LONG


@dataclass(frozen=True)
class _Batch:
    """Which batch is computed."""

    plan: Plan
    before: Plan | None
    generation: int
    whole: str = ""
    """Why a view is to be computed whole, if that is known."""


@dataclass(frozen=True)
class _Written:
    """A batch that lies in files and is not part of its target yet."""

    attempt: Attempt
    stored: Stored


class BatchRunner:
    """Computes the batches of one flow and commits them."""

    def __init__(
        self,
        node: FlowNode,
        dataset: Dataset,
        context: Context,
        kind: FlowKind,
        target: Target,
    ) -> None:
        self._node = node
        self._dataset = dataset
        self._context = context
        self._kind = kind
        self._target = target
        self._analysed: tuple[Mapping[str, Any], Any] | None = None
        """Columns of the leaves, and those of the query over them."""
        self._step: StatefulStep | None = None
        """What the query's operator with state took last."""
        self._refresher: ViewRefresher | None = None
        self._refreshed: Refresh | None = None
        """How the view's batch was computed last."""
        self._frame: Any = None
        """The query of the batch that was computed last."""

    def run(
        self,
        plan: Plan,
        before: Plan | None,
        generation: int,
        sources: Mapping[str, Source],
    ) -> WriteResult | None:
        """Compute a batch, the one after `before`, and make it part of the target.

        Returns None if another attempt at the same batch was committed instead. Raises DataError
        when the data break a rule, and whatever the target and the engine raise.
        """
        began = self._context.clock.now()
        inputs = self._inputs_now(plan, sources)
        for _ in range(_TRIES):
            written = self._evolving(_Batch(plan, before, generation), inputs, sources)
            if slept_since(began, self._context.clock):
                self._target.check(written.stored)
            delivery = TargetDelivery(
                self._node.flow.name,
                generation,
                plan,
                written.attempt,
                written.stored,
                _widens(sources),
            )
            try:
                by_us = self._target.commit(delivery)
            except ConflictError as error:
                if error.condition != STALE_FILES:
                    raise
                self._target.abort(written.attempt, written.stored)
                continue
            if by_us:
                return written.stored.result
            self._target.abort(written.attempt, written.stored)
            return None
        raise ConflictError(
            f"the table of {self._node.target!r} is changed by others all the time; stop them"
        )

    @property
    def has_replaced_all(self) -> bool:
        """Whether the batch that was run last took the place of all rows."""
        refresh = self._refreshed
        return self._kind.replaces and (refresh is None or refresh.is_whole)

    def _inputs_now(self, plan: Plan, sources: Mapping[str, Source]) -> dict[str, Input]:
        """The plan's inputs for the leaves that the query has now."""
        inputs: dict[str, Input] = {}
        for key, source in sources.items():
            value = plan.inputs.get(key)
            if value is None:
                source.refresh()
                value = source.empty_input()
            if value is None:
                raise ConflictError(f"{key!r} is not there any more; plan the batch anew")
            inputs[key] = value
        return inputs

    def _evolving(
        self, work: _Batch, inputs: Mapping[str, Input], sources: Mapping[str, Source]
    ) -> _Written:
        """The batch in files, once the schemas of its sources know all of its fields."""
        while True:
            try:
                written = self._write(work, inputs, sources)
                break
            except Exception as error:
                refresh = self._refreshed
                if isinstance(error, UserError) and refresh is not None and not refresh.is_whole:
                    # A condition of the query may have kept rows from what fails over them.
                    work = replace(work, whole=f"{refresh.technique} failed: {error}")
                    continue
                if not self._evolve_schema(error, inputs, sources):
                    self._explain(error)
                    raise
        broken = written.stored.result.broken
        if broken is not None:
            self._target.abort(written.attempt, written.stored)
            raise DataError(
                f"the expectation {broken.expectation!r} of {self._node.target!r} is broken by"
                f" {broken.failed} row{'s' * (broken.failed != 1)}, and nothing of the batch was"
                f" stored; mend the data or the rule. For example: {'; '.join(broken.samples)}",
                condition="EXPECTATION_VIOLATED",
            )
        return written

    def _write(
        self, batch: _Batch, inputs: Mapping[str, Input], sources: Mapping[str, Source]
    ) -> _Written:
        engine, plan = self._context.engine, self._node.plan
        rules = self._dataset.expectations
        with engine.translating():
            schemas = {key: s.schema(engine, inputs[key]) for key, s in sources.items()}
            columns = self._columns_of(schemas)
            attempt = self._begin(columns, sources)
            with ExitStack() as released:
                view = ViewBatch(
                    batch.before,
                    batch.generation,
                    inputs,
                    sources,
                    schemas,
                    columns,
                    attempt.columns,
                    attempt.destination,
                )
                refresh = self._refreshed = self._refresh(view, batch.whole, released)
                given = {} if refresh is None else refresh.relations
                step = self._stateful_step(attempt, schemas)
                needed = {} if step is None else step.leaf_columns
                relations = {
                    key: given[key]
                    if key in given
                    else _leaf_relation(engine, s, inputs[key], needed.get(key))
                    for key, s in sources.items()
                }
                state: Mapping[str, int] = {}
                if step is not None:
                    bound, state = released.enter_context(
                        step.run(
                            relations,
                            attempt.destination.attempt,
                            batch.plan.batch,
                            batch.generation,
                        )
                    )
                else:
                    bound = plan.bind_placed(relations)
                frame = engine.dataframe(bound)
                self._frame = frame if plan.stateful is None else None
                try:
                    with engine.translating():
                        flagged = expectation_columns.flag_rows(frame, rules)
                        stored = self._kind.store(
                            BatchWork(
                                engine,
                                flagged,
                                columns,
                                attempt.columns,
                                attempt.destination,
                                self._target.table,
                                None if refresh is None else refresh.edit,
                            )
                        )
                except UserError:
                    query = engine.dataframe(self._over_nothing(schemas))
                    expectation_columns.check(engine, query, rules, self._node.target)
                    raise
        transactions = {**stored.transactions, **state}
        notes = {} if refresh is None else self._notes(refresh)
        return _Written(attempt, replace(stored, transactions=transactions, notes=notes))

    def _stateful_step(self, attempt: Attempt, schemas: Mapping[str, Any]) -> StatefulStep | None:
        """What the query's operator with state takes, over leaves of these columns."""
        plan = self._node.plan.stateful
        if plan is None:
            return None
        assert isinstance(self._target, TableTarget)
        # There is a table to refresh fully, should the state not come to be.
        self._target.ensure_table(attempt)
        if self._step is None or self._step.schemas != schemas:
            engine, table = self._context.engine, self._target.table
            self._step = StatefulStep(self._node, engine, table, plan, schemas)
        return self._step

    def _begin(self, columns: Any, sources: Mapping[str, Source]) -> Attempt:
        """A new attempt at a batch whose query has these columns."""
        attempt = self._target.begin(
            self._kind.columns(columns),
            expectation_columns.flags_of(self._dataset.expectations),
            replaces=self._kind.replaces,
            widens=_widens(sources),
        )
        destination = attempt.destination
        if self._node.plan.placed is not None:
            destination = replace(destination, hidden=(place_field(),))
        if self._kind.replaces:
            # A refresh of some rows writes their files anew.
            destination = replace(destination, file_bytes=2 * FILE_BYTES, group_bytes=GROUP_BYTES)
        return replace(attempt, destination=destination)

    def _refresh(self, batch: ViewBatch, whole: str, released: ExitStack) -> Refresh | None:
        """How a batch that replaces rows is computed, told to the event log. None for other flows.

        `whole` says why it must be all rows, if that is known.
        """
        if not isinstance(self._kind, Replace) or not isinstance(self._target, TableTarget):
            return None
        if self._refresher is None:
            self._refresher = ViewRefresher(
                self._node, self._dataset, self._context, self._target.table
            )
        if self._kind.volatile:
            whole = "it may yield other rows although nothing that it reads changed"
        if whole:
            refresh = Refresh(Technique.COMPLETE_RECOMPUTE, whole)
        else:
            refresh = self._refresher.plan(batch, self._digest(), released)
        self._context.refresh_planned(self._node, refresh.technique, refresh.why)
        return refresh

    def _digest(self) -> str:
        assert self._refresher is not None
        return self._refresher.digest(fingerprint(self._node, self._dataset))

    def _notes(self, refresh: Refresh) -> dict[str, Any]:
        """What the commit of a view's batch says of it."""
        return {
            QUERY: self._digest(),
            REFRESH: {"technique": refresh.technique, "why": refresh.why},
        }

    def _over_nothing(self, schemas: Mapping[str, Any]) -> Any:
        """The query's plan over leaves of these columns that have no rows."""
        empty = self._context.engine.empty
        return self._node.plan.bind({key: empty(schema) for key, schema in schemas.items()})

    def _columns_of(self, schemas: Mapping[str, Any]) -> Any:
        """The query's columns over leaves of these columns, as a StructType.

        Asked of the engine once, until a leaf has other columns. PipelineError, at the query's
        place, when it is wrong.
        """
        if self._analysed is None or self._analysed[0] != schemas:
            query = self._analyse(self._over_nothing(schemas))
            self._analysed = (schemas, storable(query, self._node.target))
        return self._analysed[1]

    def _analyse(self, query: Any) -> Any:
        try:
            return self._context.engine.schema(query)
        except UserError as error:
            from proa.graph.name_places import place_of
            from proa.graph.query_origin import QueryOrigin

            flow, texts = self._node.flow, self._node.plan.texts
            analyze = self._context.engine.schema
            raise PipelineError(
                f"the query of {flow.name!r} is wrong: {error.args[0]}",
                condition=error.condition,
                location=place_of(error, texts, QueryOrigin.of(flow), query, analyze),
            ) from error

    def _evolve_schema(
        self, error: Exception, inputs: Mapping[str, Input], sources: Mapping[str, Source]
    ) -> bool:
        for key, source in sources.items():
            if source.evolve(self._context.engine, error, inputs[key]):
                self._context.schema_evolved(self._node, key)
                return True
        return False

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


def _leaf_relation(
    engine: Engine, source: Source, found: Input, columns: frozenset[str] | None
) -> Relation:
    """What takes a leaf's place; of files with these columns only, unless it is None."""
    if columns is not None and isinstance(source, FilesSource):
        return source.relation(engine, found, columns)
    return source.relation(engine, found)


def _widens(sources: Mapping[str, Source]) -> bool:
    """Whether columns may take wider types because those of the files do."""
    return any(isinstance(source, FilesSource) and source.widens for source in sources.values())


_TRIES = 20
