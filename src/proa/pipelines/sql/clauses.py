"""What stands between a dataset's name and its query: columns, comment, layout, properties."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from proa.pipelines.definitions import Expectation, GeneratedColumn
from proa.pipelines.expectations import check_expectation
from proa.pipelines.sql.lexer import TokenKind, unquote
from proa.pipelines.sql.parser import Parser
from proa.pipelines.unsupported import unsupported_sql_error
from proa.violations import Violation

_BEGINS_QUERY = re.compile(r"SELECT|WITH|FROM|VALUES|TABLE")


_COLUMN_OPTIONS = re.compile(
    r"NOT|NULL|COMMENT|GENERATED|DEFAULT|CONSTRAINT|PRIMARY|REFERENCES|FOREIGN|MASK|UNIQUE|CHECK"
)
_KEY_OPTIONS = re.compile(
    r"NOT|ENFORCED|DEFERRABLE|INITIALLY|DEFERRED|IMMEDIATE|NORELY|RELY|MATCH|FULL|ON|UPDATE|DELETE"
    r"|NO|ACTION|TIMESERIES"
)


@dataclass(frozen=True)
class Columns:
    """What a column list says."""

    schema: str | None
    """Columns as DDL; None when the list names none."""
    expectations: tuple[Expectation, ...]
    primary_key: tuple[str, ...] = ()
    generated: tuple[GeneratedColumn, ...] = ()


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


def _read_partitioned_by(parser: Parser, clauses: Clauses) -> None:
    clauses.partition_cols = parser.names("a partition column")


def _read_cluster_by(parser: Parser, clauses: Clauses) -> None:
    if parser.accept_one_of("AUTO", "NONE") is None:
        clauses.cluster_by = parser.names("a clustering column")


def _location(parser: Parser, clauses: Clauses) -> None:
    clauses.path = parser.string("after LOCATION")


def _properties(parser: Parser, clauses: Clauses) -> None:
    """`(key = value, ...)`: keys and values are strings or bare words, `=` may be missing."""
    parser.expect("(", after="after TBLPROPERTIES")
    while True:
        token = parser.peek()
        if token is not None and token.kind is TokenKind.STRING:
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
    if token is not None and token.kind is TokenKind.STRING:
        return unquote(parser.take())
    start = parser.here
    while not (parser.at_end or parser.sees(",") or parser.sees(")")):
        parser.take()
    if parser.here == start:
        raise parser.failure(f"expected a value for the property {key!r}")
    return parser.span(start)


def _ignore_word(parser: Parser, _: Clauses) -> None:
    """One word without effect here: every table is Delta, refreshed as it is cheapest."""
    parser.identifier("a word")


_CLAUSES: dict[str, Callable[[Parser, Clauses], None]] = {
    "COMMENT": _comment,
    "TBLPROPERTIES": _properties,
    "PARTITIONED BY": _read_partitioned_by,
    "CLUSTER BY": _read_cluster_by,
    "LOCATION": _location,
    "USING": _ignore_word,
    "DEFAULT COLLATION": _ignore_word,
    "REFRESH POLICY": _ignore_word,
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
            return unsupported_sql_error(feature, parser.source, parser.here)
    return parser.failure(
        "expected AS, COMMENT, TBLPROPERTIES, PARTITIONED BY, CLUSTER BY, LOCATION or USING"
        f" {after}"
    )


def parse_columns(parser: Parser) -> Columns:
    """Parse `( column | constraint , ... )`; the parser stands at the parenthesis."""
    parser.expect("(", after="before the column list")
    columns: list[str] = []
    expectations: list[Expectation] = []
    key: list[str] = []
    generated: list[GeneratedColumn] = []
    while True:
        if parser.accept("CONSTRAINT"):
            key += _constraint(parser, expectations)
        elif parser.sees("PRIMARY", "KEY") or parser.sees("FOREIGN", "KEY"):
            key += _key(parser)
        elif columns and parser.sees("UNIQUE", "("):
            raise unsupported_sql_error("UNIQUE constraints", parser.source, parser.here)
        else:
            columns.append(_column(parser, key, generated))
        if parser.accept(")"):
            break
        if not parser.accept(","):
            raise parser.failure("expected ',' or ')' in the column list")
    return Columns(", ".join(columns) or None, tuple(expectations), tuple(key), tuple(generated))


def _constraint(parser: Parser, expectations: list[Expectation]) -> tuple[str, ...]:
    """One constraint with a name. Returns the primary key's columns, if it is one."""
    start = parser.here
    name = parser.identifier("the constraint's name after CONSTRAINT")
    if parser.accept("EXPECT"):
        condition = parser.parenthesized_source(f"the condition of the expectation {name!r}")
        location = parser.source.location(start)
        expectation = check_expectation(
            name, condition.text, _violation(parser), location, condition
        )
        expectations.append(expectation)
    elif parser.sees("PRIMARY", "KEY") or parser.sees("FOREIGN", "KEY"):
        return _key(parser)
    elif parser.sees("CHECK"):
        raise unsupported_sql_error("CHECK constraints", parser.source, parser.here)
    else:
        raise parser.failure(f"expected EXPECT, PRIMARY KEY or FOREIGN KEY after CONSTRAINT {name}")
    return ()


