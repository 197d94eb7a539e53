"""Status: how far each region is, source by source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from proa.clock import Clock
from proa.errors import ProaError
from proa.landing import Manifest, open_source
from proa.landing.manifest import SCHEMA
from proa.landing.zone_check import unnamed_files
from proa.lazy import compute as pc
from proa.recovery.by_storage import StoredRegion
from proa.recovery.contents import Mask, RegionContents
from proa.runtime.declared import DeclaredPipeline
from proa.settings import EventTimeSettings, ProjectSettings
from proa.storage import QUICK_ANSWERS, NotFoundError, ObjectInfo, Store
from proa.storage.visible import is_hidden


@dataclass(frozen=True)
class SourceStatus:
    """One source in one region. Numbers are sequence numbers unless said otherwise."""

    source: str
    shipped: int | None
    """The last file whose order is decided; None when it cannot be known."""
    landed: int | None
    """Everything up to here is in the landing zone; None without a manifest."""
    processed: int | None
    """Everything up to here is in the tables that consumers read; None without a manifest."""
    backlog_files: int
    """Landed and not processed."""
    backlog_bytes: int
    newest_shipped_at: datetime | None
    """When the newest file was shipped that is processed with everything before it."""
    lag: float | None
    """Seconds from then until now; 0 when everything that was shipped is processed."""
    manifest: bool = True
    """False: the zone was filled by somebody else; its files' names are all that is known."""
    waiting: float = 0.0
    """Seconds since the oldest file was shipped that is not processed; 0 when there is no such file."""
    unnamed: int = 0
    """Files in the zone that the manifest did not name when the zone was checked last: nobody reads
    them."""


@dataclass(frozen=True)
class RegionStatus:
    """One region."""

    region: str
    sources: tuple[SourceStatus, ...] = ()
    latest_event: datetime | None = None
    """The latest event in the table that proa.yml names."""
    error: ProaError | None = None
    """Why nothing, or not everything, is known."""

    @property
    def lag(self) -> float | None:
        """The largest lag of its sources, in seconds."""
        lags = [source.lag for source in self.sources if source.lag is not None]
        return max(lags, default=None)

    @property
    def waiting(self) -> float:
        """How long the oldest file waits that was shipped and is not processed, in seconds."""
        return max((source.waiting for source in self.sources), default=0.0)

    @property
    def unnamed(self) -> int:
        """How many files in its zone no manifest names, as of the last check."""
        return sum(source.unnamed for source in self.sources)


@dataclass(frozen=True)
class ShipmentOrder:
    """The order of one source's files, from the longest manifest that answered."""

    source: str
    table: pa.Table
    """The columns of `proa.landing.manifest.SCHEMA`."""
    whole: bool
    """False: the source itself did not answer, and more may have been shipped."""
    errors: tuple[ProaError, ...] = ()
    store: Store | None = None
    """Where the manifest lies."""

    def stored_by(self, moment: datetime) -> int:
        """The last file whose entry in the manifest the store had by `moment`, by the store's clock.

        Looks at a few entries only: they come into the store in their order.
        """
        stamps = self.table["shipped_at"].to_pylist()
        starts = [n for n, stamp in enumerate(stamps) if n == 0 or stamp != stamps[n - 1]]
        low, high = 0, len(starts)
        while low < high:
            middle = (low + high) // 2
            if self._modified_at(starts[middle] + 1) <= moment:
                low = middle + 1
            else:
                high = middle
        return starts[low] if low < len(starts) else self.head

    def _modified_at(self, seq: int) -> datetime:
        assert self.store is not None
        try:
            return self.store.head(Manifest.entry(self.source, seq)).modified
        except NotFoundError:
            return datetime.min.replace(tzinfo=UTC)  # what cannot be dated counts

    @property
    def head(self) -> int:
        return int(self.table.num_rows)


def read_status(
    settings: ProjectSettings,
    clock: Clock,
    regions: Sequence[str] = (),
    declared: Mapping[str, DeclaredPipeline] | None = None,
) -> list[RegionStatus]:
    """The status of `regions`, or of all. A region that does not answer is reported, not raised.

    `declared` is what the pipeline declares now, by region, where that is known to be other than
    what a region's last update wrote down.
    """
    now = declared or {}
    looked_at = [
        StoredRegion.for_looks(name, settings.region(name), now.get(name))
        for name in regions or settings.regions
    ]
    with ThreadPoolExecutor(4) as pool:
        orders = list(pool.map(lambda name: read_order(settings, name), settings.sources))
        return list(
            pool.map(lambda region: _region(region, orders, settings.event_time, clock), looked_at)
        )


def read_order(settings: ProjectSettings, source: str) -> ShipmentOrder:
    """The order of a source: from its journal or, when that is gone, from the furthest zone."""
    errors: list[ProaError] = []
    try:
        where = settings.sources[source]
        quick = where.model_copy(update={"options": {**QUICK_ANSWERS, **where.options}})
        journal = open_source(source, quick).journal
        table = Manifest(journal, source).table()
        if table.num_rows:
            return ShipmentOrder(source, table, whole=True, store=journal)
        whole = True
    except ProaError as error:
        errors.append(error)
        whole = False
    best, store = SCHEMA.empty_table(), None
    for name, region in settings.regions.items():
        try:
            zone = StoredRegion.for_looks(name, region).zone
            table = Manifest(zone, source).table()
        except ProaError as error:
            errors.append(error)
            continue
        if table.num_rows > best.num_rows:
            best, store = table, zone
    return ShipmentOrder(source, best, whole, tuple(errors), store)


