"""The fields and types of a file of JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, reduce
from itertools import chain
from typing import Any

import msgspec
import pyarrow as pa
from pyspark.sql import types as t

from proa.formats.arrow_json import UnparsedError, arrow_json, check_objects, is_deep
from proa.formats.arrow_types import hinted_element, hinted_fields, merge, merge_structs
from proa.formats.json_blocks import array_lines
from proa.formats.json_members import Row, UnreadableError, decoded_rows
from proa.formats.json_record import array_objects
from proa.formats.json_values import Number, dump, has_many_values, parse, parse_record
from proa.formats.reader_options import ReaderOptions
from proa.formats.source import OpenPart, is_utf8
from proa.lazy import compute as pc


class JsonInference:
    """Finds the fields of files of JSON, one after the other.

    Without `types` every field is a string; the types of `pinned` names (lower case) are not
    looked at. Records that are malformed say nothing.
    """

    def __init__(
        self,
        options: ReaderOptions,
        *,
        types: bool,
        pinned: frozenset[str],
        hinted: t.StructType | None = None,
    ) -> None:
        """`hinted` has the columns that hints make nested: fields inside them are looked for."""
        self._options = options
        self._types = types
        self._pinned = pinned
        self._hinted = hinted
        self._hints = hinted_fields(hinted)
        self._last: tuple[pa.Schema, t.StructType] | None = None
        """What Arrow's parser found in the last block, and its struct: most blocks are alike."""

    def infer(self, source: OpenPart) -> t.StructType:
        """The struct of all records of one part of a file."""
        return self.infer_blocks(_blocks(source, self._options))

    def infer_blocks(self, blocks: Iterable[bytes]) -> t.StructType:
        """The struct of all records in blocks of lines."""
        merged: t.StructType | None = None
        for block in blocks:
            found = self._block(block)
            merged = (
                found if merged is None else merge_structs(merged, found, self._hinted, exact=True)
            )
        return t.StructType() if merged is None else merged

    def infer_at_once(self, block: bytes) -> t.StructType | None:
        """The struct of all records in a block of lines. Returns None if it takes a closer look."""
        found = _by_arrow(block) if is_utf8(block) else None
        if found is None:
            return None
        if self._last is None or not self._last[0].equals(found):
            self._last = found, self._struct(found)
        return self._last[1]

    def _block(self, block: bytes) -> t.StructType:
        if not is_utf8(block):
            block = block.decode("utf-8", "replace").encode()
        found = self.infer_at_once(block)
        if found is not None:
            return found
        rows = _rows(block)
        names = sorted({name for shape in set(map(tuple, rows)) for name in shape})
        return t.StructType([self._field(name, rows) for name in names])

    def _struct(self, found: pa.Schema) -> t.StructType:
        """What Arrow's parser found, as it is wanted."""
        fields = sorted(found, key=lambda f: f.name)
        return t.StructType(
            [self._as_wanted(t.StructField(f.name, _from_arrow(f.type))) for f in fields]
        )

    def _field(self, name: str, rows: Sequence[Row]) -> t.StructField:
        if not self._looks_at(name):
            return _text(name)
        values = _values([row[name] for row in rows if name in row])
        hint = self._hints.get(name.lower())
        return self._as_wanted(t.StructField(name, column_type(values, hint)))

    def _as_wanted(self, field: t.StructField) -> t.StructField:
        """The field, with strings where no types are asked for."""
        if not self._looks_at(field.name):
            return _text(field.name)
        return field if self._types else t.StructField(field.name, _texts_of(field.dataType))

    def _looks_at(self, name: str) -> bool:
        """Whether the field's type is asked for, not only its name."""
        return name.lower() in self._hints or (self._types and name.lower() not in self._pinned)


def _rows(block: bytes) -> Sequence[Row]:
    """The members of each line that is an object, as they are written."""
    try:
        check_objects(block)
        return decoded_rows(block)
    except (UnparsedError, UnreadableError):
        return [row for line in block.split(b"\n") for row in _line_rows(line)]


def _line_rows(line: bytes) -> Sequence[Row]:
    """The members of the objects in one line: one for an object, several for an array of them."""
    if is_deep(line):
        return []
    try:
        return decoded_rows(line)
    except UnreadableError:
        pass
    text = line.decode().strip("\r\n\ufeff")
    try:
        record = parse_record(text)
        if record is not None:
            return [{name: msgspec.Raw(value) for name, value in record.raw.items()}]
        items = array_objects(parse(text))
    except ValueError:
        return []
    return [{name: msgspec.Raw(dump(value)) for name, value in item.items()} for item in items]


def _values(texts: Sequence[msgspec.Raw]) -> list[Any]:
    """The values of JSON texts as Python's own; numbers that these do not hold as `Number`.

    Texts of too many values say nothing.
    """
    texts = [text for text in texts if not has_many_values(text)]
    try:
        values: list[Any] = msgspec.json.decode(b"[" + b",".join(texts) + b"]")
    except msgspec.DecodeError:
        return [parse(bytes(text).decode()) for text in texts]
    return values


