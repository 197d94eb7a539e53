"""A query with an operator over a stream that remembers rows, cut in two at that operator.

Below it, rows are computed from what is new; what it lets through is decided between (by the state
and the order of shipments); above it, the result is computed from what it let through. All three
are the user's own plan, so the engine computes nothing but queries over given rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, NoReturn

from pyspark.sql.connect import proto
from sqlglot import exp

from proa.errors import PipelineError, SourceLocation
from proa.formats.place import PLACE, TIME
from proa.graph import plan_proto
from proa.graph.event_times import TimeColumns, event_time_of, one_for_one
from proa.graph.plan_proto import Relation
from proa.graph.released_columns import ColumnNames
from proa.graph.row_places import (
    LostPlaceError,
    RowPlaces,
    add_column,
    column_reference,
    drop_columns,
    top_clauses,
)
from proa.graph.sql_mask import TextEdit
from proa.graph.sql_text import SqlTexts, apply_edits
from proa.graph.stream_joins import RIGHT, JoinSide, cut_join, is_stream_join, own_ids
from proa.pipelines.identifiers import name_parts
from proa.text import quote_identifier
from proa.times import parse_duration

CONDITION = "UNSUPPORTED_STREAMING_OPERATOR"
RELEASED = "proa:released"
"""The leaf that stands above the operator for the rows that it let through."""
RELEASED_RIGHT = "proa:released:right"
"""Of a join the leaf for the rows of its right side."""
_RELEASED_OPTION = "proa.leaf"
KEY = "__proa_key_"
"""Begins the names of the hidden columns that a session's rows are grouped by."""
WINDOWS = frozenset({"window", "windo_", "session_window"})
_NAME = "__proa_released"


class StatefulOperator(StrEnum):
    """What an operator lets through."""

    DEDUPLICATE = "deduplicate"
    """The first row of each key."""
    DEDUPLICATE_WITHIN = "deduplicate within watermark"
    """The first row of each key, and once more when the watermark has passed it."""
    WINDOW = "window"
    """The rows of windows that no row can come for any more."""
    SESSION = "session"
    """The rows of sessions that no row can come for any more."""
    JOIN = "join"
    """The rows of two streams that a new pair is made of, or that stay without a partner."""


@dataclass(frozen=True)
class EventWindow:
    """Windows of event time. All in microseconds."""

    length: int
    """Of a session: the gap that ends it. 0: each moment is a window."""
    slide: int
    offset: int = 0


@dataclass(frozen=True)
class StatefulPlan:
    """A query, cut at its operator."""

    operator: StatefulOperator
    rows: Relation
    """What the operator gets: rows with hidden columns, their place at least."""
    result: Relation
    """What is made of the rows that it lets through: a plan over the leaf `RELEASED`."""
    keys: tuple[str, ...] = ()
    """Columns of `rows` that tell rows apart; for DEDUPLICATE none means all."""
    delay: int | None = None
    """Microseconds that the watermark is behind the greatest event time; None without one."""
    forgets: bool = False
    """A key may be forgotten once the watermark has passed its row: the event time is part of it."""
    window: EventWindow | None = None
    clock: Relation | None = None
    """Rows with PLACE and TIME that the watermark is about, where some do not reach the operator."""
    outline: Relation | None = None
    """A batch query with the result's columns, for an operator that engines do not have."""
    streams: tuple[str, ...] = ()
    """The names of all orders that its rows come in."""
    sides: tuple[JoinSide, ...] = ()
    """Of a join; its `rows` are those of the left one."""
    columns: frozenset[str] | None = None
    """Names, in lower case, of all columns that count at the operator and below it; None: any."""
    leaf: str = ""
    """The key of the leaf that `columns` are of as well."""
    location: SourceLocation | None = None

    @property
    def contract(self) -> dict[str, Any]:
        """What must not change while there is state."""
        window = self.window
        sides = (
            {"sides": [[side.delay, side.reach, side.keeps] for side in self.sides]}
            if self.sides
            else {}
        )
        return {
            **sides,
            "operator": self.operator.value,
            "keys": list(self.keys) if self.operator is not StatefulOperator.SESSION else [],
            "delay": self.delay,
            "window": [window.length, window.slide, window.offset] if window else None,
        }


