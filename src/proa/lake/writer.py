"""The write stage: the last step of a batch's plan, which turns rows into Parquet files.

It runs inside the engine, as one `mapInArrow` over the user's plan, so the rows never cross the
client. Each task counts and drops what expectations say, writes attempt-named files, and hands
back one row: what it wrote. Nothing it writes belongs to a table until the log says so.
"""

from __future__ import annotations

import json
import traceback
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from proa.clock import RandomIds, SystemClock
from proa.engine.carried_errors import carry_errors
from proa.errors import DataError
from proa.lake import stats
from proa.lazy import compute as pc
from proa.steps import Step, step
from proa.storage import Store
from proa.violations import Violation

if TYPE_CHECKING:
    from proa.engine import Engine

SAMPLE_ROWS = 3
"""Rows shown of those that broke a `fail` expectation."""


@dataclass(frozen=True)
class Flag:
    """A boolean column that says of each row whether it meets an expectation. Never stored."""

    column: str
    expectation: str
    violation: Violation


@dataclass(frozen=True)
class Destination:
    """Where a batch's files go, and in which shape."""

    url: str
    """The table's folder."""
    options: Mapping[str, str]
    schema: pa.Schema
    """The table's columns; partition columns are kept in the files too."""
    attempt: str
    """Stands in every file's name: files of one attempt are found by it."""
    partition_by: tuple[str, ...] = ()
    hidden: tuple[pa.Field, ...] = ()
    """Columns that the files hold besides, and that the table's schema does not name."""
    flags: tuple[Flag, ...] = ()
    file_bytes: int = 128 << 20
    """A file is ended once it is larger."""
    group_bytes: int = 64 << 20
    """Arrow bytes of a row group."""
    buffer_bytes: int = 256 << 20
    """Arrow bytes that a task holds back over all of its open files."""
    open_files: int = 100
    passing: bool = False
    """The files are read once and removed: no time goes into making them small, or into statistics."""

    @property
    def file_schema(self) -> pa.Schema:
        """The columns of the files."""
        return pa.schema([*self.schema, *self.hidden]) if self.hidden else self.schema


@dataclass(frozen=True)
class DataFile:
    """A Parquet file of a table."""

    path: str
    """Relative to the table's folder."""
    size: int
    rows: int
    partition: Mapping[str, str | None]
    """The partition columns' values as Delta writes them."""
    stats: str
    """JSON, as in an add action."""
    modified: int
    """Milliseconds since 1970."""


@dataclass
class Outcome:
    """How the rows of a batch met one expectation."""

    expectation: str
    violation: Violation
    passed: int = 0
    failed: int = 0
    samples: list[str] = field(default_factory=list)
    """Some rows that broke it, as JSON."""


@dataclass(frozen=True)
class RowChanges:
    """What a batch of changes did to a table's rows."""

    upserted: int
    """Rows inserted or updated."""
    deleted: int
    """Keys that have no row, or no current one, any more."""
    ties: int = 0
    """Keys that had several different changes of one sequence."""

    def __add__(self, other: RowChanges) -> RowChanges:
        return RowChanges(
            self.upserted + other.upserted, self.deleted + other.deleted, self.ties + other.ties
        )


@dataclass(frozen=True)
class WriteResult:
    """What all tasks of a batch wrote."""

    files: tuple[DataFile, ...]
    rows: int
    """Rows written."""
    dropped: int
    """Rows that `drop` expectations took out."""
    outcomes: tuple[Outcome, ...]
    changes: RowChanges | None = None
    """For changes that were applied to a table."""

    @property
    def broken(self) -> Outcome | None:
        """The first `fail` expectation that was broken: the batch must not be committed."""
        return next((o for o in self.outcomes if o.violation is Violation.FAIL and o.failed), None)


def write_frame(
    engine: Engine, frame: Any, target: Destination, columns: Sequence[str] | None = None
) -> WriteResult:
    """Compute `frame`, a DataFrame with the target's columns and its flags', into files.

    `columns` are the names of the frame's columns, where they are known.
    When it fails, files of `target.attempt` may be left; no log knows them. A broken `fail`
    expectation is no error here: see `WriteResult.broken`.
    """
    from pyspark.sql.types import StringType, StructType

    from proa.engine.relations import map_in_arrow

    report = StructType().add("report", StringType())
    with step(Step.COMPUTE_WRITE):
        writing = map_in_arrow(frame, engine.on_workers(task(target)), report, columns)
        reports = engine.arrow(writing)
    return _gather(reports.column(0).to_pylist(), target)


