"""How work that raised an error is reported: condition, sentence, and the user's lines first."""

from __future__ import annotations

import traceback
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from proa.errors import PipelineError, ProaError, UserError

_HERE = str(Path(__file__).parent.parent)
"""The folder of Proa's own code."""


def failure_object(
    error: BaseException, own: Collection[str] = (), folder: str = ""
) -> dict[str, Any]:
    """The end of work that raised `error`.

    `own` are the user's files, or `folder` the folder with all of them, which is cut from names.
    """
    frames = [frame for link in _chain(error) for frame in traceback.extract_tb(link.__traceback__)]
    users = [frame for frame in frames if _is_users(frame.filename, own, folder)]
    # What called the user's code says nothing about it.
    others = [frame for frame in frames if frame not in users and not (users and _is_ours(frame))]
    where = ""
    if users and not isinstance(error, PipelineError):
        where = f"{_shown_text(users[-1].filename, folder)}:{users[-1].lineno}: "
    text = _shown_text(str(error), folder) or type(error).__name__
    if not isinstance(error, ProaError) and not text.startswith(type(error).__name__):
        text = f"{type(error).__name__}: {text}"
    if isinstance(error, SystemExit):
        text = f"the code called exit({error.code!r})"
    return {
        "outcome": "FAILED",
        "condition": error.condition if isinstance(error, ProaError) else type(error).__name__,
        "error": where + text,
        "retryable": not isinstance(error, UserError | SystemExit | SyntaxError),
        "stack": [
            {
                "declaring_class": _shown_text(frame.filename, folder),
                "method_name": frame.name,
                "file_name": _shown_text(frame.filename, folder),
                "line_number": frame.lineno,
            }
            for frame in (*reversed(users), *reversed(others))
        ],
    }


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what caused it, the outermost first."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _is_users(name: str, own: Collection[str], folder: str) -> bool:
    return name in own or bool(folder and name.startswith(folder))


def _is_ours(frame: traceback.FrameSummary) -> bool:
    return frame.filename.startswith(_HERE)


def _shown_text(text: str, folder: str) -> str:
    return text.replace(folder, "") if folder else text
