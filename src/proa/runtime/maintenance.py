"""Maintenance: what a region's storage no longer needs is removed, and small files become few.

Runs beside updates, continuous ones included; no row changes and no stream sees anything new.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from proa.autoloader.discovery import Place
from proa.cdc import MEMORY, MemoryStore
from proa.errors import ConflictError, SettingsError
from proa.graph import FilesLeaf
from proa.lake import Table, upkeep
from proa.landing.delivery import Zone
from proa.landing.manifest_tail import find_listed_folder
from proa.landing.zone_check import check_zone, keep_check
from proa.layout import Layout, app_id
from proa.pipelines.definitions import DatasetKind
from proa.runtime.checkpoint import CUTS, PLANS, SETTLED, Checkpoint, Plan, TableInput
from proa.runtime.lineage import Lineage
from proa.runtime.runner import Runner
from proa.runtime.sinks import BATCHES
from proa.runtime.target import TableTarget
from proa.storage import ObjectInfo, Store
from proa.streaming.stream_state import StateStore, state_app
from proa.times import duration_setting

RETENTION = timedelta(days=7)
"""How old must be what is removed: versions of tables, files without a table, plans."""
SHORTEST = timedelta(days=1)
"""No batch takes as long, from its plan to its commit."""
LOG_RETENTION = timedelta(days=30)
FILES_PROPERTY = "delta.deletedFileRetentionDuration"
LOG_PROPERTY = "delta.logRetentionDuration"
_PLANS_KEPT = 128
"""Plans of the last batches: whoever starts reads them."""
_EVENTS = "the event log"


@dataclass(frozen=True)
class Upkeep:
    """What was done for one table, or would be."""

    table: str
    compacted: upkeep.Compacted = field(default_factory=upkeep.Compacted)
    files: upkeep.Removed = field(default_factory=upkeep.Removed)
    """Data files that no version within the retention has."""
    log: upkeep.Removed = field(default_factory=upkeep.Removed)
    """Entries of the table's log."""
    plans: upkeep.Removed = field(default_factory=upkeep.Removed)
    """Plans that stand in a segment as well, and checkpoints of older generations."""
    postponed: str | None = None
    """Why something was left for next time."""


def maintain(
    runner: Runner, retention: timedelta = RETENTION, *, dry_run: bool = False
) -> Iterator[Upkeep]:
    """Look after the tables of the runner's pipeline and its event log, one after the other.

    `dry_run` only says what would be done. SettingsError for a retention below a day;
    UnavailableError when the storage does not answer.
    """
    if retention < SHORTEST:
        raise SettingsError(
            f"the retention must be at least {SHORTEST.days} day, or files of a batch that is being"
            " computed could go"
        )
    graph, context = runner.graph(), runner.context
    now = context.clock.now()
    readers = _Readers(runner)
    for name in graph.targets:
        if graph.datasets[name].is_sink:
            removed = _clean_sink(runner, name, now - retention, dry_run=dry_run)
            yield Upkeep(name, files=removed)
            continue
        table = context.table(name)
        if table.refresh() is None:
            continue
        streams = graph.datasets[name].dataset.kind is DatasetKind.STREAMING_TABLE
        work = _Work(runner, table, now, retention, dry_run=dry_run)
        work.flows = [flow.flow.name for flow in graph.datasets[name].flows]
        done, postponed = work.compact() if streams else (upkeep.Compacted(), None)
        yield Upkeep(
            name,
            done,
            work.files(readers.files_needed(name)),
            work.log(readers.floor(name)),
            work.plans(name),
            postponed,
        )
    events = Table.at(context.layout.events, context.options)
    if not dry_run:
        _check_zones(runner)
    if events.refresh() is not None:
        work = _Work(runner, events, now, retention, dry_run=dry_run)
        yield Upkeep(_EVENTS, files=work.files(()), log=work.log(events.version))


