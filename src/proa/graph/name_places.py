"""Where in a flow's query the name stands that an engine does not know.

An engine reads the query with other names in the place of tables, and says no place. A function that it
lacks is unknown wherever it is called; a column may be known in one part of a query and not in another.
Then the engine is asked again, each time with one of the places and NULL in the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pyspark.sql.connect import proto
from sqlglot import exp

from proa.errors import PipelineError, SourceLocation, UserError
from proa.graph import plan_proto, sql_text
from proa.graph.plan_proto import Relation
from proa.graph.query_origin import QueryOrigin
from proa.graph.sql_mask import TextEdit

_COLUMNS = frozenset({"UNRESOLVED_COLUMN", "AMBIGUOUS_REFERENCE"})
_MOST_TRIES = 16
"""Places of a name that an engine is asked about."""


@dataclass(frozen=True)
class _Name:
    """A column's name in a text."""

    parts: tuple[str, ...]
    start: int
    end: int


def place_of(
    error: UserError,
    texts: Sequence[str],
    origin: QueryOrigin,
    bound: Relation,
    analyze: Callable[[Relation], Any],
) -> SourceLocation:
    """The place of the name that an engine's error is about; the query's own if it cannot be told.

    `texts` are the SQL texts of the query, `bound` is the plan that `analyze` refuses.
    """
    if not error.about:
        return origin.location
    is_column = error.condition.partition(".")[0] in _COLUMNS
    for text in texts:
        found = _names_like((_columns if is_column else _calls)(text), error.about)
        if not found and len(said := _names_like(_words(text), error.about)) == 1:
            found = said
        if not found:
            continue
        name = found[0]
        if len(found) > 1 and is_column and origin.sql is not None:
            name = _wrong_one(error, text, found, bound, analyze)
        return origin.place(text, name.start)
    at = _in_code(error.about, bound)
    return origin.location if at is None else origin.in_own_file(at)


def _in_code(about: str, bound: Relation) -> SourceLocation | None:
    """The line on which DataFrame code names a column or calls a function."""
    for part in plan_proto.walk(bound):
        if not isinstance(part, proto.Expression):
            continue
        named = (
            part.unresolved_attribute.unparsed_identifier.replace("`", ""),
            part.unresolved_function.function_name,
        )
        if about in named and (at := plan_proto.location(part)):
            return at
    return None


def _names_like(names: Sequence[_Name], about: str) -> list[_Name]:
    """Those of the names that are or end with the one an engine speaks of, whatever their case."""
    wanted = tuple(about.lower().split("."))
    for parts in (wanted, wanted[-1:]):
        found = [name for name in names if name.parts[-len(parts) :] == parts]
        if found:
            return found
    return []


def _words(text: str) -> list[_Name]:
    """All words of a text: fields of structs and columns of USING are no columns to its parser."""
    tokens = sql_text.tokens(text)
    return [_Name((token.text.lower(),), token.start, token.end + 1) for token in tokens]


def _calls(text: str) -> list[_Name]:
    """The functions that a text calls, in their order."""
    tokens = sql_text.tokens(text)
    return [
        _Name((token.text.lower(),), token.start, token.end + 1)
        for token, behind in pairwise(tokens)
        if behind.text == "("
    ]


def _columns(text: str) -> list[_Name]:
    """The columns that a query or an expression names, in their order."""
    try:
        tree, shift = sql_text.read(text).tree, 0
    except PipelineError:
        try:
            read = sql_text.expression(text)
        except PipelineError:
            return []
        tree, shift = read.tree, read.shift
    names = []
    for column in tree.find_all(exp.Column):
        parts = [part for part in column.parts if isinstance(part, exp.Identifier)]
        if parts and all("start" in part.meta for part in parts):
            start, end = parts[0].meta["start"] - shift, parts[-1].meta["end"] + 1 - shift
            names.append(_Name(tuple(part.name.lower() for part in parts), start, end))
    return sorted(names, key=lambda name: name.start)


def _wrong_one(
    error: UserError,
    text: str,
    found: Sequence[_Name],
    bound: Relation,
    analyze: Callable[[Relation], Any],
) -> _Name:
    """Which of several places of a name is the one that is wrong; the first if that cannot be told."""
    plan = proto.Relation()
    plan.CopyFrom(bound)
    sql = next((part for part in plan_proto.walk(plan) if isinstance(part, proto.SQL)), None)
    before, after = _columns(text), [] if sql is None else _columns(sql.query)
    if sql is None or [each.parts[-1] for each in before] != [each.parts[-1] for each in after]:
        return found[0]
    written = sql.query
    for name in found[:_MOST_TRIES]:
        others = [
            TextEdit(there.start, there.end, "NULL")
            for here, there in zip(before, after, strict=True)
            if here in found and here is not name and here != name
        ]
        sql.query = sql_text.apply_edits(written, others)
        try:
            analyze(plan)
        except UserError as again:
            if (again.condition, again.about) == (error.condition, error.about):
                return name
    return found[0]
