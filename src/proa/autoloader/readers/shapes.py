"""Arrow types as the JSON parser reads them, and what it found beyond the schema."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from proa.autoloader.options import ReaderOptions
from proa.autoloader.readers.times import to_strptime


def parseable(type_: pa.DataType) -> bool:
    """Whether Arrow's JSON parser can make the type, or what `read_as` makes of it."""
    kinds = pa.types
    if kinds.is_map(type_) or kinds.is_binary(type_):
        return False
    if kinds.is_struct(type_):
        return all(parseable(f.type) for f in type_)
    return not kinds.is_list(type_) or parseable(type_.value_type)


def read_as(type_: pa.DataType, options: ReaderOptions) -> pa.DataType:
    """The type to ask the parser for: days, and times in the user's own pattern, are strings."""
    kinds = pa.types
    if kinds.is_date(type_) or (kinds.is_timestamp(type_) and options.timestamp_format):
        return pa.string()
    if kinds.is_struct(type_):
        return pa.struct([f.with_type(read_as(f.type, options)) for f in type_])
    if kinds.is_list(type_):
        return pa.list_(read_as(type_.value_type, options))
    return type_


def unknown(found: pa.Schema, wanted: Iterable[pa.Field]) -> list[str]:
    """Paths of the fields in `found` that `wanted` lacks ("a.b", list elements left out)."""
    known = {f.name: f.type for f in wanted}
    return list(_unknown(found, known, ""))


def _unknown(
    found: Iterable[pa.Field], known: dict[str, pa.DataType], prefix: str
) -> Iterator[str]:
    for f in found:
        if f.name not in known:
            yield prefix + f.name
            continue
        type_, wanted = f.type, known[f.name]
        while pa.types.is_list(type_) and pa.types.is_list(wanted):
            type_, wanted = type_.value_type, wanted.value_type
        if pa.types.is_struct(type_) and pa.types.is_struct(wanted):
            inner = {child.name: child.type for child in wanted}
            yield from _unknown(type_, inner, f"{prefix}{f.name}.")


def paths(fields: Iterable[pa.Field], prefix: str = "") -> Iterator[str]:
    """Paths of all fields, nested ones too, as `unknown` spells them."""
    for f in fields:
        yield prefix + f.name
        type_ = f.type
        while pa.types.is_list(type_):
            type_ = type_.value_type
        if pa.types.is_struct(type_):
            yield from paths(type_, f"{prefix}{f.name}.")


def any_values(table: pa.Table, extra: Iterable[str]) -> bool:
    """Whether one of the fields has a value that is not null; nested fields count as having."""
    names = set(table.schema.names)
    return any(name not in names or table[name].null_count < len(table) for name in extra)


def convert(column: pa.ChunkedArray, type_: pa.DataType, options: ReaderOptions) -> pa.Array | None:
    """The column, read as `read_as(type_)`, as `type_`; None when a value will not convert."""
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    try:
        # Arrow's parser gives decimals that have more digits than their type.
        if _has_decimals(array.type):
            array.validate(full=True)
        return _convert(array, type_, options)
    except pa.ArrowInvalid:
        return None


def _has_decimals(type_: pa.DataType) -> bool:
    if pa.types.is_nested(type_):
        return any(_has_decimals(type_.field(i).type) for i in range(type_.num_fields))
    return bool(pa.types.is_decimal(type_))


def _convert(array: pa.Array, type_: pa.DataType, options: ReaderOptions) -> pa.Array:
    kinds = pa.types
    if array.type == type_:
        return array
    if kinds.is_struct(type_):
        children = {f.name: array.field(i) for i, f in enumerate(array.type)}
        return pa.StructArray.from_arrays(
            [_convert(children[f.name], f.type, options) for f in type_],
            fields=list(type_),
            mask=array.is_null(),
        )
    if kinds.is_list(type_):
        values = _convert(array.values, type_.value_type, options)
        return pa.ListArray.from_arrays(
            array.offsets, values, type=type_, mask=array.is_null() if array.null_count else None
        )
    if kinds.is_date(type_) and options.date_format is not None:
        return pc.strptime(array, to_strptime(options.date_format), "us").cast(type_)
    if kinds.is_timestamp(type_) and options.timestamp_format is not None:
        parsed = pc.strptime(array, to_strptime(options.timestamp_format), "us")
        return parsed.cast(type_) if type_.tz is None else pc.assume_timezone(parsed, type_.tz)
    return array.cast(type_)
