"""What went wrong in an engine, said in Proa's own kinds of errors.

An error that Proa itself raises inside an engine's worker (a reader met a broken file, the writer
a full disk) arrives as the kind and with the message it was raised with: see `carried_errors`.
"""

from __future__ import annotations

import re
from pathlib import Path

from proa.engine.carried_errors import unpack
from proa.engine.data_errors import data_error
from proa.engine.gaps import reword
from proa.engine.worker_code import lacking_library
from proa.errors import ProaError, UnavailableError, UserError

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


def translate(error: BaseException) -> ProaError:
    """`error`, raised by a Spark Connect client, as one of Proa's kinds."""
    if isinstance(error, ProaError):
        return error
    text = str(error)
    names = {cls.__name__ for cls in type(error).__mro__}
    in_python = "PythonException" in names
    own = unpack(text) or lacking_library(text) or (None if in_python else data_error(text))
    if own is not None:
        return own
    message = text.strip() or type(error).__name__
    if in_python:
        return UserError(_python_failed(message), condition=PYTHON_FAILED)
    if names & _USERS:
        if (said := reword(message)) is not None:
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
