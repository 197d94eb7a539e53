"""Secret scopes and what lies in them. Values are never logged and never listed."""

from __future__ import annotations

import re

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update

from proa.clock import Clock
from proa.http.api_errors import ApiError, InvalidParameterError, MissingError
from proa.region.state import Database
from proa.region.state.state_tables import secret_acls, secret_scopes, secrets
from proa.times import millis

_NAME = re.compile(r"[A-Za-z0-9_@.\-]{1,128}")
_MAX_VALUE = 128 * 1024
_MAX_PRINCIPAL = 255


class Secrets:
    """The secrets of one region."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def create_scope(self, name: str, manager: str | None = None) -> None:
        """Make a scope; `manager`, a user or group, may manage it."""
        _check("scope", name)
        with self._database.write() as connection:
            if _has_scope(connection, name):
                raise ApiError(f"Scope {name} already exists!", condition="RESOURCE_ALREADY_EXISTS")
            connection.execute(
                insert(secret_scopes).values(name=name, created_at=millis(self._clock.now()))
            )
            if manager is not None:
                connection.execute(
                    insert(secret_acls).values(scope=name, principal=manager, permission="MANAGE")
                )

    def scopes(self) -> list[str]:
        with self._database.read() as connection:
            return list(
                connection.scalars(select(secret_scopes.c.name).order_by(secret_scopes.c.name))
            )

    def delete_scope(self, name: str) -> None:
        """Remove the scope and its secrets."""
        with self._database.write() as connection:
            _need_scope(connection, name)
            connection.execute(delete(secret_scopes).where(secret_scopes.c.name == name))

    def put(self, scope: str, key: str, value: bytes) -> None:
        """Keep `value`, replacing what was there."""
        _check("key", key)
        if len(value) > _MAX_VALUE:
            raise InvalidParameterError(
                f"the secret {key!r} is {len(value)} bytes long, {_MAX_VALUE} is most"
            )
        values = {"value": value, "updated_at": millis(self._clock.now())}
        with self._database.write() as connection:
            _need_scope(connection, scope)
            changed = connection.execute(
                update(secrets)
                .where(secrets.c.scope == scope, secrets.c.key == key)
                .values(**values)
            )
            if not changed.rowcount:
                connection.execute(insert(secrets).values(scope=scope, key=key, **values))

    def keys(self, scope: str) -> list[tuple[str, int]]:
        """(key, milliseconds at which it was last put) of the scope's secrets, by key."""
        with self._database.read() as connection:
            _need_scope(connection, scope)
            rows = connection.execute(
                select(secrets.c.key, secrets.c.updated_at)
                .where(secrets.c.scope == scope)
                .order_by(secrets.c.key)
            )
            return [(row.key, row.updated_at) for row in rows]

    def get(self, scope: str, key: str) -> bytes:
        with self._database.read() as connection:
            _need_scope(connection, scope)
            value = connection.scalar(
                select(secrets.c.value).where(secrets.c.scope == scope, secrets.c.key == key)
            )
        if value is None:
            raise MissingError(f"No secret {key} in scope {scope}")
        return bytes(value)

    def every(self) -> dict[str, str]:
        """All secrets that are text, under `scope/key`: what a worker is given."""
        with self._database.read() as connection:
            rows = connection.execute(select(secrets.c.scope, secrets.c.key, secrets.c.value))
            return {f"{row.scope}/{row.key}": _text(row.value) for row in rows}

    def delete(self, scope: str, key: str) -> None:
        with self._database.write() as connection:
            _need_scope(connection, scope)
            gone = connection.execute(
                delete(secrets).where(secrets.c.scope == scope, secrets.c.key == key)
            )
        if not gone.rowcount:
            raise MissingError(f"No secret {key} in scope {scope}")

    def put_acl(self, scope: str, principal: str, permission: str) -> None:
        """Say what `principal`, a user or group, may do with the scope; stored, not enforced."""
        if not principal or len(principal) > _MAX_PRINCIPAL:
            raise InvalidParameterError(
                f"a principal has 1 to {_MAX_PRINCIPAL} characters, not {len(principal)}"
            )
        values = {"scope": scope, "principal": principal}
        with self._database.write() as connection:
            _need_scope(connection, scope)
            connection.execute(delete(secret_acls).where(*_is(scope, principal)))
            connection.execute(insert(secret_acls).values(**values, permission=permission))

    def acls(self, scope: str) -> list[tuple[str, str]]:
        """(principal, permission) of everybody that the scope's access list names, by name."""
        with self._database.read() as connection:
            _need_scope(connection, scope)
            rows = connection.execute(
                select(secret_acls.c.principal, secret_acls.c.permission)
                .where(secret_acls.c.scope == scope)
                .order_by(secret_acls.c.principal)
            )
            return [(row.principal, row.permission) for row in rows]

    def delete_acl(self, scope: str, principal: str) -> None:
        """Take `principal` off the scope's access list. Raises MissingError if it is not on it."""
        with self._database.write() as connection:
            _need_scope(connection, scope)
            gone = connection.execute(delete(secret_acls).where(*_is(scope, principal)))
        if not gone.rowcount:
            raise no_acl(scope, principal)


def no_acl(scope: str, principal: str) -> MissingError:
    """The error that a scope's access list does not name `principal`."""
    return MissingError(f"Failed to get secret acl for principal {principal} of scope {scope}.")


def _is(scope: str, principal: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return secret_acls.c.scope == scope, secret_acls.c.principal == principal


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _check(what: str, name: str) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidParameterError(
            f"the {what} {name[:140]!r} may hold letters, digits, '_', '-', '@' and '.' only,"
            " at most 128"
        )


def _has_scope(connection: Connection, name: str) -> bool:
    found = connection.scalar(select(secret_scopes.c.name).where(secret_scopes.c.name == name))
    return found is not None


def _need_scope(connection: Connection, name: str) -> None:
    if not _has_scope(connection, name):
        raise MissingError(f"Scope {name} does not exist!")
