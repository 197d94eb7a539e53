"""Streaming queries that would need state between batches, refused by name with the remedy.

A batch is computed from the rows that arrived since the last one. What must look across batches
(aggregates, duplicates, joins of two streams, sorting, windows) would come out differently for
every way of cutting the batches, so it is refused, not computed wrongly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from pyspark.sql.connect import proto
from sqlglot import exp

from proa.errors import PipelineError, SourceLocation
from proa.graph import plan_proto
from proa.graph.plan_proto import Relation
from proa.graph.spark_functions import AGGREGATES
from proa.graph.sql_text import STREAM

CONDITION = "UNSUPPORTED_STREAMING_OPERATOR"

_MATERIALIZE = "write the result as a materialized view, which is computed from all rows"

_REFUSED = {
    "with_watermark": "a watermark",
    "aggregate": "an aggregation",
    "deduplicate": "removing duplicates",
    "limit": "a limit",
    "offset": "an offset",
    "tail": "tail()",
    "group_map": "applying a function to groups",
    "co_group_map": "applying a function to co-grouped tables",
    "apply_in_pandas_with_state": "a function with state",
    "as_of_join": "an as-of join",
    "lateral_join": "a lateral join",
    "nearest_by_join": "a nearest-by join",
    "transpose": "transposing",
    "summary": "summary statistics",
    "describe": "summary statistics",
    "crosstab": "a cross-tabulation",
    "cov": "a covariance",
    "corr": "a correlation",
    "approx_quantile": "quantiles",
    "freq_items": "frequent items",
    "sample_by": "a stratified sample",
}

_join = proto.Join.JoinType
_STREAM_MUST_BE = {
    _join.JOIN_TYPE_LEFT_OUTER: "left",
    _join.JOIN_TYPE_LEFT_SEMI: "left",
    _join.JOIN_TYPE_LEFT_ANTI: "left",
    _join.JOIN_TYPE_RIGHT_OUTER: "right",
    _join.JOIN_TYPE_FULL_OUTER: "nowhere",
}

Streams = Callable[[Relation], bool | None]
"""Whether a relation is a stream by itself; None when that depends on what is below it."""


def check(plan: Relation, is_leaf_stream: Streams, location: SourceLocation) -> None:
    """PipelineError for the first operator over a stream that would need state.

    `is_leaf_stream` knows the leaves; `location` is used where the plan does not say where.
    """
    _Checker(is_leaf_stream, location).streams(plan)


class _Checker:
    def __init__(self, is_leaf_stream: Streams, location: SourceLocation) -> None:
        self.is_leaf_stream = is_leaf_stream
        self.location = location

    def streams(self, relation: Relation) -> bool:
        """Whether the relation is a stream. Refuses what needs state on the way."""
        known = self.is_leaf_stream(relation)
        if known is not None:
            return known
        kind = plan_proto.kind(relation)
        node = getattr(relation, kind, None) if kind else None
        if node is None:
            return False
        if kind == "join":
            return self._join(node)
        if kind == "set_op":
            return self._set_operation(node)
        if kind == "with_relations":
            return self._with_relations(node)
        streaming = [self.streams(child) for child in _inputs(node)]  # each is checked
        if not any(streaming):
            return False
        if kind in _REFUSED:
            self.refuse(_REFUSED[kind], node)
        if kind == "sort" and node.is_global:
            self.refuse("sorting", node)
        if kind in ("project", "with_columns", "filter"):
            self._expressions(node)
        return True

    def _join(self, node: Any) -> bool:
        left, right = self.streams(node.left), self.streams(node.right)
        if left and right:
            self.refuse("a join of two streams", node)
        must_be = _STREAM_MUST_BE.get(node.join_type)
        if (left or right) and must_be not in (None, "left" if left else "right"):
            self.refuse(_outer_join(must_be), node)
        return left or right

    def _set_operation(self, node: Any) -> bool:
        left, right = self.streams(node.left_input), self.streams(node.right_input)
        if not (left or right):
            return False
        if node.set_op_type != proto.SetOperation.SET_OP_TYPE_UNION:
            self.refuse("INTERSECT or EXCEPT", node)
        if not node.is_all:
            self.refuse("UNION without ALL", node)
        if left != right:
            self.refuse(
                "a union with a table that is not one",
                node,
                "feed the streaming table by two flows, one of them with once=True",
            )
        return True

    def _with_relations(self, node: Any) -> bool:
        streaming = self.streams(node.root)
        for reference in node.references:
            if not self.streams(reference):
                continue
            if plan_proto.kind(node.root) == "sql":
                streaming = True  # how the text uses it was checked when the text was read
            else:
                self.refuse("a subquery", node, "join the stream with a table instead")
        return streaming

    def _expressions(self, node: Any) -> None:
        for part in plan_proto.walk(node):
            if isinstance(part, proto.Relation):
                continue
            if isinstance(part, proto.Expression.Window):
                self.refuse("a window function", node)
            if (
                isinstance(part, proto.Expression.UnresolvedFunction)
                and part.function_name.lower() in AGGREGATES
            ):
                self.refuse(f"the aggregate {part.function_name}()", node)

    def refuse(self, what: str, node: Any, remedy: str = _MATERIALIZE) -> NoReturn:
        where = next(
            filter(None, (plan_proto.location(part) for part in plan_proto.own_parts(node))), None
        )
        raise error(what, where or self.location, remedy)


def error(what: str, location: SourceLocation | None, remedy: str = _MATERIALIZE) -> PipelineError:
    """The refusal of `what` over a stream."""
    return PipelineError(
        f"{what} over a stream would depend on how a region cuts its batches; {remedy}",
        condition=CONDITION,
        location=location,
    )


def _outer_join(must_be: str | None) -> str:
    if must_be == "nowhere":
        return "a full outer join"
    return (
        f"an outer, semi or anti join whose {must_be} side is a table and whose other side is one"
    )


def _inputs(node: Any) -> Iterator[Relation]:
    """The relations that are inputs of the node, not those inside of its expressions."""
    for field, value in node.ListFields():
        if field.message_type is None or field.message_type.full_name != "spark.connect.Relation":
            continue
        yield from [value] if hasattr(value, "ListFields") else value


# -- SQL ------------------------------------------------------------------------------------------


class SqlChecker:
    """Refuses what needs state in a SQL query's syntax tree."""

    def __init__(self, locate: Callable[[exp.Expr], SourceLocation | None]) -> None:
        self.locate = locate

    def streams(self, node: exp.Expr, tables: Mapping[str, bool]) -> bool:
        """Whether the query is a stream; `tables` are the common table expressions in sight."""
        tables = dict(tables)
        clause = node.args.get("with_")
        for cte in clause.expressions if clause else ():
            tables[cte.alias.casefold()] = self.streams(cte.this, tables)
        if isinstance(node, exp.Select):
            return self._select(node, tables)
        if isinstance(node, exp.SetOperation):
            return self._set_operation(node, tables)
        if isinstance(node, exp.Subquery):
            inner = self.streams(node.this, tables)
            return self._modifiers(node, self._joins(node, inner, tables))
        if isinstance(node, exp.Table):
            return self._joins(node, self._table(node, tables), tables)
        if isinstance(node, exp.Lateral):
            return False
        return False

    def _table(self, node: exp.Table, tables: Mapping[str, bool]) -> bool:
        if node.meta.get(STREAM):
            return True
        if node.db or node.catalog:
            return False
        return tables.get(node.name.casefold(), False)

    def _select(self, node: exp.Select, tables: Mapping[str, bool]) -> bool:
        source = node.args.get("from_")
        streaming = self.streams(source.this, tables) if source else False
        streaming = self._joins(node, streaming, tables)
        self._subqueries(node, tables)
        if not streaming:
            return False
        for key, what in (("group", "GROUP BY"), ("having", "HAVING"), ("distinct", "DISTINCT")):
            if node.args.get(key):
                self.refuse(what, node.args[key])
        for part in _own_expressions(node):
            if isinstance(part, exp.Window):
                self.refuse("a window function", part)
            if isinstance(part, exp.AggFunc) or (
                isinstance(part, exp.Anonymous) and part.name.lower() in AGGREGATES
            ):
                self.refuse(f"the aggregate {_called(part)}()", part)
        return self._modifiers(node, streaming)

    def _modifiers(self, node: exp.Expr, streaming: bool) -> bool:  # noqa: FBT001
        if streaming:
            for key, what in (
                ("order", "ORDER BY"),
                ("limit", "LIMIT"),
                ("offset", "OFFSET"),
                ("qualify", "QUALIFY"),
                ("pivots", "PIVOT"),
            ):
                found = node.args.get(key)
                if found:
                    self.refuse(what, found[0] if isinstance(found, list) else found)
        return streaming

    def _joins(self, node: exp.Expr, streaming: bool, tables: Mapping[str, bool]) -> bool:  # noqa: FBT001
        for join in node.args.get("joins") or ():
            other = self.streams(join.this, tables)
            if streaming and other:
                self.refuse("a join of two streams", join)
            side, kind = (join.side or "").upper(), (join.kind or "").upper()
            if streaming or other:
                self._side(join, side, kind, streaming)
            streaming = streaming or other
        return streaming

    def _side(self, join: exp.Join, side: str, kind: str, left_streams: bool) -> None:  # noqa: FBT001
        if side == "FULL":
            self.refuse(_outer_join("nowhere"), join)
        must_be = "right" if side == "RIGHT" else "left"
        one_sided = side in ("LEFT", "RIGHT") or kind in ("SEMI", "ANTI")
        if one_sided and (must_be == "left") != left_streams:
            self.refuse(_outer_join(must_be), join)

    def _set_operation(self, node: exp.SetOperation, tables: Mapping[str, bool]) -> bool:
        left, right = self.streams(node.this, tables), self.streams(node.expression, tables)
        if not (left or right):
            return False
        if not isinstance(node, exp.Union):
            self.refuse("INTERSECT or EXCEPT", node)
        if node.args.get("distinct"):
            self.refuse("UNION without ALL", node)
        if left != right:
            raise error(
                "a union with a table that is not one",
                self.locate(node),
                "feed the streaming table by two flows, one of them INSERT INTO ONCE",
            )
        return self._modifiers(node, streaming=True)

    def _subqueries(self, node: exp.Select, tables: Mapping[str, bool]) -> None:
        for part in _own_expressions(node, into_subqueries=True):
            if isinstance(part, exp.Query) and self.streams(part, tables):
                raise error("a subquery", self.locate(part), "join the stream with a table instead")

    def refuse(self, what: str, node: exp.Expr) -> NoReturn:
        raise error(what, self.locate(node))


_SOURCES = ("from_", "joins", "with_", "laterals")


def _own_expressions(node: exp.Select, *, into_subqueries: bool = False) -> Iterator[exp.Expr]:
    """The parts of a select that are neither its sources nor inside of another query.

    With `into_subqueries`, the nested queries themselves are among them.
    """
    pending: list[Any] = [value for key, value in node.args.items() if key not in _SOURCES]
    while pending:
        part = pending.pop()
        if isinstance(part, list):
            pending.extend(part)
        elif isinstance(part, exp.Query):
            if into_subqueries:
                yield part
        elif isinstance(part, exp.Expr):
            yield part
            pending.extend(part.args.values())


def _called(part: exp.Expr) -> str:
    return part.sql(dialect="databricks").partition("(")[0].lower()
