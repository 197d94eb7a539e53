"""The kinds of flows: when a batch is due, which files it brings, and whose place they take.

A kind knows nothing of plans' storage and of commits: it is asked at three moments of a batch. A
new kind is a class here (or in the package whose feature it is) and one line in `kind_of`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from proa.engine import Engine
from proa.graph import FlowNode
from proa.lake import DataFile, Destination, Table, WriteResult, write_frame
from proa.pipelines.definitions import Dataset, DatasetKind, SnapshotCdc
from proa.runtime.checkpoint import Plan


class Edit(Protocol):
    """A replacement of some rows of a table, of whatever rows the batch brings in their place."""

    @property
    def computes(self) -> bool:
        """Whether the query is to be computed at all."""

    def apply(self, work: BatchWork, result: WriteResult) -> Stored:
        """What the batch is besides the files of `result`."""


@dataclass(frozen=True)
class BatchWork:
    """A batch that is to be computed, and everything that is needed for it."""

    engine: Engine
    frame: Any
    """The query's rows as a DataFrame, with the columns of the expectations' flags."""
    query: Any
    """The columns of the query, without the flags, as a StructType."""
    columns: Any
    """The columns of the table with the batch in it, as a StructType."""
    destination: Destination
    """Where the table's new files go; its attempt names them."""
    table: Table | None
    """The table as it was looked at last; there is none yet when its version is -1. None for a
    target that is not a table."""
    edit: Edit | None = None
    """The rows in whose place those of a replacing batch are; None: all."""

    @property
    def names(self) -> list[str]:
        """The names of the frame's columns."""
        where = self.destination
        return [
            *self.query.names,
            *(f.name for f in where.hidden),
            *(f.column for f in where.flags),
        ]


@dataclass(frozen=True)
class Stored:
    """A batch that lies in files. Nothing of it is part of the table yet."""

    result: WriteResult
    """What was written of the query's rows, and how they met the expectations."""
    adds: tuple[DataFile, ...]
    """Files of the table."""
    removes: tuple[str, ...] = ()
    """Files of the table, relative to it, in whose place `adds` are."""
    based_on: int | None = None
    """The table's version that was read; None when rows that came since do not matter."""
    transactions: Mapping[str, int] = field(default_factory=dict)
    """Further `txn` actions of the commit."""
    changes: tuple[DataFile, ...] = ()
    """Files beside the table's that say row by row what changed."""
    is_edit: bool = False
    """Of a flow that replaces: only the rows of `removes` go."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What the commit says of the batch besides."""


class FlowKind(Protocol):
    """How the batches of a flow come about, and what they do to the table that it feeds."""

    name: ClassVar[str]
    """As the event log says it: APPEND, COMPLETE, ONCE or MERGE."""
    replaces: ClassVar[bool]
    """A batch takes the place of all rows: only its own inputs are in the table."""
    interval: ClassVar[float]
    """Seconds between two looks of a continuous update, unless settings say otherwise."""
    rests: ClassVar[bool]
    """New rows upstream wake the flow only when its last run is an interval ago."""

    def is_over(self, last: int | None) -> bool:
        """Whether no batch follows the batch `last` in this generation; None: there was none."""

    def is_due(self, plan: Plan, before: Plan | None, *, any_new: bool) -> bool:
        """Whether to compute `plan` after the batch `before`; None before the first batch.

        `any_new`: a stream of the query has rows or files that no batch has read.
        """

    def goes_on(self, *, was_pending: bool) -> bool:
        """Whether to look for another batch at once. `was_pending`: a former run had planned it."""

    def columns(self, query: Any) -> Any:
        """The columns that are stored, of the query's columns; both are StructTypes."""

    def store(self, work: BatchWork) -> Stored:
        """Bring a batch into files that are not part of the table yet.

        Called for each attempt: when the commit finds that `removes` or `based_on` no longer hold,
        the batch is stored once more. An expectation that fails the update is looked at afterwards.
        """


@dataclass(frozen=True)
class Append:
    """Adds the rows of what is new."""

    name: ClassVar[str] = "APPEND"
    replaces: ClassVar[bool] = False
    interval: ClassVar[float] = 5.0
    rests: ClassVar[bool] = False

    def is_over(self, last: int | None) -> bool:  # noqa: ARG002 - the port's shape
        return False

    def is_due(self, plan: Plan, before: Plan | None, *, any_new: bool) -> bool:  # noqa: ARG002
        return any_new

    def goes_on(self, *, was_pending: bool) -> bool:  # noqa: ARG002
        return True

    def columns(self, query: Any) -> Any:
        return query

    def store(self, work: BatchWork) -> Stored:
        if work.edit is not None and not work.edit.computes:
            result = WriteResult((), 0, 0, ())
        else:
            result = write_frame(work.engine, work.frame, work.destination, work.names)
        if work.edit is not None and result.broken is None:
            return work.edit.apply(work, result)
        return Stored(result, result.files)


@dataclass(frozen=True)
class Once(Append):
    """Adds the rows of its query a single time per generation."""

    name: ClassVar[str] = "ONCE"

    def is_over(self, last: int | None) -> bool:
        return last is not None

    def is_due(self, plan: Plan, before: Plan | None, *, any_new: bool) -> bool:  # noqa: ARG002
        return True

    def goes_on(self, *, was_pending: bool) -> bool:  # noqa: ARG002
        return False


@dataclass(frozen=True)
class Replace(Append):
    """Puts the query's rows in the place of all that are there: a materialized view's, and groups
    of all rows of a stream.
    """

    volatile: bool = False
    """The query may yield other rows although its inputs are unchanged."""

    name: ClassVar[str] = "COMPLETE"
    replaces: ClassVar[bool] = True
    interval: ClassVar[float] = 60.0
    rests: ClassVar[bool] = True

    def is_due(self, plan: Plan, before: Plan | None, *, any_new: bool) -> bool:  # noqa: ARG002
        if self.volatile or before is None:
            return True
        return (before.inputs, before.definition) != (plan.inputs, plan.definition)

    def goes_on(self, *, was_pending: bool) -> bool:
        return was_pending


def kind_of(node: FlowNode, dataset: Dataset, *, volatile: bool = False) -> FlowKind:
    """The kind of a flow. `volatile` says that a query over all rows may change by itself."""
    flow = node.flow
    if dataset.kind is DatasetKind.MATERIALIZED_VIEW:
        return Replace(volatile)
    if flow.cdc is not None:
        from proa.runtime.change_kinds import MergeBatches, MergeOnce, MergeSnapshots

        if isinstance(flow.cdc, SnapshotCdc):
            return MergeSnapshots(flow=flow, dataset=dataset)
        return (MergeOnce if flow.once else MergeBatches)(flow=flow, dataset=dataset)
    if node.plan.recomputed:
        return Replace(volatile)
    return Once() if flow.once else Append()
