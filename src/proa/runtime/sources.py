"""A flow's leaves at work: what is new, how much of it, and the relation that reads it."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from proa.autoloader.file_ref import FileRef
from proa.autoloader.known import KnownFiles, file_key
from proa.autoloader.loader import AutoLoader
from proa.clock import Clock
from proa.engine import Engine, Relation
from proa.errors import ConflictError, DataError
from proa.formats.place import with_place
from proa.formats.reader_options import Evolution
from proa.graph import DatasetLeaf, FilesLeaf, FlowNode
from proa.graph.local_paths import check_paths, is_there, missing_path_error
from proa.graph.query_origin import QueryOrigin
from proa.graph.table_options import TableOptions, options_of, version_at
from proa.lake import Table
from proa.runtime import table_rows
from proa.runtime.checkpoint import FilesInput, Input, Plan, TableInput
from proa.runtime.context import Context
from proa.storage import Store

_COMPACT_EVERY = 32
"""Batches whose files are looked up in their plans before they are folded into a segment."""


_FEED_VERSIONS = 64
"""Versions with changes that one batch of a change feed reads at most."""
_BY_NUMBER = "by-number.json"
"""In a leaf's state: its files are known by their numbers in a manifest's order."""


@dataclass(frozen=True)
class Backlog:
    """What a flow has not read yet, as far as it is known."""

    files: int = 0
    bytes: int = 0

    def __add__(self, other: Backlog) -> Backlog:
        return Backlog(self.files + other.files, self.bytes + other.bytes)


class Source(Protocol):
    """A leaf of a flow within one generation."""

    @property
    def streaming(self) -> bool: ...

    def mark_planned(self, plan: Plan) -> None:
        """The batch `plan` is settled: what it reads is not new any more."""

    def refresh(self, through: Mapping[str, int] | None = None) -> None:
        """Find out what there is now. `next_input` hands out what was seen by the last refresh.

        `through` leaves out raw files that their sources shipped after these numbers.
        """

    def next_input(self, before: Input | None) -> tuple[Input | None, bool]:
        """What the next batch reads after one that read `before`, and whether it is anything new.

        None while the leaf cannot be read because there is nothing there yet.
        """

    def empty_input(self) -> Input | None:
        """What a batch reads of a leaf that its plan does not know."""

    def backlog(self, before: Input | None) -> Backlog:
        """What `next_input` would still hand out."""

    def schema(self, engine: Engine, found: Input) -> Any:
        """The columns of the leaf in a batch, as a StructType."""

    def relation(self, engine: Engine, found: Input) -> Relation:
        """What takes the leaf's place in a batch."""

    def evolve(self, engine: Engine, error: BaseException, found: Input) -> bool:
        """Whether the batch failed for a reason that is mended now; see `AutoLoader.evolve`."""

    def mark_committed(self, batch: int) -> None:
        """All batches up to this one are in the table."""


