"""Caught up: has a region processed every event from before a moment? A fact, not a guess.

The manifest tells which files had been shipped by then, and the tables' logs which files they hold.
The latest event time is shown beside it; alone it would prove nothing: it stands still when a source is
quiet, and jumps over a file that is missing in the middle.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from proa.clock import Clock
from proa.errors import ProaError, SettingsError
from proa.landing import open_source
from proa.recovery.by_storage import StoredRegion
from proa.recovery.region_status import (
    Order,
    foreign_sources,
    has_files,
    latest_event,
    prefix,
    processed_files,
    read_order,
    unprocessed,
)
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
    settings: ProjectSettings, region: str, as_of: datetime, clock: Clock
) -> CaughtUp:
    """CaughtUp for one region. Raises UnavailableError when that region does not answer.

    Other regions and the sources may be gone: then the region's own manifest is what is known.
    """
    if as_of > clock.now():
        raise SettingsError(f"--as-of {as_of.isoformat()} lies in the future; nobody knows yet")
    here = StoredRegion(region, settings.region(region))
    held = processed_files(here)
    latest = latest_event(here, settings.event_time)
    answers = []
    for name in settings.sources:
        order = read_order(settings, name)
        paths = held.get(name, frozenset())
        if order.head or not has_files(here.zone, name):
            answers.append(_by_manifest(order, paths, as_of, settings))
        else:
            answers.append(_by_names(here, name, paths, as_of, latest))
    for name in foreign_sources(here, set(settings.sources)):
        paths = held.get(name, frozenset())
        answers.append(_by_names(here, name, paths, as_of, latest))
    answers += _by_event_table(here, settings, answers)
    caught_up = all(answer.caught_up for answer in answers)
    moment = as_of.isoformat()
    if caught_up:
        told = "; ".join(answer.sentence for answer in answers) or "there are no sources"
        sentence = f"{region} is caught up as of {moment}: {told}"
    else:
        told = "; ".join(answer.sentence for answer in answers if not answer.caught_up)
        sentence = f"{region} is not caught up as of {moment}: {told}"
    if latest is not None:
        sentence += f"; the latest event in its tables is {latest.isoformat()}"
    return CaughtUp(region, as_of, caught_up, sentence, latest, tuple(answers))


def _by_event_table(
    region: StoredRegion, settings: ProjectSettings, answers: list[SourceCaughtUp]
) -> list[SourceCaughtUp]:
    """A region that died in its first update may lack the very table that consumers look at."""
    if settings.event_time is None or not any(answer.needed for answer in answers):
        return []
    table = settings.event_time.table
    if table in region.lineage.datasets():
        return []
    return [SourceCaughtUp(table, False, None, None, f"the table {table!r} is not there yet")]


def _by_manifest(
    order: Order, paths: frozenset[str], as_of: datetime, settings: ProjectSettings
) -> SourceCaughtUp:
    needed = _needed(order.table, as_of)
    processed = prefix(pc.is_in(order.table["path"], pa.array(sorted(paths), pa.string())))
    name, caught_up = order.source, processed >= needed
    if not needed:
        sentence = f"{name} had shipped nothing by then"
    elif caught_up:
        sentence = f"{name} is processed through file {processed}, {needed} were shipped by then"
    else:
        first = order.table["path"][processed].as_py()
        sentence = (
            f"{name} is processed through file {processed} of {needed},"
            f" file {processed + 1} ({first!r}) is the first that is missing"
        )
    unshipped = _unshipped(order, as_of, settings) if order.whole else 0
    if unshipped:
        caught_up = False
        sentence += f", and {unshipped} older files of the source were not shipped yet"
    if not order.whole:
        sentence += " (as far as the landing zones know: the source does not answer)"
    return SourceCaughtUp(name, caught_up, needed, processed, sentence)


def _needed(table: pa.Table, as_of: datetime) -> int:
    """The last file that was shipped by `as_of`, or is known to hold an event from up to then."""
    moment = pa.scalar(as_of, pa.timestamp("us", "UTC"))
    shipped = pc.less_equal(table["shipped_at"], moment)
    happened = pc.fill_null(pc.less_equal(table["event_min"], moment), fill_value=False)
    return int(pc.max(table["seq"].filter(pc.or_(shipped, happened))).as_py() or 0)


def _unshipped(order: Order, as_of: datetime, settings: ProjectSettings) -> int:
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


def _by_names(
    region: StoredRegion,
    source: str,
    paths: frozenset[str],
    as_of: datetime,
    latest: datetime | None,
) -> SourceCaughtUp:
    """A zone that somebody else fills: its files' names and times, and the events' own time."""
    missing = [info for info in unprocessed(region.zone, source, paths) if info.modified <= as_of]
    late = latest is None or latest < as_of
    judged = "judged by file names and event time, the landing zone has no manifest"
    if missing:
        sentence = f"{source} has {len(missing)} landed files that are not processed ({judged})"
    elif late:
        sentence = f"{source} has no event from {as_of.isoformat()} or later yet ({judged})"
    else:
        sentence = f"{source} has every landed file processed ({judged})"
    return SourceCaughtUp(source, not missing and not late, None, None, sentence)
