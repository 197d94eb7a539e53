"""The errors Proa raises, by what the caller should do about them.

    ProaError
    ├── UserError          mend the input: the pipeline, a setting, a command; never retried
    │   ├── PipelineError  a mistake in a pipeline's source, found before anything ran
    │   │   └── SeveralMistakesError  several of them
    │   ├── SettingsError  a mistake in proa.yml or spark-pipeline.yml
    │   └── DataError      the data broke a rule the user set (an expectation, a schema)
    ├── ConflictError      somebody else was first: look again, then decide
    └── UnavailableError   not now: a store or an engine did not answer; worth another try
        └── UnknownOutcome the effect may have happened: look before you retry

A message says what happened, to what, and what to do now. `condition` is the machine's
name of the mistake; where Apache Spark names it, it is Spark's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class SourceLocation:
    """Where in the user's source something stands. Lines and columns (characters) count from 1."""

    file: str
    line: int
    column: int | None = None
    """None where only the line is known."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}"
        return place if self.column is None else f"{place}:{self.column}"


def raised_at(error: BaseException, declared: SourceLocation) -> SourceLocation:
    """The last line of the user's file in an error's traceback; `declared` when it is not there."""
    found, frame = declared, error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename.endswith(declared.file):
            found = SourceLocation(declared.file, frame.tb_lineno)
        frame = frame.tb_next
    return found


class ProaError(Exception):
    """Base of everything Proa raises on purpose."""

    condition = "PROA_ERROR"
    about = ""
    """The name in the user's query that an engine does not know; empty for what is about no name."""

    def __init__(self, message: str, *, condition: str | None = None) -> None:
        super().__init__(message)
        if condition is not None:
            self.condition = condition


class UserError(ProaError):
    """The input is wrong; trying again without mending it is useless."""

    condition = "USER_ERROR"


class PipelineError(UserError):
    """A mistake in a pipeline's source. `location` is where the user wrote it, when known."""

    condition = "PIPELINE_ERROR"

    def __init__(
        self,
        message: str,
        *,
        condition: str | None = None,
        location: SourceLocation | None = None,
    ) -> None:
        super().__init__(message, condition=condition)
        self.location = location

    def __str__(self) -> str:
        where = f" ({self.location})" if self.location else ""
        return f"[{self.condition}] {self.args[0]}{where}"


class SeveralMistakesError(PipelineError):
    """Several mistakes in a pipeline's source; condition and place are the first one's."""

    def __init__(self, errors: Sequence[PipelineError]) -> None:
        first = errors[0]
        super().__init__(str(first.args[0]), condition=first.condition, location=first.location)
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(map(str, self.errors))


class SettingsError(UserError):
    """A mistake in a settings file, an option or an environment variable.

    `keys` lead to its place in the file, when the mistake has one.
    """

    condition = "INVALID_SETTING"

    def __init__(
        self, message: str, *, condition: str | None = None, keys: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, condition=condition)
        self.keys = keys


class DataError(UserError):
    """The data broke a rule that the pipeline set."""

    condition = "INVALID_DATA"


class ConflictError(ProaError):
    """Another writer was first. Nothing of ours happened: look at the new state, then decide."""

    condition = "CONFLICT"


class UnavailableError(ProaError):
    """A store, an engine or a region did not answer. Nothing happened; another try may succeed."""

    condition = "UNAVAILABLE"


class UnknownOutcome(UnavailableError):  # noqa: N818 - it may well be a success
    """The request was sent and no answer came: it may have happened. Look before retrying."""

    condition = "UNKNOWN_OUTCOME"


def one_line(error: object) -> str:
    """What a library says over several lines, as part of a sentence."""
    return " ".join(str(error).split())
