"""The fields and types of a file of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa
from pyarrow import json as pj
from pyspark.sql import types as t

from proa.autoloader.options import ReaderOptions
from proa.autoloader.readers.exact import Number, parse
from proa.autoloader.readers.json import array_lines
from proa.autoloader.readers.source import Source, is_utf8
from proa.autoloader.readers.texts import Lines
from proa.autoloader.types import merge, merge_structs


def infer_json(
    source: Source, options: ReaderOptions, *, types: bool, pinned: frozenset[str]
) -> t.StructType:
    """The struct of all records. Records that are malformed say nothing.

    Without `types` every field is a string.
    """
    merged = t.StructType()
    with duckdb.connect(config={"threads": 1}) as connection:
        for block in _blocks(source, options):
            merged = merge_structs(merged, _block(connection, block, types=types, pinned=pinned))
    return merged


def _blocks(source: Source, options: ReaderOptions) -> Iterator[bytes]:
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


def _block(connection: Any, block: bytes, *, types: bool, pinned: frozenset[str]) -> t.StructType:
    if not is_utf8(block):
        block = block.decode("utf-8", "replace").encode()
    connection.register("lines", pa.table({"line": Lines(block).array}))
    try:
        names = _names(connection)
        wanted = {name for name in names if name.lower() not in pinned}
        if not types or not wanted:
            return t.StructType([t.StructField(name, t.StringType()) for name in sorted(names)])
        return _by_arrow(block) or _structures(connection)
    finally:
        connection.unregister("lines")


def _by_arrow(block: bytes) -> t.StructType | None:
    """The types as Arrow's parser sees them; None when a field has several, or a line is bad."""
    try:
        table = pj.read_json(
            pa.BufferReader(block),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(block) + 1),
        )
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError):
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


_OBJECTS = "(SELECT line FROM lines WHERE json_valid(line) AND json_type(line) = 'OBJECT')"


def _names(connection: Any) -> set[str]:
    query = "SELECT DISTINCT unnest(json_keys(line)) FROM {}"
    try:
        rows = connection.sql(query.format("lines")).fetchall()
    except duckdb.InvalidInputException:
        rows = connection.sql(query.format(_OBJECTS)).fetchall()
    return {name for (name,) in rows}


def _structures(connection: Any) -> t.StructType:
    query = "SELECT json_structure(line)::VARCHAR AS s, any_value(line) FROM {} GROUP BY s"
    try:
        rows = connection.sql(query.format("lines")).fetchall()
    except duckdb.InvalidInputException:
        rows = connection.sql(query.format(_OBJECTS)).fetchall()
    merged = t.StructType()
    for structure, line in sorted(rows):
        found = json.loads(structure)
        if not isinstance(found, dict):
            continue
        # A mixed array or an empty object has no structure in DuckDB's words: look at the value.
        mixed = '"JSON"' in structure
        type_ = value_type(parse(line)) if mixed else _from_structure(found)
        if isinstance(type_, t.StructType):
            merged = merge_structs(merged, type_)
    return merged


_NAMED: dict[str, t.DataType] = {
    "VARCHAR": t.StringType(),
    "BOOLEAN": t.BooleanType(),
    "BIGINT": t.LongType(),
    "UBIGINT": t.LongType(),
    "HUGEINT": t.DecimalType(38, 0),
    "DOUBLE": t.DoubleType(),
    "NULL": t.NullType(),
    "JSON": t.StringType(),
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
