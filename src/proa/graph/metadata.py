"""`_metadata`: a column of files that is there when it is asked for and not otherwise.

Its fields that tell a row's place among the shipments are there when they are asked for themselves.

`input_file_name()`, its elder, asks for the column's `file_path`.

Spark hides the column from `*`. An engine that reads plans of ours sees an ordinary column, so it
is hidden by hand: a leaf that is asked for it yields it under another name, those who ask use that
name, and above the last of them it is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pyspark.sql.connect import proto
from sqlglot import Token, TokenType, exp

from proa.formats.place import PLACE_NAMES, WHOLE
from proa.graph import plan_proto
from proa.graph.plan_proto import Relation
from proa.graph.sql_mask import TextEdit
from proa.graph.sql_text import SqlExpression, SqlReads, SqlTexts, apply_edits
from proa.pipelines.identifiers import name_parts

COLUMN = "_metadata"
FILE_NAME_FUNCTION = "input_file_name"
HIDDEN = "__proa_metadata"
OPTION = "proa.metadata"
"""The leaf's option that makes the Auto Loader yield the column: "true", or names of `PLACE_NAMES`."""

_MERGING = {"aggregate", "deduplicate", "set_op"}
"""Operators whose rows are not those of single files any more: the column does not pass them."""
_FILE_PATH = f"{HIDDEN}.file_path"
_CALL_ALIAS = f" AS `{FILE_NAME_FUNCTION}()`"
_ITEM_BEGINNINGS = {TokenType.SELECT, TokenType.COMMA, TokenType.DISTINCT, TokenType.ALL}
_ITEM_ENDS = {TokenType.COMMA, TokenType.FROM, TokenType.R_PAREN, TokenType.SEMICOLON}
_CLAUSES = {
    TokenType.FROM,
    TokenType.WHERE,
    TokenType.GROUP_BY,
    TokenType.ORDER_BY,
    TokenType.HAVING,
    TokenType.QUALIFY,
}


def edits(read: SqlReads) -> list[TextEdit]:
    """What must change in a query's text so that it asks for the hidden column."""
    whole = _selected_whole(read.tree)
    column_edits = [
        TextEdit(
            token.start,
            token.end + 1,
            HIDDEN + (f" AS {COLUMN}" if token.start in whole else ""),
        )
        for token in read.tokens
        if _names_the_column(token)
    ]
    call_edits = [
        TextEdit(
            read.tokens[first].start,
            read.tokens[last].end + 1,
            _FILE_PATH + (_CALL_ALIAS if _is_select_item(read.tokens, first, last) else ""),
        )
        for first, last in _file_name_calls(read.tokens)
    ]
    return column_edits + call_edits


def _expression_edits(read: SqlExpression) -> list[TextEdit]:
    column_edits = [
        TextEdit(token.start - read.shift, token.end + 1 - read.shift, HIDDEN)
        for token in read.tokens
        if _names_the_column(token)
    ]
    call_edits = [
        TextEdit(
            read.tokens[first].start - read.shift,
            read.tokens[last].end + 1 - read.shift,
            _FILE_PATH,
        )
        for first, last in _file_name_calls(read.tokens)
    ]
    return column_edits + call_edits


def _names_the_column(token: Token) -> bool:
    return token.text.lower() == COLUMN and token.token_type != TokenType.STRING


def _file_name_calls(tokens: Sequence[Token]) -> Iterator[tuple[int, int]]:
    """Yield the places of the first and the last token of each `input_file_name()`."""
    for place in range(len(tokens) - 2):
        name, opening, closing = tokens[place : place + 3]
        if (
            name.text.lower() == FILE_NAME_FUNCTION
            and name.token_type != TokenType.STRING
            and opening.token_type == TokenType.L_PAREN
            and closing.token_type == TokenType.R_PAREN
        ):
            yield place, place + 2


def _is_select_item(tokens: Sequence[Token], first: int, last: int) -> bool:
    """Whether the tokens are an item of a SELECT that has no other name."""
    if last + 1 < len(tokens) and tokens[last + 1].token_type not in _ITEM_ENDS:
        return False
    if tokens[first - 1].token_type not in _ITEM_BEGINNINGS:
        return False
    depth = 0
    for token in reversed(tokens[:first]):
        if token.token_type == TokenType.R_PAREN:
            depth += 1
        elif token.token_type == TokenType.L_PAREN:
            depth -= 1
        if depth < 0 or (depth == 0 and token.token_type in _CLAUSES):
            return False
        if depth == 0 and token.token_type == TokenType.SELECT:
            return True
    return False


def expose(plan: Relation, is_files: Callable[[Relation], str | None], texts: SqlTexts) -> set[str]:
    """Let the leaves that are asked for `_metadata` yield it; returns their keys.

    `is_files` gives the key of a leaf that reads files and does not yield the column yet.
    """
    exposing = _Exposing(is_files, texts)
    exposing.settle(plan, asked_above=False)
    return exposing.keys


