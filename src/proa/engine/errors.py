"""What went wrong in an engine, said in Proa's own kinds of errors.

An error that Proa itself raises inside an engine's worker (a reader met a broken file, the writer
a full disk) crosses the wire as text. `carried()` packs it there and `translate` unpacks it here,
so that it arrives as the kind and with the message it was raised with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from proa.engine.gaps import spoken
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

_USERS = frozenset(
    {
        "AnalysisException",
        "ArithmeticException",
        "ArrayIndexOutOfBoundsException",
        "DateTimeException",
        "IllegalArgumentException",
        "NumberFormatException",
        "ParseException",
        "PythonException",
        "SparkUpgradeException",
        "UnsupportedOperationException",
    }
)
_IMPOSSIBLE = re.compile(
    r"watermark|session_window|not (?:yet )?(?:implemented|supported)", re.IGNORECASE
)


PYTHON_FAILED = "PYTHON_FAILED"
"""The condition of a UserError that stands for an exception in the user's own Python code."""
_OWN = re.escape(str(Path(__file__).parent.parent))
_OTHERS = re.compile(rf'"(?:spark\.py|<[^"]*>|[^"]*/site-packages/[^"]*|{_OWN}/[^"]*)"')


class _CarriedError(Exception):
    """A ProaError on its way out of an engine's worker."""


@contextmanager
def carried() -> Iterator[None]:
    """Let a ProaError that is raised inside reach the caller of the engine as what it is."""
    try:
        yield
    except ProaError as error:
        kind = next(c.__name__ for c in type(error).__mro__ if c.__name__ in _KINDS)
        packed = json.dumps(
            {"kind": kind, "message": str(error.args[0]), "condition": error.condition}
        )
        raise _CarriedError(f"{_OPEN}{packed}{_CLOSE}") from error


def translate(error: BaseException) -> ProaError:
    """`error`, raised by a Spark Connect client, as one of Proa's kinds."""
    if isinstance(error, ProaError):
        return error
    text = str(error)
    packed = _CARRIED.search(text)
    if packed:
        found = json.loads(packed.group(1))
        kind = _KINDS.get(found["kind"], ProaError)
        return kind(found["message"], condition=found["condition"])
    names = {cls.__name__ for cls in type(error).__mro__}
    message = text.strip() or type(error).__name__
    if "PythonException" in names:
        return UserError(_python_failed(message), condition=PYTHON_FAILED)
    if names & _USERS:
        if (said := spoken(message)) is not None:
            return UserError(said[1], condition=said[0])
        condition = getattr(error, "getCondition", lambda: None)() or "ENGINE_REFUSED"
        remedy = (
            "; this engine lacks it: use an Apache Spark Connect server"
            " (engine: {remote: sc://host:15002})"
            if _IMPOSSIBLE.search(message)
            else ""
        )
        return UserError(f"the engine refused the query: {message}{remedy}", condition=condition)
    details = getattr(error, "details", lambda: None)() or message  # gRPC's errors are many lines
    return UnavailableError(f"the engine failed: {details}", condition="ENGINE_FAILED")


def _python_failed(message: str) -> str:
    """What went wrong, where in the user's code, and the way there without other people's code."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    frames = [
        (line, code)
        for line, code in zip(lines, [*lines[1:], ""], strict=True)
        if line.startswith('File "') and not _OTHERS.search(line)
    ]
    what = lines[-1] if lines else message
    said = f"Python code of the pipeline failed in the engine: {what}"
    found = re.match(r'File "(.*)", line (\d+)', frames[-1][0]) if frames else None
    if found is not None:
        said += f" ({found.group(1)}:{found.group(2)})"
    way = "".join(f"\n  {line}\n    {code}" for line, code in frames)
    return said + way
