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

from proa.engine.spark_functions import EXTERNAL, words
from proa.errors import PipelineError
from proa.graph import sql_text
from proa.http.api_errors import InvalidParameterError
from proa.pipelines.identifiers import name_parts
from proa.region.workers.port import DEFAULT_SCHEMA, Shape
from proa.text import quote_identifier, string_literal, suggestion

_BEGINS = ("SELECT", "WITH", "FROM", "VALUES", "TABLE", "(")
_WRITES = (exp.DML, exp.DDL, exp.Merge, exp.Drop, exp.Alter, exp.Command, exp.Set, exp.Use)
_CATALOGS = ("hive_metastore", "spark_catalog")
_NAMES = (TokenType.VAR, TokenType.IDENTIFIER)
_OUTSIDE = EXTERNAL | words("read_parquet read_csv read_json read_text")
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

    InvalidParameterError for what is not a single statement, or does more than read those tables.
    """
    catalogs = {str(table["catalog"]) for table in tables if table.get("catalog")}
    known = {(str(table["schema"] or DEFAULT_SCHEMA), str(table["name"])) for table in tables}
    written = _Statement(statement)
    written.bind(parameters, catalogs)
    written.leave_out_catalogs(catalogs)
    return _reading(written, known)


def split_statements(text: str) -> list[str]:
    """The statements of a text, parted by semicolons; empty ones left out."""
    statements, begin = [], 0
    for token in _tokens(text):
        if token.kind is TokenType.SEMICOLON:
            statements.append(text[begin : token.start])
            begin = token.end
    statements.append(text[begin:])
    return [statement for statement in statements if _tokens(statement)]


class _Statement:
    """One statement by its tokens, lexed once. What is replaced is replaced token by token."""

    def __init__(self, text: str) -> None:
        """Comments become blanks, closing semicolons go. InvalidParameterError for several."""
        tokens = _tokens(text)
        while tokens and tokens[-1].kind is TokenType.SEMICOLON:
            tokens.pop()
        many = 1 + sum(token.kind is TokenType.SEMICOLON for token in tokens)
        if many > 1 or not tokens:
            raise InvalidParameterError(
                f"send one statement at a time, not {many if tokens else 'none'}"
            )
        self.tokens = tokens
        self.written = [text[token.start : token.end] for token in tokens]
        ends = [tokens[0].start, *(token.end for token in tokens)]
        gaps = [text[end : token.start] for end, token in zip(ends, tokens, strict=False)]
        self.gaps = [gap if not gap.strip() else " " for gap in gaps]

    def text(self, first: int = 0) -> str:
        """The text from a token on. InvalidParameterError if the statement ends before."""
        if first >= len(self.tokens):
            raise InvalidParameterError(f"the statement is cut short: {self.text()[:60]!r}")
        pieces = zip(["", *self.gaps[first + 1 :]], self.written[first:], strict=True)
        return "".join(gap + token for gap, token in pieces)

    def words(self) -> list[str]:
        """The first words, in capitals."""
        return [token.text.upper() for token in self.tokens[:4]]

    def replace(self, first: int, behind: int, text: str) -> None:
        """Write `text` in the place of some tokens."""
        self.written[first:behind] = [text, *([""] * (behind - first - 1))]
        self.gaps[first + 1 : behind] = [""] * (behind - first - 1)

    def bind(self, parameters: Sequence[Mapping[str, Any]], catalogs: Collection[str]) -> None:
        """Write the literal of its parameter for each `:name`, and the name for IDENTIFIER(...).

        InvalidParameterError for a marker without parameter, or a type that is not known.
        """
        values = {str(item["name"]): item for item in parameters}
        literals = {name: _literal(item) for name, item in values.items()}
        for index in range(len(self.tokens)):
            if self._is_marker(index):
                name = self.tokens[index + 1].text
                if name not in values:
                    raise InvalidParameterError(
                        f"the statement has the marker :{name} and no parameter of that name"
                    )
                self.replace(index, index + 2, literals[name])
        for index, token in enumerate(self.tokens[:-1]):
            is_call = token.text.upper() == "IDENTIFIER" and self.tokens[index + 1].text == "("
            if is_call and token.kind is TokenType.VAR:
                self._name(index, values, catalogs)

    def _name(
        self, index: int, values: Mapping[str, Mapping[str, Any]], catalogs: Collection[str]
    ) -> None:
        """Write the name that `IDENTIFIER('a.b')` or `IDENTIFIER(:name)` means."""
        marked = self._is_marker(index + 2)
        closing = index + (4 if marked else 3)
        inside = self.tokens[index + 2 : closing + 1]
        text = len(inside) > 1 and inside[0].kind is TokenType.STRING
        if not (text or marked) or inside[-1].kind is not TokenType.R_PAREN:
            raise InvalidParameterError("IDENTIFIER takes one text, or one parameter")
        value = inside[0].text if text else str(values[inside[1].text].get("value") or "")
        names = list(name_parts(value))
        if len(names) == 3 and names[0].lower() in _known_names(catalogs):
            del names[0]
        self.replace(index, closing + 1, ".".join(map(quote_identifier, names)))

    def _is_marker(self, index: int) -> bool:
        if not 0 <= index < len(self.tokens) - 1:
            return False
        token, name = self.tokens[index], self.tokens[index + 1]
        before = self.tokens[index - 1] if index else None
        return (
            token.kind is TokenType.COLON
            and name.start == token.end
            and name.text.replace("_", "a").isalnum()
            # `column:field` reaches into JSON; nothing touches a marker from the left.
            and (before is None or before.end < token.start or not _is_name(before.text))
        )

    def leave_out_catalogs(self, catalogs: Collection[str]) -> None:
        """Write `schema.table` for `catalog.schema.table`: the engine has one catalog."""
        known, tokens = _known_names(catalogs), self.tokens
        for index in range(len(tokens) - 4):
            dots = tokens[index + 1].text == tokens[index + 3].text == "."
            inside = index and tokens[index - 1].text == "."
            named = tokens[index].text.lower() in known and tokens[index].kind in _NAMES
            if dots and named and not inside:
                self.replace(index, index + 3, self.written[index + 2])


def _known_names(catalogs: Collection[str]) -> set[str]:
    return {name.lower() for name in (*catalogs, *_CATALOGS)}


def _reading(statement: _Statement, tables: Collection[tuple[str, str]]) -> Reading:
    """What the engine is asked. InvalidParameterError unless it only reads the `tables`."""
    words = statement.words()
    match words[:1]:
        case ["EXPLAIN"]:
            return _read_explain(statement, words[1:], tables)
        case ["SHOW"]:
            return _read_show(statement, words[1:], tables)
        case ["DESCRIBE" | "DESC"]:
            return _read_describe(statement, words[1:], tables)
    if words[0] not in _BEGINS:
        raise _writes(words[0])
    return Reading(_query(statement.text(), tables))


def _query(statement: str, tables: Collection[tuple[str, str]]) -> str:
    """The statement, if it is a query over the tables. It is read once, as a flow's query is."""
    try:
        read = sql_text.read(statement)
    except (PipelineError, RecursionError) as error:
        # The engine would explain better what it cannot read; but what it does is not known.
        raise _unreadable(error) from error
    for node in read.tree.walk():
        if isinstance(node, _WRITES):
            raise _writes(node.key)
        if isinstance(node, exp.Anonymous) and node.name.lower() in _OUTSIDE:
            raise InvalidParameterError(
                f"a statement does not look outside of the region: {node.name}; query its tables"
            )
    if read.files:
        raise InvalidParameterError("files are not read by statements; query a table of the region")
    for table in read.tables:
        _check(table, tables)
    return statement


