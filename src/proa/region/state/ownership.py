"""The lock of the one server that owns a region's state."""

from __future__ import annotations

import fcntl
import os

from sqlalchemy import Connection, text
from sqlalchemy.exc import InterfaceError, OperationalError

from proa.clock import Clock
from proa.errors import ConflictError
from proa.region.state.database import Database, LostError, state_unavailable

_LOOKS = 20
_LOOK_AGAIN_S = 0.1
_NOTICE_DEATH = (
    "tcp_keepalives_idle = 10",
    "tcp_keepalives_interval = 5",
    "tcp_keepalives_count = 3",
)
"""So that the lock of a machine that lost its power is free again within half a minute."""


class Exclusive:
    """The right to be the one server of a state. Held until `release` or the process's end.

    A lock says who may begin; the term that the owner begins keeps out whoever lost the lock
    without noticing, as when PostgreSQL was restarted.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._engine = database.engine
        self._handle: int | None = None
        self._connection: Connection | None = None

    @classmethod
    def take(cls, database: Database, clock: Clock) -> Exclusive:
        """Take it, or raise ConflictError when another server has it.

        Looks again for a moment: a server that was just killed is still being taken apart.
        """
        made = cls(database)
        for _ in range(_LOOKS):
            if made._lock():
                break
            clock.wait(_LOOK_AGAIN_S)
        else:
            raise ConflictError("another server owns this region's state; stop it first")
        database.begin_term()
        return made

    def check(self) -> None:
        """Raise LostError when it is lost; take a lock that a restart of PostgreSQL has ended."""
        if self._handle is None and not self._is_locked():
            # Stays without a connection where PostgreSQL is away: then the next check asks again.
            self._connection = None
            if not self._lock():
                raise LostError("another server owns this region's state now")
        self._database.check_term()

    def release(self) -> None:
        """Let the next server have it; no error when PostgreSQL has gone and taken it along."""
        if self._handle is not None:
            os.close(self._handle)
        if self._connection is not None and self._is_locked():
            self._connection.execute(text("select pg_advisory_unlock(72618)"))
            self._connection.commit()
            self._connection.close()
        self._handle = self._connection = None

    def _lock(self) -> bool:
        if self._database.dialect == "sqlite":
            path = f"{self._engine.url.database}.lock"
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                return False
            self._handle = handle
            return True
        try:
            connection = self._engine.connect()
            for setting in _NOTICE_DEATH:
                connection.execute(text(f"set {setting}"))
            if not connection.scalar(text("select pg_try_advisory_lock(72618)")):
                connection.close()
                return False
            connection.commit()
        except (OperationalError, InterfaceError) as error:
            raise state_unavailable("locked", error) from error
        self._connection = connection
        return True

    def _is_locked(self) -> bool:
        """Whether the session of PostgreSQL that holds the lock is there."""
        return self._connection is not None and self._answers(self._connection)

    @staticmethod
    def _answers(connection: Connection) -> bool:
        try:
            connection.execute(text("select 1"))
            connection.commit()
        except (OperationalError, InterfaceError):
            connection.invalidate()
            connection.close()
            return False
        return True
