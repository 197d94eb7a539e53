"""Statements from outside: only reading, only the region's tables, parameters as literals."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlglot
from sqlglot import TokenType, exp
from sqlglot.errors import SqlglotError

from proa.region.errors import InvalidParameterError

_READS = (exp.Select, exp.SetOperation, exp.Subquery, exp.Describe, exp.Show, exp.Values)
_READ_COMMANDS = ("SHOW", "EXPLAIN", "DESCRIBE", "DESC")
_WRITES = (exp.DML, exp.DDL, exp.Merge, exp.Drop, exp.Alter, exp.Command, exp.Set, exp.Use)
_CATALOGS = ("hive_metastore", "spark_catalog")
_NAMES = (TokenType.VAR, TokenType.IDENTIFIER)
_FILE_FORMATS = {"delta", "parquet", "csv", "json", "text", "avro", "orc", "binaryfile", "iceberg"}
_FILE_FUNCTIONS = {"read_files", "cloud_files", "read_parquet", "read_csv", "read_json"}
_TYPE = re.compile(
    r"(?i)(string|boolean|tinyint|smallint|int|integer|bigint|long|float|double|date|timestamp"
    r"|timestamp_ntz|binary|decimal(\(\d{1,2}(,\s*\d{1,2})?\))?|void)"
)


def reading(statement: str) -> str:
    """The statement without a closing semicolon. InvalidParameterError unless it only reads."""
    try:
        parsed = [item for item in sqlglot.parse(statement, dialect="databricks") if item]
    except (SqlglotError, RecursionError) as error:
        # What sqlglot cannot read, the engine explains better; but nobody knows what it does.
        raise InvalidParameterError(
            f"cannot read the statement: {str(error).splitlines()[0]}"
        ) from error
    if len(parsed) != 1:
        raise InvalidParameterError(f"send one statement at a time, not {len(parsed)}")
    found = parsed[0]
    if isinstance(found, exp.Command):
        if str(found.this).upper() in _READ_COMMANDS:
            return _bare(statement)
        raise _writes(str(found.this))
    if not isinstance(found, _READS):
        raise _writes(found.key)
    for node in found.walk():
        if node is not found and isinstance(node, _WRITES):
            raise _writes(node.key)
        if isinstance(node, exp.Table) and node.db.lower() in _FILE_FORMATS and "/" in node.name:
            raise InvalidParameterError(
                f"files are not read by statements: {node.name!r}; query a table of the region"
            )
        if isinstance(node, exp.Anonymous) and node.name.lower() in _FILE_FUNCTIONS:
            raise InvalidParameterError(
                f"files are not read by statements: {node.name}; query a table of the region"
            )
    return _bare(statement)


def bound(statement: str, parameters: Sequence[Mapping[str, Any]]) -> str:
    """The statement with each `:name` replaced by the literal of its parameter.

    InvalidParameterError for a marker without parameter, or a type that nobody knows.
    """
    values = {str(item["name"]): _literal(item) for item in parameters}
    tokens = sqlglot.tokenize(statement, dialect="databricks")
    pieces, at, used = [], 0, set()
    for index, token in enumerate(tokens[:-1]):
        name = tokens[index + 1]
        before = tokens[index - 1] if index else None
        marker = (
            token.token_type is TokenType.COLON
            and name.start == token.end + 1
            and name.text.replace("_", "a").isalnum()
            # `column:field` reaches into JSON; nothing touches a marker from the left.
            and (before is None or before.end + 1 < token.start or not _is_name(before.text))
        )
        if not marker:
            continue
        if name.text not in values:
            raise InvalidParameterError(
                f"the statement has the marker :{name.text} and no parameter of that name"
            )
        used.add(name.text)
        pieces += [statement[at : token.start], values[name.text]]
        at = name.end + 1
    return "".join([*pieces, statement[at:]])


def in_one_catalog(statement: str, catalogs: Collection[str]) -> str:
    """The statement with `catalog.schema.table` as `schema.table`: the engine has one catalog."""
    known = {name.lower() for name in (*catalogs, *_CATALOGS)}
    tokens = sqlglot.tokenize(statement, dialect="databricks")
    pieces, at = [], 0
    for index in range(len(tokens) - 4):
        dots = tokens[index + 1].text == tokens[index + 3].text == "."
        inside = index and tokens[index - 1].text == "."
        named = tokens[index].text.lower() in known
        if dots and named and not inside and tokens[index].token_type in _NAMES:
            pieces.append(statement[at : tokens[index].start])
            at = tokens[index + 1].end + 1
    return "".join([*pieces, statement[at:]])


def _is_name(text: str) -> bool:
    return text.replace("_", "a").isalnum() or text in {")", "]", "`"}


def _literal(parameter: Mapping[str, Any]) -> str:
    kind = str(parameter.get("type") or "STRING").strip()
    if not _TYPE.fullmatch(kind):
        raise InvalidParameterError(f"a parameter cannot have the type {kind[:60]!r}")
    value = parameter.get("value")
    if value is None:
        return f"CAST(NULL AS {kind})"
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"CAST('{text}' AS {kind})"


def _bare(statement: str) -> str:
    return statement.strip().rstrip(";").rstrip()


def _writes(what: str) -> InvalidParameterError:
    return InvalidParameterError(
        f"a statement can only read, and {what.upper()} does not; tables are changed by pipelines"
    )
