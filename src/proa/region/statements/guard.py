"""Statements from outside: only reading, only the region's tables, parameters as literals.

What comes from outside is never trusted to be what it looks like: comments are removed before the
text is read (parsers disagree about nested ones), a name with a schema in front must be a table of
the region (the engine reads files under names like csv.`x`), and what is explained or described is
held to the same rules.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlglot
from sqlglot import TokenType, exp
from sqlglot.errors import SqlglotError

from proa.http.api_errors import InvalidParameterError
from proa.pipelines.identifiers import parts, quote_identifier
from proa.region.workers.port import DEFAULT_SCHEMA, Shape
from proa.text import suggestion

_READS = (exp.Select, exp.SetOperation, exp.Subquery, exp.Values)
_WRITES = (exp.DML, exp.DDL, exp.Merge, exp.Drop, exp.Alter, exp.Command, exp.Set, exp.Use)
_CATALOGS = ("hive_metastore", "spark_catalog")
_NAMES = (TokenType.VAR, TokenType.IDENTIFIER)
_FILE_FUNCTIONS = {"read_files", "cloud_files", "read_parquet", "read_csv", "read_json"}
_SHOWN = ("TABLES", "TABLE", "VIEWS", "SCHEMAS", "DATABASES", "CATALOGS", "FUNCTIONS")
_DESCRIBED = ("FUNCTION", "SCHEMA", "DATABASE", "NAMESPACE", "CATALOG")
_EXPLAINED = ("EXTENDED", "FORMATTED", "CODEGEN", "COST")
_NOT_SERVED = ("HISTORY", "DETAIL", "VOLUME", "CONNECTION", "SHARE")
_TYPE = re.compile(
    r"(?i)(string|boolean|tinyint|smallint|int|integer|bigint|long|float|double|date|timestamp"
    r"|timestamp_ntz|binary|decimal(\(\d{1,2}(,\s*\d{1,2})?\))?|void)"
)
_INTERVAL = re.compile(r"(?i)interval\s+((?:day|hour|minute|second)(?:\s+to\s+\w+)?)")


@dataclass(frozen=True)
class Reading:
    """What the engine is asked."""

    sql: str
    shape: Shape = Shape.ROWS


@dataclass(frozen=True, slots=True)
class _Token:
    kind: TokenType
    text: str
    start: int
    end: int
    """Exclusive."""


def guard_statement(
    statement: str,
    parameters: Sequence[Mapping[str, Any]],
    tables: Sequence[Mapping[str, Any]],
) -> Reading:
    """What the engine is asked for a statement over `tables`, `{"catalog", "schema", "name"}`.

    InvalidParameterError for what is no single statement, or does more than read those tables.
    """
    catalogs = {str(table["catalog"]) for table in tables if table.get("catalog")}
    known = {(str(table["schema"] or DEFAULT_SCHEMA), str(table["name"])) for table in tables}
    try:
        text = identifiers_named(bound(bare(statement), parameters))
        return reading(in_one_catalog(text, catalogs), known)
    except SqlglotError as error:
        raise _unreadable(error) from error


def split_statements(text: str) -> list[str]:
    """The statements of a text, parted by semicolons; empty ones left out."""
    statements, begin = [], 0
    for token in _tokens(text):
        if token.kind is TokenType.SEMICOLON:
            statements.append(text[begin : token.start])
            begin = token.end
    statements.append(text[begin:])
    return [statement for statement in statements if _tokens(statement)]


def bare(statement: str) -> str:
    """The statement without comments and closing semicolons. InvalidParameterError for several."""
    tokens = _tokens(statement)
    while tokens and tokens[-1].kind is TokenType.SEMICOLON:
        tokens.pop()
    many = 1 + sum(token.kind is TokenType.SEMICOLON for token in tokens)
    if many > 1 or not tokens:
        raise InvalidParameterError(
            f"send one statement at a time, not {many if tokens else 'none'}"
        )
    pieces, at = [], tokens[0].start
    for token in tokens:
        between = statement[at : token.start]
        pieces += [between if not between.strip() else " ", statement[token.start : token.end]]
        at = token.end
    return "".join(pieces)


def reading(statement: str, tables: Collection[tuple[str, str]] = ()) -> Reading:
    """What the engine is asked for a statement without comments.

    InvalidParameterError unless it only reads, and names only `tables`, (schema, name).
    """
    words = [token.text.upper() for token in _tokens(statement)[:4]]
    match words[:1]:
        case ["EXPLAIN"]:
            return _explained(statement, words[1:], tables)
        case ["SHOW"]:
            return _shown(statement, words[1:], tables)
        case ["DESCRIBE" | "DESC"]:
            return _described(statement, words[1:], tables)
    return Reading(_query(statement, tables))


def bound(statement: str, parameters: Sequence[Mapping[str, Any]]) -> str:
    """The statement with each `:name` replaced by the literal of its parameter.

    InvalidParameterError for a marker without parameter, or a type that nobody knows.
    """
    values = {str(item["name"]): item for item in parameters}
    literals = {name: _literal(item) for name, item in values.items()}
    tokens = _tokens(statement)
    pieces, at = [], 0
    for index, token in enumerate(tokens[:-1]):
        name = tokens[index + 1]
        before = tokens[index - 1] if index else None
        marker = (
            token.kind is TokenType.COLON
            and name.start == token.end
            and name.text.replace("_", "a").isalnum()
            # `column:field` reaches into JSON; nothing touches a marker from the left.
            and (before is None or before.end < token.start or not _is_name(before.text))
        )
        if not marker:
            continue
        if name.text not in values:
            raise InvalidParameterError(
                f"the statement has the marker :{name.text} and no parameter of that name"
            )
        literal = literals[name.text]
        if index > 1 and tokens[index - 2].text.upper() == "IDENTIFIER":
            literal = _text(str(values[name.text].get("value") or ""))
        pieces += [statement[at : token.start], literal]
        at = name.end
    return "".join([*pieces, statement[at:]])


def identifiers_named(statement: str) -> str:
    """The statement with each `IDENTIFIER('a.b')` replaced by the name that it means."""
    tokens = _tokens(statement)
    pieces, at = [], 0
    for index, token in enumerate(tokens[:-1]):
        is_call = token.text.upper() == "IDENTIFIER" and tokens[index + 1].text == "("
        if not is_call or token.kind is not TokenType.VAR:
            continue
        kinds = [found.kind for found in tokens[index + 2 : index + 4]]
        if kinds != [TokenType.STRING, TokenType.R_PAREN]:
            raise InvalidParameterError("IDENTIFIER takes one text, or one parameter")
        name = ".".join(quote_identifier(part) for part in parts(tokens[index + 2].text))
        pieces += [statement[at : token.start], name]
        at = tokens[index + 3].end
    return "".join([*pieces, statement[at:]])


def in_one_catalog(statement: str, catalogs: Collection[str]) -> str:
    """The statement with `catalog.schema.table` as `schema.table`: the engine has one catalog."""
    known = {name.lower() for name in (*catalogs, *_CATALOGS)}
    tokens = _tokens(statement)
    pieces, at = [], 0
    for index in range(len(tokens) - 4):
        dots = tokens[index + 1].text == tokens[index + 3].text == "."
        inside = index and tokens[index - 1].text == "."
        named = tokens[index].text.lower() in known
        if dots and named and not inside and tokens[index].kind in _NAMES:
            pieces.append(statement[at : tokens[index].start])
            at = tokens[index + 1].end
    return "".join([*pieces, statement[at:]])


def _query(statement: str, tables: Collection[tuple[str, str]]) -> str:
    """The statement, if it is a query over the tables."""
    try:
        found = sqlglot.parse_one(statement, dialect="databricks")
    except (SqlglotError, RecursionError) as error:
        # What sqlglot cannot read, the engine explains better; but nobody knows what it does.
        raise _unreadable(error) from error
    if not isinstance(found, _READS):
        raise _writes(str(found.this) if isinstance(found, exp.Command) else found.key)
    for node in found.walk():
        if isinstance(node, _WRITES):
            raise _writes(node.key)
        if isinstance(node, exp.Table):
            _check(node, tables)
    return statement


def _check(table: exp.Table, tables: Collection[tuple[str, str]]) -> None:
    """InvalidParameterError for a name with a schema in front that is no table of the region."""
    if isinstance(table.this, exp.Anonymous):
        if table.this.name.lower() in {*_FILE_FUNCTIONS, "identifier"}:
            raise InvalidParameterError(
                f"files are not read by statements: {table.this.name}; query a table of the region"
            )
        return
    wanted = (table.db.lower(), table.name.lower())
    found = {(schema.lower(), name.lower()) for schema, name in tables}
    if table.catalog or (table.db and wanted not in found):
        spelled = ".".join(part.name for part in table.parts)
        names = sorted(f"{schema}.{name}" for schema, name in tables)
        raise InvalidParameterError(
            f"[TABLE_OR_VIEW_NOT_FOUND] there is no table {spelled!r} in this region"
            f"{suggestion(spelled, names)}"
        )


def _explained(
    statement: str, words: Sequence[str], tables: Collection[tuple[str, str]]
) -> Reading:
    if words[:1] == ["ANALYZE"]:
        raise InvalidParameterError("a region explains statements and does not run them meanwhile")
    _query(_after(statement, 2 if words and words[0] in _EXPLAINED else 1), tables)
    return Reading(statement)


def _shown(statement: str, words: Sequence[str], tables: Collection[tuple[str, str]]) -> Reading:
    match words:
        case ["COLUMNS", "IN" | "FROM", *_]:
            return Reading(_of_table(_after(statement, 3), tables), Shape.COLUMNS)
        case [what, *_] if what in _SHOWN:
            return Reading(statement)
    raise InvalidParameterError(f"a region does not answer SHOW {' '.join(words[:1])}")


def _described(
    statement: str, words: Sequence[str], tables: Collection[tuple[str, str]]
) -> Reading:
    match words:
        case ["QUERY", *_]:
            return Reading(_query(_after(statement, 2), tables), Shape.SCHEMA)
        case [what, *_] if what in _DESCRIBED:
            return Reading(statement)
        case [what, following, *_] if what in _NOT_SERVED and following != ".":
            raise InvalidParameterError(f"a region does not answer DESCRIBE {what}")
    skipped = int(words[:1] == ["TABLE"])
    skipped += words[skipped : skipped + 1] in (["EXTENDED"], ["FORMATTED"])
    return Reading(_of_table(_after(statement, 1 + skipped), tables), Shape.SCHEMA)


def _of_table(name: str, tables: Collection[tuple[str, str]]) -> str:
    return _query(f"select * from {name}", tables)  # noqa: S608 - it is checked as any query is


def _after(statement: str, words: int) -> str:
    tokens = _tokens(statement)
    if len(tokens) <= words:
        raise InvalidParameterError(f"the statement is cut short: {statement[:60]!r}")
    return statement[tokens[words].start :]


def _tokens(statement: str) -> list[_Token]:
    # A word in front: sqlglot swallows what follows SHOW and EXPLAIN when they are the first.
    front = "x "
    try:
        found = sqlglot.tokenize(front + statement, dialect="databricks")
    except SqlglotError as error:
        raise _unreadable(error) from error
    return [
        _Token(token.token_type, token.text, token.start - len(front), token.end + 1 - len(front))
        for token in found[1:]
    ]


def _is_name(text: str) -> bool:
    return text.replace("_", "a").isalnum() or text in {")", "]", "`"}


def _literal(parameter: Mapping[str, Any]) -> str:
    kind = str(parameter.get("type") or "STRING").strip()
    interval = _INTERVAL.fullmatch(kind)
    if not _TYPE.fullmatch(kind) and not interval:
        raise InvalidParameterError(f"a parameter cannot have the type {kind[:60]!r}")
    value = parameter.get("value")
    if interval and value is not None:
        return f"INTERVAL {_text(str(value))} {interval[1]}"
    if value is None:
        return f"CAST(NULL AS {'VOID' if interval else kind})"
    return f"CAST({_text(str(value))} AS {kind})"


def _text(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _unreadable(error: Exception) -> InvalidParameterError:
    return InvalidParameterError(f"cannot read the statement: {str(error).splitlines()[0]}")


def _writes(what: str) -> InvalidParameterError:
    return InvalidParameterError(
        f"a statement can only read, and {what.upper()} does not; tables are changed by pipelines"
    )
