"""The mistakes of a pipeline, all at once, so that people can mend them all at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from proa.errors import PipelineError, SeveralMistakesError, SourceLocation


class Mistakes:
    """Collects what is wrong while a pipeline is planned, each mistake once."""

    def __init__(self) -> None:
        self.errors: list[PipelineError] = []

    def add(self, error: PipelineError) -> None:
        """Note a mistake, unless it is noted already; of two, the one that has a place is kept."""
        for index, known in enumerate(self.errors):
            if known.args == error.args and (
                known.location == error.location or None in {known.location, error.location}
            ):
                self.errors[index] = known if known.location else error
                return
        self.errors.append(error)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Note what is wrong inside, and go on."""
        try:
            yield
        except PipelineError as error:
            self.add(error)

    def check(self) -> None:
        """Raise the mistake, or all of them, in the order of their places."""
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            raise SeveralMistakesError(sorted(self.errors, key=_place))


def _place(error: PipelineError) -> tuple[str, int]:
    at = error.location or SourceLocation("", 0)
    return at.file, at.line
