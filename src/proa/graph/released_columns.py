"""Which columns an operator with state must keep of its rows: those that the query names anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pyspark.sql.connect import proto
from sqlglot import exp

from proa.engine.spark_functions import GENERATORS
from proa.graph import plan_proto
from proa.graph.plan_proto import Message, Relation
from proa.graph.sql_text import SqlTexts
from proa.pipelines.identifiers import name_parts

_ROW_BY_ROW = frozenset({"project", "with_columns", "filter", "subquery_alias"})
"""Relations that make one row of a row, or none, and whose columns are named by expressions."""


class _UnknownError(Exception):
    """The names do not say which columns count."""


class ColumnNames:
    """Finds what a query names."""

    def __init__(self, texts: SqlTexts, is_released: Callable[[Relation], bool]) -> None:
        """`is_released` tells the leaf that stands for the operator's rows."""
        self._texts = texts
        self._is_released = is_released

    def find(self, below: list[Relation], above: Relation) -> frozenset[str] | None:
        """The names, in lower case, of all columns that count, and of others.

        `below` are plans that lead to the operator, `above` leads away from it. Returns None if any
        column may count: some reach the result without a name, or one row becomes several.
        """
        names: set[str] = set()
        try:
            for plan in below:
                for node in plan_proto.relations(plan):
                    if plan_proto.kind(node) not in {*_ROW_BY_ROW, "read"}:
                        return None
                    names.update(self._names(node, stars=True))
            for node in self._way_up(above):
                kind = plan_proto.kind(node)
                ends = kind in {"aggregate", "with_relations"}
                if not ends and kind not in _ROW_BY_ROW:
                    return None
                names.update(self._names(node, stars=not ends))
                if ends or (kind == "project" and not any(map(_is_star, node.project.expressions))):
                    return frozenset(names)
        except _UnknownError:
            pass
        return None

    def _way_up(self, plan: Relation) -> list[Relation]:
        """The relations between the operator's rows and the result, the lowest first."""
        if self._is_released(plan):
            return []
        ways = [
            self._way_up(child)
            for child in _inputs(plan)
            if any(map(self._is_released, plan_proto.relations(child)))
        ]
        if len(ways) != 1:
            raise _UnknownError
        return [*ways[0], plan]

    def _names(self, node: Relation, *, stars: bool) -> Iterator[str]:
        """What a relation names; `stars`: all columns may be passed on."""
        kind = plan_proto.kind(node)
        if kind == "with_relations":
            if plan_proto.kind(node.with_relations.root) != "sql":
                raise _UnknownError
            yield from _identifiers(self._texts.query(node.with_relations.root.sql.query).tree)
            return
        for part in plan_proto.parts(getattr(node, kind)):
            if not isinstance(part, proto.Relation) and not (stars and _is_star(part)):
                yield from self._named_in(part)

    def _named_in(self, part: Message) -> Iterator[str]:
        if isinstance(part, proto.Relation):
            raise _UnknownError
        if isinstance(part, proto.Expression):
            kind = part.WhichOneof("expr_type")
            if kind == "expression_string":
                text = part.expression_string.expression
                yield from _identifiers(self._texts.expression(text).tree)
                return
            if kind in {"unresolved_star", "unresolved_regex", "subquery_expression"}:
                raise _UnknownError
            if kind == "unresolved_attribute":
                yield from map(str.lower, name_parts(part.unresolved_attribute.unparsed_identifier))
            if kind == "unresolved_function":
                call = part.unresolved_function
                name = call.function_name.lower()
                if name in GENERATORS:
                    raise _UnknownError
                if name == "count" and not call.is_distinct and all(map(_is_star, call.arguments)):
                    return
        for inner in plan_proto.parts(part):
            yield from self._named_in(inner)


def _is_star(part: Any) -> bool:
    return isinstance(part, proto.Expression) and part.WhichOneof("expr_type") == "unresolved_star"


def _identifiers(tree: Any) -> Iterator[str]:
    """All names in an SQL text, in lower case, those of columns among them."""
    for star in tree.find_all(exp.Star):
        if not isinstance(star.parent, exp.Count):
            raise _UnknownError
    for name in tree.find_all(exp.Identifier):
        yield str(name.this).lower()


def _inputs(message: Message) -> Iterator[Relation]:
    """The relations right below a relation."""
    for part in plan_proto.parts(message):
        if isinstance(part, proto.Relation):
            yield part
        else:
            yield from _inputs(part)
