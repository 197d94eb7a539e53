"""Tells each expression's type, bottom-up, lambdas included, and lets the rules put another in its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pyspark.sql import types as t

from proa.engine.parity import spark_types as st
from proa.engine.parity.sql_nodes import DataType, Node
from proa.engine.parity.sql_queries import FromItem, Query, Select
from proa.engine.parity.sql_tokens import UnreadableSqlError

Columns = list[tuple[str, DataType]]


class DiffersError(Exception):
    """A construct whose value would not be Spark's, or that the pass does not know.

    `what` names it, `remedy` says what to write instead; `at` is its place in the text, or -1.
    """

    def __init__(self, what: str, remedy: str = "", at: int = -1, message: Any = None) -> None:
        super().__init__(what)
        self.what, self.remedy, self.at, self.message = what, remedy, at, message


class UntoldError(DiffersError):
    """An expression whose type is not known; often one that is wrong."""


@dataclass(slots=True)
class Scope:
    """The columns that an expression may name: (qualifier, name, type), nearest scope first."""

    columns: list[tuple[str, str, DataType]] = field(default_factory=list)
    outer: Scope | None = None
    names: dict[str, DataType] = field(default_factory=dict)
    """What lambdas and aliases of the same SELECT name, by folded name."""

    def inner(self, names: dict[str, DataType]) -> Scope:
        return replace(self, names={**self.names, **names})

    def find(self, parts: Sequence[str]) -> tuple[DataType, tuple[str, ...]]:
        """The type of the column that `parts` begin with, and the parts that are left: fields.

        Raises UnreadableSqlError where there is none.
        """
        folded = [part.casefold() for part in parts]
        if folded[0] in self.names:
            return self.names[folded[0]], tuple(parts[1:])
        scope: Scope | None = self
        while scope is not None:
            for used in range(min(len(parts), 4), 0, -1):
                found = scope.own(folded[:used])
                if found is not None:
                    return found, tuple(parts[used:])
            scope = scope.outer
        raise UnreadableSqlError(f"the column {'.'.join(parts)!r}")

    def own(self, folded: list[str]) -> DataType | None:
        """The type of a column of this very scope; None where it has none of the name."""
        if len(folded) == 1:
            types = [type_ for _, name, type_ in self.columns if name.casefold() == folded[0]]
        else:
            types = [
                type_
                for alias, name, type_ in self.columns
                if name.casefold() == folded[-1] and alias.casefold().split(".")[-1] == folded[-2]
            ]
        return types[0] if types else None


@dataclass(slots=True)
class World:
    """What lies outside of a query.

    `table` tells the columns of a table by name; `ask` the type of an expression written as SQL that
    names no column, both from the engine. `rule` finds what is to be done with a call.
    """

    table: Callable[[tuple[str, ...]], Columns]
    ask: Callable[[Node], DataType]
    rule: Callable[[Node, Typist], Node | None]
    ansi: bool = True
    utc: bool = True
    """Whether the session's time zone is UTC, which Proa's own functions read moments in."""


class Typist:
    """Goes through a query or an expression once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.query_nodes: list[Node] = []

    # -- queries ------------------------------------------------------------------------------------

    def query(
        self, query: Query, ctes: dict[str, Columns], outer: Scope | None, nodes: list[Node]
    ) -> Columns:
        """The columns that a query yields. `nodes` takes all its expressions, for the writer."""
        known = dict(ctes)
        for name, columns, inner in query.ctes:
            if query.recursive:
                first = inner.branches[0]
                base = self._branch(first, known, outer, [])
                known[name.casefold()] = _rename_columns(base, columns)
            found = self.query(inner, known, outer, nodes)
            known[name.casefold()] = _rename_columns(found, columns)
        results = [self._branch(branch, known, outer, nodes) for branch in query.branches]
        yielded = results[0]
        for other in results[1:]:
            yielded = [
                (name, _common_type(left, right))
                for (name, left), (_, right) in zip(yielded, other, strict=False)
            ]
        if len(results) > 1:
            for branch, found in zip(query.branches, results, strict=True):
                _as_one_type(branch, found, [type_ for _, type_ in yielded])
                if query.distinct and isinstance(branch, Select):
                    for item in branch.items:
                        if item.kind == "column" and st.is_float(item.now.type):
                            item.shown = item.parts[-1]
                    _without_signed_zero([item for item in branch.items if item.kind != "star"])
        if query.keys:
            inner_scope = Scope([("", name, type_) for name, type_ in yielded], outer)
            if len(query.branches) == 1 and isinstance(query.branches[0], Select):
                inner_scope.outer = self._last_scope
            for key in query.keys:
                self.node(key, inner_scope)
            if len(query.branches) == 1 and isinstance(only := query.branches[0], Select):
                if not only.grouping and not only.distinct:
                    _without_signed_zero(query.keys)
                _sort_by_place(only, query.keys)
                for key in query.keys:
                    _say_alias(key, only.items, self._last_scope)
            nodes += query.keys
        return yielded

    _last_scope: Scope | None = None

    def _branch(
        self,
        branch: Select | Query,
        ctes: dict[str, Columns],
        outer: Scope | None,
        nodes: list[Node],
    ) -> Columns:
        if isinstance(branch, Query):
            return self.query(branch, ctes, outer, nodes)
        scope = Scope(outer=outer)
        self._ctes = ctes
        for source in branch.sources:
            self._source(source, scope, ctes, nodes)
        known = self._time_windows(branch, scope)
        yielded: Columns = []
        for item in branch.items:
            self._ctes = ctes
            self.node(item, scope)
            self._top(item)
            yielded += self._item_columns(item, scope)
        nodes += branch.items
        visible = scope.inner({})
        for item in branch.items:
            if item.kind == "alias" and len(item.value) == 1:
                name = item.value[0].casefold()
                if visible.own([name]) is None:
                    visible.names[name] = item.type
        for node in (*branch.clauses, *branch.grouping):
            self._ctes = ctes
            if node not in known:
                self.node(node, visible)
        if branch.sets:
            _refuse_computed_keys(branch.grouping)
        _group_by_place(branch)
        if branch.having is not None:
            _say_alias(branch.having, branch.items, scope)
        nodes += [*branch.clauses, *branch.grouping]
        self._last_scope = scope
        return yielded

    def _time_windows(self, branch: Select, scope: Scope) -> list[Node]:
        """Those of GROUP BY; makes the column `window` known, which they yield."""
        found = [key for key in branch.grouping if key.kind == "call" and key.name == "window"]
        for key in found:
            self.node(key, scope)
            if scope.own(["window"]) is None:
                scope.names["window"] = key.now.type
        return found

    def _source(
        self, source: FromItem, scope: Scope, ctes: dict[str, Columns], nodes: list[Node]
    ) -> None:
        columns: Columns
        alias = source.alias
        if source.query is not None:
            inner = Scope(list(scope.columns), scope.outer) if source.lateral else scope.outer
            columns = self.query(source.query, ctes, inner, nodes)
        elif source.call is not None:
            _refuse_join_of_rows(source)
            self._ctes = ctes
            visible = scope if source.lateral else Scope(outer=scope.outer)
            for arg in source.call.args:
                self.node(arg, visible)
            if source.call.name in GENERATORS:
                self._apply_rule(source.call)
            nodes.append(source.call)
            columns = self.generated_columns(source.call)
            alias = alias or source.call.name
        elif source.rows:
            columns = self._rows(source, scope, nodes)
        elif len(source.table) == 1 and source.table[0].casefold() in ctes:
            columns = ctes[source.table[0].casefold()]
            alias = alias or source.table[0]
        else:
            columns = self.world.table(source.table)
            alias = alias or source.table[-1]
        columns = _rename_columns(columns, source.columns)
        before = list(scope.columns)
        if not source.hidden or source.conditions:
            shared = {name.casefold() for name in source.using}
            scope.columns = before + [
                (alias, name, type_) for name, type_ in columns if name.casefold() not in shared
            ]
            self._ctes = ctes
            for condition in source.conditions:
                self.node(condition, scope)
                _refuse_structs_as_keys(condition)
            nodes += source.conditions
        if source.hidden:
            scope.columns = before
        elif "*" in source.using:
            names = {name.casefold() for _, name, _ in before}
            scope.columns = before + [
                (alias, name, type_) for name, type_ in columns if name.casefold() not in names
            ]

    def _rows(self, source: FromItem, scope: Scope, nodes: list[Node]) -> Columns:
        found: list[DataType] = []
        for row in source.rows:
            self.node(row, Scope(outer=scope.outer))
            cells = (
                row.args
                if row.kind == "call" and row.name in {"struct", "()"} and row.start >= 0
                else [row]
            )
            types = [cell.type for cell in cells]
            found = (
                [_common_type(a, b) for a, b in zip(found, types, strict=False)] if found else types
            )
        nodes += source.rows
        return [(f"col{k}", type_) for k, type_ in enumerate(found, 1)]

    def _item_columns(self, item: Node, scope: Scope) -> Columns:
        """The columns that an item of SELECT yields."""
        if item.kind == "star":
            wanted = item.parts[-1].casefold() if item.parts else None
            return [
                (name, type_)
                for alias, name, type_ in scope.columns
                if wanted is None or alias.casefold().split(".")[-1] == wanted
            ]
        inner = item.args[0] if item.kind == "alias" else item
        if inner.kind == "call" and inner.name in GENERATORS:
            return _rename_columns(
                self.generated_columns(inner), item.value if item.kind == "alias" else ()
            )
        if item.kind == "alias":
            return [(item.value[0], item.type)]
        name = item.parts[-1] if item.kind == "column" else item.name or item.shown
        return [(name, item.type)]

    def _top(self, item: Node) -> None:
        """Give a column without an alias the name that Spark gives it."""
        if item.kind == "column" and item.by is not None:
            item.shown = item.parts[-1]
        elif item.kind not in {"star", "alias", "column"} and not (
            item.kind == "call" and item.name in GENERATORS
        ):
            from proa.engine.parity.names import UnnamedError, column_name

            try:
                item.shown = column_name(item)
            except UnnamedError:
                item.shown = "?" if item.changed else ""

    def generated_columns(self, call: Node) -> Columns:
        """The columns of a function that yields rows."""
        types = [arg.now.type for arg in call.args]
        name = call.name.removesuffix("_outer")
        first = types[0] if types else None
        if name in {"explode", "posexplode"}:
            position: Columns = [("pos", st.INT)] if name == "posexplode" else []
            if isinstance(first, t.MapType):
                return [*position, ("key", first.keyType), ("value", first.valueType)]
            return [
                *position,
                ("col", first.elementType if isinstance(first, t.ArrayType) else None),
            ]
        if (
            name == "inline"
            and isinstance(first, t.ArrayType)
            and isinstance(first.elementType, t.StructType)
        ):
            return [(f.name, f.dataType) for f in first.elementType.fields]
        if name == "stack":
            width = -(-(len(types) - 1) // (call.args[0].constant or 1))
            return [(f"col{k}", types[1 + k]) for k in range(width)]
        if name == "json_tuple":
            return [(f"c{k}", st.STRING) for k in range(len(types) - 1)]
        if name == "range":
            return [("id", st.LONG)]
        remedy = "look at its spelling; there are explode, posexplode, inline, stack, json_tuple and range"
        raise DiffersError(f"the table function {call.name}()", remedy, call.start)

    # -- expressions --------------------------------------------------------------------------------

    def node(self, node: Node, scope: Scope) -> None:
        """Set the type of `node` and of all in it, and put there what the rules say."""
        handler = getattr(self, f"_type_{node.kind}", None)
        if handler is None:
            for arg in node.args:
                self.node(arg, scope)
            return
        handler(node, scope)

    def _type_literal(self, node: Node, scope: Scope) -> None:  # noqa: ARG002 - a handler's shape
        if node.type is None:
            node.type = _literal_type(node)
        self._apply_rule(node)

    def _type_column(self, node: Node, scope: Scope) -> None:
        try:
            type_, fields = scope.find(node.parts)
        except UnreadableSqlError:
            node.type = None
            return
        kept = len(node.parts) - len(fields)
        node.by = st.keys_of_maps(node, kept, type_)
        for name in fields:
            type_ = st.field_type(type_, name)
        node.type = type_
        node.name = ".".join(node.parts[kept - 1 :])

    def _type_cast(self, node: Node, scope: Scope) -> None:
        self.node(node.args[0], scope)
        node.type = st.type_of(node.value) if isinstance(node.value, str) else node.value
        node.value = node.type
        self._apply_rule(node)

    def _type_alias(self, node: Node, scope: Scope) -> None:
        self.node(node.args[0], scope)
        node.type = node.args[0].now.type

    def _type_text(self, node: Node, scope: Scope) -> None:
        self._type_alias(node, scope)

    def _type_sort(self, node: Node, scope: Scope) -> None:
        self._type_alias(node, scope)
        self._apply_rule(node)

    def _type_named(self, node: Node, scope: Scope) -> None:
        self._type_alias(node, scope)

    def _type_filter(self, node: Node, scope: Scope) -> None:
        for arg in node.args:
            self.node(arg, scope)
        node.type = node.args[0].now.type
        self._apply_rule(node)

    def _type_window(self, node: Node, scope: Scope) -> None:
        call = node.args[0]
        inner = call.args[0] if call.kind == "filter" else call
        inner.shown = "moving" if node.value == "moving" else "over"
        for arg in node.args:
            self.node(arg, scope)
        node.type = call.now.type
        _without_signed_zero(node.args[1:])
        if node.name:
            _range_by_days(node)
        self._apply_rule(node)

    def _type_frame(self, node: Node, scope: Scope) -> None:
        for arg in node.args:
            self.node(arg, scope)
        _range_by_days(node)

    def _type_interval(self, node: Node, scope: Scope) -> None:
        for arg in node.args:
            self.node(arg, scope)
        units = [unit.removeprefix("to ") for unit in node.value]
        months, names = {"year", "quarter", "month"}, ["day", "hour", "minute", "second"]
        if units and set(units) <= months:
            ends = [0 if unit == "year" else 1 for unit in units]
            node.type = t.YearMonthIntervalType(min(ends), max(ends))
        elif units and not set(units) & months:
            ends = [names.index(u) if u in names else 0 if u == "week" else 3 for u in units]
            node.type = t.DayTimeIntervalType(min(ends), max(ends))
        else:
            node.type = t.CalendarIntervalType() if hasattr(t, "CalendarIntervalType") else None
        self._apply_rule(node)

    def _type_access(self, node: Node, scope: Scope) -> None:
        for arg in node.args:
            self.node(arg, scope)
        base = node.args[0].now.type
        if node.name == ".":
            node.type = st.field_type(base, node.value)
        elif isinstance(base, t.MapType):
            node.type = base.valueType
        elif isinstance(base, t.ArrayType):
            node.type = base.elementType
        elif isinstance(base, t.StructType) and isinstance(node.args[1].constant, str):
            node.type = st.field_type(base, node.args[1].constant)
        self._apply_rule(node)

    def _type_case(self, node: Node, scope: Scope) -> None:
        for arg in node.args:
            self.node(arg, scope)
        self._apply_rule(node)

    def _type_query(self, node: Node, scope: Scope) -> None:
        ctes, nodes = self._ctes, []  # type: ignore[var-annotated]
        columns = self.query(node.value, ctes, scope, nodes)
        self._ctes = ctes
        node.type = columns[0][1] if columns else None
        node.args = nodes

    _ctes: dict[str, Columns] = {}  # noqa: RUF012 - set before each use

    def _type_call(self, node: Node, scope: Scope) -> None:
        from proa.engine.parity.typist import type_lambdas

        if any(arg.kind == "lambda" for arg in node.args):
            type_lambdas(self, node, scope)
        else:
            for arg in node.args:
                self.node(arg, scope)
        self._apply_rule(node)

    def _apply_rule(self, node: Node) -> None:
        found = self.world.rule(node, self)
        if found is not None and found is not node:
            node.by = found
            node.type = found.type


def _literal_type(node: Node) -> DataType:
    if node.name == "decimal":
        return st.decimal_type(node.value)
    if node.name == "time":
        return None
    return st.type_of(node.name) if node.name else None


def _refuse_computed_keys(keys: Sequence[Node]) -> None:
    """Refuse sets of groups over what the engine would not know again in the selected columns."""
    for key in keys:
        if _has_kernel(key):
            raise DiffersError(
                "ROLLUP, CUBE or GROUPING SETS over a computed value",
                "compute it in a subquery and group by its column",
                key.start,
                key.message,
            )


def _has_kernel(node: Node) -> bool:
    now = node.now
    return now.kind == "kernel" or any(map(_has_kernel, now.args))


def _rename_columns(columns: Columns, names: Sequence[str]) -> Columns:
    if not names:
        return columns
    return [(name, type_) for name, (_, type_) in zip(names, columns, strict=False)]


def _without_signed_zero(keys: list[Node]) -> None:
    """Sort -0.0 and 0.0 as equal, as Spark does."""
    from proa.engine.parity.rules_choices import comparable_double

    for key in keys:
        inner = key.args[0] if key.kind in {"sort", "alias"} else key
        if st.is_float(inner.now.type) and inner.now.kind != "literal":
            inner.by = comparable_double(replace(inner))


def _range_by_days(node: Node) -> None:
    """Order by the number of a day, or its beginning, what a RANGE frame with offsets orders by date."""
    key = node.args[-1]
    inner = key.args[0] if key.kind in {"sort", "alias"} else key
    if isinstance(inner.now.type, t.DateType):
        kept = replace(inner)
        inner.by = (
            Node("call", "unix_date", [kept], st.INT)
            if node.name == "number"
            else Node("cast", "cast", [kept], st.TIMESTAMP, value=st.TIMESTAMP)
        )


def _group_by_place(branch: Select) -> None:
    """Group by the place of a selected expression that changed: the engine sees kernels as columns."""
    for node in branch.grouping:
        if not node.changed or branch.sets:
            continue
        for place, item in enumerate(branch.items, 1):
            if _alike(node, item.args[0] if item.kind == "alias" else item):
                node.by = Node("literal", "int", [], st.INT, value=place)
                break


def _sort_by_place(branch: Select, keys: list[Node]) -> None:
    """Sort by the place of a selected expression that changed, as it is grouped by it."""
    if any(item.kind == "star" or _generates(item) for item in branch.items):
        return
    for key in keys:
        inner = key.args[0] if key.kind == "sort" else key
        for place, item in enumerate(branch.items, 1):
            body = item.args[0] if item.kind == "alias" else item
            if inner.start >= 0 and body.changed and _alike(inner, body):
                inner.by = Node("literal", "int", [], inner.now.type, value=place)
                break


def _generates(item: Node) -> bool:
    inner = item.args[0] if item.kind == "alias" else item
    return inner.kind == "call" and inner.name in GENERATORS


def _say_alias(node: Node, items: list[Node], scope: Scope | None) -> None:
    """Put the name of a selected expression that changed where HAVING or ORDER BY repeats it."""
    if not node.changed or (node.by is not None and node.by.kind == "literal"):
        return
    for item in items:
        body = item.args[0] if item.kind == "alias" else item
        name = item.value[0] if item.kind == "alias" else item.shown
        if (
            node.start >= 0
            and name not in {"", "?", "over"}
            and body.changed
            and _alike(node, body)
            and (scope is None or scope.own([name.casefold()]) is None)
        ):
            node.by = Node("column", name, [], node.now.type, parts=(name,))
            return
    for arg in node.args:
        _say_alias(arg, items, scope)


def _alike(left: Node, right: Node) -> bool:
    return (
        (left.kind, left.name, left.value, left.parts, len(left.args))
        == (right.kind, right.name, right.value, right.parts, len(right.args))
    ) and all(map(_alike, left.args, right.args))


def _as_one_type(branch: Select | Query, columns: Columns, wanted: list[DataType]) -> None:
    """Cast the columns of a set operation's branch to the types in which all branches meet."""
    if len(columns) != len(wanted) or all(
        found is not None and target is not None and st.same(found, target)
        for (_, found), target in zip(columns, wanted, strict=True)
    ):
        return
    from proa.engine.parity.coerce import refuse, spark_cast

    if (
        isinstance(branch, Query)
        or any(item.kind == "star" for item in branch.items)
        or any(source.rows for source in branch.sources)
    ):
        raise refuse("a set operation over * with different types", "name and cast the columns")
    for item, (name, found), target in zip(branch.items, columns, wanted, strict=True):
        if target is None or found is None:
            raise refuse(
                "a set operation over different types", "cast the columns to one type", item
            )
        if st.same(found, target):
            continue
        inner = item.args[0] if item.kind == "alias" else item
        kept = replace(inner)
        inner.by = spark_cast(kept, target)
        if item.kind == "column":
            item.shown = name


def _common_type(left: DataType, right: DataType) -> DataType:
    return None if left is None or right is None else st.common(left, right)


GENERATORS = frozenset(
    {"explode", "explode_outer", "posexplode", "posexplode_outer", "inline", "inline_outer", "stack",
     "json_tuple", "variant_explode", "variant_explode_outer"}
)  # fmt: skip


if TYPE_CHECKING:
    from proa.engine.parity.typist import Scope, Typist


def type_lambdas(typist: Typist, node: Node, scope: Scope) -> None:
    """Type the arguments of a call with lambdas; sets the call's type where only lambdas tell it."""
    for arg in node.args:
        if arg.kind != "lambda":
            typist.node(arg, scope)
    types = [arg.now.type for arg in node.args]
    lambdas = [arg for arg in node.args if arg.kind == "lambda"]
    if node.name in {"aggregate", "reduce"}:
        _fold(typist, node, scope, types)
        return
    given = _argument_types(node.name, types)
    body = lambdas[0]
    _body(typist, body, scope, given)
    node.type = _result(node.name, types, body.type)


def _body(typist: Typist, node: Node, scope: Scope, given: list[DataType]) -> None:
    names = {name.casefold(): type_ for name, type_ in zip(node.value, given, strict=False)}
    typist.node(node.args[0], scope.inner(names))
    node.type = node.args[0].now.type


def _fold(typist: Typist, node: Node, scope: Scope, types: list[DataType]) -> None:
    item = types[0].elementType if isinstance(types[0], t.ArrayType) else None
    state = types[1]
    _body(typist, node.args[2], scope, [state, item])
    node.type = state
    if len(node.args) > 3:
        _body(typist, node.args[3], scope, [state])
        node.type = node.args[3].type


def _argument_types(name: str, types: list[DataType]) -> list[DataType]:
    first = types[0]
    if name == "map_zip_with":
        second = types[1]
        return [
            getattr(first, "keyType", None), getattr(first, "valueType", None),
            getattr(second, "valueType", None),
        ]  # fmt: skip
    if name == "zip_with":
        return [getattr(types[0], "elementType", None), getattr(types[1], "elementType", None)]
    if isinstance(first, t.MapType):
        return [first.keyType, first.valueType]
    item = getattr(first, "elementType", None)
    return [item, item] if name == "array_sort" else [item, st.INT]


def _result(name: str, types: list[DataType], body: DataType) -> DataType:
    first = types[0]
    if name in {"transform", "zip_with"}:
        return None if body is None else t.ArrayType(body)
    if name in {"filter", "array_sort", "map_filter"}:
        return first
    if name in {"exists", "forall", "any", "all"}:
        return st.BOOLEAN
    if body is None or not isinstance(first, t.MapType):
        return None
    if name == "transform_keys":
        return t.MapType(body, first.valueType)
    return t.MapType(first.keyType, body)


def _refuse_join_of_rows(source: FromItem) -> None:
    """Raise DiffersError for a generator behind a comma: the engine keeps rows that it makes nothing of."""
    call = source.call
    if source.lateral and not source.view and call is not None and call.name in GENERATORS:
        raise DiffersError(
            f"LATERAL {call.name}() in FROM", f"write LATERAL VIEW {call.name}(...)", call.start
        )


def _refuse_structs_as_keys(condition: Node) -> None:
    """Raise DiffersError for structs that a join compares: their NULLs are equal in Spark, and not here."""
    for part in condition.walk():
        if part.kind == "call" and part.name in {"==", "<=>"}:
            for arg in part.args:
                kind = arg.now.type
                inner = kind.elementType if isinstance(kind, t.ArrayType) else kind
                if isinstance(inner, t.StructType):
                    raise DiffersError("a join on structs", "join on their fields", part.start)
