"""The connection to a region's state: its transactions, its migrations, the term of its owner."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import structlog
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import (
    URL,
    Connection,
    Engine,
    create_engine,
    event,
    insert,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    IntegrityError,
    InterfaceError,
    OperationalError,
)

from proa.errors import ConflictError, SettingsError, UnavailableError, UserError
from proa.extras import missing_library
from proa.region.state.state_tables import meta
from proa.steps import Step, step
from proa.storage.local import with_remedy

_log = structlog.get_logger("proa.region")

_CONNECTIONS = 48
_BUSY_MS = 15_000
_CONNECT_S = 10
_TERM = "term"
"""The key under which the state counts the servers that have owned it."""


class StateUnavailableError(UnavailableError):
    """The state did not answer, or could not be written: a full disk, a database that restarts."""

    condition = "STATE_UNAVAILABLE"


class LostError(ConflictError):
    """Another server owns the state now: this one must not write, and ends."""

    condition = "STATE_LOST"


@contextmanager
def outlive_mistakes(message: str, **what: object) -> Iterator[None]:
    """Log whatever the block raises, and go on; a state that is lost, or does not answer, is raised.

    For the turns of the control loop: one thing that is wrong must not keep all others waiting.
    """
    try:
        yield
    except (LostError, StateUnavailableError):
        raise
    except Exception:  # noqa: BLE001 - the loop must outlive any mistake
        _log.exception(message, **what)


class Database:
    """Where a region keeps what must survive it.

    Readers never wait for writers. Writers wait for one another, so a writing block is short and
    does nothing slow.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        """The lock of the state's owner is taken over it; everything else goes through `read` and `write`."""
        self._counting = threading.Lock()
        self.writes = 0
        """Counts the transactions that may have changed something, after each of them."""
        self._term: int | None = None

    @classmethod
    def open(cls, url: str) -> Database:
        """Open the state at `url` (made when missing) and bring its tables up to date."""
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise SettingsError(
                f"{_mask_password(url)!r} is not a database URL; use sqlite:///path or postgresql://..."
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
        return self.engine.dialect.name

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one committed state. StateUnavailableError when nobody answers."""
        try:
            with self.engine.connect() as connection:
                yield connection
        except DataError as error:
            raise _unstorable(error) from error
        except (OperationalError, InterfaceError) as error:
            raise state_unavailable("read", error) from error

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: all of the block's changes, or none when it raises.

        Raises ConflictError when a unique rule stops it, LostError when the state has another
        owner by now, StateUnavailableError when nobody answers: then it may have happened, if the
        answer to the commit was what got lost.
        """
        try:
            with self.engine.connect() as connection:
                connection.execution_options(proa_write=True)
                with connection.begin() as transaction:
                    self._check_term(connection)
                    yield connection
                    with step(Step.STATE_WRITE):
                        transaction.commit()
        except IntegrityError as error:
            raise ConflictError(f"another writer was first: {error.orig}") from error
        except DataError as error:
            raise _unstorable(error) from error
        except (OperationalError, InterfaceError) as error:
            raise state_unavailable("written", error) from error
        finally:
            with self._counting:
                self.writes += 1

    def begin_term(self) -> None:
        """Become the one process that writes as the state's server; any earlier one cannot."""
        self._term = None
        with self.write() as connection:
            found = connection.scalar(select(meta.c.value).where(meta.c.key == _TERM))
            if found is None:
                connection.execute(insert(meta).values(key=_TERM, value="1"))
            else:
                connection.execute(
                    update(meta).where(meta.c.key == _TERM).values(value=str(int(found) + 1))
                )
        self._term = int(found or 0) + 1

    def check_term(self) -> None:
        """Raise LostError when another server has begun a term since."""
        with self.read() as connection:
            self._check_term(connection)

    def close(self) -> None:
        self.engine.dispose()

    def _check_term(self, connection: Connection) -> None:
        if self._term is None:
            return
        query = select(meta.c.value).where(meta.c.key == _TERM)
        if connection.get_execution_options().get("proa_write"):
            # Whoever begins a term waits for the writes that began before it.
            query = query.with_for_update(read=True)
        if connection.scalar(query) != str(self._term):
            raise LostError(
                "another server owns this region's state now; this one writes nothing any more"
            )

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self.write() as connection:
            if self.dialect == "postgresql":
                connection.execute(text("select pg_advisory_xact_lock(72617)"))
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as error:
                raise SettingsError(
                    f"the region's state was written by another version of Proa ({error}); run the"
                    " version that wrote it, or a newer one",
                    condition="UNSUPPORTED_FORMAT",
                ) from error


def state_url(name: str, configured: str | None, project: Path) -> str:
    """The database URL of a region's state: as configured, or a file in the project."""
    if configured is None:
        return f"sqlite:///{(project / '.proa' / f'{name}.db').absolute()}"
    if "://" in configured:
        return configured
    return f"sqlite:///{(project / configured).absolute()}"


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

    def on_connect(raw: Any, _record: Any) -> None:
        raw.isolation_level = None
        cursor = raw.cursor()
        cursor.execute(f"pragma busy_timeout={_BUSY_MS}")
        cursor.execute("pragma journal_mode=wal")
        cursor.execute("pragma synchronous=full")
        cursor.execute("pragma foreign_keys=on")
        cursor.close()

    def on_begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("proa_write")
        connection.exec_driver_sql("begin immediate" if writes else "begin")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    return engine


def _postgresql(url: URL) -> Engine:
    try:
        return create_engine(
            url.set(drivername="postgresql+psycopg"),
            pool_size=_CONNECTIONS,
            pool_pre_ping=True,
            connect_args={"connect_timeout": _CONNECT_S},
        )
    except ModuleNotFoundError as error:
        raise SettingsError(
            missing_library("the driver for a state in PostgreSQL", "postgresql")
        ) from error


def state_unavailable(what: str, error: OperationalError | InterfaceError) -> StateUnavailableError:
    reason = str(error.orig).strip().replace("\n", " ")
    return StateUnavailableError(f"the region's state cannot be {what}: {with_remedy(reason)}")


def _unstorable(error: DataError) -> UserError:
    return UserError(f"a value cannot be stored: {str(error.orig).splitlines()[0]}")


def _mask_password(url: str) -> str:
    return url.rsplit("@", maxsplit=1)[-1]
