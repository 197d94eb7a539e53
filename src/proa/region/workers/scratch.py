"""The folder of one server's workers, by which the next server finds what a dead one left behind.

A server that is killed leaves files, and may leave processes: a worker that was frozen, or is deep
in a library, does not notice that its server is gone; nor does what the user's code has started.
All of them carry the folder's name in their environment. A lock on a file in the folder says that
its server lives; the system gives the lock up when that ends, however it ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
from pathlib import Path

import structlog

VARIABLE = "PROA_WORKERS_OF"
"""The environment variable that holds the folder."""

_PREFIX = "proa-work-"
_LOCK = "lock"
_log = structlog.get_logger("proa.region")


class Scratch:
    """A new folder, held until `close`."""

    def __init__(self) -> None:
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
            with contextlib.suppress(FileNotFoundError):
                self._lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
                fcntl.flock(self._lock, fcntl.LOCK_EX)
                if (self.path / _LOCK).exists():
                    return
                # Another server took the new folder for a dead one's before it was locked.
                os.close(self._lock)

    def new(self) -> str:
        """A folder for one piece of work."""
        return tempfile.mkdtemp(dir=self.path)

    def close(self) -> None:
        """Remove the folder with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def end_leftovers() -> None:
    """End the processes, and remove the folders, of this user's servers that are dead."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                continue
            lock = os.open(folder / _LOCK, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for pid in _processes_of(folder):
                    _log.warning("a dead server's process is ended", pid=pid)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _processes_of(folder: Path) -> list[int]:
    """The processes that carry the folder's name; none where the system does not tell (macOS)."""
    entry = f"{VARIABLE}={folder}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if entry in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found
