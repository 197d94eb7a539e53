"""Spark's types and Arrow's: how types of one field come together, and which Arrow's parser makes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
from pyspark.sql import types as t

from proa.errors import PipelineError
from proa.formats.date_texts import to_strptime
from proa.formats.reader_options import ReaderOptions
from proa.lazy import compute as pc

_SIMPLE: dict[type[t.DataType], pa.DataType] = {
    t.StringType: pa.string(),
    t.BinaryType: pa.binary(),
    t.BooleanType: pa.bool_(),
    t.ByteType: pa.int8(),
    t.ShortType: pa.int16(),
    t.IntegerType: pa.int32(),
    t.LongType: pa.int64(),
    t.FloatType: pa.float32(),
    t.DoubleType: pa.float64(),
    t.DateType: pa.date32(),
    t.TimestampType: pa.timestamp("us", "UTC"),
    t.TimestampNTZType: pa.timestamp("us"),
}


def arrow_schema(schema: t.StructType) -> pa.Schema:
    """The Arrow schema whose batches the engine takes for `schema`."""
    return pa.schema([pa.field(f.name, arrow_type(f.dataType)) for f in schema.fields])


def arrow_type(type_: t.DataType) -> pa.DataType:
    """PipelineError when files cannot have the type."""
    found = _SIMPLE.get(type(type_))
    if found is not None:
        return found
    if isinstance(type_, (t.VarcharType, t.CharType)):
        return pa.string()
    if isinstance(type_, t.DecimalType):
        return pa.decimal128(type_.precision, type_.scale)
    if isinstance(type_, t.ArrayType):
        return pa.list_(arrow_type(type_.elementType))
    if isinstance(type_, t.MapType):
        return pa.map_(arrow_type(type_.keyType), arrow_type(type_.valueType))
    if isinstance(type_, t.StructType):
        return pa.struct([pa.field(f.name, arrow_type(f.dataType)) for f in type_.fields])
    raise PipelineError(
        f"the type {type_.simpleString()!r} cannot be read from files; read it as string",
        condition="UNSUPPORTED_DATATYPE",
    )


_NARROW_INTEGERS = {pa.uint8(): t.ShortType(), pa.uint16(): t.IntegerType()}
_ARROW_INTEGERS = {
    pa.int8(): t.ByteType(),
    pa.int16(): t.ShortType(),
    pa.int32(): t.IntegerType(),
    pa.int64(): t.LongType(),
    pa.uint32(): t.LongType(),
    pa.uint64(): t.DecimalType(20, 0),
    **_NARROW_INTEGERS,
}


def spark_type(type_: pa.DataType) -> t.DataType:  # noqa: PLR0911 - a table of types
    """The Spark type that holds every value of an Arrow (Parquet) type."""
    if type_ in _ARROW_INTEGERS:
        return _ARROW_INTEGERS[type_]
    kinds = pa.types
    if kinds.is_dictionary(type_):
        return spark_type(type_.value_type)
    if kinds.is_decimal(type_) and type_.precision <= 38:
        return t.DecimalType(type_.precision, type_.scale)
    if kinds.is_floating(type_):
        return t.DoubleType() if type_ == pa.float64() else t.FloatType()
    if kinds.is_timestamp(type_):
        return t.TimestampType() if type_.tz else t.TimestampNTZType()
    if kinds.is_struct(type_):
        return t.StructType([t.StructField(f.name, spark_type(f.type)) for f in type_])
    if kinds.is_map(type_):
        return t.MapType(spark_type(type_.key_type), spark_type(type_.item_type))
    if kinds.is_list(type_) or kinds.is_large_list(type_) or kinds.is_fixed_size_list(type_):
        return t.ArrayType(spark_type(type_.value_type))
    return _other(type_)


def _other(type_: pa.DataType) -> t.DataType:
    kinds = pa.types
    if kinds.is_boolean(type_):
        return t.BooleanType()
    if kinds.is_date(type_):
        return t.DateType()
    binary = (
        kinds.is_binary,
        kinds.is_large_binary,
        kinds.is_fixed_size_binary,
        kinds.is_binary_view,
    )
    if any(is_kind(type_) for is_kind in binary):
        return t.BinaryType()
    if kinds.is_time(type_):
        return t.LongType()
    return t.StringType()


_ORDER = [t.ByteType, t.ShortType, t.IntegerType, t.LongType]


def has_structs(type_: t.DataType | None) -> bool:
    """Whether the type is a struct or an array of structs: values may have more fields than it."""
    if isinstance(type_, t.ArrayType):
        return has_structs(type_.elementType)
    return isinstance(type_, t.StructType)


def merge(
    left: t.DataType, right: t.DataType, hinted: t.DataType | None = None, *, exact: bool = False
) -> t.DataType:
    """The type that values of both types are read as when a schema is inferred.

    Numbers become the wider number; what has nothing in common becomes a string, as in Spark.
    Where a hint says that there are structs, one side alone that has them is the type. `exact` as
    for `merge_structs`.
    """
    if left == right or _counts_alone(left, right, hinted):
        return left
    if _counts_alone(right, left, hinted):
        return right
    if isinstance(left, t.StructType) and isinstance(right, t.StructType):
        return merge_structs(left, right, hinted, exact=exact)
    if isinstance(left, t.ArrayType) and isinstance(right, t.ArrayType):
        element = hinted_element(hinted)
        return t.ArrayType(merge(left.elementType, right.elementType, element, exact=exact))
    if isinstance(left, t.MapType) and isinstance(right, t.MapType):
        value = merge(left.valueType, right.valueType, exact=exact)
        return t.MapType(merge(left.keyType, right.keyType, exact=exact), value)
    return _merge_scalars(left, right)


def _counts_alone(one: t.DataType, other: t.DataType, hinted: t.DataType | None) -> bool:
    """Whether one type decides and the other does not: that of nulls, or not the hinted shape."""
    if isinstance(other, t.NullType):
        return True
    return has_structs(hinted) and type(one) is type(hinted) and type(other) is not type(hinted)


def _merge_scalars(left: t.DataType, right: t.DataType) -> t.DataType:
    if type(left) in _ORDER and type(right) in _ORDER:
        return max((left, right), key=lambda kind: _ORDER.index(type(kind)))
    if isinstance(left, t.NumericType) and isinstance(right, t.NumericType):
        return _decimal(left, right) or t.DoubleType()
    if {type(left), type(right)} <= {t.DateType, t.TimestampType, t.TimestampNTZType}:
        return t.TimestampType()
    return t.StringType()


def _decimal(left: t.DataType, right: t.DataType) -> t.DecimalType | None:
    whole: list[int] = []
    scales: list[int] = []
    for kind in (left, right):
        if isinstance(kind, t.DecimalType):
            whole.append(kind.precision - kind.scale)
            scales.append(kind.scale)
        elif type(kind) in _ORDER:
            whole.append((3, 5, 10, 20)[_ORDER.index(type(kind))])
            scales.append(0)
        else:
            return None
    precision = max(whole) + max(scales)
    return t.DecimalType(precision, max(scales)) if precision <= 38 else None


def hinted_fields(hinted: t.DataType | None) -> dict[str, t.DataType]:
    """The types of the fields of a hinted struct by lower-case name; empty for other types."""
    if not isinstance(hinted, t.StructType):
        return {}
    return {f.name.lower(): f.dataType for f in hinted.fields}


def hinted_element(hinted: t.DataType | None) -> t.DataType | None:
    """The type of the elements of a hinted array; None for other types."""
    return hinted.elementType if isinstance(hinted, t.ArrayType) else None


def merge_structs(
    left: t.StructType,
    right: t.StructType,
    hinted: t.DataType | None = None,
    *,
    exact: bool = False,
) -> t.StructType:
    """The fields of both: those of `left` in their order, then new ones in `right`'s order.

    Unless `exact`, names that differ in case only are one field, spelled as in `left`. Where
    `hinted` has structs, values of other types count for nothing.
    """
    hints = hinted_fields(hinted)
    fields = list(left.fields)

    def key(name: str) -> str:
        return name if exact else name.lower()

    places = {key(f.name): i for i, f in reversed(list(enumerate(fields)))}
    for field in right.fields:
        at = places.get(key(field.name))
        if at is None:
            places[key(field.name)] = len(fields)
            fields.append(field)
        else:
            hint = hints.get(field.name.lower())
            type_ = merge(fields[at].dataType, field.dataType, hint, exact=exact)
            fields[at] = t.StructField(fields[at].name, type_)
    return t.StructType(fields)


def in_order(type_: Any) -> Any:
    """The type with its fields, nested ones too, in the order of their names.

    An inferred schema must not depend on which file was read first.
    """
    if isinstance(type_, t.StructType):
        ordered = sorted(type_.fields, key=lambda f: f.name)
        return t.StructType([t.StructField(f.name, in_order(f.dataType)) for f in ordered])
    if isinstance(type_, t.ArrayType):
        return t.ArrayType(in_order(type_.elementType))
    if isinstance(type_, t.MapType):
        return t.MapType(in_order(type_.keyType), in_order(type_.valueType))
    return type_


_DEEPEST_COLUMN = 32
"""Levels of a column's type. What is nested deeper is a string that holds JSON: engines and table
formats pass schemas on in messages that end at about a hundred levels."""


def settle_type(type_: Any, level: int = 0) -> Any:
    """The type with a string wherever only nulls or empty objects were seen, or nesting is deep."""
    nested = isinstance(type_, (t.StructType, t.ArrayType, t.MapType))
    if isinstance(type_, t.NullType) or type_ == t.StructType():
        return t.StringType()
    if nested and level >= _DEEPEST_COLUMN:
        return t.StringType()
    if isinstance(type_, t.StructType):
        return t.StructType(
            [t.StructField(f.name, settle_type(f.dataType, level + 1)) for f in type_.fields]
        )
    if isinstance(type_, t.ArrayType):
        return t.ArrayType(settle_type(type_.elementType, level + 1))
    if isinstance(type_, t.MapType):
        return t.MapType(
            settle_type(type_.keyType, level + 1), settle_type(type_.valueType, level + 1)
        )
    return type_


_WIDENS: dict[type[t.DataType], tuple[type[t.DataType], ...]] = {
    t.ByteType: (t.ShortType, t.IntegerType, t.LongType, t.DoubleType, t.DecimalType),
    t.ShortType: (t.IntegerType, t.LongType, t.DoubleType, t.DecimalType),
    t.IntegerType: (t.LongType, t.DoubleType, t.DecimalType),
    t.LongType: (t.DecimalType,),
    t.FloatType: (t.DoubleType,),
    t.DateType: (t.TimestampNTZType,),
}


def widen_type(old: t.DataType, new: t.DataType) -> t.DataType:
    """`old`, or `new` where Delta's type widening leads from one to the other."""
    if isinstance(old, t.StructType) and isinstance(new, t.StructType):
        found = {f.name.lower(): f.dataType for f in new.fields}
        found |= {f.name: f.dataType for f in new.fields}
        types = [found.get(f.name, found.get(f.name.lower(), f.dataType)) for f in old.fields]
        return t.StructType(
            [
                t.StructField(f.name, widen_type(f.dataType, type_))
                for f, type_ in zip(old.fields, types, strict=True)
            ]
        )
    if isinstance(old, t.ArrayType) and isinstance(new, t.ArrayType):
        return t.ArrayType(widen_type(old.elementType, new.elementType))
    if isinstance(old, t.DecimalType) and isinstance(new, t.DecimalType):
        wider = new.scale >= old.scale and new.precision - new.scale >= old.precision - old.scale
        return new if wider else old
    return new if type(new) in _WIDENS.get(type(old), ()) else old


