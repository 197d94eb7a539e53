"""Lives of `proa serve` that die, or lose their workers, at one moment.

It imports everything once and forks a process for each life that it is asked for on standard input:

    {"do": "start", "moment": FILE, "arguments": ["serve", ...], "out": FILE, "log": FILE}  -> pid
    {"do": "wait", "pid": 123}  -> exit code
    {"do": "kill", "pid": 123}  -> exit code

A life looks into the file of its moment before every step; it may hold, as JSON:

    {"table": "updates", "value": "RUNNING", "when": "before", "victim": "server"}
    {"step": "work.begin", "when": "after", "victim": "workers"}

The first means the transaction that writes this value into a row of this table. The file becomes
`FILE.struck`, with the numbers of the workers of that moment, and the signal falls: a real SIGKILL.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
import threading
from pathlib import Path

from sqlalchemy import Engine, event

import proa.region.server  # noqa: F401 - imported here, once for all lives
from proa.cli.main import main
from proa.steps import Step, probing

WRITES = re.compile(r"\s*(?:INSERT INTO|UPDATE) (\w+)")


class Moment:
    """Kills when what the file says comes to pass."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._written = threading.local()
        event.listen(Engine, "begin", self._begun)
        event.listen(Engine, "before_cursor_execute", self._executed)

    def before(self, step: Step) -> None:
        self._strike(step, "before")

    def after(self, step: Step) -> None:
        self._strike(step, "after")

    def _begun(self, _connection: object) -> None:
        self._written.pairs = set()

    def _executed(self, _c, _cursor, statement, parameters, _context, many) -> None:
        if found := WRITES.match(statement):
            for row in parameters if many else [parameters]:
                values = row.values() if isinstance(row, dict) else row
                self._written.pairs |= {(found[1], str(value)) for value in values}

    def _strike(self, step: Step, when: str) -> None:
        try:
            asked = json.loads(self._file.read_text())
        except FileNotFoundError:
            return
        if asked["when"] != when:
            return
        if "step" in asked:
            if asked["step"] != step:
                return
        elif step is not Step.STATE_WRITE or (
            (asked["table"], asked["value"]) not in self._written.pairs
        ):
            return
        workers = children()
        self._file.unlink()
        hidden = self._file.with_suffix(".new")
        hidden.write_text(json.dumps(workers))
        hidden.rename(self._file.with_suffix(".struck"))
        for pid in workers if asked["victim"] == "workers" else [os.getpid()]:
            os.kill(pid, signal.SIGKILL)


def children() -> list[int]:
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        found |= {int(pid) for pid in (task / "children").read_text().split()}
    return sorted(found)


def live(asked: dict[str, object]) -> None:
    """Be a server, in a process that was just forked."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(os.open(asked["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    os.dup2(os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    sys.argv = ["proa", *asked["arguments"]]
    with probing(Moment(Path(asked["moment"]))):
        main()


def answer(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def serve_lives() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["do"] == "kill":
            with contextlib.suppress(ProcessLookupError):
                os.kill(asked["pid"], signal.SIGKILL)
        if asked["do"] in {"kill", "wait"}:
            _, status = os.waitpid(asked["pid"], 0)
            answer(os.waitstatus_to_exitcode(status))
            continue
        pid = os.fork()
        if pid == 0:
            try:
                live(asked)
            except SystemExit as end:
                os._exit(end.code if isinstance(end.code, int) else 0)
            finally:
                os._exit(70)
        answer(pid)


if __name__ == "__main__":
    serve_lives()
