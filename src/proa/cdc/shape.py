"""What one AUTO CDC target looks like: its keys, columns and order, and how SQL speaks of them.

In DuckDB an *event* is a row `(k0, k1, ..., o, d, v, u)`: the key, its place in the order of
changes, whether it deletes, the other columns as one struct, and the names of the columns that it
sets (NULL: all). The order of two events of one key is that of `(o, d, v)`, so it never depends on
which came first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pyspark.sql import types as T  # noqa: N812 - the name that Spark's users know it by

from proa.errors import DataError, PipelineError
from proa.graph.change_target import END_AT, START_AT, sequence_type, target_schema
from proa.pipelines.definitions import AutoCdc, ColumnChoice, Flow, Replacement
from proa.text import duckdb_identifier, duckdb_literal

TOMBSTONES = "pipelines.cdc.tombstoneGCThresholdInSeconds"
"""The table property that says how long deletions are remembered."""
_NOTHING = "__proa_nothing"


@dataclass(frozen=True)
class ChangeShape:
    """How change rows become rows of the target."""

    keys: tuple[str, ...]
    columns: Any
    """The target's columns without the period, as a StructType; the keys among them."""
    sequence: Any
    """The type that orders the changes."""
    history: bool = False
    """SCD type 2: each change of a tracked column opens a row."""
    tracked: frozenset[str] | None = None
    """Columns whose change opens a row; None: all."""
    null_keeps: frozenset[str] = frozenset()
    """Columns, in dotted lower case, of which NULL means: as it was."""
    names_updates: bool = False
    """Change rows name the columns that they set."""
    retention: float | None = None
    """Seconds of the data's own clock after which deletions are forgotten; None: never."""

    @property
    def partial(self) -> bool:
        """Whether a change may say nothing about a column."""
        return bool(self.null_keeps) or self.names_updates

    @property
    def values(self) -> tuple[Any, ...]:
        """The columns that are not keys, as StructFields."""
        keys = {key.lower() for key in self.keys}
        return tuple(f for f in self.columns.fields if f.name.lower() not in keys)

    @property
    def target(self) -> Any:
        """All columns of the target, as a StructType."""
        if not self.history:
            return self.columns
        period = [T.StructField(name, self.sequence, True) for name in (START_AT, END_AT)]
        return T.StructType([*self.columns.fields, *period])

    def contract(self) -> dict[str, Any]:
        """What must stay as it is while the target lives, for the memory to be understood."""
        return {
            "keys": [key.lower() for key in self.keys],
            "types": [duck_type(self._type(key)) for key in self.keys],
            "scd": 2 if self.history else 1,
            "sequence": duck_type(self.sequence),
            "tracked": None if self.tracked is None else sorted(self.tracked),
        }

    # -- SQL --------------------------------------------------------------------------------------

    @property
    def key_names(self) -> str:
        """`k0, k1, ...`."""
        return ", ".join(f"k{i}" for i in range(len(self.keys)))

    def key_values(self, prefix: str = "") -> str:
        """The key columns of a table as `k0, k1, ...`."""
        return ", ".join(
            f"CAST({prefix}{duckdb_identifier(key)} AS {duck_type(self._type(key))}) AS k{i}"
            for i, key in enumerate(self.keys)
        )

    @property
    def no_event(self) -> str:
        """The columns of an event, all NULL."""
        keys = [
            f"CAST(NULL AS {duck_type(self._type(key))}) AS k{i}" for i, key in enumerate(self.keys)
        ]
        return (
            f"{', '.join(keys)}, CAST(NULL AS {self.order_type}) AS o, CAST(NULL AS BOOLEAN) AS d,"
            f" CAST(NULL AS {self.value_type}) AS v, CAST(NULL AS VARCHAR[]) AS u"
        )

    @property
    def value_type(self) -> str:
        """The type of `v`."""
        fields = [f"{duckdb_identifier(f.name)} {duck_type(f.dataType)}" for f in self.values]
        return f"STRUCT({', '.join(fields) or f'{_NOTHING} BOOLEAN'})"

    @property
    def order_type(self) -> str:
        """The type of `o`."""
        if not isinstance(self.sequence, T.StructType):
            return duck_type(self.sequence)
        parts = (
            f"{duckdb_identifier(f.name)} STRUCT(n BOOLEAN, x {duck_type(f.dataType)})"
            for f in self.sequence.fields
        )
        return f"STRUCT({', '.join(parts)})"

    def order_of(self, text: str) -> str:
        """`o` of a sequence value: in a struct NULL is the lowest, as in Spark."""
        if not isinstance(self.sequence, T.StructType):
            return f"CAST({text} AS {duck_type(self.sequence)})"
        parts = []
        for part in self.sequence.fields:
            inner = f"CAST({text}.{duckdb_identifier(part.name)} AS {duck_type(part.dataType)})"
            packed = f"struct_pack(n := {inner} IS NOT NULL, x := {inner})"
            parts.append(f"{duckdb_identifier(part.name)} := {packed}")
        return f"CASE WHEN {text} IS NOT NULL THEN struct_pack({', '.join(parts)}) END"

    def sequence_of(self, text: str) -> str:
        """The sequence value of `o`."""
        if not isinstance(self.sequence, T.StructType):
            return text
        parts = (
            f"{duckdb_identifier(f.name)} := {text}.{duckdb_identifier(f.name)}.x"
            for f in self.sequence.fields
        )
        return f"CASE WHEN {text} IS NOT NULL THEN struct_pack({', '.join(parts)}) END"

    def clock_of(self, text: str) -> str | None:
        """Seconds since 1970 of `o`, or None where the sequence tells no time."""
        first, kind = text, self.sequence
        if isinstance(kind, T.StructType):
            first, kind = (
                f"{text}.{duckdb_identifier(kind.fields[0].name)}.x",
                kind.fields[0].dataType,
            )
        if not isinstance(kind, (T.TimestampType, T.TimestampNTZType, T.DateType)):
            return None
        return f"epoch({first})"

    def struct_of(self, present: Sequence[str], prefix: str = "") -> str:
        """`v` of a table that has the columns `present`."""
        values = zip(self.values, self._values_of(present, prefix), strict=True)
        parts = [f"{duckdb_identifier(column.name)} := {value}" for column, value in values]
        return f"struct_pack({', '.join(parts) or f'{_NOTHING} := true'})"

    def columns_of(self, present: Sequence[str]) -> str:
        """`c0, c1, ...`: the values of a table that has the columns `present`, each by itself."""
        values = [f"{value} AS c{i}" for i, value in enumerate(self._values_of(present))]
        return ", ".join(values) or f"true AS {_NOTHING}"

    def _values_of(self, present: Sequence[str], prefix: str = "") -> list[str]:
        there = {name.lower(): name for name in present}
        values = []
        for column in self.values:
            own = there.get(column.name.lower())
            value = "NULL" if own is None else f"{prefix}{duckdb_identifier(own)}"
            values.append(f"CAST({value} AS {duck_type(column.dataType)})")
        return values

    def tracked_of(self, text: str) -> str:
        """The tracked columns of `v`, as one value."""
        names = [
            f.name for f in self.values if self.tracked is None or f.name.lower() in self.tracked
        ]
        if len(names) == len(self.values):
            return text
        parts = (f"{duckdb_identifier(name)} := {text}.{duckdb_identifier(name)}" for name in names)
        return f"struct_pack({', '.join(parts)})" if names else "true"

    def row_of(self, *, flat: bool = False) -> str:
        """The target's columns from `k0, ..., v` and the period; `flat`: from `columns_of`."""
        places = {key.lower(): f"k{i}" for i, key in enumerate(self.keys)}
        for i, column in enumerate(self.values):
            places[column.name.lower()] = f"c{i}" if flat else f"v.{duckdb_identifier(column.name)}"
        parts = [
            f"{places[f.name.lower()]} AS {duckdb_identifier(f.name)}" for f in self.columns.fields
        ]
        if self.history:
            parts += [
                f"{self.sequence_of('s')} AS {duckdb_identifier(START_AT)}",
                f"{self.sequence_of('e')} AS {duckdb_identifier(END_AT)}",
            ]
        return ", ".join(parts)

    def _type(self, name: str) -> Any:
        return next(f.dataType for f in self.columns.fields if f.name.lower() == name.lower())

    # -- partial changes --------------------------------------------------------------------------

    def resolve(self, value: Any) -> str:
        """`v` put together from what `value(path, given)` yields for each of its parts."""
        parts = [
            f"{duckdb_identifier(f.name)} := {self._resolve(f.dataType, (f.name,), value)}"
            for f in self.values
        ]
        return f"struct_pack({', '.join(parts) or f'{_NOTHING} := true'})"

    def _resolve(self, kind: Any, path: tuple[str, ...], value: Any) -> str:
        inside = ".".join(path).lower() + "."
        nested = self._keeps(path) or any(name.startswith(inside) for name in self.null_keeps)
        if not isinstance(kind, T.StructType) or not nested:
            return str(value(path, self._is_given(path)))
        fields = [(f.name, self._resolve(f.dataType, (*path, f.name), value)) for f in kind.fields]
        packed = ", ".join(f"{duckdb_identifier(name)} := {text}" for name, text in fields)
        known = " OR ".join(f"({text}) IS NOT NULL" for _, text in fields)
        return f"CASE WHEN {known} THEN struct_pack({packed}) END"

    def _keeps(self, path: tuple[str, ...]) -> bool:
        prefixes = (".".join(path[:n]).lower() for n in range(1, len(path) + 1))
        return any(prefix in self.null_keeps for prefix in prefixes)

    def _is_given(self, path: tuple[str, ...]) -> str:
        """Whether an event says anything about a part of `v`."""
        if self._keeps(path):
            return f"{part_of(path)} IS NOT NULL"
        if self.names_updates:
            name = duckdb_literal(path[0].lower())
            mine = "list_transform(u, lambda x: lower(split_part(x, '.', 1)))"
            return f"(u IS NULL OR list_contains({mine}, {name}))"
        return "true"


