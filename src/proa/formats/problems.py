"""What went wrong while a worker read files, carried back through the engine's error text.

The engine hands a worker's exception to the driver as text, cut at about two thousand characters.
So a problem is one short JSON object between two marks.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from proa.errors import DataError, ProaError, UnavailableError

_BEGIN, _END = "PROA-READ-PROBLEM:", ":PROA-END"
_MARKED = re.compile(re.escape(_BEGIN) + r"(\{.*?\})" + re.escape(_END), re.DOTALL)
_DETAIL, _FIELDS, MAX_FIELD = 300, 10, 60
"""Characters of a detail, number of fields and characters of a field's name that travel."""


class ProblemKind(StrEnum):
    """Why a batch of files could not be read."""

    NEW_FIELDS = "new_fields"
    WIDER = "wider"
    MISSING = "missing"
    CHANGED = "changed"
    CORRUPT = "corrupt"
    LARGE = "large"
    MALFORMED = "malformed"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class Problem:
    """One problem of one file."""

    kind: ProblemKind
    file: str
    detail: str = ""
    fields: tuple[str, ...] = ()

    def error(self) -> ProaError:
        """The problem as an error of Proa's."""
        if self.kind is ProblemKind.UNAVAILABLE:
            return UnavailableError(f"cannot read the file {self.file!r}: {self.detail}")
        condition, text = _MESSAGES[self.kind]
        return DataError(
            text.format(file=self.file, detail=self.detail, fields=", ".join(self.fields)),
            condition=condition,
        )


_MESSAGES = {
    ProblemKind.NEW_FIELDS: (
        "UNKNOWN_FIELD_EXCEPTION",
        (
            "the file {file!r} has fields that the schema lacks: {fields}; add them to the schema or"
            " to schemaHints, take the file away, or choose another cloudFiles.schemaEvolutionMode"
        ),
    ),
    ProblemKind.WIDER: (
        "UNKNOWN_FIELD_EXCEPTION",
        "the file {file!r} has values that need a wider type: {fields}",
    ),
    ProblemKind.MISSING: (
        "CF_FILE_NOT_FOUND",
        (
            "the file {file!r} was discovered but is gone; put it back (proa check-zone --repair"
            " fetches a shipped file), or set ignoreMissingFiles to true to go on without it"
        ),
    ),
    ProblemKind.CHANGED: (
        "CF_FILE_MODIFIED",
        (
            "the file {file!r} was changed after it was discovered ({detail}); publish files whole"
            " under their final names, or set cloudFiles.allowOverwrites to true to read it as it is"
        ),
    ),
    ProblemKind.CORRUPT: (
        "FAILED_READ_FILE",
        (
            "cannot read the file {file!r}: {detail}; mend or remove it, or set ignoreCorruptFiles to"
            " true to go on without it"
        ),
    ),
    ProblemKind.LARGE: (
        "FAILED_READ_FILE",
        (
            "cannot read the file {file!r}: {detail}; raise the option maxRecordBytes if it is as it"
            " should be, or set ignoreCorruptFiles to true to go on without it"
        ),
    ),
    ProblemKind.MALFORMED: (
        "MALFORMED_RECORD_IN_PARSING",
        (
            "the file {file!r} has a malformed record: {detail}; mend it, or set mode to PERMISSIVE"
            " to keep it aside"
        ),
    ),
}


class ReadError(Exception):
    """Raised in a worker; its text carries `problem`."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        packed: dict[str, Any] = {
            "kind": problem.kind,
            "file": problem.file[-300:],
            "detail": problem.detail[:_DETAIL],
            "fields": [name[:MAX_FIELD] for name in problem.fields[:_FIELDS]],
        }
        super().__init__(f"{_BEGIN}{json.dumps(packed)}{_END}")


def explain(error: BaseException) -> Problem | None:
    """The problem that a worker reported, when `error` carries one."""
    if isinstance(error, ReadError):
        return error.problem
    match = _MARKED.search(str(error))
    if match is None:
        return explain(error.__cause__) if error.__cause__ is not None else None
    found = json.loads(match.group(1))
    return Problem(
        ProblemKind(found["kind"]), found["file"], found["detail"], tuple(found["fields"])
    )
