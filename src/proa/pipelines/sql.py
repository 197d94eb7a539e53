"""SQL files: the statements that declare datasets and flows. Queries are kept as written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from proa.errors import PipelineError
from proa.pipelines import sql_parameters
from proa.pipelines.definitions import Dataset, DatasetKind, Flow, SqlQuery
from proa.pipelines.expectations import check_unique
from proa.pipelines.sql_columns import Columns, parse_columns
from proa.pipelines.sql_lexer import Kind, Source, unquote
from proa.pipelines.sql_parser import Parser
from proa.pipelines.sql_split import Piece, split
from proa.pipelines.unsupported import CONDITION as UNSUPPORTED
from proa.pipelines.unsupported import refusal

_BEGINS_QUERY = frozenset({"SELECT", "WITH", "FROM", "VALUES", "TABLE"})
_DECLARES = (
    "CREATE OR REFRESH STREAMING TABLE, CREATE OR REFRESH MATERIALIZED VIEW,"
    " CREATE TEMPORARY VIEW, CREATE FLOW or SET"
)


@dataclass(frozen=True)
class SqlDeclarations:
    """What a SQL text declares, in order."""

    datasets: tuple[Dataset, ...]
    flows: tuple[Flow, ...]


@dataclass
class _Clauses:
    """What stands between a dataset's name and its query."""

    columns: Columns = field(default_factory=lambda: Columns(None, ()))
    comment: str | None = None
    partition_cols: tuple[str, ...] = ()
    cluster_by: tuple[str, ...] = ()
    path: str | None = None
    properties: dict[str, str] = field(default_factory=dict)


def declare(source: Source, configuration: Mapping[str, str]) -> SqlDeclarations:
    """Read the declarations of a SQL text, which may be a notebook's export.

    `configuration` replaces `${key}`. `SET key = value` applies to the statements below it: to
    their parameters, and as the `spark_conf` of their flows.

    Raises PipelineError, with file and line, for what is not understood or cannot be done.
    """
    return _Reader(configuration).read(source)


class _Reader:
    def __init__(self, configuration: Mapping[str, str]) -> None:
        self._configuration = configuration
        self._set: dict[str, str] = {}
        self._datasets: list[Dataset] = []
        self._flows: list[Flow] = []

    def read(self, source: Source) -> SqlDeclarations:
        for piece in split(source):
            if piece.says_something:
                self._statement(source, piece)
        return SqlDeclarations(tuple(self._datasets), tuple(self._flows))

    def _statement(self, source: Source, piece: Piece) -> None:
        known = {**self._configuration, **self._set}
        parser = Parser(sql_parameters.replace(source, piece, known))
        if parser.at_end:
            return
        start = parser.here
        if parser.accept("SET"):
            key, value = _setting(parser)
            self._set[key] = value
        elif parser.accept("CREATE"):
            self._create(parser, start)
        else:
            raise _not_a_declaration(parser)

    def _create(self, parser: Parser, start: int) -> None:
        if parser.accept("FLOW"):
            self._flow(parser, start)
            return
        replaces = parser.accept("OR", "REFRESH") or parser.accept("OR", "REPLACE")
        if parser.sees("OR"):
            parser.take()
            parser.fail("expected REFRESH or REPLACE", "after CREATE OR")
        private = parser.accept_one_of("PRIVATE", "TEMPORARY", "TEMP") is not None
        kind = _kind(parser, replaces=replaces)
        self._dataset(parser, kind, start, private=private)

    def _dataset(self, parser: Parser, kind: DatasetKind, start: int, *, private: bool) -> None:
        what = kind.value.replace("_", " ").lower()
        parser.accept("IF", "NOT", "EXISTS")
        name = parser.name(f"the {what}'s name")
        clauses = _clauses(parser, f"after the name of {what} {name!r}")
        check_unique(name, clauses.columns.expectations)
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
                spark_conf=dict(self._set),
                path=clauses.path,
                private=private,
                expectations=clauses.columns.expectations,
            )
        )
        once = False
        if parser.accept("FLOW"):
            once = _inline_flow(parser, kind)
        elif not parser.accept("AS"):
            if kind is DatasetKind.STREAMING_TABLE and parser.at_end:
                return
            parser.fail(f"expected AS and a query, or a clause of the {what}", f"{name!r}")
        self._add_flow(parser, name, name, start, once=once, implicit=True)

    def _flow(self, parser: Parser, start: int) -> None:
        name = parser.name("the flow's name after CREATE FLOW")
        comment = parser.string("after COMMENT") if parser.accept("COMMENT") else None
        parser.expect("AS", after=f"after CREATE FLOW {name}")
        _refuse_cdc(parser)
        parser.expect("INSERT", after=f"after CREATE FLOW {name} AS")
        parser.expect("INTO", after="after INSERT")
        once = parser.accept("ONCE")
        target = parser.name("the table that the flow writes to")
        if parser.sees("REPLACE"):
            raise refusal("replace flows", parser.source, parser.here)
        parser.expect("BY", "NAME", after=f"after INSERT INTO {target}")
        self._add_flow(parser, name, target, start, once=once, comment=comment)

    def _add_flow(
        self,
        parser: Parser,
        name: str,
        target: str,
        start: int,
        *,
        once: bool,
        comment: str | None = None,
        implicit: bool = False,
    ) -> None:
        query = _query(parser, target)
        self._flows.append(
            Flow(
                name,
                target,
                query,
                parser.source.location(start),
                once=once,
                comment=comment,
                spark_conf=dict(self._set),
                implicit=implicit,
            )
        )


