"""Carries hidden columns through a plan that works row by row, from what it reads to its result.

A row keeps its place in the order of shipments on the way through filters and projections, so that
what comes later can tell which row was first. Where a plan does not let a row's origin be seen, it
is refused, with the remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pyspark.sql.connect import proto
from sqlglot import exp

from proa.formats.place import PLACE
from proa.graph import plan_proto
from proa.graph.plan_proto import Relation
from proa.graph.sql_mask import TextEdit
from proa.graph.sql_text import SqlTexts, apply_edits

Hidden = tuple[str, ...]
"""Names of the hidden columns that a relation yields, the place first."""

_PASSING = frozenset(
    {
        "drop",
        "filter",
        "hint",
        "repartition",
        "repartition_by_expression",
        "subquery_alias",
        "with_columns",
        "with_columns_renamed",
    }
)
"""Relations that yield all columns of their input that they do not name."""
_JOINS = frozenset({"join", "lateral_join"})


class LostPlaceError(Exception):
    """A plan loses the places of its rows; the argument says where, and what to do."""


class RowPlaces:
    """Makes plans carry hidden columns."""

    def __init__(self, texts: SqlTexts, is_stream: Callable[[Relation], bool]) -> None:
        """`is_stream` tells the relations whose rows have a place."""
        self._texts = texts
        self._is_stream = is_stream

    def carry(self, relation: Relation) -> Hidden:
        """Change the plan so that its rows have the hidden columns of its streams; which these are.

        Raises LostPlaceError.
        """
        if self._is_stream(relation):
            return (PLACE,)
        kind = plan_proto.kind(relation)
        node: Any = getattr(relation, kind) if kind else proto.Relation()
        if kind == "with_relations":
            return self._with_relations(node)
        if kind == "set_op":
            return self._union(node)
        inputs = [part for part in plan_proto.parts(node) if isinstance(part, proto.Relation)]
        carried = [hidden for hidden in map(self.carry, inputs) if hidden]
        if not carried:
            return ()
        [hidden, *others] = carried
        if others:
            raise LostPlaceError("a join of two streams")
        if kind == "project":
            return self._project(node, hidden)
        if kind == "with_columns" and any(alias.name[0] in hidden for alias in node.aliases):
            raise LostPlaceError("a column with a reserved name (__proa_...)")
        if kind in _PASSING or (kind == "sort" and not node.is_global) or kind in _JOINS:
            return hidden
        raise LostPlaceError(f"an operator that hides where its rows come from ({kind})")

    def _project(self, node: proto.Project, hidden: Hidden) -> Hidden:
        stars = [self._is_star(expression) for expression in node.expressions]
        if not any(stars):
            node.expressions.extend(map(column, hidden))
        return hidden

    def _is_star(self, expression: proto.Expression) -> bool:
        """Whether an item is `*`. Raises LostPlaceError for a star inside of something."""
        kind = expression.WhichOneof("expr_type")
        if kind == "unresolved_star":
            if expression.unresolved_star.unparsed_target:
                raise LostPlaceError("a star of one table (t.*); name the columns")
            return True
        if kind == "expression_string":
            tree = self._texts.expression(expression.expression_string.expression).tree
            items = tree.expressions
            if len(items) == 1 and isinstance(items[0], exp.Star):
                return True
            _check_stars(items)
            return False
        if any(isinstance(part, proto.Expression.UnresolvedStar) for part in _inside(expression)):
            raise LostPlaceError("a star inside of an expression; name the columns")
        return False

    def _union(self, node: proto.SetOperation) -> Hidden:
        left, right = self.carry(node.left_input), self.carry(node.right_input)
        if not left and not right:
            return ()
        union = proto.SetOperation.SetOpType.SET_OP_TYPE_UNION
        if set(left) != set(right) or node.set_op_type != union or not node.is_all:
            raise LostPlaceError("a set operation over a stream that is no UNION ALL of streams")
        for side in (node.left_input, node.right_input):
            _move_last(side, left)
        return left

    def _with_relations(self, node: proto.WithRelations) -> Hidden:
        carried = {
            reference.subquery_alias.alias.casefold(): self.carry(reference)
            for reference in node.references
        }
        if plan_proto.kind(node.root) != "sql":
            if any(carried.values()):
                raise LostPlaceError("a subquery over a stream")
            return self.carry(node.root)
        streams = {name: hidden for name, hidden in carried.items() if hidden}
        if not streams:
            return ()
        [hidden, *others] = streams.values()
        read = self._texts.query(node.root.sql.query)
        selects = list(read.tree.find_all(exp.Select))
        if len(selects) != 1 or others:
            raise LostPlaceError(
                "a text with several SELECTs over a stream; write each as a view of its own"
                " (CREATE TEMPORARY VIEW)"
            )
        [select] = selects
        if select.args.get("group") or select.args.get("distinct"):
            raise LostPlaceError("GROUP BY or DISTINCT")
        items = select.expressions
        if any(isinstance(item, exp.Star) for item in items):
            return hidden
        qualified = [i for i in items if isinstance(i, exp.Column) and isinstance(i.this, exp.Star)]
        if qualified:
            source = select.args["from_"].this.alias_or_name
            if any(item.table.casefold() == source.casefold() for item in qualified):
                return hidden
        _check_stars([item for item in items if item not in qualified])
        clauses = top_clauses(node.root.sql.query, self._texts)
        at = clauses["from"]
        text = "".join(f", {name}" for name in hidden)
        edit = TextEdit(at, at, f"{text} ")
        node.root.sql.query = apply_edits(node.root.sql.query, [edit])
        return hidden


def top_clauses(text: str, texts: SqlTexts) -> dict[str, int]:
    """Where the clauses of a text's outermost query begin, by their first words."""
    found: dict[str, int] = {}
    depth, before = 0, ""
    for token in texts.query(text).tokens:
        word = token.text.lower().split(" ")[0]  # GROUP BY is one token
        depth += (word == "(") - (word == ")")
        if depth == 0 and word in _CLAUSES and before not in {"distinct", "."}:
            found.setdefault(word, token.start)
        before = word
    return found


