"""Worker processes: one for each piece of work, warm before it comes, gone after it.

A worker is `python -m proa.region.workers.worker_main`. It reads JSON lines from standard input and writes JSON
lines to standard output; what the user's code prints comes on standard error. When the server dies
the worker's standard input ends, and the worker ends itself, with the processes it has started; what
does not even notice that is ended by the next server (see `scratch`).
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import structlog

from proa.clock import Clock
from proa.region.workers import scratch
from proa.region.workers.port import Report, Work, WorkHandle
from proa.region.workers.scratch import Scratch

_WATCH_S = 0.25
_GRACE_S = 5.0
_REFILL_S = 10.0
_MAX_LINE = 16 * 1024
_MAX_OUTPUT = 256 * 1024
"""How much of what one piece of work prints is kept, in bytes."""

_log = structlog.get_logger("proa.region")


class _Process:
    """One worker process and the work it was given, if any."""

    def __init__(self, pool: Pool, scratch_of_server: Scratch) -> None:
        self._pool = pool
        self._scratch_of_server = scratch_of_server
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "proa.region.workers.worker_main"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={
                **os.environ,
                "PYTHONUNBUFFERED": "1",
                "RUST_LOG": "error",
                scratch.VARIABLE: str(scratch_of_server.path),
            },
            start_new_session=True,
        )
        self._work: Work | None = None
        self._report: Callable[[Report], None] | None = None
        self._scratch: str | None = None
        self._ended = False
        self._why: str | None = None
        # A frozen worker reads nothing, and whoever tells it something must not wait for it.
        self._outbox: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._output = threading.Thread(target=self._read_output, daemon=True)
        self._threads = [
            threading.Thread(target=self._read_reports, daemon=True),
            threading.Thread(target=self._write, daemon=True),
            self._output,
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def counts(self) -> bool:
        """Whether it takes one of the places; the one warehouse does not."""
        return self._work is None or self._work.kind != "warehouse"

    @property
    def alive(self) -> bool:
        return self._popen.poll() is None

    def begin(self, work: Work, report: Callable[[Report], None]) -> None:
        self._work, self._report = work, report
        self._scratch = self._scratch_of_server.new()
        payload = {**work.payload, "scratch": self._scratch}
        self._send({"type": "run", "kind": work.kind, "work": payload})

    def stop(self) -> None:
        self._send({"type": "stop"})

    def send(self, **message: Any) -> None:
        self._send(message)

    def kill(self, why: str = "it was ended by the region's server") -> None:
        self._why = self._why or why
        self._end_group()

    def bury(self) -> None:
        """End what it has left running, if it has ended: that would keep its place for ever."""
        with contextlib.suppress(ChildProcessError):
            options = os.WEXITED | os.WNOHANG | os.WNOWAIT
            # It stays a zombie meanwhile, so that no stranger can have its number.
            if os.waitid(os.P_PID, self.pid, options) is not None:
                self._end_group()

    def _end_group(self) -> None:
        if self._popen.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, 9)

    def over_memory(self, limit: int) -> bool:
        """End it when it uses more than `limit` bytes."""
        used = _resident(self.pid)
        if used <= limit:
            return False
        self.kill(
            f"it used {used >> 20} MB of memory, {limit >> 20} MB are allowed; raise"
            " server.worker_memory_mb, or read less at once (cloudFiles.maxBytesPerTrigger)"
        )
        return True

    def wait(self) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(_GRACE_S)
        for thread in self._threads:
            thread.join(_GRACE_S)

    def _send(self, message: dict[str, Any]) -> None:
        self._outbox.put(message)

    def _write(self) -> None:
        assert self._popen.stdin is not None
        # A worker that is gone says so by the end of its output.
        with contextlib.suppress(OSError):
            for message in iter(self._outbox.get, None):
                self._popen.stdin.write(json.dumps(message).encode() + b"\n")
                self._popen.stdin.flush()
        with contextlib.suppress(OSError):
            self._popen.stdin.close()

    def _read_reports(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            data = _parse_line(line)
            if data is None:  # it died in the middle of a line
                break
            kind = data.pop("type")
            if kind == "end":
                self._close_input()
                self._output.join(_GRACE_S)
                self._end(data)
            elif kind != "ready":
                self._say(kind, data)
        self._output.join(_GRACE_S)
        code = self._popen.wait()
        self._end({"outcome": "CRASHED", "condition": "WORKER_CRASHED", "error": self._death(code)})
        self._close_input()
        self._popen.stdout.close()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
        self._pool.on_exit(self)

    def _read_output(self) -> None:
        assert self._popen.stderr is not None
        left = _MAX_OUTPUT
        for text in _pieces(self._popen.stderr):
            if left > 0 and text.strip():
                left -= len(text)
                cut = "" if left > 0 else "\n... the rest of the output was left out"
                self._say("output", {"text": text.rstrip("\n") + cut})
        self._popen.stderr.close()

    def _say(self, kind: str, data: dict[str, Any]) -> None:
        if self._work is not None and self._report is not None:
            self._report(Report(self._work.work_id, kind, data))

    def _end(self, data: dict[str, Any]) -> None:
        if not self._ended:
            self._ended = True
            self._say("end", data)

    def _death(self, code: int) -> str:
        if self._why is not None:
            return f"the worker process of this update was ended: {self._why}"
        if code < 0:
            return (
                f"the worker process of this update was killed by signal {-code}"
                + (" (out of memory?)" if code == -9 else "")
                + "; what it had committed stays, the rest was not done"
            )
        return (
            f"the worker process of this update ended by itself with code {code}: the pipeline's"
            " code, or a library it uses, called exit"
        )

    def _close_input(self) -> None:
        self._outbox.put(None)


class Pool:
    """The worker processes of one server."""

    def __init__(self, clock: Clock, *, limit: int, warm: int, memory: int) -> None:
        self._clock = clock
        self._limit = limit
        self._warm = min(warm, limit)
        self._cores = os.cpu_count() or 1
        self._memory = memory
        self._idle: list[_Process] = []
        self._busy: list[_Process] = []
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._scratch = Scratch()
        self._watch = threading.Thread(target=self._watch_over, name="proa-pool", daemon=True)

    def open(self) -> None:
        """End what a dead server left, warm the first processes and begin to watch."""
        scratch.end_leftovers()
        self._fill()
        self._watch.start()

    def free(self) -> int:
        with self._lock:
            busy = sum(process.counts for process in self._busy)
            return 0 if self._closed.is_set() else self._limit - busy

    @property
    def pids(self) -> list[int]:
        """The processes that live, busy ones first."""
        with self._lock:
            return [process.pid for process in (*self._busy, *self._idle)]

    def start(self, work: Work, report: Callable[[Report], None]) -> WorkHandle:
        with self._lock:
            process = None
            while self._idle and process is None:
                candidate = self._idle.pop(0)
                process = candidate if candidate.alive else None
            if process is None:
                process = _Process(self, self._scratch)
            self._busy.append(process)
        process.begin(work, report)
        return process

    def on_exit(self, process: _Process) -> None:
        """Called by a process that ended."""
        with self._lock:
            for group in (self._idle, self._busy):
                if process in group:
                    group.remove(process)

    def close(self) -> None:
        self._closed.set()
        with self._lock:
            everyone = [*self._idle, *self._busy]
        for process in everyone:
            process.kill()
        for process in everyone:
            process.wait()
        if self._watch.is_alive():
            self._watch.join()
        self._scratch.close()

    def _fill(self) -> None:
        with self._lock:
            self._idle = [process for process in self._idle if process.alive]
            while len(self._idle) < self._warm and not self._closed.is_set():
                self._idle.append(_Process(self, self._scratch))

    def _watch_over(self) -> None:
        refill_at = 0.0
        while not self._clock.wait(_WATCH_S, self._closed):
            with self._lock:
                busy, everyone = list(self._busy), [*self._busy, *self._idle]
            for process in everyone:
                process.bury()
            for process in busy:
                process.over_memory(self._memory)
            # Importing takes a core for seconds. While one is free the next spare is warmed at once,
            # so that of a burst only the first few wait for it; else now and then.
            now = self._clock.monotonic()
            if sum(process.counts for process in busy) < self._cores or now >= refill_at:
                refill_at = now + _REFILL_S
                try:
                    self._fill()
                except OSError as error:
                    _log.warning("no spare worker could be started", error=str(error))


def _pieces(stream: IO[bytes]) -> Any:
    """What was written, in pieces of whole lines as they come."""
    while data := os.read(stream.fileno(), _MAX_LINE):
        yield data.decode("utf-8", "replace")


def _parse_line(line: bytes) -> dict[str, Any] | None:
    """A report's line, its text such that every database stores it; None for half a line."""
    if not line.endswith(b"\n"):
        return None
    found: dict[str, Any] = json.loads(line)
    return _storable(found) if b"\\u0000" in line or b"\\ud" in line else found


def _storable(value: Any) -> Any:
    """The value without the characters that UTF-8 or PostgreSQL do not have."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_storable(item) for item in value]
    return value


def _resident(pid: int) -> int:
    """The memory that a process and its children keep, in bytes; 0 where nobody can say."""
    total = 0
    try:
        pages = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]
        total = int(pages) * os.sysconf("SC_PAGE_SIZE")
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
        total += sum(_resident(int(child)) for child in children)
    except (OSError, IndexError, ValueError):
        return total
    return total
