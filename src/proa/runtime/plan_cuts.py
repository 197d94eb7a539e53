"""Shorter plans: what a batch is cut to when its data are wrong, so that what comes before is committed.

A region that runs after every shipment stops at the shipment whose data are wrong. One that runs once
has planned that shipment together with many; it is to stop at the same one, with all before it in the
table. So a plan that failed is cut until it can be committed or consists of one shipment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from proa.errors import DataError, PipelineError, SettingsError, UserError
from proa.formats.problems import explain
from proa.runtime.checkpoint import MOST_CUTS, FilesInput, Input, Plan

_NOT_OF_ROWS = frozenset(
    {
        "CANNOT_UPDATE_PARTITION_COLUMNS",
        "CF_EMPTY_DIR_FOR_SCHEMA_INFERENCE",
        "CHECKPOINT_DAMAGED",
        "DELTA_MISSING_CHANGE_DATA",
        "DELTA_SOURCE_TABLE_IGNORE_CHANGES",
        "DELTA_STATE_RECOVER_ERROR",
        "DELTA_UNSUPPORTED_FEATURES_FOR_WRITE",
        "DELTA_VERSION_NOT_FOUND",
        "FILES_WITHOUT_ORDER",
        "PARTITION_COLUMN_NOT_FOUND",
        "STREAMING_STATE_DRIFT",
        "STREAM_WITHOUT_ORDER",
        "TABLE_OR_VIEW_NOT_FOUND",
        "UNSUPPORTED_FEATURE",
        "UNSUPPORTED_FORMAT",
    }
)
"""Conditions of errors that no shorter batch is without."""


def is_of_rows(error: BaseException) -> bool:
    """Whether a batch with fewer rows may be without the error."""
    if isinstance(error, PipelineError | SettingsError) or not isinstance(error, UserError):
        return False
    return error.condition not in _NOT_OF_ROWS


def cut_plan(
    plan: Plan, before: Plan | None, folders: Mapping[str, str], error: BaseException
) -> Plan | None:
    """A plan of fewer shipments, in the place of one that failed with `error`.

    `before` is the plan of the last batch; `folders` are the folders that leaves of files load. None
    when there is one shipment only, or no order of shipments. A file that the error names, and all
    after it, are left out; where it names none, half of the shipments are.
    """
    if plan.cut + 1 >= MOST_CUTS:
        return None
    problem = explain(error)
    inputs: dict[str, Input] = {}
    for key, found in plan.inputs.items():
        if key not in folders or not isinstance(found, FilesInput):
            continue
        starts = shipment_starts(found, folders[key])
        known = _known_shipments(found, starts, before, key) if plan.replaces else 0
        at = None if problem is None else _shipment_with(found, starts, problem.file)
        if len(starts) - known <= 1:
            if at is not None:
                return None
            continue
        half = known + (len(starts) - known) // 2
        end = half if at is None else at if plan.cut == 0 else min(at, half)
        if problem is None or at is not None:
            inputs[key] = first_shipments(found, max(end, known + 1), folders[key])
    return replace(plan, inputs={**plan.inputs, **inputs}, cut=plan.cut + 1) if inputs else None


def first_shipments(found: FilesInput, count: int, folder: str) -> FilesInput:
    """The first `count` shipments of what a leaf reads."""
    starts = shipment_starts(found, folder)
    if count >= len(starts):
        return found
    rest = found.files[starts[count] :]
    through = found.through
    if through is not None:
        positions = dict(through)
        for file in rest:
            source = _source(file.path, folder, through)
            positions[source] = min(positions[source], file.shipment - 1)
        through = positions
    return FilesInput(found.files[: starts[count]], through)


def shipment_starts(found: FilesInput, folder: str) -> list[int]:
    """Where in the files of a leaf another shipment begins; empty where no manifest numbers them."""
    if not all(file.shipment for file in found.files):
        return []
    several = found.through is None or len(found.through) > 1
    names = [(_top(file.path, folder) if several else "", file.shipment) for file in found.files]
    return [at for at, name in enumerate(names) if at == 0 or name != names[at - 1]]


def most_shipments(plan: Plan, folders: Mapping[str, str]) -> int:
    """How many shipments a leaf reads at most; `folders` as for `cut_plan`."""
    counts = [
        len(shipment_starts(found, folders[key]))
        for key, found in plan.inputs.items()
        if key in folders and isinstance(found, FilesInput)
    ]
    return max([1, *counts])


def in_shipment(plan: Plan, folders: Mapping[str, str], error: UserError) -> UserError:
    """The error, saying in which shipment it is: of a batch that consists of one."""
    files = [
        (key, file)
        for key, found in plan.inputs.items()
        if key in folders and isinstance(found, FilesInput)
        for file in found.files
    ]
    numbers = {(key, file.shipment) for key, file in files}
    if len(numbers) != 1 or explain(error) is not None or plan.replaces:
        return error
    key, number = numbers.pop()
    if not number:
        return error
    first = files[0][1].path.removeprefix(f"{folders[key]}/")
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    kind = DataError if isinstance(error, DataError) else UserError
    said = kind(f"in shipment {number} ({first!r}{more}): {error}", condition=error.condition)
    said.__cause__ = error
    return said


def _known_shipments(found: FilesInput, starts: list[int], before: Plan | None, key: str) -> int:
    """How many shipments at the beginning the batch before has read as well."""
    last = None if before is None else before.inputs.get(key)
    if not isinstance(last, FilesInput):
        return 0
    known = {file.path for file in last.files}
    ends = [*starts[1:], len(found.files)]
    count = 0
    for start, end in zip(starts, ends, strict=False):
        if not all(file.path in known for file in found.files[start:end]):
            break
        count += 1
    return count


def _shipment_with(found: FilesInput, starts: list[int], file: str) -> int | None:
    """Which of the shipments has the file, counted from 0; None when none has."""
    at = next((i for i, each in enumerate(found.files) if each.path.endswith(file)), None)
    return None if at is None or not starts else sum(start <= at for start in starts) - 1


def _source(path: str, folder: str, through: Mapping[str, int]) -> str:
    """The source that a file is of."""
    return next(iter(through)) if len(through) == 1 else _top(path, folder)


def _top(path: str, folder: str) -> str:
    return path.removeprefix(f"{folder}/").partition("/")[0]
