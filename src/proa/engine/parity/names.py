"""The names that Spark gives to columns without an alias."""

from __future__ import annotations

from decimal import Decimal

from pyspark.sql import types as t

from proa.engine.parity.spark_types import type_text
from proa.engine.parity.sql_nodes import DataType, Node

_INFIX = {
    "+": "+", "-": "-", "*": "*", "/": "/", "%": "%", "==": "=", "<=>": "<=>", "<": "<", "<=": "<=",
    ">": ">", ">=": ">=", "and": "AND", "or": "OR", "&": "&", "|": "|", "^": "^", "div": "div",
}  # fmt: skip
_UPPER = {
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "atan2",
    "cbrt",
    "cos",
    "cosh",
    "cot",
    "csc",
    "degrees",
    "exp",
    "expm1",
    "hypot",
    "log10",
    "log1p",
    "log2",
    "power",
    "radians",
    "rint",
    "rlike",
    "sec",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
} - {"log2"}
_SHOWN = {"array_agg": "collect_list", "pow": "pow", "dateadd": "date_add"}
_DEFAULTS = {
    ("regexp_replace", 3): "1", ("split", 2): "-1", ("percentile_approx", 2): "10000",
    ("approx_percentile", 2): "10000", ("percentile", 2): "1", ("sort_array", 1): "true",
    ("regexp_instr", 2): "0", ("locate", 2): "1", ("position", 2): "1", ("listagg", 1): "NULL",
    ("string_agg", 1): "NULL", ("regexp_extract", 2): "1", ("regexp_extract_all", 2): "1",
}  # fmt: skip
_CASTS = {"bigint", "binary", "boolean", "date", "decimal", "double", "float", "int", "smallint", "string",
          "timestamp", "tinyint"}  # fmt: skip


def column_name(node: Node, bound: frozenset[str] = frozenset()) -> str:
    """The name that Spark's analyzer gives to an expression as its author wrote it."""
    if node.kind == "lambda":
        bound |= {name.casefold() for name in node.value}
    args = [column_name(arg, bound) for arg in node.args]
    if node.kind == "literal":
        return _literal(node)
    if node.kind == "column" and node.parts[0].casefold() in bound:
        return "namedlambdavariable()"
    if node.kind == "column":
        return node.name
    if node.kind == "star":
        return ".".join([*node.parts, "*"]) if node.parts else "1"
    if node.kind == "cast":
        if node.args[0].kind in {"column", "access"}:
            return args[0]
        if node.name == "try_cast":
            return f"TRY_CAST({args[0]} AS {_type(node.value)})"
        return f"CAST({args[0]} AS {_type(node.value)})"
    if node.kind == "access":
        if node.name == ".":
            return f"{args[0]}.{node.value}"
        is_field = isinstance(node.args[1].value, str) and _has_fields(node.args[0].now.type)
        return f"{args[0]}.{args[1]}" if is_field else f"{args[0]}[{args[1]}]"
    if node.kind == "case":
        return _case(node, args)
    if node.kind == "lambda":
        shown = ", ".join("namedlambdavariable()" for _ in node.value)
        return f"lambdafunction({args[0]}, {shown})"
    if node.kind == "alias":
        return f"{args[0]} AS {node.value[0]}"
    if node.kind == "interval":
        raise UnnamedError
    if node.kind == "filter":
        return f"{args[0]} FILTER (WHERE {args[1]})"
    if node.kind == "named":
        return f"{node.name} => {args[0]}"
    if node.kind == "call":
        return _call(node, args)
    raise UnnamedError


def _has_fields(type_: DataType) -> bool:
    item = type_.elementType if isinstance(type_, t.ArrayType) else type_
    return isinstance(item, t.StructType)


class UnnamedError(Exception):
    """Spark's name for the expression is not known."""


def _call(node: Node, args: list[str]) -> str:
    name = node.name
    if name == "()":
        return args[0]
    if name in _INFIX and len(args) == 2:
        return f"({args[0]} {_INFIX[name]} {args[1]})"
    if name == "not":
        return f"(NOT {args[0]})"
    if name == "!=":
        return f"(NOT ({args[0]} = {args[1]}))"
    if name in {"isnull", "isnotnull"} and node.value is None and node.start >= 0:
        return f"({args[0]} IS {'NOT ' if name == 'isnotnull' else ''}NULL)"
    if name == "negative":
        return f"(- {args[0]})" if node.value == "-" else f"negative({args[0]})"
    if name == "positive":
        return f"(+ {args[0]})"
    if name == "~":
        return f"~{args[0]}"
    if name == "in":
        return f"({args[0]} IN ({', '.join(args[1:])}))"
    if name in {"like", "ilike"}:
        sign = name.upper() if name == "ilike" else "LIKE"
        return f"{args[0]} {sign} {args[1]}" if node.value is None else f"{name}({', '.join(args)})"
    if name == "count" and args == ["1"]:
        return "count(1)"
    if name == "if":
        return f"(IF({', '.join(args)}))"
    if name in {"ceil", "ceiling", "floor"} and len(args) == 1:
        return f"{'CEIL' if name == 'ceil' else name if name == 'ceiling' else 'FLOOR'}({args[0]})"
    if name in {"round", "bround"} and len(args) == 1:
        return f"{name}({args[0]}, 0)"
    if name == "extract" and isinstance(node.value, str) and len(args) == 1:
        return f"extract({node.value} FROM {args[0]})"
    if name in _CASTS and len(args) == 1:
        return args[0] if node.args[0].kind == "column" else f"CAST({args[0]} AS {name.upper()})"
    if name == "window":
        return name
    if name == "from_json":
        return "entries" if isinstance(node.now.type, t.MapType) else f"from_json({args[0]})"
    if (name, len(args)) in _DEFAULTS:
        args.append(_DEFAULTS[name, len(args)])
    name = _SHOWN.get(name, name.upper() if name in _UPPER else name)
    distinct = "DISTINCT " if node.distinct else ""
    return f"{name}({distinct}{', '.join(args)})"


def _case(node: Node, args: list[str]) -> str:
    subject, otherwise = node.value
    if subject:
        head, args = args[0], args[1:]
        args = [
            f"({head} = {a})" if k % 2 == 0 and k < len(args) - bool(otherwise) else a
            for k, a in enumerate(args)
        ]
    pairs = args[:-1] if otherwise else args
    whens = "".join(f" WHEN {pairs[k]} THEN {pairs[k + 1]}" for k in range(0, len(pairs) - 1, 2))
    return f"CASE{whens}{f' ELSE {args[-1]}' if otherwise else ''} END"


def _literal(node: Node) -> str:
    value = node.value
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        from proa.engine.parity.kernels_casts import double_text

        return double_text(value)
    if isinstance(value, Decimal):
        return f"{value:f}"
    if node.name in {"date", "timestamp", "timestamp_ntz"}:
        return f"{node.name.upper()} '{value}'"
    if node.name == "binary":
        return f"X'{value.upper()}'"
    return str(value)


def _type(type_: object) -> str:
    text = type_text(type_) if isinstance(type_, t.DataType) else str(type_)
    return text.upper().replace("`", "")
