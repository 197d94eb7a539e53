"""One flow: where it stands, and which batch is next.

A batch is planned, computed and committed, in this order, and each step is found done or not done
by whoever comes next. The target says which batch was the last; the checkpoint says what the next
one consists of, if somebody has planned it already.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from proa.errors import ConflictError, DataError, UserError
from proa.graph import FilesLeaf, FlowNode, TableLeaf
from proa.lake import DataFile, Outcome, RowChanges, WriteResult
from proa.pipelines.definitions import Dataset
from proa.runtime.batch import BatchRunner, slept_since
from proa.runtime.checkpoint import Checkpoint, FilesInput, Input, Plan
from proa.runtime.context import Context
from proa.runtime.external_source import ExternalTableSource
from proa.runtime.fingerprint import fingerprint
from proa.runtime.flow_kinds import FlowKind
from proa.runtime.plan_cuts import (
    cut_plan,
    first_shipments,
    in_shipment,
    is_of_rows,
    most_shipments,
)
from proa.runtime.sources import (
    Backlog,
    FilesSource,
    Source,
    TableSource,
    check_source,
    check_static_reads,
)
from proa.runtime.target import Target
from proa.storage import Store
from proa.times import as_moment

Span = tuple[datetime, datetime]
"""The earliest and the latest event."""


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
    changes: RowChanges | None = None
    """For a flow that applies changes."""
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    backlog: Backlog = field(default_factory=Backlog)
    """Raw files that are not read yet; those of the batch that is being computed among them."""
    event_time: Span | None = None
    """When the events of the rows written happened, where the tables say so."""
    waiting_for: str | None = None
    """What is not there yet, without which the flow cannot begin."""
    held_back: str | None = None
    """Why nothing may be written: the flow feeds a sink, and another region is active."""

    def add(
        self, plan: Plan, result: WriteResult, event_time: Span | None, *, replaces: bool
    ) -> None:
        """Add what a batch did. With `replaces` its rows are all that the table holds now."""
        if replaces:
            self.rows, self.dropped, self.outcomes, self.event_time = 0, 0, {}, None
        self.batches += 1
        self.rows += result.rows
        self.dropped += result.dropped
        self.files += plan.files
        self.event_time = join_spans(self.event_time, event_time)
        self.bytes += sum(file.size for file in result.files)
        if result.changes is not None:
            self.changes = result.changes + (self.changes or RowChanges(0, 0))
        for outcome in result.outcomes:
            total = self.outcomes.setdefault(
                outcome.expectation, Outcome(outcome.expectation, outcome.violation)
            )
            total.passed += outcome.passed
            total.failed += outcome.failed


@dataclass
class _Reading:
    """What a flow knows of its inputs within one generation."""

    generation: int
    checkpoint: Checkpoint
    sources: Mapping[str, Source]
    last: Plan | None = None
    """The last plan whose inputs all sources know."""
    is_fresh: bool = False
    """The sources were refreshed since anybody else may have planned a batch."""

    def mark_planned(self, plan: Plan) -> None:
        """What `plan` reads is not new any more."""
        for source in self.sources.values():
            source.mark_planned(plan)
        self.last = plan

    def folders(self, *, replaces: bool) -> dict[str, str]:
        """The folders of leaves of files whose shipments a batch takes in their order.

        Of a batch that replaces all rows these are all leaves of files, else those of streams.
        """
        return {
            key: source.folder
            for key, source in self.sources.items()
            if isinstance(source, FilesSource) and (replaces or source.streaming)
        }

    def refresh(self, through: Mapping[str, int]) -> None:
        """Look at what there is now, through some files, unless that was done."""
        if not self.is_fresh:
            for source in self.sources.values():
                source.refresh(through)
            self.is_fresh = True

    def before(self, number: int) -> Plan | None:
        """The plan of the batch before `number`; None for the first one."""
        last = self.last
        return last if last is not None and last.batch == number - 1 else None


class FlowRunner:
    """Runs the batches of one flow. Kept between updates, so that what it knows stays warm."""

    def __init__(
        self, node: FlowNode, dataset: Dataset, context: Context, kind: FlowKind, target: Target
    ) -> None:
        self.node = node
        self.dataset = dataset
        self.kind = kind
        self.target = target
        self._context = context
        self._batches = BatchRunner(node, dataset, context, kind, self.target)
        self.definition = fingerprint(node, dataset)
        """The query's fingerprint."""
        self._reading: _Reading | None = None
        self._shipments: int | None = None
        """How many shipments a batch reads at most, after one was cut."""

    @property
    def name(self) -> str:
        return self.node.flow.name

    def run(
        self,
        progress: FlowProgress,
        stop: threading.Event,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        """Bring everything that is available now into the table, batch by batch.

        `on_progress` is called whenever `progress` has changed. Raises what stopped it; whatever was committed stays committed, and running again goes on
        from there.
        """
        if self._reading is not None:
            self._reading.is_fresh = False
        self._shipments = None
        while not stop.is_set():
            progress.held_back = self.target.refusal()
            if progress.held_back is not None:
                return
            reading, before, plan, was_pending = self._next_plan(progress)
            if plan is None:
                return
            ahead = progress.backlog
            progress.backlog = ahead + Backlog(plan.files, 0)
            on_progress()
            try:
                result = self._batches.run(plan, before, reading.generation, reading.sources)
            except UserError as error:
                if error.condition == _NO_FILES:
                    progress.waiting_for = str(error)
                    return
                self._cut(reading, plan, before, error)
                continue
            if result is not None:
                replaces = self._batches.has_replaced_all
                progress.add(plan, result, self._event_time(result), replaces=replaces)
                self._mark_committed(reading, plan)
            progress.backlog = ahead
            on_progress()
            if not self.kind.goes_on(was_pending=was_pending):
                return

    def _cut(self, reading: _Reading, plan: Plan, before: Plan | None, error: UserError) -> None:
        """Plan less of a batch whose data are wrong; raise what is wrong where there is no less."""
        if not is_of_rows(error) or self.target.table is None or self.kind.is_over(plan.batch):
            raise error
        folders = reading.folders(replaces=plan.replaces)
        shorter = cut_plan(plan, before, folders, error)
        if shorter is None:
            raise in_shipment(plan, folders, error)
        standing = reading.checkpoint.put(shorter)
        self._shipments = most_shipments(standing, folders)
        reading.is_fresh = False
        self._context.batch_cut(self.node, plan.batch, error)

    def _mark_committed(self, reading: _Reading, plan: Plan) -> None:
        """The batch is in the table as it was planned: tidy what is known of the batches so far."""
        reading.checkpoint.settle(plan.batch, plan.cut)
        for source in reading.sources.values():
            source.mark_committed(plan.batch)
        reading.checkpoint.mark_committed(plan.batch)
        if self._shipments is not None:
            self._shipments *= 2

    def _event_time(self, result: WriteResult) -> Span | None:
        """When the events of the rows that are new happened, where the table says so."""
        if self.kind.replaces or result.changes is not None:
            return None
        return span(result.files, self._context.event_time)

    def _next_plan(self, progress: FlowProgress) -> tuple[_Reading, Plan | None, Plan | None, bool]:
        """The plans of the last committed batch and of the one after it, and whether the latter was
        there already. It is None when there is nothing to do.
        """
        began = self._context.clock.now()
        position = self.target.position(self.name)
        reading = self._read(position.generation)
        last = reading.last
        if last is not None and last.batch == position.batch and last.cut != position.cut:
            # Another runner has committed more of the batch, or less.
            reading = self._read(position.generation, anew=True)
        if position.batch is not None and position.cut:
            reading.checkpoint.settle(position.batch, position.cut)
        number = 0 if position.batch is None else position.batch + 1
        if self.kind.is_over(position.batch):
            return reading, None, None, False
        self._catch_up(reading, number)
        before = reading.before(number)
        pending = reading.checkpoint.read(number)
        if pending is not None:
            # What it reads is in our list of what is new, if we have made one.
            reading.is_fresh = False
            reading.mark_planned(pending)
            return reading, before, pending, True
        reading.refresh(self._context.through)
        self._check_folders(reading)
        plan = self._plan_batch(reading, number, progress)
        if plan is None:
            return reading, before, None, False
        standing = reading.checkpoint.put(plan)
        if slept_since(began, self._context.clock):
            raise ConflictError(f"the flow {self.name!r} has slept; it looks again where it stands")
        if standing != plan:
            reading.is_fresh = False
        reading.mark_planned(standing)
        return reading, before, standing, standing != plan

    def _check_folders(self, reading: _Reading) -> None:
        """PipelineError (PATH_NOT_FOUND) when a folder that the query reads is not there."""
        check_static_reads(self.node)
        for source in reading.sources.values():
            if isinstance(source, FilesSource):
                check_source(source, self.node, self._context)

    def _read(self, generation: int, *, anew: bool = False) -> _Reading:
        """What is known within a generation; nothing at first, after a full refresh, and `anew`."""
        if anew or self._reading is None or self._reading.generation != generation:
            context = self._context
            url = context.layout.checkpoint(self.node.target, self.name, generation)
            checkpoint = Checkpoint(Store.open(url, context.options))
            sources: dict[str, Source] = {}
            streams = self.node.plan.streams
            for leaf in self.node.plan.leaves:
                if isinstance(leaf, FilesLeaf):
                    sources[leaf.key] = FilesSource(
                        leaf,
                        checkpoint.leaf(leaf.key),
                        context.options,
                        context.clock,
                        streams.get(leaf.key),
                    )
                elif isinstance(leaf, TableLeaf):
                    sources[leaf.key] = ExternalTableSource(leaf, context.options)
                else:
                    table = context.table(leaf.dataset)
                    sources[leaf.key] = TableSource(leaf, table, places=leaf.key in streams)
            self._reading = _Reading(generation, checkpoint, sources)
        return self._reading

    def _catch_up(self, reading: _Reading, number: int) -> None:
        """Know what the batches before `number` have read, whoever ran them."""
        files = [s for s in reading.sources.values() if isinstance(s, FilesSource) and s.streaming]
        known = min((source.known_through for source in files), default=number - 1)
        if known >= number - 1 and (number == 0 or reading.before(number) is not None):
            return
        for batch in range(max(0, min(known + 1, number - 1)), number):
            plan = reading.checkpoint.committed_plan(batch)
            if plan is None:
                raise DataError(
                    f"batch {batch} of the flow {self.name!r} is in the table and its plan is not"
                    f" in the checkpoint; restore the checkpoint, or refresh"
                    f" {self.node.target!r} fully",
                    condition="CHECKPOINT_DAMAGED",
                )
            reading.mark_planned(plan)
        reading.is_fresh = False

    def _plan_batch(self, reading: _Reading, number: int, progress: FlowProgress) -> Plan | None:
        """The plan of the batch `number` from what was seen; None when none is due."""
        before = reading.before(number)
        if before is not None and before.replaces and not self.kind.replaces:
            raise DataError(
                f"{self.node.target!r} holds the result of a query over all rows, which the new rows of"
                f" the flow {self.name!r} cannot be added to; refresh it fully (--full-refresh"
                f" {self.node.target})",
                condition="STREAMING_STATE_DRIFT",
            )
        known: Mapping[str, Input] = {} if before is None else before.inputs
        inputs: dict[str, Input] = {}
        any_new = False
        for key, source in reading.sources.items():
            value, is_new = source.next_input(known.get(key))
            if value is None:
                progress.waiting_for = key.split(":")[1] if ":" in key else key
                return None
            if self._shipments is not None and isinstance(source, FilesSource):
                value = self._few(reading, value, source)
            inputs[key] = value
            any_new = any_new or (is_new and source.streaming)
        progress.waiting_for = None
        backlogs = (source.backlog(inputs[key]) for key, source in reading.sources.items())
        progress.backlog = sum(backlogs, Backlog())
        kept = {key: value for key, value in known.items() if key not in inputs}
        plan = Plan(
            number, {**_unmoved_inputs(kept), **inputs}, self.definition, self.kind.replaces
        )
        return plan if self.kind.is_due(plan, before, any_new=any_new) else None

    def _few(self, reading: _Reading, value: Input, source: FilesSource) -> Input:
        """The first shipments of what a stream of files hands out, after a batch was cut."""
        assert isinstance(value, FilesInput)
        if not source.streaming or value.through is None:
            return value
        reading.is_fresh = False  # the others are handed out once more
        return first_shipments(value, self._shipments or 1, source.folder)


_NO_FILES = "CF_EMPTY_DIR_FOR_SCHEMA_INFERENCE"


def _unmoved_inputs(inputs: Mapping[str, Input]) -> dict[str, Input]:
    """Positions in leaves that the query does not have now, should it have them again."""
    return {
        key: FilesInput((), value.through) if isinstance(value, FilesInput) else value
        for key, value in inputs.items()
        if not isinstance(value, FilesInput) or value.through is not None
    }


def span(files: Iterable[DataFile], column: str | None) -> Span | None:
    """The event times of a batch, to the millisecond, from the statistics of its files.

    None when no file says anything about the column, or what it says is not a time.
    """
    if column is None:
        return None
    try:
        bounds = [moment for file in files for moment in _bounds(file, column.lower())]
    except (ValueError, OverflowError, OSError):
        return None
    return (min(bounds), max(bounds)) if bounds else None


def join_spans(one: Span | None, other: Span | None) -> Span | None:
    """The span over both."""
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), max(one[1], other[1])


def _bounds(file: DataFile, column: str) -> Iterable[datetime]:
    stats = json.loads(file.stats)
    for values in (stats["minValues"], stats["maxValues"], file.partition):
        for name, value in values.items():
            moment = as_moment(value) if name.lower() == column else None
            if moment is not None:
                yield moment
