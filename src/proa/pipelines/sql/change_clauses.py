"""`AUTO CDC INTO target FROM source KEYS (...) ...`: clauses in their one order."""

from __future__ import annotations

from dataclasses import dataclass, replace

from proa.errors import PipelineError
from proa.pipelines.definitions import AutoCdc, ColumnChoice, SnapshotCdc, SqlQuery
from proa.pipelines.sql.lexer import SqlText, Substitution
from proa.pipelines.sql.parser import Parser
from proa.pipelines.unsupported import unsupported_sql_error

_ORDER = (
    "KEYS",
    "IGNORE NULL UPDATES",
    "APPLY AS DELETE WHEN",
    "APPLY AS TRUNCATE WHEN",
    "SEQUENCE BY",
    "COLUMNS",
    "STORED AS",
    "TRACK HISTORY ON",
)
_ENDS = tuple(tuple(clause.split()) for clause in (*_ORDER, "WHERE", "SYSTEM SEQUENCE BY"))


@dataclass(frozen=True)
class ChangeClauses:
    """What stands behind AUTO CDC."""

    target: str
    once: bool
    query: SqlQuery
    cdc: AutoCdc | SnapshotCdc


def sees_changes(parser: Parser) -> bool:
    """Whether AUTO CDC or APPLY CHANGES is next."""
    return parser.sees("AUTO", "CDC") or parser.sees("APPLY", "CHANGES")


def parse_changes(parser: Parser, target: str | None = None) -> ChangeClauses:
    """Parse `AUTO CDC [ONCE] [INTO target] FROM ...` to its end.

    `target` is given inside CREATE STREAMING TABLE, where INTO is not written. Raises PipelineError
    for a clause that is unknown or out of its order.
    """
    if not parser.accept("AUTO", "CDC"):
        parser.expect("APPLY", "CHANGES", after="here")
    once = parser.accept("ONCE")
    if target is None:
        parser.expect("INTO", after="after AUTO CDC")
        once = parser.accept("ONCE") or once
        target = parser.name("the table that the changes are applied to")
    parser.expect("FROM", after=f"after AUTO CDC INTO {target}")
    if parser.accept("SNAPSHOT"):
        return _snapshot(parser, target, once=once)
    query, filtered = _source(parser)
    keys = _keys(parser)
    if not filtered and parser.accept("WHERE"):
        query = _where(parser, query)
    cdc = _changes(parser, keys)
    _check_end(parser)
    return ChangeClauses(target, once, _with_helpers(query, cdc), cdc)


def _changes(parser: Parser, keys: tuple[str, ...]) -> AutoCdc:
    null_keeps = deletes = truncates = columns = tracked = None
    if parser.accept("IGNORE", "NULL", "UPDATES"):
        null_keeps = ColumnChoice(excluded=True)
        if parser.accept("ON"):
            null_keeps = _choice(parser, "IGNORE NULL UPDATES ON")
    if parser.accept("APPLY", "AS", "DELETE", "WHEN"):
        deletes = _expression(parser, "APPLY AS DELETE WHEN")
    if parser.accept("APPLY", "AS", "TRUNCATE", "WHEN"):
        truncates = _expression(parser, "APPLY AS TRUNCATE WHEN")
    if not parser.accept("SEQUENCE", "BY"):
        raise _misplaced_error(parser, "SEQUENCE BY")
    sequence = _expression(parser, "SEQUENCE BY")
    if parser.sees("SYSTEM", "SEQUENCE", "BY"):
        raise unsupported_sql_error("bitemporal AUTO CDC", parser.source, parser.here)
    if parser.sees("COLUMNS") and not parser.sees("COLUMNS", "TO", "UPDATE"):
        parser.accept("COLUMNS")
        columns = _choice(parser, "COLUMNS")
    history = _stored_as(parser)
    if parser.accept("TRACK", "HISTORY", "ON"):
        tracked = _choice(parser, "TRACK HISTORY ON")
    updates = None
    if parser.accept("COLUMNS", "TO", "UPDATE"):
        updates = parser.identifier("the column that names the columns to update")
    return AutoCdc(
        keys, sequence, deletes, truncates, columns, history, tracked, null_keeps, updates
    )


def _with_helpers(query: SqlQuery, cdc: AutoCdc) -> SqlQuery:
    """The query with the columns that change rows have beside the source's own."""
    named = {
        "__proa_sequence": cdc.sequence_by,
        "__proa_delete": cdc.deletes,
        "__proa_truncate": cdc.truncates,
        "__proa_update": cdc.update_column and f"`{cdc.update_column}`",
    }
    columns = ", ".join(f"({text}) AS {name}" for name, text in named.items() if text is not None)
    return _with_columns(query, columns)


