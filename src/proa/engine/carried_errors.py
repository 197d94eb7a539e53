"""Errors of Proa's own code in an engine's workers, carried to the caller as what they are.

They cross the wire as text: `carry_errors()` packs an error there, `unpack()` makes it again here. Apart
because workers import it, and nothing else of an engine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

from proa.errors import (
    ConflictError,
    DataError,
    PipelineError,
    ProaError,
    SettingsError,
    UnavailableError,
    UnknownOutcome,
    UserError,
)

_KINDS: dict[str, type[ProaError]] = {
    kind.__name__: kind
    for kind in (
        ProaError,
        UserError,
        PipelineError,
        SettingsError,
        DataError,
        ConflictError,
        UnavailableError,
        UnknownOutcome,
    )
}
_OPEN, _CLOSE = "<proa-error>", "</proa-error>"
_CARRIED = re.compile(f"{re.escape(_OPEN)}(.*?){re.escape(_CLOSE)}", re.DOTALL)


class _CarriedError(Exception):
    """A ProaError on its way out of an engine's worker."""


@contextmanager
def carry_errors() -> Iterator[None]:
    """Let a ProaError that is raised inside reach the caller of the engine as what it is."""
    try:
        yield
    except ProaError as error:
        kind = next(c.__name__ for c in type(error).__mro__ if c.__name__ in _KINDS)
        packed = json.dumps(
            {"kind": kind, "message": str(error.args[0]), "condition": error.condition}
        )
        raise _CarriedError(f"{_OPEN}{packed}{_CLOSE}") from error


def carried_error(text: str) -> ProaError | None:
    """Make the error that `text` carries. Returns None if it carries none."""
    packed = _CARRIED.search(text)
    if packed is None:
        return None
    fields = json.loads(packed.group(1))
    kind = _KINDS.get(fields["kind"], ProaError)
    return kind(fields["message"], condition=fields["condition"])
