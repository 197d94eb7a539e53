"""Status: how far each region is, source by source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from proa.clock import Clock
from proa.errors import DataError, ProaError
from proa.lake.largest import largest
from proa.landing import Manifest, open_source
from proa.recovery.by_storage import StoredRegion
from proa.settings import EventTimeSettings, ProjectSettings
from proa.storage import ObjectInfo, Store
from proa.storage.visible import is_hidden
from proa.times import as_moment


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


@dataclass(frozen=True)
class Order:
    """The order of one source's files, from the longest manifest that answered."""

    source: str
    table: pa.Table
    """The columns of `proa.landing.manifest.SCHEMA`."""
    whole: bool
    """False: the source itself did not answer, and more may have been shipped."""
    errors: tuple[ProaError, ...] = ()

    @property
    def head(self) -> int:
        return int(self.table.num_rows)


def read_status(
    settings: ProjectSettings, clock: Clock, regions: Sequence[str] = ()
) -> list[RegionStatus]:
    """The status of `regions`, or of all. A region that does not answer is reported, not raised."""
    wanted = [StoredRegion(name, settings.region(name)) for name in regions or settings.regions]
    with ThreadPoolExecutor(4) as pool:
        orders = list(pool.map(lambda name: read_order(settings, name), settings.sources))
        return list(pool.map(lambda one: _region(one, orders, settings.event_time, clock), wanted))


def read_order(settings: ProjectSettings, source: str) -> Order:
    """The order of a source: from its journal or, when that is gone, from the furthest zone."""
    errors: list[ProaError] = []
    try:
        journal = open_source(source, settings.sources[source]).journal
        table = Manifest(journal, source).table()
        if table.num_rows:
            return Order(source, table, whole=True)
        whole = True
    except ProaError as error:
        errors.append(error)
        whole = False
    best = None
    for name, one in settings.regions.items():
        try:
            table = Manifest(StoredRegion(name, one).zone, source).table()
        except ProaError as error:
            errors.append(error)
            continue
        if best is None or table.num_rows > best.num_rows:
            best = table
    return Order(source, best if best is not None else _no_files(), whole, tuple(errors))


def _region(
    region: StoredRegion,
    orders: Sequence[Order],
    event_time: EventTimeSettings | None,
    clock: Clock,
) -> RegionStatus:
    try:
        held = processed_files(region)
        sources = [_source(region, order, held, clock) for order in orders]
        known = {order.source for order in orders}
        sources += [
            _without_manifest(region.zone, name, held.get(name, frozenset()))
            for name in foreign_sources(region, known)
        ]
        return RegionStatus(region.name, tuple(sources), latest_event(region, event_time))
    except ProaError as error:
        return RegionStatus(region.name, error=error)


def processed_files(region: StoredRegion) -> Mapping[str, frozenset[str]]:
    """For each source, the paths that are in all of the tables that consumers read and that read it.

    Consumers read the tables that no other table is made from.
    """
    found: dict[str, frozenset[str]] = {}
    for table in region.lineage.leaves():
        held: dict[str, set[str]] = {}
        for file in region.raw_files(region.lineage.contents(table)):
            held.setdefault(file.source, set()).add(file.path)
        for source, paths in held.items():
            found[source] = found[source] & paths if source in found else frozenset(paths)
    return found


def latest_event(region: StoredRegion, event_time: EventTimeSettings | None) -> datetime | None:
    """The latest event in the table that the settings name; None while there is none."""
    if event_time is None or event_time.table not in region.lineage.datasets():
        return None
    table, column = event_time.table, event_time.column
    found = region.lineage.table(table)
    names = {name.lower(): name for name in found.schema.names}
    if column.lower() not in names:
        raise DataError(
            f"the table {table!r} of region {region.name!r} has no column {column!r}; correct"
            f" event_time in proa.yml. It has {', '.join(names.values())}",
            condition="INVALID_SETTING",
        )
    return as_moment(largest(found, names[column.lower()]))


def _source(
    region: StoredRegion, order: Order, held: Mapping[str, frozenset[str]], clock: Clock
) -> SourceStatus:
    paths = held.get(order.source, frozenset())
    manifest = Manifest(region.zone, order.source)
    landed = manifest.table()
    if not landed.num_rows and not order.head and has_files(region.zone, order.source):
        return _without_manifest(region.zone, order.source, paths)
    done = pc.is_in(landed["path"], pa.array(sorted(paths), pa.string()))
    processed = prefix(done)
    missing = landed.filter(pc.invert(done))
    newest = landed["shipped_at"][processed - 1].as_py() if processed else None
    shipped = max(order.head, landed.num_rows)
    lag = 0.0 if processed == shipped else None
    if lag is None and newest is not None:
        lag = (clock.now() - newest).total_seconds()
    elif lag is None:
        first = order.table["shipped_at"][0].as_py() if order.head else None
        lag = (clock.now() - first).total_seconds() if first else None
    return SourceStatus(
        order.source,
        shipped if order.whole else None,
        landed.num_rows,
        processed,
        missing.num_rows,
        pc.sum(missing["size"]).as_py() or 0,
        newest,
        lag,
    )


def _without_manifest(zone: Store, source: str, paths: frozenset[str]) -> SourceStatus:
    missing = unprocessed(zone, source, paths)
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
    )


def foreign_sources(region: StoredRegion, known: set[str]) -> list[str]:
    """Folders of the landing zone that no source of proa.yml fills: somebody else does."""
    return [name for name in region.zone.folders() if name not in known and not is_hidden(name)]


def has_files(zone: Store, source: str) -> bool:
    """Whether anything lies in a source's folder."""
    return next(iter(zone.walk(source)), None) is not None


def unprocessed(zone: Store, source: str, paths: frozenset[str]) -> list[ObjectInfo]:
    """The files of a source that lie in the zone and are not among `paths`."""
    found = []
    for info in zone.walk(source):
        path = info.path.removeprefix(f"{source}/")
        if path not in paths and not is_hidden(path):
            found.append(info)
    return found


def prefix(done: pa.ChunkedArray) -> int:
    """How many are true before the first that is not."""
    first = pc.index(done, False).as_py()
    return len(done) if first < 0 else int(first)


def _no_files() -> pa.Table:
    from proa.landing.manifest import SCHEMA

    return SCHEMA.empty_table()
