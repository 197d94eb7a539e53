"""What all flows of a pipeline share while they run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from proa.clock import Clock, Ids
from proa.engine import Engine
from proa.graph import FlowNode
from proa.graph.findings import Finding
from proa.lake import Table
from proa.layout import Layout
from proa.runtime.event_log import EventLog
from proa.storage import absolute


@dataclass(frozen=True)
class Turn:
    """Whether it is a region's turn to write to sinks."""

    epoch: int = 0
    """The control record's; 0 without regions."""
    refusal: str | None = None
    """Why it is not; None when it is."""


SinkGate = Callable[[], Turn]
"""Says, whenever it is asked, whether this region may write to sinks. Raises UnavailableError."""


@dataclass
class Context:
    """The region's engine and storage, and handles that stay warm between updates."""

    layout: Layout
    options: Mapping[str, str]
    engine: Engine
    clock: Clock
    ids: Ids
    events: EventLog
    paths: Mapping[str, str] = field(default_factory=dict)
    """Datasets that the user has put at a path of their own."""
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """For datasets that changes are applied to: the columns that tell their rows apart."""
    may_come: Callable[[str], bool] = lambda _folder: True
    """Whether a folder that is not there may be made by a shipment later."""
    event_time: str | None = None
    """The column that carries the time at which events happened, in tables that have it."""
    accepts: Callable[[Finding], bool] = lambda _finding: False
    """Whether the project has accepted a finding."""
    gate: SinkGate = Turn
    """Whether this region may write to sinks now."""
    update_id: str = ""
    through: Mapping[str, int] = field(default_factory=dict)
    """By source: the number of a file; the update leaves out those that were shipped after it."""
    _tables: dict[str, Table] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def table(self, dataset: str) -> Table:
        """The dataset's table; one handle for all who ask."""
        with self._lock:
            found = self._tables.get(dataset)
            if found is None:
                path = self.paths.get(dataset)
                url = absolute(path) if path else self.layout.table(dataset)
                found = self._tables[dataset] = Table.at(url, self.options)
            return found

    def schema_evolved(self, node: FlowNode, leaf: str) -> None:
        """Note that a flow's files have brought new fields."""
        self.events.add(
            "flow_progress",
            f"The files of {leaf!r} have new fields; the schema has them now, and the batch of"
            f" {node.flow.name!r} is computed again.",
            level="WARN",
            details={"status": "RUNNING", "schema_evolution": {"leaf": leaf}},
            origin=self.events.origin_of(node.flow.name, node.target),
        )

    def batch_cut(self, node: FlowNode, batch: int, error: Exception) -> None:
        """Note that the data of a batch are wrong, and that less of them is read first."""
        self.events.add(
            "flow_progress",
            f"Batch {batch} of {node.flow.name!r} failed ({error}); a shorter one is computed, so that"
            " what was shipped before is in the table.",
            level="WARN",
            details={"status": "RUNNING", "batch_cut": {"batch": batch}},
            origin=self.events.origin_of(node.flow.name, node.target),
        )

    def refresh_planned(self, node: FlowNode, technique: str, why: str) -> None:
        """Note how a materialized view is refreshed, and why so."""
        self.events.add(
            "planning_information",
            f"Flow {node.flow.name!r} is planned to be executed as {technique}: {why}.",
            details={
                "technique_information": [
                    {"maintenance_type": f"MAINTENANCE_TYPE_{technique}", "is_chosen": True}
                ],
                "refresh": {"technique": technique, "why": why},
            },
            origin=self.events.origin_of(node.flow.name, node.target),
        )
