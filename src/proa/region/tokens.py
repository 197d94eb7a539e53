"""Bearer tokens: made once, shown once, kept as a hash."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from sqlalchemy import insert, select, update

from proa.clock import Clock, Ids
from proa.http.api_errors import MissingError
from proa.http.token_text import new_token, token_hash, token_id_of
from proa.region.state import Database
from proa.region.state.state_tables import tokens
from proa.times import millis

DEFAULT_USER = "admin@proa"


@dataclass(frozen=True)
class ApiToken:
    """What is known of a token; not the token."""

    token_id: str
    user: str
    comment: str
    created_at: int
    """Milliseconds since 1970, as the others."""
    expires_at: int | None
    revoked_at: int | None


class Tokens:
    """The tokens of one region."""

    def __init__(self, database: Database, clock: Clock, ids: Ids) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids

    def create(
        self, user: str = DEFAULT_USER, comment: str = "", lifetime_s: int | None = None
    ) -> tuple[ApiToken, str]:
        """A new token of `user` and its text, which nobody can ask for again."""
        token_id, text = new_token(self._ids)
        now = millis(self._clock.now())
        expires = None if lifetime_s is None else now + 1000 * lifetime_s
        with self._database.write() as connection:
            connection.execute(
                insert(tokens).values(
                    token_id=token_id,
                    hash=token_hash(text),
                    user_name=user,
                    comment=comment,
                    created_at=now,
                    expires_at=expires,
                )
            )
        return ApiToken(token_id, user, comment, now, expires, None), text

    def list(self) -> list[ApiToken]:
        """All tokens, the revoked included, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(tokens).order_by(tokens.c.created_at, tokens.c.token_id)
            )
            return [
                ApiToken(
                    row.token_id,
                    row.user_name,
                    row.comment,
                    row.created_at,
                    row.expires_at,
                    row.revoked_at,
                )
                for row in rows
            ]

    def revoke(self, token_id: str) -> None:
        """Make the token worthless. MissingError when there is none; no error the second time."""
        with self._database.write() as connection:
            found = connection.execute(
                update(tokens)
                .where(tokens.c.token_id == token_id)
                .values(revoked_at=millis(self._clock.now()))
            )
        if not found.rowcount:
            raise MissingError(f"there is no token {token_id!r}; `proa token list` shows them")

    def user_of(self, text: str) -> str | None:
        """Whose token `text` is; None when it is unknown, revoked or over."""
        token_id = token_id_of(text)
        with self._database.read() as connection:
            row = connection.execute(select(tokens).where(tokens.c.token_id == token_id)).first()
        # Compared even when there is no such id, so that the time taken tells nothing.
        same = hmac.compare_digest(row.hash if row else "0" * 64, token_hash(text))
        if row is None or not same or row.revoked_at is not None:
            return None
        if row.expires_at is not None and row.expires_at <= millis(self._clock.now()):
            return None
        return str(row.user_name)
