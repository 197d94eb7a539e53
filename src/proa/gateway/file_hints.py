"""Hints: predicates and a limit that a client sends, to be given fewer files.

A hint never loses a row: a file is left out only where its bounds prove that no row of it matches. What
cannot be read, or compared, leaves nothing out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from proa.gateway.snapshots import SharedFile

_MILLISECOND = timedelta(milliseconds=1)
_MOST_LEVELS = 50

Test = Callable[[SharedFile], bool]
"""Whether a row of a file may match."""

_JSON_OPERATORS = {
    "equal": "=",
    "lessThan": "<",
    "lessThanOrEqual": "<=",
    "greaterThan": ">",
    "greaterThanOrEqual": ">=",
}
_SQL_OPERATORS: Mapping[type[exp.Expr], str] = {
    exp.EQ: "=",
    exp.NEQ: "<>",
    exp.LT: "<",
    exp.LTE: "<=",
    exp.GT: ">",
    exp.GTE: ">=",
}
_TURNED = {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
_NEGATED = {"=": "<>", "<>": "=", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}


class _UnreadableHintError(Exception):
    """The hint, or this part of it, says nothing that can be used."""


@dataclass(frozen=True)
class _Comparison:
    """A column compared with a value; NULL matches nothing."""

    column: str
    operator: str
    value: Any

    def test(self, file: SharedFile) -> bool:
        known, low, high = _bounds(file, self.column)
        if not known:
            return True
        if low is None or high is None:  # all NULL
            return False
        value = _like(self.value, low)
        if low != low:  # noqa: PLR0124 - NaN, which engines order in their own ways
            return True
        answers: dict[str, bool] = {
            "=": low <= value <= high,
            "<>": not low == value == high,
            "<": low < value,
            "<=": low <= value,
            ">": high > value,
            ">=": high >= value,
        }
        return answers[self.operator]


def chosen_files(
    files: Sequence[SharedFile],
    *,
    sql: Sequence[str] = (),
    tree: str | None = None,
    limit: int | None = None,
) -> list[SharedFile]:
    """The files that a client needs, by its `predicateHints`, `jsonPredicateHints` and `limitHint`."""
    tests = [test for test in (*map(_sql_test, sql), _json_test(tree)) if test is not None]
    chosen = [file for file in files if all(_may_match(test, file) for test in tests)]
    return chosen if limit is None else _limited_files(chosen, limit)


def _limited_files(files: Sequence[SharedFile], limit: int) -> list[SharedFile]:
    """As many files, from the first on, as have `limit` rows."""
    chosen, rows = [], 0
    for file in files:
        if rows >= limit:
            break
        chosen.append(file)
        rows += file.rows or 0
    return chosen


def _may_match(test: Test, file: SharedFile) -> bool:
    try:
        return test(file)
    except (TypeError, ValueError, ArithmeticError):
        return True


# -- reading hints ----------------------------------------------------------------------------------


def _sql_test(text: str) -> Test | None:
    try:
        return _of_sql(sqlglot.parse_one(text, read="spark"), negated=False)
    except (SqlglotError, _UnreadableHintError, RecursionError):
        return None


def _json_test(text: str | None) -> Test | None:
    if not text:
        return None
    try:
        return _of_json(json.loads(text), negated=False, levels=_MOST_LEVELS)
    except (_UnreadableHintError, ValueError, RecursionError):
        return None


def _of_sql(node: exp.Expr, *, negated: bool) -> Test:
    if isinstance(node, exp.Paren):
        return _of_sql(node.this, negated=negated)
    if isinstance(node, exp.Not):
        return _of_sql(node.this, negated=not negated)
    if isinstance(node, (exp.And, exp.Or)):
        sides = [
            _usable(partial(_of_sql, side, negated=negated)) for side in (node.left, node.right)
        ]
        return _both(sides) if isinstance(node, exp.And) != negated else _either(sides)
    if isinstance(node, exp.Is) and isinstance(node.expression, exp.Null):
        return _null_test(_column_of(node.this), negated=negated)
    operator = _SQL_OPERATORS.get(type(node))
    if operator is None:
        raise _UnreadableHintError
    left, right = node.this, node.expression
    if isinstance(right, exp.Column):
        left, right, operator = right, left, _TURNED[operator]
    return _comparison(_column_of(left), operator, _literal_of(right), negated=negated)


def _column_of(node: exp.Expr) -> str:
    if not isinstance(node, exp.Column) or node.table:
        raise _UnreadableHintError
    return str(node.name)


def _literal_of(node: exp.Expr) -> Any:
    if isinstance(node, exp.Cast):
        return _literal_of(node.this)
    if isinstance(node, exp.Boolean):
        return bool(node.this)
    if isinstance(node, exp.Neg):
        return -Decimal(_literal_of(node.this))
    if not isinstance(node, exp.Literal):
        raise _UnreadableHintError
    return str(node.this) if node.is_string else Decimal(str(node.this))


def _of_json(node: Any, *, negated: bool, levels: int) -> Test:
    if not isinstance(node, Mapping) or not levels:
        raise _UnreadableHintError
    operator = node.get("op")
    children: list[Any] = list(node.get("children") or ())
    below = [partial(_of_json, child, negated=negated, levels=levels - 1) for child in children]
    if operator in {"and", "or"} and children:
        tests = [_usable(read) for read in below]
        return _both(tests) if (operator == "and") != negated else _either(tests)
    if operator == "not" and len(children) == 1:
        return _of_json(children[0], negated=not negated, levels=levels - 1)
    if operator == "isNull" and len(children) == 1:
        return _null_test(_json_column(children[0]), negated=negated)
    sign = _JSON_OPERATORS.get(str(operator))
    if sign is None or len(children) != 2:
        raise _UnreadableHintError
    left, right = children
    if _operator_of(right) == "column":
        left, right, sign = right, left, _TURNED[sign]
    if _operator_of(right) != "literal":
        raise _UnreadableHintError
    return _comparison(_json_column(left), sign, right.get("value"), negated=negated)


def _operator_of(node: Any) -> Any:
    return node.get("op") if isinstance(node, Mapping) else None


def _json_column(node: Any) -> str:
    if _operator_of(node) != "column":
        raise _UnreadableHintError
    return str(node.get("name"))


def _usable(read: Callable[[], Test]) -> Test:
    """What `read` gives; what says nothing may match anything."""
    try:
        return read()
    except _UnreadableHintError:
        return lambda _file: True


def _both(tests: Iterable[Test]) -> Test:
    parts = list(tests)
    return lambda file: all(_may_match(test, file) for test in parts)


def _either(tests: Iterable[Test]) -> Test:
    parts = list(tests)
    return lambda file: any(_may_match(test, file) for test in parts)


def _comparison(column: str, operator: str, value: Any, *, negated: bool) -> Test:
    return _Comparison(column, _NEGATED[operator] if negated else operator, value).test


def _null_test(column: str, *, negated: bool) -> Test:
    def test(file: SharedFile) -> bool:
        if (name := _spelling(file.partition, column)) is not None:
            return (file.partition[name] is None) != negated
        name = _spelling(file.nulls, column)
        nulls = None if name is None else file.nulls[name]
        if not isinstance(nulls, int) or file.rows is None:
            return True
        return nulls < file.rows if negated else nulls > 0

    return test


# -- bounds -----------------------------------------------------------------------------------------


def _bounds(file: SharedFile, column: str) -> tuple[bool, Any, Any]:
    """Whether anything is known of a column's values, and between which they are; None when all are NULL."""
    if (name := _spelling(file.partition, column)) is not None:
        value = file.partition[name]
        return True, value, value
    low, high = (
        None if (name := _spelling(bounds, column)) is None else bounds[name]
        for bounds in (file.low, file.high)
    )
    if low is None or high is None:
        name = _spelling(file.nulls, column)
        nulls = None if name is None else file.nulls[name]
        return file.rows is not None and nulls == file.rows, None, None
    if isinstance(high, datetime):
        high += _MILLISECOND  # some writers cut it off there
    return True, low, high


def _spelling(values: Mapping[str, Any], column: str) -> str | None:
    """The column's name as the table spells it."""
    if column in values:
        return column
    return next((name for name in values if name.lower() == column.lower()), None)


def _like(value: Any, example: Any) -> Any:
    """A value of a hint as the same kind as a column's. ValueError when it is not such a value."""
    if isinstance(example, bool):
        return value if isinstance(value, bool) else {"true": True, "false": False}[_text(value)]
    if isinstance(example, datetime):
        moment = datetime.fromisoformat(str(value))
        if (moment.tzinfo is None) != (example.tzinfo is None):
            raise ValueError("only the client knows its time zone")
        return moment
    if isinstance(example, date):
        return date.fromisoformat(str(value))
    if isinstance(example, (int, Decimal)):
        return Decimal(str(value))
    if isinstance(example, float):
        return float(value)
    if isinstance(example, str):
        if not isinstance(value, str):
            raise TypeError("a text is compared with something else")
        return value
    raise TypeError(f"no bound has the type {type(example).__name__}")


def _text(value: Any) -> str:
    text = str(value).lower()
    if text not in {"true", "false"}:
        raise ValueError(text)
    return text