def write_batches(batches: Iterable[pa.RecordBatch], target: Destination) -> tuple[DataFile, ...]:
    """Write batches that are at hand, without an engine, into files of `target`."""
    with step(Step.COMPUTE_WRITE):
        report = _Task(target).run(batches)
    return _gather([report], target).files


def write_rows(rows: pa.Table, url: str, options: Mapping[str, str], attempt: str) -> DataFile:
    """Write rows that are at hand, without an engine, into one file below `url`."""
    target = Destination(url, options, rows.schema, attempt)
    file = _File(f"part-00001-{attempt}.zstd.parquet", Store.open(url, options), target)
    for batch in rows.to_batches():
        file.add(batch)
    return file.end({})


def discard_attempt(target: Destination, files: Iterable[DataFile]) -> None:
    """Remove what an attempt wrote. Only for files that no commit has been tried with."""
    store = Store.open(target.url, target.options)
    for file in files:
        store.delete(file.path)


def task(target: Destination) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """The function that `mapInArrow` runs once per partition."""

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        report, failure = _run_task(target, batches)
        # The engine's stream must be let go here, in the thread that read it. Whoever else drops
        # the last reference, held by an error's traceback, may be the thread that feeds it.
        del batches
        if failure is not None:
            raise _WriteError(failure)
        yield pa.RecordBatch.from_pydict({"report": [report]})

    return run


class _WriteError(Exception):
    """A write stage failed; the message is the whole story."""


def _run_task(target: Destination, batches: Iterable[pa.RecordBatch]) -> tuple[str, str | None]:
    """The report of a partition, or why there is none."""
    try:
        with carry_errors():
            return _Task(target).run(batches), None
    except BaseException:  # noqa: BLE001 - a panic of the engine would end the stream without a word
        return "", traceback.format_exc()


def _gather(reports: list[str], target: Destination) -> WriteResult:
    outcomes = [Outcome(flag.expectation, flag.violation) for flag in target.flags]
    files: list[DataFile] = []
    rows = dropped = 0
    for report in map(json.loads, reports):
        files.extend(DataFile(**found) for found in report["files"])
        rows += report["rows"]
        dropped += report["dropped"]
        for outcome, found in zip(outcomes, report["outcomes"], strict=True):
            outcome.passed += found["passed"]
            outcome.failed += found["failed"]
            outcome.samples = (outcome.samples + found["samples"])[:SAMPLE_ROWS]
    files.sort(key=lambda file: file.path)
    return WriteResult(tuple(files), rows, dropped, tuple(outcomes))


