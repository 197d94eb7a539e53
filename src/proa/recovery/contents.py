"""What the declared tables of a region contain of its landing zone, and what they lack.

A table contains a raw file when every way from that file to the table has taken it in: through each
leaf that reads it, and through each table in between. A version that brought no rows moves a reader's
position all the same, because there was nothing to read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from proa.autoloader.discovery import Place, select_paths
from proa.autoloader.options import Options, parse
from proa.clock import Clock
from proa.graph import DatasetLeaf, FilesLeaf
from proa.lazy import compute as pc
from proa.runtime.checkpoint import Checkpoint, FilesInput, TableInput
from proa.runtime.declared import DeclaredFlow, DeclaredPipeline
from proa.runtime.lineage import Lineage
from proa.storage import Store

Mask = np.ndarray[Any, np.dtype[np.bool_]]
"""One boolean for each file of a source, in the source's order."""

LeafId = tuple[str, str, str]
"""A table, one of its flows, and the key of one of that flow's leaves."""


@dataclass(frozen=True)
class SourceFiles:
    """The files of one source in one landing zone."""

    folder: str
    """The source's folder in the zone, absolute."""
    paths: pa.Array
    """Below that folder, in the source's order; strings."""
    landed: Mask
    """Whether the file lies in the zone already."""

    @property
    def absolute(self) -> pa.Array:
        return pc.binary_join_element_wise(self.folder, self.paths, "/")


class RegionContents:
    """The declared tables of one region, looked at once.

    Raises UnavailableError when the storage does not answer, DataError when a plan is gone.
    """

    def __init__(
        self, lineage: Lineage, declared: DeclaredPipeline, layout: CheckpointPlaces, clock: Clock
    ) -> None:
        self._lineage = lineage
        self._declared = declared
        self._layout = layout
        self._clock = clock

    @property
    def is_guessed(self) -> bool:
        """Whether nobody has written down which tables are declared."""
        return not self._declared.whole

    def reads(self, folder: str) -> bool:
        """Whether a declared table may read files of a folder, as far as that was written down."""
        bases = [
            Place.of(leaf.path).base
            for table in self._declared.tables.values()
            for flow in table.flows
            for leaf in flow.leaves
            if isinstance(leaf, FilesLeaf) and leaf.path
        ]
        return self.is_guessed or any(
            f"{base}/".startswith(f"{folder}/") or f"{folder}/".startswith(f"{base}/")
            for base in bases
        )

    def missing(self, files: SourceFiles) -> dict[str, Mask]:
        """For each declared table, the files of a source that it should contain and does not."""
        look = _Look(self, files)
        missing = {}
        for table in self._declared.tables:
            held = look.held_files(table, self._lineage.version(table))
            mask = np.zeros(len(files.paths), bool)
            for leaf in look.needed_leaves(table):
                wanted = look.wanted_files(leaf)
                if leaf in held:
                    wanted = wanted & ~held[leaf]
                mask |= wanted
            missing[table] = mask
        return missing

    def lacks(self, files: SourceFiles) -> tuple[Mask, str | None]:
        """The files that any declared table lacks, and a table that lacks the first of them.

        Where nobody has said what is declared, a source that nothing reads is lacking as a whole.
        """
        missing = self.missing(files)
        lacking = np.zeros(len(files.paths), bool)
        for mask in missing.values():
            lacking |= mask
        if not self._declared.whole and not self._is_read(files):
            return np.ones(len(files.paths), bool), None
        first = int(np.argmax(lacking)) if lacking.any() else None
        tables = [name for name, mask in missing.items() if first is not None and mask[first]]
        return lacking, tables[0] if tables else None

    def _is_read(self, files: SourceFiles) -> bool:
        look = _Look(self, files)
        return any(
            look.wanted_files(leaf).any()
            for name in self._declared.tables
            for leaf in look.needed_leaves(name)
        )

    def uncomputed_tables(self) -> dict[str, str]:
        """By declared table, a sentence about what an update would still compute, files or not."""
        sentences = self._behind_once_flows()
        for name, table in self._declared.tables.items():
            version = self._lineage.version(name)
            for flow in table.flows:
                if not (flow.once or table.recomputed) or not self._can_begin(flow):
                    continue
                if self._lineage.last_batch(name, flow.name, version) is None:
                    which = f"the once flow {flow.name!r} of {name!r}" if flow.once else repr(name)
                    sentences[name] = f"{which} was never computed"
        return sentences

    def _can_begin(self, flow: DeclaredFlow) -> bool:
        return all(
            self._lineage.version(leaf.dataset) >= 0
            for leaf in flow.leaves
            if isinstance(leaf, DatasetLeaf)
        )

    def _behind_once_flows(self) -> dict[str, str]:
        """By table, a sentence about rows of a once flow further up that it has not read."""
        look = _Look(self, None)
        sentences = {}
        for name in self._declared.tables:
            done = look.once_done(name, self._lineage.version(name))
            for table, flow in sorted(look.once_above(name) - done):
                if self._lineage.last_batch(table, flow, self._lineage.version(table)) is not None:
                    sentences[name] = f"{name!r} lacks the rows of the once flow {flow!r}"
        return sentences


