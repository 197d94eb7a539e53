"""Where a plan says what its rows' event time is, and which columns still hold it further up.

Operators with state need the column that a watermark is about, and windows and joins in time need to
know whether a column that they name is that one. What cannot be followed counts as another column.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyspark.sql.connect import proto
from sqlglot import exp

from proa.graph import plan_proto
from proa.graph.plan_proto import Relation
from proa.graph.sql_text import SqlTexts
from proa.pipelines.identifiers import name_parts
from proa.times import parse_duration

_SAME_ROWS = frozenset(
    {"drop", "hint", "project", "repartition", "subquery_alias", "with_columns"}
    | {"with_columns_renamed"}
)
"""Relations that have one row for each row of their input."""
_KEEPING = _SAME_ROWS | {"filter", "join", "lateral_join", "set_op", "repartition_by_expression"}
_MULTIPLY = ("explode", "inline", "stack", "json_tuple", "variant_explode")


@dataclass(frozen=True)
class TimeColumn:
    """A column that holds the event time, or the tumbling window of it."""

    length: int = 0
    """Of the window, in microseconds; 0 for the time itself."""


def watermark_of(relation: Relation) -> Relation | None:
    """The first relation in the plan that sets a watermark. Returns None if there is none."""
    for node in plan_proto.relations(relation):
        if plan_proto.kind(node) == "with_watermark":
            return node
    return None


def event_time_of(relation: Relation) -> str:
    """The column of the watermark; "" if there is none."""
    mark = watermark_of(relation)
    return "" if mark is None else str(mark.with_watermark.event_time)


def one_for_one(rows: Relation, mark: Relation) -> bool:
    """Whether each row of the watermark is one row of `rows`."""
    node = rows
    while node is not mark:
        kind = plan_proto.kind(node)
        if kind not in _SAME_ROWS:
            return False
        if kind == "project" and any(word in str(node.project.expressions) for word in _MULTIPLY):
            return False
        inputs = [p for p in plan_proto.parts(getattr(node, kind)) if isinstance(p, proto.Relation)]
        node = inputs[0]
    return True


class TimeColumns:
    """Follows columns from a plan's result down to its watermark."""

    def __init__(self, texts: SqlTexts) -> None:
        self._texts = texts

    def find(self, rows: Relation, name: str) -> TimeColumn | None:
        """What the column `name` of the plan's rows holds. Returns None if it is no time of the watermark's."""
        node, name = rows, name.lower()
        while (kind := plan_proto.kind(node)) != "with_watermark":
            inner = getattr(node, kind) if kind else proto.Relation()
            below = [p for p in plan_proto.parts(inner) if isinstance(p, proto.Relation)]
            marked = [p for p in below if watermark_of(p) is not None]
            if not marked:
                return None
            source = self._below(kind, inner, name)
            if isinstance(source, exp.Column):
                node, name = marked[0], source.name.lower()
                continue
            return None if source is None else self._window(marked[0], source)
        return TimeColumn() if name == str(node.with_watermark.event_time).lower() else None

    def _below(self, kind: str, inner: Any, name: str) -> exp.Expr | None:
        """The expression over a relation's input that its column `name` is."""
        items: list[exp.Expr]
        if kind == "with_columns":
            items = [self._alias(alias) for alias in inner.aliases]
            items.append(exp.Star())
        elif kind == "project":
            items = [item for each in inner.expressions for item in self._items(each)]
        elif kind == "with_columns_renamed":
            pairs = [
                *inner.rename_columns_map.items(),
                *((r.col_name, r.new_col_name) for r in inner.renames),
            ]
            items = [exp.alias_(exp.column(old), new) for old, new in pairs]
            if name in (old.lower() for old, _ in pairs):
                items = [item for item in items if item.alias.lower() == name]
            else:
                items.append(exp.Star())
        elif kind == "with_relations":
            tree = self._texts.query(inner.root.sql.query).tree
            if not isinstance(tree, exp.Select) or _is_changed_inside(tree, name):
                return None
            items = list(tree.expressions)
        elif kind in _KEEPING:
            return exp.column(name)
        else:
            return None
        named = [item for item in items if item.alias_or_name.lower() == name]
        if named:
            return named[0].unalias()
        return exp.column(name) if any(item.is_star for item in items) else None

    def _alias(self, alias: Any) -> exp.Expr:
        tree = tree_of(alias.expr, self._texts)
        return exp.alias_(tree, ".".join(alias.name), quoted=True)

    def _items(self, expression: Any) -> list[exp.Expr]:
        kind = expression.WhichOneof("expr_type")
        if kind == "alias":
            return [self._alias(expression.alias)]
        if kind == "unresolved_star":
            return [exp.Star()]
        if kind == "expression_string":
            return list(
                self._texts.expression(expression.expression_string.expression).tree.expressions
            )
        return [tree_of(expression, self._texts)]

    def _window(self, below: Relation, call: exp.Expr) -> TimeColumn | None:
        """A tumbling window() of the event time."""
        if not isinstance(call, exp.Anonymous) or call.name.lower() not in {"window", "windo_"}:
            return None
        [about, *lengths] = call.expressions
        if not isinstance(about, exp.Column) or len(lengths) != 1:
            return None
        found = self.find(below, about.name)
        length = interval_microseconds(lengths[0])
        return TimeColumn(length) if found == TimeColumn() and length else None


