"""Caught up: has a region processed every event from before a moment? A fact, not a guess.

The manifest tells which files had been shipped by then, and the tables' logs which files they hold.
The latest event time is shown beside it; alone it would prove nothing: it stands still when a source is
quiet, and jumps over a file that is missing in the middle.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from proa.clock import Clock
from proa.errors import ProaError, SettingsError
from proa.landing import open_source
from proa.lazy import compute as pc
from proa.recovery.by_storage import StoredRegion
from proa.recovery.contents import RegionContents
from proa.recovery.region_status import (
    ShipmentOrder,
    foreign_sources,
    has_files,
    prefix,
    read_order,
    unprocessed_files,
)
from proa.runtime.declared import DeclaredPipeline
from proa.settings import ProjectSettings
from proa.storage.visible import is_hidden, is_temporary


@dataclass(frozen=True)
class SourceCaughtUp:
    """One source."""

    source: str
    caught_up: bool
    needed: int | None
    """Everything up to this file of the order was shipped, or happened, by then."""
    processed: int | None
    """Everything up to here is processed."""
    sentence: str
    shipped: int | None = None
    """Everything up to this file of the order was shipped by then; `needed` may lie behind it."""


@dataclass(frozen=True)
class CaughtUp:
    """Whether `region` has processed everything from up to `as_of`."""

    region: str
    as_of: datetime
    caught_up: bool
    sentence: str
    latest_event: datetime | None
    sources: tuple[SourceCaughtUp, ...] = ()


def read_caught_up(
    settings: ProjectSettings,
    region: str,
    as_of: datetime,
    clock: Clock,
    declared: DeclaredPipeline | None = None,
) -> CaughtUp:
    """Judge one region. Raises UnavailableError when that region does not answer.

    Other regions and the sources may be gone: then the region's own manifest is what is known.
    `declared` is what the pipeline declares now; None takes what the region's last update wrote down.
    """
    if as_of > clock.now():
        raise SettingsError(
            f"--as-of {as_of.isoformat()} lies in the future; name a time that has passed"
        )
    here = StoredRegion.for_looks(region, settings.region(region), declared)
    judge = _Judge(here, here.contents(clock), as_of, clock.now(), settings)
    answers = [judge.source(name) for name in settings.sources]
    answers += [judge.by_names(name) for name in foreign_sources(here, set(settings.sources))]
    answers += judge.tables(answers)
    caught_up = all(answer.caught_up for answer in answers)
    sentences = "; ".join(a.sentence for a in answers if caught_up or not a.caught_up)
    sentence = (
        f"{region} is {'' if caught_up else 'not '}caught up as of {as_of.isoformat()}:"
        f" {sentences or 'there are no sources'}"
    )
    if judge.latest is not None:
        sentence += f"; the latest event in its tables is {judge.latest.isoformat()}"
    return CaughtUp(region, as_of, caught_up, sentence, judge.latest, tuple(answers))


class _Judge:
    """One region, judged as of one moment."""

    def __init__(
        self,
        region: StoredRegion,
        contents: RegionContents,
        as_of: datetime,
        now: datetime,
        settings: ProjectSettings,
    ) -> None:
        self._region = region
        self._contents = contents
        self._as_of = as_of
        self._now = now
        self._settings = settings
        self.latest = region.latest_event(settings.event_time)
        """The latest event in the region's tables."""

    def source(self, name: str) -> SourceCaughtUp:
        """A source of proa.yml: by its order, or by names where it was never shipped."""
        order = read_order(self._settings, name)
        if not order.head and has_files(self._region, name):
            return self.by_names(name)
        shipped = _last_shipped(order, self._as_of, self._now)
        needed = max(shipped, _last_happened(order.table, self._as_of))
        files = self._region.source_files(
            name, order.table["path"], self._region.manifest(name).num_rows
        )
        lacking, table = self._contents.lacks(files)
        processed = prefix(~lacking)
        caught_up = processed >= needed
        later = "" if needed == shipped else f", file {needed} holds older events"
        if not needed:
            sentence = f"{name} had shipped nothing by then"
        elif caught_up:
            sentence = f"{name} is processed through file {processed}, {shipped} were shipped by then{later}"
        else:
            first = order.table["path"][processed].as_py()
            where = f" in the table {table!r}" if table is not None else ""
            sentence = (
                f"{name} is processed through file {processed} of {needed},"
                f" file {processed + 1} ({first!r}) is the first that is missing{where}{later}"
            )
        unshipped = _count_unshipped(order, self._as_of, self._settings) if order.whole else 0
        if unshipped:
            caught_up = False
            sentence += f", and {unshipped} older files of the source were not shipped yet"
        if not order.whole:
            sentence += " (as far as the landing zones know: the source does not answer)"
        return SourceCaughtUp(name, caught_up, needed, processed, sentence, shipped)

    def by_names(self, source: str) -> SourceCaughtUp:
        """A zone that somebody else fills: its files' names and times, and the events' own time."""
        missing = [
            info
            for info in unprocessed_files(self._region, source, self._contents)
            if info.modified <= self._as_of
        ]
        is_read = self._contents.reads(self._region.folder(source))
        late = is_read and (self.latest is None or self.latest < self._as_of)
        judged = "judged by file names and event time, the landing zone has no manifest"
        if missing:
            sentence = f"{source} has {len(missing)} landed files that are not processed ({judged})"
        elif late:
            moment = self._as_of.isoformat()
            sentence = f"{source} has no event from {moment} or later yet ({judged})"
        else:
            sentence = f"{source} has every landed file processed ({judged})"
        return SourceCaughtUp(source, not missing and not late, None, None, sentence)

    def tables(self, answers: list[SourceCaughtUp]) -> list[SourceCaughtUp]:
        """Declared tables that were never computed, whatever files they would read."""
        if answers and not any(answer.needed for answer in answers):
            return []
        lacking = self._contents.uncomputed_tables()
        event_time = self._settings.event_time
        if (
            event_time is not None
            and self._contents.is_guessed
            and event_time.table not in self._region.lineage.datasets()
        ):
            # A region that died in its first update may lack the very table that consumers read.
            lacking[event_time.table] = f"the table {event_time.table!r} is not there yet"
        return [
            SourceCaughtUp(table, False, None, None, sentence)
            for table, sentence in lacking.items()
        ]