def cut_stateful_plan(template: Relation, reader: StatefulReader) -> StatefulPlan | None:
    """Cut a plan at its operator with state. Returns None if it has none.

    Raises PipelineError for what has no meaning that is the same in every region.
    """
    plan = proto.Relation()
    plan.CopyFrom(template)
    nodes = [node for node in plan_proto.relations(plan) if reader.is_stateful(node)]
    if not nodes:
        return None
    if len(nodes) > 1:
        reader.refuse(
            "one operator with state over another",
            "let a streaming table of its own hold the result of the first one",
        )
    return reader.cut(plan, nodes[0])


class StatefulReader:
    """Cuts the plans of one flow."""

    def __init__(
        self,
        texts: SqlTexts,
        is_stream: Callable[[Relation], bool],
        location: SourceLocation,
    ) -> None:
        self._texts = texts
        self._is_stream = is_stream
        self._location = location
        self._hidden = RowPlaces(texts, is_stream)
        self._times = TimeColumns(texts)

    def refuse(self, what: str, remedy: str) -> NoReturn:
        raise PipelineError(
            f"{what} is not computed over a stream; {remedy}",
            condition=CONDITION,
            location=self._location,
        )

    def carry(self, relation: Relation, what: str) -> None:
        """Let the plan's rows have their place. Raises PipelineError, naming `what`, if it cannot."""
        try:
            self._hidden.carry(relation)
        except LostPlaceError as error:
            raise PipelineError(
                f"{what} loses its rows' places in the order of shipments by {error.args[0]}; an"
                " operator with state over its stream needs them. Do that step behind the operator,"
                " or write the result as a materialized view",
                condition=CONDITION,
                location=self._location,
            ) from None

    def is_stateful(self, relation: Relation) -> bool:
        kind = plan_proto.kind(relation)
        if is_stream_join(relation, self._texts, self._is_stream):
            return True
        if kind not in {"aggregate", "deduplicate", "with_relations"}:
            return False
        if kind == "with_relations":
            if plan_proto.kind(relation.with_relations.root) != "sql":
                return False
            select = self._select(relation.with_relations.root.sql.query)
            if select is None or not (select.args.get("group") or select.args.get("distinct")):
                return False
        return any(map(self._is_stream, plan_proto.relations(relation)))

    def cut(self, plan: Relation, node: Relation) -> StatefulPlan:
        kind = plan_proto.kind(node)
        if is_stream_join(node, self._texts, self._is_stream):
            return self._join(plan, node)
        if kind == "deduplicate":
            made = self._deduplicate(node)
        elif kind == "aggregate":
            made = self._aggregate(node)
        else:
            made = self._sql(node)
        operator, rows, keys, window, result = made
        event_time = event_time_of(rows)
        is_same = bool(event_time) and self._times.find(rows, event_time) is not None
        if window is not None and not is_same:
            self.refuse("a window of a column that is changed behind its watermark", _SAME_COLUMN)
        named = not keys or event_time.lower() in map(str.lower, keys)
        delay, clock = self._watermark(rows)
        if operator is not StatefulOperator.DEDUPLICATE and delay is None:
            self.refuse(
                f"{_WORDS[operator]} without a watermark",
                "say with withWatermark (WATERMARK ... DELAY OF ...) how late rows may come, or"
                " write the result as a materialized view",
            )
        self.carry(rows, "the query")
        plan_proto.replace(node, result)
        _forget_missing_ids(plan)
        outline = None
        if window is not None and window.length:
            is_session = operator is StatefulOperator.SESSION
            name = "session_window" if is_session else "window"
            outline = _outline(
                plan, add_column(self._without_places(rows), name, _one_moment()), keys
            )
        return StatefulPlan(
            operator,
            rows,
            plan,
            keys,
            delay,
            is_same and named,
            window,
            clock,
            outline,
            columns=self._columns(keys, rows, clock, plan),
            leaf=_leaf_of(rows),
            location=self._location,
        )

    def _columns(
        self, keys: tuple[str, ...], rows: Relation, clock: Relation | None, result: Relation
    ) -> frozenset[str] | None:
        """The columns of the rows that count."""
        below = [rows] if clock is None else [rows, clock]
        named = ColumnNames(self._texts, _is_released).find(below, result)
        return None if named is None else named.union(map(str.lower, keys))

    def _join(self, plan: Relation, node: Relation) -> StatefulPlan:
        join = cut_join(node, self._texts, self._is_stream, _released_rows)
        if isinstance(join, str):
            self.refuse(join, _JOIN_REMEDY)
        left, right = join.sides
        if (left.keeps and left.reach is None) or (right.keeps and right.reach is None):
            self.refuse("an outer join of two streams that no time bounds", _BOUND_REMEDY)
        plan_proto.replace(node, join.result)
        own_ids(plan, (left.rows, right.rows))
        _forget_missing_ids(plan)
        sides = []
        for side, name in ((left, "the left"), (right, "the right")):
            delay, clock = self._watermark(side.rows)
            self.carry(side.rows, f"{name} side of the join")
            sides.append(replace(side, delay=delay, clock=clock))
        return StatefulPlan(
            StatefulOperator.JOIN, left.rows, plan, sides=tuple(sides), location=self._location
        )

    # -- DataFrames -----------------------------------------------------------------------------

    def _deduplicate(self, node: Relation) -> Any:
        found = node.deduplicate
        keys = () if found.all_columns_as_keys else tuple(found.column_names)
        operator = StatefulOperator.DEDUPLICATE
        if found.within_watermark:
            operator = StatefulOperator.DEDUPLICATE_WITHIN
        rows = proto.Relation()
        rows.CopyFrom(found.input)
        return operator, rows, keys, None, _released_rows()

    def _aggregate(self, node: Relation) -> Any:
        found = node.aggregate
        if found.group_type != proto.Aggregate.GroupType.GROUP_TYPE_GROUPBY:
            self.refuse("ROLLUP, CUBE, GROUPING SETS or a pivot", _WINDOW_REMEDY)
        event_time = event_time_of(found.input)
        windows: list[proto.Expression] = []
        others: list[proto.Expression] = []
        for key in found.grouping_expressions:
            plain = key.alias.expr if key.WhichOneof("expr_type") == "alias" else key
            (windows if self._is_window(plain, event_time) else others).append(plain)
        if len(windows) != 1:
            self.refuse(_NO_WINDOW, _WINDOW_REMEDY)
        operator, window, name = self._window_of(windows[0], event_time)
        rows = proto.Relation()
        rows.CopyFrom(found.input)
        keys: tuple[str, ...] = ()
        if operator is StatefulOperator.SESSION:
            keys = tuple(f"{KEY}{number}" for number in range(len(others)))
            for key, value in zip(keys, others, strict=True):
                plan_proto.replace(rows, add_column(rows, key, value))
        result = proto.Relation()
        result.CopyFrom(node)
        result.aggregate.input.CopyFrom(_released_rows())
        if name:
            for part in list(plan_proto.own_parts(result.aggregate)):
                if isinstance(part, proto.Expression) and _function_of(part) in WINDOWS:
                    part.CopyFrom(column_reference(name))
        return operator, rows, keys, window, result

    def _is_window(self, key: proto.Expression, event_time: str) -> bool:
        if _function_of(key) in WINDOWS:
            return True
        if key.WhichOneof("expr_type") != "unresolved_attribute":
            return False
        name = name_parts(key.unresolved_attribute.unparsed_identifier)[-1]
        return bool(event_time) and name.lower() == event_time.lower()

    def _window_of(self, key: proto.Expression, event_time: str) -> Any:
        name = _function_of(key)
        if not name:
            return StatefulOperator.WINDOW, EventWindow(0, 0), ""
        arguments = key.unresolved_function.arguments
        about, texts = arguments[0], [self._literal(part, name) for part in arguments[1:]]
        if about.WhichOneof("expr_type") != "unresolved_attribute":
            self.refuse(f"{name}() of an expression", _SAME_COLUMN)
        self._check_column(
            name_parts(about.unresolved_attribute.unparsed_identifier)[-1], event_time, name
        )
        return self._window_from(name, texts)

    def _literal(self, expression: proto.Expression, name: str) -> str:
        if expression.WhichOneof("expr_type") != "literal":
            self.refuse(
                f"{name}() with a length that is not a constant", "write the length as a text"
            )
        literal = expression.literal
        if literal.WhichOneof("literal_type") == "day_time_interval":
            return f"{literal.day_time_interval} us"
        return str(literal.string)

    # -- SQL ------------------------------------------------------------------------------------

    def _select(self, text: str) -> exp.Select | None:
        """The outermost SELECT of a text."""
        tree = self._texts.query(text).tree
        return tree if isinstance(tree, exp.Select) else None

    def _sql(self, node: Relation) -> Any:
        text = node.with_relations.root.sql.query
        select, clauses = self._select(text), top_clauses(text, self._texts)
        assert select is not None
        rows = proto.Relation()
        rows.CopyFrom(node)
        if not select.args.get("group"):
            edit = TextEdit(clauses["distinct"], clauses["distinct"] + len("distinct"), "")
            rows.with_relations.root.sql.query = apply_edits(text, [edit])
            return StatefulOperator.DEDUPLICATE, rows, (), None, _released_rows()
        group = select.args["group"]
        if any(group.args.get(name) for name in ("rollup", "cube", "grouping_sets", "all")):
            self.refuse("ROLLUP, CUBE, GROUPING SETS or GROUP BY ALL", _WINDOW_REMEDY)
        if select.args.get("joins") or select.args.get("laterals"):
            self.refuse(
                "GROUP BY over a join with a stream",
                "write the join as a view of its own (CREATE TEMPORARY VIEW)",
            )
        begin, start, end = clauses["select"], clauses["from"], clauses["group"]
        rows.with_relations.root.sql.query = f"{text[:begin]}SELECT * {text[start:end]}"
        alias = quote_identifier(select.args["from_"].this.alias_or_name or _NAME)
        aliased = plan_proto.alias(alias.strip("`"), rows)
        calls = list(self._window_calls(text, begin))
        event_time = event_time_of(rows)
        by_time = [
            key
            for key in group.expressions
            if isinstance(key, exp.Column) and key.name.lower() == event_time.lower()
        ]
        if not calls and not (by_time and event_time):
            self.refuse(_NO_WINDOW, _WINDOW_REMEDY)
        operator, window, name = StatefulOperator.WINDOW, EventWindow(0, 0), ""
        for call in calls:
            self._check_column(call.about, event_time, call.name)
            operator, window, name = self._window_from(call.name, list(call.lengths))
        keys: tuple[str, ...] = ()
        if operator is StatefulOperator.SESSION:
            texts = self._group_texts(text, end, [call.start for call in calls])
            keys = tuple(f"{KEY}{number}" for number in range(len(texts)))
            for key, value in zip(keys, texts, strict=True):
                expression = proto.Expression()
                expression.expression_string.expression = value
                aliased = add_column(aliased, key, expression)
        edits = [TextEdit(call.start, call.end, name) for call in calls]
        edits.append(TextEdit(start, end, f"FROM {_NAME} AS {alias} "))
        edits = [edit for edit in edits if not start < edit.start < end]
        result = proto.Relation()
        result.CopyFrom(node)
        result.with_relations.root.sql.query = apply_edits(text, edits)[begin:]
        others = [
            reference
            for reference in node.with_relations.references
            if not any(map(self._is_stream, plan_proto.relations(reference)))
        ]
        del result.with_relations.references[:]
        result.with_relations.references.extend(
            [plan_proto.alias(_NAME, _released_rows()), *others]
        )
        return operator, aliased, keys, window, result

    def _window_calls(self, text: str, begin: int) -> Iterator[_Call]:
        tokens = list(self._texts.query(text).tokens)
        for index, token in enumerate(tokens[:-1]):
            name = token.text.lower()
            before = tokens[index - 1].text.lower() if index else ""
            called = tokens[index + 1].text == "(" and before not in {"over", "."}
            if name not in WINDOWS or not called or token.start < begin:
                continue
            depth = 0
            last = index + 1
            while depth or last == index + 1:
                depth += (tokens[last].text == "(") - (tokens[last].text == ")")
                last += 1
            end = tokens[last - 1].end + 1
            tree = self._texts.expression(f"f{text[token.end + 1 : end]}").tree
            [about, *lengths] = tree.expressions[0].expressions
            if not isinstance(about, exp.Column):
                self.refuse(f"{name}() of an expression", _SAME_COLUMN)
            texts = tuple(
                part.sql(dialect="databricks").replace("'", "") if part is not None else ""
                for part in lengths
            )
            yield _Call(token.start, end, name, about.name, texts)

    def _group_texts(self, text: str, start: int, windows: list[int]) -> list[str]:
        """The texts of what GROUP BY names, without the windows."""
        tokens = [token for token in self._texts.query(text).tokens if token.start >= start][1:]
        depth, parts, begin = 0, [], None
        for token in tokens:
            word = token.text.lower()
            if depth == 0 and word in {"having", "qualify"}:
                break
            if begin is None:
                begin = token.start
            depth += (token.text == "(") - (token.text == ")")
            if depth == 0 and token.text == ",":
                parts.append((begin, token.start))
                begin = None
            last = token.end + 1
        if begin is not None:
            parts.append((begin, last))
        return [text[a:b] for a, b in parts if not any(a <= at < b for at in windows)]

    # -- both -----------------------------------------------------------------------------------

    def _window_from(self, name: str, texts: list[str]) -> Any:
        try:
            lengths = [round(parse_duration(text) * 1_000_000) for text in texts]
        except ValueError as error:
            self.refuse(f"{name}() of {' and '.join(texts)!r}", f"give {error}")
        if name == "session_window":
            return (
                StatefulOperator.SESSION,
                EventWindow(lengths[0], lengths[0]),
                "session_window",
            )
        [length, *rest] = lengths
        slide = rest[0] if rest else length
        window = EventWindow(length, slide, rest[1] if len(rest) > 1 else 0)
        if not 0 < window.slide <= window.length or math.ceil(length / window.slide) > _MOST:
            self.refuse(f"window() of {texts}", "give a length, and a slide that is not longer")
        return StatefulOperator.WINDOW, window, "window"

    def _check_column(self, about: str, event_time: str, name: str) -> None:
        if about.lower() != event_time.lower():
            self.refuse(f"{name}() of {about!r}", _SAME_COLUMN)

    def _without_places(self, rows: Relation) -> Relation:
        """The rows of leaves that know no places."""
        plan = proto.Relation()
        plan.CopyFrom(rows)
        nothing = proto.Expression()
        nothing.literal.null.null.SetInParent()
        for leaf in [node for node in plan_proto.relations(plan) if self._is_stream(node)]:
            plan_proto.replace(leaf, add_column(leaf, PLACE, nothing))
        return plan

    def _watermark(self, rows: Relation) -> tuple[int | None, Relation | None]:
        """The watermark's delay, and the rows that it is about when not all reach the operator.

        In its place, `rows` gets the column TIME.
        """
        marks = [r for r in plan_proto.relations(rows) if plan_proto.kind(r) == "with_watermark"]
        if not marks:
            return None, None
        if len(marks) > 1:
            self.refuse("several watermarks", "put one above the union of the streams")
        mark = marks[0].with_watermark
        try:
            delay = round(parse_duration(mark.delay_threshold) * 1_000_000)
        except ValueError as error:
            self.refuse(f"a watermark of {mark.delay_threshold!r}", f"give {error}")
        timed = add_column(mark.input, TIME, column_reference(mark.event_time))
        all_rows = one_for_one(rows, marks[0])
        plan_proto.replace(marks[0], timed)
        clock = None
        if not all_rows:
            clock = proto.Relation()
            clock.CopyFrom(timed)
            self.carry(clock, "the query")
        return delay, clock


