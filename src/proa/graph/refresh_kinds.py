"""How tables that are computed from all rows can be kept up to date, as their queries say.

Apart because commands show it without data, and `row_origins` knows single plans only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pyspark.sql import types as T  # noqa: N812 - the name that Spark's users know it by

from proa.graph.leaves import DatasetLeaf
from proa.graph.nodes import FlowNode, Graph
from proa.graph.row_origins import row_origins

KEY_TYPES = (
    T.BinaryType,
    T.BooleanType,
    T.ByteType,
    T.DateType,
    T.DecimalType,
    T.IntegerType,
    T.LongType,
    T.ShortType,
    T.StringType,
    T.TimestampNTZType,
    T.TimestampType,
)
"""Types whose values are equal for everybody, or are not: floats are not among them."""


@dataclass(frozen=True)
class RefreshKind:
    """How a table that is computed from all rows can be kept up to date."""

    incremental: bool
    """From what changed, as far as that can be followed when it is refreshed."""
    why: str
    """By what, or why not."""
    columns: tuple[str, ...] = ()
    """The columns by which rows that a change touches are found."""
    whole_for: tuple[str, ...] = ()
    """What it reads whose changes make it be computed whole all the same."""


def refresh_kinds(
    graph: Graph, schemas: Mapping[str, Any], volatile: Collection[str] = ()
) -> dict[str, RefreshKind]:
    """How each table that is computed from all rows can be refreshed, by name.

    `schemas` are the datasets' columns, StructTypes. Tables for which they are not known are left out.
    """
    kinds = {
        name: _refresh_kind(node.flows[0], schemas, is_volatile=name in volatile)
        for name, node in graph.datasets.items()
        if not (node.is_view or node.is_sink) and node.is_recomputed and node.flows
    }
    return {name: kind for name, kind in kinds.items() if kind is not None}


def _refresh_kind(
    flow: FlowNode, schemas: Mapping[str, Any], *, is_volatile: bool
) -> RefreshKind | None:
    if is_volatile:
        return RefreshKind(
            incremental=False, why="it may yield other rows although nothing that it reads changed"
        )
    datasets = {
        leaf.key: leaf.dataset for leaf in flow.plan.leaves if isinstance(leaf, DatasetLeaf)
    }
    if len(datasets) < len(flow.plan.leaves):
        return RefreshKind(incremental=False, why="it reads what is no table of the pipeline")
    if not schemas.keys() >= {*datasets.values(), flow.target}:
        return None
    columns = {key: schemas[name] for key, name in datasets.items()}
    found = row_origins(flow.plan.template, columns)
    types = {field.name: field.dataType for field in schemas[flow.target].fields}
    keys = tuple(n for n in found.columns if isinstance(types.get(n), KEY_TYPES))
    if not keys and not found.additive:
        why = (
            found.reason or "no column that says which rows a change touches is of a type for keys"
        )
        return RefreshKind(incremental=False, why=why)
    followed = {leaf for key in keys for leaf in found.columns[key]}
    rest = tuple(name for key, name in datasets.items() if key not in followed)
    if found.measures:
        why = f"groups of {', '.join(keys)}: what came is added, what went is taken off"
    else:
        why = f"rows of the same {', '.join(keys)}" if keys else "rows that are added"
    return RefreshKind(incremental=True, why=why, columns=keys, whole_for=rest)
