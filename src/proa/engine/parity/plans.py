"""The pass over the relations of a plan that DataFrames made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pyspark.sql.connect import proto

from proa.engine.parity import spark_types as st
from proa.engine.parity.coerce import refuse, spark_cast
from proa.engine.parity.names import UnnamedError, column_name
from proa.engine.parity.plan_nodes import apply, message_of, node_of
from proa.engine.parity.plan_shapes import (
    SETS_OF_GROUPS,
    as_project,
    intersect_all,
    without_empty_groups,
)
from proa.engine.parity.sql_nodes import DataType, Node, literal
from proa.engine.parity.sql_queries import QueryReader
from proa.engine.parity.sql_render import render_node
from proa.engine.parity.typist import GENERATORS, Scope, Typist

Relation = Any
Qualified = list[tuple[str, str, DataType]]
"""(qualifier, name, type) of each column."""

_SAME = frozenset(
    {"filter", "sort", "limit", "offset", "tail", "deduplicate", "repartition", "sample", "hint",
     "repartition_by_expression", "with_watermark", "collect_metrics"}
)  # fmt: skip
_EXPRESSION = proto.Expression.DESCRIPTOR
_RELATION = proto.Relation.DESCRIPTOR


class PlanPass:
    """Goes through a plan's relations, inner ones first.

    `schema` asks the engine for the columns of a relation, `text` rewrites a relation of SQL text and
    `made_known` registers the kernels in a node.
    """

    def __init__(
        self,
        typist: Typist,
        schema: Callable[[Relation], list[tuple[str, DataType]]],
        text: Callable[[Relation], None],
        made_known: Callable[[Node], None],
    ) -> None:
        self._typist = typist
        self._schema = schema
        self._text = text
        self._made_known = made_known
        self._subqueries: dict[int, Callable[[], Qualified]] = {}
        self._below: dict[Callable[[], Qualified], Callable[[], Qualified]] = {}
        """What a projection was made from: filters and orders of it may name these columns too."""

    def visit(self, relation: Relation) -> Callable[[], Qualified]:
        """Rewrite `relation` and all below it; answers with what finds its columns."""
        kind = relation.WhichOneof("rel_type")
        if kind in {None, "read", "local_relation", "range", "cached_local_relation"}:
            return self._question(relation)
        if kind == "sql" or (
            kind == "with_relations"
            and relation.with_relations.root.WhichOneof("rel_type") == "sql"
        ):
            self._text(relation)
            return self._question(relation)
        node = getattr(relation, kind)
        if (
            kind == "aggregate"
            and node.group_type == node.GROUP_TYPE_PIVOT
            and not node.pivot.values
        ):
            raise refuse(
                "pivot() without values",
                "name them: pivot('k', ['a', 'b']); columns must not depend on the rows that have come",
            )
        if kind in {"describe", "summary"}:
            raise refuse(f"{kind}(), which writes numbers as Java does", "use agg()")
        if kind == "replace":
            child = self.visit(node.input)
            relation.CopyFrom(as_project(relation, child()))
            return self._pass(relation, "project", [child])
        inputs = list(_children(node))
        if kind == "with_relations":
            for reference in node.references:
                self._subqueries[reference.common.plan_id] = self.visit(reference)
            inputs = [node.root]
        return self._pass(relation, kind, [self.visit(child) for child in inputs])

    def _pass(
        self, relation: Relation, kind: str, children: list[Callable[[], Qualified]]
    ) -> Callable[[], Qualified]:
        """Rewrite the expressions of `relation`, all below which is rewritten."""
        node = getattr(relation, kind)
        expressions = list(_expressions(node))
        nodes: list[Node] = []
        if expressions:
            columns = [column for child in children for column in child()]
            below = self._below.get(children[0]) if kind in {"filter", "sort"} else None
            scope = Scope(columns, Scope(below()) if below is not None else None)
            nodes = [self._apply_rules(message, scope) for message in expressions]
            for root in nodes:
                self._made_known(root)
            self._keep_names(kind, node, nodes)
            for root in nodes:
                apply(root)
        if kind == "set_op":
            self._as_one_type(node, [child() for child in children])
            if node.set_op_type == node.SET_OP_TYPE_INTERSECT and node.is_all:
                intersect_all(node)
            return self._question(relation)
        if kind == "aggregate" and node.group_type in SETS_OF_GROUPS and node.grouping_expressions:
            relation.CopyFrom(without_empty_groups(relation))
            return self._question(relation)
        found = self._output(relation, kind, node, children)
        if kind == "project" and children:
            self._below[found] = children[0]
        return found

    def _as_one_type(self, node: Any, sides: list[Qualified]) -> None:
        """Cast the columns of a set operation's inputs to the types in which they meet."""
        left, right = sides
        if node.by_name:
            places = {name.casefold(): k for k, (_, name, _) in enumerate(right)}
            pairs = [(k, places.get(name.casefold())) for k, (_, name, _) in enumerate(left)]
        else:
            pairs = [(k, k) for k in range(min(len(left), len(right)))]
        targets: list[dict[int, DataType]] = [{}, {}]
        added: list[list[tuple[str, DataType]]] = [[], []]
        if node.by_name and node.allow_missing_columns:
            added = [_missing(left, right), _missing(right, left)]
        for k, other in pairs:
            if other is None:
                continue
            a, b = left[k][2], right[other][2]
            target = None if a is None or b is None else st.common(a, b)
            if target is None:
                raise refuse("a set operation over different types", "cast the columns to one type")
            if not st.same(a, target):
                targets[0][k] = target
            if not st.same(b, target):
                targets[1][other] = target
        for child, columns, wanted, more in zip(
            (node.left_input, node.right_input), sides, targets, added, strict=True
        ):
            if wanted or more:
                self._cast_columns(child, columns, wanted, more)

    def _cast_columns(
        self,
        relation: Relation,
        columns: Qualified,
        wanted: dict[int, DataType],
        added: list[tuple[str, DataType]],
    ) -> None:
        if len({name.casefold() for _, name, _ in columns}) < len(columns):
            raise refuse("a set operation over columns of one name", "rename the columns")
        outer = proto.Relation()
        outer.project.input.CopyFrom(relation)
        for k, (_, name, type_) in enumerate(columns):
            found = proto.Expression()
            found.unresolved_attribute.unparsed_identifier = f"`{name.replace('`', '``')}`"
            if k in wanted:
                column = Node("column", name, [], type_, parts=(name,), message=found)
                made = spark_cast(column, wanted[k])
                self._made_known(made)
                alias = proto.Expression()
                alias.alias.expr.CopyFrom(message_of(made))
                alias.alias.name.append(name)
                found = alias
            outer.project.expressions.append(found)
        for name, type_ in added:
            missing = outer.project.expressions.add().alias
            missing.expr.CopyFrom(message_of(literal(None, type_)))
            missing.name.append(name)
        if relation.common.HasField("plan_id"):
            outer.common.plan_id = relation.common.plan_id
            outer.project.input.common.ClearField("plan_id")
        relation.CopyFrom(outer)

    def _apply_rules(self, message: Any, scope: Scope) -> Node:
        def text_node(part: Any) -> Node:
            text = part.expression_string.expression
            inner = QueryReader(text).whole()
            return Node("text", text, [inner], message=part)

        root = node_of(message, text_node)
        for part in root.walk():
            if part.name == "subquery" and part.kind == "opaque" and part.type is None:
                columns = self._subqueries.get(part.message.subquery_expression.plan_id)
                part.type = columns()[0][2] if columns is not None else None
        self._typist.node(root, scope)
        return root

    def _keep_names(self, kind: str, node: Any, nodes: list[Node]) -> None:
        """Alias what a rule changed to the name that Spark gives it; write SQL text anew."""
        tops: set[int] = set()
        if kind == "project":
            tops = {id(e) for e in node.expressions}
        elif kind == "aggregate":
            tops = {id(e) for e in (*node.grouping_expressions, *node.aggregate_expressions)}
        for root in nodes:
            inner = root.args[0] if root.kind == "text" else root
            core = inner.args[0] if inner.kind == "alias" else inner
            generates = core.kind == "call" and core.name in GENERATORS
            needs = (
                root.changed
                and any(
                    root.message is e
                    for e in (
                        *getattr(node, "expressions", ()),
                        *getattr(node, "grouping_expressions", ()),
                        *getattr(node, "aggregate_expressions", ()),
                    )
                )
                and inner.kind not in {"star", "alias"}
                and not generates
                and bool(tops)
            )
            name = (_name_of(inner) or self._engines_name(kind, node, root)) if needs else ""
            for part in root.walk():
                if part.kind == "text" and part.args[0].changed:
                    self._write_back(part)
            if name:
                apply(root)
                wrapped = proto.Expression()
                wrapped.alias.expr.CopyFrom(root.message)
                wrapped.alias.name.append(name)
                if root.message.HasField("common"):
                    wrapped.common.CopyFrom(root.message.common)
                root.message.CopyFrom(wrapped)
                root.by, root.args, root.shown = None, [], name
                root.message = None

    def _engines_name(self, kind: str, node: Any, root: Node) -> str:
        """The name that the engine gives to a projected expression as it was written; "" for others."""
        if kind != "project":
            return ""
        asked = proto.Relation()
        asked.project.input.CopyFrom(node.input)
        asked.project.expressions.add().CopyFrom(root.message)
        return self._schema(asked)[0][0]

    def _write_back(self, part: Node) -> None:
        text = part.name
        inner = part.args[0]
        part.message.expression_string.expression = render_node(text, inner)
        part.args = [Node("opaque", "", [], inner.now.type)]

    def _question(self, relation: Relation) -> Callable[[], Qualified]:
        def found() -> Qualified:
            qualifier = ""
            if (
                relation.WhichOneof("rel_type") == "read"
                and relation.read.WhichOneof("read_type") == "named_table"
            ):
                qualifier = relation.read.named_table.unparsed_identifier.split(".")[-1].strip("`")
            return [(qualifier, name, type_) for name, type_ in self._schema(relation)]

        return _once(found)

    def _output(
        self,
        relation: Relation,
        kind: str,
        node: Any,
        children: list[Callable[[], Qualified]],
    ) -> Callable[[], Qualified]:
        if kind in _SAME and children:
            return children[0]
        if kind == "subquery_alias":
            return _once(lambda: [(node.alias, name, type_) for _, name, type_ in children[0]()])
        if kind == "join" and len(children) == 2:
            if node.join_type in {node.JOIN_TYPE_LEFT_SEMI, node.JOIN_TYPE_LEFT_ANTI}:
                return children[0]
            using = {name.casefold() for name in node.using_columns}
            return _once(
                lambda: [
                    *children[0](),
                    *(column for column in children[1]() if column[1].casefold() not in using),
                ]
            )
        return self._question(relation)