def _last_shipped(order: ShipmentOrder, as_of: datetime, now: datetime) -> int:
    """The last file that was shipped by `as_of`.

    A stamp that lies in the future shows that the shipper's clock is ahead. Then stamps say nothing
    of what came later than `as_of`: a file counts unless its entry came into the store later.
    """
    table = order.table
    moment = pa.scalar(as_of, pa.timestamp("us", "UTC"))
    in_time = pc.less_equal(table["shipped_at"], moment)
    last = int(pc.max(table["seq"].filter(in_time)).as_py() or 0)
    newest = pc.max(table["shipped_at"]).as_py()
    if newest is None or newest <= now:
        return last
    return max(last, order.stored_by(as_of))


def _last_happened(table: pa.Table, as_of: datetime) -> int:
    """The last file that is known to hold an event from up to `as_of`."""
    moment = pa.scalar(as_of, pa.timestamp("us", "UTC"))
    happened = pc.fill_null(pc.less_equal(table["event_min"], moment), fill_value=False)
    return int(pc.max(table["seq"].filter(happened)).as_py() or 0)


def _count_unshipped(order: ShipmentOrder, as_of: datetime, settings: ProjectSettings) -> int:
    """Files that lay in the source by `as_of` and have no place in the order."""
    try:
        store = open_source(order.source, settings.sources[order.source]).store
        known = set(order.table["path"].to_pylist())
        return sum(
            1
            for info in store.walk()
            if info.modified <= as_of
            and info.path not in known
            and not is_hidden(info.path)
            and not is_temporary(info.path)
        )
    except ProaError:
        return 0
