"""Files that hold columns, and whose schemas differ: columns by name, what does not fit rescued.

Files are opened in a module for each format.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from pyspark.sql import types as t

from proa.formats.arrow_types import (
    count_leaves,
    field_paths,
    spark_type,
    unknown_fields,
    widen_type,
)
from proa.formats.json_record import Converter
from proa.formats.problems import ProblemKind
from proa.formats.reader_options import CELLS, Evolution, ReaderOptions
from proa.formats.rescued import rescued_column
from proa.formats.source import OpenPart
from proa.lazy import compute as pc

BATCH_ROWS = 65_536
"""Rows that are read at once, at most."""
_MOST_RECORDS, _BOMB = 128, 1000
"""A file that expands to so many of the largest records, and so many times its size, is refused."""
MOST_SWELLING = 100
"""How many times its size in the file a column may take in memory before its rows are looked at."""


@dataclass(frozen=True)
class ColumnFile:
    """One file, open for reading."""

    schema: pa.Schema
    batches: Callable[[list[str] | None], Iterator[pa.RecordBatch]]
    """Takes the names of the columns to read, None for all; more than these may come."""


OpenFile = Callable[[OpenPart, ReaderOptions], AbstractContextManager[ColumnFile]]
"""Opens one file for a while. What is wrong with it is raised as `ReadError`."""


def infer_columns(source: OpenPart, options: ReaderOptions, open_file: OpenFile) -> t.StructType:
    """The struct of the file's columns."""
    with open_file(source, options) as opened:
        fields = [t.StructField(f.name, spark_type(f.type)) for f in opened.schema]
    return t.StructType(fields)


