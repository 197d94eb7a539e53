"""What the embedded engine lacks, found in a plan and said by name with what to write instead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

CONDITION = "UNSUPPORTED_FEATURE"

_SPARK_TOO = "or use an Apache Spark Connect server (engine: {remote: sc://host:15002})"
_Gap = tuple[str, str]
"""The construct as users know it, and what to do instead."""

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
_WHO_ASKS = {"is_member", "is_account_group_member"}


def find_gap(plan: Any) -> _Gap | None:
    """What the engine would answer wrongly, or die of."""
    for part in _walk(plan):
        if part.DESCRIPTOR.name != "Aggregate" or part.group_type != part.GROUP_TYPE_PIVOT:
            continue
        if not part.pivot.values:
            return _PIVOT_VALUES
    return None


_NAME = re.compile(r'Identifier\("((?:[^"\\]|\\.)*)"\)')
_MISSING = re.compile(r"attribute ObjectName\((\[.*?\])\) is missing from the schema")
_AMBIGUOUS = re.compile(r"ambiguous attribute: ObjectName\((\[.*?\])\)")
_FUNCTION = re.compile(r"^(?:unknown )?function: (\w+)$")
_SOURCE = re.compile(r"No data source found for: (\w+)")
_SYNTAX = re.compile(r"^invalid argument: found (.+?)(?: at \d+:\d+)? expected ", re.DOTALL)


def _missing_function(name: str) -> tuple[str, str]:
    if name.lower() in _WHO_ASKS:
        remedy = "write a table for each group, and grant each group its own"
        return (
            CONDITION,
            f"{name}() depends on who asks, and a table's rows are the same for all: {remedy}",
        )
    instead = _FUNCTIONS.get(name.lower())
    remedy = f"read {instead}" if instead else f"look at its spelling, {_SPARK_TOO}"
    return ("UNRESOLVED_ROUTINE", f"the engine has no function {name}(); {remedy}")


def reword(message: str) -> tuple[str, str] | None:
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
        return _missing_function(found.group(1))
    if found := _SOURCE.search(message):
        return (
            "DATA_SOURCE_NOT_FOUND",
            (
                f"the engine reads no format {found.group(1)!r}; land the data as json, csv, parquet,"
                f" avro or orc (proa capture does so for PostgreSQL), {_SPARK_TOO}"
            ),
        )
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
