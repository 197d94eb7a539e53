"""The newest versions of a table that hold the same raw files in two regions.

Versions are walked from the newest one down, and what each commit brought is taken away from a running
sum of hashes. So one file is looked at once per batch that read it, however many versions there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from proa.lake import GENERATION
from proa.layout import app_id
from proa.recovery.by_storage import StoredRegion
from proa.runtime.checkpoint import FilesInput, Plan, TableInput
from proa.runtime.declared import DeclaredFlow
from proa.storage import NotFoundError

MOST_VERSIONS = 5000
"""How many versions of each region's table are looked at for one with the same files."""
_MODULUS = 1 << 128
_NOTHING = -1

Hashes = np.ndarray[Any, np.dtype[np.uint64]]
"""Sorted 64-bit hashes of raw files' names, each once."""


@dataclass(frozen=True)
class CommonFiles:
    """Where two regions' versions of a table meet."""

    versions: tuple[int, int] | None
    """The versions that hold the same files. None when there are no such versions."""
    files: int
    """The raw files that both of these hold."""
    behind: tuple[int, int]
    """How many files of the other region's newest version each region lacks."""


def find_common(left: FileLedger, right: FileLedger, table: str) -> CommonFiles:
    """Walk both regions' versions of a table down to the newest ones that hold the same files."""
    ledgers = (left, right)
    newest = tuple(ledger.newest(table) for ledger in ledgers)
    if not any(ledger.is_known(table) for ledger in ledgers):
        # Nobody knows what they were made from: they are taken as they are.
        return CommonFiles((newest[0], newest[1]), 0, (0, 0))
    walks = [ledger.walk(table) for ledger in ledgers]
    seen: tuple[dict[int, int], dict[int, int]] = ({}, {})
    sizes: list[int | None] = [_MODULUS, _MODULUS]
    match: tuple[int, int] | None = None
    while match is None and any(size is not None for size in sizes):
        # The side that holds more files is the one to go back.
        side = 0 if (sizes[0] or _NOTHING) >= (sizes[1] or _NOTHING) else 1
        side = side if sizes[side] is not None else 1 - side
        step = next(walks[side], None)
        if step is None or len(seen[side]) >= MOST_VERSIONS:
            sizes[side] = None
            continue
        version, count, total = step
        sizes[side] = count
        seen[side].setdefault(total, version)
        if total in seen[1 - side]:
            both = (seen[0][total], seen[1][total])
            # Versions that hold no files are alike only while there is nothing newer.
            match = both if count or both == newest else None
    hashes = [ledger.files(table, version) for ledger, version in zip(ledgers, newest, strict=True)]
    behind = (_lacks(hashes[0], hashes[1]), _lacks(hashes[1], hashes[0]))
    files = 0 if match is None else len(left.files(table, match[0]))
    return CommonFiles(match, files, behind)


def _lacks(mine: Hashes, other: Hashes) -> int:
    return len(np.setdiff1d(other, mine, assume_unique=True))


