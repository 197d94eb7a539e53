"""The shapes of tables: Spark's `StructType`, Delta's and Arrow's schemas, and how they may grow.

Delta writes a schema down as Spark does, so the one is the other's JSON.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
from deltalake import Schema
from pyspark.sql import types as T  # noqa: N812 - the name that Spark's users know it by

from proa.errors import DataError

_WHOLE = {T.ByteType: 3, T.ShortType: 5, T.IntegerType: 10, T.LongType: 20}
"""Whole numbers, narrow to wide, and the decimal digits that each needs."""
WIDENING = "delta.enableTypeWidening"
"""The table property that lets columns take wider types."""
_UNSTORABLE = (T.DayTimeIntervalType, T.YearMonthIntervalType, T.CalendarIntervalType)


def to_delta(schema: T.StructType) -> Schema:
    """The same columns as a Delta schema."""
    return Schema.from_json(schema.json())


def from_delta(schema: Schema) -> T.StructType:
    """The same columns as Spark spells them."""
    return T.StructType.fromJson(json.loads(schema.to_json()))


def to_arrow(schema: T.StructType) -> pa.Schema:
    """The same columns as Arrow spells them."""
    return pa.schema(to_delta(schema).to_arrow())


def storable(schema: T.StructType, dataset: str) -> T.StructType:
    """`schema` as a table keeps it: every column may be NULL, and a column of NULLs is a string.

    `DataError` for two columns of one name and for types that Delta tables cannot hold.
    """
    seen: set[str] = set()
    for field in schema.fields:
        if field.name.lower() in seen:
            raise DataError(
                f"the query of {dataset!r} yields the column {field.name!r} twice;"
                " give each column a name of its own",
                condition="COLUMN_ALREADY_EXISTS",
            )
        seen.add(field.name.lower())
    return T.StructType([_storable_field(field, dataset, field.name) for field in schema.fields])


def merge_schemas(
    table: T.StructType, query: T.StructType, dataset: str, *, widen: bool = False
) -> T.StructType:
    """The table's schema after rows of the query's schema were appended.

    A new column, nested or not, stands behind the one that it follows in the query, so that the order
    is the query's however its rows were cut into batches; it is NULL in older rows. A column that the
    query lacks stays, before new ones. A type may differ only where every value of the query's type is one of the
    table's; with `widen` also the other way round: then the table takes the query's type.
    """
    return _Merge(dataset, widen=widen).structs(table, query, "")


def fitting_schema(declared: T.StructType, query: T.StructType, dataset: str) -> T.StructType:
    """The columns that are declared, once the query's fit them.

    Raises DataError for a column of the query that is not declared, or is declared of another type.
    """
    merged = _Merge(dataset, widen=False, declared=True).structs(declared, query, "")
    if len(merged.fields) > len(declared.fields):
        known = {f.name.lower() for f in declared.fields}
        extra = [f.name for f in query.fields if f.name.lower() not in known]
        raise DataError(
            f"the query of {dataset!r} yields {', '.join(map(repr, extra))}, which"
            " its schema does not name; add them to the schema or drop them in the query",
            condition="USER_SPECIFIED_AND_INFERRED_SCHEMA_NOT_COMPATIBLE",
        )
    return declared


def keeps_types(table: Any, wanted: Any) -> bool:
    """Whether `wanted` only adds columns, so that files of the table's can be read as it."""
    if isinstance(table, T.StructType) and isinstance(wanted, T.StructType):
        new = {field.name.lower(): field.dataType for field in wanted.fields}
        return all(
            f.name.lower() in new and keeps_types(f.dataType, new[f.name.lower()])
            for f in table.fields
        )
    if isinstance(table, T.ArrayType) and isinstance(wanted, T.ArrayType):
        return keeps_types(table.elementType, wanted.elementType)
    if isinstance(table, T.MapType) and isinstance(wanted, T.MapType):
        return keeps_types(table.keyType, wanted.keyType) and keeps_types(
            table.valueType, wanted.valueType
        )
    return bool(table == wanted)


def _storable_field(field: Any, dataset: str, path: str) -> Any:
    return T.StructField(field.name, _storable(field.dataType, dataset, path), True, field.metadata)


