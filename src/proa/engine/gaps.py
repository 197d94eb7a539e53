"""What the embedded engine lacks, found in a plan and said by name with what to write instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

CONDITION = "UNSUPPORTED_FEATURE"

_SPARK_TOO = "or use an Apache Spark Connect server (engine: {remote: sc://host:15002})"
_Gap = tuple[str, str]
"""The construct as users know it, and what to do instead."""

_UNPIVOT = (
    "UNPIVOT",
    f"write stack(2, 'a', a, 'b', b) AS (name, value), {_SPARK_TOO}",
)
_PIVOT_VALUES = (
    "pivot() without values",
    "name them: pivot('k', ['a', 'b']); columns must not depend on the rows that have come",
)
_FUNCTIONS = {
    "input_file_name": "_metadata.file_path",
    "input_file_block_start": "_metadata.file_block_start",
    "input_file_block_length": "_metadata.file_block_length",
}
"""Functions that others have taken the place of."""


def refused(plan: Any) -> _Gap | None:
    """What the engine would answer wrongly, or die of."""
    for part in _walk(plan):
        name = part.DESCRIPTOR.name
        if name == "Aggregate" and part.group_type == part.GROUP_TYPE_PIVOT:
            if not part.pivot.values:
                return _PIVOT_VALUES
        elif name == "SQL" and _unpivots(part.query):
            return _UNPIVOT
    return None


def lacking(plan: Any) -> _Gap | None:
    """What the engine may have stumbled over."""
    for part in _walk(plan):
        if part.DESCRIPTOR.name == "SQL" and (tree := _tree(part.query)) is not None:
            found = next((gap for find in _FINDERS if (gap := find(tree)) is not None), None)
            if found is not None:
                return found
    return None


def _unpivots(text: str) -> bool:
    if "unpivot" not in text.lower():
        return False
    tree = _tree(text)
    return tree is not None and any(p.args.get("unpivot") for p in tree.find_all(exp.Pivot))


def _except(tree: exp.Expr) -> _Gap | None:
    if any(star.args.get("except_") for star in tree.find_all(exp.Star)):
        return (
            "SELECT * EXCEPT (columns)",
            f"name the columns that stay, use df.drop('column') in Python, {_SPARK_TOO}",
        )
    return None


def _qualify(tree: exp.Expr) -> _Gap | None:
    if tree.find(exp.Qualify):
        return ("QUALIFY", "number the rows in a subquery and keep those wanted with WHERE")
    return None


def _group_by_all(tree: exp.Expr) -> _Gap | None:
    if any(group.args.get("all") for group in tree.find_all(exp.Group)):
        return ("GROUP BY ALL", f"name the grouping columns, {_SPARK_TOO}")
    return None


def _pivot(tree: exp.Expr) -> _Gap | None:
    if tree.find(exp.Pivot):
        return (
            "PIVOT",
            f"write sum(v) FILTER (WHERE k = 'a') AS a for each value, {_SPARK_TOO}",
        )
    return None


def _json_path(tree: exp.Expr) -> _Gap | None:
    for found in tree.find_all(exp.JSONExtract):
        if found.args.get("variant_extract"):
            path = found.expression.sql().strip("'")
            column = found.this.sql(dialect="databricks")
            written = f"{column}:{path.removeprefix('$').removeprefix('.')}"
            return (f"the JSON path {written}", f"write get_json_object({column}, '{path}')")
    return None


_FINDERS: tuple[Callable[[exp.Expr], _Gap | None], ...] = (
    _except,
    _qualify,
    _group_by_all,
    _pivot,
    _json_path,
)

_NAME = re.compile(r'Identifier\("((?:[^"\\]|\\.)*)"\)')
_MISSING = re.compile(r"attribute ObjectName\((\[.*?\])\) is missing from the schema")
_AMBIGUOUS = re.compile(r"ambiguous attribute: ObjectName\((\[.*?\])\)")
_FUNCTION = re.compile(r"^(?:unknown )?function: (\w+)$")
_SYNTAX = re.compile(r"^invalid argument: found (.+?)(?: at \d+:\d+)? expected ", re.DOTALL)


def spoken(message: str) -> tuple[str, str] | None:
    """(Spark's condition, a sentence) for what the embedded engine says in its own way."""
    if found := _MISSING.search(message):
        names = _NAME.findall(found.group(1))
        whole, under = ".".join(names), "_".join(names)
        hint = (
            f"; behind a join by column names write {names[-1]!r} alone, and rename a column that"
            f" has dots in its own name (withColumnRenamed({whole!r}, {under!r}))"
            if len(names) > 1
            else ""
        )
        return (
            "UNRESOLVED_COLUMN",
            (
                f"there is no column {whole!r} here{hint}; look at its spelling and at"
                " what the query reads"
            ),
        )
    if found := _AMBIGUOUS.search(message):
        name = ".".join(_NAME.findall(found.group(1)))
        return (
            "AMBIGUOUS_REFERENCE",
            f"the column {name!r} may be that of several tables; write the table's name before it",
        )
    if found := _FUNCTION.match(message):
        name = found.group(1)
        instead = _FUNCTIONS.get(name.lower())
        remedy = f"read {instead}" if instead else f"look at its spelling, {_SPARK_TOO}"
        return ("UNRESOLVED_ROUTINE", f"the engine has no function {name}(); {remedy}")
    if found := _SYNTAX.match(message):
        return ("PARSE_SYNTAX_ERROR", f"the engine cannot read the query at {found.group(1)!r}")
    return None


def sentence(gap: _Gap) -> str:
    """The refusal of a construct."""
    what, instead = gap
    return f"the embedded engine lacks {what}: {instead}"


def _walk(message: Any) -> Iterator[Any]:
    yield message
    for field, value in message.ListFields():
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        for part in [value] if hasattr(value, "ListFields") else value:
            yield from _walk(part)


def _tree(text: str) -> exp.Expr | None:
    try:
        return sqlglot.parse_one(text, dialect="databricks")
    except (SqlglotError, IndexError):
        return None