class ColumnReader:
    """Reads the parts that one worker task has been given into `schema`."""

    def __init__(self, schema: pa.Schema, options: ReaderOptions, open_file: OpenFile) -> None:
        self.schema = schema
        self._open_file = open_file
        self.options = options
        self._data = [f for f in schema if f.name != options.rescued_column]
        self._most_rows = max(CELLS // max(count_leaves(schema), 1), 1)
        self._connection: Any = None

    def read(self, source: OpenPart, file: str) -> Iterator[pa.Table]:
        """The rows of one file; `file` is its path relative to the folder that is loaded."""
        convert = Converter(self.schema, self.options, file, source.part.path)
        with self._open_file(source, self.options) as opened:
            wanted = self._columns(opened.schema, convert)
            size = 0
            for batch in opened.batches(wanted):
                size += batch.nbytes
                if size > max(_MOST_RECORDS * self.options.max_record, _BOMB * source.part.size):
                    detail = f"its {source.part.size} bytes expand to more than {size >> 20} MiB"
                    raise source.problem(ProblemKind.LARGE, detail)
                for at in range(0, len(batch), self._most_rows):
                    some = batch.slice(at, self._most_rows)
                    yield self._table(_with_valid_texts(some), file)

    def _columns(self, found: pa.Schema, convert: Converter) -> list[str] | None:
        """The columns to read, None for all. Stops at new fields when the mode says so."""
        extra = unknown_fields(found, self._data)
        known = {name.lower() for name in field_paths(self._data)}
        new = convert.new_columns(n for n in extra if n.lower() not in known)
        if new and self.options.evolution.stops:
            convert.unknown.update(dict.fromkeys(new))
            convert.stop()
        if self.options.evolution is Evolution.WIDEN:
            self._widen(found, convert)
        if self.options.rescued_column is not None:
            return None
        lowered = {f.name.lower() for f in self._data}
        return [name for name in found.names if name.lower() in lowered]

    def _widen(self, found: pa.Schema, convert: Converter) -> None:
        for f in self._data:
            if f.name in found.names and f.name.lower() not in self.options.pinned:
                old, new = spark_type(f.type), spark_type(found.field(f.name).type)
                if widen_type(old, new) != old:
                    convert.widen(f.name, found.field(f.name).type)

    def _table(self, batch: pa.RecordBatch, file: str) -> pa.Table:
        places = {name: i for i, name in reversed(list(enumerate(batch.schema.names)))}
        if not self.options.case_sensitive:
            folded = {name.lower(): i for name, i in places.items()}
            for f in self._data:
                places.setdefault(f.name, folded.get(f.name.lower(), -1))
        arrays: dict[str, Any] = {}
        left: dict[str, pa.Array] = {}
        used: set[int] = set()
        for f in self._data:
            at = places.get(f.name, -1)
            if at < 0:
                arrays[f.name] = pa.nulls(len(batch), f.type)
                continue
            used.add(at)
            arrays[f.name], rest = fit(batch.column(at), f.type)
            if rest is not None:
                self._check_kept(f, batch.column(at).type)
                left[batch.schema.names[at]] = rest
        rescued = self.options.rescued_column
        if rescued is not None:
            left |= {n: batch.column(i) for i, n in enumerate(batch.schema.names) if i not in used}
            arrays[rescued] = self._rescue(left, len(batch), file)
        return pa.Table.from_arrays([arrays[f.name] for f in self.schema], schema=self.schema)

    def _check_kept(self, column: pa.Field, found: pa.DataType) -> None:
        if self.options.rescued_column is None:
            there, here = spark_type(found).simpleString(), spark_type(column.type).simpleString()
            raise pa.ArrowInvalid(
                f"its column {column.name!r} has the type {there}, and {here} is wanted; give it"
                " that type, or name a rescuedDataColumn to keep such values"
            )

    def _rescue(self, left: dict[str, pa.Array], count: int, file: str) -> pa.Array:
        found = {name: values for name, values in left.items() if values.null_count < count}
        return rescued_column([(n, self._json(found[n])) for n in found], count, file)

    def _json(self, values: pa.Array) -> pa.Array:
        """Each value as JSON; nested ones as JSON text."""
        if self._connection is None:
            self._connection = duckdb.connect(config={"threads": 1})
            self._connection.execute("SET TimeZone = 'UTC'")
        if _is_bytes(values.type):
            values, expression = values.cast(pa.binary()), "to_json(base64(v))"
        elif pa.types.is_nested(values.type):
            expression = "to_json(to_json(v)::VARCHAR)"
        else:
            expression = "to_json(v)"
        query = f"SELECT CASE WHEN v IS NOT NULL THEN {expression}::VARCHAR END FROM left_over"  # noqa: S608 - one of three expressions
        try:
            self._connection.register("left_over", pa.table({"v": values}))
            found = self._connection.sql(query).to_arrow_table().column(0).combine_chunks()
            self._connection.unregister("left_over")
        except duckdb.Error:
            return _json_of_odd_type(values)
        array = pa.concat_arrays(found.chunks) if isinstance(found, pa.ChunkedArray) else found
        return array.cast(pa.string())


def _is_bytes(type_: pa.DataType) -> bool:
    kinds = pa.types
    return bool(
        kinds.is_binary(type_)
        or kinds.is_large_binary(type_)
        or kinds.is_fixed_size_binary(type_)
        or kinds.is_binary_view(type_)
    )


def _json_of_odd_type(values: pa.Array) -> pa.Array:
    """Values of a type that DuckDB does not know, as JSON: numbers as they are, others as text."""
    nested = pa.types.is_nested(values.type)
    texts = []
    for value in values.to_pylist():
        text = None if value is None else json.dumps(value, default=str, ensure_ascii=False)
        texts.append(json.dumps(text, ensure_ascii=False) if nested and text is not None else text)
    return pa.array(texts, pa.string())


def _with_valid_texts(batch: pa.RecordBatch) -> pa.RecordBatch:
    r"""The batch with `\\xhh` for bytes that are not UTF-8; ArrowInvalid when such texts are nested."""
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid:
        columns = [_valid_texts(column) for column in batch.columns]
        batch = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
        batch.validate(full=True)
    return batch


def _valid_texts(values: pa.Array) -> pa.Array:
    kinds = pa.types
    if not (kinds.is_string(values.type) or kinds.is_large_string(values.type)):
        return values
    raw = values.view(pa.binary() if kinds.is_string(values.type) else pa.large_binary())
    texts = [None if v is None else v.decode("utf-8", "backslashreplace") for v in raw.to_pylist()]
    return pa.array(texts, pa.string())


def fit(array: pa.Array, type_: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    """(the values as the type, what of them does not fit or None when all does)."""
    kinds = pa.types
    if array.type == type_:
        return array, None
    if kinds.is_dictionary(array.type):
        return fit(array.dictionary_decode(), type_)
    if array.offset and kinds.is_nested(array.type):
        array = pa.concat_arrays([array, array.slice(0, 0)])
    if kinds.is_struct(array.type) and kinds.is_struct(type_):
        return _fit_struct(array, type_)
    if kinds.is_list(array.type) and kinds.is_list(type_):
        values, rest = fit(array.values, type_.value_type)
        mask = array.is_null() if array.null_count and array.offset == 0 else None
        fitted = pa.ListArray.from_arrays(array.offsets, values, type=type_, mask=mask)
        return fitted, None if rest is None else array
    if kinds.is_time(array.type):
        array = array.view(pa.int32() if array.type.bit_width == 32 else pa.int64())
    if _widens(array.type, type_):
        try:
            # Nanoseconds are cut to microseconds, as in Spark; no other value may change.
            options = pc.CastOptions(target_type=type_, allow_time_truncate=True)
            return pc.cast(array, options=options), None
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass
    return pa.nulls(len(array), type_), array if array.null_count < len(array) else None


def _fit_struct(array: pa.Array, type_: pa.DataType) -> tuple[pa.Array, pa.Array | None]:
    children = {f.name: array.field(i) for i, f in enumerate(array.type)}
    fitted = []
    left: dict[str, pa.Array] = {}
    for f in type_:
        if f.name not in children:
            fitted.append(pa.nulls(len(array), f.type))
            continue
        values, rest = fit(children.pop(f.name), f.type)
        fitted.append(values)
        if rest is not None:
            left[f.name] = rest
    left |= {n: values for n, values in children.items() if values.null_count < len(values)}
    whole = pa.StructArray.from_arrays(fitted, fields=list(type_), mask=array.is_null())
    if not left:
        return whole, None
    empty = pa.array([True] * len(array))
    for values in left.values():
        empty = pc.and_(empty, values.is_null())
    rest = pa.StructArray.from_arrays(
        list(left.values()), names=list(left), mask=pc.or_(array.is_null(), empty)
    )
    return whole, rest


def _widens(old: pa.DataType, new: pa.DataType) -> bool:
    """Whether every value of one type is, exactly, a value of the other."""
    kinds = pa.types
    integer = kinds.is_integer(old)
    widens = {
        kinds.is_string: kinds.is_large_string(old)
        or kinds.is_string_view(old)
        or kinds.is_decimal256(old),
        kinds.is_binary: _is_bytes(old),
        kinds.is_integer: integer,
        kinds.is_floating: kinds.is_floating(old) or (integer and old.bit_width <= 32),
        kinds.is_decimal: integer or kinds.is_decimal(old),
        kinds.is_timestamp: kinds.is_timestamp(old) or kinds.is_date(old),
        kinds.is_date: kinds.is_date(old),
        kinds.is_list: kinds.is_large_list(old) or kinds.is_fixed_size_list(old),
        kinds.is_map: kinds.is_map(old),
    }
    return any(found for is_kind, found in widens.items() if is_kind(new))


def in_utc(type_: pa.DataType) -> pa.DataType:
    """The type with every time in microseconds and in UTC: files have it as a clock shows it."""
    kinds = pa.types
    if kinds.is_timestamp(type_):
        return pa.timestamp("us", "UTC")
    if kinds.is_struct(type_):
        return pa.struct([f.with_type(in_utc(f.type)) for f in type_])
    if kinds.is_map(type_):
        return pa.map_(in_utc(type_.key_type), in_utc(type_.item_type))
    if kinds.is_list(type_):
        return pa.list_(in_utc(type_.value_type))
    return type_


def change_types(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with its columns of the types that the schema, which may have more, gives them."""
    names = batch.schema.names
    fields = list(schema) if names == schema.names else [schema.field(name) for name in names]
    arrays = [change_type(column, f.type) for column, f in zip(batch.columns, fields, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def change_type(array: pa.Array, type_: pa.DataType) -> pa.Array:
    """The array as a type of the same shape. ArrowInvalid if a value does not fit.

    Bytes become decimals as Avro writes them; times are cut to microseconds.
    """
    kinds = pa.types
    if array.type == type_:
        return array
    if array.offset and kinds.is_nested(type_):
        array = pa.concat_arrays([array, array.slice(0, 0)])
    if kinds.is_struct(type_):
        fields = [change_type(array.field(i), f.type) for i, f in enumerate(type_)]
        return pa.StructArray.from_arrays(fields, fields=list(type_), mask=array.is_null())
    mask = array.is_null() if array.null_count else None
    if kinds.is_list(type_):
        values = change_type(array.values, type_.value_type)
        return pa.ListArray.from_arrays(array.offsets, values, type=type_, mask=mask)
    if kinds.is_map(type_):
        keys, items = (
            change_type(array.keys, type_.key_type),
            change_type(array.items, type_.item_type),
        )
        return pa.MapArray.from_arrays(array.offsets, keys, items, type=type_, mask=mask)
    if kinds.is_decimal(type_) and kinds.is_binary(array.type):
        return _decimals_of_bytes(array, type_)
    if array.type == pa.timestamp("us"):
        array = _mend_far_years(array)
    return pc.cast(array, options=pc.CastOptions(target_type=type_, allow_time_truncate=True))


def _decimals_of_bytes(array: pa.Array, type_: pa.DataType) -> pa.Array:
    """Whole numbers in two's complement, the highest byte first, as decimals of the type's scale."""
    numbers = (int.from_bytes(value or b"", signed=True) for value in array.to_pylist())
    body = b"".join(number.to_bytes(16, "little", signed=True) for number in numbers)
    decimals = pa.Array.from_buffers(type_, len(array), [None, pa.py_buffer(body)])
    decimals.validate(full=True)
    return pc.if_else(array.is_valid(), decimals, pa.scalar(None, type_))


_FIRST_DAY = -2_440_588 * 86_400_000_000
"""Microseconds of the first Julian day: before it no time of 96 bits can be."""
_MISREAD = (2**32 * 86_400_000_000 + 2**64 // 1000) % 2**64
"""What Arrow's reading adds, without a carry, where day and nanoseconds are negative."""


def _mend_far_years(array: pa.Array) -> pa.Array:
    """The times, as Spark means them, of which Arrow makes others.

    Spark writes times of 96 bits after the year 287000 with a negative day and negative
    nanoseconds, which Arrow takes for large ones.
    """
    first = pc.min(array).cast(pa.int64()).as_py()
    if first is None or first >= _FIRST_DAY:
        return array
    numbers = np.asarray(pc.fill_null(array.cast(pa.int64()), 0)).astype(np.uint64)
    meant = (numbers - np.uint64(_MISREAD)).astype(np.int64)
    far = pa.array(meant, pa.int64()).cast(array.type)
    late = pc.less(array.cast(pa.int64()), _FIRST_DAY)
    return pc.if_else(late, far, array)
