"""The short way of AUTO CDC: whole rows of type 1, of which each is newer than what the target has.

Keys are matched with Arrow, and files are written anew row group by row group, several at a time.
What this way cannot decide goes the long one (`merge`): nothing is written before that is known.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import types as T  # noqa: N812 - the name that Spark's users know it by

from proa.cdc import memory as memories
from proa.cdc.key_places import KeyPlaces, is_plain
from proa.cdc.local_database import THREADS, LocalFiles
from proa.cdc.memory import Memory, MemoryStore
from proa.cdc.shape import nothing_field
from proa.cdc.table_merge import (
    FILE_BYTES,
    Merged,
    MergeInput,
    change_files,
    file_groups,
    merge_destination,
)
from proa.graph.change_target import DELETE, SEQUENCE, TRUNCATE
from proa.graph.table_options import CHANGE_TYPE
from proa.lake import DataFile, Destination, write_batches
from proa.lake.table_schema import to_arrow
from proa.lake.writer import conform
from proa.lazy import compute as pc

_CHANGE_BYTES = 256 << 20
"""Arrow bytes of changes that are held in memory."""
_CHANGE_ROWS = 4 << 20
_MEMORY_ROWS = 8 << 20
"""Rows of a memory that are put together in memory."""
_LOOKED_UP = 2 << 20
"""Rows of the table whose keys are looked up together."""


def merge_newest(given: MergeInput, before: Memory, store: MemoryStore) -> Merged | None:
    """Merge a batch whose changes are each newer than what is known of their keys.

    Returns None, with nothing written, where more must be known to tell what the target has.
    """
    shape = given.shape
    if shape.history or shape.partial or given.versions is not None or before.truncated is not None:
        return None
    kinds = to_arrow(T.StructType([*shape.columns.fields, T.StructField(SEQUENCE, shape.sequence)]))
    places = {field.name.lower(): field for field in kinds}
    if not all(is_plain(places[name.lower()].type) for name in (*shape.keys, SEQUENCE)):
        return None
    with TemporaryDirectory(prefix="proa-cdc-") as scratch:
        files = LocalFiles(Path(scratch), given.table.options)
        changes = _read_changes(files.local(given.changes), kinds)
        if changes is None:
            return None
        fresh = _newest_changes(changes, _names(shape.keys, kinds))
        if fresh is None:
            return None
        return _NewestRows(given, before, store, files, fresh).run()


def _names(keys: Sequence[str], kinds: pa.Schema) -> list[str]:
    """Key columns as the target spells them."""
    spelled = {name.lower(): name for name in kinds.names}
    return [spelled[key.lower()] for key in keys]


def _read_changes(paths: Sequence[str], kinds: pa.Schema) -> pa.Table | None:
    """The change rows with the columns `kinds` and `DELETE`; None for truncations and for too many."""
    schema = kinds.append(pa.field(DELETE, pa.bool_()))
    parts = []
    rows = size = 0
    for path in paths:
        with pq.ParquetFile(path) as file:
            for part in file.iter_batches(use_threads=False):
                if TRUNCATE in part.schema.names and pc.any(part.column(TRUNCATE)).as_py():
                    return None
                batch = conform(part, schema)
                rows += batch.num_rows
                size += batch.nbytes
                if rows > _CHANGE_ROWS or size > _CHANGE_BYTES:
                    return None
                parts.append(batch)
    changes = pa.Table.from_batches(parts, schema=schema).combine_chunks()
    deletes = pc.fill_null(changes.column(DELETE), fill_value=False)
    return changes.set_column(changes.num_columns - 1, DELETE, deletes)


def _newest_changes(changes: pa.Table, keys: Sequence[str]) -> pa.Table | None:
    """The newest change of each key, by key; None where NULL or a tie must be looked at."""
    if any(changes.column(name).null_count for name in (*keys, SEQUENCE)):
        return None
    by_key = [(name, "ascending") for name in keys]
    places = pc.sort_indices(changes.select(keys), sort_keys=by_key)
    same = _equals_next(changes, keys, places)
    if same.any():
        order = [*by_key, (SEQUENCE, "ascending")]
        places = pc.sort_indices(changes.select([*keys, SEQUENCE]), sort_keys=order)
        if _equals_next(changes, [*keys, SEQUENCE], places).any():
            return None
        same = _equals_next(changes, keys, places)
        places = places.filter(pa.array(~np.append(same, False)))
    return changes.take(places).combine_chunks()


def _equals_next(table: pa.Table, names: Sequence[str], places: Any) -> np.ndarray:
    """For each row but the last, in the order of `places`, whether these columns are the next's."""
    equal = np.ones(max(0, len(places) - 1), dtype=bool)
    for name in names:
        column = table.column(name).take(places).combine_chunks()
        if len(equal):
            equal &= pc.equal(column[:-1], column[1:]).to_numpy(zero_copy_only=False)
    return equal


