"""What stands between a dataset's name and its query: columns, comment, layout, properties."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from proa.pipelines.sql_columns import Columns, parse_columns
from proa.pipelines.sql_lexer import Kind, unquote
from proa.pipelines.sql_parser import Parser
from proa.pipelines.unsupported import refusal

_BEGINS_QUERY = re.compile(r"SELECT|WITH|FROM|VALUES|TABLE")


@dataclass
class Clauses:
    """The clauses of one CREATE statement."""

    columns: Columns = field(default_factory=lambda: Columns(None, ()))
    comment: str | None = None
    partition_cols: tuple[str, ...] = ()
    cluster_by: tuple[str, ...] = ()
    path: str | None = None
    properties: dict[str, str] = field(default_factory=dict)


def parse_clauses(parser: Parser, after: str) -> Clauses:
    """Parse up to AS, FLOW, the query or the end of the statement. Clauses may come in any order."""
    clauses = Clauses()
    if parser.sees("("):
        clauses.columns = parse_columns(parser)
    while not (parser.at_end or parser.sees("AS") or parser.sees("FLOW") or begins_query(parser)):
        for words, read in _CLAUSES.items():
            if parser.accept(*words.split()):
                read(parser, clauses)
                break
        else:
            raise _unknown(parser, after)
    return clauses


def begins_query(parser: Parser) -> bool:
    """Whether a query stands here. AS may be missing before it, as in Spark's CREATE TABLE."""
    if parser.sees("WITH", "ROW"):
        return False
    return parser.sees_one_of(_BEGINS_QUERY)


def _comment(parser: Parser, clauses: Clauses) -> None:
    clauses.comment = parser.string("after COMMENT")


def _partitioned(parser: Parser, clauses: Clauses) -> None:
    clauses.partition_cols = parser.names("a partition column")


def _clustered(parser: Parser, clauses: Clauses) -> None:
    if parser.accept_one_of("AUTO", "NONE") is None:
        clauses.cluster_by = parser.names("a clustering column")


def _location(parser: Parser, clauses: Clauses) -> None:
    clauses.path = parser.string("after LOCATION")


def _properties(parser: Parser, clauses: Clauses) -> None:
    """`(key = value, ...)`: keys and values are strings or bare words, `=` may be missing."""
    parser.expect("(", after="after TBLPROPERTIES")
    while True:
        token = parser.peek()
        if token is not None and token.kind is Kind.STRING:
            key = unquote(parser.take())
        else:
            key = parser.name("a property's key").replace("`", "")
        parser.accept("=")
        clauses.properties[key] = _value(parser, key)
        if parser.accept(")"):
            return
        parser.expect(",", after=f"or ')' after the property {key!r}")


def _value(parser: Parser, key: str) -> str:
    token = parser.peek()
    if token is not None and token.kind is Kind.STRING:
        return unquote(parser.take())
    start = parser.here
    while not (parser.at_end or parser.sees(",") or parser.sees(")")):
        parser.take()
    if parser.here == start:
        raise parser.failure(f"expected a value for the property {key!r}")
    return parser.span(start)


def _ignored(parser: Parser, _: Clauses) -> None:
    """One word without effect here: every table is Delta, refreshed as it is cheapest."""
    parser.identifier("a word")


_CLAUSES: dict[str, Callable[[Parser, Clauses], None]] = {
    "COMMENT": _comment,
    "TBLPROPERTIES": _properties,
    "PARTITIONED BY": _partitioned,
    "CLUSTER BY": _clustered,
    "LOCATION": _location,
    "USING": _ignored,
    "DEFAULT COLLATION": _ignored,
    "REFRESH POLICY": _ignored,
}

_REFUSED = {
    "WITH ROW": "row filters",
    "ROW FILTER": "row filters",
    "SCHEDULE": "schedules in SQL",
    "TRIGGER": "schedules in SQL",
}


def _unknown(parser: Parser, after: str) -> Exception:
    for words, feature in _REFUSED.items():
        if parser.sees(*words.split()):
            return refusal(feature, parser.source, parser.here)
    return parser.failure(
        "expected AS, COMMENT, TBLPROPERTIES, PARTITIONED BY, CLUSTER BY, LOCATION or USING"
        f" {after}"
    )
