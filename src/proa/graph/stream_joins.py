"""A join of two streams, cut into its two sides and what is made of their rows.

The join itself stays the user's own, condition and kind: the engine joins the rows that the sides
remember with those that are new. A hidden number on each row says which pairs are new, and which
rows without a partner will never have one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pyspark.sql.connect import proto
from sqlglot import exp

from proa.graph import plan_proto
from proa.graph.event_times import (
    TimeColumn,
    TimeColumns,
    event_time_of,
    interval_microseconds,
    tree_of,
)
from proa.graph.plan_proto import Relation
from proa.graph.row_places import drop_columns, top_clauses
from proa.graph.sql_mask import TextEdit
from proa.graph.sql_text import SqlTexts, apply_edits

LEFT, RIGHT = "__proa_left", "__proa_right"
"""Hidden columns of the sides' rows: 1 for a new row, plus 2 for one that waits for no partner any more."""
NEW, OVER = 1, 2
_NEW_ROWS = (
    f"({LEFT} % 2 + {RIGHT} % 2 > 0) OR ({RIGHT} IS NULL AND {LEFT} >= {OVER})"
    f" OR ({LEFT} IS NULL AND {RIGHT} >= {OVER})"
)
_type = proto.Join.JoinType
_KINDS = {
    _type.JOIN_TYPE_INNER: "INNER",
    _type.JOIN_TYPE_CROSS: "INNER",
    _type.JOIN_TYPE_LEFT_OUTER: "LEFT",
    _type.JOIN_TYPE_RIGHT_OUTER: "RIGHT",
    _type.JOIN_TYPE_FULL_OUTER: "FULL",
}


_AT_THE_END = ("sort", "cluster", "distribute")
"""Clauses behind WHERE that say nothing of a table's rows; those that do are refused over any stream."""


@dataclass(frozen=True)
class JoinSide:
    """One of two streams that are joined."""

    rows: Relation
    reach: int | None
    """A partner's event time is at most so many microseconds after a row's; None without a bound."""
    keeps: bool
    """Rows without a partner are in the result."""
    delay: int | None = None
    """Microseconds that the watermark is behind the greatest event time; None without one."""
    clock: Relation | None = None
    """Rows that the watermark is about, where some do not reach the join."""
    streams: tuple[str, ...] = ()
    """The names of the orders that its rows come in."""


@dataclass(frozen=True)
class StreamJoin:
    """A join of two streams in a plan."""

    sides: tuple[JoinSide, JoinSide]
    result: Relation
    """What stands in the join's place: the join over the leaves that `released` made."""


def is_stream_join(node: Relation, texts: SqlTexts, is_stream: Callable[[Relation], bool]) -> bool:
    """Whether the relation joins two streams."""
    if plan_proto.kind(node) == "join":
        inputs = (node.join.left, node.join.right)
        return all(any(map(is_stream, plan_proto.relations(side))) for side in inputs)
    if (
        plan_proto.kind(node) == "with_relations"
        and plan_proto.kind(node.with_relations.root) == "sql"
    ):
        return len(_joined_streams(node, texts, is_stream)) > 1
    return False


def cut_join(
    node: Relation,
    texts: SqlTexts,
    is_stream: Callable[[Relation], bool],
    released: Callable[[str], Relation],
) -> StreamJoin | str:
    """Cut a join of two streams. Returns what to name in a refusal if it cannot be computed.

    `released` makes the leaf for the rows of a side (LEFT or RIGHT).
    """
    cutter = _Cutter(texts, is_stream, released)
    return cutter.plan(node) if plan_proto.kind(node) == "join" else cutter.text(node)


