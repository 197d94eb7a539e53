"""Rows as text that means one thing only, so that equal hashes mean equal rows.

Every value is written with a tag for its type; what can vary in length carries its length; NULL is a
tag of its own. Two values that mean the same are written the same:

* integers and decimals by their value: 5, 5.0 and 5.00 are one number,
* -0.0 is 0.0, and there is one NaN,
* timestamps as microseconds since 1970 in UTC,
* maps with their entries in order, structs with their fields in the order of their names.

A row's shape is the same text with a mark for every finite float, wherever it is nested; the floats
themselves are a list. So rows that differ in floats alone have one shape, and lists of one length.

Where both sides' columns have the same types, values need no text to be compared: they are hashed as they are, which
takes a tenth of the time. The same values are told apart; lists carry their lengths, structs whether they are NULL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import count

import pyarrow as pa

from proa.text import duckdb_identifier, duckdb_literal

BUCKET_BITS = 12


def row_text(columns: Iterable[pa.Field]) -> str:
    """The DuckDB expression for a row's text. The order of `columns` does not matter."""
    parts = [_value(duckdb_identifier(field.name), field.type) for field in _by_name(columns)]
    return f"concat('', {', '.join(parts)})" if parts else "''"


def row_shape(columns: Iterable[pa.Field]) -> str:
    """The DuckDB expression for a row's text without the values of its finite floats."""
    parts = [
        _value(duckdb_identifier(field.name), field.type, shape=True) for field in _by_name(columns)
    ]
    return f"concat('', {', '.join(parts)})" if parts else "''"


def row_floats(columns: Iterable[pa.Field]) -> str:
    """The DuckDB expression for the finite floats of a row, a DOUBLE[], in an order that its shape fixes."""
    return _concatenate(
        _floats(duckdb_identifier(field.name), field.type, count()) for field in _by_name(columns)
    )


def has_floats(kind: pa.DataType) -> bool:
    """Whether values of a type hold floats, at any depth."""
    if pa.types.is_map(kind):
        return has_floats(kind.item_type)
    if pa.types.is_nested(kind):
        return any(has_floats(kind.field(n).type) for n in range(kind.num_fields))
    return bool(pa.types.is_floating(kind))


def hash_halves(columns: Iterable[pa.Field], *, typed: bool) -> tuple[str, str]:
    """The DuckDB expressions for the two halves of a row's 128-bit hash, each a UBIGINT.

    `typed`: values are hashed as they are, so that hashes can be compared where the other side's columns have
    the same types. Else the row's text is hashed.
    """
    fields = _by_name(columns)
    if not typed:
        text = row_text(fields)
        return f"md5_number_upper({text})", f"md5_number_lower({text})"
    names = count()
    parts = [
        part
        for field in fields
        for part in _typed_parts(duckdb_identifier(field.name), field.type, names)
    ] or ["0"]
    # Two hashes of half of the row each, which the engine computes once, make both. What combines hashes is weak
    # by itself (sums of two rows that have swapped values might be the same), so it is hashed again.
    first, second = (f"hash({', '.join(parts[start::2])})" for start in (0, len(parts) > 1))
    return f"hash(hash({first}, {second}))", f"hash(hash({second}, {first}), 1)"


def row_hash(columns: Iterable[pa.Field], *, typed: bool) -> str:
    """The DuckDB expression for a row's 128-bit hash, a UHUGEINT; see `hash_halves`."""
    high, low = hash_halves(columns, typed=typed)
    return f"((CAST({high} AS UHUGEINT) << 64) | CAST({low} AS UHUGEINT))"


def _typed_parts(value: str, kind: pa.DataType, names: Iterator[int]) -> list[str]:
    """Arguments for hash() that tell apart what `_value` would write differently."""
    if pa.types.is_null(kind):
        return []
    if any(is_kind(kind) for is_kind, _ in _SCALARS):
        return [value]
    if pa.types.is_nested(kind):
        return _typed_nested(value, kind, names)
    return [f"CAST({value} AS VARCHAR)"]


def _typed_nested(value: str, kind: pa.DataType, names: Iterator[int]) -> list[str]:
    if pa.types.is_struct(kind):
        parts = [f"{value} IS NULL"]
        for field in _by_name(kind):
            parts += _typed_parts(f"{value}[{duckdb_literal(field.name)}]", field.type, names)
        return parts
    item = f"x{next(names)}"
    if pa.types.is_map(kind):
        entry = [
            *_typed_parts(f"{item}['key']", kind.key_type, names),
            *_typed_parts(f"{item}['value']", kind.item_type, names),
        ]
        hashes = f"list_transform(map_entries({value}), lambda {item}: hash({', '.join(entry)}))"
        return [f"cardinality({value})", f"list_sort({hashes})"]
    held = _typed_parts(item, kind.value_type, names) or ["0"]
    if held == [item]:
        return [f"len({value})", value]
    return [f"len({value})", f"list_transform({value}, lambda {item}: hash({', '.join(held)}))"]


def _by_name(fields: Iterable[pa.Field]) -> list[pa.Field]:
    return sorted(fields, key=lambda field: field.name)


