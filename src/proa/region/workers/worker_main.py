"""A worker process: `python -m proa.region.workers.worker_main`. See `pool` for the other end.

It imports everything, says it is ready, does one piece of work and ends. What the user's code
prints goes to standard error, so that nothing can break into the protocol.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from proa.region.workers.failures import failure_object
from proa.region.workers.port import Inbox

Say = Callable[..., None]
Task = Callable[[Mapping[str, Any], Say, Inbox], Mapping[str, Any]]


def main() -> None:
    """Read what to do, do it, end."""
    replies = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    say = _speaker(replies)
    tasks = _tasks()
    say("ready")
    first = requests.readline()
    if not first:
        return
    message = json.loads(first)
    inbox = Inbox()
    threading.Thread(
        target=_listen, args=(requests, inbox, message["work"]["scratch"]), daemon=True
    ).start()
    task = tasks[message["kind"]]
    try:
        answer = dict(task(message["work"], say, inbox))
    except BaseException as error:  # noqa: BLE001 - the top: SystemExit of user code included
        answer = failure_object(error)
    sys.stdout.flush()
    sys.stderr.flush()
    say("end", **answer)
    os._exit(0)


def _tasks() -> Mapping[str, Task]:
    """What a worker can do, by kind; imports everything that any kind needs."""
    from proa.region.workers import run_notebook, run_script, run_update, warehouse

    run_notebook.warm()
    return {
        "notebook": run_notebook.run,
        "script": run_script.run,
        "update": run_update.run,
        "warehouse": warehouse.run,
    }


def _speaker(replies: TextIO) -> Say:
    lock = threading.Lock()

    def say(kind: str, **data: Any) -> None:
        line = json.dumps({"type": kind, **data}, default=str)
        with lock:
            replies.write(line + "\n")
            replies.flush()

    return say


def _listen(requests: TextIO, inbox: Inbox, scratch: str) -> None:
    for line in requests:
        inbox.hear(json.loads(line))
    # The server is gone, or has what it wanted: nobody waits for this process any more, nor for
    # those that the user's code has started.
    shutil.rmtree(scratch, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
