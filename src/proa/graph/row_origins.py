"""Which rows of what a query reads each row of its result comes from, as far as columns tell it.

A column of a result has an *origin* in a leaf when its value is that of an expression over the leaf's
columns, and when rows of the leaf with another value of the expression cannot change the result's rows
with this one. So a result's rows with some values of such columns can be computed from those rows of
the leaf alone: whatever groups, windows, joins and filters are between. What is not followed here has
no origin, and its result is computed from all rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from pyspark.sql.connect import proto
from sqlglot import exp

from proa.graph import plan_proto
from proa.graph.plan import placeholder_key
from proa.graph.plan_proto import Relation
from proa.graph.sql_text import DIALECT, SqlTexts
from proa.graph.value_trees import PLAN, ValueTrees, aggregates, is_followed, measure_of


@dataclass(frozen=True)
class RowOrigins:
    """What is known of a query's result."""

    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """For each column that has origins, by leaf: SQL over the leaf's columns."""
    additive: frozenset[str] = frozenset()
    """Leaves of which more rows only add the rows that they alone would give."""
    measures: Mapping[str, str] = field(default_factory=dict)
    """Where rows are groups, all keys of which are columns: the aggregate that each other column is;
    "rows" for a count of all rows."""
    summed: frozenset[str] = frozenset()
    """Leaves whose rows are the rows of these groups."""
    reason: str = ""
    """Why no column has an origin; "" where one has."""


def row_origins(
    template: Relation, schemas: Mapping[str, Any], texts: SqlTexts | None = None
) -> RowOrigins:
    """Follow the columns of a plan's result down to its leaves.

    `schemas` are the leaves' columns, StructTypes by key.
    """
    reader = _Reader(schemas, texts or SqlTexts())
    functions = proto.CommonInlineUserDefinedFunction
    if any(isinstance(part, functions) for part in plan_proto.walk(template)):
        return RowOrigins(reason="it calls a function of Python, which is not looked into")
    try:
        return reader.result(reader.rows(template))
    except _OpaqueError as error:
        return RowOrigins(reason=str(error))


class _OpaqueError(Exception):
    """Nothing is known of a result; the argument says why."""


Origins = Mapping[int, exp.Expr]
"""By the number of a leaf's occurrence: an expression over the leaf's columns."""


@dataclass(frozen=True)
class _Column:
    name: str
    """In lower case."""
    origins: Origins = field(default_factory=dict)
    spelled: str = ""
    role: str = ""
    """In rows that are groups: "key 0", "key 1", ..., or the aggregate that the column is."""
    type: Any = None
    """Of a leaf's own column."""
    tables: frozenset[str] = frozenset()
    """Names by which it can be qualified."""
    plans: frozenset[int] = frozenset()
    """Ids of the relations that hand it on."""


@dataclass(frozen=True)
class _Rows:
    columns: tuple[_Column, ...] = ()
    additive: frozenset[int] = frozenset()
    """Occurrences of leaves."""
    keys: int = 0
    """Of rows that are groups: by how many keys."""
    summed: frozenset[int] = frozenset()

    def under_name(self, table: str) -> _Rows:
        """The same rows under the name of a table."""
        names = frozenset({table.lower()})
        return replace(self, columns=tuple(replace(c, tables=names) for c in self.columns))

    def plain(self) -> _Rows:
        """The same rows, which may be some of the groups only."""
        return replace(self, columns=tuple(replace(c, role="") for c in self.columns), keys=0)

    def without(self, kept: Callable[[_Column], bool]) -> _Rows:
        """The same rows; columns that `kept` refuses have no origin any more."""
        columns = (c if kept(c) else replace(c, origins={}) for c in self.columns)
        return replace(self.plain(), columns=tuple(columns), additive=frozenset())

    def find(
        self, parts: Sequence[str], plan: int | None = None
    ) -> tuple[_Column, list[str]] | None:
        """The column that a name means and the fields inside it that are named. None if unclear."""
        lower = [part.lower() for part in parts]
        there = [c for c in self.columns if plan is None or plan in c.plans]
        if len(lower) > 1:
            matches = [c for c in there if lower[0] in c.tables and c.name == lower[1]]
            if matches:
                return (matches[0], list(parts[2:])) if len(matches) == 1 else None
        matches = [c for c in there if c.name == lower[0]]
        return (matches[0], list(parts[1:])) if len(matches) == 1 else None


