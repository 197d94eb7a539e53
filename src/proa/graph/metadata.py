"""`_metadata`: a column of files that is there when it is asked for and not otherwise.

Spark hides the column from `*`. An engine that reads plans of ours sees an ordinary column, so it
is hidden by hand: a leaf that is asked for it yields it under another name, those who ask use that
name, and above the last of them it is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from pyspark.sql.connect import proto
from sqlglot import Token, TokenType, exp

from proa.graph import plan_proto
from proa.graph.plan_proto import Relation
from proa.graph.sql_mask import TextEdit
from proa.graph.sql_text import SqlExpression, SqlReads, SqlTexts, apply_edits
from proa.pipelines.identifiers import parts as name_parts

COLUMN = "_metadata"
HIDDEN = "__proa_metadata"
OPTION = "proa.metadata"
"""The leaf's option that makes the Auto Loader yield the column."""


def edits(read: SqlReads) -> list[TextEdit]:
    """What must change in a query's text so that it asks for the hidden column."""
    whole = _selected_whole(read.tree)
    return [
        TextEdit(
            token.start,
            token.end + 1,
            HIDDEN + (f" AS {COLUMN}" if token.start in whole else ""),
        )
        for token in read.tokens
        if _names_the_column(token)
    ]


def _expression_edits(read: SqlExpression) -> list[TextEdit]:
    return [
        TextEdit(token.start - read.shift, token.end + 1 - read.shift, HIDDEN)
        for token in read.tokens
        if _names_the_column(token)
    ]


def _names_the_column(token: Token) -> bool:
    return token.text.lower() == COLUMN and token.token_type != TokenType.STRING


def expose(plan: Relation, is_files: Callable[[Relation], str | None], texts: SqlTexts) -> set[str]:
    """Let the leaves that are asked for `_metadata` yield it; returns their keys.

    `is_files` gives the key of a leaf that reads files and does not yield the column yet.
    """
    exposing = _Exposing(is_files, texts)
    exposing.settle(plan, asked_above=False)
    return exposing.keys


def is_asked(plan: Relation) -> bool:
    """Whether DataFrame code somewhere in a plan asks for `_metadata`."""
    for part in plan_proto.walk(plan):
        if isinstance(part, proto.Expression.UnresolvedAttribute):
            names = name_parts(part.unparsed_identifier)[:2]
            if COLUMN in (name.lower() for name in names):
                return True
        elif (
            isinstance(part, proto.Expression.ExpressionString)
            and COLUMN in part.expression.lower()
        ):
            return True
    return False


class _Exposing:
    def __init__(self, is_files: Callable[[Relation], str | None], texts: SqlTexts) -> None:
        self.is_files = is_files
        self.texts = texts
        self.keys: set[str] = set()

    def settle(self, relation: Relation, *, asked_above: bool) -> None:
        key = self.is_files(relation)
        if key is not None:
            if asked_above:
                self.keys.add(key)
                _wrap(relation, _rename)
            return
        inputs = list(_inputs(relation))
        below = (part for child in inputs for part in plan_proto.relations(child))
        asks = any(map(self.is_files, below)) and self._asks(relation)
        for child in inputs:
            self.settle(child, asked_above=asked_above or asks)
        if asks:
            self._ask_for_hidden(relation)
            if not asked_above:
                _wrap(relation, _drop)

    def _asks(self, relation: Relation) -> bool:
        for part in _own(relation):
            if isinstance(part, proto.Expression.UnresolvedAttribute):
                names = name_parts(part.unparsed_identifier)[:2]
                if COLUMN in (name.lower() for name in names):
                    return True
            elif isinstance(part, proto.Expression.ExpressionString):
                if _expression_edits(self.texts.expression(part.expression)):
                    return True
            elif isinstance(part, proto.SQL) and HIDDEN in part.query:
                return True
        return False

    def _ask_for_hidden(self, relation: Relation) -> None:
        if plan_proto.kind(relation) == "project":
            for expression in relation.project.expressions:
                _keep_name(expression)
        for part in _own(relation):
            if isinstance(part, proto.Expression.UnresolvedAttribute):
                names = [
                    HIDDEN if name.lower() == COLUMN and position < 2 else name
                    for position, name in enumerate(name_parts(part.unparsed_identifier))
                ]
                if HIDDEN in names:
                    part.unparsed_identifier = ".".join(f"`{name}`" for name in names)
                    part.is_metadata_column = False
            elif isinstance(part, proto.Expression.ExpressionString):
                edits = _expression_edits(self.texts.expression(part.expression))
                part.expression = apply_edits(part.expression, edits)


def _inputs(relation: Relation) -> Iterator[Relation]:
    kind = plan_proto.kind(relation)
    if kind:
        yield from (
            part
            for part in plan_proto.parts(getattr(relation, kind))
            if isinstance(part, proto.Relation)
        )


def _own(relation: Relation) -> Iterator[Any]:
    if plan_proto.kind(relation) == "with_relations":
        root = relation.with_relations.root
        if plan_proto.kind(root) == "sql":
            yield root.sql
        return
    kind = plan_proto.kind(relation)
    if kind:
        yield from plan_proto.own_parts(getattr(relation, kind))


def _keep_name(expression: Any) -> None:
    """`_metadata` itself, selected, is called `_metadata` in the result."""
    kind = expression.WhichOneof("expr_type")
    if kind == "unresolved_attribute":
        name = expression.unresolved_attribute.unparsed_identifier
        whole = name_parts(name)[-1].lower() == COLUMN
    else:
        whole = kind == "expression_string" and (
            expression.expression_string.expression.strip().lower() == COLUMN
        )
    if whole:
        inner = proto.Expression()
        inner.CopyFrom(expression)
        expression.alias.expr.CopyFrom(inner)
        expression.alias.name.append(COLUMN)


def _wrap(relation: Relation, operator: Callable[[Relation, Relation], None]) -> None:
    """Put an operator above the relation, which keeps its plan id: columns refer to it."""
    inner = proto.Relation()
    inner.CopyFrom(relation)
    inner.common.plan_id = plan_proto.fresh_plan_id()
    outer = proto.Relation()
    operator(outer, inner)
    plan_proto.replace(relation, outer)


def _rename(outer: Relation, inner: Relation) -> None:
    outer.with_columns_renamed.input.CopyFrom(inner)
    rename = outer.with_columns_renamed.renames.add()
    rename.col_name, rename.new_col_name = COLUMN, HIDDEN


def _drop(outer: Relation, inner: Relation) -> None:
    outer.drop.input.CopyFrom(inner)
    outer.drop.column_names.append(HIDDEN)


def _selected_whole(tree: exp.Expr) -> set[int]:
    """Where `_metadata` itself is selected without another name."""
    return {
        item.this.meta["start"]
        for select in tree.find_all(exp.Select)
        for item in select.expressions
        if isinstance(item, exp.Column)
        and item.name.lower() == COLUMN
        and "start" in item.this.meta
    }