@dataclass(frozen=True)
class _Call:
    """A call of window() or session_window() in a text."""

    start: int
    end: int
    name: str
    about: str
    """The column."""
    lengths: tuple[str, ...]


def without_state(template: Relation) -> Relation:
    """The plan as a batch query that has the same columns: what engines can analyse."""
    plan = proto.Relation()
    plan.CopyFrom(template)
    for node in list(plan_proto.relations(plan)):
        kind = plan_proto.kind(node)
        if kind == "with_watermark":
            inner = proto.Relation()
            inner.CopyFrom(node.with_watermark.input)
            plan_proto.replace(node, inner)
        elif kind == "deduplicate":
            node.deduplicate.within_watermark = False
    _forget_missing_ids(plan)
    return plan


_MOST = 1000
"""Windows that one row may be in."""
_WORDS = {
    StatefulOperator.DEDUPLICATE_WITHIN: "dropDuplicatesWithinWatermark",
    StatefulOperator.WINDOW: "a windowed aggregation",
    StatefulOperator.SESSION: "a session",
}
_SAME_COLUMN = "window the very column that the watermark is about, by the name it has there"
_JOIN_REMEDY = (
    "join two streams at a time, with an inner, left, right or full outer join, each of both a streaming"
    " table; or write the result as a materialized view"
)
_BOUND_REMEDY = (
    "give both streams a watermark, and the join a condition that says how far apart their times may"
    " be (b.t BETWEEN a.t AND a.t + INTERVAL 1 HOUR), or equal windows of these"
)
_NO_WINDOW = "an aggregation that no window of event time ends"
_WINDOW_REMEDY = (
    "group by window() or session_window() of a column that has a watermark, or write the result as"
    " a materialized view"
)