def nothing_field() -> Any:
    """The field of `v` where a target has keys only, as a StructField."""
    return T.StructField(_NOTHING, T.BooleanType())


def part_of(path: Sequence[str]) -> str:
    """A part of `v`."""
    return ".".join(("v", *map(duckdb_identifier, path)))


def change_shape(flow: Flow, query: Any, properties: Mapping[str, str]) -> ChangeShape:
    """The shape of the target of `flow`, whose query yields the columns `query`, a StructType.

    `properties` are the target's. Raises PipelineError as `target_schema` does.
    """
    cdc = flow.cdc
    assert cdc is not None
    columns = [f for f in target_schema(flow, query).fields if f.name not in {START_AT, END_AT}]
    names = [
        field.name for field in columns if field.name.lower() not in set(map(str.lower, cdc.keys))
    ]
    shape = ChangeShape(
        keys=cdc.keys,
        columns=T.StructType(columns),
        sequence=_type_of(cdc.sequence, columns)
        if isinstance(cdc, Replacement)
        else sequence_type(query),
        history=cdc.history,
        tracked=None if cdc.tracked is None else _lower_names(cdc.tracked.of(names)),
        retention=_retention(properties),
    )
    if not isinstance(cdc, AutoCdc):
        return shape
    return replace(
        shape,
        null_keeps=frozenset() if cdc.null_keeps is None else _null_keeps(cdc.null_keeps, columns),
        names_updates=cdc.update_column is not None,
    )