def _missing(columns: Qualified, others: Qualified) -> list[tuple[str, DataType]]:
    """The columns that only `others` has."""
    names = {name.casefold() for _, name, _ in columns}
    return [(n, type_) for _, n, type_ in others if n.casefold() not in names and type_ is not None]


def _name_of(node: Node) -> str:
    if node.kind == "column":  # a field is named without what it is in
        return node.parts[-1]
    try:
        return column_name(node)
    except UnnamedError:
        return ""


def _once(function: Callable[[], Qualified]) -> Callable[[], Qualified]:
    memory: list[Qualified] = []

    def found() -> Qualified:
        if not memory:
            memory.append(function())
        return memory[0]

    return found


def _children(node: Any) -> Iterator[Relation]:
    for field, value in node.ListFields():
        if field.message_type is None:
            continue
        if field.message_type is _RELATION:
            yield from [value] if hasattr(value, "ListFields") else value


def _expressions(node: Any) -> Iterator[Any]:
    """The outermost expressions of a relation's operator, not those of its inputs."""
    for field, value in node.ListFields():
        kind = field.message_type
        if kind is None or kind is _RELATION or kind.GetOptions().map_entry:
            continue
        for part in [value] if hasattr(value, "ListFields") else value:
            if kind is _EXPRESSION:
                yield part
            else:
                yield from _expressions(part)


__all__ = ["PlanPass", "Qualified", "st"]