def _setting(parser: Parser) -> tuple[str, str]:
    """`SET key = value`: the value is the text up to the end, as Spark takes it."""
    start = parser.here
    while not parser.at_end and not parser.sees("="):
        parser.take()
    if parser.at_end:
        parser.fail("expected '=' and a value", "after SET and a key")
    key = parser.source.text[start : parser.here].strip().strip("`")
    parser.accept("=")
    if not key:
        parser.fail("expected a key", "between SET and '='")
    return key, "" if parser.at_end else parser.rest()


def _kind(parser: Parser, *, replaces: bool) -> DatasetKind:
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
        if streaming:
            return DatasetKind.STREAMING_TABLE
        if live:
            return DatasetKind.MATERIALIZED_VIEW
        raise refusal("tables without a stream (CREATE TABLE)", parser.source, start)
    if streaming or live:
        parser.fail("expected TABLE or VIEW", "after STREAMING or LIVE")
    if parser.sees("SINK"):
        raise refusal("sinks", parser.source, start)
    if parser.sees("FUNCTION") or parser.sees("GLOBAL"):
        raise refusal("functions in SQL files", parser.source, start)
    after = "after CREATE OR REFRESH" if replaces else "after CREATE"
    parser.fail("expected STREAMING TABLE, MATERIALIZED VIEW, TEMPORARY VIEW or FLOW", after)


def _clauses(parser: Parser, after: str) -> _Clauses:
    clauses = _Clauses()
    if parser.sees("("):
        clauses.columns = parse_columns(parser)
    while not (parser.at_end or parser.sees("AS") or parser.sees("FLOW")):
        _clause(parser, clauses, after)
    return clauses


