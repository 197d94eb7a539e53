"""Expressions of a Spark Connect plan as nodes, and nodes as expressions of a plan."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from pyspark.sql import types as t
from pyspark.sql.connect import proto
from pyspark.sql.connect.types import pyspark_types_to_proto_types

from proa.engine.parity import spark_types as st
from proa.engine.parity.sql_nodes import DataType, Node
from proa.engine.parity.sql_tokens import UnreadableSqlError

Expression = Any
"""A `spark.connect.Expression`: protobuf's generated classes are untyped here."""

_PART = re.compile(r"`((?:[^`]|``)*)`|([^.`]+)")
_RENAMED = {"=": "==", "!": "not", "isnotnull": "isnotnull", "mod": "mod", "ucase": "upper"}
_WHOLE = {"byte": "tinyint", "short": "smallint", "integer": "int", "long": "bigint"}


_Inner = Callable[[Expression], Node]


def node_of(message: Expression, text_node: _Inner) -> Node:
    """The node of an expression. `text_node` reads those that are SQL text."""

    def inner(child: Expression) -> Node:
        return node_of(child, text_node)

    kind = message.WhichOneof("expr_type") or ""
    if kind == "expression_string":
        return text_node(message)
    if kind == "literal":
        return _literal(message)
    reader = _READERS.get(kind)
    return reader(message, inner) if reader is not None else Node("opaque", kind, message=message)


def _parts(text: str) -> tuple[str, ...]:
    return tuple((a or b).replace("``", "`") for a, b in _PART.findall(text))


def _attribute(message: Expression, inner: _Inner) -> Node:
    parts = _parts(message.unresolved_attribute.unparsed_identifier)
    return Node("column", parts[-1] if parts else "", parts=parts, message=message)


def _variable(message: Expression, inner: _Inner) -> Node:
    parts = tuple(message.unresolved_named_lambda_variable.name_parts)
    return Node("column", parts[-1], parts=parts, message=message)


def _function(message: Expression, inner: _Inner) -> Node:
    function = message.unresolved_function
    name = function.function_name.lower()
    args = [inner(arg) for arg in function.arguments]
    if name == "when":
        value = ("", "else" if len(args) % 2 else "")
        return Node("case", "case", args, value=value, message=message)
    if name in {"timestampadd", "timestampdiff"} and args[0].kind == "literal":
        name = f"{name} unit"  # as SQL reads them: the unit is a word
    node = Node("call", _RENAMED.get(name, name), args, message=message)
    node.distinct = function.is_distinct
    node.value = "user" if function.is_user_defined_function else None
    return node


def _call_node(message: Expression, inner: _Inner) -> Node:
    function = message.call_function
    name = function.function_name.lower().split(".")[-1]
    return Node("call", name, [inner(arg) for arg in function.arguments], message=message)


def _star(message: Expression, inner: _Inner) -> Node:
    target = message.unresolved_star.unparsed_target.removesuffix(".*")
    return Node("star", parts=_parts(target), message=message)


def _alias(message: Expression, inner: _Inner) -> Node:
    names = tuple(message.alias.name)
    name = names[0] if names else ""
    return Node("alias", name, [inner(message.alias.expr)], value=names, message=message)


def _sort_node(message: Expression, inner: _Inner) -> Node:
    order = message.sort_order
    word = "DESC" if order.direction == order.SORT_DIRECTION_DESCENDING else "ASC"
    return Node("sort", word, [inner(order.child)], message=message)


def _lambda(message: Expression, inner: _Inner) -> Node:
    function = message.lambda_function
    names = tuple(variable.name_parts[-1] for variable in function.arguments)
    return Node("lambda", "", [inner(function.function)], value=names, message=message)


def _window(message: Expression, inner: _Inner) -> Node:
    window = message.window
    args = [
        inner(window.window_function),
        *map(inner, window.partition_spec),
        *(inner(order.child) for order in window.order_spec),
    ]
    moving = window.HasField("frame_spec") and not window.frame_spec.lower.unbounded
    offset = _offset(window.frame_spec) if window.HasField("frame_spec") else ""
    return Node("window", offset, args, message=message, value="moving" if moving else "")


