"""Lines of JSON into Arrow, whole blocks at a time.

Three ways, each exact: typed columns through Arrow's JSON parser, text columns through msgspec,
and single records that neither takes through `json_record`. A block that fails is cut at the record that
the parser names, or in halves, until the dirty records stand alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from proa.formats.arrow_json import JsonLayout, Lines, UnparsedError, arrow_json, check_objects
from proa.formats.arrow_types import (
    converted_column,
    count_leaves,
    field_paths,
    has_values,
    is_parseable,
    parsed_type,
    unknown_fields,
)
from proa.formats.columns import separable, separate, wrong_shape
from proa.formats.json_members import Members, TextColumns, UnreadableError, rescued_members
from proa.formats.json_record import ABSENT, Converter
from proa.formats.json_values import dump, parse
from proa.formats.reader_options import CELLS, Mode, ReaderOptions
from proa.formats.source import OpenPart, is_utf8, line_pieces
from proa.lazy import compute as pc

_FEW = 8
"""Records; fewer are read one by one."""
_CHANGED = re.compile(r"Column\(/([^)]*)\) changed from (\w+) to \w+ in row")
_ROW = re.compile(r"in row (\d+)$")
_VALUE = re.compile(r"(?:couldn't parse:|\): )([^\s\"\\]+)")
_AT_ONCE = 4096
"""Records that are read one by one before they become a table."""
_EXACT_CELLS = 1 << 20
"""Values of such a table: as Python's own they take much memory."""
_PATIENCE = 8
"""How many values that are not strings a string column may have before it is read as text."""


class DirtyError(Exception):
    """The block has a record that the fast way cannot take; `row` when it is known which.

    `columns` are those that may have values of another type.
    """

    def __init__(self, row: int | None = None, columns: Iterable[str] = ()) -> None:
        super().__init__(row)
        self.row = row
        self.columns = set(columns)


class IntricateError(Exception):
    """Every record of the block must be read exactly."""


