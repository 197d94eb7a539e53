"""What the engine calls on its workers: who reads which parts, reading them, inferring from them."""

from __future__ import annotations

import heapq
import itertools
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import pyarrow as pa
from pyspark.sql import types as t

from proa.autoloader.file_ref import FileRef
from proa.formats.bad_records import BadRecords
from proa.formats.folders import partition_values, relative
from proa.formats.json_values import Number
from proa.formats.place import PLACE, places_of
from proa.formats.problems import ReadError
from proa.formats.reader_options import METADATA_NAME, TYPED_FORMATS, ReaderOptions
from proa.formats.rescued import rescued_value
from proa.formats.scalars import scalar
from proa.formats.source import COMPRESSED, OpenPart, Part

if TYPE_CHECKING:
    from proa.autoloader.schema import FileSchema
    from proa.autoloader.schema_fold import SchemaFold
    from proa.formats.columnar import OpenFile
    from proa.formats.json_schema import JsonInference

_ROWS = 65_536
"""Rows of a batch that is handed to the engine, at most."""
_FEW_ROWS, _FEW_BYTES = 8192, 4 << 20
"""A batch that has fewer of both waits for those of the next files: each one has its costs."""


class Reader(Protocol):
    """One format. A reader serves the parts of one partition, in turn."""

    def read(self, source: OpenPart, file: str) -> Iterator[pa.Table]:
        """The rows of one part as tables of the reader's schema.

        `file` is the file's path relative to the folder that is loaded.
        """


@dataclass(frozen=True)
class Assignment:
    """The parts that each partition reads, packed: a plan may name a million files."""

    packed: tuple[bytes, ...]

    @classmethod
    def of(cls, partitions: Sequence[Sequence[Part]]) -> Assignment:
        return cls(
            tuple(
                zlib.compress(json.dumps([astuple(part) for part in parts]).encode(), 1)
                for parts in partitions
            )
        )

    def parts(self, partition: int) -> Iterator[Part]:
        for fields in json.loads(zlib.decompress(self.packed[partition])):
            yield Part(*fields)


@dataclass(frozen=True)
class ReadTask:
    """A function from a partition's number to its rows, for `mapInArrow`."""

    assignment: Assignment
    storage: Mapping[str, str]
    options: ReaderOptions
    base: str
    """The folder that is loaded."""
    data: bytes
    """The serialized Arrow schema of the columns that the files fill, rescued data included."""
    output: bytes
    """The serialized Arrow schema of what is handed to the engine."""
    stream: str | None = None
    """The name of the files' order, when rows are to know their place in it."""

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        # The engine cuts long error texts: one short line, without the way that led to it.
        try:
            for batch in batches:
                for partition in batch.column(0).to_pylist():
                    yield from _larger(self._partition(partition))
        except ReadError as error:
            raise error from None

    def _partition(self, partition: int) -> Iterator[pa.RecordBatch]:
        output = pa.ipc.read_schema(pa.py_buffer(self.output))
        data = pa.ipc.read_schema(pa.py_buffer(self.data))
        reader = reader_of(data, self.options)
        metadata = None
        if METADATA_NAME in output.names and METADATA_NAME not in data.names:
            metadata = output.field(METADATA_NAME).type
        for part in self.assignment.parts(partition):
            bad = self._bad_records(part)
            source = OpenPart(part, self.options, self.storage, bad.note if bad else None)
            file = relative(part.path, self.base)
            constants = self._constants(part, output, data)
            rows = 0
            try:
                for table in reader.read(source, file):
                    numbers = range(rows, rows := rows + len(table))
                    if PLACE in output.names:
                        place = places_of(self.stream, part.shipment, (file, part.start), numbers)
                        table = table.append_column(PLACE, place)  # noqa: PLW2901
                    if metadata is not None:
                        about = _metadata(part, metadata, numbers)
                        table = table.append_column(METADATA_NAME, about)  # noqa: PLW2901
                    yield from self._finish(table, output, constants, file)
            except ReadError as error:
                if not self.options.ignores(error.problem.kind):
                    raise
                if bad is not None:
                    bad.write_file(error.problem)
            if bad is not None:
                bad.write()

    def _bad_records(self, part: Part) -> BadRecords | None:
        folder = self.options.bad_records_path
        return BadRecords(folder, part, self.storage) if folder else None

    def _constants(self, part: Part, output: pa.Schema, data: pa.Schema) -> dict[str, Any]:
        """Columns that folders' names give: one value for all rows of a part."""
        values = {n.lower(): v for n, v in partition_values(part.path, self.base).items()}
        found: dict[str, Any] = {}
        for column in output:
            if column.name in data.names or column.name in {PLACE, METADATA_NAME}:
                continue
            text = values.get(column.name.lower())
            try:
                found[column.name] = _partition_value(text, column.type, self.options)
            except (ValueError, OverflowError):
                found[column.name] = None
                found.setdefault("", {})[column.name] = text
        return found

    def _finish(
        self,
        table: pa.Table,
        output: pa.Schema,
        constants: Mapping[str, Any],
        file: str,
    ) -> Iterator[pa.RecordBatch]:
        count = len(table)
        arrays = []
        for column in output:
            if column.name in constants:
                value = pa.scalar(constants[column.name], column.type)
                arrays.append(pa.repeat(value, count))
            else:
                arrays.append(table[column.name])
        misfits = constants.get("")
        whole = pa.Table.from_arrays(arrays, schema=output)
        if misfits and self.options.rescued_column is not None:
            whole = _add_rescued(whole, self.options.rescued_column, misfits, file)
        yield from whole.combine_chunks().to_batches(max_chunksize=_ROWS)