@dataclass(frozen=True)
class CheckpointPlaces:
    """Where the flows' checkpoints lie, and how their storage is opened."""

    storage: Any
    """A `proa.layout.Layout`."""
    options: Mapping[str, str]

    def leaf(self, leaf: LeafId, generation: int) -> Store:
        """The folder of a leaf's own state."""
        table, flow, key = leaf
        url = self.storage.checkpoint(table, flow, generation)
        return Checkpoint(Store.open(url, self.options)).leaf(key)


class _Look:
    """One walk over the tables, for one source's files."""

    def __init__(self, contents: RegionContents, files: SourceFiles | None) -> None:
        self._of = contents
        self._lineage = contents._lineage  # noqa: SLF001 - the contents' other half
        self._tables = contents._declared.tables  # noqa: SLF001
        self._files = files
        self._needed: dict[str, frozenset[LeafId]] = {}
        self._held: dict[tuple[str, int], Mapping[LeafId, Mask]] = {}
        self._batches: dict[tuple[LeafId, int], np.ndarray[Any, Any]] = {}
        self._wanted: dict[LeafId, Mask] = {}

    def needed_leaves(self, table: str) -> frozenset[LeafId]:
        """The leaves whose files must reach a table: its own, and those of what it follows."""
        if table not in self._needed:
            leaves: set[LeafId] = set()
            for flow, leaf in self._followed_leaves(table):
                if isinstance(leaf, FilesLeaf):
                    leaves.add((table, flow.name, leaf.key))
                elif leaf.dataset in self._tables:
                    leaves |= self.needed_leaves(leaf.dataset)
            self._needed[table] = frozenset(leaves)
        return self._needed[table]

    def held_files(self, table: str, version: int) -> Mapping[LeafId, Mask]:
        """What a version of a table contains, by the leaf that the files came in through."""
        key = (table, version)
        if key in self._held:
            return self._held[key]
        held: dict[LeafId, Mask] = {}
        for flow, leaf in self._followed_leaves(table):
            if isinstance(leaf, FilesLeaf):
                parts: Mapping[LeafId, Mask] = {
                    (table, flow.name, leaf.key): self._own(table, version, flow, leaf)
                }
                through: frozenset[LeafId] = frozenset(parts)
            else:
                through = (
                    self.needed_leaves(leaf.dataset)
                    if leaf.dataset in self._tables
                    else frozenset()
                )
                parts = self.held_files(leaf.dataset, self._read(table, version, flow, leaf))
            for name in through:
                part = parts.get(name, np.zeros(len(self._paths), bool))
                held[name] = held[name] & part if name in held else part
        self._held[key] = held
        return held

    def wanted_files(self, leaf: LeafId) -> Mask:
        """The files that the Auto Loader takes in through a leaf."""
        if leaf not in self._wanted:
            self._wanted[leaf] = self._selected_files(leaf)
        return self._wanted[leaf]

    def once_above(self, table: str) -> frozenset[tuple[str, str]]:
        """The (table, once flow) whose rows reach a table through what it follows."""
        above: set[tuple[str, str]] = set()
        for _, leaf in self._followed_leaves(table):
            if isinstance(leaf, DatasetLeaf) and leaf.dataset in self._tables:
                own = self._tables[leaf.dataset].flows
                above |= {(leaf.dataset, flow.name) for flow in own if flow.once}
                above |= self.once_above(leaf.dataset)
        return frozenset(above)

    def once_done(self, table: str, version: int) -> set[tuple[str, str]]:
        """Those of `once_above` whose rows a version of a table contains."""
        done = set(self.once_above(table))
        for flow, leaf in self._followed_leaves(table):
            if not isinstance(leaf, DatasetLeaf) or leaf.dataset not in self._tables:
                continue
            read = self._read(table, version, flow, leaf)
            there = self.once_done(leaf.dataset, read)
            for own in self._tables[leaf.dataset].flows:
                last = self._lineage.last_batch(leaf.dataset, own.name, read)
                if own.once and last is not None:
                    there.add((leaf.dataset, own.name))
            reached = {(leaf.dataset, own.name) for own in self._tables[leaf.dataset].flows}
            done -= (reached | self.once_above(leaf.dataset)) - there
        return done

    @property
    def _paths(self) -> pa.Array:
        return pa.array([], pa.string()) if self._files is None else self._files.paths

    def _followed_leaves(self, table: str) -> list[tuple[DeclaredFlow, DatasetLeaf | FilesLeaf]]:
        """The leaves whose files bring a table further. A snapshot beside a stream does not."""
        declared = self._tables[table]
        return [
            (flow, leaf)
            for flow in declared.flows
            if not flow.once
            for leaf in flow.leaves
            if isinstance(leaf, DatasetLeaf | FilesLeaf) and (leaf.streaming or declared.recomputed)
        ]

    def _read(self, table: str, version: int, flow: DeclaredFlow, leaf: DatasetLeaf) -> int:
        """The version of an upstream table that a version of a table has taken in."""
        last = self._lineage.last_batch(table, flow.name, version)
        if last is None:
            read = -1
        else:
            generation = self._lineage.generation(table, version)
            plan = self._lineage.plan(table, flow.name, generation, last)
            value = plan.inputs.get(leaf.key)
            read = value.version if isinstance(value, TableInput) else -1
        if last is None and self._tables[table].recomputed:
            return -1
        skip = any(
            name.lower() == "skipchangecommits" and str(value).lower() == "true"
            for name, value in leaf.options.items()
        )
        if self._lineage.version(leaf.dataset) < 0:
            return -1
        return self._lineage.settled_version(leaf.dataset, read, skip_changes=skip)

    def _own(self, table: str, version: int, flow: DeclaredFlow, leaf: FilesLeaf) -> Mask:
        """The files that a version of a table has read through a leaf of its own."""
        last = self._lineage.last_batch(table, flow.name, version)
        if last is None or self._files is None:
            return np.zeros(len(self._paths), bool)
        generation = self._lineage.generation(table, version)
        if self._tables[table].recomputed or not leaf.streaming:
            plan = self._lineage.plan(table, flow.name, generation, last)
            paths = pa.array(_paths_of(plan.inputs.get(leaf.key)), pa.string())
            mask: Mask = pc.is_in(self._files.absolute, paths).to_numpy(zero_copy_only=False)
            return mask
        batches = self._batch_of((table, flow.name, leaf.key), generation)
        return (batches >= 0) & (batches <= last)

    def _batch_of(self, leaf: LeafId, generation: int) -> np.ndarray[Any, Any]:
        """For each file the batch that has it; -1 for those that no batch has."""
        key = (leaf, generation)
        if key not in self._batches:
            assert self._files is not None
            table, flow, name = leaf
            version = self._lineage.version(table)
            last = self._lineage.last_batch(table, flow, version)
            if self._lineage.generation(table, version) != generation or last is None:
                last = -1
            paths: list[str] = []
            numbers: list[int] = []
            for plan in self._lineage.plans(table, flow, generation, last):
                read = _paths_of(plan.inputs.get(name))
                paths += read
                numbers += [plan.batch] * len(read)
            at = pc.index_in(self._files.absolute, pa.array(paths, pa.string()))
            batches = pa.array(numbers, pa.int64()).take(at)
            self._batches[key] = pc.fill_null(batches, -1).to_numpy(zero_copy_only=False)
        return self._batches[key]

    def _selected_files(self, leaf: LeafId) -> Mask:
        assert self._files is not None
        files, declared = self._files, self._leaf(leaf)
        if not declared.path:
            return self._guessed_files(leaf)
        options = parse(declared.options, schema_given=declared.schema is not None)
        place = Place.of(declared.path).resolve(self._of._layout.options)  # noqa: SLF001
        below = pc.starts_with(files.absolute, f"{place.base.rstrip('/')}/")
        relative = pc.utf8_slice_codeunits(files.absolute, len(place.base.rstrip("/")) + 1)
        mask = pc.and_(below, select_paths(pc.if_else(below, relative, ""), place, options))
        wanted: Mask = mask.to_numpy(zero_copy_only=False)
        if _by_time(options) and wanted.any():
            wanted &= self._still_outstanding(leaf, declared) | ~files.landed
        return wanted

    def _still_outstanding(self, leaf: LeafId, declared: FilesLeaf) -> Mask:
        """Where the time of a file in the zone decides: what is in the table, or would be read next."""
        assert self._files is not None
        table, flow, _ = leaf
        version = self._lineage.version(table)
        generation = self._lineage.generation(table, version) if version >= 0 else 0
        layout = self._of._layout  # noqa: SLF001
        state = layout.leaf(leaf, generation)
        # What infers schemas takes long to import, and a folder with a manifest needs none of it.
        from proa.autoloader import AutoLoader, KnownFiles

        loader = AutoLoader(
            declared,
            state=None,
            storage_options=layout.options,
            clock=self._of._clock,  # noqa: SLF001
        )
        known = KnownFiles(state) if declared.streaming else None
        new = loader.discover(known).take_all()
        mask: Mask = pc.is_in(
            self._files.absolute, pa.array([file.path for file in new], pa.string())
        ).to_numpy(zero_copy_only=False)
        last = self._lineage.last_batch(table, flow, version)
        return mask if last is None else mask | (self._batch_of(leaf, generation) >= 0)

    def _guessed_files(self, leaf: LeafId) -> Mask:
        """Of a leaf that nobody has written down it is known only which sources it has read."""
        assert self._files is not None
        table, flow, key = leaf
        version = self._lineage.version(table)
        prefix = f"{self._files.folder}/"
        reads = any(
            path.startswith(prefix)
            for plan in self._lineage.counted_plans(table, flow, version)
            for path in _paths_of(plan.inputs.get(key))
        )
        return np.full(len(self._paths), reads)

    def _leaf(self, leaf: LeafId) -> FilesLeaf:
        table, flow, key = leaf
        return next(
            found
            for declared in self._tables[table].flows
            if declared.name == flow
            for found in declared.leaves
            if isinstance(found, FilesLeaf) and found.key == key
        )


def _paths_of(value: FilesInput | TableInput | None) -> list[str]:
    return [file.path for file in value.files] if isinstance(value, FilesInput) else []


def _by_time(options: Options) -> bool:
    moments: tuple[datetime | None, ...] = (options.modified_after, options.modified_before)
    return any(moments) or options.max_age is not None or not options.include_existing
