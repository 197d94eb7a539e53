"""The fields and types of a file of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import duckdb
import pyarrow as pa
from pyspark.sql import types as t

from proa.formats.arrow_json import Lines, UnparsedError, arrow_json
from proa.formats.arrow_types import merge, merge_structs
from proa.formats.json_blocks import array_lines
from proa.formats.json_values import Number, parse
from proa.formats.reader_options import ReaderOptions
from proa.formats.source import OpenPart, is_utf8


class JsonInference:
    """Finds the fields of files of JSON, one after the other.

    Without `types` every field is a string; the types of `pinned` names (lower case) are not
    looked at. Records that are malformed say nothing.
    """

    def __init__(self, options: ReaderOptions, *, types: bool, pinned: frozenset[str]) -> None:
        self._options = options
        self._types = types
        self._pinned = pinned

    @cached_property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        return duckdb.connect(config={"threads": 1})

    def infer(self, source: OpenPart) -> t.StructType:
        """The struct of all records of one part of a file."""
        merged = t.StructType()
        for block in _blocks(source, self._options):
            merged = merge_structs(merged, self._block(block))
        return merged

    def _block(self, block: bytes) -> t.StructType:
        if not is_utf8(block):
            block = block.decode("utf-8", "replace").encode()
        found = _by_arrow(block)
        if found is not None:
            fields = sorted(found, key=lambda f: f.name)
            return t.StructType([f if self._looks_at(f.name) else _text(f.name) for f in fields])
        self._connection.register("lines", pa.table({"line": Lines(block).array}))
        try:
            try:
                return self._by_duckdb("lines")
            except (duckdb.InvalidInputException, UnicodeDecodeError):
                # The message cites the line, and may be cut within a character.
                return self._by_duckdb(_OBJECTS)
        finally:
            self._connection.unregister("lines")

    def _looks_at(self, name: str) -> bool:
        """Whether the field's type is asked for, not only its name."""
        return self._types and name.lower() not in self._pinned

    def _by_duckdb(self, lines: str) -> t.StructType:
        query = f"SELECT DISTINCT unnest(json_keys(line)) FROM {lines}"  # noqa: S608 - ours
        rows = self._connection.sql(query)
        names = sorted(name for (name,) in rows.fetchall())
        wanted = [name for name in names if self._looks_at(name)]
        found = self._members(lines, wanted) if wanted else t.StructType()
        return t.StructType([*found.fields, *(_text(n) for n in names if n not in wanted)])

    def _members(self, lines: str, names: list[str]) -> t.StructType:
        """The types of some members of the lines' objects."""
        pointers = ["/" + name.replace("~", "~0").replace("/", "~1") for name in names]
        query = f"""
            SELECT DISTINCT n, mixed, CASE WHEN mixed THEN v ELSE s END AS found
            FROM (SELECT n, v::VARCHAR AS v, json_structure(v)::VARCHAR AS s,
                         s LIKE '%["JSON"]%'
                         OR s LIKE '%UBIGINT%' AND regexp_matches(v, $large) AS mixed
                  FROM (SELECT unnest(range({len(names)})) AS n,
                               unnest(json_extract(line, $pointers)) AS v FROM {lines})
                  WHERE v IS NOT NULL)
            ORDER BY ALL
        """  # noqa: S608 - numbers and our own names
        rows = self._connection.execute(query, {"pointers": pointers, "large": _LARGE}).fetchall()
        types: dict[str, t.DataType] = {}
        for number, mixed, text in rows:
            type_ = value_type(parse(text)) if mixed else _from_structure(json.loads(text))
            types[names[number]] = merge(types.get(names[number], t.NullType()), type_)
        return t.StructType([t.StructField(name, types[name]) for name in names if name in types])


def _blocks(source: OpenPart, options: ReaderOptions) -> Iterator[bytes]:
    if not options.multi_line:
        yield from source.lines()
        return
    data = source.whole()
    if data.strip():
        yield array_lines(data) or json.dumps(_json_or_none(data)).encode()


def _json_or_none(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


_LARGE = r"(^|[:,\[])[0-9]{19}"
"""A number that a bigint may not hold: DuckDB says UBIGINT of it as of small ones."""
_OBJECTS = (
    "(SELECT line FROM (SELECT CASE WHEN json_valid(line) THEN line END AS line FROM lines)"
    " WHERE json_type(line) = 'OBJECT')"
)


def _text(name: str) -> t.StructField:
    return t.StructField(name, t.StringType())


def _by_arrow(block: bytes) -> t.StructType | None:
    """Fields and types as Arrow's parser sees them, names and types in one go.

    None when a field has several types, or a line is bad.
    """
    try:
        table = arrow_json(block)
    except UnparsedError:
        return None
    return t.StructType([t.StructField(f.name, _from_arrow(f.type)) for f in table.schema])


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


_NAMED: dict[str, t.DataType] = {
    "VARCHAR": t.StringType(),
    "BOOLEAN": t.BooleanType(),
    "BIGINT": t.LongType(),
    "UBIGINT": t.LongType(),
    "HUGEINT": t.DecimalType(38, 0),
    "DOUBLE": t.DoubleType(),
    "NULL": t.NullType(),
    "JSON": t.StructType(),  # an empty object; elements of several types are looked at
}


def _from_structure(found: Any) -> t.DataType:
    if isinstance(found, dict):
        return t.StructType([t.StructField(n, _from_structure(v)) for n, v in found.items()])
    if isinstance(found, list):
        return t.ArrayType(_from_structure(found[0]))
    return _NAMED.get(found, t.StringType())


def value_type(value: Any) -> t.DataType:
    """The type of one JSON value."""
    if isinstance(value, dict):
        return t.StructType([t.StructField(n, value_type(v)) for n, v in value.items()])
    if isinstance(value, list):
        element: t.DataType = t.NullType()
        for item in value:
            element = merge(element, value_type(item))
        return t.ArrayType(element)
    if value is None:
        return t.NullType()
    if isinstance(value, bool):
        return t.BooleanType()
    if isinstance(value, Number):
        whole = not set(value) & set(".eEnN")
        return t.LongType() if whole and abs(int(value)) < 2**63 else t.DoubleType()
    return t.StringType()