def _is_changed_inside(tree: exp.Select, name: str) -> bool:
    """Whether a query inside of the query makes something else of the column."""
    inner = [
        item for part in tree.find_all(exp.Select) if part is not tree for item in part.expressions
    ]
    return any(
        item.alias_or_name.lower() == name
        and not (isinstance(item.unalias(), exp.Column) and item.unalias().name.lower() == name)
        for item in inner
    )


def interval_microseconds(tree: exp.Expr) -> int | None:  # noqa: PLR0911 - one return for each kind
    """The length of an interval, or of a text that says one. Returns None for anything else."""
    if isinstance(tree, exp.Paren | exp.Neg):
        inner = interval_microseconds(tree.this)
        return -inner if inner is not None and isinstance(tree, exp.Neg) else inner
    if isinstance(tree, exp.Add | exp.Sub):
        left, right = interval_microseconds(tree.left), interval_microseconds(tree.right)
        if left is None or right is None:
            return None
        return left + right if isinstance(tree, exp.Add) else left - right
    if isinstance(tree, exp.Interval) and tree.this is not None and tree.args.get("unit"):
        text = f"{tree.this.name or tree.this.sql()} {tree.args['unit'].sql()}"
    elif isinstance(tree, exp.Literal) and tree.is_string:
        text = tree.name
    else:
        return None
    sign = -1 if text.startswith("-") else 1
    if "month" in text.lower() or "year" in text.lower():
        return None  # they are not equally long
    try:
        return sign * round(parse_duration(text.removeprefix("-")) * 1_000_000)
    except ValueError:
        return None


_BINARY: dict[str, type[exp.Binary]] = {
    "and": exp.And,
    "=": exp.EQ,
    "==": exp.EQ,
    "<=>": exp.NullSafeEQ,
    "<": exp.LT,
    "<=": exp.LTE,
    ">": exp.GT,
    ">=": exp.GTE,
    "+": exp.Add,
    "-": exp.Sub,
}


def tree_of(  # noqa: PLR0911 - one return for each kind
    expression: Any, texts: SqlTexts, sides: dict[int, str] | None = None
) -> exp.Expr:
    """A plan's expression as a syntax tree, as far as times are written in it.

    `sides` are the qualifiers of columns that were taken from a relation, by its plan id.
    """
    kind = expression.WhichOneof("expr_type")
    if kind == "unresolved_attribute":
        attribute = expression.unresolved_attribute
        parts = name_parts(attribute.unparsed_identifier)
        side = (sides or {}).get(attribute.plan_id) if attribute.HasField("plan_id") else None
        table = side or (parts[-2] if len(parts) > 1 else None)
        return exp.column(parts[-1], table=table, quoted=True)
    if kind == "alias":
        return tree_of(expression.alias.expr, texts, sides)
    if kind == "expression_string":
        items = texts.expression(expression.expression_string.expression).tree.expressions
        return items[0].unalias() if len(items) == 1 else exp.Null()
    if kind == "literal":
        literal = expression.literal
        if literal.WhichOneof("literal_type") == "day_time_interval":
            return exp.Interval(
                this=exp.Literal.string(str(literal.day_time_interval)),
                unit=exp.var("microseconds"),
            )
        return exp.Literal.string(literal.string) if literal.string else exp.Null()
    if kind == "unresolved_function":
        call = expression.unresolved_function
        arguments = [tree_of(argument, texts, sides) for argument in call.arguments]
        binary = _BINARY.get(call.function_name.lower())
        if binary is not None and len(arguments) == 2:
            return binary(this=arguments[0], expression=arguments[1])
        return exp.Anonymous(this=call.function_name, expressions=arguments)
    return exp.Null()
