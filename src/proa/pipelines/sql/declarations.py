"""SQL files: the statements that declare datasets and flows. Queries are kept as written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from proa.errors import PipelineError
from proa.pipelines.definitions import Dataset, DatasetKind, Flow, Replacement, SqlQuery
from proa.pipelines.identifiers import name_parts
from proa.pipelines.sql.change_clauses import parse_changes, sees_changes
from proa.pipelines.sql.clauses import begins_query, parse_clauses
from proa.pipelines.sql.lexer import (
    Piece,
    SqlText,
    Substitution,
    TokenKind,
    significant,
    split,
    tokenize,
    unquote,
)
from proa.pipelines.sql.parser import Parser, quote_part
from proa.pipelines.unsupported import CONDITION as UNSUPPORTED
from proa.pipelines.unsupported import unsupported_sql_error
from proa.text import suggestion

_DECLARES = (
    "CREATE OR REFRESH STREAMING TABLE, CREATE OR REFRESH MATERIALIZED VIEW,"
    " CREATE TEMPORARY VIEW, CREATE FLOW, AUTO CDC INTO and SET"
)


@dataclass(frozen=True)
class SqlDeclarations:
    """What a SQL text declares, in order."""

    datasets: tuple[Dataset, ...]
    flows: tuple[Flow, ...]


def declare(source: SqlText, configuration: Mapping[str, str]) -> SqlDeclarations:
    """Read the declarations of a SQL text, which may be a notebook's export.

    `configuration` replaces `${key}`. `SET key = value` applies to the statements below it: to
    their parameters, and as the `spark_conf` of their flows. `USE` applies to their names of one
    part.

    Raises PipelineError, with file and line, for what is not understood or cannot be done.
    """
    return _DeclarationReader(configuration).read(source)


class _DeclarationReader:
    """Reads one text from top to bottom; what `SET` and `USE` say holds until its end."""

    def __init__(self, configuration: Mapping[str, str]) -> None:
        self._known = dict(configuration)
        self._spark_conf: dict[str, str] = {}
        self._catalog: str | None = None
        self._schema: str | None = None
        self._datasets: list[Dataset] = []
        self._flows: list[Flow] = []

    def read(self, source: SqlText) -> SqlDeclarations:
        for piece in split(source):
            if piece.says_something:
                before = len(self._datasets), len(self._flows)
                self._statement(source, piece)
                self._qualify(*before)
        return SqlDeclarations(tuple(self._datasets), tuple(self._flows))

    def _statement(self, source: SqlText, piece: Piece) -> None:
        parser = Parser(fill_identifiers(fill_parameters(source, piece, self._known)))
        if parser.at_end:
            return
        start = parser.here
        if parser.accept("SET"):
            self._set(parser)
        elif parser.accept("USE"):
            self._use(parser)
        elif parser.accept("CREATE", "FLOW"):
            self._flow(parser, start)
        elif parser.accept("CREATE"):
            self._create(parser, start)
        elif sees_changes(parser):
            self._changes(parser, start)
        else:
            raise _not_a_declaration(parser)

    def _set(self, parser: Parser) -> None:
        """A parameter is replaced by the value as written; a setting of Spark's has no quotes."""
        setting = _setting(parser)
        if setting is None:
            return
        key, value = setting
        self._known[key] = value
        tokens = significant(tokenize(SqlText(value, "")))
        is_string = len(tokens) == 1 and tokens[0].kind is TokenKind.STRING
        self._spark_conf[key] = unquote(tokens[0]) if is_string else value

    def _use(self, parser: Parser) -> None:
        """`USE CATALOG c`, `USE [SCHEMA | DATABASE | NAMESPACE] [c.]s`."""
        if parser.accept("CATALOG"):
            self._catalog, self._schema = parser.name("the catalog's name"), None
        else:
            parser.accept_one_of("SCHEMA", "DATABASE", "NAMESPACE")
            *catalog, schema = name_parts(parser.name("the schema's name"))
            self._schema = quote_part(schema)
            if catalog:
                self._catalog = quote_part(catalog[-1])
        if not parser.at_end:
            raise parser.failure("expected the end of USE")

    def _qualify(self, first_dataset: int, first_flow: int) -> None:
        """Put what USE has named before the names that a statement has declared."""
        if self._schema is None:
            return
        schema = tuple(part for part in (self._catalog, self._schema) if part is not None)
        renamed: dict[str, str] = {}
        for index, dataset in enumerate(self._datasets[first_dataset:], first_dataset):
            if (
                dataset.kind is not DatasetKind.TEMPORARY_VIEW
                and len(name_parts(dataset.name)) == 1
            ):
                renamed[dataset.name] = ".".join((*schema, dataset.name))
                self._datasets[index] = replace(dataset, name=renamed[dataset.name])
        for index, flow in enumerate(self._flows[first_flow:], first_flow):
            target = renamed.get(flow.target, flow.target)
            if not flow.implicit and len(name_parts(target)) == 1:
                target = ".".join((*schema, target))
            self._flows[index] = replace(
                flow,
                target=target,
                name=renamed.get(flow.name, flow.name) if flow.implicit else flow.name,
                query=replace(flow.query, schema=tuple(p for s in schema for p in name_parts(s)))
                if isinstance(flow.query, SqlQuery)
                else flow.query,
            )

    def _create(self, parser: Parser, start: int) -> None:
        replaces = parser.accept("OR", "REFRESH") or parser.accept("OR", "REPLACE")
        if not replaces and parser.accept("OR"):
            raise parser.failure("expected REFRESH or REPLACE after CREATE OR")
        if parser.sees("GLOBAL"):
            raise unsupported_sql_error("global temporary views", parser.source, start)
        private = parser.accept_one_of("PRIVATE", "TEMPORARY", "TEMP") is not None
        managed = parser.sees("TABLE")
        kind = _kind(parser)
        what = kind.value.replace("_", " ").lower()
        parser.accept("IF", "NOT", "EXISTS")
        name = parser.name(f"the {what}'s name")
        clauses = parse_clauses(parser, f"after the name of the {what} {name!r}")
        self._datasets.append(
            Dataset(
                name,
                kind,
                parser.source.location(start),
                comment=clauses.comment,
                schema=clauses.columns.schema,
                partition_cols=clauses.partition_cols,
                cluster_by=clauses.cluster_by,
                properties=clauses.properties,
                spark_conf=dict(self._spark_conf),
                path=clauses.path,
                private=private,
                expectations=clauses.columns.expectations,
                primary_key=clauses.columns.primary_key,
                generated=clauses.columns.generated,
            )
        )
        if kind is DatasetKind.TEMPORARY_VIEW and clauses.columns.schema is not None:
            raise parser.source.error(
                f"the view {name!r} lists columns; name and cast them in its query", start
            )
        if managed and not (parser.at_end or parser.sees("FLOW")):
            raise unsupported_sql_error(
                "tables with a query (CREATE TABLE ... AS)", parser.source, start
            )
        self._query_of_dataset(parser, kind, name, start)

    def _query_of_dataset(self, parser: Parser, kind: DatasetKind, name: str, start: int) -> None:
        """The rest of CREATE: `AS query`, `FLOW ... query`, or nothing when flows follow."""
        once, replacement = False, None
        if parser.accept("FLOW"):
            if kind is DatasetKind.STREAMING_TABLE and sees_changes(parser):
                self._changes(parser, start, target=name)
                return
            once, replacement = _inline_flow(parser, kind)
        elif not parser.accept("AS") and not begins_query(parser):
            if kind is DatasetKind.STREAMING_TABLE and parser.at_end:
                return
            raise parser.failure(f"expected AS and the query of {name!r}")
        self._flows.append(
            Flow(
                name,
                name,
                _query(parser, name),
                parser.source.location(start),
                once=once,
                spark_conf=dict(self._spark_conf),
                implicit=True,
                cdc=replacement,
            )
        )

    def _flow(self, parser: Parser, start: int) -> None:
        name = parser.name("the flow's name after CREATE FLOW")
        comment = parser.string("after COMMENT") if parser.accept("COMMENT") else None
        parser.expect("AS", after=f"after CREATE FLOW {name}")
        if sees_changes(parser):
            self._changes(parser, start, name=name, comment=comment)
            return
        parser.expect("INSERT", "INTO", after=f"after CREATE FLOW {name} AS")
        once = parser.accept("ONCE")
        target = parser.name("the table that the flow writes to")
        replacement = _replacement(parser)
        parser.expect("BY", "NAME", after=f"after INSERT INTO {target}")
        self._flows.append(
            Flow(
                name,
                target,
                _query(parser, target),
                parser.source.location(start),
                once=once,
                comment=comment,
                spark_conf=dict(self._spark_conf),
                cdc=replacement,
            )
        )

    def _changes(
        self,
        parser: Parser,
        start: int,
        *,
        name: str | None = None,
        target: str | None = None,
        comment: str | None = None,
    ) -> None:
        """`AUTO CDC ...`, as a statement, in CREATE FLOW or in CREATE STREAMING TABLE."""
        clauses = parse_changes(parser, target)
        location = parser.source.location(start)
        self._flows.append(
            Flow(
                name or name_parts(clauses.target)[-1],
                clauses.target,
                clauses.query,
                location,
                once=clauses.once,
                comment=comment,
                spark_conf=dict(self._spark_conf),
                cdc=clauses.cdc,
            )
        )


