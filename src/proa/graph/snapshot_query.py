"""Snapshots that a user's function hands out, as one query: all that are new, with their versions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyspark.sql import types as T  # noqa: N812 - the name that Spark's users know it by

from proa.errors import PipelineError
from proa.graph.change_target import END_AT, SEQUENCE, START_AT
from proa.pipelines.definitions import Flow, SnapshotCdc

_MOST = 100
"""Snapshots that one batch takes."""


@dataclass(frozen=True)
class KnownTarget:
    """What a snapshot flow's target is, before an update."""

    latest: Any = None
    """The version applied last; None for none."""
    columns: Any = None
    """Its columns, as a StructType; None while there is no table."""


Targets = Callable[[Flow], KnownTarget]


def next_snapshots(
    flow: Flow, cdc: SnapshotCdc, known: KnownTarget | None
) -> list[tuple[Any, Any]]:
    """The (DataFrame, version) pairs that the function has now, oldest first.

    Without `known` only the first, to see its columns. A version that is not newer ends the list,
    as None does. Raises PipelineError for an answer that is neither.
    """
    assert cdc.next_snapshot is not None
    latest = None if known is None else known.latest
    found: list[tuple[Any, Any]] = []
    while len(found) < (1 if known is None else _MOST):
        answer = cdc.next_snapshot(latest)
        if answer is None:
            break
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise PipelineError(
                f"the snapshot function of {flow.target!r} returned {type(answer).__name__}; return"
                " a DataFrame and its version, or None",
                condition="NOT_EXPECTED_TYPE",
                location=flow.location,
            )
        frame, version = answer
        if latest is not None and version <= latest:
            break
        found.append((frame, version))
        latest = version
    return found


def joined_snapshots(snapshots: list[tuple[Any, Any]]) -> Any:
    """One DataFrame of several snapshots' rows, each row with its version."""
    from pyspark.sql import functions as F  # noqa: N812 - as Spark's users know it

    whole = None
    for frame, version in snapshots:
        literal = F.lit(version)
        if isinstance(version, int) and not isinstance(version, bool):
            literal = literal.cast("bigint")
        rows = frame.withColumn(SEQUENCE, literal)
        whole = rows if whole is None else whole.unionByName(rows, allowMissingColumns=True)
    return whole


def columns_without_snapshot(cdc: SnapshotCdc, known: KnownTarget | None) -> T.StructType:
    """The columns of the query while there is no new snapshot."""
    kind: Any = T.LongType()
    if known is None or known.columns is None:
        fields = [T.StructField(key, T.StringType()) for key in cdc.keys]
    else:
        period = {START_AT, END_AT}
        fields = [f for f in known.columns.fields if f.name not in period]
        kind = next((f.dataType for f in known.columns.fields if f.name == START_AT), kind)
    return T.StructType([*fields, T.StructField(SEQUENCE, kind)])