def _blocks(source: OpenPart, options: ReaderOptions) -> Iterator[bytes]:
    if not options.multi_line:
        yield from source.lines()
        return
    for data, has_lines in source.documents():
        items = data if has_lines else array_lines(data)
        if items is None:
            try:
                items = dump(parse(data.decode("utf-8", "replace"))).encode()
            except ValueError:
                return
        if items:
            yield items


def _texts_of(type_: t.DataType) -> t.DataType:
    """The type with a string for each simple type in it."""
    if isinstance(type_, t.StructType):
        return t.StructType([t.StructField(f.name, _texts_of(f.dataType)) for f in type_.fields])
    return t.ArrayType(_texts_of(type_.elementType)) if isinstance(type_, t.ArrayType) else _STRING


_STRING = t.StringType()


def _text(name: str) -> t.StructField:
    return t.StructField(name, t.StringType())


def _by_arrow(block: bytes) -> pa.Schema | None:
    """Fields and types as Arrow's parser sees them, names and types in one go.

    None when a field has several types, or a line is bad.
    """
    try:
        table = arrow_json(block)
    except UnparsedError:
        return None
    # The parser takes whole numbers that no bigint holds for doubles.
    if any(_has_large_numbers(column) for column in table.columns):
        return None
    return table.schema


def _has_large_numbers(values: pa.ChunkedArray | pa.Array) -> bool:
    """Whether a double in the column, or nested in it, is beyond the range of a bigint."""
    if not _has_doubles(values.type):
        return False
    if pa.types.is_floating(values.type):
        largest = pc.max(pc.abs(values)).as_py()
        return largest is not None and largest >= 2.0**63
    chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
    if pa.types.is_struct(values.type):
        return any(_has_large_numbers(part) for chunk in chunks for part in chunk.flatten())
    return any(_has_large_numbers(chunk.flatten()) for chunk in chunks)


@lru_cache(maxsize=1024)
def _has_doubles(type_: pa.DataType) -> bool:
    if pa.types.is_nested(type_):
        return any(_has_doubles(type_.field(i).type) for i in range(type_.num_fields))
    return bool(pa.types.is_floating(type_))


def _from_arrow(type_: pa.DataType) -> t.DataType:
    kinds = pa.types
    if kinds.is_struct(type_):
        return t.StructType([t.StructField(f.name, _from_arrow(f.type)) for f in type_])
    if kinds.is_list(type_):
        return t.ArrayType(_from_arrow(type_.value_type))
    if kinds.is_null(type_):
        return t.NullType()
    if kinds.is_integer(type_):
        return t.LongType()
    if kinds.is_floating(type_):
        return t.DoubleType()
    return t.BooleanType() if kinds.is_boolean(type_) else t.StringType()


def column_type(values: Sequence[Any], hinted: t.DataType | None = None) -> t.DataType:
    """The type that takes all of a column's JSON values, whatever their order.

    Where `hinted` has structs and some of the values are such, the others count for nothing.
    """
    by_kind: dict[type, list[Any]] = {}
    for kind in sorted(set(map(type, values)), key=lambda kind: kind.__name__):
        by_kind[kind] = [value for value in values if type(value) is kind]
    merged: t.DataType = t.NullType()
    for kind, some in by_kind.items():
        merged = merge(merged, _kind_type(kind, some, hinted), hinted)
    return merged


def _kind_type(kind: type, values: Sequence[Any], hinted: t.DataType | None) -> t.DataType:
    """The type of values that are all of one kind."""
    if issubclass(kind, dict):
        hints = hinted_fields(hinted)
        names = sorted({name for value in values for name in value})
        return t.StructType(
            [
                t.StructField(
                    name,
                    column_type([v[name] for v in values if name in v], hints.get(name.lower())),
                )
                for name in names
            ]
        )
    if kind is list:
        elements = list(chain.from_iterable(values))
        return t.ArrayType(column_type(elements, hinted_element(hinted)))
    if kind is int:
        return _whole(min(values), max(values))
    if kind is Number:
        return reduce(merge, map(_number, values))
    return _SIMPLE.get(kind, t.StringType())


def _whole(*values: int) -> t.DataType:
    """A bigint, or a decimal as Spark takes for larger numbers, or a double for still larger ones."""
    large = [abs(value) for value in values if not -(2**63) <= value < 2**63]
    if not large:
        return t.LongType()
    digits = max(len(str(value)) for value in large)
    if digits > _MOST_DIGITS:
        return t.DoubleType()
    found: t.DataType = t.DecimalType(digits, 0)
    return merge(found, t.LongType()) if len(large) < len(values) else found


def _number(value: Number) -> t.DataType:
    plain = not set(value) & set(".eEnN") and len(value) <= _MOST_DIGITS + 1
    return _whole(int(value)) if plain else t.DoubleType()


_MOST_DIGITS = 38
_SIMPLE: dict[type, t.DataType] = {
    bool: t.BooleanType(),
    float: t.DoubleType(),
    type(None): t.NullType(),
}
