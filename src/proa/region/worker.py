"""A worker process: `python -m proa.region.worker`. See `pool` for the other end.

It imports everything, says it is ready, does one piece of work and ends. What the user's code
prints goes to standard error, so that nothing can break into the protocol.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, TextIO

from proa.errors import PipelineError, ProaError, UserError

Say = Callable[..., None]


def main() -> None:
    """Read what to do, do it, end."""
    replies = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    say = _speaker(replies)
    from proa.region.tasks import TASKS, warm

    warm()
    say("ready")
    first = requests.readline()
    if not first:
        return
    message = json.loads(first)
    stop = threading.Event()
    threading.Thread(target=_listen, args=(requests, stop), daemon=True).start()
    task = TASKS[message["kind"]]
    try:
        answer = dict(task(message["work"], say, stop))
    except BaseException as error:  # noqa: BLE001 - the top: SystemExit of user code included
        work = message["work"]
        answer = failed(error, own=work.get("path", ""), folder=work.get("folder", ""))
    sys.stdout.flush()
    sys.stderr.flush()
    say("end", **answer)
    os._exit(0)


def failed(error: BaseException, own: str = "", folder: str = "") -> dict[str, Any]:
    """The end of work that raised `error`: condition, sentence, and the user's lines first.

    `own` is the user's file, or `folder` the folder with all of them, which is cut from names.
    """
    frames = traceback.extract_tb(error.__traceback__)
    users = [frame for frame in frames if _is_users(frame.filename, own, folder)]
    others = [frame for frame in frames if frame not in users]
    where = ""
    if users and not isinstance(error, PipelineError):
        where = f"{_shown(users[-1].filename, folder)}:{users[-1].lineno}: "
    text = _shown(str(error), folder) or type(error).__name__
    if isinstance(error, SystemExit):
        text = f"the pipeline's code called exit({error.code!r})"
    return {
        "outcome": "FAILED",
        "condition": error.condition if isinstance(error, ProaError) else type(error).__name__,
        "error": where + text,
        "retryable": not isinstance(error, UserError | SystemExit | SyntaxError),
        "stack": [
            {
                "declaring_class": _shown(frame.filename, folder),
                "method_name": frame.name,
                "file_name": _shown(frame.filename, folder),
                "line_number": frame.lineno,
            }
            for frame in (*reversed(users), *reversed(others))
        ],
    }


def _is_users(name: str, own: str, folder: str) -> bool:
    return bool(own and name == own) or bool(folder and name.startswith(folder))


def _shown(text: str, folder: str) -> str:
    return text.replace(folder, "") if folder else text


def _speaker(replies: TextIO) -> Say:
    lock = threading.Lock()

    def say(kind: str, **data: Any) -> None:
        line = json.dumps({"type": kind, **data}, default=str)
        with lock:
            replies.write(line + "\n")
            replies.flush()

    return say


def _listen(requests: TextIO, stop: threading.Event) -> None:
    for line in requests:
        if json.loads(line)["type"] == "stop":
            stop.set()
    # The server is gone, or has what it wanted: nobody waits for this process any more.
    os._exit(1)


if __name__ == "__main__":
    main()