def _setting(parser: Parser) -> tuple[str, str] | None:
    """`SET key = value`: the value is the text up to the end, as Spark takes it. `SET key` asks
    for a value, which nobody here would see: None.
    """
    start = parser.here
    while not (parser.at_end or parser.sees("=")):
        parser.take()
    key = parser.source.text[start : parser.here].strip().strip("`")
    if not parser.accept("="):
        return None
    if not key:
        raise parser.failure("expected a key after SET")
    return key, "" if parser.at_end else parser.rest()


def _kind(parser: Parser) -> DatasetKind:
    """What is being created; the parser stands behind CREATE [OR REFRESH] [PRIVATE]."""
    start = parser.here
    if parser.accept("MATERIALIZED"):
        parser.expect("VIEW", after="after MATERIALIZED")
        return DatasetKind.MATERIALIZED_VIEW
    streaming = parser.accept_one_of("STREAMING", "INCREMENTAL") is not None
    live = parser.accept("LIVE")
    if parser.accept("VIEW"):
        return DatasetKind.TEMPORARY_VIEW
    if parser.accept("TABLE"):
        if streaming or live:
            # A LIVE TABLE that is not STREAMING is what a materialized view was called.
            return DatasetKind.STREAMING_TABLE if streaming else DatasetKind.MATERIALIZED_VIEW
        return DatasetKind.STREAMING_TABLE
    if parser.sees("SINK"):
        raise unsupported_sql_error("sinks in SQL (CREATE SINK)", parser.source, start)
    if parser.sees("FUNCTION"):
        raise unsupported_sql_error("functions in SQL files", parser.source, start)
    raise parser.failure(
        "expected STREAMING TABLE, MATERIALIZED VIEW, TEMPORARY VIEW or FLOW after CREATE"
    )


