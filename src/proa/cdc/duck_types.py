"""DuckDB's spelling of Spark's types and names."""

from __future__ import annotations

from typing import Any

from pyspark.sql import types as T  # noqa: N812 - the name that Spark's users know it by

from proa.errors import DataError

_PLAIN = {
    "boolean": "BOOLEAN",
    "tinyint": "TINYINT",
    "smallint": "SMALLINT",
    "int": "INTEGER",
    "bigint": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "string": "VARCHAR",
    "binary": "BLOB",
    "date": "DATE",
    "timestamp": "TIMESTAMPTZ",
    "timestamp_ntz": "TIMESTAMP",
}


def duck_type(kind: Any) -> str:
    """The DuckDB type of a Spark `DataType`. Raises DataError for a type that it lacks."""
    if isinstance(kind, T.StructType):
        fields = ", ".join(f"{name_of(f.name)} {duck_type(f.dataType)}" for f in kind.fields)
        return f"STRUCT({fields})"
    if isinstance(kind, T.ArrayType):
        return f"{duck_type(kind.elementType)}[]"
    if isinstance(kind, T.MapType):
        return f"MAP({duck_type(kind.keyType)}, {duck_type(kind.valueType)})"
    if isinstance(kind, T.DecimalType):
        return f"DECIMAL({kind.precision}, {kind.scale})"
    text = kind.simpleString()
    if isinstance(kind, (T.StringType, T.CharType, T.VarcharType)):
        return "VARCHAR"
    if text not in _PLAIN:
        raise DataError(
            f"AUTO CDC cannot compare values of the type {text!r}; cast the column in the source,"
            " or leave it out with except_column_list",
            condition="UNSUPPORTED_DATATYPE",
        )
    return _PLAIN[text]


def name_of(name: str) -> str:
    """An identifier in double quotes."""
    return '"' + name.replace('"', '""') + '"'


def text_of(value: str) -> str:
    """A string literal."""
    return "'" + value.replace("'", "''") + "'"