@dataclass(frozen=True)
class _Touched:
    """A file of the table with rows that go."""

    local: str
    path: str
    """In the table."""
    rows: np.ndarray
    """The places of these rows in the file, in order."""
    changes: np.ndarray
    """For each of them the change of its key."""


class _NewestRows:
    """One merge on its way. `fresh` has one change for each key."""

    def __init__(
        self,
        given: MergeInput,
        before: Memory,
        store: MemoryStore,
        files: LocalFiles,
        fresh: pa.Table,
    ) -> None:
        self.given = given
        self.before = before
        self.store = store
        self.files = files
        self.fresh = fresh
        self.keys = _names(given.shape.keys, fresh.schema)
        self.key_schema = pa.schema([fresh.schema.field(name) for name in self.keys])

    def run(self) -> Merged | None:
        """Merge, or return None with nothing written."""
        if not self.drop_late():
            return None
        older = self.older_memory()
        if older is None:
            return None
        touched = self.touched_rows()
        if touched is None:
            return None
        deletes = self.fresh.column(DELETE).to_numpy(zero_copy_only=False)
        near = np.full(self.fresh.num_rows, -1)
        for number, file in enumerate(touched):
            near[file.changes] = number
        adds, went = self.write_rows(touched, near, deletes)
        learned, left = older
        memory = self.write_memory(learned, left)
        changes: tuple[DataFile, ...] = ()
        if self.given.feed and touched:
            changes = self.write_changes(went, near, deletes)
        upserted = int((~deletes).sum())
        deleted = int((deletes & (near >= 0)).sum())
        removes = tuple(file.path for file in touched)
        return Merged(adds, removes, memory, upserted, deleted, changes, 0)

    @property
    def values(self) -> pa.Table:
        """The columns of the target."""
        return self.fresh.drop_columns([SEQUENCE, DELETE])

    def key_places(self) -> KeyPlaces:
        return KeyPlaces([self.fresh.column(name).combine_chunks() for name in self.keys])

    # -- what is known ----------------------------------------------------------------------------

    def drop_late(self) -> bool:
        """Take out of `fresh` what the memory has newer changes of.

        Returns False where it has one of the same moment that left a row.
        """
        if not self.fresh.num_rows:
            return True
        sequence = self.fresh.column(SEQUENCE).combine_chunks()
        oldest = pc.min(sequence)
        index: KeyPlaces | None = None
        late = np.zeros(self.fresh.num_rows, dtype=bool)
        for path in self.memory_paths(self.before.files):
            with pq.ParquetFile(path) as file:
                groups = _groups_since(file, oldest)
                if not groups:
                    continue
                names = [f"k{n}" for n in range(len(self.keys))]
                rows = file.read_row_groups(groups, columns=[*names, "o", "d"])
            index = index or self.key_places()
            found = index.find(self.key_columns(rows, names))
            hits = np.flatnonzero(found >= 0)
            known = rows.select(["o", "d"]).take(pa.array(hits))
            mine = sequence.take(pa.array(found[hits]))
            theirs = known.column("o").cast(mine.type).combine_chunks()
            newer = _is_true(pc.greater_equal(theirs, mine))
            same = _is_true(pc.equal(theirs, mine)) & ~_is_true(known.column("d"))
            if same.any():
                return False
            late[found[hits][newer]] = True
        if late.any():
            self.fresh = self.fresh.filter(pa.array(~late)).combine_chunks()
        return True

    def key_columns(self, rows: pa.Table, names: Sequence[str]) -> list[Any]:
        """Columns of `rows` as the target's keys are typed."""
        return [
            rows.column(name).cast(field.type)
            for name, field in zip(names, self.key_schema, strict=True)
        ]

    def older_memory(self) -> tuple[pa.Table, int] | None:
        """What the memory is to learn, with what its newest files hold; and how many others stay.

        Returns None where more than rows and their order is kept, or must be forgotten.
        """
        before, kept = self.before, self.memory_schema()
        names = [f"k{n}" for n in range(len(self.keys))]
        learned = pa.table(
            [*(self.fresh.column(n) for n in self.keys), *self.event_columns()], kept
        )
        merged = before.merges(learned.num_rows)
        left = len(before.files) - merged
        if not left and self.given.shape.retention is not None:
            return None
        if sum(rows for _, rows in before.files[left:]) > _MEMORY_ROWS:
            return None
        for path in reversed(self.memory_paths(before.files[left:])):
            rows = pq.read_table(path)
            if rows.column("v").null_count + rows.column("u").null_count < 2 * rows.num_rows:
                return None
            index = KeyPlaces([learned.column(name).combine_chunks() for name in names])
            others = rows.filter(pa.array(index.find(self.key_columns(rows, names)) < 0))
            if not left:
                others = others.filter(pc.is_valid(others.column("d")))
            columns = [*self.key_columns(others, names), others.column("o"), others.column("d")]
            event = pa.table(
                [column.cast(kind) for column, kind in zip(columns, kept.types[:-2], strict=True)]
                + [pa.nulls(others.num_rows, kind) for kind in kept.types[-2:]],
                kept,
            )
            learned = pa.concat_tables([learned, event]).combine_chunks()
        if merged:
            order = pc.sort_indices(
                learned.select(names), sort_keys=[(name, "ascending") for name in names]
            )
            learned = learned.take(order)
        return learned, left

    def memory_schema(self) -> pa.Schema:
        values = [*self.given.shape.values] or [nothing_field()]
        value = pa.struct(list(to_arrow(T.StructType(values))))
        keys = [pa.field(f"k{n}", field.type) for n, field in enumerate(self.key_schema)]
        rest = [("o", self.fresh.schema.field(SEQUENCE).type), ("d", pa.bool_()), ("v", value)]
        return pa.schema([*keys, *rest, ("u", pa.list_(pa.string()))])

    def event_columns(self) -> list[Any]:
        nothing = [pa.nulls(self.fresh.num_rows, kind) for kind in self.memory_schema().types[-2:]]
        return [self.fresh.column(SEQUENCE), self.fresh.column(DELETE), *nothing]

    def memory_paths(self, files: Sequence[tuple[str, int]]) -> list[str]:
        return self.files.local([f"{self.store.url}/{path}" for path, _ in files])

    def write_memory(self, learned: pa.Table, left: int) -> Memory:
        """Write what the memory is to hold from now on."""
        target = Destination(
            url=f"{self.store.url}/{memories.FOLDER}",
            options=self.store.options,
            schema=learned.schema,
            attempt=self.given.attempt,
            group_bytes=8 << 20,
        )
        files = memories.memory_files(write_batches(learned.to_batches(), target))
        return replace(
            self.before,
            contract=self.given.shape.contract(),
            files=(*self.before.files[:left], *files),
        )

    # -- the table's files ------------------------------------------------------------------------

    def touched_rows(self) -> list[_Touched] | None:
        """The files with rows of the keys, and where; None for a file without the keys' columns."""
        table, version = self.given.table, self.given.version
        files = table.whole_files(version) if version >= 0 and self.fresh.num_rows else ()
        if not files:
            return []
        bounds = table.key_bounds(self.keys[0], version)
        if bounds is not None:
            near = {f"{table.url}/{path}" for path in self.paths_near(bounds)}
            files = tuple(file for file in files if file in near)
        table.check(files)
        index = self.key_places()
        paths = [file.removeprefix(f"{table.url}/") for file in files]
        touched: list[_Touched] = []
        with ThreadPoolExecutor(THREADS) as pool:
            given = zip(self.files.local(files), paths, strict=True)
            for found in pool.map(lambda some: self.find(index, some), _portions(given)):
                if found is None:
                    return None
                touched += found
        return touched

    def paths_near(self, bounds: pa.Table) -> list[str]:
        """The paths of `bounds` between which a key may lie."""
        keys = _Values(self.fresh.column(self.keys[0]).combine_chunks())
        low, high = (bounds.column(name).cast(keys.array.type) for name in ("low", "high"))
        near = []
        for path, least, most in zip(bounds.column("path").to_pylist(), low, high, strict=True):
            place = bisect_left(keys, least.as_py()) if least.is_valid and most.is_valid else -1
            if place < 0 or (place < len(keys) and keys[place] <= most.as_py()):
                near.append(path)
        return near

    def find(self, index: KeyPlaces, files: Sequence[tuple[str, str]]) -> list[_Touched] | None:
        """Those of the files (where to read, path in the table) that have rows of the keys."""
        parts = []
        for local, _ in files:
            with pq.ParquetFile(local, memory_map=True) as file:
                spelled = {name.lower(): name for name in file.schema_arrow.names}
                names = [spelled.get(name.lower(), "") for name in self.keys]
                if not all(names):
                    return None
                parts.append(self.key_columns(file.read(names, use_threads=False), names))
        columns = [
            pa.chunked_array(
                [chunk for part in parts for chunk in part[n].chunks], self.key_schema.types[n]
            )
            for n in range(len(self.keys))
        ]
        found = index.find(columns)
        touched = []
        begin = 0
        for (local, path), part in zip(files, parts, strict=True):
            own = found[begin : begin + len(part[0])]
            begin += len(part[0])
            rows = np.flatnonzero(own >= 0)
            if len(rows):
                touched.append(_Touched(local, path, rows, own[rows]))
        return touched

    # -- what is written --------------------------------------------------------------------------

    def write_rows(
        self, touched: Sequence[_Touched], near: np.ndarray, deletes: np.ndarray
    ) -> tuple[tuple[DataFile, ...], list[tuple[pa.Table, np.ndarray]]]:
        """Write the touched files anew, and new rows into files of their own.

        Returns the rows that went, with the changes of their keys, where the table has a feed.
        """
        numbers = {file.local: n for n, file in enumerate(touched)}
        went: list[tuple[pa.Table, np.ndarray]] = []

        def rows_of(group: Sequence[str]) -> Iterator[pa.RecordBatch]:
            for local in group:
                number = numbers[local]
                yield from self.kept_rows(touched[number], went)
                yield from self.rows_at(np.flatnonzero((near == number) & ~deletes))

        parts = [(rows_of(g), 2 * FILE_BYTES) for g in file_groups(list(numbers))]
        parts.append((self.rows_at(np.flatnonzero((near < 0) & ~deletes)), FILE_BYTES))

        def write(part: tuple[Iterator[pa.RecordBatch], int]) -> tuple[DataFile, ...]:
            return write_batches(part[0], merge_destination(self.given, file_bytes=part[1]))

        with ThreadPoolExecutor(THREADS) as pool:
            return tuple(file for files in pool.map(write, parts) for file in files), went

    def kept_rows(
        self, touched: _Touched, went: list[tuple[pa.Table, np.ndarray]]
    ) -> Iterator[pa.RecordBatch]:
        """The rows of a file whose keys no change has."""
        begin = 0
        with pq.ParquetFile(touched.local, memory_map=True) as file:
            for number in range(file.num_row_groups):
                rows = file.read_row_group(number, use_threads=False)
                first, last = np.searchsorted(touched.rows, [begin, begin + rows.num_rows])
                goes = np.zeros(rows.num_rows, dtype=bool)
                goes[touched.rows[first:last] - begin] = True
                begin += rows.num_rows
                if self.given.feed:
                    went.append((rows.filter(pa.array(goes)), touched.changes[first:last]))
                yield from rows.filter(pa.array(~goes)).to_batches()

    def rows_at(self, places: np.ndarray) -> Iterator[pa.RecordBatch]:
        """Rows of `fresh` as the target has them."""
        whole = len(places) == self.values.num_rows
        yield from (self.values if whole else self.values.take(pa.array(places))).to_batches()

    def write_changes(
        self,
        went: Sequence[tuple[pa.Table, np.ndarray]],
        near: np.ndarray,
        deletes: np.ndarray,
    ) -> tuple[DataFile, ...]:
        """Write what changed as Delta's change feed has it: rows that went, and rows that came."""
        kinds = T.StructType(
            [*self.given.schema.fields, T.StructField(CHANGE_TYPE, T.StringType())]
        )
        schema = to_arrow(kinds)

        def batches() -> Iterator[pa.RecordBatch]:
            for rows, found in went:
                what = np.where(deletes[found], "delete", "update_preimage")
                yield from _with_type(rows, what, schema)
            came = np.flatnonzero(~deletes)
            what = np.where(near[came] >= 0, "update_postimage", "insert")
            rows = pa.Table.from_batches(self.rows_at(came), self.values.schema)
            yield from _with_type(rows, what, schema)

        return change_files(self.given, batches(), kinds)