def _check_zones(runner: Runner) -> None:
    """Tell in the event log which files lie in the zones and in no manifest, and keep their number."""
    graph, context = runner.graph(), runner.context
    leaves = [
        leaf
        for node in graph.datasets.values()
        for flow in node.flows
        for leaf in flow.plan.leaves
        if isinstance(leaf, FilesLeaf)
    ]
    bases = {Place.of(leaf.path).resolve(context.options).base for leaf in leaves}
    folders = {find_listed_folder(base, context.options) for base in bases}
    for folder in sorted(filter(None, folders), key=lambda each: (each.zone, each.sources)):
        zone = Zone(folder.zone, folder.zone, context.options)
        for source in folder.sources:
            check = check_zone(zone, source)
            keep_check(zone.open(), check)
            if check.unknown:
                context.events.add(
                    "zone_check",
                    f"{len(check.unknown)} files of {source!r} are in the landing zone and not in its"
                    f" manifest, so nobody reads them, for example {check.unknown[0]!r}",
                    level="WARN",
                    details={"source": source, "unnamed": list(check.unknown[:_NAMED])},
                )
    context.events.flush()


_NAMED = 20
"""Files that an event names."""


def _clean_sink(runner: Runner, sink: str, cutoff: datetime, *, dry_run: bool) -> upkeep.Removed:
    """Remove rows that were on their way to a sink's function when something failed."""
    context = runner.context
    store = Store.open(context.layout.storage, context.options)
    folder = context.layout.sink(sink).removeprefix(f"{context.layout.storage}/")
    old = [info for info in store.walk(f"{folder}/{BATCHES}") if info.modified < cutoff]
    return upkeep.count_objects(old) if dry_run else upkeep.remove(store, old)


class _Work:
    """The upkeep of one table."""

    def __init__(
        self, runner: Runner, table: Table, now: datetime, retention: timedelta, *, dry_run: bool
    ) -> None:
        self._runner = runner
        self._table = table
        self._now = now
        self._retention = max(retention, _property(table, FILES_PROPERTY, timedelta()))
        self._dry_run = dry_run
        self.flows: Sequence[str] = ()
        """The flows that feed the table."""

    def compact(self) -> tuple[upkeep.Compacted, str | None]:
        """What was compacted, and why not all of it."""
        before = after = 0
        groups = upkeep.small_files(self._table)
        if self._dry_run:
            return upkeep.Compacted(sum(map(len, groups)), len(groups)), None
        for group in groups:
            try:
                done = upkeep.compact(
                    self._table, group, self._runner.engine, self._runner.context.ids
                )
            except ConflictError as error:
                return upkeep.Compacted(before, after), str(error)
            before, after = before + done.before, after + done.after
        return upkeep.Compacted(before, after), None

    def files(self, needed: tuple[str, ...]) -> upkeep.Removed:
        found = upkeep.unneeded_objects(self._table, self._now - self._retention, needed)
        found += self._old_memories()
        found += self._old_states()
        return self._remove_objects(Store.open(self._table.url, self._table.options), found)

    def _old_memories(self) -> list[ObjectInfo]:
        """What AUTO CDC has left beside the table and no commit of the retention speaks of."""
        table = self._table
        number, generation = table.transaction(MEMORY), table.wanted_generation
        if number is None:
            return []
        memories = MemoryStore(table.url, table.options)
        cutoff = self._now - self._retention
        old = [info for info in memories.objects() if info.modified < cutoff]
        return memories.superseded_objects(number, generation, old)

    def _old_states(self) -> list[ObjectInfo]:
        """What operators with state have left and no commit of the retention speaks of."""
        table, found = self._table, list[ObjectInfo]()
        cutoff, generation = self._now - self._retention, table.wanted_generation
        for flow in self.flows:
            number = table.transaction(state_app(flow))
            if number is not None:
                states = StateStore(table.url, table.options, flow)
                old = [info for info in states.objects() if info.modified < cutoff]
                found += states.superseded_objects(number, generation, old)
        return found

    def log(self, floor: int) -> upkeep.Removed:
        age = max(_property(self._table, LOG_PROPERTY, LOG_RETENTION), self._retention)
        found = upkeep.expired_log(self._table, self._now - age, floor)
        return self._remove_objects(Store.open(self._table.url, self._table.options), found)

    def plans(self, dataset: str) -> upkeep.Removed:
        """Remove plans that stand in a segment, and whole checkpoints of older generations."""
        context, cutoff = self._runner.context, self._now - self._retention
        store = Store.open(context.layout.flows(dataset), context.options)
        generation = self._table.generation
        found = []
        for flow in store.folders():
            for number in store.folders(flow):
                if not number.isdigit() or int(number) > generation:
                    continue
                place = f"{flow}/{number}"
                if int(number) < generation:
                    found += [info for info in store.walk(place) if info.modified < cutoff]
                    continue
                done = Checkpoint(store.child(place)).folded_count() - _PLANS_KEPT
                found += [
                    info
                    for folder in (PLANS, CUTS, SETTLED)
                    for info in store.walk(f"{place}/{folder}")
                    if info.modified < cutoff and _number(info.path) < done
                ]
        return self._remove_objects(store, found)

    def _remove_objects(self, store: Store, found: list[ObjectInfo]) -> upkeep.Removed:
        return upkeep.count_objects(found) if self._dry_run else upkeep.remove(store, found)