def option_for(plan: Relation, texts: SqlTexts) -> str:
    """What `OPTION` says of the leaves of a plan whose texts ask for the hidden column already."""
    asked: set[str] = set()
    mentions = 0
    for part in plan_proto.walk(plan):
        if isinstance(part, proto.SQL | proto.Expression.ExpressionString):
            is_query = isinstance(part, proto.SQL)
            text = part.query if is_query else part.expression
            if COLUMN not in text.lower():
                continue
            read = texts.query(text) if is_query else texts.expression(text)
            fields = list(_fields(read.tokens))
            asked.update(fields)
            mentions += fields.count(WHOLE)
        elif isinstance(part, proto.Expression.UnresolvedExtractValue):
            child = part.child.unresolved_attribute
            if _field_of(child) == WHOLE and part.extraction.literal.string:
                asked.add(part.extraction.literal.string.lower())
                mentions -= 1
        elif isinstance(part, proto.Expression.UnresolvedAttribute):
            field = _field_of(part)
            mentions += field == WHOLE
            asked.add(field)
    asked = asked if mentions > 0 else asked - {WHOLE}
    return ",".join(sorted(asked & {*PLACE_NAMES, WHOLE})) or "true"


def _field_of(attribute: Any) -> str:
    """The field that an attribute asks the column for; `WHOLE` for the column, "" for another one."""
    names = [name.lower() for name in name_parts(attribute.unparsed_identifier or "x")]
    return (*names, WHOLE)[names.index(COLUMN) + 1] if COLUMN in names[:2] else ""


def _fields(tokens: Sequence[Token]) -> Iterator[str]:
    """The fields that a text asks the column for, `WHOLE` where it asks for the column itself."""
    texts = [token.text.lower() for token in tokens]
    for place, token in enumerate(tokens):
        if token.text.lower() in {COLUMN, HIDDEN} and token.token_type != TokenType.STRING:
            mark, field = (*texts[place + 1 : place + 3], "", "")[:2]
            yield field if mark in {".", "["} and field else WHOLE


def is_asked(plan: Relation) -> bool:
    """Whether DataFrame code somewhere in a plan asks for `_metadata`."""
    for part in plan_proto.walk(plan):
        if isinstance(part, proto.Expression.UnresolvedAttribute):
            names = name_parts(part.unparsed_identifier)[:2]
            if COLUMN in (name.lower() for name in names):
                return True
        elif isinstance(part, proto.Expression.ExpressionString):
            text = part.expression.lower()
            if COLUMN in text or FILE_NAME_FUNCTION in text:
                return True
        elif _is_file_name_call(part):
            return True
    return False


def _is_file_name_call(part: Any) -> bool:
    return (
        isinstance(part, proto.Expression)
        and part.unresolved_function.function_name.lower() == FILE_NAME_FUNCTION
        and not part.unresolved_function.arguments
    )


class _Exposing:
    def __init__(self, is_files: Callable[[Relation], str | None], texts: SqlTexts) -> None:
        self.is_files = is_files
        self.texts = texts
        self.keys: set[str] = set()

    def settle(self, relation: Relation, *, asked_above: bool) -> bool:
        """Let the files below `relation` yield the column; returns whether any do for those above.

        Behind rows that are not those of files, who asks is left alone: a column of the query's own may
        have the name, and if there is none the engine says so.
        """
        key = self.is_files(relation)
        if key is not None:
            if asked_above:
                self.keys.add(key)
                _wrap(relation, _rename)
            return asked_above
        kind = plan_proto.kind(relation)
        inputs = list(_inputs(relation))
        below = (part for child in inputs for part in plan_proto.relations(child))
        has_files = any(map(self.is_files, below))
        asks = has_files and self._asks(relation)
        if asked_above and has_files and kind == "project":
            _pass_on(relation.project.expressions)
        passes = asked_above and kind not in _MERGING
        exposed = [self.settle(child, asked_above=passes or asks) for child in inputs]
        if asks and any(exposed):
            self._ask_for_hidden(relation)
            if not passes:
                _wrap(relation, _drop)
        return passes and any(exposed)

    def _asks(self, relation: Relation) -> bool:
        for part in _own(relation):
            if isinstance(part, proto.Expression.UnresolvedAttribute):
                names = name_parts(part.unparsed_identifier)[:2]
                if COLUMN in (name.lower() for name in names):
                    return True
            elif isinstance(part, proto.Expression.ExpressionString):
                if _expression_edits(self.texts.expression(part.expression)):
                    return True
            elif _is_file_name_call(part) or (isinstance(part, proto.SQL) and HIDDEN in part.query):
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
            elif _is_file_name_call(part):
                part.unresolved_attribute.unparsed_identifier = f"`{HIDDEN}`.`file_path`"


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


def _pass_on(expressions: Any) -> None:
    """Let a projection, which those above ask behind, yield the hidden column too."""
    if not any(each.WhichOneof("expr_type") == "unresolved_star" for each in expressions):
        expressions.add().unresolved_attribute.unparsed_identifier = HIDDEN


def _keep_name(expression: Any) -> None:
    """`_metadata` or `input_file_name()` itself, selected, is called so in the result."""
    kind = expression.WhichOneof("expr_type")
    call = f"{FILE_NAME_FUNCTION}()"
    text = ""
    if kind == "unresolved_attribute":
        text = name_parts(expression.unresolved_attribute.unparsed_identifier)[-1].lower()
    elif kind == "expression_string":
        text = "".join(expression.expression_string.expression.lower().split())
    elif _is_file_name_call(expression):
        text = call
    if text in {COLUMN, call}:
        inner = proto.Expression()
        inner.CopyFrom(expression)
        expression.alias.expr.CopyFrom(inner)
        expression.alias.name.append(text)


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