_CLAUSES = frozenset({"select", "distinct", "from", "where", "group", "having", "qualify"})


def column(name: str) -> proto.Expression:
    """A reference to a column."""
    expression = proto.Expression()
    expression.unresolved_attribute.unparsed_identifier = name
    return expression


def drop(relation: Relation, names: Iterable[str]) -> Relation:
    """The relation without the columns."""
    outer = proto.Relation()
    outer.common.plan_id = plan_proto.fresh_plan_id()
    outer.drop.input.CopyFrom(relation)
    outer.drop.column_names.extend(names)
    return outer


def add_column(relation: Relation, name: str, value: proto.Expression) -> Relation:
    """The relation with one more column, the last."""
    outer = proto.Relation()
    outer.common.plan_id = plan_proto.fresh_plan_id()
    outer.with_columns.input.CopyFrom(relation)
    alias = outer.with_columns.aliases.add()
    alias.name.append(name)
    alias.expr.CopyFrom(value)
    return outer


def _move_last(relation: Relation, names: Hidden) -> None:
    """Put the columns behind all others: a union goes by positions."""
    moved = relation
    for name in names:
        moved = add_column(moved, f"{name}_", column(name))
    moved = drop(moved, names)
    renamed = proto.Relation()
    renamed.with_columns_renamed.input.CopyFrom(moved)
    for name in names:
        rename = renamed.with_columns_renamed.renames.add()
        rename.col_name, rename.new_col_name = f"{name}_", name
    plan_proto.replace(relation, renamed)


def _inside(expression: proto.Expression) -> Iterable[object]:
    """What is inside an expression, without what `count(*)` counts."""
    for part in plan_proto.parts(expression):
        if (
            isinstance(part, proto.Expression.UnresolvedFunction)
            and part.function_name.lower() == "count"
        ):
            continue
        yield part
        yield from _inside(part)


def _check_stars(items: Iterable[exp.Expr]) -> None:
    for item in items:
        for star in item.find_all(exp.Star):
            if not isinstance(star.parent, exp.Count):
                raise LostPlaceError("a star inside of an expression; name the columns")