@dataclass(frozen=True)
class _Item:
    """A column that a query selects."""

    name: str
    tree: exp.Expr
    place: int | None = None
    """Of a column that a star stands for."""


class _Reader:
    """Walks one plan."""

    def __init__(self, schemas: Mapping[str, Any], texts: SqlTexts) -> None:
        self.schemas = schemas
        self.texts = texts
        self.trees = ValueTrees(texts, self._beside)
        self.leaves: list[str] = []
        """The leaf of each occurrence."""

    def result(self, rows: _Rows) -> RowOrigins:
        """What is known of the plan's result."""
        times = Counter(self.leaves)
        names = Counter(column.name for column in rows.columns)
        columns: dict[str, dict[str, str]] = {}
        for column in rows.columns:
            origins: dict[str, str] = {}
            for leaf in times:
                texts = [
                    column.origins[n].sql(dialect=DIALECT) if n in column.origins else ""
                    for n, key in enumerate(self.leaves)
                    if key == leaf
                ]
                if len(set(texts)) == 1 and texts[0]:
                    origins[leaf] = texts[0]
            if origins and names[column.name] == 1:
                columns[column.spelled] = origins
        roles = [column.role for column in rows.columns]
        keys = {role for role in roles if role.startswith("key ")}
        grouped = 0 < rows.keys == len(keys) and all(roles)
        return RowOrigins(
            columns,
            self._once(rows.additive, times),
            {c.spelled: c.role for c in rows.columns if not c.role.startswith("key ")}
            if grouped
            else {},
            self._once(rows.summed, times) if grouped else frozenset(),
            ""
            if columns
            else "no column of its result says which rows of its inputs it comes from",
        )

    def _once(self, occurrences: Iterable[int], times: Mapping[str, int]) -> frozenset[str]:
        return frozenset(self.leaves[n] for n in occurrences if times[self.leaves[n]] == 1)

    # -- relations ------------------------------------------------------------------------------

    def rows(self, relation: Relation) -> _Rows:
        """What is known of a relation's rows."""
        rows = self._rows(relation)
        if not relation.common.HasField("plan_id"):
            return rows
        plan = frozenset({relation.common.plan_id})
        return replace(rows, columns=tuple(replace(c, plans=c.plans | plan) for c in rows.columns))

    def _rows(self, relation: Relation) -> _Rows:
        key, kind = placeholder_key(relation), plan_proto.kind(relation)
        if key is not None:
            return self._leaf(key)
        node: Any = getattr(relation, kind) if kind else None
        if kind == "with_relations":
            return self._with_relations(node)
        if kind in {"local_relation", "range", "read", "sql"}:
            return self._sql(node.query, {}) if kind == "sql" else _Rows()
        method = getattr(self, f"_{kind}", None)
        if method is None:
            raise _OpaqueError(
                f"it has an operator that is not followed ({kind.replace('_', ' ')})"
            )
        rows: _Rows = method(node)
        return rows

    def _leaf(self, key: str) -> _Rows:
        number = len(self.leaves)
        self.leaves.append(key)
        columns = tuple(
            _Column(
                f.name.lower(),
                {number: exp.column(f.name, quoted=True)},
                f.name,
                type=f.dataType.simpleString(),
            )
            for f in self.schemas[key].fields
        )
        return _Rows(columns, frozenset({number}))

    def _subquery_alias(self, node: Any) -> _Rows:
        return self.rows(node.input).under_name(node.alias)

    def _same(self, node: Any) -> _Rows:
        return self.rows(node.input)

    _hint = _repartition = _repartition_by_expression = _sort = _same

    def _filter(self, node: Any) -> _Rows:
        return self._window_limits(self.rows(node.input), [self.trees.tree(node.condition)]).plain()

    def _drop(self, node: Any) -> _Rows:
        rows = self.rows(node.input)
        names = {name.lower() for name in node.column_names}
        for column in node.columns:
            names.add(self.trees.tree(column).name.lower())
        return replace(rows, columns=tuple(c for c in rows.columns if c.name not in names))

    def _with_columns_renamed(self, node: Any) -> _Rows:
        pairs = [
            *node.rename_columns_map.items(),
            *((r.col_name, r.new_col_name) for r in node.renames),
        ]
        names = {old.lower(): new for old, new in pairs}
        rows = self.rows(node.input)
        columns = tuple(
            replace(c, name=names[c.name].lower(), spelled=names[c.name]) if c.name in names else c
            for c in rows.columns
        )
        return replace(rows, columns=columns)

    def _to_df(self, node: Any) -> _Rows:
        rows = self.rows(node.input)
        if len(rows.columns) != len(node.column_names):
            return replace(rows, columns=())
        pairs = zip(rows.columns, node.column_names, strict=True)
        return replace(rows, columns=tuple(replace(c, name=n.lower(), spelled=n) for c, n in pairs))

    def _with_columns(self, node: Any) -> _Rows:
        items = [_Item(a.name[0], self.trees.tree(a.expr)) for a in node.aliases]
        made = {item.name.lower() for item in items}
        rows = self._window_limits(self.rows(node.input), [item.tree for item in items])
        kept = [c for c in rows.columns if c.name not in made]
        return replace(rows, columns=(*kept, *(self._column(rows, item) for item in items)))

    def _project(self, node: Any) -> _Rows:
        rows = self.rows(node.input)
        return self._select(rows, self._items(node.expressions, rows))

    def _deduplicate(self, node: Any) -> _Rows:
        rows, names = self.rows(node.input), {name.lower() for name in node.column_names}
        return rows.without(lambda c: not names or c.name in names)

    def _aggregate(self, node: Any) -> _Rows:
        if node.group_type != proto.Aggregate.GroupType.GROUP_TYPE_GROUPBY:
            raise _OpaqueError("it groups by ROLLUP, CUBE, GROUPING SETS or a pivot")
        rows = self.rows(node.input)
        keys = self._items(node.grouping_expressions, rows)
        items = [*keys, *self._items(node.aggregate_expressions, rows)]
        return self._groups(rows, [key.tree for key in keys], items)

    def _set_op(self, node: Any) -> _Rows:
        if node.set_op_type != proto.SetOperation.SET_OP_TYPE_UNION:
            raise _OpaqueError("it has INTERSECT or EXCEPT")
        return self._union(self.rows(node.left_input), self.rows(node.right_input), node.by_name)

    def _join(self, node: Any) -> _Rows:
        kind = _JOINS.get(node.join_type, "full")
        left, right = self.rows(node.left), self.rows(node.right)
        trees = [self.trees.tree(node.join_condition)] if node.HasField("join_condition") else []
        return self._join_rows(left, right, kind, trees, list(node.using_columns))

    # -- SQL ------------------------------------------------------------------------------------

    def _with_relations(self, node: Any) -> _Rows:
        if plan_proto.kind(node.root) != "sql":
            for reference in node.references:
                self._beside(reference)
            return self.rows(node.root)
        given: dict[str, Callable[[], _Rows]] = {}
        for reference in node.references:
            name = reference.subquery_alias.alias.casefold()
            given[name] = partial(self.rows, reference)
        return self._sql(node.root.sql.query, given)

    def _beside(self, message: Any) -> None:
        """Count the leaves of a subquery: whatever they are, the result may depend on all rows."""
        for below in plan_proto.relations(message):
            key = placeholder_key(below)
            if key is not None:
                self.leaves.append(key)

    def _sql(self, text: str, given: Mapping[str, Callable[[], _Rows]]) -> _Rows:
        return self._query(self.texts.query(text).tree, given)

    def _query(self, node: exp.Expr, given: Mapping[str, Callable[[], _Rows]]) -> _Rows:
        """What is known of the rows of a query, a table, or either with joins."""
        clause = node.args.get("with_")
        if clause is not None:
            if clause.args.get("recursive"):
                raise _OpaqueError("it has a recursive query")
            given = dict(given)
            for cte in clause.expressions:
                given[cte.alias.casefold()] = self._later(cte, dict(given))
        if isinstance(node, exp.Select):
            return self._refuse_limits(node, self._select_rows(node, given))
        if isinstance(node, exp.SetOperation):
            if not isinstance(node, exp.Union):
                raise _OpaqueError("it has INTERSECT or EXCEPT")
            left, right = self._query(node.left, given), self._query(node.right, given)
            return self._refuse_limits(
                node, self._union(left, right, bool(node.args.get("by_name")))
            )
        if isinstance(node, exp.Subquery):
            return self._refuse_limits(node, self._from(node, self._query(node.this, given), given))
        if isinstance(node, exp.Table):
            rows = given.get(node.name.casefold())
            known = rows() if rows is not None and not node.db else _Rows()
            return self._from(node, known.under_name(node.alias or node.name), given)
        raise _OpaqueError("it has a query that is not followed")

    def _later(
        self, cte: exp.Expr, given: Mapping[str, Callable[[], _Rows]]
    ) -> Callable[[], _Rows]:
        """A common table expression, read anew wherever it is named."""

        def read() -> _Rows:
            return _with_names(self._query(cte.this, given), cte.args.get("alias"))

        return read

    def _from(self, node: exp.Expr, rows: _Rows, given: Mapping[str, Callable[[], _Rows]]) -> _Rows:
        """The rows of a table or subquery with its name and its joins."""
        if node.args.get("pivots") or node.args.get("sample"):
            raise _OpaqueError("it has a pivot or a sample")
        if node.alias:
            rows = _with_names(rows, node.args.get("alias")).under_name(node.alias)
        for join in node.args.get("joins") or ():
            rows = self._sql_join(rows, join, given)
        return rows

    def _sql_join(
        self, left: _Rows, join: exp.Join, given: Mapping[str, Callable[[], _Rows]]
    ) -> _Rows:
        side, kind = (join.side or "").lower(), (join.kind or "").lower()
        if join.method or isinstance(join.this, exp.Lateral):
            if isinstance(join.this, exp.Lateral) and not isinstance(join.this.this, exp.Query):
                return left.plain()
            raise _OpaqueError("it has a natural, nearest or lateral join")
        using = [name.name for name in join.args.get("using") or ()]
        on = join.args.get("on")
        self._look_beside([on] if on else [], given)
        kind = kind if kind in {"semi", "anti"} else side or "inner"
        right = self._query(join.this, given)
        return self._join_rows(left, right, kind, [on] if on else [], using)

    def _refuse_limits(self, node: exp.Expr, rows: _Rows) -> _Rows:
        if node.args.get("limit") is not None or node.args.get("offset") is not None:
            raise _OpaqueError("it has LIMIT or OFFSET")
        if isinstance(node, exp.SetOperation) and node.args.get("distinct"):
            return rows.without(lambda _: True)
        return rows

    def _select_rows(self, node: exp.Select, given: Mapping[str, Callable[[], _Rows]]) -> _Rows:
        source = node.args.get("from_")
        rows = _Rows()
        if source is not None:
            rows = self._query(source.this, given)
            for join in node.args.get("joins") or ():
                rows = self._sql_join(rows, join, given)
        parts = [node.args[name] for name in ("where", "having", "qualify") if node.args.get(name)]
        self._look_beside([*node.expressions, *parts], given)
        if node.args.get("where"):
            rows = rows.plain()
        items = [item for each in node.expressions for item in self._sql_items(each, rows)]
        group = node.args.get("group")
        trees = [item.tree for item in items]
        filters = [node.args[name] for name in ("having", "qualify") if node.args.get(name)]
        if group is None and not any(map(aggregates, [*trees, *filters])):
            rows = self._select(rows, items)
            rows = self._window_limits(rows, filters) if filters else rows
        else:
            rows = self._groups(rows, self._group_keys(group, items, rows), items, also=filters)
        if filters:
            rows = rows.plain()
        return rows.without(lambda _: True) if node.args.get("distinct") else rows

    def _group_keys(
        self, group: exp.Expr | None, items: Sequence[_Item], rows: _Rows
    ) -> list[exp.Expr]:
        if group is None:
            return []
        sets = (exp.Rollup, exp.Cube, exp.GroupingSets)
        if any(group.args.get(n) for n in ("rollup", "cube", "grouping_sets")) or group.find(*sets):
            raise _OpaqueError("it groups by ROLLUP, CUBE or GROUPING SETS")
        if group.args.get("all"):
            return [item.tree for item in items if not aggregates(item.tree)]
        keys = []
        for key in group.expressions:
            tree = key
            if (
                isinstance(key, exp.Literal)
                and key.name.isdigit()
                and 0 < int(key.name) <= len(items)
            ):
                tree = items[int(key.name) - 1].tree
            elif isinstance(key, exp.Column) and not key.table and rows.find([key.name]) is None:
                tree = next((i.tree for i in items if i.name.lower() == key.name.lower()), key)
            keys.append(tree)
        return keys

    def _look_beside(
        self, trees: Iterable[exp.Expr], given: Mapping[str, Callable[[], _Rows]]
    ) -> None:
        """Count the leaves of subqueries inside of expressions, with those that they name."""
        for tree in trees:
            for table in tree.find_all(exp.Table):
                read = given.get(table.name.casefold())
                if read is not None:
                    read()

    def _sql_items(self, node: exp.Expr, rows: _Rows) -> list[_Item]:
        """What an item of a select list selects."""
        star = node.this if isinstance(node, exp.Column) else node
        if isinstance(star, exp.Star):
            if star.args.get("replace") or star.args.get("rename"):
                raise _OpaqueError("it has * with REPLACE")
            gone = {part.name.lower() for part in star.args.get("except_") or ()}
            table = node.table.lower() if isinstance(node, exp.Column) else ""
            return [
                _Item(c.spelled, exp.Placeholder(), place)
                for place, c in enumerate(rows.columns)
                if c.name not in gone and (not table or table in c.tables)
            ]
        return [_Item(node.alias_or_name, node.unalias())]

    # -- what operators do ------------------------------------------------------------------------

    def _select(self, rows: _Rows, items: Sequence[_Item]) -> _Rows:
        """Rows of other columns, one for each of `rows` (or several)."""
        trees = [item.tree for item in items]
        if any(map(aggregates, trees)):
            return self._groups(rows, [], items)
        limited = self._window_limits(rows, trees)
        columns = tuple(self._column(limited, item) for item in items)
        return replace(limited, columns=columns)

    def _window_limits(self, rows: _Rows, trees: Iterable[exp.Expr]) -> _Rows:
        """The rows when window functions are computed over them: columns of all partitions stay."""
        for window in [w for tree in trees for w in tree.find_all(exp.Window)]:
            parts = [self._origins(rows, part) for part in window.args.get("partition_by") or ()]
            rows = rows.without(partial(_is_one_of, parts))
        return rows

    def _groups(
        self,
        rows: _Rows,
        keys: Sequence[exp.Expr],
        items: Sequence[_Item],
        also: Iterable[exp.Expr] = (),
    ) -> _Rows:
        """Rows of groups."""
        if not keys:
            raise _OpaqueError("it aggregates all rows, without groups")
        origins = [self._origins(rows, key) for key in keys]
        limited = self._window_limits(rows, [*(item.tree for item in items), *also])
        windows = limited is not rows
        columns = []
        for item in items:
            mine = self._column(limited, item).origins
            same = [n for n, key in enumerate(origins) if mine and _same(mine, key)]
            role = f"key {same[0]}" if same else measure_of(item.tree)
            columns.append(
                _Column(item.name.lower(), mine if same else {}, item.name, "" if windows else role)
            )
        return _Rows(tuple(columns), frozenset(), 0 if windows else len(keys), rows.additive)

    def _union(self, left: _Rows, right: _Rows, by_name: bool) -> _Rows:  # noqa: FBT001
        if by_name:
            there = {c.name: c for c in right.columns}
            others = [there.get(c.name, _Column(c.name)) for c in left.columns]
        elif len(left.columns) == len(right.columns):
            others = list(right.columns)
        else:
            others = [_Column(c.name) for c in left.columns]
        columns = tuple(
            _Column(
                mine.name,
                {**mine.origins, **other.origins} if mine.origins and other.origins else {},
                mine.spelled,
            )
            for mine, other in zip(left.columns, others, strict=True)
        )
        return _Rows(columns)

    def _join_rows(
        self, left: _Rows, right: _Rows, kind: str, trees: Sequence[exp.Expr], using: list[str]
    ) -> _Rows:
        """Rows of a join: columns that are equal on both sides have the origins of both."""
        if kind in {"outer", "full"}:
            raise _OpaqueError("it has a full outer join")
        both = _Rows((*left.columns, *right.columns))
        pairs = [(c, d) for name in using for c in left.columns for d in right.columns
                 if c.name == d.name == name.lower()]  # fmt: skip
        for tree in trees:
            pairs += self._equal_columns(both, tree)
        equal: dict[int, dict[int, exp.Expr]] = {}
        for one, other in pairs:
            if one.type == other.type and one.type is not None:
                equal.setdefault(id(one), {}).update(other.origins)
                equal.setdefault(id(other), {}).update(one.origins)

        def side(rows: _Rows, *, kept: bool) -> tuple[_Column, ...]:
            return tuple(
                replace(
                    c,
                    role="",
                    origins={**equal.get(id(c), {}), **c.origins} if kept and c.origins else {},
                )
                for c in rows.columns
            )

        lefts = side(left, kept=kind != "right")
        rights = side(right, kept=kind in {"right", "inner", "cross"})
        additive = left.additive if kind in {"left", "semi", "anti"} else right.additive
        if kind in {"inner", "cross"}:
            additive = left.additive | right.additive
        if kind in {"semi", "anti"}:
            return _Rows(lefts, additive)
        names = {name.lower() for name in using}
        shown = rights if kind == "right" else lefts
        hidden = lefts if kind == "right" else rights
        others = tuple(c for c in hidden if c.name not in names)
        columns = (*shown, *others) if kind != "right" else (*others, *shown)
        return _Rows(columns, additive)

    def _equal_columns(self, rows: _Rows, tree: exp.Expr) -> list[tuple[_Column, _Column]]:
        """The pairs of columns that a condition says to be equal, all of its parts being true."""
        tree = tree.unnest()
        if isinstance(tree, exp.And):
            return [*self._equal_columns(rows, tree.left), *self._equal_columns(rows, tree.right)]
        if not isinstance(tree, exp.EQ | exp.NullSafeEQ):
            return []
        sides = [self._plain_column(rows, part.unnest()) for part in (tree.left, tree.right)]
        return [(sides[0], sides[1])] if sides[0] is not None and sides[1] is not None else []

    # -- expressions ----------------------------------------------------------------------------

    def _plain_column(self, rows: _Rows, tree: exp.Expr) -> _Column | None:
        if isinstance(tree, exp.Column) and not isinstance(tree.this, exp.Star):
            match = rows.find([part.name for part in tree.parts], tree.meta.get(PLAN))
            if match is not None and not match[1]:
                return match[0]
        return None

    def _column(self, rows: _Rows, item: _Item) -> _Column:
        if item.place is not None:
            return rows.columns[item.place]
        plain = self._plain_column(rows, item.tree)
        if plain is not None:
            return replace(plain, name=item.name.lower(), spelled=item.name, tables=frozenset())
        return _Column(item.name.lower(), self._origins(rows, item.tree), item.name)

    def _origins(self, rows: _Rows, tree: exp.Expr) -> Origins:
        """The origins of an expression's value; none where it is not followed."""
        nodes = list(tree.walk())
        if not all(map(is_followed, nodes)):
            return {}
        uses = [node for node in nodes if isinstance(node, exp.Column)]
        matches = [rows.find([p.name for p in u.parts], u.meta.get(PLAN)) for u in uses]
        common: set[int] | None = None
        for match in matches:
            there = set(match[0].origins) if match is not None else set()
            common = there if common is None else common & there
        if not common:
            return {}
        return {n: _fill_in(tree, uses, matches, n) for n in common}

    def _items(self, expressions: Iterable[Any], rows: _Rows) -> list[_Item]:
        return [item for each in expressions for item in self._item(each, rows)]

    def _item(self, expression: Any, rows: _Rows) -> list[_Item]:
        kind = expression.WhichOneof("expr_type")
        if kind == "unresolved_star":
            target = expression.unresolved_star.unparsed_target.removesuffix(".*").lower()
            return [
                _Item(c.spelled, exp.Placeholder(), place)
                for place, c in enumerate(rows.columns)
                if not target or target in c.tables
            ]
        if kind == "expression_string":
            read = self.texts.expression(expression.expression_string.expression)
            return [item for each in read.tree.expressions for item in self._sql_items(each, rows)]
        tree = self.trees.tree(expression)
        if kind == "alias":
            return [_Item(expression.alias.name[0], tree)]
        return [_Item(tree.name if isinstance(tree, exp.Column) else "", tree)]