class _Values:
    """Values of an array for `bisect`: only those that it looks at become Python's."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, place: int) -> Any:
        return self.array[place].as_py()


def _groups_since(file: Any, oldest: Any) -> list[int]:
    """Row groups of a memory file that may have an event which is not older than `oldest`."""
    found = []
    places = {file.metadata.schema.column(n).path: n for n in range(file.metadata.num_columns)}
    for number in range(file.num_row_groups):
        statistics = file.metadata.row_group(number).column(places["o"]).statistics
        if statistics is not None and statistics.has_min_max:
            greatest = pa.scalar(statistics.max).cast(oldest.type)
            if pc.less(greatest, oldest).as_py():
                continue
        found.append(number)
    return found


def _is_true(values: Any) -> np.ndarray:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    found: np.ndarray = pc.fill_null(values, fill_value=False).to_numpy(zero_copy_only=False)
    return found


def _portions(files: Any) -> Iterator[list[tuple[str, str]]]:
    """Files whose keys are looked up together."""
    portion: list[tuple[str, str]] = []
    rows = 0
    for local, path in files:
        portion.append((local, path))
        rows += pq.read_metadata(local).num_rows
        if rows >= _LOOKED_UP:
            yield portion
            portion, rows = [], 0
    if portion:
        yield portion


def _with_type(rows: pa.Table, what: np.ndarray, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Rows with what became of them."""
    told = rows.append_column(CHANGE_TYPE, pa.array(what, pa.string()))
    yield from (conform(batch, schema) for batch in told.to_batches())
