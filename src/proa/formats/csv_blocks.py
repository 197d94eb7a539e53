"""CSV into Arrow: every value as text by Arrow's parser, then each column to its type.

What Arrow and Spark would take apart differently, and records with too few or too many values,
are taken apart one at a time.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv as pacsv
from pyspark.sql import types as t

from proa.formats.arrow_types import merge_structs, spark_type
from proa.formats.columns import cast, text_type
from proa.formats.csv_record import WHITE, records
from proa.formats.json_record import Converter
from proa.formats.problems import ProblemKind
from proa.formats.reader_options import CELLS, Evolution, Mode, ReaderOptions
from proa.formats.rescued import rescued_column
from proa.formats.source import OpenPart, Part, RecordEnds, is_utf8, line_pieces
from proa.lazy import compute as pc


@dataclass
class Rows:
    """Records as text: one column per value, and what was not a plain record."""

    texts: pa.Table
    surplus: dict[int, list[str | None]]
    """Values behind the last column, by the row they belong to."""
    ragged: dict[int, str]
    """The text of records that have too few or too many values, by row."""
    broken: list[str]
    """Records that cannot be taken apart."""


class CsvReader:
    """Reads the parts that one worker task has been given into `schema`."""

    def __init__(self, schema: pa.Schema, options: ReaderOptions) -> None:
        self.schema = schema
        self.options = options
        self._hidden = {options.corrupt_column, options.rescued_column} & set(schema.names)
        self._data = [f for f in schema if f.name not in self._hidden]

    def read(self, source: OpenPart, file: str) -> Iterator[pa.Table]:
        """The rows of one part; `file` is its path relative to the folder that is loaded."""
        convert = Converter(self.schema, self.options, file, source.part.path, note=source.note)
        for names, rows in read_texts(source, self.options, [f.name for f in self._data]):
            yield from self._typed_tables(names, rows, convert)

    def _typed_tables(self, names: list[str], rows: Rows, convert: Converter) -> Iterator[pa.Table]:
        columns, unknown = self._places(names)
        unknown = convert.new_columns(unknown)
        if unknown and self.options.evolution.stops:
            convert.unknown.update(dict.fromkeys(unknown))
            convert.stop()
        if not self.options.header and rows.surplus and self.options.evolution.stops:
            last = max(map(len, rows.surplus.values()))
            extra = [f"_c{len(names) + i}" for i in range(last)]
            convert.unknown.update(dict.fromkeys(extra))
            convert.stop()
        count = len(rows.texts)
        arrays: dict[str, Any] = {}
        parts: list[tuple[str, Any]] = []
        misfit: Any = None
        for f in self._data:
            if f.name not in columns:
                arrays[f.name] = pa.nulls(count, f.type)
                continue
            texts = _one(rows.texts.column(columns[f.name]))
            arrays[f.name], bad = cast(texts, f.type, self.options)
            if bad is not None:
                self._widen(f, texts.filter(bad), convert)
                misfit = bad if misfit is None else pc.or_(misfit, bad)
                parts.append((names[columns[f.name]], pc.if_else(bad, texts, _NO_TEXT)))
        used = set(columns.values())
        parts += [
            (name, _unlike(_one(rows.texts.column(i)), convert.folder(name)))
            for i, name in enumerate(names)
            if i not in used
        ]
        parts += _surplus(rows, len(names), count)
        yield from self._finish(arrays, parts, misfit, rows, convert)

    def _widen(self, column: pa.Field, misfits: pa.Array, convert: Converter) -> None:
        """Stop for a wider type, when the mode wants that and one of the values has it."""
        if self.options.evolution is not Evolution.WIDEN:
            return
        if not pa.types.is_integer(column.type) or column.name.lower() in self.options.pinned:
            return
        wider = [pa.int64(), pa.float64()] if column.type.bit_width < 64 else []
        for type_ in wider:
            values, _ = cast(misfits, type_, self.options)
            if values.null_count < len(values):
                convert.widen(column.name, type_)

    def _places(self, names: list[str]) -> tuple[dict[str, int], list[str]]:
        """(which of the file's columns fills a column of the schema, new names)."""
        places: dict[str, int] = {}
        known = {f.name for f in self._data}
        folded = {name.lower(): name for name in known}
        unknown = []
        for i, name in enumerate(names):
            if name in known:
                places[name] = i
            elif name.lower() not in folded:
                unknown.append(name)
        if not self.options.case_sensitive:
            for i, name in enumerate(names):
                if name.lower() in folded:
                    places.setdefault(folded[name.lower()], i)
        return places, unknown

    def _finish(
        self,
        arrays: dict[str, Any],
        parts: list[tuple[str, Any]],
        misfit: Any,
        rows: Rows,
        convert: Converter,
    ) -> Iterator[pa.Table]:
        options, count = self.options, len(rows.texts)
        malformed = np.zeros(count, dtype=bool)
        malformed[list(rows.ragged)] = True
        if misfit is not None and options.rescued_column is None:
            malformed |= np.asarray(misfit)
        if options.mode is Mode.FAIL and malformed.any():
            at = int(np.flatnonzero(malformed)[0])
            text = rows.ragged.get(at, _MISFIT)
            convert.fail_malformed(text)
        if options.rescued_column is not None:
            arrays[options.rescued_column] = rescued_column(
                [(name, _quote_texts(texts)) for name, texts in parts], count, convert.file
            )
        if options.corrupt_column in self._hidden:
            texts = (
                [
                    rows.ragged.get(i) or _record_text(rows.texts, i, options)
                    if malformed[i]
                    else None
                    for i in range(count)
                ]
                if malformed.any()
                else [None] * count
            )
            arrays[options.corrupt_column] = pa.array(texts, pa.string())
        table = pa.Table.from_arrays([arrays[f.name] for f in self.schema], schema=self.schema)
        if options.mode is Mode.DROP:
            for at in np.flatnonzero(malformed).tolist() if convert.note else ():
                reason = _TOO_MANY if at in rows.ragged else _MISFIT
                convert.drop(rows.ragged.get(at) or _record_text(rows.texts, at, options), reason)
            table = table.filter(pa.array(~malformed))
        yield table
        broken = [row for text in rows.broken for row in convert.corrupt(text, "bad quotes")]
        if broken:
            yield pa.Table.from_pylist(broken, schema=self.schema)


_HEADER = 1 << 20
"""Bytes; a header is not longer."""
_FEW = 64
"""Lines; fewer are taken apart one at a time."""
_NO_TEXT = pa.scalar(None, pa.string())
_TOO_MANY = "it has more or fewer values than there are columns"
_MISFIT = "a value does not have its column's type"


def _unlike(texts: pa.Array, folder: str | None) -> pa.Array:
    """The texts that are not what the folder's name says already."""
    return texts if folder is None else pc.if_else(pc.equal(texts, folder), _NO_TEXT, texts)


def _surplus(rows: Rows, width: int, count: int) -> list[tuple[str, Any]]:
    parts = []
    for i in range(max(map(len, rows.surplus.values()), default=0)):
        texts: list[str | None] = [None] * count
        for row, values in rows.surplus.items():
            texts[row] = values[i] if i < len(values) else None
        parts.append((f"_c{width + i}", pa.array(texts, pa.string())))
    return parts


def _quote_texts(texts: pa.Array) -> pa.Array:
    encoded = texts.dictionary_encode()
    quoted = [json.dumps(text, ensure_ascii=False) for text in encoded.dictionary.to_pylist()]
    return pa.array(quoted, pa.string()).take(encoded.indices)


def _record_text(texts: pa.Table, row: int, options: ReaderOptions) -> str:
    values = [column[row].as_py() for column in texts.columns]
    return options.delimiter.join(value or "" for value in values)


def read_texts(
    source: OpenPart, options: ReaderOptions, given: list[str]
) -> Iterator[tuple[list[str], Rows]]:
    """The file's column names and its records as text, block by block.

    Without a header the columns are `given`, or, when none are, `_c0`, `_c1` ...
    """
    ranged = source.part.start > 0
    if options.by_position:
        names = given if ranged or not options.header else None
    else:
        names = _header_of(source, options) if options.header and ranged else None
    blocks = source.records() if options.multi_line else source.lines()
    for block in blocks:
        data = _without_comments(block, options)
        if names is None and options.header:
            names, data = _take_header(data, options)
            if names is None:
                continue
            if not names:
                raise source.problem(ProblemKind.CORRUPT, "its first line does not name columns")
            if options.by_position:
                names = _by_position(names, given, source)
        if names is None:
            names = given or _numbered_names(data, options)
        if len(names) > options.max_columns:
            raise source.problem(ProblemKind.CORRUPT, _wide(len(names), options))
        for piece in _pieces(data, len(names), options):
            with source.guard():
                rows = _texts(piece, len(names), options)
            yield from ((names, some) for some in _slices(rows, len(names)))


def _by_position(header: list[str], given: list[str], source: OpenPart) -> list[str]:
    """The schema's columns, which values fill in order. ReadError if the header must name them, and does not."""
    options = source.options
    told = header if options.case_sensitive else [name.lower() for name in header]
    wanted = given if options.case_sensitive else [name.lower() for name in given]
    if options.check_header and told != wanted:
        detail = f"its first line names {header}, and the schema {given}, which enforceSchema=false compares"
        raise source.problem(ProblemKind.CORRUPT, detail)
    return given


def _wide(count: int, options: ReaderOptions) -> str:
    return f"it has {count} columns; raise the option maxColumns, which is {options.max_columns}"


def _pieces(data: bytes, width: int, options: ReaderOptions) -> list[bytes]:
    """The block in pieces that make tables of a bounded size."""
    ends = None
    most = max(CELLS // max(width, 1), 1)
    if options.multi_line and data.count(b"\n") > most:
        ends = RecordEnds(options.quote, options.escape).ends(data)
    return line_pieces(data, most, ends)


def _slices(rows: Rows, width: int) -> Iterator[Rows]:
    """The rows again, fewer at once where some have many more values than there are columns."""
    count = len(rows.texts)
    widest = max(map(len, rows.surplus.values()), default=0)
    if count <= 1 or count * (width + widest) <= CELLS or not widest:
        yield rows
        return
    half = count // 2
    for start, end, broken in ((0, half, []), (half, count, rows.broken)):
        some = Rows(
            rows.texts.slice(start, end - start),
            {i - start: values for i, values in rows.surplus.items() if start <= i < end},
            {i - start: text for i, text in rows.ragged.items() if start <= i < end},
            broken,
        )
        yield from _slices(some, width)


def _header_of(source: OpenPart, options: ReaderOptions) -> list[str] | None:
    """The names in the first line of a file of which another range is read."""
    part = source.part
    first = source.at(Part(part.path, part.size, part.modified, 0, 1 << 16))
    for block in first.lines():
        return _take_header(block, options)[0]
    return None


def _take_header(data: bytes, options: ReaderOptions) -> tuple[list[str] | None, bytes]:
    """(the names in the first record, what follows it); None when there is no record."""
    any_width = replace(options, max_columns=_HEADER)
    for values, end in records(data[:_HEADER].decode("utf-8", "surrogateescape"), any_width):
        head = data[:_HEADER].decode("utf-8", "surrogateescape")[:end]
        size = len(head.encode("utf-8", "surrogateescape"))
        names = [(value or "").encode("utf-8", "replace").decode() for value in values or ()]
        return _safe(names), data[size:]
    return None, b""


def _safe(values: list[str]) -> list[str]:
    """Names that can be columns: empty ones get a number, as do those that come twice."""
    count = Counter(value.lower() for value in values)
    return [
        f"_c{i}" if not value else f"{value}{i}" if count[value.lower()] > 1 else value
        for i, value in enumerate(values)
    ]


def _numbered_names(data: bytes, options: ReaderOptions) -> list[str]:
    for values, _ in records(data.decode("utf-8", "replace"), options):
        if values is not None:
            return [f"_c{i}" for i in range(len(values))]
    return []


def _without_comments(data: bytes, options: ReaderOptions) -> bytes:
    sign = options.comment.encode()
    if not sign or sign not in data:
        return data
    return b"".join(line for line in data.splitlines(keepends=True) if not line.startswith(sign))


def _texts(data: bytes, width: int, options: ReaderOptions) -> Rows:
    rows = _by_arrow(data, width, options) if width else None
    if rows is not None:
        return rows
    middle = data.find(b"\n", len(data) // 2) + 1
    if options.multi_line or not 0 < middle < len(data) or data.count(b"\n") <= _FEW:
        return _one_by_one(data, width, options)
    return _both(_texts(data[:middle], width, options), _texts(data[middle:], width, options))


def _both(first: Rows, second: Rows) -> Rows:
    offset = len(first.texts)
    return Rows(
        pa.concat_tables([first.texts, second.texts]),
        first.surplus | {offset + i: values for i, values in second.surplus.items()},
        first.ragged | {offset + i: text for i, text in second.ragged.items()},
        first.broken + second.broken,
    )


def _by_arrow(data: bytes, width: int, options: ReaderOptions) -> Rows | None:
    """The records by Arrow's parser; None when Spark would take them apart differently."""
    escape = _escape(data, options) if is_utf8(data) else None
    if escape is None:
        return None
    if (options.trim_left or options.trim_right) and options.quote.encode() in data:
        return None  # white space counts within quotes, which Arrow takes away
    if not data.strip(b"\r\n"):
        return Rows(_table([], width), {}, {}, [])
    odd: list[str] = []

    def skip(row: Any) -> str:
        odd.append(row.text)
        return "skip"

    names = [str(i) for i in range(width)]
    try:
        table = pacsv.read_csv(
            pa.BufferReader(data),
            read_options=pacsv.ReadOptions(
                use_threads=False, block_size=len(data) + 1, column_names=names
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=options.delimiter,
                quote_char=options.quote or False,
                double_quote=True,
                escape_char=escape or False,
                newlines_in_values=options.multi_line,
                invalid_row_handler=skip,
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=True,
                quoted_strings_can_be_null=not (options.null_value or options.empty_value),
                null_values=[""],
            ),
        )
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return None
    if not options.multi_line and len(table) + len(odd) != _filled_lines(data):
        return None
    found = Rows(_apply_options(table, options), {}, {}, [])
    return _both(found, _one_by_one("\n".join(odd).encode(), width, options)) if odd else found


def _apply_options(table: pa.Table, options: ReaderOptions) -> pa.Table:
    """The texts as the options want them. Those that are empty, and not NULL, were in quotes."""
    steps: list[Any] = []
    if options.trim_left:
        steps.append(lambda texts: pc.utf8_ltrim(texts, characters=WHITE))
    if options.trim_right:
        steps.append(lambda texts: pc.utf8_rtrim(texts, characters=WHITE))
    if options.trim_left or options.trim_right:
        steps.append(lambda texts: _replace_texts(texts, "", None))
    elif options.empty_value:
        steps.append(lambda texts: _replace_texts(texts, "", options.empty_value))
    if options.null_value:
        steps.append(lambda texts: _replace_texts(texts, options.null_value, None))
    for step in steps:
        table = pa.table([step(column) for column in table.columns], schema=table.schema)
    return table


def _replace_texts(texts: pa.ChunkedArray, old: str, new: str | None) -> pa.ChunkedArray:
    return pc.if_else(pc.equal(texts, old), pa.scalar(new, pa.string()), texts)


def _escape(data: bytes, options: ReaderOptions) -> str | None:
    """The escape character to tell Arrow, "" for none; None when Arrow cannot read the block.

    Arrow takes an escape outside of quotes for one too, and closes an open quote at the end of
    the block.
    """
    quote, sign = options.quote.encode(), options.escape.encode()
    escaped = data.count(sign + quote) if quote and sign and sign != quote else 0
    if escaped and data.count(sign) != escaped:
        return None
    if quote and (data.count(quote) - escaped) % 2:
        return None
    return options.escape if escaped else ""


def _filled_lines(data: bytes) -> int:
    count = data.count(b"\n") + (not data.endswith(b"\n"))
    blank = data.count(b"\n\n") + data.count(b"\n\r\n")
    if blank or data.startswith((b"\n", b"\r\n")):
        return sum(1 for line in data.split(b"\n") if line.strip(b"\r"))
    return count


def _one_by_one(data: bytes, width: int, options: ReaderOptions) -> Rows:
    """The records by the exact parser."""
    rows: list[list[str | None]] = []
    found = Rows(_table([], width), {}, {}, [])
    pieces = [data] if options.multi_line else data.split(b"\n")
    for piece in pieces:
        try:
            text = piece.decode("utf-8")
        except UnicodeDecodeError:
            text = piece.decode("utf-8", "backslashreplace")
            found.broken.append(text.rstrip("\r"))
            continue
        at = 0
        for values, end in records(text, options):
            raw = text[at:end].strip("\r\n")
            at = end
            if values is None:
                if raw.strip("\r\n"):
                    found.broken.append(raw)
                continue
            if len(values) != width:
                found.ragged[len(rows)] = raw
                if len(values) > width:
                    found.surplus[len(rows)] = values[width:]
            rows.append((values + [None] * width)[:width])
    found.texts = _table(rows, width)
    return found


def _table(rows: list[list[str | None]], width: int) -> pa.Table:
    return pa.table({str(i): pa.array([row[i] for row in rows], pa.string()) for i in range(width)})


def _one(column: pa.ChunkedArray) -> pa.Array:
    found = column.combine_chunks()
    return pa.concat_arrays(found.chunks) if isinstance(found, pa.ChunkedArray) else found


def infer_csv(source: OpenPart, options: ReaderOptions, *, types: bool) -> t.StructType:
    """The columns in the file's order; without `types` every one is a string."""
    merged = t.StructType()
    for names, rows in read_texts(source, options, []):
        extra = max(map(len, rows.surplus.values()), default=0) if not options.header else 0
        found = [
            t.StructField(name, _type(rows.texts.column(i), options) if types else t.StringType())
            for i, name in enumerate(names)
        ]
        found += [t.StructField(f"_c{len(names) + i}", t.StringType()) for i in range(extra)]
        merged = merge_structs(merged, t.StructType(found))
        if not types and options.header:
            break
    return merged


def _type(column: pa.ChunkedArray, options: ReaderOptions) -> t.DataType:
    kind = text_type(_one(column), options)
    return t.NullType() if pa.types.is_null(kind) else spark_type(kind)