def _storable(kind: Any, dataset: str, path: str) -> Any:
    if isinstance(kind, T.NullType):
        return T.StringType()
    if isinstance(kind, (T.CharType, T.VarcharType)):
        return T.StringType()
    if isinstance(kind, T.StructType):
        return T.StructType([_storable_field(f, dataset, f"{path}.{f.name}") for f in kind.fields])
    if isinstance(kind, T.ArrayType):
        return T.ArrayType(_storable(kind.elementType, dataset, path), True)
    if isinstance(kind, T.MapType):
        return T.MapType(
            _storable(kind.keyType, dataset, path), _storable(kind.valueType, dataset, path), True
        )
    if isinstance(kind, _UNSTORABLE):
        raise DataError(
            f"the column {path!r} of {dataset!r} has the type {kind.simpleString()!r}, which a"
            " Delta table cannot hold; cast it in the query",
            condition="UNSUPPORTED_DATATYPE",
        )
    return kind


class _Merge:
    def __init__(self, dataset: str, *, widen: bool, declared: bool = False) -> None:
        """`declared`: the table's schema is the one that its user wrote."""
        self._declared = declared
        self._dataset = dataset
        self._widen = widen

    def structs(self, table: Any, query: Any, path: str) -> Any:
        old = {field.name.lower(): field for field in table.fields}
        new = {field.name.lower(): field for field in query.fields}
        order = [field.name.lower() for field in table.fields]
        place = 0
        for name in new:
            if name in old:
                place = order.index(name) + 1
            else:
                while place < len(order) and order[place] not in new:
                    place += 1
                order.insert(place, name)
                place += 1
        return T.StructType([self._field(old.get(n), new.get(n), path) for n in order])

    def _field(self, old: Any, new: Any, path: str) -> Any:
        if old is None:
            return T.StructField(new.name, new.dataType, True, new.metadata)
        kind = old.dataType
        if new is not None:
            kind = self.types(kind, new.dataType, f"{path}{old.name}")
        return T.StructField(old.name, kind, old.nullable, old.metadata)

    def types(self, table: Any, query: Any, path: str) -> Any:
        if isinstance(table, T.StructType) and isinstance(query, T.StructType):
            return self.structs(table, query, f"{path}.")
        if isinstance(table, T.ArrayType) and isinstance(query, T.ArrayType):
            inner = self.types(table.elementType, query.elementType, f"{path}.element")
            return T.ArrayType(inner, table.containsNull)
        if isinstance(table, T.MapType) and isinstance(query, T.MapType):
            return T.MapType(
                self.types(table.keyType, query.keyType, f"{path}.key"),
                self.types(table.valueType, query.valueType, f"{path}.value"),
                table.valueContainsNull,
            )
        if table == query or fits(query, table):
            return table
        if self._widen and fits(table, query):
            return query
        if self._declared:
            raise DataError(
                f"the column {path!r} of {self._dataset!r} is {table.simpleString()!r} in its schema and"
                f" {query.simpleString()!r} in the query; cast it in the query, or change the schema",
                condition="DELTA_FAILED_TO_MERGE_FIELDS",
            )
        remedy = f", set the table property {WIDENING!r} to true" if fits(table, query) else ""
        raise DataError(
            f"the column {path!r} of {self._dataset!r} is {table.simpleString()!r} in the table and"
            f" {query.simpleString()!r} in the query; cast it in the query{remedy}, or refresh the"
            f" table fully (--full-refresh {self._dataset})",
            condition="DELTA_FAILED_TO_MERGE_FIELDS",
        )


def fits(narrow: Any, wide: Any) -> bool:
    """Whether every value of the type `narrow` is exactly a value of the type `wide`."""
    if isinstance(narrow, T.NullType) or narrow == wide:
        return True
    if type(narrow) in _WHOLE:
        return _whole_fits(narrow, wide)
    if isinstance(narrow, T.DecimalType) and isinstance(wide, T.DecimalType):
        room = wide.precision - wide.scale >= narrow.precision - narrow.scale
        return bool(room and wide.scale >= narrow.scale)
    return (isinstance(narrow, T.FloatType) and isinstance(wide, T.DoubleType)) or (
        isinstance(narrow, (T.CharType, T.VarcharType)) and isinstance(wide, T.StringType)
    )


def _whole_fits(narrow: Any, wide: Any) -> bool:
    digits = _WHOLE[type(narrow)]
    if type(wide) in _WHOLE:
        return _WHOLE[type(wide)] > digits
    if isinstance(wide, T.DecimalType):
        return bool(wide.precision - wide.scale >= digits)
    return isinstance(wide, T.DoubleType) and not isinstance(narrow, T.LongType)