def _inline_flow(parser: Parser, kind: DatasetKind) -> tuple[bool, Replacement | None]:
    """`FLOW INSERT [ONCE] BY NAME` or `FLOW REPLACE ...`, up to the query.

    Returns whether it runs once, and what its rows replace.
    """
    if kind is not DatasetKind.STREAMING_TABLE:
        raise parser.failure("only a streaming table has a FLOW; expected AS and a query")
    if parser.sees("IMPORT"):
        raise unsupported_sql_error("IMPORT CHECKPOINT", parser.source, parser.here)
    replacement = _replacement(parser)
    if replacement is not None:
        parser.expect("BY", "NAME", after="after FLOW REPLACE")
        return False, replacement
    parser.expect("INSERT", after="after FLOW")
    once = parser.accept("ONCE")
    replacement = _replacement(parser)
    parser.expect("BY", "NAME", after="after FLOW INSERT")
    return once, replacement


def _replacement(parser: Parser) -> Replacement | None:
    """`REPLACE USING (column, ...) SEQUENCE BY column`; None when it is not there."""
    start = parser.here
    if not parser.accept("REPLACE"):
        return None
    if parser.sees("WHERE"):
        raise unsupported_sql_error("REPLACE WHERE flows", parser.source, start)
    parser.expect("USING", after="after REPLACE")
    keys = parser.names("a column whose rows are replaced")
    parser.expect("SEQUENCE", "BY", after="after REPLACE USING (...)")
    return Replacement(keys, parser.identifier("the column that says which rows are newer"))