class FileLedger:
    """Which raw files the versions of one region's tables hold, as sums of hashes."""

    def __init__(self, region: StoredRegion) -> None:
        self.region = region
        self._lineage = region.lineage
        self._zone = region.settings.landing_zone.rstrip("/") + "/"
        self._batches: dict[tuple[str, str, int, int], _Batch] = {}
        self._walks: dict[str, Iterator[tuple[int, int, int]]] = {}
        self._sums: dict[tuple[str, int], tuple[int, int]] = {}
        self._lowest: dict[str, int] = {}
        self._streams: dict[str, dict[str, bool]] = {}

    def newest(self, table: str) -> int:
        """The newest version of a table; -1 when there is none."""
        return self._lineage.version(table)

    def is_known(self, table: str) -> bool:
        """Whether a flow has written the table, so that something can be said of its files."""
        version = self.newest(table)
        return any(
            self._lineage.last_batch(table, flow, version) is not None
            for flow in self._lineage.flows(table)
        )

    def walk(self, table: str) -> Iterator[tuple[int, int, int]]:
        """(version, files, sum of hashes) from the newest version down to where the log ends."""
        flows = {flow: self._flow(table, flow) for flow in self._lineage.flows(table)}
        version = self.newest(table)
        while version >= 0:
            count, total = 0, 0
            for flow in flows.values():
                own = self._sum_of(flow)
                count, total = count + own[0], (total + own[1]) % _MODULUS
            yield version, count, total
            try:
                commit = self._lineage.table(table).commit_info(version)
            except NotFoundError:
                return
            if GENERATION in commit.transactions:
                return  # what lies before belongs to another generation
            for flow in flows.values():
                if flow.last is not None and commit.transactions.get(flow.app) == flow.last:
                    self._step_back(flow)
            version -= 1

    def files(self, table: str, version: int) -> Hashes:
        """The raw files that a version of a table holds, whatever way they came in."""
        paths = self._lineage.files(table, version)
        hashes = (_name_hash(self._name(path)) for path in paths)
        return np.unique(np.fromiter(hashes, np.uint64, len(paths)))

    def _flow(self, table: str, name: str) -> _Flow:
        version = self.newest(table)
        generation = self._lineage.generation(table, version)
        last = self._lineage.last_batch(table, name, version)
        flow = _Flow(table, name, generation, app_id(name, generation), last)
        if last is not None:
            plans = self._lineage.counted_plans(table, name, version)
            flow.replaces = plans[-1].replaces
            for plan in plans:
                flow.add(self._batch(flow, plan.batch))
        return flow

    def _step_back(self, flow: _Flow) -> None:
        assert flow.last is not None
        flow.subtract(self._batch(flow, flow.last))
        flow.last = flow.last - 1 if flow.last else None
        if flow.replaces and flow.last is not None:
            flow.add(self._batch(flow, flow.last))

    def _sum_of(self, flow: _Flow) -> tuple[int, int]:
        """The files of a flow's own leaves, and what stands for those of the tables that it reads."""
        if flow.last is None:
            return 0, 0
        declared = self._declared_flow(flow)
        if declared is not None and declared.once:
            return 1, _mix_hash(flow.name, "once", 0)
        count, total = flow.count, flow.total
        for key, table, version in self._batch(flow, flow.last).tables:
            upstream = self._sum_at(table, version)
            count += upstream[0]
            total += _mix_hash(flow.name, f"{key}\0{table}", upstream[1])
        return count, total % _MODULUS

    def _sum_at(self, table: str, version: int) -> tuple[int, int]:
        """The files and the sum of an upstream table, at the version that was read or one as good."""
        if self.newest(table) < 0:
            return 0, 0  # not there, or not a table of the pipeline
        version = self._lineage.settled_version(table, version)
        if version < 0:
            return 0, 0
        key = (table, version)
        if key not in self._sums:
            walk = self._walks.setdefault(table, self.walk(table))
            while self._lowest.get(table, _MODULUS) > version:
                step = next(walk, None)
                if step is None:
                    break
                self._sums[table, step[0]] = (step[1], step[2])
                self._lowest[table] = step[0]
        return self._sums.get(key, (1, _mix_hash(table, "gone", version)))

    def _batch(self, flow: _Flow, number: int) -> _Batch:
        key = (flow.table, flow.name, flow.generation, number)
        if key not in self._batches:
            plan = self._lineage.plan(flow.table, flow.name, flow.generation, number)
            self._batches[key] = self._sum_batch(flow, plan)
        return self._batches[key]

    def _sum_batch(self, flow: _Flow, plan: Plan) -> _Batch:
        declared = self._declared_flow(flow)
        snapshots = set()
        if declared is not None and not plan.replaces:
            snapshots = {leaf.key for leaf in declared.leaves if not leaf.streaming}
        count = total = 0
        tables = []
        for key, value in plan.inputs.items():
            # A snapshot beside a stream does not say how far the stream is.
            if key in snapshots:
                continue
            if isinstance(value, FilesInput):
                count += len(value.files)
                for file in value.files:
                    total += _mix_hash(flow.name, f"{key}\0{self._name(file.path)}", 0)
            elif isinstance(value, TableInput) and (plan.replaces or value.after is not None):
                tables.append((key, value.dataset, value.version))
        return _Batch(count, total % _MODULUS, tuple(tables))

    def _declared_flow(self, flow: _Flow) -> DeclaredFlow | None:
        table = self._lineage.declared_pipeline().tables.get(flow.table)
        flows = () if table is None else table.flows
        return next((found for found in flows if found.name == flow.name), None)

    def _name(self, path: str) -> str:
        """A raw file's name, alike in all regions."""
        return path.removeprefix(self._zone)


@dataclass(frozen=True)
class _Batch:
    """What one batch read."""

    count: int
    total: int
    tables: tuple[tuple[str, str, int], ...]
    """Leaf key, dataset and version."""


@dataclass
class _Flow:
    """A flow on the way back through a table's versions."""

    table: str
    name: str
    generation: int
    app: str
    last: int | None
    """The last batch at the version that was reached."""
    replaces: bool = False
    count: int = 0
    total: int = 0

    def add(self, batch: _Batch) -> None:
        self.count += batch.count
        self.total = (self.total + batch.total) % _MODULUS

    def subtract(self, batch: _Batch) -> None:
        self.count -= batch.count
        self.total = (self.total - batch.total) % _MODULUS


def _mix_hash(flow: str, what: str, number: int) -> int:
    text = f"{len(flow)}:{flow}{what}\0{number}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest())


def _name_hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
