"""SQL syntax trees as steps and terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from sqlglot import exp

from proa.engine.spark_functions import AGGREGATES
from proa.errors import SourceLocation
from proa.graph import sql_text
from proa.graph.query import JoinKind, Operator, Output, QueryStep, Term, TermKind

Locate = Callable[[exp.Expr], SourceLocation | None]
Source = Callable[[exp.Table], QueryStep]
"""What a table that is not a common table expression reads."""

_OPERATORS: dict[type[exp.Expr], str] = {
    exp.Add: "+",
    exp.Sub: "-",
    exp.Mul: "*",
    exp.Div: "/",
    exp.Mod: "%",
}
_SAME_VALUE = (exp.Paren, exp.Filter, exp.IgnoreNulls, exp.RespectNulls, exp.Ordered)
"""Wrappers that a rule looks through."""


def expression(read: sql_text.SqlExpression, location: SourceLocation | None) -> Output:
    """The term of an expression, and the column that it becomes."""
    items = read.tree.expressions
    return output(items[0] if items else read.tree, lambda _: location)


def output(node: exp.Expr, locate: Locate, queries: _Queries | None = None) -> Output:
    """A select item: its column and its term."""
    if isinstance(node, exp.Alias):
        return Output(node.alias, term(node.this, locate, queries))
    made = term(node, locate, queries)
    return Output(made.name.rpartition(".")[2] if made.kind is TermKind.COLUMN else None, made)


def term(node: exp.Expr, locate: Locate, queries: _Queries | None = None) -> Term:
    """The term of a syntax tree."""

    def inner(child: exp.Expr) -> Term:
        return term(child, locate, queries)

    text = node.sql(dialect=sql_text.DIALECT).replace("WINDO_(", "window(")
    base = Term(TermKind.OTHER, text=text, location=locate(node))
    if isinstance(node, _SAME_VALUE):
        return inner(node.this)
    if isinstance(node, exp.PropertyEQ):  # a field of struct(a AS b)
        return inner(node.expression)
    if isinstance(node, exp.Star):
        return replace(base, kind=TermKind.STAR)
    if isinstance(node, exp.Column | exp.Dot) and (path := _path(node)):
        kind = TermKind.STAR if path.endswith("*") else TermKind.COLUMN
        return replace(base, kind=kind, name=path)
    if isinstance(node, exp.Literal):
        return replace(base, kind=TermKind.LITERAL, name=node.name, type=_literal_type(node))
    if isinstance(node, exp.Cast):
        to = node.to.sql(dialect=sql_text.DIALECT).lower()
        return replace(base, kind=TermKind.CAST, name=to, args=(inner(node.this),))
    if isinstance(node, exp.Window):
        return _window(node, base, inner)
    if isinstance(node, exp.WithinGroup):
        call = inner(node.this)
        return replace(call, text=text, order=tuple(map(inner, node.expression.expressions)))
    if isinstance(node, exp.Query):
        return replace(base, kind=TermKind.SUBQUERY, query=queries.step(node) if queries else None)
    children = tuple(inner(child) for child in _children(node))
    if isinstance(node, exp.Func) and not isinstance(node, exp.Connector):
        return _call(node, replace(base, args=children), inner)
    if type(node) in _OPERATORS:
        return replace(base, kind=TermKind.CALL, name=_OPERATORS[type(node)], args=children)
    return replace(base, name=node.key, args=children)


def _call(node: exp.Func, base: Term, inner: Callable[[exp.Expr], Term]) -> Term:
    name = node.name if isinstance(node, exp.Anonymous) else base.text.partition("(")[0]
    order: tuple[Term, ...] = ()
    if isinstance(node.this, exp.Order):  # array_agg(x ORDER BY y)
        order = tuple(inner(key) for key in node.this.expressions)
    return replace(base, kind=TermKind.CALL, name=name.lower().strip(), order=order)


def _window(node: exp.Window, base: Term, inner: Callable[[exp.Expr], Term]) -> Term:
    order = node.args.get("order")
    spec = node.args.get("spec")
    return replace(
        base,
        kind=TermKind.WINDOW,
        args=(inner(node.this),),
        partition=tuple(inner(part) for part in node.args.get("partition_by") or ()),
        order=tuple(inner(key) for key in order.expressions) if order else (),
        rows_frame=spec is not None and str(spec.args.get("kind", "")).upper() == "ROWS",
    )


def _children(node: exp.Expr) -> list[exp.Expr]:
    found: list[exp.Expr] = []
    for value in node.args.values():
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, exp.Ordered | exp.Distinct | exp.Order):
                found.extend(_children(part))
            elif isinstance(part, exp.Expr) and not isinstance(part, exp.Identifier | exp.DataType):
                found.append(part)
    return found


def _path(node: exp.Expr) -> str:
    """The dotted name of a column or of a field in it; "" when it is neither."""
    if isinstance(node, exp.Column):
        return ".".join(part.name or "*" for part in node.parts)
    if isinstance(node, exp.Dot) and isinstance(node.expression, exp.Identifier | exp.Star):
        before = _path(node.this)
        return f"{before}.{node.expression.name or '*'}" if before else ""
    return ""


def _literal_type(node: exp.Literal) -> str:
    if node.is_string:
        return "string"
    return "double" if "e" in node.name.lower() else "decimal" if "." in node.name else "int"


_GROUPING = Term(TermKind.CALL, "grouping_id", text="grouping_id()")
"""What tells apart the groups of ROLLUP, CUBE and GROUPING SETS besides their columns."""


class _Queries:
    """Queries as steps; knows the common table expressions in sight."""

    def __init__(self, locate: Locate, source: Source, tables: Mapping[str, QueryStep]) -> None:
        self.locate = locate
        self.source = source
        self.tables = dict(tables)

    def step(self, node: exp.Expr) -> QueryStep:
        """The step of a query, a table or a join of both."""
        clause = node.args.get("with_")
        if clause is not None:
            nested = _Queries(self.locate, self.source, self.tables)
            for cte in clause.expressions:
                nested.tables[cte.alias.casefold()] = nested.step(cte.this)
            return nested._query(node)
        return self._query(node)

    def _query(self, node: exp.Expr) -> QueryStep:
        if isinstance(node, exp.Select):
            return self._select(node)
        if isinstance(node, exp.SetOperation):
            return self._modifier_step(node, self._set_operation(node))
        if isinstance(node, exp.Subquery):
            step = self._pivot_step(node, self.step(node.this))
            return self._modifier_step(node, self._join_step(node, step))
        if isinstance(node, exp.Table):
            return self._join_step(node, self._pivot_step(node, self._table(node)))
        return QueryStep(Operator.OTHER, location=self.locate(node))

    def _set_operation(self, node: exp.SetOperation) -> QueryStep:
        inputs = (self.step(node.this), self.step(node.expression))
        at = self.locate(node)
        if isinstance(node, exp.Union):
            step, text = QueryStep(Operator.UNION, inputs, location=at), "UNION without ALL"
        else:
            text = "INTERSECT or EXCEPT"
            step = QueryStep(Operator.SET_OPERATION, inputs, location=at, text=text)
        if node.args.get("distinct"):
            step = QueryStep(Operator.DEDUPLICATE, (step,), location=at, text=text)
        return step

    def _table(self, node: exp.Table) -> QueryStep:
        known = self.tables.get(node.name.casefold())
        if known is not None and not node.db:
            step = known
        elif isinstance(node.this, exp.Func):
            called = self._output(node.this)
            step = QueryStep(Operator.OTHER, outputs=(called,), location=self.locate(node))
        else:
            step = self.source(node)
        at = self.locate(node)
        if node.meta.get(sql_text.WATERMARK):
            step = QueryStep(Operator.WATERMARK, (step,), location=at, text="WATERMARK")
        if node.args.get("sample"):
            step = QueryStep(Operator.SAMPLE, (step,), location=at, text="a sample")
        return step

    def _pivot_step(self, node: exp.Expr, step: QueryStep) -> QueryStep:
        for pivot in node.args.get("pivots") or ():
            unpivots = bool(pivot.args.get("unpivot"))
            outputs = () if unpivots else tuple(self._output(item) for item in pivot.expressions)
            step = QueryStep(
                Operator.UNPIVOT if unpivots else Operator.PIVOT,
                (step,),
                outputs,
                location=self.locate(pivot),
                text="UNPIVOT" if unpivots else "PIVOT",
            )
        return step

    def _join_step(self, node: exp.Expr, step: QueryStep) -> QueryStep:
        for join in node.args.get("joins") or ():
            step = self._join(join, step)
        laterals = node.args.get("laterals") or ()
        outputs = tuple(self._output(lateral.this) for lateral in laterals)
        return QueryStep(Operator.EXTEND, (step,), outputs) if outputs else step

    def _join(self, join: exp.Join, left: QueryStep) -> QueryStep:
        at, kind, other = self.locate(join), _join_kind(join), join.this
        if isinstance(other, exp.Lateral):
            if not isinstance(other.this, exp.Query):
                return QueryStep(Operator.EXTEND, (left,), (self._output(other.this),), location=at)
            other, kind = other.this, JoinKind.LATERAL
        on = join.args.get("on")
        shared = [exp.column(name.name) for name in join.args.get("using") or ()]
        compared = [self._term(on)] if on else [self._term(column) for column in shared]
        conditions = tuple(Output(None, term) for term in compared)
        return QueryStep(
            Operator.JOIN, (left, self.step(other)), conditions, location=at, join=kind
        )

    def _select(self, node: exp.Select) -> QueryStep:
        source = node.args.get("from_")
        step = self._join_step(
            node, self.step(source.this) if source else QueryStep(Operator.OTHER)
        )
        if node.args.get("where"):
            step = self._filter(step, node.args["where"])
        items = tuple(self._output(item) for item in node.expressions)
        group = node.args.get("group")
        aggregate = next((found for found in map(_aggregate, node.expressions) if found), None)
        if group is not None or aggregate is not None:
            step = QueryStep(
                Operator.AGGREGATE,
                (step,),
                items,
                self._group_keys(group, node, items),
                self.locate(group or aggregate or node),
                "GROUP BY" if group is not None else f"the aggregate {_function_name(aggregate)}()",
            )
        else:
            step = QueryStep(Operator.PROJECT, (step,), items, location=self.locate(node))
        for clause in ("having", "qualify"):
            if node.args.get(clause):
                step = self._filter(step, node.args[clause])
        if node.args.get("distinct"):
            at = self.locate(node.args["distinct"])
            step = QueryStep(Operator.DEDUPLICATE, (step,), location=at, text="DISTINCT")
        return self._modifier_step(node, step, items)

    def _filter(self, step: QueryStep, clause: exp.Expr) -> QueryStep:
        condition = (Output(None, self._term(clause.this)),)
        at = self.locate(clause.this)
        return QueryStep(Operator.FILTER, (step,), condition, location=at, text=clause.key.upper())

    def _group_keys(
        self, group: exp.Group | None, node: exp.Select, items: tuple[Output, ...]
    ) -> tuple[Term, ...]:
        if group is None:
            return ()
        if group.args.get("all"):
            pairs = zip(node.expressions, items, strict=True)
            return tuple(item.term for written, item in pairs if _aggregate(written) is None)
        sets = any(group.args.get(name) for name in ("rollup", "cube", "grouping_sets"))
        nested = [
            part
            for name in ("rollup", "cube", "grouping_sets")
            for part in group.args.get(name) or ()
        ]
        written = [*group.expressions, *(key for part in nested for key in _children(part))]
        keys = tuple(_selected_term(self._term(key), items) for key in written)
        return (*keys, _GROUPING) if sets else keys

    def _modifier_step(
        self, node: exp.Expr, step: QueryStep, items: tuple[Output, ...] = ()
    ) -> QueryStep:
        order, limit = node.args.get("order"), node.args.get("limit")
        offset = node.args.get("offset")
        if order is not None:
            at = self.locate(order)
            keys = tuple(_selected_term(self._term(key.this), items) for key in order.expressions)
            step = QueryStep(Operator.SORT, (step,), keys=keys, location=at, text="ORDER BY")
        if limit is not None or offset is not None:
            size = limit.expression if limit is not None else None
            count = int(size.name) if isinstance(size, exp.Literal) and not size.is_string else None
            at = self.locate(limit or offset or node)
            text = "LIMIT" if limit is not None else "OFFSET"
            step = QueryStep(Operator.LIMIT, (step,), location=at, count=count, text=text)
        return step

    def _term(self, node: exp.Expr) -> Term:
        return term(node, self.locate, self)

    def _output(self, node: exp.Expr) -> Output:
        return output(node, self.locate, self)


def query(
    read: sql_text.SqlReads,
    locate: Callable[[int], SourceLocation | None],
    source: Source,
    tables: Mapping[str, QueryStep] | None = None,
) -> QueryStep:
    """The steps of a query's text.

    `locate` says where a line of it stands; `tables` are names that it is given from outside.
    """
    return _Queries(lambda part: locate(read.line(part)), source, tables or {}).step(read.tree)


def _aggregate(node: exp.Expr) -> exp.Expr | None:
    """The first part of a select item that makes one value of many rows."""
    for part in node.walk(prune=lambda found: isinstance(found, exp.Query)):
        named = isinstance(part, exp.Anonymous) and part.name.lower() in AGGREGATES
        if isinstance(part, exp.AggFunc) or named:
            above = part.parent
            while isinstance(above, _SAME_VALUE):
                above = above.parent
            if not isinstance(above, exp.Window):
                return part
    return None


def _function_name(part: exp.Expr | None) -> str:
    return "" if part is None else part.sql(dialect=sql_text.DIALECT).partition("(")[0].lower()


def _join_kind(join: exp.Join) -> JoinKind:
    side, kind = (join.side or "").upper(), (join.kind or "").upper()
    if side == "FULL":
        return JoinKind.FULL
    if side == "RIGHT":
        return JoinKind.RIGHT
    if side == "LEFT" or kind in ("SEMI", "ANTI"):
        return JoinKind.LEFT
    return JoinKind.INNER


def _selected_term(key: Term, items: tuple[Output, ...]) -> Term:
    """What GROUP BY 2 or ORDER BY alias stands for."""
    if key.kind is TermKind.LITERAL and key.name.isdigit() and 0 < int(key.name) <= len(items):
        return items[int(key.name) - 1].term
    if key.kind is TermKind.COLUMN and "." not in key.name:
        for item in items:
            if item.column is not None and item.column.lower() == key.column:
                return item.term
    return key