def _query(parser: Parser, target: str) -> SqlQuery:
    """All that is left, as written, up to the last word."""
    start = parser.here
    if not (begins_query(parser) or parser.sees("(")):
        raise parser.failure(f"expected a query (SELECT, WITH, FROM, VALUES) for {target!r}")
    parser.skip_rest(f"the query of {target!r}")
    text = parser.span(start)
    source = parser.source.part(start, start + len(text))
    return SqlQuery(text, parser.source.location(start), source=source)


def _not_a_declaration(parser: Parser) -> PipelineError:
    token = parser.peek()
    word = token.text.upper() if token is not None else ""
    return parser.source.error(
        f"{word} declares nothing: a pipeline's SQL file holds only {_DECLARES}",
        parser.here,
        condition=UNSUPPORTED,
    )


_PARAMETER = re.compile(r"\$\{([^{}]*)\}")
_PREFIX = re.compile(r"^(?:spark|conf|sparkconf|hiveconf):")


def fill_parameters(source: SqlText, piece: Piece, configuration: Mapping[str, str]) -> SqlText:
    """Replace `${key}` in the statement `piece` of `source` by the configuration, as text.

    It is done before anything is parsed; comments are left alone.

    Raises PipelineError for a key that the configuration does not have.
    """
    parts: list[str] = []
    edits: list[Substitution] = []
    length = 0
    for token in piece.tokens:
        if token.kind is TokenKind.COMMENT or "${" not in token.text:
            parts.append(token.text)
            length += len(token.text)
            continue
        position = 0
        for match in _PARAMETER.finditer(token.text):
            before = token.text[position : match.start()]
            where = token.start + match.start()
            value = _configured_value(source, match.group(1).strip(), where, configuration)
            start = length + len(before)
            edits.append(Substitution(start, start + len(value), where, token.start + match.end()))
            parts += [before, value]
            length = start + len(value)
            position = match.end()
        parts.append(token.text[position:])
        length += len(token.text) - position
    return SqlText(
        "".join(parts), source.file, origin=source, offset=piece.start, edits=tuple(edits)
    )


_PARTS_OF_NAMES = frozenset({"|", ",", "(", ")", "CONCAT"})


def fill_identifiers(source: SqlText) -> SqlText:
    """Replace `IDENTIFIER('name')` by the name; the texts in it may be joined by `||` and concat().

    The same text if there is none; what is no constant text stays.
    """
    tokens = significant(tokenize(source))
    text, edits, shift = source.text, [], 0
    for index, token in enumerate(tokens):
        following = tokens[index + 1].text if index + 1 < len(tokens) else ""
        if token.text.upper() != "IDENTIFIER" or following != "(":
            continue
        depth, names = 0, list[str]()
        for inside in tokens[index + 1 :]:
            depth += (inside.text == "(") - (inside.text == ")")
            if inside.kind is TokenKind.STRING:
                names.append(unquote(inside))
            elif inside.text.upper() not in _PARTS_OF_NAMES:
                names.clear()
                break
            if depth == 0:
                break
        if names:
            name = "".join(names)
            start = token.start + shift
            edits.append(Substitution(start, start + len(name), token.start, inside.end))
            text = text[:start] + name + text[inside.end + shift :]
            shift += len(name) - (inside.end - token.start)
    return SqlText(text, source.file, origin=source, edits=tuple(edits)) if edits else source


def _configured_value(
    source: SqlText, key: str, offset: int, configuration: Mapping[str, str]
) -> str:
    name = _PREFIX.sub("", key)
    if name not in configuration:
        raise source.error(
            f"there is no configuration key {name!r}{suggestion(name, configuration)};"
            " add it under 'configuration' in the pipeline's specification, or SET it above",
            offset,
            condition="UNKNOWN_CONFIGURATION_KEY",
        )
    return configuration[name]