class TableSource:
    """A dataset of the pipeline, as a stream of new rows, complete, or its change feed."""

    def __init__(self, leaf: DatasetLeaf, table: Table, *, places: bool = False) -> None:
        """`places`: the rows come with their places."""
        self.leaf = leaf
        self._places = places
        self._table = table
        self._seen = -1
        self._options = options_of(leaf)

    @property
    def streaming(self) -> bool:
        return self.leaf.streaming

    @property
    def table(self) -> Table:
        """The table that is read."""
        return self._table

    @property
    def is_plain_read(self) -> bool:
        """Whether all rows of the newest version are read."""
        return not self.streaming and self._options == TableOptions() and not self._places

    def mark_planned(self, plan: Plan) -> None:
        """Nothing: where a table was read to stands in the plan."""

    def refresh(self, through: Mapping[str, int] | None = None) -> None:  # noqa: ARG002 - it holds no raw files
        self._table.refresh()
        self._seen = self._table.version

    def next_input(self, before: Input | None) -> tuple[Input | None, bool]:
        if self._seen < 0:
            return None, False
        name, generation = self.leaf.dataset, self._table.generation
        if not self.streaming:
            return TableInput(name, self._version(), generation), False
        last = before if isinstance(before, TableInput) else None
        after = self._start() if last is None else last.version
        follows = self._options.skip_changes or self._options.feed
        if last is not None and last.generation != generation and not follows:
            raise DataError(
                f"{name!r} was fully refreshed, and a stream cannot take back what it has read of"
                " it; refresh this table fully as well (--full-refresh), or read with the option"
                " skipChangeCommits",
                condition="DELTA_SOURCE_TABLE_IGNORE_CHANGES",
            )
        until, new = self._reach(after)
        return TableInput(name, until, generation, after), new

    def empty_input(self) -> Input | None:
        if self._seen < 0:
            return None
        after = self._seen if self.streaming else None
        return TableInput(self.leaf.dataset, self._seen, self._table.generation, after)

    def _version(self) -> int:
        """The version of a complete read."""
        options, time_of = self._options, self._table.time_of
        if options.as_of is not None:
            version = version_at(options.as_of, self._seen, time_of, after=False)
            if version > self._seen:
                raise DataError(
                    f"{self.leaf.dataset!r} has no version {version}; its newest is {self._seen}",
                    condition="DELTA_VERSION_NOT_FOUND",
                )
            return version
        if options.end is not None:
            return min(version_at(options.end, self._seen, time_of, after=False), self._seen)
        return self._seen

    def _start(self) -> int:
        """The version after which a read begins; -1: with all rows."""
        start = self._options.start
        if start is None:
            return -1
        return version_at(start, self._seen, self._table.time_of, after=True) - 1

    def _reach(self, after: int) -> tuple[int, bool]:
        """The version that a batch reads up to, and whether it brings anything.

        A table is not read past versions that brought no rows: there may be one a second.
        """
        options = self._options
        if after < 0 and not (options.feed and options.start is not None):
            return self._seen, bool(self._table.files(self._seen))
        files = changed = 0
        for version in range(after + 1, self._seen + 1):
            commit = self._table.commit_info(version)
            if options.feed:
                changed += bool(commit.adds or commit.removes)
            elif commit.removes and not options.skip_changes:
                self._new_files(version - 1, version)
            if not commit.removes or options.feed:
                files += len(commit.adds)
            if changed >= _FEED_VERSIONS or (
                options.max_files is not None and files >= options.max_files
            ):
                return version, True
        return (self._seen, True) if files or changed else (max(after, -1), False)

    def backlog(self, before: Input | None) -> Backlog:
        if not self.streaming or self._seen < 0:
            return Backlog()
        after = before.version if isinstance(before, TableInput) else -1
        if after < 0:
            return Backlog(*self._table.size(self._seen))
        commits = self._table.commits(after, self._seen)
        sizes = [size for commit in commits for _, size in commit.adds]
        return Backlog(len(sizes), sum(sizes))

    def schema(self, engine: Engine, found: Input) -> Any:
        assert isinstance(found, TableInput)
        return self._options.columns(self._columns(engine, found.version))

    def relation(
        self, engine: Engine, found: Input, within: Collection[str] | None = None
    ) -> Relation:
        """As the port says. Of a complete read only the files `within` (paths in the table) are
        read; None: all.
        """
        assert isinstance(found, TableInput)
        if self._options.feed:
            return self._feed(engine, found)
        if found.after is None or (found.after < 0 <= found.version):
            return self._complete(engine, found.version, within)
        files = self._new_files(found.after, found.version)
        self._table.check(files)
        return self._rows(engine, files, found.after, found.version)

    def _feed(self, engine: Engine, found: TableInput) -> Relation:
        columns = self.schema(engine, found)
        after = self._start() if found.after is None else found.after
        if after < 0 and self._options.start is None:
            rows = self._complete(engine, found.version)
            return table_rows.snapshot_feed(rows, self._table, columns, found.version)
        reader, files = table_rows.feed(engine, self._table, columns, after, found.version)
        return reader.relation(files)

    def _new_files(self, after: int, until: int) -> list[str]:
        """The files whose rows are new to a stream."""
        return self._table.added_between(
            after,
            until,
            skip_changes=self._options.skip_changes,
            ignore_deletes=self._options.ignore_deletes,
        )

    def _columns(self, engine: Engine, version: int) -> Any:  # noqa: ARG002 - others ask it
        """The columns of the table at a version."""
        return self._table.schema_at(version)

    def _file_columns(self, version: int) -> Any:
        """The columns that are read of the table's files."""
        schema = self._table.schema_at(version)
        return with_place(schema) if self._places else schema

    def _complete(
        self, engine: Engine, version: int, within: Collection[str] | None = None
    ) -> Relation:
        """What reads all rows of a version, or those of some of its files."""
        if "deletionVectors" in self._table.features():
            if self._places:
                raise DataError(
                    f"{self.leaf.dataset!r} has deletion vectors, which another writer made, and an"
                    " operator with state needs the places of its rows; refresh it fully",
                    condition="STREAM_WITHOUT_ORDER",
                )
            return engine.delta(self._table.url, version)
        files = self._files_within(self._table.files(version), within)
        self._table.check(files)
        schema = self._file_columns(version)
        return engine.parquet(files, schema) if files else engine.empty(schema)

    def _files_within(self, files: Iterable[str], within: Collection[str] | None) -> list[str]:
        if within is None:
            return list(files)
        wanted = {f"{self._table.url}/{path}" for path in within}
        return [file for file in files if file in wanted]

    def _rows(self, engine: Engine, files: list[str], after: int, until: int) -> Relation:  # noqa: ARG002
        """What reads the rows of files that the versions `after`+1 to `until` added."""
        schema = self._file_columns(until)
        return engine.parquet(files, schema) if files else engine.empty(schema)

    def evolve(self, engine: Engine, error: BaseException, found: Input) -> bool:  # noqa: ARG002
        return False

    def mark_committed(self, batch: int) -> None:
        """Nothing to tidy."""


