"""The kinds of flows that change rows: AUTO CDC, for each new batch or once, and replacements."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar

from proa.cdc import MEMORY, MemoryStore, MergeInput, change_shape
from proa.graph.change_target import DELETE, TRUNCATE, target_schema
from proa.graph.snapshot_query import KnownTarget
from proa.graph.table_options import FEED_PROPERTY
from proa.lake import Destination, RowChanges, Table, WriteResult, discard_attempt, write_frame
from proa.lake.table_schema import to_arrow
from proa.pipelines.definitions import Dataset, Flow, Replacement, SnapshotCdc
from proa.runtime.checkpoint import Plan
from proa.runtime.flow_kinds import Append, BatchWork, Once, Stored

_CHANGES = "_proa_cdc/changes"
"""Below the table: change rows on their way, gone when the batch is stored."""


@dataclass(frozen=True)
class MergeBatches(Append):
    """Applies the changes that are new."""

    flow: Flow = field(kw_only=True)
    dataset: Dataset = field(kw_only=True)

    name: ClassVar[str] = "MERGE"

    def columns(self, query: Any) -> Any:
        return target_schema(self.flow, query)

    def store(self, work: BatchWork) -> Stored:
        return store_changes(self.flow, self.dataset, work)


@dataclass(frozen=True)
class MergeOnce(Once):
    """Applies all changes of its query a single time per generation."""

    flow: Flow = field(kw_only=True)
    dataset: Dataset = field(kw_only=True)

    name: ClassVar[str] = "MERGE"

    def columns(self, query: Any) -> Any:
        return target_schema(self.flow, query)

    def store(self, work: BatchWork) -> Stored:
        return store_changes(self.flow, self.dataset, work)


@dataclass(frozen=True)
class MergeSnapshots(MergeBatches):
    """Makes the table what the newest snapshots are."""

    def is_due(self, plan: Plan, before: Plan | None, *, any_new: bool) -> bool:  # noqa: ARG002
        cdc = self.flow.cdc
        if isinstance(cdc, SnapshotCdc) and cdc.versions is not None:
            # The versions are part of the definition: each is applied once.
            return bool(cdc.versions) and (before is None or before.definition != plan.definition)
        return before is None or (before.inputs, before.definition) != (
            plan.inputs,
            plan.definition,
        )

    def goes_on(self, *, was_pending: bool) -> bool:
        return was_pending

    def store(self, work: BatchWork) -> Stored:
        if isinstance(self.flow.cdc, SnapshotCdc) and self.flow.cdc.versions == ():
            # A batch was planned for a snapshot that its function does not hand out any more.
            return Stored(WriteResult((), 0, 0, ()), ())
        return super().store(work)


def known_target(table: Table) -> KnownTarget:
    """What the target of a snapshot flow is now."""
    with table.lock:
        if table.refresh() is None:
            return KnownTarget()
        number, schema = table.transaction(MEMORY), table.schema
        generation = table.wanted_generation
    memory = MemoryStore(table.url, table.options).read(number, generation)
    return KnownTarget(memory.latest_version, schema)


def store_changes(flow: Flow, dataset: Dataset, work: BatchWork) -> Stored:
    """Compute what the change rows of a batch make of the table."""
    changes = _staging(work)
    result = write_frame(work.engine, _apply_rules(work), changes)
    try:
        if result.broken is not None:
            return Stored(dataclasses.replace(result, files=()), ())
        if not result.files and not isinstance(flow.cdc, SnapshotCdc):
            # The engine wrote no file at all: there is no change. (A snapshot without rows deletes all.)
            return Stored(result, ())
        return _merge(flow, dataset, work, changes, result)
    finally:
        discard_attempt(changes, result.files)


def _merge(
    flow: Flow, dataset: Dataset, work: BatchWork, changes: Destination, result: WriteResult
) -> Stored:
    table = work.table
    assert table is not None, "changes are applied to tables only"
    with table.lock:
        # A full refresh that has begun leaves the rows until its first batch: this one.
        begins = table.generation < table.wanted_generation
        version = table.version
        generation, last = table.wanted_generation, table.transaction(MEMORY)
    given = MergeInput(
        table,
        -1 if begins else version,
        generation,
        change_shape(flow, work.query, dataset.properties),
        dataset.name,
        [f"{changes.url}/{file.path}" for file in result.files],
        work.columns,
        work.destination.partition_by,
        work.destination.attempt,
        not begins and _records_changes(table, dataset),
        flow.cdc.versions or () if isinstance(flow.cdc, SnapshotCdc) else None,
    )
    if isinstance(flow.cdc, Replacement):
        from proa.cdc import replace_keys

        merged = replace_keys(given, flow.cdc.sequence)
    else:
        from proa.cdc.merge import merge

        merged = merge(given)
    transactions = {}
    if merged.memory is not None:
        store = MemoryStore(table.url, table.options)
        transactions = {MEMORY: store.put(merged.memory, last or 0).number}
    return Stored(
        dataclasses.replace(
            result,
            files=merged.adds,
            rows=merged.upserted + merged.deleted,
            changes=RowChanges(merged.upserted, merged.deleted, merged.ties),
        ),
        merged.adds,
        merged.removes,
        based_on=version,
        transactions=transactions,
        changes=merged.changes,
    )


def _records_changes(table: Table, dataset: Dataset) -> bool:
    properties = table.properties if table.version >= 0 else dataset.properties
    return properties.get(FEED_PROPERTY, "false").lower() == "true"


def _staging(work: BatchWork) -> Destination:
    assert work.table is not None
    return dataclasses.replace(
        work.destination,
        url=f"{work.table.url}/{_CHANGES}",
        schema=to_arrow(work.query),
        partition_by=(),
    )


def _apply_rules(work: BatchWork) -> Any:
    """The frame, with deletions and truncations past all rules: they say nothing of a row."""
    from pyspark.sql.connect import functions as F  # noqa: N812 - as Spark's users know it

    marks = [name for name in (DELETE, TRUNCATE) if name in work.query.names]
    frame = work.frame
    for flag in work.destination.flags:
        for mark in marks:
            excused = F.coalesce(F.col(mark), F.lit(False))
            frame = frame.withColumn(flag.column, F.col(flag.column) | excused)
    return frame
