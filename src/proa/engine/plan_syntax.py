"""Plans whose SQL the embedded engine reads: each text in them is rewritten where it lies."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pyspark.sql import types as t
from pyspark.sql.connect import proto
from sqlglot import TokenType
from sqlglot.dialects.databricks import Databricks

from proa.engine.join_keys import JoinKeys
from proa.engine.sql_blocks import SqlBlocks
from proa.engine.sql_select import UNSUPPORTED
from proa.engine.sql_syntax import rewritten
from proa.errors import UserError
from proa.text import quote_identifier

Relation = Any
_INPUT = "__proa_in"
_PLAN_ID = 1 << 50
"""Of a plan that is only asked for its columns; no other plan has it."""
_numbers = itertools.count()


def rename_references(relation: Relation) -> Relation:
    """Return the plan with names of its own for what its SQL reads; the same object if it reads none.

    Apache Spark makes a temporary view of the session of each named relation while it reads the
    text. Two plans at a time, or one inside the other, that use one name would read each other's.
    """
    if not any(isinstance(part, proto.WithRelations) for part in _walk(relation)):
        return relation
    plan = proto.Relation()
    plan.CopyFrom(relation)
    for part in list(_walk(plan)):
        if isinstance(part, proto.WithRelations) and part.root.HasField("sql"):
            names = {}
            for reference in part.references:
                if reference.HasField("subquery_alias"):
                    alias = reference.subquery_alias
                    own = f"{alias.alias}_{next(_numbers)}"
                    names[alias.alias.casefold()] = own
                    alias.alias = own
            part.root.sql.query = _with_names(part.root.sql.query, names)
    return plan


def _with_names(text: str, names: Mapping[str, str]) -> str:
    """Replace the names of relations in SQL, and nothing in its texts and comments."""
    tokens = Databricks().tokenize(text)
    for token in reversed(tokens):
        is_name = token.token_type in (TokenType.VAR, TokenType.IDENTIFIER)
        if is_name and (name := names.get(token.text.casefold())) is not None:
            text = text[: token.start] + name + text[token.end + 1 :]
    return text


def prepare_plan(relation: Relation, schema: Callable[[Relation], t.StructType]) -> Relation:
    """The plan with its SQL rewritten; the same object if it holds none.

    `schema` gives the columns of a plan. Raises UserError for what cannot be rewritten.
    """
    if not any(isinstance(part, proto.SQL | proto.Project) for part in _walk(relation)):
        return relation
    plan = proto.Relation()
    plan.CopyFrom(relation)
    _rewrite(plan, schema)
    return plan


def _rewrite(message: Any, schema: Callable[[Relation], t.StructType]) -> None:
    """Rewrite the SQL below a message, innermost first."""
    if isinstance(message, proto.Relation):
        kind = message.WhichOneof("rel_type")
        if kind == "with_relations" and message.with_relations.root.HasField("sql"):
            for reference in message.with_relations.references:
                _rewrite(reference, schema)
            _rewrite_text(message, message.with_relations.root.sql, schema)
            return
        if kind == "sql":
            _rewrite_text(message, message.sql, schema)
            return
    for part in _parts(message):
        _rewrite(part, schema)
    if isinstance(message, proto.Project) and message.HasField("input"):
        _rewrite_expressions(message, schema)
        _expand_stars(message, schema)
        _replace_aliases(message, schema)


def _rewrite_expressions(project: Any, schema: Callable[[Relation], t.StructType]) -> None:
    """Rewrite the select list of `selectExpr`."""
    texts = [part.expression_string.expression for part in project.expressions]
    if not texts or not all(texts):
        return
    relation = proto.Relation()
    relation.with_relations.root.sql.query = f"SELECT {', '.join(texts)} FROM {_INPUT}"
    reference = relation.with_relations.references.add()
    reference.common.plan_id = _PLAN_ID
    reference.subquery_alias.alias = _INPUT
    reference.subquery_alias.input.CopyFrom(project.input)
    before = relation.with_relations.root.sql.query
    _rewrite_text(relation, relation.with_relations.root.sql, schema)
    after = relation.with_relations.root.sql.query
    if after is before or after == before:
        return
    blocks = SqlBlocks.of(after)
    outermost = blocks.selects[-1]
    del project.expressions[:]
    for item in outermost.items:
        project.expressions.add().expression_string.expression = blocks.token_text(item)


def _expand_stars(project: Any, schema: Callable[[Relation], t.StructType]) -> None:
    """Write `t.*` and `t.key` behind a join by columns, and `frame["*"]`, as the columns that they are."""
    keys = _join_keys(project.input)
    if not keys.known and not any(
        e.unresolved_star.HasField("plan_id") for e in project.expressions
    ):
        return
    found: list[Any] = []
    for expression in project.expressions:
        star = expression.unresolved_star
        table = star.unparsed_target.removesuffix(".*").replace("`", "")
        if star.HasField("plan_id"):
            names = _names_in(project.input, schema, plan_id=star.plan_id)
            found += [_attribute(quote_identifier(name), star.plan_id) for name in names]
        elif table and (own := keys.of_table(table)):
            if not all(own.values()):
                raise UserError(
                    f"{table}.* behind a join by {', '.join(own)}: name its columns, or join by a condition",
                    condition=UNSUPPORTED,
                )
            names = _names_in(project.input, schema, alias=table)
            rest = [quote_identifier(name) for name in names if name.lower() not in own]
            found += [_attribute(name) for name in map(quote_identifier, own)]
            found += [_attribute(f"{quote_identifier(table)}.{name}") for name in rest]
        else:
            for part in _walk(expression):
                if isinstance(part, proto.Expression) and part.HasField("unresolved_attribute"):
                    _name_key(part.unresolved_attribute, keys)
            found.append(proto.Expression.FromString(expression.SerializeToString()))
    del project.expressions[:]
    project.expressions.extend(found)


def _attribute(name: str, plan_id: int | None = None) -> Any:
    expression = proto.Expression()
    expression.unresolved_attribute.unparsed_identifier = name
    if plan_id is not None:
        expression.unresolved_attribute.plan_id = plan_id
    return expression


def _names_in(
    plan: Relation,
    schema: Callable[[Relation], t.StructType],
    *,
    alias: str | None = None,
    plan_id: int | None = None,
) -> list[str]:
    """The columns of the part of a plan that has a name or an id."""
    for part in _walk(plan):
        if isinstance(part, proto.Relation) and (
            part.subquery_alias.alias.lower() == alias.lower()
            if alias is not None
            else part.common.plan_id == plan_id
        ):
            names: list[str] = schema(part).names
            return names
    raise UserError(
        "a column list (*) is that of a DataFrame that is not part of the query; take it from one that is",
        condition="CANNOT_RESOLVE_DATAFRAME_COLUMN",
    )


def _name_key(attribute: Any, keys: JoinKeys) -> None:
    table, _, column = attribute.unparsed_identifier.replace("`", "").partition(".")
    if keys.of_table(table).get(column.lower()):
        attribute.unparsed_identifier = quote_identifier(column)


_PASSING = ("filter", "sort", "limit", "offset", "deduplicate", "hint", "sample", "with_columns")
"""Relations behind which the names of tables still count."""
_SIDES = {
    proto.Join.JOIN_TYPE_LEFT_OUTER: "left",
    proto.Join.JOIN_TYPE_RIGHT_OUTER: "right",
    proto.Join.JOIN_TYPE_FULL_OUTER: "full",
    proto.Join.JOIN_TYPE_LEFT_SEMI: "semi",
    proto.Join.JOIN_TYPE_LEFT_ANTI: "anti",
}


def _join_keys(relation: Relation) -> JoinKeys:
    """What the joins of a plan are by, as far as its tables have names."""
    kind = relation.WhichOneof("rel_type")
    if kind in _PASSING:
        return _join_keys(getattr(relation, kind).input)
    if kind == "join":
        join = relation.join
        right = _join_keys(join.right)
        return _join_keys(join.left).join(right, _SIDES.get(join.join_type, ""), join.using_columns)
    return JoinKeys.of(relation.subquery_alias.alias if kind == "subquery_alias" else "")


def _replace_aliases(project: Any, schema: Callable[[Relation], t.StructType]) -> None:
    """Put what an alias stands for where a later column of the same select() names it."""
    known: dict[str, Any] = {}
    columns: set[str] | None = None
    for expression in project.expressions:
        for part in _walk(expression):
            if not isinstance(part, proto.Expression):
                continue
            attribute = part.unresolved_attribute
            name = attribute.unparsed_identifier.strip("`").lower()
            if name not in known or attribute.HasField("plan_id"):
                continue
            if columns is None:
                columns = {column.lower() for column in schema(project.input).names}
            if name not in columns:
                part.CopyFrom(known[name])
        if len(expression.alias.name) == 1:
            known.setdefault(expression.alias.name[0].lower(), expression.alias.expr)


def _rewrite_text(relation: Relation, sql: Any, schema: Callable[[Relation], t.StructType]) -> None:
    """Rewrite the text of `relation`, which is a SQL query or one with what it reads."""

    def schema_of(text: str) -> t.StructType:
        other = proto.Relation()
        other.CopyFrom(relation)
        root = other.with_relations.root if other.HasField("with_relations") else other
        root.sql.query = text
        return schema(other)

    sql.query = rewritten(sql.query, schema_of)


def _parts(message: Any) -> Iterator[Any]:
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        yield from [value] if hasattr(value, "ListFields") else value


def _walk(message: Any) -> Iterator[Any]:
    yield message
    for part in _parts(message):
        yield from _walk(part)