class _Cutter:
    def __init__(
        self,
        texts: SqlTexts,
        is_stream: Callable[[Relation], bool],
        released: Callable[[str], Relation],
    ) -> None:
        self._texts = texts
        self._is_stream = is_stream
        self._released = released

    def plan(self, node: Relation) -> StreamJoin | str:
        join = node.join
        kind = _KINDS.get(join.join_type)
        if kind is None:
            return "a semi or anti join of two streams"
        sides = (_copy(join.left), _copy(join.right))
        names = ({_alias_of(sides[0]), LEFT}, {_alias_of(sides[1]), RIGHT})
        qualifiers: dict[int, str] = {}
        for side, qualifier in zip(sides, (LEFT, RIGHT), strict=True):
            for part in plan_proto.relations(side):
                if part.common.HasField("plan_id"):
                    qualifiers[part.common.plan_id] = qualifier
        condition = None
        if join.HasField("join_condition"):
            condition = tree_of(join.join_condition, self._texts, qualifiers)
        bounds = _Bounds(sides, names, self._texts)
        bounds.read(condition, list(join.using_columns))
        result = _copy(node)
        for side, leaf, qualifier in (
            (sides[0], result.join.left, LEFT),
            (sides[1], result.join.right, RIGHT),
        ):
            leaf.CopyFrom(self._leaf(side, qualifier))
        filtered = proto.Relation()
        filtered.common.plan_id = plan_proto.fresh_plan_id()
        filtered.filter.input.CopyFrom(result)
        filtered.filter.condition.expression_string.expression = _NEW_ROWS
        filtered.filter.input.common.plan_id = plan_proto.fresh_plan_id()
        return StreamJoin(_sides(sides, kind, bounds), drop_columns(filtered, [LEFT, RIGHT]))

    def _leaf(self, side: Relation, qualifier: str) -> Relation:
        """What stands for a side: its plan id, and the name that its columns may be asked by."""
        leaf = self._released(qualifier)
        name = _alias_of(side)
        if name:
            leaf = plan_proto.alias(name, leaf)
        if side.common.HasField("plan_id"):
            leaf.common.plan_id = side.common.plan_id
        return leaf

    def text(self, node: Relation) -> StreamJoin | str:
        tables = _joined_streams(node, self._texts, self._is_stream)
        if len(tables) > 2:
            return "a join of more than two streams"
        select = self._texts.query(node.with_relations.root.sql.query).tree
        assert isinstance(select, exp.Select)
        for clause in _AT_THE_END:
            if select.args.get(clause):
                return f"{clause.upper()} BY over a join of two streams"
        joins = {id(join.this): join for join in select.args.get("joins") or ()}
        join = joins[id(tables[1])]
        if (join.kind or "").upper() in {"SEMI", "ANTI"} or join.args.get("method"):
            return f"a {join.kind or join.args.get('method')} join of two streams"
        kind = (join.side or "INNER").upper()
        references = {
            each.subquery_alias.alias.casefold(): each for each in node.with_relations.references
        }
        inputs = tuple(
            _copy(references[table.name.casefold()].subquery_alias.input) for table in tables
        )
        sides = (inputs[0], inputs[1])
        names = tuple({table.alias_or_name} for table in tables)
        bounds = _Bounds(sides, (names[0], names[1]), self._texts)
        shared = [name.name for name in join.args.get("using") or ()]
        bounds.read(join.args.get("on"), shared)
        where = select.args.get("where")
        if kind == "INNER" and where is not None:
            bounds.read(where.this, [])
        text = node.with_relations.root.sql.query
        result = _copy(node)
        for table, qualifier in zip(tables, (LEFT, RIGHT), strict=True):
            for each in result.with_relations.references:
                if each.subquery_alias.alias.casefold() == table.name.casefold():
                    each.subquery_alias.input.CopyFrom(self._released(qualifier))
        at = top_clauses(text, self._texts).get("where")
        edits = [TextEdit(len(text), len(text), f"\nWHERE ({_NEW_ROWS})")]
        if at is not None:
            begin = at + len("where")
            edits = [TextEdit(begin, begin, f" ({_NEW_ROWS}) AND ("), _at_end(text, "\n)")]
        result.with_relations.root.sql.query = apply_edits(text, edits)
        result.common.plan_id = plan_proto.fresh_plan_id()
        return StreamJoin(_sides(sides, kind, bounds), drop_columns(result, [LEFT, RIGHT]))


def _at_end(text: str, more: str) -> TextEdit:
    return TextEdit(len(text), len(text), more)


def _joined_streams(
    node: Relation, texts: SqlTexts, is_stream: Callable[[Relation], bool]
) -> list[exp.Table]:
    """The streams that the outermost query of a text joins, in their order there."""
    tree = texts.query(node.with_relations.root.sql.query).tree
    if not isinstance(tree, exp.Select) or tree.args.get("from_") is None:
        return []
    sources = [tree.args["from_"].this, *(join.this for join in tree.args.get("joins") or ())]
    streams = {
        each.subquery_alias.alias.casefold()
        for each in node.with_relations.references
        if any(map(is_stream, plan_proto.relations(each)))
    }
    return [s for s in sources if isinstance(s, exp.Table) and s.name.casefold() in streams]


def _sides(
    sides: tuple[Relation, Relation], kind: str, bounds: _Bounds
) -> tuple[JoinSide, JoinSide]:
    low = None if bounds.low is None else -bounds.low
    return (
        JoinSide(sides[0], bounds.high, kind in {"LEFT", "FULL"}),
        JoinSide(sides[1], low, kind in {"RIGHT", "FULL"}),
    )


