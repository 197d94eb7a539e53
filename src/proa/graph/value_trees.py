"""Expressions of plans as syntax trees, and what is known of a tree's value.

Apart because SQL and plans of DataFrames meet here: what reads origins knows trees only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyspark.sql.connect import proto
from sqlglot import exp

from proa.engine.spark_functions import AGGREGATES, words
from proa.graph import plan_proto
from proa.graph.sql_text import DIALECT, SqlTexts
from proa.pipelines.identifiers import name_parts

PLAN = "proa_plan"
"""In a column's `meta`: the id of the relation that it was taken from."""
_MEASURES = words("count count_if sum min max")
"""Aggregates of which the value over more rows follows from the values over the parts."""
_FOLLOWED = words(
    """abs coalesce concat date date_trunc day dayofmonth dayofweek dayofyear floor hour if ifnull left
    length lower ltrim minute mod month nvl quarter right rtrim split_part substr substring timestamptrunc
    to_date trim trunc upper weekofyear year + - * %"""
)
"""Functions whose value depends on nothing but their arguments."""
_FOLLOWED_NODES = (
    exp.Abs, exp.Add, exp.Cast, exp.Coalesce, exp.Column, exp.Concat, exp.DataType, exp.DataTypeParam, exp.Date, exp.DateTrunc,
    exp.Day, exp.DayOfMonth, exp.DayOfWeek, exp.DayOfYear, exp.Dot, exp.DPipe, exp.Floor, exp.Hour,
    exp.Identifier, exp.Length, exp.Literal, exp.Lower, exp.Minute, exp.Mod, exp.Month, exp.Mul, exp.Neg,
    exp.Paren, exp.Quarter, exp.SplitPart, exp.Sub, exp.Substring, exp.TimestampTrunc, exp.Trim,
    exp.TsOrDsToDate, exp.Upper, exp.Var, exp.WeekOfYear, exp.Year,
)  # fmt: skip


_COMPARED: dict[str, type[exp.Binary]] = {
    "and": exp.And,
    "=": exp.EQ,
    "==": exp.EQ,
    "<=>": exp.NullSafeEQ,
    "+": exp.Add,
    "-": exp.Sub,
    "*": exp.Mul,
    "%": exp.Mod,
}


_TYPES = {
    "boolean": "boolean",
    "date": "date",
    "integer": "int",
    "long": "bigint",
    "string": "string",
    "timestamp": "timestamp",
    "timestamp_ntz": "timestamp_ntz",
}
"""Types as SQL has them, by Spark Connect's names."""


class ValueTrees:
    """Reads the expressions of one plan."""

    def __init__(self, texts: SqlTexts, beside: Callable[[Any], None]) -> None:
        """`beside` is told of expressions that are not followed: they may hold subqueries."""
        self._texts = texts
        self._beside = beside

    def tree(self, expression: Any) -> exp.Expr:  # noqa: PLR0911 - one return for each kind
        """An expression of a plan as a syntax tree; what is not followed is a placeholder."""
        kind = expression.WhichOneof("expr_type")
        if kind == "unresolved_attribute":
            attribute = expression.unresolved_attribute
            tree = exp.column(*reversed(name_parts(attribute.unparsed_identifier)), quoted=True)
            if attribute.HasField("plan_id"):
                tree.meta[PLAN] = attribute.plan_id
            return tree
        if kind == "alias":
            return self.tree(expression.alias.expr)
        if kind == "expression_string":
            items = self._texts.expression(expression.expression_string.expression).tree.expressions
            return items[0].unalias() if len(items) == 1 else exp.Placeholder()
        if kind == "literal":
            return _literal(expression.literal)
        if kind == "unresolved_star":
            return exp.Star()
        if kind == "window":
            window = expression.window
            return exp.Window(
                this=self.tree(window.window_function),
                partition_by=[self.tree(part) for part in window.partition_spec],
            )
        if kind == "unresolved_function":
            return self._call(expression.unresolved_function)
        to = _cast_type(expression.cast) if kind == "cast" else ""
        if to:
            return exp.cast(self.tree(expression.cast.expr), to, dialect=DIALECT)
        self._beside(expression)
        return exp.Anonymous(this="", expressions=self._inside(expression))

    def _inside(self, message: Any) -> list[exp.Expr]:
        """The expressions in what is not followed itself."""
        trees = []
        for part in plan_proto.parts(message):
            if isinstance(part, proto.Expression):
                trees.append(self.tree(part))
            elif not isinstance(part, proto.Relation):
                trees += self._inside(part)
        return trees

    def _call(self, call: Any) -> exp.Expr:
        name = call.function_name.lower()
        arguments = [self.tree(argument) for argument in call.arguments]
        if name in _COMPARED and len(arguments) == 2:
            return _COMPARED[name](this=arguments[0], expression=arguments[1])
        if call.is_distinct:
            arguments = [exp.Distinct(expressions=arguments)]
        return exp.Anonymous(this=name, expressions=arguments)


def _cast_type(cast: Any) -> str:
    text: str = cast.type_str or _TYPES.get(cast.type.WhichOneof("kind") or "", "")
    return text


def is_followed(node: exp.Expr) -> bool:
    """Whether a node of a tree yields a value that depends on nothing but those below it."""
    if isinstance(node, exp.Anonymous):
        return node.name.lower() in _FOLLOWED
    return type(node) in _FOLLOWED_NODES


def aggregates(tree: exp.Expr) -> bool:
    """Whether an expression makes one value of many rows."""
    for node in tree.walk(prune=lambda n: isinstance(n, exp.Query)):
        named = isinstance(node, exp.Anonymous) and node.name.lower() in AGGREGATES
        if isinstance(node, exp.AggFunc) or named:
            above = node.parent
            while isinstance(above, exp.Paren | exp.Filter | exp.IgnoreNulls | exp.RespectNulls):
                above = above.parent
            if not isinstance(above, exp.Window):
                return True
    return False


_MEASURE_NODES: dict[type[exp.Expr], str] = {
    exp.Count: "count",
    exp.CountIf: "count",
    exp.Sum: "sum",
    exp.Min: "min",
    exp.Max: "max",
}


def measure_of(tree: exp.Expr) -> str:
    """The aggregate that an expression is; "" for anything else, and for one of distinct values."""
    call = tree.this if isinstance(tree, exp.Filter) else tree
    if any(isinstance(part, exp.Distinct | exp.Window) for part in call.walk()):
        return ""
    named = isinstance(call, exp.Anonymous) and call.name.lower() in _MEASURES
    name = call.name.lower().removesuffix("_if") if named else _MEASURE_NODES.get(type(call), "")
    if name != "count" or tree is not call or isinstance(call, exp.CountIf):
        return name
    counted = call.expressions if named else [call.this]
    everything = len(counted) == 1 and isinstance(counted[0], exp.Star | exp.Literal)
    return "rows" if everything and call.name.lower() != "count_if" else name


def _literal(literal: Any) -> exp.Expr:
    kind = literal.WhichOneof("literal_type")
    if kind == "string":
        return exp.Literal.string(literal.string)
    if kind in {"integer", "long", "short", "byte"} and getattr(literal, kind) >= 0:
        return exp.Literal.number(getattr(literal, kind))
    return exp.Placeholder()