def _function_of(expression: proto.Expression) -> str:
    """The function that the expression calls; "" for anything else."""
    if expression.WhichOneof("expr_type") != "unresolved_function":
        return ""
    return str(expression.unresolved_function.function_name).lower()


def _one_moment() -> proto.Expression:
    """A window that begins and ends with the row."""
    pair = proto.Expression()
    call = pair.unresolved_function
    call.function_name = "named_struct"
    for name in ("start", "end"):
        text = proto.Expression()
        text.literal.string = name
        call.arguments.extend([text, column_reference(TIME)])
    return pair


def _outline(result: Relation, rows: Relation, keys: tuple[str, ...]) -> Relation:
    """The result over rows that have the columns of those that are let through."""
    released = drop_columns(rows, [PLACE, TIME, *keys])
    plan = proto.Relation()
    plan.CopyFrom(result)
    for node in list(plan_proto.relations(plan)):
        if _is_released(node):
            plan_proto.replace(node, released)
    return plan


def _released_rows(side: str = "") -> Relation:
    """The leaf for the rows that are let through; `side` names the column that marks a join's."""
    leaf = RELEASED_RIGHT if side == RIGHT else RELEASED
    relation = proto.Relation()
    relation.common.plan_id = plan_proto.fresh_plan_id()
    relation.read.named_table.unparsed_identifier = leaf
    relation.read.named_table.options[_RELEASED_OPTION] = leaf
    return relation


def _leaf_of(rows: Relation) -> str:
    """The key of the first leaf below a relation."""
    leaves = (node for node in plan_proto.relations(rows) if plan_proto.kind(node) == "read")
    leaf = next(leaves, None)
    return "" if leaf is None else leaf.read.named_table.options.get(_RELEASED_OPTION, "")


def _is_released(relation: Relation) -> bool:
    return (
        plan_proto.kind(relation) == "read"
        and relation.read.named_table.options.get(_RELEASED_OPTION) == RELEASED
    )


def _forget_missing_ids(plan: Relation) -> None:
    """Columns that were taken from a part of the plan that is gone go by their names."""
    ids = {r.common.plan_id for r in plan_proto.relations(plan) if r.common.HasField("plan_id")}
    for part in plan_proto.walk(plan):
        if not isinstance(part, proto.Relation | proto.RelationCommon):
            names = part.DESCRIPTOR.fields_by_name
            if "plan_id" in names and part.HasField("plan_id") and part.plan_id not in ids:
                part.ClearField("plan_id")