_type = proto.Join.JoinType
_JOINS = {
    _type.JOIN_TYPE_INNER: "inner",
    _type.JOIN_TYPE_CROSS: "cross",
    _type.JOIN_TYPE_LEFT_OUTER: "left",
    _type.JOIN_TYPE_RIGHT_OUTER: "right",
    _type.JOIN_TYPE_LEFT_SEMI: "semi",
    _type.JOIN_TYPE_LEFT_ANTI: "anti",
}


def _with_names(rows: _Rows, alias: exp.Expr | None) -> _Rows:
    names = [name.name for name in alias.args.get("columns") or ()] if alias is not None else []
    if not names:
        return rows
    if len(names) != len(rows.columns):
        return replace(rows, columns=())
    pairs = zip(rows.columns, names, strict=True)
    return replace(rows, columns=tuple(replace(c, name=n.lower(), spelled=n) for c, n in pairs))


def _same(one: Origins, other: Origins) -> bool:
    """Whether two values have one origin: then they are the same value."""
    return any(n in other and one[n].sql() == other[n].sql() for n in one)


def _is_one_of(parts: Sequence[Origins], column: _Column) -> bool:
    return any(_same(column.origins, part) for part in parts)


def _fill_in(
    tree: exp.Expr, uses: Sequence[exp.Expr], matches: Sequence[Any], number: int
) -> exp.Expr:
    """The expression with the origins of its columns in their place."""
    values = {}
    for use, (column, inside) in zip(uses, matches, strict=True):
        value = column.origins[number].copy()
        for name in inside:
            value = exp.Dot(this=value, expression=exp.to_identifier(name, quoted=True))
        values[id(use)] = value if isinstance(value, exp.Column | exp.Dot) else exp.paren(value)
    if id(tree) in values:
        return values[id(tree)].unnest()
    filled = tree.copy()
    copies = [node for node in filled.walk() if isinstance(node, exp.Column)]
    for use, copied in zip(uses, copies, strict=True):
        copied.replace(values[id(use)])
    return filled
