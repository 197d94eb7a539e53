"""Expressions of the parity corpus as DataFrame code builds them: calls of `pyspark.sql.functions`."""

from collections.abc import Callable, Iterator
from typing import Any

import parity_corpus
from pyspark.sql.connect import functions as F
from pyspark.sql.connect.column import Column
from pyspark.sql.connect.expressions import LiteralExpression

from proa.engine.parity import spark_types as st
from proa.engine.parity.sql_nodes import Node
from proa.engine.parity.sql_queries import QueryReader
from proa.engine.parity.sql_tokens import UnreadableSqlError

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "%": lambda a, b: a % b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "<=>": lambda a, b: a.eqNullSafe(b),
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "like": lambda a, b: a.like(b._expr._value),
    "rlike": lambda a, b: a.rlike(b._expr._value),
}
_METHODS = {"isnull": "isNull", "isnotnull": "isNotNull", "between": "between"}
_ROWS = 12


class NoPlanError(Exception):
    """An expression that DataFrame code would write in another way."""


def column_of(node: Node, names: dict[str, Column] | None = None) -> Column:
    """The Column of an expression. Raises NoPlanError for what has no function."""
    names = names or {}
    if node.kind == "literal" and node.name in {
        "",
        "int",
        "bigint",
        "string",
        "boolean",
        "double",
        "decimal",
        "void",
    }:
        if node.name == "decimal":
            # As SQL types it; `lit()` calls each decimal one of 10 digits.
            return Column(LiteralExpression(node.value, st.decimal_type(node.value)))
        value = F.lit(node.value)
        return value.cast("bigint") if node.name == "bigint" else value
    if node.kind == "column":
        (name, *fields) = node.parts
        found = names.get(name) if name in names else F.col(name)
        for field in fields:
            found = found[field]
        return found
    if node.kind == "cast" and not isinstance(node.value, str):
        value = column_of(node.args[0], names)
        return value.cast(node.value) if node.name == "cast" else value.try_cast(node.value)
    if node.kind == "call" and not node.distinct:
        return _call(node, names)
    raise NoPlanError(node.kind)


def _call(node: Node, names: dict[str, Column]) -> Column:  # noqa: PLR0911 - one return per kind
    if node.name == "()":
        return column_of(node.args[0], names)
    lambdas = [arg for arg in node.args if arg.kind == "lambda"]
    if lambdas:
        return _with_lambdas(node, names)
    args = [column_of(arg, names) for arg in node.args]
    if node.name in _OPERATORS and len(args) == 2:
        if node.name in {"like", "rlike"} and not isinstance(node.args[1].value, str):
            raise NoPlanError(node.name)
        return _OPERATORS[node.name](*args)
    if node.name == "not" and len(args) == 1:
        return ~args[0]
    if node.name == "in":
        return args[0].isin(*args[1:])
    if node.name in _METHODS:
        return getattr(args[0], _METHODS[node.name])(*args[1:])
    if not node.name.replace("_", "").isalnum() or node.value is not None:
        raise NoPlanError(node.name)
    return F.call_function(node.name, *args)


def _with_lambdas(node: Node, names: dict[str, Column]) -> Column:
    function = getattr(F, node.name, None)
    if function is None or any(arg.kind == "lambda" for arg in node.args[:1]):
        raise NoPlanError(node.name)
    args = [
        _function(arg, names) if arg.kind == "lambda" else column_of(arg, names)
        for arg in node.args
    ]
    return function(*args)


def _function(node: Node, names: dict[str, Column]) -> Callable[..., Column]:
    """A lambda of SQL as one of Python."""
    keys = list(node.value)
    if len(keys) == 1:
        return lambda x: column_of(node.args[0], {**names, keys[0]: x})
    if len(keys) == 2:
        return lambda x, y: column_of(node.args[0], {**names, keys[0]: x, keys[1]: y})
    return lambda x, y, z: column_of(node.args[0], {**names, keys[0]: x, keys[1]: y, keys[2]: z})


def planned_entries(entries: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Column]]:
    """The entries of the corpus that have an answer for each row of `edge`, with their columns."""
    for entry in entries:
        whole = "rows" in entry and len(entry["rows"]) == parity_corpus.ROWS
        if (
            not whole
            or len(entry["c"]) != 2
            or {"error", "errors", "text", "window"} & entry.keys()
        ):
            continue
        try:
            yield entry, column_of(QueryReader(entry["q"]).whole())
        except (NoPlanError, UnreadableSqlError, TypeError, AttributeError, ValueError):
            continue


def outcomes(
    frame: Any, pairs: list[tuple[dict[str, Any], Column]]
) -> Iterator[parity_corpus.Outcome]:
    """What becomes of each expression, `_ROWS` of them asked at a time."""
    judge = parity_corpus.Judge(lambda _: ([], [], []))
    for k in range(0, len(pairs), _ROWS):
        yield from _together(frame, judge, pairs[k : k + _ROWS])


def _together(frame: Any, judge: Any, pairs: list[Any]) -> Iterator[parity_corpus.Outcome]:
    columns = [column.alias(f"x{k}") for k, (_, column) in enumerate(pairs)]
    try:
        names, types, rows = parity_corpus.answer_of(frame.select("id", *columns))
    except Exception as error:  # noqa: BLE001 - any failure of an engine is an outcome
        if len(pairs) > 1:
            half = len(pairs) // 2
            yield from _together(frame, judge, pairs[:half])
            yield from _together(frame, judge, pairs[half:])
            return
        known = getattr(error, "condition", None) == "UNSUPPORTED_FEATURE"
        yield parity_corpus.Outcome(pairs[0][0]["q"], "refused" if known else "fails", str(error))
        return
    for k, (entry, _) in enumerate(pairs, 1):
        yield judge.compared(
            entry,
            [names[0], entry["c"][1]],
            [types[0], types[k]],
            [[row[0], row[k]] for row in rows],
        )
