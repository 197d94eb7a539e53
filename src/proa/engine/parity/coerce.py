"""Casts as Spark does them, as nodes: the engine's own where it agrees, a kernel elsewhere."""

from __future__ import annotations

from functools import reduce
from typing import Any

from pyspark.sql import types as t

from proa.engine.parity import spark_types as st
from proa.engine.parity.sql_nodes import DataType, Node, call, cast, kernel, literal
from proa.engine.parity.typist import DiffersError, UntoldError

REMEDY = "use an Apache Spark Connect server (engine: {remote: sc://host:15002})"
_TIMES = (t.DateType, t.TimestampType, t.TimestampNTZType)
_NESTED = (t.ArrayType, t.MapType, t.StructType)
_READ = (*st.INTEGERS, *st.FLOATS, t.DecimalType, t.BooleanType, *_TIMES)


def refuse(what: str, remedy: str = REMEDY, node: Node | None = None) -> DiffersError:
    return DiffersError(
        what,
        remedy,
        node.start if node is not None else -1,
        node.message if node is not None else None,
    )


def known_types(*nodes: Node) -> list[DataType]:
    """The types of `nodes`. Raises DiffersError where one is not known."""
    for node in nodes:
        if node.now.type is None:
            raise UntoldError(
                "an expression whose type cannot be told",
                "cast it to its type",
                node.start,
                node.message,
            )
    return [node.now.type for node in nodes]


def spark_cast(node: Node, target: DataType, *, tries: bool = False) -> Node:
    """`node` as `target`. Raises DiffersError where no way is equal to Spark's."""
    (source,) = known_types(node)
    if st.same(source, target):
        return node
    if not castable(source, target):
        raise refuse(
            f"the cast of {st.type_text(source)} to {st.type_text(target)}",
            "Spark refuses it too",
            node,
        )
    if st.is_void(source):
        return (
            literal(None, target)
            if node.now.kind == "literal"
            else _native(node, target, tries=False)
        )
    if isinstance(source, _NESTED) and isinstance(target, _NESTED):
        return _coerce_nested(node, source, target, tries=tries)
    if isinstance(target, t.StringType):
        if isinstance(source, (*st.FLOATS, *_NESTED, t.TimestampType, t.TimestampNTZType)):
            return kernel("text", st.STRING, node)
        if isinstance(source, t.BinaryType):
            return kernel("text", st.STRING, node)
        if isinstance(source, (t.DayTimeIntervalType, t.YearMonthIntervalType)) and not _full(
            source
        ):
            raise refuse(f"the cast of {st.type_text(source)} to text", REMEDY, node)
        return _native(node, target, tries=tries)
    if isinstance(source, t.TimestampType) and st.is_number(target):
        return kernel("try_seconds" if tries else "seconds", target, node)
    if isinstance(source, t.DayTimeIntervalType) and st.is_number(target):
        if source.endField != 3:
            raise refuse(f"the cast of {st.type_text(source)} to a number", REMEDY, node)
        return kernel("interval_seconds", target, node, literal(tries))
    if isinstance(source, t.YearMonthIntervalType) and st.is_number(target):
        raise refuse(f"the cast of {st.type_text(source)} to a number", REMEDY, node)
    if st.is_string(source):
        if isinstance(target, _READ):
            return kernel("try_from_text" if tries else "from_text", target, node)
        if isinstance(target, t.BinaryType):
            return _native(node, target, tries=tries)
        raise refuse(f"the cast of text to {st.type_text(target)}", REMEDY, node)
    if st.is_decimal(source) and st.is_float(target) and not _divides_exactly(source):
        return kernel("nearest_double", target, node)
    if isinstance(source, (*st.FLOATS, t.DecimalType)) and st.is_integer(target):
        return kernel("try_whole" if tries else "whole", target, node)
    if st.is_decimal(target) and st.is_float(source):
        return kernel("try_to_decimal" if tries else "to_decimal", target, node)
    if st.is_decimal(target) and st.is_decimal(source) and not _fits(source, target):
        return kernel("try_to_decimal" if tries else "to_decimal", target, node)
    if st.is_decimal(target) and st.is_integer(source):
        if _fits(st.as_decimal(source), target):
            return _native(node, target, tries=tries)
        return kernel(
            "try_to_decimal" if tries else "to_decimal", target, cast(node, t.DecimalType(20, 0))
        )
    if st.is_decimal(source) and isinstance(target, t.BooleanType):
        return call("!=", node, cast(literal(0, st.INT), source), type=st.BOOLEAN)
    if isinstance(source, t.BooleanType) and st.is_decimal(target):
        return spark_cast(cast(node, st.INT), target, tries=tries)
    return _native(node, target, tries=tries)