def _with_columns(query: SqlQuery, columns: str) -> SqlQuery:
    """A query of `_source` with more columns behind its star."""
    assert query.source is not None
    more = f", {columns}"
    text = query.text.replace("*", f"*{more}", 1)
    first, *rest = query.source.edits
    edits = (
        replace(first, end=first.end + len(more)),
        *(replace(edit, start=edit.start + len(more), end=edit.end + len(more)) for edit in rest),
    )
    location = replace(query.location, line=query.location.line - columns.count("\n"))
    return SqlQuery(text, location, source=replace(query.source, text=text, edits=edits))


def _snapshot(parser: Parser, target: str, *, once: bool) -> ChangeClauses:
    query, _ = _source(parser)
    keys = _keys(parser)
    history = _stored_as(parser)
    tracked = None
    if parser.accept("TRACK", "HISTORY", "ON"):
        tracked = _choice(parser, "TRACK HISTORY ON")
    _check_end(parser)
    moment = "current_timestamp()" if history else "CAST(0 AS BIGINT)"
    query = _with_columns(query, f"{moment} AS __proa_sequence")
    return ChangeClauses(target, once, query, SnapshotCdc(keys, history, tracked))


def _source(parser: Parser) -> tuple[SqlQuery, bool]:
    """The source as a query, and whether a WHERE stood before KEYS."""
    start = parser.here
    text = _expression(parser, "FROM")
    before = "SELECT * FROM "
    whole = SqlText(
        f"{before}{text}",
        parser.source.file,
        origin=parser.source,
        edits=(Substitution(0, len(before), start, start),),
    )
    query = SqlQuery(whole.text, parser.source.location(start), source=whole)
    if parser.accept("WHERE"):
        return _where(parser, query), True
    return query, False


def _where(parser: Parser, query: SqlQuery) -> SqlQuery:
    assert query.source is not None
    start, length = parser.here, len(query.text)
    before = " WHERE "
    text = f"{query.text}{before}{_expression(parser, 'WHERE')}"
    edit = Substitution(length, length + len(before), start, start)
    source = replace(query.source, text=text, edits=(*query.source.edits, edit))
    return SqlQuery(text, query.location, source=source)


def _keys(parser: Parser) -> tuple[str, ...]:
    if not parser.accept("KEYS"):
        raise _misplaced_error(parser, "KEYS (...)")
    return parser.names("a key column")


def _stored_as(parser: Parser) -> bool:
    """Whether a history is kept; without STORED AS none is."""
    if not parser.accept("STORED", "AS"):
        return False
    if parser.sees("BITEMPORAL"):
        raise unsupported_sql_error("bitemporal AUTO CDC", parser.source, parser.here)
    parser.expect("SCD", "TYPE", after="after STORED AS")
    number = parser.accept_one_of("1", "2") or _number(parser)
    return number == "2"


def _number(parser: Parser) -> str:
    token = parser.peek()
    if token is None or token.text not in {"1", "2"}:
        raise parser.failure("expected 1 or 2 after SCD TYPE")
    return parser.take().text


def _choice(parser: Parser, clause: str) -> ColumnChoice:
    """`(a, b)`, `* EXCEPT (a, b)` or `*`."""
    if not parser.accept("*"):
        return ColumnChoice(_columns(parser, clause))
    if parser.accept("EXCEPT"):
        return ColumnChoice(_columns(parser, clause), excluded=True)
    return ColumnChoice(excluded=True)


def _columns(parser: Parser, clause: str) -> tuple[str, ...]:
    """Names in parentheses, or one name; a name may go into a struct (`address.city`)."""
    if not parser.accept("("):
        return (_path(parser, clause),)
    names = [_path(parser, clause)]
    while parser.accept(","):
        names.append(_path(parser, clause))
    parser.expect(")", after=f"after the columns of {clause}")
    return tuple(names)


def _path(parser: Parser, clause: str) -> str:
    parts = [parser.identifier(f"a column after {clause}")]
    while parser.accept("."):
        parts.append(parser.identifier("a field's name"))
    return ".".join(parts)


def _expression(parser: Parser, clause: str) -> str:
    """The text up to the next clause."""
    start = parser.here
    while not parser.at_end and not any(parser.sees(*words) for words in _ENDS):
        parser.skip_balanced(clause)
    if parser.here == start or (parser.at_end and not parser.span(start)):
        raise parser.failure(f"expected an expression after {clause}")
    return parser.span(start)


def _check_end(parser: Parser) -> None:
    if not parser.at_end:
        raise _misplaced_error(parser, "the end of the statement")


def _misplaced_error(parser: Parser, expected: str) -> PipelineError:
    for clause in _ORDER:
        if parser.sees(*clause.split()):
            return parser.failure(
                f"expected {expected}; the clauses of AUTO CDC stand in this order:"
                f" {', '.join(_ORDER)}, COLUMNS TO UPDATE"
            )
    return parser.failure(f"expected {expected}")
