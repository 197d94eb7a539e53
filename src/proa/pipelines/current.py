"""The pipeline whose code is running, as the names that it imports see it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from proa.errors import PipelineError, SourceLocation
from proa.pipelines.places import seen_from
from proa.pipelines.session import DeclaringSession, user_location


@dataclass(frozen=True)
class Place:
    """Where a pipeline's code runs: the project's folder and the session it sees as `spark`."""

    root: Path
    session: DeclaringSession

    def shown(self, location: SourceLocation | None) -> SourceLocation | None:
        """`location` with its file as seen from the root, when it lies below."""
        if location is None:
            return None
        return SourceLocation(seen_from(self.root, location.file), location.line)


running: list[Place] = []
"""The innermost last. Only `Environment.entered` changes it, one thread at a time."""


def current_session() -> DeclaringSession:
    """The session of the pipeline whose code is running; PipelineError when none is."""
    if not running:
        raise PipelineError(
            "a dataset can only be read while a pipeline is loaded, in its query functions",
            condition="GRAPH_ELEMENT_DEFINED_OUTSIDE_OF_DECLARATIVE_PIPELINE",
            location=caller(),
        )
    return running[-1].session


def caller() -> SourceLocation | None:
    """The line of the user's code that is calling, its file as seen from the pipeline's root."""
    location = user_location()
    return running[-1].shown(location) if running else location