def castable(source: DataType, target: DataType) -> bool:
    """Whether Spark casts from `source` to `target` under ANSI at all."""
    if isinstance(target, t.StringType) or st.is_void(source):
        return True
    if isinstance(source, _NESTED) or isinstance(target, _NESTED):
        return type(source) is type(target)
    if st.is_string(source):
        return True
    if st.is_number(source):
        if isinstance(target, (t.DayTimeIntervalType, t.YearMonthIntervalType)):
            return st.is_integer(source) or st.is_decimal(source)
        return st.is_number(target) or isinstance(target, (t.BooleanType, t.TimestampType))
    if isinstance(source, t.BooleanType):
        return st.is_number(target) or isinstance(target, t.BooleanType)
    if isinstance(source, (t.DateType, t.TimestampNTZType)):
        return isinstance(target, _TIMES)
    if isinstance(source, t.TimestampType):
        return isinstance(target, _TIMES) or st.is_number(target)
    if isinstance(source, (t.DayTimeIntervalType, t.YearMonthIntervalType)):
        return st.is_integer(target) or st.is_decimal(target) or type(source) is type(target)
    return False


def call_as(node: Node, target: DataType) -> Node:
    """A call whose type only the engine knows, as `target`."""
    node.type = None
    if isinstance(target, t.TimestampNTZType):
        return Node("cast", "cast", [node], target, value=target)
    return Node("as", "as", [node], target)


def _full(type_: DataType) -> bool:
    last = 3 if isinstance(type_, t.DayTimeIntervalType) else 1
    return bool(type_.startField == 0 and type_.endField == last)


def _divides_exactly(source: DataType) -> bool:
    """Whether digits and power of ten of any value are doubles, so that a division is its nearest."""
    return bool(source.precision <= 15 and source.scale <= 22)


def _fits(source: DataType, target: DataType) -> bool:
    return bool(
        source.scale <= target.scale
        and source.precision - source.scale <= target.precision - target.scale
    )


def _native(node: Node, target: DataType, *, tries: bool) -> Node:
    return Node("cast", "try_cast" if tries else "cast", [node], target, value=target)


def plain_cast(source: DataType, target: DataType) -> bool:
    """Whether the engine's own cast is Spark's, so that it may happen inside of a nested value."""
    probe = Node("column", "x", [], source, parts=("x",))
    try:
        found = spark_cast(probe, target)
    except DiffersError:
        return False
    return found.kind in {"cast", "column"}


def _coerce_nested(node: Node, source: DataType, target: DataType, *, tries: bool) -> Node:
    if isinstance(source, t.ArrayType) and isinstance(target, t.ArrayType):
        if plain_cast(source.elementType, target.elementType):
            return _native(node, target, tries=tries)
        item = Node("column", "x_", [], source.elementType, parts=("x_",))
        body = spark_cast(item, target.elementType, tries=tries)
        return call("transform", node, Node("lambda", "", [body], value=("x_",)), type=target)
    if isinstance(source, t.MapType) and isinstance(target, t.MapType):
        if plain_cast(source.keyType, target.keyType) and plain_cast(
            source.valueType, target.valueType
        ):
            return _native(node, target, tries=tries)
    elif (
        isinstance(source, t.StructType)
        and isinstance(target, t.StructType)
        and len(source) == len(target)
    ):
        if all(
            plain_cast(a.dataType, b.dataType)
            for a, b in zip(source.fields, target.fields, strict=True)
        ):
            return _native(node, target, tries=tries)
    raise refuse(f"the cast of {st.type_text(source)} to {st.type_text(target)}", REMEDY, node)


def common_type_of(nodes: list[Node], *, what: str = "values") -> DataType:
    """The type in which all `nodes` meet. Raises DiffersError where there is none."""
    types = known_types(*nodes)
    found: Any = reduce(lambda a, b: None if a is None else st.common(a, b), types)
    if found is None:
        shown = ", ".join(dict.fromkeys(map(st.type_text, types)))
        raise refuse(f"{what} of different types ({shown})", "cast them to one type", nodes[0])
    return found