def _offset(frame: Any) -> str:
    """The kind of a RANGE frame's offsets, "number" or "interval"; "" where it has none."""
    if frame.frame_type != frame.FRAME_TYPE_RANGE:
        return ""
    offsets = [
        bound.value
        for bound in (frame.lower, frame.upper)
        if bound.WhichOneof("boundary") == "value"
    ]
    if not offsets:
        return ""
    times = {"day_time_interval", "year_month_interval", "calendar_interval"}
    plain = any(offset.literal.WhichOneof("literal_type") in times for offset in offsets)
    return "interval" if plain else "number"


def _extract_node(message: Expression, inner: _Inner) -> Node:
    extract = message.unresolved_extract_value
    key = inner(extract.extraction)
    node = Node("access", "[", [inner(extract.child), key], message=message)
    if isinstance(key.value, str):
        node.value = key.value
    return node


def _named_node(message: Expression, inner: _Inner) -> Node:
    named = message.named_argument_expression
    return Node("named", named.key.lower(), [inner(named.value)], message=message)


def _user_function(message: Expression, inner: _Inner) -> Node:
    function = message.common_inline_user_defined_function
    node = Node("opaque", "udf", [inner(arg) for arg in function.arguments], message=message)
    node.type = _udf_type(function)
    return node


def _subquery(message: Expression, inner: _Inner) -> Node:
    subquery = message.subquery_expression
    node = Node("opaque", "subquery", message=message)
    if subquery.subquery_type in {subquery.SUBQUERY_TYPE_EXISTS, subquery.SUBQUERY_TYPE_IN}:
        node.type = st.BOOLEAN
    node.args = [inner(value) for value in subquery.in_subquery_values]
    return node


def _udf_type(function: Any) -> DataType:
    from pyspark.sql.connect.types import proto_schema_to_pyspark_data_type

    which = function.WhichOneof("function")
    if which != "python_udf" or not function.python_udf.HasField("output_type"):
        return None
    output = function.python_udf.output_type
    if output.WhichOneof("kind") == "unparsed":
        try:
            return st.type_of(output.unparsed.data_type_string)
        except UnreadableSqlError:
            return None
    return proto_schema_to_pyspark_data_type(output)


def _cast(message: Expression, inner: Callable[[Expression], Node]) -> Node:
    from pyspark.sql.connect.types import proto_schema_to_pyspark_data_type

    found = message.cast
    tries = found.eval_mode == found.EVAL_MODE_TRY
    target: Any = found.type_str
    if found.WhichOneof("cast_to_type") == "type":
        target = proto_schema_to_pyspark_data_type(found.type)
    return Node(
        "cast", "try_cast" if tries else "cast", [inner(found.expr)], value=target, message=message
    )


_READERS: dict[str, Callable[[Expression, _Inner], Node]] = {
    "unresolved_attribute": _attribute,
    "unresolved_named_lambda_variable": _variable,
    "unresolved_function": _function,
    "call_function": _call_node,
    "unresolved_star": _star,
    "alias": _alias,
    "cast": _cast,
    "sort_order": _sort_node,
    "lambda_function": _lambda,
    "window": _window,
    "unresolved_extract_value": _extract_node,
    "named_argument_expression": _named_node,
    "common_inline_user_defined_function": _user_function,
    "subquery_expression": _subquery,
}


def _literal(message: Expression) -> Node:
    literal = message.literal
    kind = literal.WhichOneof("literal_type")
    value: Any = getattr(literal, kind) if kind else None
    if kind == "null" or kind is None:
        return Node("literal", "void", value=None, message=message)
    if kind in {"boolean", "string"}:
        return Node("literal", kind, value=value, message=message)
    if kind in _WHOLE:
        return Node("literal", _WHOLE[kind], value=value, message=message)
    if kind in {"double", "float"}:
        return Node("literal", kind, value=value, message=message)
    if kind == "decimal":
        node = Node("literal", "decimal", value=Decimal(value.value), message=message)
        if value.HasField("precision"):
            node.type = _decimal_type(node.value, value.precision, value.scale)
        return node
    if kind == "date":
        day = dt.date(1970, 1, 1) + dt.timedelta(days=value)
        return Node("literal", "date", value=day.isoformat(), message=message)
    names = {"timestamp": st.TIMESTAMP, "timestamp_ntz": st.NTZ, "binary": st.BINARY,
             "day_time_interval": st.DAY_TIME, "year_month_interval": st.YEAR_MONTH}  # fmt: skip
    if kind == "array":
        node = Node("opaque", "array", message=message)
        node.type = _array_type(literal)
        return node
    return Node("opaque", kind, message=message, type=names.get(kind))