def _region(
    region: StoredRegion,
    orders: Sequence[ShipmentOrder],
    event_time: EventTimeSettings | None,
    clock: Clock,
) -> RegionStatus:
    try:
        contents = region.contents(clock)
        sources = [_source(region, order, contents, clock) for order in orders]
        known = {order.source for order in orders}
        sources += [
            _without_manifest(region, name, contents) for name in foreign_sources(region, known)
        ]
        return RegionStatus(region.name, tuple(sources), region.latest_event(event_time))
    except ProaError as error:
        return RegionStatus(region.name, error=error)


def _source(
    region: StoredRegion, order: ShipmentOrder, contents: RegionContents, clock: Clock
) -> SourceStatus:
    landed = region.manifest(order.source)
    if not landed.num_rows and not order.head and has_files(region, order.source):
        return _without_manifest(region, order.source, contents)
    files = region.source_files(order.source, landed["path"], landed.num_rows)
    lacking, _ = contents.lacks(files)
    processed = prefix(~lacking)
    missing = landed.filter(pa.array(lacking))
    newest = landed["shipped_at"][processed - 1].as_py() if processed else None
    shipped = max(order.head, landed.num_rows)
    lag: float | None = 0.0
    if processed < shipped:
        since = newest or (order.table["shipped_at"][0].as_py() if order.head else None)
        # Not 0, whatever the clocks say that it is computed from: something is missing.
        lag = None if since is None else max(_LEAST_LAG_S, (clock.now() - since).total_seconds())
    return SourceStatus(
        order.source,
        shipped if order.whole else None,
        landed.num_rows,
        processed,
        missing.num_rows,
        pc.sum(missing["size"]).as_py() or 0,
        newest,
        lag,
        waiting=_waiting(order, landed, processed, clock),
        unnamed=unnamed_files(region.zone, order.source),
    )


_LEAST_LAG_S = 0.001


def _waiting(order: ShipmentOrder, landed: pa.Table, processed: int, clock: Clock) -> float:
    """Seconds since the first file after the processed ones was shipped."""
    known = order.table if order.head >= landed.num_rows else landed
    if processed >= known.num_rows:
        return 0.0
    age: float = (clock.now() - known["shipped_at"][processed].as_py()).total_seconds()
    return max(0.0, age)


def _without_manifest(region: StoredRegion, source: str, contents: RegionContents) -> SourceStatus:
    missing = unprocessed_files(region, source, contents)
    return SourceStatus(
        source=source,
        shipped=None,
        landed=None,
        processed=None,
        backlog_files=len(missing),
        backlog_bytes=sum(info.size for info in missing),
        newest_shipped_at=None,
        lag=None,
        manifest=False,
        unnamed=unnamed_files(region.zone, source),
    )


def foreign_sources(region: StoredRegion, known: set[str]) -> list[str]:
    """Folders of the landing zone that no source of proa.yml fills: somebody else does."""
    return [name for name in region.zone.folders() if name not in known and not is_hidden(name)]


def has_files(region: StoredRegion, source: str) -> bool:
    """Whether anything lies in a source's folder."""
    return next(iter(region.zone.walk(source)), None) is not None


def unprocessed_files(
    region: StoredRegion, source: str, contents: RegionContents
) -> list[ObjectInfo]:
    """The files of a source that lie in the zone and that a declared table lacks."""
    listed = region.list_source(source)
    paths = [info.path.removeprefix(f"{source}/") for info in listed]
    lacking, _ = contents.lacks(region.source_files(source, paths, len(paths)))
    return [info for info, lacks in zip(listed, lacking.tolist(), strict=True) if lacks]


def prefix(done: Mask) -> int:
    """How many are true before the first that is not."""
    return int(np.argmin(done)) if not done.all() else len(done)


def lag_text(seconds: float) -> str:
    """A lag for people: what lags is not told as 0."""
    return "under 1 s" if 0 < seconds < 1 else f"{seconds:,.0f} s"


def status_facts(status: RegionStatus) -> dict[str, Any]:
    """A region's status for programs."""
    return {
        "region": status.region,
        "latest_event": _text(status.latest_event),
        "lag_s": status.lag,
        "error": str(status.error) if status.error else None,
        "sources": [
            {
                "source": source.source,
                "manifest": source.manifest,
                "shipped_through": source.shipped,
                "landed_through": source.landed,
                "processed_through": source.processed,
                "backlog_files": source.backlog_files,
                "backlog_bytes": source.backlog_bytes,
                "newest_shipped_at": _text(source.newest_shipped_at),
                "lag_s": source.lag,
                "waiting_s": source.waiting,
                "unnamed_files": source.unnamed,
            }
            for source in status.sources
        ],
    }


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