def _value(
    value: str, kind: pa.DataType, names: Iterator[int] | None = None, *, shape: bool = False
) -> str:
    """Arguments for concat() that write `value`; concat() takes NULL for nothing."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
        value = f"CAST({value} AS VARCHAR)" if _is_text(kind) else value
    if shape and pa.types.is_floating(kind):
        return _float_shape(value)
    for is_kind, write in _SCALARS:
        if is_kind(kind):
            return write(value, kind)
    return _nested_hash(value, kind, count() if names is None else names, shape=shape)


def _boolean(value: str, _kind: pa.DataType) -> str:
    return f"CASE {value} WHEN true THEN 'B1' WHEN false THEN 'B0' ELSE 'N' END"


def _integer(value: str, _kind: pa.DataType) -> str:
    return f"'i', coalesce(CAST({value} AS VARCHAR), 'N'), ';'"


def _decimal(value: str, kind: pa.DataType) -> str:
    text = f"CAST({value} AS VARCHAR)"
    if kind.precision > 18 and kind.scale <= 17:
        # Most wide decimals hold small numbers, whose text is ten times as fast to make.
        most = 10 ** (17 - kind.scale)
        small = f"CAST(CAST({value} AS DECIMAL(18, {kind.scale})) AS VARCHAR)"
        text = f"CASE WHEN {value} > -{most} AND {value} < {most} THEN {small} ELSE {text} END"
    if kind.scale > 0:
        text = f"rtrim(rtrim({text}, '0'), '.')"
    return f"'i', coalesce({text}, 'N'), ';'"


def _float(value: str, _kind: pa.DataType) -> str:
    number = f"CAST({value} AS DOUBLE)"
    text = f"CASE WHEN isnan({number}) THEN 'nan' ELSE CAST({number} + 0.0 AS VARCHAR) END"
    return f"'f', coalesce({text}, 'N'), ';'"


def _float_shape(value: str) -> str:
    number = f"CAST({value} AS DOUBLE)"
    text = f"CASE WHEN isfinite({number}) THEN '~' ELSE CAST({number} AS VARCHAR) END"
    return f"'f', coalesce({text}, 'N'), ';'"


def _text(value: str, _kind: pa.DataType) -> str:
    return f"'s', coalesce(strlen({value}), -1), ':', {value}"


def _timestamp(value: str, kind: pa.DataType) -> str:
    tag = "t" if kind.tz is None else "T"
    unit = "epoch_ns" if kind.unit == "ns" and kind.tz is None else "epoch_us"
    return f"'{tag}', coalesce(CAST({unit}({value}) AS VARCHAR), 'N'), ';'"


def _date(value: str, _kind: pa.DataType) -> str:
    return f"'d', coalesce(CAST(epoch_us(CAST({value} AS TIMESTAMP)) AS VARCHAR), 'N'), ';'"


def _bytes(value: str, _kind: pa.DataType) -> str:
    return f"'x', coalesce(octet_length({value}), -1), ':', hex({value})"


def _is_text(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    )


_SCALARS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[str, pa.DataType], str]], ...] = (
    (pa.types.is_null, lambda _value, _kind: "'N'"),
    (pa.types.is_boolean, _boolean),
    (pa.types.is_integer, _integer),
    (pa.types.is_decimal, _decimal),
    (pa.types.is_floating, _float),
    (_is_text, _text),
    (pa.types.is_timestamp, _timestamp),
    (pa.types.is_date, _date),
    (_is_bytes, _bytes),
)


def _nested_hash(value: str, kind: pa.DataType, names: Iterator[int], *, shape: bool) -> str:
    types = pa.types
    if types.is_struct(kind):
        fields = ", ".join(
            _value(f"{value}[{duckdb_literal(field.name)}]", field.type, names, shape=shape)
            for field in _by_name(kind)
        )
        return f"CASE WHEN {value} IS NULL THEN 'N' ELSE concat('{{', {fields}, '}}') END"
    item = f"x{next(names)}"
    if types.is_map(kind):
        key = _value(f"{item}['key']", kind.key_type, names)
        held = _value(f"{item}['value']", kind.item_type, names, shape=shape)
        items = (
            f"list_sort(list_transform(map_entries({value}), lambda {item}: concat({key}, {held})))"
        )
        return _items(value, items, f"cardinality({value})")
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        items = f"list_transform({value}, lambda {item}: concat({_value(item, kind.value_type, names, shape=shape)}))"
        return _items(value, items, f"len({value})")
    text = f"CAST({value} AS VARCHAR)"
    return f"'?', coalesce(strlen({text}), -1), ':', {text}"


def _floats(value: str, kind: pa.DataType, names: Iterator[int]) -> str:
    """A DOUBLE[] of the finite floats in `value`."""
    types = pa.types
    if not has_floats(kind):
        return _NO_FLOATS
    if types.is_floating(kind):
        number = f"CAST({value} AS DOUBLE)"
        return f"CASE WHEN isfinite({number}) THEN [{number}] ELSE {_NO_FLOATS} END"
    if types.is_struct(kind):
        return _concatenate(
            _floats(f"{value}[{duckdb_literal(field.name)}]", field.type, names)
            for field in _by_name(kind)
        )
    item = f"x{next(names)}"
    if types.is_map(kind):
        key = _value(f"{item}['key']", kind.key_type, names)
        held = _floats(f"{item}['value']", kind.item_type, names)
        # Sorted as the entries' texts are: by their keys, of which no two are the same.
        entry = f"{{'k': concat({key}), 'v': {held}}}"
        entries = f"list_sort(list_transform(map_entries({value}), lambda {item}: {entry}))"
        last = f"x{next(names)}"
        items = f"list_transform({entries}, lambda {last}: {last}['v'])"
    else:
        held = _floats(item, kind.value_type, names)
        items = f"list_transform({value}, lambda {item}: {held})"
    return f"coalesce(flatten({items}), {_NO_FLOATS})"


def _concatenate(lists: Iterable[str]) -> str:
    parts = [part for part in lists if part != _NO_FLOATS]
    return f"list_concat({', '.join(parts)})" if parts else _NO_FLOATS


_NO_FLOATS = "CAST([] AS DOUBLE[])"


def _items(value: str, items: str, length: str) -> str:
    joined = f"array_to_string({items}, '')"
    return f"CASE WHEN {value} IS NULL THEN 'N' ELSE concat('[', {length}, ':', {joined}) END"