def _larger(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The rows of the batches in their order, small ones put together."""
    held: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        held.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= _FEW_ROWS or size >= _FEW_BYTES:
            yield pa.concat_batches(held) if len(held) > 1 else batch
            held, rows, size = [], 0, 0
    if held:
        yield pa.concat_batches(held)


def reader_of(data: pa.Schema, options: ReaderOptions) -> Reader:
    """The reader of the options' format."""
    if options.format == "csv":
        from proa.formats.csv_blocks import CsvReader

        return CsvReader(data, options)
    if options.format in TYPED_FORMATS:
        from proa.formats.columnar import ColumnReader

        return ColumnReader(data, options, opener_of(options.format))
    if options.format == "binaryfile":
        from proa.formats.binary_file import BinaryFileReader

        return BinaryFileReader(data, options)
    if options.format == "text":
        from proa.formats.text_file import TextReader

        return TextReader(data, options)
    from proa.formats.json_blocks import JsonReader

    return JsonReader(data, options)


def opener_of(format_: str) -> OpenFile:
    """What opens files of a format that holds columns."""
    if format_ == "avro":
        from proa.formats.avro_file import open_avro

        return open_avro
    if format_ == "orc":
        from proa.formats.orc_file import open_orc

        return open_orc
    from proa.formats.parquet import open_parquet

    return open_parquet


def _partition_value(text: str | None, type_: pa.DataType, options: ReaderOptions) -> Any:
    if text is None:
        return None
    if pa.types.is_boolean(type_):
        return {"true": True, "false": False}[text.lower()]
    plain = pa.types.is_integer(type_) or pa.types.is_floating(type_)
    return scalar(type_, options)(Number(text) if plain else text)


def _add_rescued(table: pa.Table, name: str, misfits: dict[str, Any], file: str) -> pa.Table:
    own = json.loads(rescued_value(misfits, file))
    merged = [
        json.dumps({**own, **(json.loads(text) if text else {})}, ensure_ascii=False)
        for text in table[name].to_pylist()
    ]
    return table.set_column(table.schema.get_field_index(name), name, pa.array(merged, pa.string()))


def _metadata(part: Part, type_: pa.StructType, rows: range) -> pa.Array:
    """`_metadata` for the rows `rows` of a part, with the fields of the type.

    A file is one block: into which ranges it was cut for reading is a region's own affair.
    """
    values = {
        "file_path": part.path,
        "file_name": part.path.rsplit("/", 1)[-1],
        "file_size": part.size,
        "file_block_start": 0,
        "file_block_length": part.size,
        "file_modification_time": part.modified,
        "shipment": part.shipment or None,
        "file_index": part.file_index if part.shipment else None,
        "shipped_at": part.shipped_at if part.shipment else None,
    }
    arrays = [
        pa.array(rows, pa.int64())
        if field.name == "row_index"
        else pa.repeat(pa.scalar(values[field.name], field.type), len(rows))
        for field in type_
    ]
    return pa.StructArray.from_arrays(arrays, fields=list(type_))


INFERRED = t.StructType(
    [
        t.StructField("path", t.StringType()),
        t.StructField("start", t.LongType()),
        t.StructField("schema", t.StringType()),
    ]
)
"""What a task yields: one row per part, with a Spark struct as JSON."""


@dataclass(frozen=True)
class InferTask:
    """A function from a partition's number to the schema of its files, for `mapInArrow`."""

    assignment: Assignment
    storage: Mapping[str, str]
    options: ReaderOptions
    types: bool
    """Whether types are wanted, or only names (all columns are strings then)."""
    pinned: frozenset[str]
    """Lower-case names of columns whose types are known: when there are no others, only names
    are looked at, which is several times faster."""
    hinted: t.StructType | None = None
    """The columns that hints make nested: fields inside them are looked for."""
    known: tuple[SchemaFold, FileSchema] | None = None
    """A schema, and the rule by which it grows: small files that add nothing may have no fields."""

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        try:
            for batch in batches:
                for partition in batch.column(0).to_pylist():
                    yield from self._partition(partition)
        except ReadError as error:
            raise error from None

    def _partition(self, partition: int) -> Iterator[pa.RecordBatch]:
        parts = self.assignment.parts(partition)
        found = self._fields(parts) if self.known is None else self._additions(parts, *self.known)
        rows: list[tuple[str, int, str]] = []
        last, text = t.StructType(), t.StructType().json()
        for part, struct in found:
            if struct is not last:
                last, text = struct, struct.json()
            rows.append((part.path, part.start, text))
        columns = list(zip(*rows, strict=True)) or [(), (), ()]
        types = (pa.string(), pa.int64(), pa.string())
        arrays = [pa.array(c, kind) for c, kind in zip(columns, types, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, names=["path", "start", "schema"])

    def _fields(self, parts: Iterable[Part]) -> Iterator[tuple[Part, t.StructType]]:
        infer = self._inference()
        for part in parts:
            found = self._read(part, infer)
            if found is not None:
                yield part, found

    def _additions(
        self, parts: Iterable[Part], fold: SchemaFold, schema: FileSchema
    ) -> Iterator[tuple[Part, t.StructType]]:
        """As `_fields`; many small files of JSON are looked at in one go, as long as none is new."""
        if self.options.format != "json" or self.options.multi_line:
            yield from self._fields(parts)
            return
        scan = _AdditionScan(self._json_inference(), fold, schema)
        for part in sorted(parts, key=lambda part: part.shipment):
            if _weight(part) > _SMALL or part.path.lower().endswith(COMPRESSED):
                yield from scan.end()
                yield from self._fields([part])
                continue
            blocks = self._read(part, lambda source: list(source.lines()))
            if blocks is not None:
                yield from scan.add(part, blocks)
        yield from scan.end()

    def _read(self, part: Part, read: Callable[[OpenPart], _T]) -> _T | None:
        """What `read` makes of a part. Returns None where options pass over what is wrong with it."""
        try:
            return read(OpenPart(part, self.options, self.storage))
        except ReadError as error:
            if not self.options.ignores(error.problem.kind):
                raise
            return None

    def _inference(self) -> Callable[[OpenPart], t.StructType]:
        if self.options.format in TYPED_FORMATS:
            from proa.formats.columnar import infer_columns

            open_file = opener_of(self.options.format)
            return partial(infer_columns, options=self.options, open_file=open_file)
        if self.options.format == "csv":
            from proa.formats.csv_blocks import infer_csv

            return partial(infer_csv, options=self.options, types=self.types)
        return self._json_inference().infer

    def _json_inference(self) -> JsonInference:
        from proa.formats.json_schema import JsonInference

        return JsonInference(self.options, types=self.types, pinned=self.pinned, hinted=self.hinted)


class _AdditionScan:
    """Tells of files of JSON, in the order of their shipments, what they add to a schema.

    A file that adds nothing has no fields, or those that it has.
    """

    def __init__(self, inference: JsonInference, fold: SchemaFold, schema: FileSchema) -> None:
        self._inference = inference
        self._fold = fold
        self._known = schema
        """The schema before the shipment of the file that is looked at, or an earlier one."""
        self._grown = (0, schema)
        """A shipment, and what its files have made of the schema; it counts from the next one on."""
        self._held: list[_Text] = []
        self._bytes = 0
        self._told, self._failed = 0, 0
        """Files that were told in one go with others, and looks at several that did not do."""

    def add(self, part: Part, blocks: list[bytes]) -> Iterator[tuple[Part, t.StructType]]:
        self._held.append((part, blocks))
        self._bytes += sum(map(len, blocks))
        if self._bytes > _SMALL or len(self._held) >= _AT_ONCE:
            yield from self.end()

    def end(self) -> Iterator[tuple[Part, t.StructType]]:
        """What is known of the files that are held."""
        files, self._held, self._bytes = self._held, [], 0
        yield from self._tell(files)

    def _tell(self, files: list[_Text]) -> Iterator[tuple[Part, t.StructType]]:
        if len(files) > 1 and self._failed <= self._told + _PATIENCE:
            if self._add_nothing(files):
                self._told += len(files)
                yield from ((part, _NO_FIELDS) for part, _ in files)
                return
            self._failed += 1
            middle = len(files) // 2
            yield from self._tell(files[:middle])
            yield from self._tell(files[middle:])
            return
        for part, blocks in files:
            found = self._inference.infer_blocks(blocks)
            self._grow(part, found)
            yield part, found

    def _add_nothing(self, files: list[_Text]) -> bool:
        if files[0][0].shipment > self._grown[0]:
            self._known = self._grown[1]
        texts = [b"".join(blocks) for _, blocks in files]
        lines = b"".join(text if text.endswith(b"\n") else text + b"\n" for text in texts if text)
        found = self._inference.infer_at_once(lines) if lines else _NO_FIELDS
        return found is not None and not self._fold.additions(self._known, found).fields

    def _grow(self, part: Part, found: t.StructType) -> None:
        """Take what a file adds as known to later shipments.

        Files of its own shipment may still change the types of what is new.
        """
        before = self._grown[1]
        if self._fold.additions(before, found).fields:
            file = FileRef(part.path, part.size, part.modified, part.shipment)
            grown = self._fold.extend(before, [file], {file.path: found})
            self._grown = (part.shipment, grown)


_Text = tuple[Part, list[bytes]]
"""A file, and its lines in blocks."""
_SMALL = 1 << 20
"""Bytes of files that are looked at in one go."""
_AT_ONCE = 128
_PATIENCE = 16
"""Looks that may fail before files are looked at one by one."""
_NO_FIELDS = t.StructType()
_T = TypeVar("_T")

_RANGE = 64 << 20
"""Bytes; larger files are read in ranges of about this size."""
_OPENING = 256 << 10
"""What opening a file costs, in bytes that could be read instead."""


def split(
    files: Sequence[FileRef], options: ReaderOptions, parallelism: int, *, cuts: bool = True
) -> list[list[Part]]:
    """The parts of each partition, evenly loaded; at least one partition, at most `parallelism`.

    Unless `cuts`, a part is a whole file.
    """
    parts = sorted(
        (part for file in files for part in _parts(file, options, parallelism if cuts else 0)),
        key=lambda part: (-_weight(part), part.path, part.start),
    )
    count = max(1, min(parallelism, len(parts)))
    loads = [(0, index) for index in range(count)]
    assigned: list[list[Part]] = [[] for _ in range(count)]
    for part in parts:
        load, index = heapq.heappop(loads)
        assigned[index].append(part)
        heapq.heappush(loads, (load + _weight(part), index))
    for partition in assigned:
        partition.sort(key=lambda part: (part.modified, part.path, part.start))
    return assigned


def _weight(part: Part) -> int:
    return (part.size if part.end is None else part.end) - part.start + _OPENING


def _parts(file: FileRef, options: ReaderOptions, parallelism: int) -> Iterator[Part]:
    pieces = min(-(-file.size // _RANGE), 4 * parallelism) if _can_split(file, options) else 1
    if pieces <= 1:
        yield Part(file.path, file.size, file.modified, shipment=file.shipment)
        return
    bounds = [file.size * i // pieces for i in range(pieces + 1)]
    for start, end in itertools.pairwise(bounds):
        last = end == file.size
        until = None if last else end
        yield Part(file.path, file.size, file.modified, start, until, file.shipment)


def _can_split(file: FileRef, options: ReaderOptions) -> bool:
    return (
        options.format in {"json", "csv", "text"}
        and not options.multi_line
        and not options.whole_text
        and options.encoding == "utf-8"
        and options.line_separator == "\n"
        and not file.path.lower().endswith(COMPRESSED)
    )