class FilesSource:
    """Raw files, through the Auto Loader."""

    def __init__(
        self,
        leaf: FilesLeaf,
        state: Store,
        options: Mapping[str, str],
        clock: Clock,
        stream: str | None = None,
    ) -> None:
        """`stream` names the order of the files, when the rows come with their places."""
        self.leaf = leaf
        self._places = stream is not None
        self._loader = AutoLoader(
            leaf, state=state, storage_options=options, clock=clock, stream=stream
        )
        self._state = state
        self._known = KnownFiles(state) if leaf.streaming else None
        self._recorded = self._known.through if self._known is not None else -1
        self._by_number = leaf.streaming and state.exists(_BY_NUMBER)
        self._through: Mapping[str, int] | None = None
        self._backlog: Any = None
        self._taken: FilesInput | None = None

    @property
    def streaming(self) -> bool:
        return self.leaf.streaming

    @property
    def widens(self) -> bool:
        """Whether columns of the files may take wider types as they come."""
        return self._loader.options.reader.evolution is Evolution.WIDEN

    @property
    def known_through(self) -> int:
        """The last batch whose files are known without its plan.

        A number in a manifest's order says all: then no plan but the last one is asked for.
        """
        return sys.maxsize if self._by_number else self._recorded

    @property
    def folder(self) -> str:
        """The folder that is loaded: absolute path or URL."""
        return self._loader.base

    @property
    def is_decided(self) -> bool:
        """Whether the columns are known without a look at the files."""
        return self._loader.is_decided

    @property
    def has_files(self) -> bool:
        """Whether there are files, or were: seen by the last refresh, or read by a batch."""
        known = self._known is not None and len(self._known) > 0
        return known or (self._backlog is not None and self._backlog.files > 0)

    def mark_planned(self, plan: Plan) -> None:
        found = plan.inputs.get(self.leaf.key)
        if self.streaming and isinstance(found, FilesInput) and found.through is not None:
            self._through = found.through
        if self._known is None or plan.batch <= self._recorded:
            return
        files = found.files if isinstance(found, FilesInput) and found.through is None else ()
        self._loader.record(self._known, plan.batch, files)
        self._recorded = plan.batch

    def refresh(self, through: Mapping[str, int] | None = None) -> None:
        self._backlog = self._loader.discover(self._known, after=self._through, through=through)

    def next_input(self, before: Input | None) -> tuple[Input | None, bool]:  # noqa: ARG002
        taken = self._backlog.take() if self.streaming else self._backlog.take_all()
        if self.streaming and self._backlog.positions is not None:
            through = self._backlog.positions if taken else self._through
            return FilesInput(taken, through), bool(taken)
        while taken and not (new := self._unknown(taken)):
            taken = self._backlog.take()
        return (FilesInput(new), True) if taken else (FilesInput(()), False)

    def _unknown(self, files: Sequence[FileRef]) -> tuple[FileRef, ...]:
        """Those that no batch has, even if another runner has taken some since we looked."""
        if self._known is None:
            return tuple(files)
        versions = self._loader.options.reader.allow_overwrites
        known = self._known.contains([file_key(file, versions=versions) for file in files])
        return tuple(file for file, is_known in zip(files, known, strict=True) if not is_known)

    def empty_input(self) -> Input | None:
        if self.streaming:
            return FilesInput((), self._through)
        return FilesInput(self._backlog.take_all())

    def backlog(self, before: Input | None) -> Backlog:  # noqa: ARG002 - the port's shape
        return Backlog(self._backlog.files, self._backlog.bytes) if self._backlog else Backlog()

    def schema(self, engine: Engine, found: Input) -> Any:
        assert isinstance(found, FilesInput)
        return self._loader.schema(engine, found.files)

    def relation(
        self, engine: Engine, found: Input, columns: Collection[str] | None = None
    ) -> Relation:
        """As the port says. Only the columns that `columns` names, in lower case, are read; None: all."""
        assert isinstance(found, FilesInput)
        if not found.files:
            schema = self.schema(engine, found)
            return engine.empty(with_place(schema) if self._places else schema)
        return self._loader.relation(engine, found.files, columns)

    def evolve(self, engine: Engine, error: BaseException, found: Input) -> bool:
        assert isinstance(found, FilesInput)
        return self._loader.evolve(engine, error, found.files)

    def mark_committed(self, batch: int) -> None:
        if self._known is None or self._by_number:
            return
        if self._through is not None:
            # From here on the last plan is enough, once what was read by name is in a segment.
            self._known.compact(batch)
            with suppress(ConflictError):
                self._state.create(_BY_NUMBER, json.dumps({"format": 1, "since": batch}).encode())
            self._by_number = True
        elif batch - self._known.through >= _COMPACT_EVERY:
            self._known.compact(batch)


def check_static_reads(node: FlowNode) -> None:
    """Look for the files that the engine itself reads, where it would read no rows without a word.

    Raises PipelineError when a path is not there.
    """
    check_paths(node.plan, QueryOrigin.of(node.flow))


def check_source(source: FilesSource, node: FlowNode, context: Context) -> None:
    """Look for the folder of an Auto Loader's leaf.

    PipelineError when it is not there, and no shipment will make it.
    """
    folder = source.folder
    if not source.has_files and not is_there(folder) and not context.may_come(folder):
        raise missing_path_error(folder, node.flow.location)
