"""Carries hidden columns through a plan that works row by row, from what it reads to its result.

A row keeps its place in the order of shipments on the way through filters and projections, so that
what comes later can tell which row was first. Where a plan does not let a row's origin be seen, it
is refused, with the remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pyspark.sql.connect import proto
from sqlglot import exp

from proa.formats.place import PLACE, TIME
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
        if not (kind in _PASSING or (kind == "sort" and not node.is_global) or kind in _JOINS):
            raise LostPlaceError(f"an operator that hides where its rows come from ({kind})")
        is_mark = kind == "with_columns" and [list(a.name) for a in node.aliases] == [[TIME]]
        return (*hidden, TIME) if is_mark else hidden

    def _project(self, node: proto.Project, hidden: Hidden) -> Hidden:
        stars = [self._is_star(expression) for expression in node.expressions]
        if not any(stars):
            node.expressions.extend(map(column_reference, hidden))
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
            raise LostPlaceError("a set operation over a stream other than UNION ALL of streams")
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
        if others:
            raise LostPlaceError("a join of two streams")
        text = node.root.sql.query
        edits = [
            TextEdit(at, at, f", {', '.join(hidden)} ") for at in self._ends(text, set(streams))
        ]
        node.root.sql.query = apply_edits(text, edits)
        return hidden

    def _ends(self, text: str, streams: set[str]) -> list[int]:
        """Where the select lists end that must name the hidden columns, for them to be in the result.

        `streams` are the names of the streams. Raises LostPlaceError.
        """
        read = self._texts.query(text)
        if read.tree.find(exp.SetOperation):
            raise LostPlaceError("a set operation inside of a text; write it as a view of its own")
        found: list[int] = []
        carrying = set(streams)
        for part in query_spans(text, self._texts):
            if not part.names & carrying:
                continue
            if part.groups:
                raise LostPlaceError("GROUP BY or DISTINCT")
            if part.name:
                carrying.add(part.name)
            if part.stars_inside:
                raise LostPlaceError("a star inside of an expression; name the columns")
            if not part.has_star:
                found.append(part.end)
        return found


@dataclass(frozen=True)
class QuerySpan:
    """One SELECT of a text."""

    name: str
    """The name that its rows have around it; "" where none can read them by a name."""
    names: frozenset[str]
    """What it reads: names of tables and of queries with a name, and of all in its subqueries."""
    end: int
    """Where its select list ends."""
    has_star: bool
    """Whether all columns of what it reads are selected."""
    stars_inside: bool
    groups: bool


_BEHIND_FROM = frozenset(
    {"where", "group", "having", "order", "limit", "qualify", "union", "cluster"}
)
_NEXT_SOURCE = frozenset(
    {
        "join",
        "inner",
        "left",
        "right",
        "full",
        "cross",
        "semi",
        "anti",
        "natural",
        "lateral",
        ",",
        "on",
    }
)


class _OpenSelect:
    """A SELECT on the way through its tokens."""

    def __init__(self, name: str, depth: int) -> None:
        self.name = name
        self.depth = depth
        self.end = 0
        self.names: set[str] = set()
        self.stars: set[str] = set()
        self.first_source = ""
        self.is_first = True
        self.stars_inside = self.groups = self.is_over = False

    def part(self) -> QuerySpan:
        has_star = bool(self.stars & {"", self.first_source})
        lost = self.stars - {"", self.first_source} and not has_star
        return QuerySpan(
            self.name,
            frozenset(self.names),
            self.end,
            has_star,
            self.stars_inside or bool(lost),
            self.groups,
        )


def query_spans(text: str, texts: SqlTexts) -> list[QuerySpan]:
    """The SELECTs of a text, in the order in which they begin."""
    words = [t.text.lower().split(" ")[0] for t in texts.query(text).tokens]
    starts = [t.start for t in texts.query(text).tokens]
    found: list[_OpenSelect] = []
    active: list[_OpenSelect] = []
    depth = 0
    for index, word in enumerate(words):
        before = words[index - 1] if index else ""
        if word == "(":
            depth += 1
        elif word == ")":
            depth -= 1
            active = [each for each in active if each.depth <= depth]
        elif word == "select":
            named = before == "(" and index > 2 and words[index - 2] == "as"
            found.append(_OpenSelect(words[index - 3] if named else "", depth))
            active.append(found[-1])
        else:
            for each in active:
                _take_word(each, words, index, starts[index], depth)
    return [each.part() for each in found]


def _take_word(each: _OpenSelect, words: list[str], index: int, start: int, depth: int) -> None:
    own = depth == each.depth
    if not each.end:
        if own and words[index] == "from" and words[index - 1] != "distinct":
            each.end = start
        else:
            _take_item(each, words, index, own=own)
    elif own and words[index] in _BEHIND_FROM:
        each.is_over = True
        each.groups = each.groups or words[index] == "group"
    elif not each.is_over:
        each.names.add(words[index])
        if own and words[index] in _NEXT_SOURCE:
            each.is_first = False
        elif own and each.is_first:
            each.first_source = words[index]


def _take_item(each: _OpenSelect, words: list[str], index: int, *, own: bool) -> None:
    """Look at a word of a select list."""
    before = words[index - 1]
    if own and words[index] == "distinct" and before == "select":
        each.groups = True
    elif words[index] != "*":
        return
    elif own and before in {"select", "all", ","}:
        each.stars.add("")
    elif own and before == ".":
        each.stars.add(words[index - 2])
    elif before in {"(", ","} and words[index - 2] != "count":
        each.stars_inside = True


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


def column_reference(name: str) -> proto.Expression:
    """A reference to a column."""
    expression = proto.Expression()
    expression.unresolved_attribute.unparsed_identifier = name
    return expression


def drop_columns(relation: Relation, names: Iterable[str]) -> Relation:
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
        moved = add_column(moved, f"{name}_", column_reference(name))
    moved = drop_columns(moved, names)
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