class JsonReader:
    """Reads the parts that one worker task has been given into `schema`.

    `schema` has the data columns, then the rescued data column if there is one.
    """

    def __init__(self, schema: pa.Schema, options: ReaderOptions) -> None:
        self.schema = schema
        self.options = options
        hidden = {options.corrupt_column, options.rescued_column}
        self._hidden = frozenset(name for name in schema.names if name in hidden)
        self._data = pa.schema([f for f in schema if f.name not in self._hidden])
        # Only what is rescued or must be noticed is looked for.
        self._notice = (
            options.evolution.stops
            or options.rescued_column is not None
            or not options.case_sensitive
        )
        self._parsed = {f.name: f.with_type(parsed_type(f.type, options)) for f in self._data}
        raw = {f.name for f in self._data if not is_parseable(f.type)}
        strings = {f.name for f in self._data if f.type == pa.string()}
        everything = len(raw | strings) == len(self._data)
        self._text = TextColumns(raw, strings if everything else set())
        leaves = max(count_leaves(schema), 1)
        self._most_rows = max(CELLS // leaves, 1)
        self._exact_rows = max(min(_AT_ONCE, _EXACT_CELLS // leaves), 1)
        self._strikes: dict[str, int] = {}
        self._mixed: set[str] = set()
        """Columns that Arrow's parser refused: they are read as text, and their misfits sought."""
        self._strayed: set[str] = set()
        """Columns that had misfits once; `_mixed` keeps them while they have."""

    def read(self, source: OpenPart, file: str) -> Iterator[pa.Table]:
        """The rows of one part; `file` is its path relative to the folder that is loaded."""
        convert = Converter(
            self.schema, self.options, file, source.part.path, self._hidden, source.note
        )
        if self.options.multi_line:
            yield from self._documents(source, convert)
            return
        for block in source.lines():
            layout = JsonLayout.of(block)
            if layout.lines <= self._most_rows:
                yield from self._block(block, convert, layout)
                continue
            for piece in line_pieces(block, self._most_rows):
                yield from self._block(piece, convert)

    def _documents(self, source: OpenPart, convert: Converter) -> Iterator[pa.Table]:
        """A file that is one JSON value: an object, or an array of objects."""
        for data, has_lines in source.documents():
            items = data if has_lines else array_lines(data)
            if items is not None:
                for piece in line_pieces(items, self._most_rows):
                    yield from self._block(piece, convert)
            elif data.strip():
                yield self._table(convert.rows_of(data))

    def _block(
        self, block: bytes, convert: Converter, layout: JsonLayout | None = None
    ) -> Iterator[pa.Table]:
        if not block:
            return
        layout = layout or JsonLayout.of(block)
        if not layout.plain and (b"\n\n" in block or b"\n\r\n" in block or block[:1] in b"\r\n"):
            block = b"\n".join(line for line in block.split(b"\n") if line.strip(b" \t\r"))
            if not block:
                return
            layout = JsonLayout.of(block)
        try:
            table = self._at_once(block, layout, convert)
        except (DirtyError, IntricateError) as found:
            yield from self._pieces(block, convert, exact=isinstance(found, IntricateError))
        else:
            yield table

    def _pieces(self, block: bytes, convert: Converter, *, exact: bool) -> Iterator[pa.Table]:
        """The block in pieces that can be read at once, and what lies between, exactly.

        A piece shrinks when it fails and grows when it does not; the more records are dirty, the
        more are read exactly before the next try. So the work is linear, however dirty the block.
        """
        starts, ends = _lines(block)
        count = len(starts)
        at, window, stride = 0, count, 1
        while at < count:
            size = min(window, count - at)
            dirty: int | None = 0
            if not exact and size > _FEW:
                try:
                    piece = block[starts[at] : ends[at + size - 1]]
                    yield self._at_once(piece, JsonLayout.of(piece), convert)
                except IntricateError:
                    exact = True
                except DirtyError as found:
                    dirty = found.row
                else:
                    stride = stride // 2 if size > 4 * stride else stride
                    at, window, stride = at + size, size * 4, max(1, stride)
                    continue
            if dirty is None or dirty >= size:
                window = size // 2
            elif dirty > 0:
                window = dirty
            else:
                size = count - at if exact else max(stride, min(size, _FEW))
                end = min(at + size, count)
                yield from self._exactly(block, starts[at:end], ends[at:end], convert)
                stride = min(stride * 2, _AT_ONCE)
                at, window = end, 4 * max(stride, _FEW)

    def _exactly(
        self, block: bytes, starts: list[int], ends: list[int], convert: Converter
    ) -> Iterator[pa.Table]:
        rows: list[dict[str, Any]] = []
        for start, end in zip(starts, ends, strict=True):
            rows += convert.rows_of(block[start:end])
            if len(rows) >= self._exact_rows:
                yield self._table(rows)
                rows = []
        if rows:
            yield self._table(rows)

    def _table(self, rows: list[dict[str, Any]]) -> pa.Table:
        return pa.Table.from_pylist(rows, schema=self.schema)

    def _at_once(self, block: bytes, layout: JsonLayout, convert: Converter) -> pa.Table:
        """The whole block, again with each column that turns out to have misfits.

        DirtyError when that is not what is wrong with it.
        """
        while True:
            try:
                return self._fast(block, layout, convert)
            except DirtyError as found:
                new = self._separable(found.columns) - self._mixed
                if not new or layout.lines <= _FEW:
                    raise
                if len(new) > 1:
                    new = {name for name in new if not self._fits(block, self._data.field(name))}
                if not new:
                    raise
                self._mixed |= new

    def _separable(self, names: Iterable[str]) -> set[str]:
        """Which of the columns can be read with their misfits."""
        fields = [self._data.field(n) for n in names if n in self._data.names]
        return {
            f.name
            for f in fields
            if f.name not in self._text.names and (separable(f.type) or pa.types.is_nested(f.type))
        }

    def _fits(self, block: bytes, column: pa.Field) -> bool:
        """Whether all values of the column have its type, whatever the others have."""
        try:
            table = self._read_typed(block, JsonLayout.of(block).lines, [column], infer=False)
            self._as(table[column.name], column)
        except DirtyError:
            return False
        return True

    def _fast(self, block: bytes, layout: JsonLayout, convert: Converter) -> pa.Table:
        """The whole block at once; DirtyError when it will not do."""
        if not is_utf8(block):
            raise DirtyError
        names = self._text.names | self._mixed
        typed = [f for f in self._data if f.name not in names]
        # Beside text columns, what is unknown is looked for by name, and in nested columns apart.
        apart = [f for f in typed if self._notice and names and pa.types.is_nested(f.type)]
        flat = [f for f in typed if f not in apart]
        mixed = [f for f in self._data if f.name in self._mixed]
        columns: dict[str, Any] = {}
        extra: list[str] = []
        wrong: dict[str, Any] = {}
        found = None
        try:
            count = check_objects(block, layout).lines
        except UnparsedError as error:
            raise DirtyError(error.row) from None
        if flat or not names:
            found = self._read_typed(block, count, flat, infer=self._notice and not names)
            columns.update((f.name, self._as(found[f.name], f)) for f in flat)
            extra = self._unknown(found, flat) if self._notice and not names else []
        try:
            members = Members(Lines(block)) if names or extra else None
            if names and members is not None:
                texts = self._text.read(members)
                columns.update((n, self._from_text(texts[n], self._data.field(n))) for n in texts)
                if self._notice or self._mixed:
                    extra = sorted(members.names().difference(self._data.names))
                wrong = self._separate(members, mixed, columns, convert)
                nested = [f for f in mixed if pa.types.is_nested(f.type)]
                extra += self._read_nested(members, apart + nested, columns, wrong)
            rescue = self._notice_fields(extra, found, convert) if extra and self._notice else []
            rescued = None
            if members is not None and (rescue or wrong):
                rescued = rescued_members(members, rescue, wrong, convert)
            table = self._assemble(columns, rescued, count)
            return (
                self._by_mode(table, wrong, members.lines, convert) if wrong and members else table
            )
        except UnreadableError:
            raise DirtyError from None

    def _separate(
        self, members: Members, mixed: list[pa.Field], columns: dict[str, Any], convert: Converter
    ) -> dict[str, Any]:
        """Read the simple columns of `mixed`; returns the texts that do not fit, by column."""
        simple = [f for f in mixed if not pa.types.is_nested(f.type)]
        texts = {f.name: members.texts(f.name) for f in simple}
        wrong: dict[str, Any] = {}
        for f in simple:
            columns[f.name], bad = separate(texts[f.name], f, convert)
            self._set_apart(f.name, texts[f.name], bad, wrong)
        return wrong

    def _set_apart(self, name: str, texts: pa.Array, bad: pa.Array, wrong: dict[str, Any]) -> None:
        if pc.any(bad).as_py():
            self._strayed.add(name)
            wrong[name] = pc.if_else(bad, texts, pa.scalar(None, pa.string()))
        elif name in self._strayed:
            self._mixed.discard(name)

    def _by_mode(
        self, table: pa.Table, wrong: dict[str, Any], lines: Lines, convert: Converter
    ) -> pa.Table:
        """What the mode makes of rows of which a value does not fit and nothing is rescued."""
        options = self.options
        if options.rescued_column is not None:
            return table
        bad = np.zeros(len(table), dtype=bool)
        for texts in wrong.values():
            bad |= np.asarray(texts.is_valid())
        if options.mode is Mode.FAIL:
            raise DirtyError(int(np.flatnonzero(bad)[0]))
        if options.mode is Mode.DROP:
            for text in lines.array.filter(pa.array(bad)).to_pylist() if convert.note else ():
                convert.drop(text, "a value does not have its column's type")
            return table.filter(pa.array(~bad))
        if options.corrupt_column not in self._hidden:
            return table
        whole = pc.utf8_trim(lines.array, "\r\n\ufeff")
        corrupt = pc.if_else(pa.array(bad), whole, pa.scalar(None, pa.string()))
        at = table.schema.get_field_index(options.corrupt_column)
        return table.set_column(at, table.schema.field(at), corrupt)

    def _read_nested(
        self,
        members: Members,
        apart: list[pa.Field],
        columns: dict[str, Any],
        wrong: dict[str, Any],
    ) -> list[str]:
        """Read nested columns from lines that have nothing else; returns fields they lack."""
        if not apart:
            return []
        pieces: list[Any] = []
        texts = {f.name: members.texts(f.name) for f in apart}
        for i, f in enumerate(apart):
            if f.name in self._mixed:
                bad = wrong_shape(texts[f.name], f.type)
                self._set_apart(f.name, texts[f.name], bad, wrong)
                texts[f.name] = pc.if_else(bad, "null", texts[f.name])
            pieces += [
                ("," if i else "{") + json.dumps(f.name, ensure_ascii=False) + ":",
                pc.fill_null(texts[f.name], "null"),
            ]
        reduced = pc.binary_join_element_wise(*pieces, "}\n", "")
        block = b"".join(value.as_buffer().to_pybytes() for value in reduced)
        found = self._read_typed(block, len(members), apart, infer=True)
        columns.update((f.name, self._as(found[f.name], f)) for f in apart)
        return self._unknown(found, apart)

    def _asked_of(self, fields: Iterable[pa.Field]) -> pa.Schema:
        """The columns as the parser is asked for them."""
        return pa.schema([self._parsed[f.name] for f in fields])

    def _unknown(self, found: pa.Table, typed: list[pa.Field]) -> list[str]:
        """Paths of the fields that were found beside the typed ones."""
        if found.schema.equals(self._asked_of(typed)):
            return []
        return unknown_fields(found.schema, typed)

    def _as(self, column: pa.ChunkedArray, wanted: pa.Field) -> pa.Array:
        array = converted_column(column, wanted.type, self.options)
        if array is None:
            raise DirtyError(columns=[wanted.name])
        return array

    def _read_typed(
        self, block: bytes, lines: int, typed: list[pa.Field], *, infer: bool
    ) -> pa.Table:
        try:
            return arrow_json(block, self._asked_of(typed), infer=infer, lines=lines)
        except UnparsedError as error:
            message = error.message
        columns = [] if "JSON parse error" in message else [f.name for f in typed]
        found = _CHANGED.search(message)
        if found and found.group(1) in self._data.names:
            name = found.group(1)
            columns = [name]
            self._strikes[name] = self._strikes.get(name, 0) + 1
            if self._strikes[name] >= _PATIENCE and self._data.field(name).type == pa.string():
                self._text.add_string(name)
        row = _ROW.search(message)
        raise DirtyError(int(row.group(1)) if row else _suspect(message, block), columns)

    def _notice_fields(
        self, extra: list[str], found: pa.Table | None, convert: Converter
    ) -> list[str]:
        """Act on fields that the schema lacks: stop, or let the exact way do it.

        Returns those to rescue.
        """
        known = {name.lower() for name in field_paths(self._data)}
        new = convert.new_columns(n for n in extra if n.lower() not in known)
        if new and self.options.evolution.stops:
            convert.unknown.update(dict.fromkeys(new))
            convert.stop()
        if self.options.rescued_column is None and self.options.case_sensitive:
            return []
        if not self.options.case_sensitive and len(new) < len(extra):
            raise IntricateError
        if found is not None and not has_values(found, extra):
            return []
        top = set(found.schema.names) if found is not None else set()
        if any("." in name and name not in top for name in extra):
            raise IntricateError
        return extra

    def _assemble(self, columns: dict[str, Any], rescued: pa.Array | None, count: int) -> pa.Table:
        arrays = []
        for f in self.schema:
            if f.name == self.options.rescued_column and rescued is not None:
                arrays.append(rescued)
            elif f.name in self._hidden:
                arrays.append(pa.nulls(count, f.type))
            else:
                arrays.append(columns[f.name])
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def _from_text(self, texts: pa.Array, column: pa.Field) -> pa.Array:
        if column.type == pa.string():
            return texts
        convert = Converter(pa.schema([column]), self.options, "")
        values: list[Any] = []
        for text in texts.to_pylist():
            if text is None:
                values.append(None)
                continue
            try:
                value, leftover = convert.value(parse(text), column)
            except ValueError:
                raise DirtyError from None
            if leftover is not ABSENT or convert.unknown:
                raise DirtyError
            values.append(value)
        return pa.array(values, column.type)


def _suspect(message: str, block: bytes) -> int | None:
    """The first line with the value that the parser complains of; reading it exactly does no harm."""
    value = _VALUE.search(message)
    at = block.find(value.group(1).encode()) if value else -1
    return None if at < 0 else block.count(b"\n", 0, at)


def _lines(block: bytes) -> tuple[list[int], list[int]]:
    """Where the block's lines begin and end, blank ones left out."""
    at = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n")) + 1
    ends = at.tolist()
    if not block.endswith(b"\n"):
        ends.append(len(block))
    starts = [0, *ends[:-1]]
    kept = [(s, e) for s, e in zip(starts, ends, strict=True) if block[s:e].strip(b" \t\r\n")]
    return [s for s, _ in kept], [e for _, e in kept]


def array_lines(data: bytes) -> bytes | None:
    """The elements of a top-level array as lines; None when it is not an array of objects."""
    if data.lstrip()[:1] != b"[":
        return None
    try:
        items = parse(data.decode("utf-8"))
    except (UnicodeDecodeError, ValueError):
        return None
    if not all(isinstance(item, dict) for item in items):
        return None
    return "".join(f"{dump(item)}\n" for item in items).encode()
