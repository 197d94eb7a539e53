"""The connection to a region's state, its migrations, and the lock of the server that owns it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DataError, IntegrityError, OperationalError

from proa.errors import ConflictError, SettingsError, UnavailableError, UserError

_CONNECTIONS = 48
_BUSY_MS = 15_000


class Database:
    """Where a region keeps what must survive it.

    Readers never wait for writers. Writers wait for one another, so a writing block is short and
    does nothing slow.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._counting = threading.Lock()
        self.writes = 0
        """Counts the transactions that may have changed something, after each of them."""

    @classmethod
    def open(cls, url: str) -> Database:
        """Open the state at `url` (made when missing) and bring its tables up to date."""
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise SettingsError(
                f"{_masked(url)!r} is no database URL; use sqlite:///path or postgresql://..."
            ) from error
        if parsed.drivername == "sqlite":
            engine = _sqlite(parsed.database)
        elif parsed.drivername.startswith("postgresql"):
            engine = _postgresql(parsed)
        else:
            raise SettingsError(
                f"the region's state cannot live in {parsed.drivername!r};"
                " use sqlite:///path or postgresql://..."
            )
        database = cls(engine)
        database._migrate()
        return database

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._engine.dialect.name

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one committed state."""
        with self._engine.connect() as connection:
            try:
                yield connection
            except DataError as error:
                raise _unstorable(error) from error

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: all of the block's changes, or none when it raises.

        Raises ConflictError when a unique rule stops it.
        """
        with self._engine.connect() as connection:
            connection.execution_options(proa_write=True)
            try:
                with connection.begin():
                    yield connection
            except IntegrityError as error:
                raise ConflictError(f"somebody else was first: {error.orig}") from error
            except DataError as error:
                raise _unstorable(error) from error
            except OperationalError as error:
                raise UnavailableError(
                    f"the region's state cannot be written: {error.orig}"
                ) from error
            finally:
                with self._counting:
                    self.writes += 1

    def close(self) -> None:
        self._engine.dispose()

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        try:
            with self.write() as connection:
                if self.dialect == "postgresql":
                    connection.execute(text("select pg_advisory_xact_lock(72617)"))
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except OperationalError as error:
            raise UnavailableError(f"cannot open the region's state: {error.orig}") from error


class Exclusive:
    """The right to be the one server of a state. Held until `release` or the process's end."""

    def __init__(self, handle: Any, connection: Connection | None) -> None:
        self._handle = handle
        self._connection = connection

    @classmethod
    def take(cls, database: Database) -> Exclusive:
        """Take it, or raise ConflictError when another server has it."""
        engine = database._engine  # noqa: SLF001 - the lock is part of the database
        taken = ConflictError("another server owns this region's state; stop it first")
        if database.dialect == "sqlite":
            path = f"{engine.url.database}.lock"
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                raise taken from None
            return cls(handle, None)
        connection = engine.connect()
        if not connection.scalar(text("select pg_try_advisory_lock(72618)")):
            connection.close()
            raise taken
        connection.commit()
        return cls(None, connection)

    def release(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
        if self._connection is not None:
            self._connection.execute(text("select pg_advisory_unlock(72618)"))
            self._connection.commit()
            self._connection.close()
        self._handle = self._connection = None


def stable_number(*parts: str, digits: int = 15) -> int:
    """A number of at most `digits` digits that the same parts always give."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") % 10**digits or 1


def _sqlite(database: str | None) -> Engine:
    if not database or database == ":memory:":
        raise SettingsError("the region's state needs a file: sqlite:////path/to/state.db")
    path = Path(database).absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise UnavailableError(f"cannot open the region's state {path}: {error}") from error
    engine = create_engine(f"sqlite:///{path}", pool_size=_CONNECTIONS)

    def connected(raw: Any, _record: Any) -> None:
        raw.isolation_level = None
        cursor = raw.cursor()
        cursor.execute(f"pragma busy_timeout={_BUSY_MS}")
        cursor.execute("pragma journal_mode=wal")
        cursor.execute("pragma synchronous=normal")
        cursor.execute("pragma foreign_keys=on")
        cursor.close()

    def begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("proa_write")
        connection.exec_driver_sql("begin immediate" if writes else "begin")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)
    return engine


def _postgresql(url: URL) -> Engine:
    try:
        return create_engine(
            url.set(drivername="postgresql+psycopg"), pool_size=_CONNECTIONS, pool_pre_ping=True
        )
    except ModuleNotFoundError as error:
        raise SettingsError(
            "a state in PostgreSQL needs a driver that is not installed; install it with:"
            " pip install 'proa[server,postgresql]'"
        ) from error


def _unstorable(error: DataError) -> UserError:
    return UserError(f"a value cannot be stored: {str(error.orig).splitlines()[0]}")


def _masked(url: str) -> str:
    return url.rsplit("@", maxsplit=1)[-1]
