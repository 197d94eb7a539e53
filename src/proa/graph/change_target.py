"""The columns of a table that changes are applied to, from the columns of the change rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pyspark.sql.types import StructField, StructType, TimestampType

from proa.errors import PipelineError
from proa.pipelines.definitions import AutoCdc, ColumnChoice, Flow, Replacement
from proa.text import suggestion

START_AT, END_AT = "__START_AT", "__END_AT"
SEQUENCE, DELETE = "__proa_sequence", "__proa_delete"
TRUNCATE, UPDATE = "__proa_truncate", "__proa_update"
HELPERS = frozenset({SEQUENCE, DELETE, TRUNCATE, UPDATE})
"""Columns that change rows have beside the source's own."""


def target_schema(flow: Flow, query: StructType) -> StructType:
    """The target's columns for a flow whose query yields `query`; `query` for other flows.

    Raises PipelineError when a named column is not there, a key is left out, or SCD type 2 needs a
    name that the source has taken.
    """
    cdc = flow.cdc
    if cdc is None:
        return query
    fields = [field for field in query.fields if field.name not in HELPERS]
    names = [field.name for field in fields]
    _check_names(flow, names)
    if isinstance(cdc, AutoCdc) and cdc.columns is not None:
        chosen = set(cdc.columns.of(names))
        fields = [field for field in fields if field.name in chosen]
    left = {field.name.lower() for field in fields}
    for key in cdc.keys:
        if key.lower() not in left:
            raise PipelineError(
                f"the key {key!r} of {flow.target!r} is left out by its column list; keep it",
                condition="AUTOCDC_KEY_NOT_IN_SELECTED_SCHEMA",
                location=flow.location,
            )
    if not cdc.history:
        return StructType(fields)
    for name in (START_AT, END_AT):
        if name.lower() in left:
            raise PipelineError(
                f"the source of {flow.target!r} has a column {name}, which SCD type 2 makes itself;"
                " rename it, or leave it out with except_column_list",
                condition="AUTOCDC_RESERVED_COLUMN_NAME_CONFLICT",
                location=flow.location,
            )
    kind = sequence_type(query)
    return StructType([*fields, *(StructField(name, kind, True) for name in (START_AT, END_AT))])


def sequence_type(query: StructType) -> Any:
    """The type that orders the change rows; a snapshot's is the time at which it was read."""
    found = next((f.dataType for f in query.fields if f.name == SEQUENCE), None)
    return TimestampType() if found is None else found


def _check_names(flow: Flow, names: Iterable[str]) -> None:
    cdc, known = flow.cdc, {name.lower() for name in names}
    assert cdc is not None
    choices: list[ColumnChoice | None] = [cdc.tracked]
    if isinstance(cdc, AutoCdc):
        choices += [cdc.columns, cdc.null_keeps]
    named = (cdc.sequence,) if isinstance(cdc, Replacement) else ()
    for name in (
        *cdc.keys,
        *named,
        *(name for choice in choices if choice for name in choice.names),
    ):
        if name.lower() not in known and name.split(".")[0].lower() not in known:
            raise PipelineError(
                f"the source of {flow.target!r} has no column {name!r}{suggestion(name, names)};"
                f" it has {', '.join(names)}",
                condition="UNRESOLVED_COLUMN.WITH_SUGGESTION",
                location=flow.location,
            )
