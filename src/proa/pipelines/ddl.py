"""Spark's DDL for types and schemas, read without a server."""

from __future__ import annotations

import json
from typing import Any

import sqlglot
from pyspark.sql import types as t
from sqlglot import exp
from sqlglot.errors import SqlglotError

from proa.errors import PipelineError
from proa.pipelines.definitions import Dataset

_DIALECT = "databricks"

_SIMPLE: dict[str, type[Any]] = {
    "TINYINT": t.ByteType,
    "SMALLINT": t.ShortType,
    "INT": t.IntegerType,
    "BIGINT": t.LongType,
    "FLOAT": t.FloatType,
    "DOUBLE": t.DoubleType,
    "BOOLEAN": t.BooleanType,
    "TEXT": t.StringType,
    "VARCHAR": t.StringType,
    "CHAR": t.StringType,
    "BINARY": t.BinaryType,
    "DATE": t.DateType,
    "TIMESTAMP": t.TimestampType,
    "TIMESTAMPTZ": t.TimestampType,
    "TIMESTAMPLTZ": t.TimestampType,
    "TIMESTAMPNTZ": t.TimestampNTZType,
    "VARIANT": t.VariantType,
    "NULL": t.NullType,
}
_DAY_TIME = {"DAY": 0, "HOUR": 1, "MINUTE": 2, "SECOND": 3}
_YEAR_MONTH = {"YEAR": 0, "MONTH": 1}


def parse_type(text: str) -> t.DataType:
    """The type that `text` names ("int", "array<string>"), or the struct that its columns make.

    Raises PipelineError (PARSE_SYNTAX_ERROR) that quotes the text.
    """
    single = _cast_to(text)
    if single is not None:
        try:
            return _convert(single)
        except _UnknownTypeError:
            pass  # "name string" parses as a type called "name": then it is a column list
    return parse_schema(text)


def parse_schema(text: str) -> t.StructType:
    """The struct of a column list ("id bigint not null, name string").

    Raises PipelineError (PARSE_SYNTAX_ERROR) that quotes the text.
    """
    struct, wrong = _cast_to(f"STRUCT<{text}>"), text
    if struct is not None and struct.expressions and not text.rstrip().endswith(","):
        try:
            return _struct(struct)
        except _UnknownTypeError as error:
            wrong = error.args[0]
    raise PipelineError(
        f"{wrong!r} in the schema {text!r} is not a column and its type;"
        " write for example 'id bigint, name string'",
        condition="PARSE_SYNTAX_ERROR",
    )


def schema_of_text(text: str) -> t.StructType:
    """The schema that a reader was given, as DDL or as pyspark's JSON.

    Raises PipelineError (PARSE_SYNTAX_ERROR) that quotes the text.
    """
    if text.lstrip().startswith("{"):
        return t.StructType.fromJson(json.loads(text))
    return parse_schema(text)


class _UnknownTypeError(Exception):
    """The argument is what could not be read."""


def _cast_to(text: str) -> exp.DataType | None:
    try:
        cast = sqlglot.parse_one(f"CAST(x AS {text})", dialect=_DIALECT)
    except SqlglotError:
        return None
    return cast.to if isinstance(cast, exp.Cast) else None


def _struct(data_type: exp.DataType) -> t.StructType:
    fields = []
    for column in data_type.expressions:
        kind = column.args.get("kind")
        if not isinstance(column, exp.ColumnDef) or kind is None:
            raise _UnknownTypeError(column.sql(dialect=_DIALECT))
        nullable, metadata = True, None
        for constraint in column.args.get("constraints") or ():
            if isinstance(constraint.kind, exp.NotNullColumnConstraint):
                nullable = False
            elif isinstance(constraint.kind, exp.CommentColumnConstraint):
                metadata = {"comment": constraint.kind.this.name}
        fields.append(t.StructField(column.name, _convert(kind), nullable, metadata))
    return t.StructType(fields)


def _convert(data_type: exp.DataType) -> t.DataType:
    if isinstance(data_type.this, exp.Interval):
        return _interval(data_type.this)
    name = data_type.this.name if isinstance(data_type.this, exp.DType) else ""
    parts = data_type.expressions
    if name in _SIMPLE:
        simple: t.DataType = _SIMPLE[name]()
        return simple
    if name == "DECIMAL":
        sizes = [int(part.this.name) for part in parts]
        return t.DecimalType(*sizes) if sizes else t.DecimalType(10, 0)
    if name == "ARRAY" and len(parts) == 1:
        return t.ArrayType(_convert(parts[0]))
    if name == "MAP" and len(parts) == 2:
        return t.MapType(_convert(parts[0]), _convert(parts[1]))
    if name == "STRUCT":
        return _struct(data_type)
    raise _UnknownTypeError(data_type.sql(dialect=_DIALECT))


def _interval(interval: exp.Interval) -> t.DataType:
    unit = interval.args.get("unit")
    if isinstance(unit, exp.IntervalSpan):
        first, last = unit.this.name.upper(), unit.expression.name.upper()
    elif unit is not None:
        first = last = unit.name.upper()
    else:
        raise _UnknownTypeError("INTERVAL")
    if first in _YEAR_MONTH and last in _YEAR_MONTH:
        return t.YearMonthIntervalType(_YEAR_MONTH[first], _YEAR_MONTH[last])
    if first in _DAY_TIME and last in _DAY_TIME:
        return t.DayTimeIntervalType(_DAY_TIME[first], _DAY_TIME[last])
    raise _UnknownTypeError(f"INTERVAL {first} TO {last}")


def declared_schema(dataset: Dataset) -> Any:
    """The columns that a dataset's user has declared, a StructType; None for the query's own."""
    schema = dataset.schema
    return parse_schema(schema) if isinstance(schema, str) else schema