def _clause(parser: Parser, clauses: _Clauses, after: str) -> None:
    if parser.accept("COMMENT"):
        clauses.comment = parser.string("after COMMENT")
    elif parser.accept("TBLPROPERTIES"):
        clauses.properties |= _properties(parser)
    elif parser.accept("PARTITIONED", "BY"):
        clauses.partition_cols = parser.names("a partition column")
    elif parser.accept("CLUSTER", "BY"):
        if parser.accept_one_of("AUTO", "NONE") is None:
            clauses.cluster_by = parser.names("a clustering column")
    elif parser.accept("LOCATION"):
        clauses.path = parser.string("after LOCATION")
    elif parser.accept("USING"):
        parser.identifier("the format after USING")
    elif parser.accept("DEFAULT", "COLLATION"):
        parser.identifier("the collation after DEFAULT COLLATION")
    elif parser.accept("REFRESH", "POLICY"):
        parser.identifier("the policy after REFRESH POLICY")
    elif parser.sees("WITH", "ROW") or parser.sees("ROW", "FILTER"):
        raise refusal("row filters", parser.source, parser.here)
    elif parser.sees("SCHEDULE") or parser.sees("TRIGGER"):
        raise refusal("schedules in SQL", parser.source, parser.here)
    else:
        parser.fail(
            "expected AS, COMMENT, TBLPROPERTIES, PARTITIONED BY, CLUSTER BY, LOCATION or USING",
            after,
        )


def _properties(parser: Parser) -> dict[str, str]:
    """`(key = value, ...)`: keys and values are strings or bare words, `=` may be missing."""
    parser.expect("(", after="after TBLPROPERTIES")
    found: dict[str, str] = {}
    while True:
        token = parser.peek()
        if token is not None and token.kind is Kind.STRING:
            key = unquote(parser.take())
        else:
            key = parser.name("a property's key").replace("`", "")
        parser.accept("=")
        found[key] = _property_value(parser, key)
        if parser.accept(")"):
            return found
        if not parser.accept(","):
            parser.fail("expected ',' or ')'", f"after the property {key!r}")


def _property_value(parser: Parser, key: str) -> str:
    token = parser.peek()
    if token is not None and token.kind is Kind.STRING:
        return unquote(parser.take())
    start = parser.here
    while not (parser.at_end or parser.sees(",") or parser.sees(")")):
        parser.take()
    if parser.here == start:
        parser.fail("expected a value", f"for the property {key!r}")
    return parser.span(start)


def _inline_flow(parser: Parser, kind: DatasetKind) -> bool:
    """`FLOW INSERT [ONCE] BY NAME`, up to the query. Whether it runs once."""
    if kind is not DatasetKind.STREAMING_TABLE:
        parser.fail("a FLOW belongs to a streaming table;", "expected AS and a query")
    _refuse_cdc(parser)
    if parser.sees("REPLACE"):
        raise refusal("replace flows", parser.source, parser.here)
    if parser.sees("IMPORT"):
        raise refusal("IMPORT CHECKPOINT", parser.source, parser.here)
    parser.expect("INSERT", after="after FLOW")
    once = parser.accept("ONCE")
    parser.expect("BY", "NAME", after="after FLOW INSERT")
    return once


def _query(parser: Parser, target: str) -> SqlQuery:
    start = parser.here
    if not (parser.sees_one_of(_BEGINS_QUERY) or parser.sees("(")):
        parser.fail("expected a query (SELECT, WITH, FROM, VALUES)", f"for {target!r}")
    location = parser.source.location(start)
    while not parser.at_end:
        if parser.sees(")") or parser.sees("]"):
            raise parser.syntax_error(f"this bracket closes nothing in the query of {target!r}")
        if parser.sees(";"):
            raise parser.syntax_error("a parameter's value ends the statement; write it without ;")
        parser.skip_balanced(f"the query of {target!r}")
    return SqlQuery(parser.span(start), location)


def _refuse_cdc(parser: Parser) -> None:
    if parser.sees("AUTO", "CDC") or parser.sees("APPLY", "CHANGES"):
        raise refusal("AUTO CDC", parser.source, parser.here)


def _not_a_declaration(parser: Parser) -> PipelineError:
    _refuse_cdc(parser)
    token = parser.peek()
    word = token.text.upper() if token is not None else ""
    if word == "USE":
        return refusal("USE", parser.source, parser.here)
    return parser.source.error(
        f"{word} declares no dataset: a pipeline's SQL file holds only {_DECLARES}",
        parser.here,
        condition=UNSUPPORTED,
    )