def is_parseable(type_: pa.DataType) -> bool:
    """Whether Arrow's JSON parser can make the type, or what `parsed_type` makes of it."""
    kinds = pa.types
    if kinds.is_map(type_) or kinds.is_binary(type_):
        return False
    if kinds.is_struct(type_):
        return all(is_parseable(f.type) for f in type_)
    return not kinds.is_list(type_) or is_parseable(type_.value_type)


def parsed_type(type_: pa.DataType, options: ReaderOptions) -> pa.DataType:
    """The type to ask the parser for: days, and times in the user's own pattern, are strings."""
    kinds = pa.types
    if kinds.is_date(type_) or (kinds.is_timestamp(type_) and options.timestamp_format):
        return pa.string()
    if kinds.is_struct(type_):
        return pa.struct([f.with_type(parsed_type(f.type, options)) for f in type_])
    if kinds.is_list(type_):
        return pa.list_(parsed_type(type_.value_type, options))
    return type_


def unknown_fields(found: pa.Schema, wanted: Iterable[pa.Field]) -> list[str]:
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


def count_leaves(fields: Iterable[pa.Field]) -> int:
    """How many columns of simple values the fields make."""
    return sum(
        count_leaves(f.type.field(i) for i in range(f.type.num_fields)) if f.type.num_fields else 1
        for f in fields
    )


def field_paths(fields: Iterable[pa.Field], prefix: str = "") -> Iterator[str]:
    """Paths of all fields, nested ones too, as `unknown_fields` spells them."""
    for f in fields:
        yield prefix + f.name
        type_ = f.type
        while pa.types.is_list(type_):
            type_ = type_.value_type
        if pa.types.is_struct(type_):
            yield from field_paths(type_, f"{prefix}{f.name}.")


def has_values(table: pa.Table, extra: Iterable[str]) -> bool:
    """Whether one of the fields has a value that is not null; nested fields count as having."""
    names = set(table.schema.names)
    return any(name not in names or table[name].null_count < len(table) for name in extra)


def converted_column(
    column: pa.ChunkedArray, type_: pa.DataType, options: ReaderOptions
) -> pa.Array | None:
    """The column, read as `parsed_type(type_)`, as `type_`; None when a value will not convert."""
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