def _violation(parser: Parser) -> Violation:
    if not parser.accept("ON", "VIOLATION"):
        return Violation.WARN
    if parser.accept("DROP", "ROW"):
        return Violation.DROP
    if parser.accept("FAIL", "UPDATE"):
        return Violation.FAIL
    raise parser.failure("expected DROP ROW or FAIL UPDATE after ON VIOLATION")


def _key(parser: Parser, column: str = "") -> tuple[str, ...]:
    """A primary or foreign key: information for readers, which nothing enforces.

    Returns the primary key's columns: those listed, or the `column` that it stands behind.
    """
    columns: tuple[str, ...] = ()
    if parser.accept("PRIMARY", "KEY"):
        columns = _key_columns(parser) if parser.accept("(") else (column,)
    else:
        parser.accept("FOREIGN", "KEY")
        if parser.sees("("):
            parser.skip_balanced("the foreign key")
        if parser.accept("REFERENCES"):
            parser.name("the table that the foreign key refers to")
            if parser.sees("("):
                parser.skip_balanced("the foreign key")
    while parser.sees_one_of(_KEY_OPTIONS) and not parser.sees("NOT", "NULL"):
        parser.take()
    return columns


def _key_columns(parser: Parser) -> tuple[str, ...]:
    """`name [TIMESERIES], ...` up to the closing parenthesis."""
    columns: list[str] = []
    while not columns or parser.accept(","):
        columns.append(parser.identifier("a column of the primary key"))
        parser.accept("TIMESERIES")
    parser.expect(")", after="after the primary key's columns")
    return tuple(columns)


def _column(parser: Parser, key: list[str], generated: list[GeneratedColumn]) -> str:
    """One column, as DDL; adds it to `key` if it says to be the primary key, and to `generated`."""
    name = parser.identifier("a column's name")
    parser.accept(":")
    start = parser.here
    if parser.sees(",") or parser.sees(")") or parser.sees_one_of(_COLUMN_OPTIONS):
        raise parser.failure(
            f"expected the type of the column {name!r} (or name the columns in the query alone)"
        )
    _skip_type(parser, name)
    written = parser.span(start)
    parts = [f"`{name.replace('`', '``')}`", written]
    while not (parser.sees(",") or parser.sees(")")):
        if parser.accept("NOT", "NULL"):
            parts.append("NOT NULL")
        elif parser.accept("NULL"):
            pass
        elif parser.accept("COMMENT"):
            comment = parser.string(f"after COMMENT of column {name!r}")
            parts.append("COMMENT '" + comment.replace("\\", "\\\\").replace("'", "\\'") + "'")
        elif parser.sees("PRIMARY", "KEY") or parser.sees("FOREIGN") or parser.sees("REFERENCES"):
            key += _key(parser, name)
        elif parser.accept("CONSTRAINT"):
            parser.identifier("the constraint's name after CONSTRAINT")
        elif parser.sees("GENERATED"):
            generated.append(GeneratedColumn(name, written, _generated_expression(parser, name)))
        else:
            _refuse_option(parser, name)
    return " ".join(parts)


def _generated_expression(parser: Parser, name: str) -> str:
    """Parse `GENERATED ALWAYS AS (expression)` and return the expression."""
    start = parser.here
    parser.accept("GENERATED")
    if not parser.accept("ALWAYS"):
        parser.expect("BY", after="or ALWAYS after GENERATED")
        parser.expect("DEFAULT", after="after GENERATED BY")
    parser.expect("AS", after=f"after GENERATED of column {name!r}")
    if parser.sees("IDENTITY"):
        raise unsupported_sql_error("identity columns", parser.source, start)
    return parser.parenthesized_text(f"the expression of the generated column {name!r}")


def _refuse_option(parser: Parser, name: str) -> None:
    for word, feature in (
        ("DEFAULT", "default values of columns"),
        ("MASK", "column masks"),
        ("CHECK", "CHECK constraints"),
    ):
        if parser.sees(word):
            raise unsupported_sql_error(feature, parser.source, parser.here)
    raise parser.failure(
        f"expected NOT NULL, COMMENT, a key, ',' or ')' after the type of {name!r}"
    )


def _skip_type(parser: Parser, name: str) -> None:
    depth = 0
    while True:
        token = parser.peek()
        if token is None:
            raise parser.failure(f"expected ',' or ')' after the type of {name!r}")
        if depth == 0 and (
            parser.sees(",") or parser.sees(")") or parser.sees_one_of(_COLUMN_OPTIONS)
        ):
            return
        if token.kind is TokenKind.SYMBOL and token.text in "<>":
            depth += 1 if token.text == "<" else -1
        parser.skip_balanced(f"the type of {name!r}")
