"""Mistakes that show in a single declaration, whichever way it was written."""

from __future__ import annotations

from proa.errors import PipelineError, SourceLocation
from proa.pipelines.definitions import (
    AutoCdc,
    Dataset,
    Expectation,
    Flow,
    Replacement,
    SnapshotCdc,
)
from proa.pipelines.expectations import CONDITION as INVALID_EXPECTATION
from proa.pipelines.identifiers import name_parts

_FORBIDDEN = frozenset('/\\\0\n\r\t<>:"|?*')
_LONGEST = 255


def check_dataset(dataset: Dataset) -> None:
    """Raise PipelineError for the first mistake in a dataset's declaration."""
    found = name_parts(dataset.name)
    if not 1 <= len(found) <= 3 or not all(_can_name(part) for part in found):
        raise PipelineError(
            f"{dataset.name!r} cannot name a dataset: a name has one to three parts, joined by"
            " dots, of letters, digits, '_' and '-'",
            condition="INVALID_DATASET_NAME",
            location=dataset.location,
        )
    if dataset.partition_cols and dataset.cluster_by:
        raise PipelineError(
            f"the dataset {dataset.name!r} has both partition and clustering columns; choose one",
            condition="SPECIFY_CLUSTER_BY_WITH_PARTITIONED_BY_IS_NOT_ALLOWED",
            location=dataset.location,
        )
    _check_columns(dataset)
    check_unique(dataset.name, dataset.expectations)


def check_flow(flow: Flow) -> None:
    """Raise PipelineError for a flow that has no proper name."""
    if flow.implicit:
        return
    _check_changes(flow.cdc, flow.location)
    found = name_parts(flow.name)
    if len(found) > 1:
        raise PipelineError(
            f"the flow name {flow.name!r} has several parts; name it {found[-1]!r}",
            condition="MULTIPART_FLOW_NAME_NOT_SUPPORTED",
            location=flow.location,
        )
    if not found or not _can_name(found[0]):
        raise PipelineError(
            f"{flow.name!r} cannot name a flow; use letters, digits, '_' and '-'",
            condition="INVALID_FLOW_NAME",
            location=flow.location,
        )


def check_unique(dataset: str, expectations: tuple[Expectation, ...]) -> None:
    """PipelineError when two expectations of one dataset have the same name."""
    seen: set[str] = set()
    for expectation in expectations:
        if expectation.name in seen:
            raise PipelineError(
                f"the dataset {dataset!r} has two expectations named {expectation.name!r};"
                " give each its own name: they are counted by name",
                condition=INVALID_EXPECTATION,
                location=expectation.location,
            )
        seen.add(expectation.name)


def _check_changes(
    cdc: AutoCdc | SnapshotCdc | Replacement | None, location: SourceLocation
) -> None:
    """Raise PipelineError for parameters of AUTO CDC that exclude one another."""
    if cdc is None or isinstance(cdc, Replacement):
        return
    if cdc.tracked is not None and not cdc.history:
        raise _conflict(
            "history is tracked in SCD type 2 only; leave track_history out, or store as type 2",
            location,
        )
    if isinstance(cdc, SnapshotCdc):
        return
    if cdc.truncates is not None and cdc.history:
        raise _conflict(
            "truncations are applied in SCD type 1 only; leave apply_as_truncates out", location
        )
    if cdc.update_column is not None and cdc.null_keeps is not None:
        raise _conflict(
            "columns_to_update and ignore_null_updates both say what a change leaves as it was;"
            " give one of them",
            location,
        )


def _conflict(sentence: str, location: SourceLocation) -> PipelineError:
    return PipelineError(
        sentence, condition="INVALID_MULTIPLE_ARGUMENT_CONDITIONS", location=location
    )


def _can_name(part: str) -> bool:
    """Whether a part of a name can stand in a path, too."""
    return (
        bool(part.strip())
        and part not in {".", ".."}
        and len(part.encode()) <= _LONGEST
        and not _FORBIDDEN.intersection(part)
    )


def _check_columns(dataset: Dataset) -> None:
    """Columns of a schema are columns, each there once, and hold what the table is laid out by."""
    from proa.pipelines.ddl import parse_schema

    if dataset.schema is None:
        return
    schema = dataset.schema
    if isinstance(schema, str):
        try:
            schema = parse_schema(schema)
        except PipelineError as error:
            error.location = dataset.location
            raise
    known: set[str] = set()
    for name in schema.fieldNames():
        if name.casefold() in known:
            raise PipelineError(
                f"the dataset {dataset.name!r} has two columns named {name!r}; rename one",
                condition="COLUMN_ALREADY_EXISTS",
                location=dataset.location,
            )
        known.add(name.casefold())
    for name in (*dataset.partition_cols, *dataset.cluster_by):
        if not known & {name.casefold(), name_parts(name)[0].casefold()}:
            raise PipelineError(
                f"the dataset {dataset.name!r} is laid out by {name!r}, which its schema lacks;"
                f" it has {', '.join(schema.fieldNames())}",
                condition="UNRESOLVED_COLUMN",
                location=dataset.location,
            )