class _Task:
    """One partition of a batch on its way into files."""

    def __init__(self, target: Destination) -> None:
        self._target = target
        self._name = f"{target.attempt}-{RandomIds().new()[:8]}"
        self._store = Store.open(target.url, target.options)
        self._outcomes = [Outcome(f.expectation, f.violation) for f in target.flags]
        self._open: dict[tuple[str | None, ...], _File] = {}
        self._done: list[DataFile] = []
        self._rows = self._dropped = self._count = 0
        self._broken = False

    def run(self, batches: Iterable[pa.RecordBatch]) -> str:
        """Write all batches; the report as JSON."""
        with ExitStack() as abandoning:
            abandoning.callback(self._abandon)
            for batch in batches:
                kept = self._judge(batch)
                if kept.num_rows and not self._broken:
                    self._take(conform(kept, self._target.file_schema))
            if not self._broken:
                for key in list(self._open):
                    self._end(key)
        return json.dumps(
            {
                "files": [] if self._broken else [vars(file) for file in self._done],
                "rows": 0 if self._broken else self._rows,
                "dropped": self._dropped,
                "outcomes": [
                    {"passed": o.passed, "failed": o.failed, "samples": o.samples}
                    for o in self._outcomes
                ],
            }
        )

    def _judge(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Count each flag; the batch without the rows to drop. Flag columns go in `conform`."""
        keep = None
        for flag, outcome in zip(self._target.flags, self._outcomes, strict=True):
            met = batch.column(flag.column)
            failed = batch.num_rows - (met.true_count)
            outcome.passed += batch.num_rows - failed
            outcome.failed += failed
            if not failed or flag.violation is Violation.WARN:
                continue
            if flag.violation is Violation.DROP:
                keep = met if keep is None else pc.and_(keep, met)
                continue
            self._broken = True
            if len(outcome.samples) < SAMPLE_ROWS:
                rows = batch.filter(pc.invert(met)).slice(0, SAMPLE_ROWS - len(outcome.samples))
                shown = conform(rows, self._target.schema).to_pylist()
                outcome.samples += [json.dumps(row, default=str) for row in shown]
        if keep is None:
            return batch
        kept = batch.filter(keep)
        self._dropped += batch.num_rows - kept.num_rows
        return kept

    def _take(self, batch: pa.RecordBatch) -> None:
        _refuse_nulls(batch, self._target)
        self._rows += batch.num_rows
        for key, part in split_by_partition(batch, self._target.partition_by):
            if key not in self._open:
                if len(self._open) >= self._target.open_files:
                    self._end(next(iter(self._open)))
                self._count += 1
                folder = partition_folder(self._target.partition_by, key)
                path = f"{folder}part-{self._count:05d}-{self._name}.zstd.parquet"
                self._open[key] = _File(path, self._store, self._target)
            file = self._open[key]
            file.add(part)
            if file.written >= self._target.file_bytes:
                self._end(key)
        while sum(file.held for file in self._open.values()) > self._target.buffer_bytes:
            max(self._open.values(), key=lambda file: file.held).flush()

    def _end(self, key: tuple[str | None, ...]) -> None:
        file = self._open.pop(key)
        self._done.append(file.end(dict(zip(self._target.partition_by, key, strict=True))))

    def _abandon(self) -> None:
        """Call open uploads off; of a broken batch remove what was finished as well."""
        for file in self._open.values():
            file.abandon()
        if self._broken:
            for done in self._done:
                self._store.delete(done.path)


class _File:
    """One Parquet file being written, row group by row group."""

    def __init__(self, path: str, store: Store, target: Destination) -> None:
        self.path = path
        self.held = 0
        """Arrow bytes not yet written."""
        self._store = store
        self._target = target
        self._batches: list[pa.RecordBatch] = []
        self._stack = ExitStack()
        self._sink: _Sink | None = None
        self._writer: Any = None
        self._floats = stats.FloatBounds(target.schema)

    @property
    def written(self) -> int:
        return self._sink.position if self._sink else 0

    def add(self, batch: pa.RecordBatch) -> None:
        self._batches.append(batch)
        self.held += batch.nbytes
        if self.held >= self._target.group_bytes:
            self.flush()

    def flush(self) -> None:
        """Write what is held as one row group."""
        if not self._batches:
            return
        if self._sink is None:
            self._sink = _Sink(self._stack.enter_context(self._store.writer(self.path)))
            self._writer = pq.ParquetWriter(
                pa.PythonFile(self._sink, "w"),
                self._target.file_schema,
                store_schema=False,
                **(_PASSING if self._target.passing else self._lasting()),
            )
        table = pa.Table.from_batches(self._batches)
        if not self._target.passing:
            self._floats.add(table)
        self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self._batches, self.held = [], 0

    def end(self, partition: Mapping[str, str | None]) -> DataFile:
        """Finish the file. It is there, whole, when this returns."""
        self.flush()
        assert self._sink is not None
        self._writer.close()
        footer = self._writer.writer.metadata
        self._stack.close()
        return DataFile(
            path=self.path,
            size=self._sink.position,
            rows=footer.num_rows,
            partition=partition,
            stats=""
            if self._target.passing
            else stats.of_file(
                footer, self._target.schema, self._floats, self._target.partition_by
            ),
            modified=int(SystemClock().now().timestamp() * 1000),
        )

    def _lasting(self) -> dict[str, Any]:
        """How a file is written that is read often."""
        return {
            "compression": "zstd",
            "compression_level": 1,
            "dictionary_pagesize_limit": 256 << 10,
            "write_statistics": stats.ordered_leaves(self._target.schema),
        }

    def abandon(self) -> None:
        """Call the upload off: nobody will see the file."""
        with suppress(_AbandonedError), self._stack:
            _abandon()


_PASSING: dict[str, Any] = {
    "compression": "snappy",
    "use_dictionary": False,
    "write_statistics": False,
}


class _AbandonedError(Exception):
    """Ends an upload without its object coming to be."""


def _abandon() -> None:
    raise _AbandonedError


class _Sink:
    """A file as pyarrow wants it, over an upload; knows how much went through."""

    closed = False

    def __init__(self, upload: Any) -> None:
        self._upload = upload
        self.position = 0

    def write(self, data: Any) -> int:
        self._upload.write(bytes(data))
        self.position += len(data)
        return len(data)

    def tell(self) -> int:
        return self.position

    def flush(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def _refuse_nulls(batch: pa.RecordBatch, target: Destination) -> None:
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if column.null_count and not target.file_schema.field(name).nullable:
            row = batch.filter(pc.is_null(column)).slice(0, 1).to_pylist()[0]
            raise DataError(
                f"the column {name!r} of {target.url!r} is NOT NULL and a row has no value there:"
                f" {json.dumps(row, default=str)}; mend the row or the query",
                condition="NOT_NULL_CONSTRAINT_VIOLATION",
            )


_NULL = "__HIVE_DEFAULT_PARTITION__"

Key = tuple[str | None, ...]


def split_by_partition(
    batch: pa.RecordBatch, columns: Sequence[str]
) -> Iterator[tuple[Key, pa.RecordBatch]]:
    """`batch` cut into one batch per combination of the columns' values, spelled as Delta does."""
    if not columns:
        yield (), batch
        return
    codes = np.zeros(batch.num_rows, dtype=np.int64)
    for name in columns:
        encoded = batch.column(name).dictionary_encode(null_encoding="encode")
        codes = codes * len(encoded.dictionary) + encoded.indices.to_numpy(zero_copy_only=False)
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    ordered = batch.take(pa.array(order)) if len(starts) > 1 else batch
    for start, end in zip(starts, [*starts[1:], batch.num_rows], strict=True):
        part = ordered.slice(int(start), int(end - start))
        yield tuple(_partition_text(part.column(name)[0]) for name in columns), part


def partition_folder(columns: Sequence[str], key: Key) -> str:
    """The folder of a partition, as Hive names it, with a slash at the end; "" without columns."""
    return "".join(
        f"{urllib.parse.quote(name, safe=_SAFE)}={_NULL if value is None else _escape(value)}/"
        for name, value in zip(columns, key, strict=True)
    )


_SAFE = "!$&()+,;@~.-_"


def _escape(value: str) -> str:
    return urllib.parse.quote(value, safe=_SAFE) or _NULL


def _partition_text(value: pa.Scalar) -> str | None:
    """A value as Delta writes it among `partitionValues`; an empty string is NULL there."""
    kind = value.type
    if not value.is_valid:
        return None
    if pa.types.is_boolean(kind):
        return "true" if value.as_py() else "false"
    if pa.types.is_timestamp(kind):
        micros = pc.cast(value, pa.int64()).as_py()
        return str(np.datetime64(micros, "us")).replace("T", " ")
    if pa.types.is_nested(kind) or pa.types.is_binary(kind):
        raise DataError(f"a table cannot be partitioned by a column of the type {kind}")
    return str(value.as_py()) or None


def conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """`batch` with exactly the columns of `schema`: found by name whatever the case, brought to the
    column's type, NULL where missing. Nested fields are treated alike.
    """
    if batch.schema.equals(schema):
        return batch
    where = {name.lower(): index for index, name in enumerate(batch.schema.names)}
    columns = []
    for wanted in schema:
        index = where.get(wanted.name.lower())
        if index is None:
            columns.append(pa.nulls(batch.num_rows, wanted.type))
        else:
            columns.append(_conform_array(batch.column(index), wanted.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _conform_array(array: pa.Array, kind: pa.DataType) -> pa.Array:
    if array.type.equals(kind):
        return array
    if pa.types.is_struct(kind) and pa.types.is_struct(array.type):
        return _conform_struct(array, kind)
    if pa.types.is_list(kind) and pa.types.is_large_list(array.type):
        array = array.cast(pa.list_(array.type.value_field))
    if pa.types.is_list(kind) and pa.types.is_list(array.type):
        return _with_child(array, kind, _conform_array(array.values, kind.value_type))
    if pa.types.is_map(kind) and pa.types.is_map(array.type):
        pairs = [
            _conform_array(array.keys, kind.key_type),
            _conform_array(array.items, kind.item_type),
        ]
        fields = [pa.field("key", kind.key_type, nullable=False), pa.field("value", kind.item_type)]
        return _with_child(array, kind, pa.StructArray.from_arrays(pairs, fields=fields))
    return pc.cast(array, kind)


def _with_child(array: pa.Array, kind: pa.DataType, child: pa.Array) -> pa.Array:
    """`array`'s own validity and offsets over another child."""
    validity, offsets = array.buffers()[:2]
    return pa.Array.from_buffers(
        kind, len(array), [validity, offsets], offset=array.offset, children=[child]
    )


def _conform_struct(array: pa.StructArray, kind: pa.StructType) -> pa.Array:
    where = {array.type.field(i).name.lower(): i for i in range(array.type.num_fields)}
    children = []
    for wanted in kind:
        index = where.get(wanted.name.lower())
        child = (
            pa.nulls(len(array), wanted.type)
            if index is None
            else _conform_array(array.field(index), wanted.type)
        )
        children.append(child)
    return pa.StructArray.from_arrays(children, fields=list(kind), mask=array.is_null())