def _check(table: sql_text.TableRead, tables: Collection[tuple[str, str]]) -> None:
    """InvalidParameterError for a stream, or a name with a schema that is not a table of the region."""
    spelled = ".".join(table.parts)
    if table.streaming:
        raise InvalidParameterError(f"a statement reads {spelled!r} complete; leave STREAM out")
    wanted = tuple(map(str.lower, table.parts))
    known = {(schema.lower(), name.lower()) for schema, name in tables}
    if len(wanted) > 1 and wanted not in known:
        names = sorted(f"{schema}.{name}" for schema, name in tables)
        raise InvalidParameterError(
            f"[TABLE_OR_VIEW_NOT_FOUND] there is no table {spelled!r} in this region"
            f"{suggestion(spelled, names)}"
        )


def _read_explain(
    statement: _Statement, words: Sequence[str], tables: Collection[tuple[str, str]]
) -> Reading:
    if words[:1] == ["ANALYZE"]:
        raise InvalidParameterError("a region explains statements and does not run them meanwhile")
    _query(statement.text(2 if words and words[0] in _EXPLAINED else 1), tables)
    return Reading(statement.text())


def _read_show(
    statement: _Statement, words: Sequence[str], tables: Collection[tuple[str, str]]
) -> Reading:
    match words:
        case ["COLUMNS", "IN" | "FROM", *_]:
            return Reading(_of_table(statement.text(3), tables), Shape.COLUMNS)
        case [what, *_] if what in _SHOWN:
            return Reading(statement.text())
    raise InvalidParameterError(f"a region does not answer SHOW {' '.join(words[:1])}")


def _read_describe(
    statement: _Statement, words: Sequence[str], tables: Collection[tuple[str, str]]
) -> Reading:
    match words:
        case ["QUERY", *_]:
            return Reading(_query(statement.text(2), tables), Shape.SCHEMA)
        case [what, *_] if what in _DESCRIBED:
            return Reading(statement.text())
        case [what, following, *_] if what in _NOT_SERVED and following != ".":
            raise InvalidParameterError(f"a region does not answer DESCRIBE {what}")
    skipped = int(words[:1] == ["TABLE"])
    skipped += words[skipped : skipped + 1] in (["EXTENDED"], ["FORMATTED"])
    return Reading(_of_table(statement.text(1 + skipped), tables), Shape.SCHEMA)


def _of_table(name: str, tables: Collection[tuple[str, str]]) -> str:
    return _query(f"select * from {name}", tables)  # noqa: S608 - it is checked as any query is


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
        return f"INTERVAL {string_literal(str(value))} {interval[1]}"
    if value is None:
        return f"CAST(NULL AS {'VOID' if interval else kind})"
    return f"CAST({string_literal(str(value))} AS {kind})"


def _unreadable(error: Exception) -> InvalidParameterError:
    return InvalidParameterError(f"cannot read the statement: {str(error).splitlines()[0]}")


def _writes(what: str) -> InvalidParameterError:
    return InvalidParameterError(
        f"a statement can only read, and {what.upper()} does not; tables are changed by pipelines"
    )
