"""How the columns of a table's files came about: since which shipment, and which file decided."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark.sql import types as t

from proa.autoloader.schema import FileSchema, SchemaVersion, SchemaVersions
from proa.graph import FilesLeaf, FlowNode
from proa.runtime.checkpoint import Checkpoint
from proa.runtime.context import Context
from proa.storage import Store


@dataclass(frozen=True)
class SchemaChange:
    """One field of the files, from where on it is what it is."""

    flow: str
    path: str
    """The folder that is loaded."""
    version: int
    """The number of the schema's version, counted from 0."""
    column: str
    """The field's dotted name."""
    type: str
    before: str | None
    """The type that it had; None for a field that was not there."""
    shipment: int | None
    """The shipment from which on it holds; None where no manifest gives the order."""
    file: str | None
    """The file that decided it, below the folder; None where a folder's name or an option did."""


def schema_changes(flows: Sequence[FlowNode], context: Context) -> Iterator[SchemaChange]:
    """Yield the changes of the files' columns, for each stream of files that `flows` read.

    The oldest come first. Hints are not applied. Raises DataError for a damaged checkpoint.
    """
    for flow in flows:
        table = context.table(flow.target)
        if table.refresh() is None:
            continue
        url = context.layout.checkpoint(flow.target, flow.flow.name, table.wanted_generation)
        checkpoint = Checkpoint(Store.open(url, context.options))
        for leaf in flow.plan.leaves:
            if isinstance(leaf, FilesLeaf) and leaf.streaming:
                before: dict[str, str] = {}
                for version in SchemaVersions(checkpoint.leaf(leaf.key)).all():
                    now = dict(_fields(version.schema))
                    yield from _differences(flow, leaf, version, before, now)
                    before = now


def _differences(
    flow: FlowNode,
    leaf: FilesLeaf,
    version: SchemaVersion,
    before: dict[str, str],
    now: dict[str, str],
) -> Iterator[SchemaChange]:
    for column, kind in now.items():
        if before.get(column) != kind:
            yield SchemaChange(
                flow.flow.name,
                leaf.path,
                version.number,
                column,
                kind,
                before.get(column),
                version.shipment or None,
                version.decided.get(column),
            )


def _fields(schema: FileSchema) -> Iterator[tuple[str, str]]:
    for struct in (schema.data, schema.partitions):
        yield from _leaf_fields(struct, "")


def _leaf_fields(struct: t.StructType, above: str) -> Iterator[tuple[str, str]]:
    for each in struct.fields:
        name, kind = f"{above}{each.name}", _inner(each.dataType)
        if isinstance(kind, t.StructType) and kind.fields:
            yield from _leaf_fields(kind, f"{name}.")
        else:
            yield name, each.dataType.simpleString()


def _inner(kind: Any) -> Any:
    """What an array holds, however deep; the type itself when it is none."""
    return _inner(kind.elementType) if isinstance(kind, t.ArrayType) else kind