class _Readers:
    """What flows have not read yet of the tables that they read."""

    def __init__(self, runner: Runner) -> None:
        self._context = runner.context
        self._layout: Layout = self._context.layout
        self._positions: dict[str, int] = {}
        """By table: every stream of it has read up to this version at least."""
        self._pinned: dict[str, set[int]] = {}
        """By table: versions that a batch which is not committed yet reads."""
        self._through: dict[str, int] = {}
        """By table: the oldest version that any table in the storage was computed from."""
        for name, flows in runner.runners().items():
            for flow in flows:
                if isinstance(flow.target, TableTarget):
                    self._add(name, flow.name)
                else:
                    at = flow.target.position(flow.name)
                    self._add_position(name, flow.name, at.generation, at.batch)
        lineage = Lineage(self._layout.storage, self._context.options, self._context.paths)
        for name in lineage.datasets():
            for read, version in lineage.reads(name).items():
                self._through[read] = min(version, self._through.get(read, version))

    def files_needed(self, dataset: str) -> tuple[str, ...]:
        """Files that a flow may still ask for, at their absolute locations."""
        table = self._context.table(dataset)
        found = [file for at in self._pinned.get(dataset, ()) for file in table.files(at)]
        after = self._positions.get(dataset, table.version)
        found += table.added_between(after, table.version, skip_changes=True)
        return tuple(found)

    def floor(self, dataset: str) -> int:
        """The oldest version that the log must still know."""
        versions = {
            self._positions.get(dataset, -1),
            self._through.get(dataset, -1),
            *self._pinned.get(dataset, ()),
        }
        newest = self._context.table(dataset).version
        return min((version for version in versions if version >= 0), default=newest)

    def _add(self, dataset: str, flow: str) -> None:
        """Note what a flow reads, also for a full refresh that has no batch yet."""
        table = self._context.table(dataset)
        there = table.refresh() is not None
        for generation in {table.generation, table.wanted_generation} if there else {0}:
            last = table.transaction(app_id(flow, generation))
            self._add_position(dataset, flow, generation, last)

    def _add_position(self, dataset: str, flow: str, generation: int, last: int | None) -> None:
        """Note what a flow reads whose last batch of a generation is `last`; None for none."""
        url = self._layout.checkpoint(dataset, flow, generation)
        checkpoint = Checkpoint(Store.open(url, self._context.options))
        done = None if last is None else checkpoint.committed_plan(last)
        planned = checkpoint.read(0 if last is None else last + 1)
        for read in _tables(done):
            if read.after is not None:
                position = min(read.version, self._positions.get(read.dataset, read.version))
                self._positions[read.dataset] = position
        for read in _tables(planned):
            if read.version >= 0:
                self._pinned.setdefault(read.dataset, set()).add(read.version)


def _tables(plan: Plan | None) -> list[TableInput]:
    inputs = () if plan is None else plan.inputs.values()
    return [found for found in inputs if isinstance(found, TableInput)]


def _property(table: Table, name: str, default: timedelta) -> timedelta:
    properties: Mapping[str, str] = table.properties
    if name not in properties:
        return default
    return timedelta(seconds=duration_setting(properties[name], name))


def _number(path: str) -> int:
    with suppress(ValueError):
        return int(path.rsplit("/", 1)[-1].partition(".")[0])
    return 1 << 62
