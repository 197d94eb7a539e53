"""What a region's storage says of its datasets and updates, for people who look at a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from proa.errors import ProaError
from proa.graph.leaves import DatasetLeaf, FilesLeaf, Leaf
from proa.layout import Layout
from proa.recovery.by_storage import StoredRegion
from proa.runtime.declared import DeclaredTable
from proa.runtime.event_rows import read_events
from proa.settings import ProjectSettings

_MOST_EVENTS = 400


@dataclass(frozen=True)
class DatasetDetails:
    """One table."""

    name: str
    kind: str
    reads: tuple[str, ...]
    """The datasets that its flows read."""
    rows: int | None
    """None: no update has computed it yet."""
    version: int
    updated: str | None
    """When an update last wrote it, ISO 8601, as far as the newest events say."""
    expectations: tuple[tuple[str, int, int], ...]
    """Name, rows that passed and rows that failed, of the last update that said so."""
    files: tuple[str, ...] = ()
    """The folders of raw files that its flows read, in the landing zone where they lie there."""


@dataclass(frozen=True)
class RegionDetails:
    """Everything about one region."""

    at: datetime | None = None
    """When it was looked at; None: not yet."""
    datasets: tuple[DatasetDetails, ...] = ()
    events: tuple[Mapping[str, Any], ...] = ()
    """The newest events, newest first, in the shape of the event log."""
    error: str | None = None

    @property
    def findings(self) -> list[Mapping[str, Any]]:
        """The events that say that something is wrong or depends on where it runs."""
        return [event for event in self.events if event["level"] in {"WARN", "ERROR"}]

    @property
    def ordered(self) -> list[DatasetDetails]:
        """The datasets, each after those that it reads."""
        by_name = {one.name: one for one in self.datasets}
        order: dict[str, DatasetDetails] = {}

        def add(name: str, above: frozenset[str]) -> None:
            for upstream in sorted(by_name[name].reads):
                if upstream in by_name and upstream not in order and upstream not in above:
                    add(upstream, above | {name})
            order[name] = by_name[name]

        for name in by_name:
            if name not in order:
                add(name, frozenset({name}))
        return list(order.values())

    @property
    def updates(self) -> list[tuple[str, str, str]]:
        """(id, last state, when) of the updates in the events, newest first."""
        updates: dict[str, tuple[str, str, str]] = {}
        for event in self.events:
            update = event["origin"].get("update_id")
            if event["event_type"] == "update_progress" and update not in updates:
                state = event["details"].get("update_progress", {}).get("state", "")
                updates[update] = (update, state, event["timestamp"])
        return list(updates.values())


def read_details(settings: ProjectSettings, region: str, now: datetime) -> RegionDetails:
    """Look at a region's tables and events. What cannot be read is said in `error`, not raised."""
    where = settings.region(region)
    try:
        lineage = StoredRegion.for_looks(region, where).lineage
        names = lineage.datasets()
        log = Layout(where.storage.rstrip("/")).events
        events = list(read_events(log, where.options, last=_MOST_EVENTS)) if names else []
        events.reverse()
        declared = lineage.declared_pipeline().tables
        zone = where.landing_zone.rstrip("/")
        datasets = tuple(
            DatasetDetails(
                name,
                "materialized view"
                if name in declared and declared[name].view
                else "streaming table",
                tuple(sorted(lineage.reads(name) if name in names else _tables(declared[name]))),
                lineage.table(name).count() if name in names else None,
                lineage.version(name),
                *_of_dataset(name, events),
                _folders(declared[name], zone) if name in declared else (),
            )
            for name in dict.fromkeys((*declared, *names))
        )
        return RegionDetails(now, datasets, tuple(events))
    except ProaError as error:
        return RegionDetails(now, error=str(error))


def _leaves(table: DeclaredTable) -> list[Leaf]:
    return [leaf for flow in table.flows for leaf in flow.leaves]


def _tables(table: DeclaredTable) -> set[str]:
    """The datasets that a table is declared to read."""
    return {leaf.dataset for leaf in _leaves(table) if isinstance(leaf, DatasetLeaf)}


def _folders(table: DeclaredTable, zone: str) -> tuple[str, ...]:
    """The folders of raw files that a table is declared to read."""
    paths = {leaf.path for leaf in _leaves(table) if isinstance(leaf, FilesLeaf)}
    return tuple(sorted(path.removeprefix(f"{zone}/") for path in paths))


def _of_dataset(
    name: str, events: Sequence[Mapping[str, Any]]
) -> tuple[str | None, tuple[tuple[str, int, int], ...]]:
    """When a dataset was last written and what its expectations found; `events` are newest first."""
    updated, quality = None, None
    for event in events:
        if event["event_type"] != "flow_progress" or event["origin"].get("dataset_name") != name:
            continue
        progress = event["details"].get("flow_progress", {})
        if updated is None and progress.get("metrics", {}).get("num_output_rows"):
            updated = event["timestamp"]
        if quality is None and progress.get("data_quality", {}).get("expectations"):
            quality = progress["data_quality"]["expectations"]
    found = tuple(
        (one["name"], one["passed_records"], one["failed_records"]) for one in quality or ()
    )
    return updated, found