class _Bounds:
    """How far apart the event times of two rows can be that are joined."""

    def __init__(
        self,
        sides: tuple[Relation, Relation],
        names: tuple[set[str], set[str]],
        texts: SqlTexts,
    ) -> None:
        self._sides = sides
        self._names = tuple({name.lower() for name in each if name} for each in names)
        self._columns = TimeColumns(texts)
        self.low: int | None = None
        """The least of the right time minus the left one, in microseconds; None for no bound."""
        self.high: int | None = None

    def read(self, condition: exp.Expr | None, shared: list[str]) -> None:
        """Take what a condition and columns of the same name say."""
        if not all(map(event_time_of, self._sides)):
            return
        for name in shared:
            left, right = (self._columns.find(side, name) for side in self._sides)
            if left is not None and left == right:
                self._near(left)
        for part in _conjuncts(condition):
            self._compare(part)

    def _near(self, column: TimeColumn) -> None:
        """Both rows have the same time, or are in the same window of it."""
        apart = max(column.length - 1, 0)
        self._at_most(apart)
        self._at_least(-apart)

    def _at_most(self, value: int) -> None:
        self.high = value if self.high is None else min(self.high, value)

    def _at_least(self, value: int) -> None:
        self.low = value if self.low is None else max(self.low, value)

    def _compare(self, part: exp.Binary) -> None:
        one, other = self._linear(part.left), self._linear(part.right)
        if one is None or other is None or one[0] == other[0]:
            return
        (side, column, ahead), (_, column_2, behind) = one, other
        if isinstance(part, exp.EQ) and column == column_2 and column.length:
            if ahead == behind:
                self._near(column)
            return
        if column.length or column_2.length:
            return
        apart = behind - ahead  # one - other compares with it
        if side == 0:  # right - left
            is_least, is_most = (
                isinstance(part, exp.LT | exp.LTE),
                isinstance(part, exp.GT | exp.GTE),
            )
            apart = -apart
        else:
            is_least, is_most = (
                isinstance(part, exp.GT | exp.GTE),
                isinstance(part, exp.LT | exp.LTE),
            )
        is_equal = isinstance(part, exp.EQ)
        if is_least or is_equal:
            self._at_least(apart)
        if is_most or is_equal:
            self._at_most(apart)

    def _linear(self, tree: exp.Expr) -> tuple[int, TimeColumn, int] | None:
        """A time of a side (0, 1) and how much is added to it."""
        if isinstance(tree, exp.Paren):
            return self._linear(tree.this)
        if isinstance(tree, exp.Column):
            return self._side(tree)
        if not isinstance(tree, exp.Add | exp.Sub):
            return None
        left, right, length = self._linear(tree.left), None, interval_microseconds(tree.right)
        if left is None and isinstance(tree, exp.Add):
            right, length = self._linear(tree.right), interval_microseconds(tree.left)
        base = left or right
        if base is None or length is None:
            return None
        side, column, ahead = base
        return side, column, ahead + (length if isinstance(tree, exp.Add) else -length)

    def _side(self, tree: exp.Column) -> tuple[int, TimeColumn, int] | None:
        found = [
            (index, column, 0)
            for index, side in enumerate(self._sides)
            if (not tree.table or tree.table.lower() in self._names[index])
            and (column := self._columns.find(side, tree.name)) is not None
        ]
        return found[0] if len(found) == 1 else None


def _conjuncts(tree: exp.Expr | None) -> Iterator[exp.Binary]:
    """The comparisons that must all hold."""
    if isinstance(tree, exp.Paren):
        yield from _conjuncts(tree.this)
    elif isinstance(tree, exp.And):
        yield from _conjuncts(tree.left)
        yield from _conjuncts(tree.right)
    elif isinstance(tree, exp.Between):
        yield exp.GTE(this=tree.this, expression=tree.args["low"])
        yield exp.LTE(this=tree.this, expression=tree.args["high"])
    elif isinstance(tree, exp.EQ | exp.LT | exp.LTE | exp.GT | exp.GTE):
        yield tree


def _alias_of(relation: Relation) -> str:
    """The name by which the columns of a relation can be asked for; "" if it has none."""
    node = relation
    while True:
        kind = plan_proto.kind(node)
        if kind == "subquery_alias":
            return str(node.subquery_alias.alias)
        inner = getattr(node, kind) if kind else None
        inputs = (
            [p for p in plan_proto.parts(inner) if isinstance(p, proto.Relation)] if inner else []
        )
        if len(inputs) != 1 or kind in {"aggregate", "with_relations"}:
            return ""
        node = inputs[0]


def _copy(relation: Any) -> Relation:
    copy = proto.Relation()
    copy.CopyFrom(relation)
    return copy


def own_ids(result: Relation, sides: tuple[Relation, Relation]) -> None:
    """Let columns that were taken from inside of a side be taken from what stands for it."""
    outer = {
        part.common.plan_id: side.common.plan_id
        for side in sides
        if side.common.HasField("plan_id")
        for part in plan_proto.relations(side)
        if part.common.HasField("plan_id")
    }
    for part in plan_proto.walk(result):
        if isinstance(part, proto.Relation | proto.RelationCommon):
            continue
        names = part.DESCRIPTOR.fields_by_name
        if "plan_id" in names and part.HasField("plan_id") and part.plan_id in outer:
            part.plan_id = outer[part.plan_id]