def _decimal_type(value: Decimal, precision: int, scale: int) -> DataType:
    """The type of a decimal that a client calls one of this precision and scale: where the value has
    more digits, more. Clients send (10, 0) for any value.
    """
    exact = st.decimal_type(value)
    scale = max(scale, exact.scale)
    return t.DecimalType(min(38, max(precision, exact.precision, scale)), scale)


def _array_type(literal: Any) -> DataType:
    from pyspark.sql.connect.types import proto_schema_to_pyspark_data_type

    if literal.array.HasField("element_type"):
        return t.ArrayType(proto_schema_to_pyspark_data_type(literal.array.element_type))
    return None


def message_of(node: Node) -> Expression:
    """The expression that a node is."""
    if node.by is not None:
        return message_of(node.by)
    if node.message is not None:
        return node.message
    found = proto.Expression()
    if node.kind in {"call", "kernel"}:
        function = found.unresolved_function
        function.function_name = node.shown if node.kind == "kernel" else node.name
        function.is_distinct = node.distinct
        function.is_user_defined_function = node.kind == "kernel"
        if node.name == "!=":
            function.function_name = "not"
            inner = function.arguments.add().unresolved_function
            inner.function_name = "=="
            function = inner
        function.arguments.extend(map(message_of, node.args))
    elif node.kind == "case":
        found.unresolved_function.function_name = "when"
        found.unresolved_function.arguments.extend(map(message_of, node.args))
    elif node.kind == "cast":
        found.cast.expr.CopyFrom(message_of(node.args[0]))
        found.cast.type.CopyFrom(pyspark_types_to_proto_types(node.value))
        if node.name == "try_cast":
            found.cast.eval_mode = found.cast.EVAL_MODE_TRY
    elif node.kind == "literal":
        _set_literal(found, node)
    elif node.kind == "lambda":
        found.lambda_function.function.CopyFrom(message_of(node.args[0]))
        for name in node.value:
            found.lambda_function.arguments.add().name_parts.append(name)
    elif node.kind == "column":
        found.unresolved_named_lambda_variable.name_parts.extend(node.parts)
    elif node.kind == "window":
        found.CopyFrom(node.value.message)
        found.window.window_function.CopyFrom(message_of(node.args[0]))
    elif node.kind == "access":
        found.unresolved_extract_value.child.CopyFrom(message_of(node.args[0]))
        if node.name == "[":
            found.unresolved_extract_value.extraction.CopyFrom(message_of(node.args[1]))
        else:
            found.unresolved_extract_value.extraction.literal.string = node.value
    else:
        raise AssertionError(node.kind)
    return found


def _set_literal(found: Expression, node: Node) -> None:
    value = node.value
    if value is None:
        found.cast.expr.literal.null.CopyFrom(pyspark_types_to_proto_types(st.VOID))
        found.cast.type.CopyFrom(pyspark_types_to_proto_types(node.type or st.VOID))
        if node.type is None or st.is_void(node.type):
            null = proto.Expression()
            null.literal.null.CopyFrom(pyspark_types_to_proto_types(st.VOID))
            found.CopyFrom(null)
    elif isinstance(value, bool):
        found.literal.boolean = value
    elif isinstance(value, int):
        if node.name == "bigint" or not -(2**31) <= value < 2**31:
            found.literal.long = value
        else:
            found.literal.integer = value
    elif isinstance(value, Decimal):
        found.literal.decimal.value = f"{value:f}"
    elif isinstance(value, float):
        found.literal.double = value
    else:
        found.literal.string = value


def apply(node: Node) -> None:
    """Put what the rules made into the messages, where they stand."""
    for arg in node.args:
        apply(arg)
    if node.by is not None and node.message is not None:
        made = proto.Expression()
        made.CopyFrom(message_of(node.by))
        if node.message.HasField("common"):
            made.common.CopyFrom(node.message.common)
        node.message.CopyFrom(made)