def _type_of(name: str, columns: Sequence[Any]) -> Any:
    return next(field.dataType for field in columns if field.name.lower() == name.lower())


def _null_keeps(choice: ColumnChoice, columns: Sequence[Any]) -> frozenset[str]:
    """Columns and fields inside them of which NULL means: as it was."""
    if not choice.excluded:
        return _lower_names(choice.names)
    return _lower_names(path for path in _paths(columns, "") if not _is_covered(path, choice.names))


def _paths(fields: Sequence[Any], prefix: str) -> Iterator[str]:
    """All parts of columns that are not structs themselves, in dotted form."""
    for part in fields:
        if isinstance(part.dataType, T.StructType):
            yield from _paths(part.dataType.fields, f"{prefix}{part.name}.")
        else:
            yield f"{prefix}{part.name}"


def _is_covered(path: str, names: Iterable[str]) -> bool:
    return any(f"{path.lower()}.".startswith(f"{name.lower()}.") for name in names)


def _lower_names(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)


def _retention(properties: Mapping[str, str]) -> float | None:
    text = properties.get(TOMBSTONES)
    if text is None:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise PipelineError(
            f"the table property {TOMBSTONES!r} must be a number of seconds, not {text!r}"
        ) from error


_DUCKDB_TYPES = {
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
        fields = ", ".join(
            f"{duckdb_identifier(f.name)} {duck_type(f.dataType)}" for f in kind.fields
        )
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
    if text not in _DUCKDB_TYPES:
        raise DataError(
            f"AUTO CDC cannot compare values of the type {text!r}; cast the column in the source,"
            " or leave it out with except_column_list",
            condition="UNSUPPORTED_DATATYPE",
        )
    return _DUCKDB_TYPES[text]
