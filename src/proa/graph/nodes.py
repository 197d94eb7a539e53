"""The dataflow graph: datasets, the flows that feed them, and the order between them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from proa.errors import PipelineError, UserError
from proa.graph.dataset_names import DatasetNames
from proa.graph.plan import FlowPlan
from proa.pipelines.definitions import Dataset, DatasetKind, Flow

RESET_ALLOWED = "pipelines.reset.allowed"


@dataclass(frozen=True)
class FlowNode:
    """A flow whose plan is known."""

    flow: Flow
    target: str
    """The dataset's name."""
    plan: FlowPlan
    """Views inlined."""
    reads: tuple[str, ...]
    """The datasets that the query names, views included, in the order in which it names them."""
    upstream: tuple[str, ...]
    """The tables that the plan reads once its views are inlined."""


@dataclass(frozen=True)
class DatasetNode:
    """A dataset with its kind decided, and the flows that feed it."""

    dataset: Dataset
    flows: tuple[FlowNode, ...]

    @property
    def is_view(self) -> bool:
        """Whether the dataset is never stored."""
        return self.dataset.kind is DatasetKind.TEMPORARY_VIEW

    @property
    def is_recomputed(self) -> bool:
        """Whether each batch replaces all rows: a materialized view, or groups of a stream's rows."""
        if self.dataset.kind is DatasetKind.MATERIALIZED_VIEW:
            return True
        return any(flow.plan.recomputed and flow.flow.cdc is None for flow in self.flows)

    @property
    def is_sink(self) -> bool:
        """Whether the dataset is a place outside the pipeline."""
        return self.dataset.kind is DatasetKind.SINK


@dataclass(frozen=True)
class Selection:
    """Which tables and sinks an update brings up to date, and which of them from nothing."""

    tables: frozenset[str]
    """Sinks among them."""
    full_refresh: frozenset[str]


@dataclass(frozen=True)
class Graph:
    """A checked pipeline."""

    datasets: Mapping[str, DatasetNode]
    """By name, upstream ones first; views included."""
    stages: tuple[tuple[str, ...], ...]
    """The tables and sinks, by levels: each reads only from tables of earlier levels."""
    names: DatasetNames

    @property
    def flows(self) -> tuple[FlowNode, ...]:
        """The flows of all tables and sinks, upstream ones first. Views are part of their plans."""
        return tuple(
            flow for node in self.datasets.values() if not node.is_view for flow in node.flows
        )

    @property
    def tables(self) -> tuple[str, ...]:
        """The names of all stored datasets, upstream ones first."""
        return tuple(name for name in self.targets if not self.datasets[name].is_sink)

    @property
    def targets(self) -> tuple[str, ...]:
        """The names of all that flows write to: tables and sinks, upstream ones first."""
        return tuple(name for name, node in self.datasets.items() if not node.is_view)

    def select(
        self,
        refresh: Collection[str] = (),
        full_refresh: Collection[str] = (),
        *,
        full_refresh_all: bool = False,
    ) -> Selection:
        """What an update of these datasets works on; everything when none is named.

        Raises UserError for names that are not tables of the pipeline, for names in both lists, and
        (TABLE_NOT_RESETTABLE) for a table that may not be reset. `full_refresh_all` leaves such
        tables as they are and refreshes them.
        """
        if full_refresh_all and (refresh or full_refresh):
            raise UserError(
                "a full refresh of everything leaves nothing to select; name no datasets with it",
                condition="INVALID_SELECTION",
            )
        if full_refresh_all:
            tables = frozenset(self.targets)
            return Selection(tables, frozenset(n for n in tables if self._may_reset(n)))
        light = frozenset(self._table(name) for name in refresh)
        full = frozenset(self._table(name) for name in full_refresh)
        for name in sorted(light & full):
            raise UserError(
                f"{name!r} is to be refreshed and to be fully refreshed; name it once",
                condition="INVALID_SELECTION",
            )
        for name in sorted(full):
            if not self._may_reset(name):
                raise UserError(
                    f"{name!r} cannot be fully refreshed: its property {RESET_ALLOWED!r} is false;"
                    " refresh it, or change the property",
                    condition="TABLE_NOT_RESETTABLE",
                )
        return Selection(light | full or frozenset(self.targets), full)

    def _may_reset(self, name: str) -> bool:
        value = self.datasets[name].dataset.properties.get(RESET_ALLOWED, "true")
        return value.strip().lower() != "false"

    def _table(self, name: str) -> str:
        found = self.names.find(name)
        if found is None:
            raise PipelineError(
                f"the pipeline has no dataset {name!r}{self.names.suggestion(name)}",
                condition="TABLE_OR_VIEW_NOT_FOUND",
            )
        if self.datasets[found].is_view:
            raise UserError(
                f"{name!r} is a view and is never stored; select the tables that read it",
                condition="INVALID_SELECTION",
            )
        return found
