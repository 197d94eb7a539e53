"""What arrives and how fast it is processed, as manifests and event logs have recorded it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from proa.errors import UserError
from proa.layout import Layout
from proa.recovery.advice import MeasuredArrival, Processing
from proa.recovery.control_record import ControlRecord, Operation, Phase
from proa.recovery.region_status import read_order
from proa.runtime.event_rows import read_events
from proa.settings import ProjectSettings

WINDOW_S = 7 * 86_400.0
"""How far back arrivals count, from the newest one."""
_MOST_UPDATES = 500


@dataclass(frozen=True)
class MeasuredUpdate:
    """An update that ended well."""

    startup: float
    """Seconds until it computed."""
    busy: float
    """Seconds from then to its end."""
    files: int
    """Raw files that it read, each counted once."""


@dataclass(frozen=True)
class Measured:
    """What the model is fed with."""

    arrivals: tuple[MeasuredArrival, ...]
    processing: Processing
    files: int
    """Raw files that arrived."""
    updates: int
    """Updates that were measured; 0 when `processing` was given."""

    @property
    def bytes(self) -> int:
        """All that arrived."""
        return sum(one.size for one in self.arrivals)

    @property
    def span(self) -> float:
        """Seconds from the first arrival to the last one."""
        return self.arrivals[-1].at - self.arrivals[0].at


def read_arrivals(
    settings: ProjectSettings, window: float = WINDOW_S
) -> tuple[tuple[MeasuredArrival, ...], int]:
    """The shipments of all sources within `window` seconds before the newest one, and their files.

    Files that were shipped in the same second are one arrival. Raises UserError when nothing was shipped.
    """
    tables = [read_order(settings, source).table for source in settings.sources]
    whole = pa.concat_tables(tables) if tables else None
    if whole is None or not whole.num_rows:
        raise UserError(
            "nothing was shipped yet, so nothing is known of what arrives; ship first (`proa ship`)",
            condition="NOTHING_MEASURED",
        )
    stamps = whole["shipped_at"].cast(pa.int64()).to_numpy() // 1_000_000
    sizes = whole["size"].to_numpy()
    recent = stamps >= stamps.max() - window
    sums: dict[int, int] = {}
    for stamp, size in zip(stamps[recent].tolist(), sizes[recent].tolist(), strict=True):
        sums[stamp] = sums.get(stamp, 0) + size
    return tuple(MeasuredArrival(float(at), sums[at]) for at in sorted(sums)), int(recent.sum())


def read_updates(settings: ProjectSettings, region: str) -> list[MeasuredUpdate]:
    """The newest completed updates in a region's event log, oldest first."""
    where = settings.region(region)
    events = read_events(Layout(where.storage.rstrip("/")).events, where.options)
    return list(measured_updates(events))[-_MOST_UPDATES:]


def measured_updates(events: Iterable[Mapping[str, Any]]) -> Iterable[MeasuredUpdate]:
    """Yield what each completed, triggered update in a log took; `events` are oldest first."""
    begun: dict[str, datetime] = {}
    running: dict[str, datetime] = {}
    files: dict[str, dict[str, int]] = {}
    for event in events:
        update = event["origin"].get("update_id", "")
        details = event["details"].get(event["event_type"]) or {}
        at = datetime.fromisoformat(event["timestamp"])
        if event["event_type"] == "create_update" and not details.get("continuous"):
            begun[update] = at
        elif event["event_type"] == "flow_progress":
            count = (details.get("metrics") or {}).get("num_input_files") or 0
            flow = event["origin"].get("flow_name", "")
            of_flow = files.setdefault(update, {})
            of_flow[flow] = max(count, of_flow.get(flow, 0))
        elif event["event_type"] == "update_progress":
            if details.get("state") == "RUNNING":
                running.setdefault(update, at)
            elif details.get("state") == "COMPLETED" and update in begun and update in running:
                yield MeasuredUpdate(
                    (running[update] - begun[update]).total_seconds(),
                    (at - running[update]).total_seconds(),
                    sum(files.get(update, {}).values()),
                )


def fit_processing(
    updates: Sequence[MeasuredUpdate], bytes_per_file: float, switch: float = 0.0
) -> Processing:
    """The line through what updates took: seconds that each costs, and bytes a second.

    Start-ups count at their 90th percentile. Raises UserError when no update has read a file.
    """
    if not any(one.files for one in updates):
        raise UserError(
            "no update that read raw files is in the event log, so nothing is known of how fast they are"
            " processed; run one (`proa run`), or say it with --rate and --startup",
            condition="NOTHING_MEASURED",
        )
    sizes = [one.files * bytes_per_file for one in updates]
    times = [one.busy for one in updates]
    startups = sorted(one.startup for one in updates)
    startup = startups[min(len(startups) - 1, math.ceil(0.9 * len(startups)) - 1)]
    mean_size, mean_time = sum(sizes) / len(sizes), sum(times) / len(times)
    spread = sum((size - mean_size) ** 2 for size in sizes)
    together = sum(
        (size - mean_size) * (time - mean_time) for size, time in zip(sizes, times, strict=True)
    )
    slope = together / spread if spread else 0.0
    overhead = mean_time - slope * mean_size
    if slope <= 0 or overhead < 0:
        # Too few to tell what an update costs from what its bytes cost: all counts as bytes.
        slope, overhead = sum(times) / sum(sizes), 0.0
    return Processing(startup, overhead, 1.0 / max(slope, 1e-12), switch)


def switch_seconds(history: Sequence[ControlRecord]) -> float:
    """The longest that a change of roles took after the target had processed everything; 0 without one."""
    longest, promoted = 0.0, None
    for record in history:
        if record.operation is Operation.DRILL:
            continue
        if record.phase is Phase.PROMOTING:
            promoted = record.at
        elif record.is_steady and promoted is not None:
            longest = max(longest, (record.at - promoted).total_seconds())
            promoted = None
    return longest


def measure(  # noqa: PLR0913 - what may be said instead of measured
    settings: ProjectSettings,
    region: str,
    history: Sequence[ControlRecord] = (),
    *,
    window: float = WINDOW_S,
    rate: float | None = None,
    startup: float | None = None,
) -> Measured:
    """What has arrived, and how fast `region` processes it; without updates of its own, any other region.

    `rate` (bytes a second) and `startup` (seconds) take the place of what was measured. Raises UserError
    when neither is known, UnavailableError when a place that is needed does not answer.
    """
    arrivals, files = read_arrivals(settings, window)
    switch = switch_seconds(history)
    if rate is not None:
        return Measured(arrivals, Processing(startup or 0.0, 0.0, rate, switch), files, 0)
    updates: list[MeasuredUpdate] = []
    for name in (region, *(other for other in settings.regions if other != region)):
        updates = read_updates(settings, name)
        if any(one.files for one in updates):
            break
    size = sum(one.size for one in arrivals)
    processing = fit_processing(updates, max(1.0, size / files), switch)
    if startup is not None:
        processing = Processing(startup, processing.overhead, processing.rate, switch)
    return Measured(arrivals, processing, files, len(updates))
