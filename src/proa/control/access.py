"""Who may talk to `proa control`: tokens that lie beside the control record, each with a role.

So the process keeps nothing: started on another machine it knows the same tokens.
"""

from __future__ import annotations

import hmac
from datetime import timedelta
from enum import StrEnum
from typing import Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict

from proa.clock import Clock, Ids
from proa.errors import SettingsError, UserError
from proa.http.token_text import new_token, token_hash, token_id_of
from proa.recovery.control_record import FOLDER
from proa.settings import ProjectSettings
from proa.storage import NotFoundError, Store


class AccessRole(StrEnum):
    """What a token's owner may do."""

    READER = "reader"
    """Look."""
    OPERATOR = "operator"
    """Look, and change the roles of regions."""


class AccessToken(BaseModel):
    """What is known of a token; not the token."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    token_id: str
    hash: str
    user: str
    role: AccessRole
    created: AwareDatetime
    expires: AwareDatetime | None = None
    revoked: AwareDatetime | None = None

    def facts(self) -> dict[str, Any]:
        """The token for people: without its hash."""
        return self.model_dump(mode="json", exclude={"hash", "format"})


class SignedIn(str):  # noqa: SLOT000 - it carries a role
    """A user's name, with what that user may do."""

    role: AccessRole

    def __new__(cls, user: str, role: AccessRole) -> Self:
        """`user` as a text that knows its role."""
        name = super().__new__(cls, user)
        name.role = role
        return name


class ControlAccess:
    """The tokens of one group."""

    def __init__(self, store: Store, group: str, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._folder = f"{FOLDER}/{group}/tokens"
        self._clock = clock
        self._ids = ids

    @classmethod
    def of(cls, settings: ProjectSettings, clock: Clock, ids: Ids) -> ControlAccess:
        """The tokens of a project. Raises SettingsError when it has no third place."""
        store, group = third_place(settings)
        return cls(store, group, clock, ids)

    def create(
        self, user: str, role: AccessRole, lifetime_s: float | None = None
    ) -> tuple[AccessToken, str]:
        """A new token and its text, which nobody can ask for again."""
        token_id, text = new_token(self._ids)
        now = self._clock.now()
        expires = None if lifetime_s is None else now + timedelta(seconds=lifetime_s)
        token = AccessToken(
            token_id=token_id,
            hash=token_hash(text),
            user=user,
            role=role,
            created=now,
            expires=expires,
        )
        self._put(token)
        return token, text

    def list(self) -> list[AccessToken]:
        """All tokens, the revoked included, oldest first."""
        tokens = [
            AccessToken.model_validate_json(self._store.get(info.path))
            for info in self._store.walk(self._folder)
        ]
        return sorted(tokens, key=lambda token: (token.created, token.token_id))

    def revoke(self, token_id: str) -> None:
        """Make the token worthless. Raises UserError when there is no such token."""
        token = self._token(token_id)
        if token is None:
            raise UserError(
                f"there is no token {token_id!r}; `proa token list --control` shows them",
                condition="TOKEN_NOT_FOUND",
            )
        self._put(token.model_copy(update={"revoked": self._clock.now()}))

    def user_of(self, text: str) -> SignedIn | None:
        """Whose token `text` is. Returns None if it is unknown, revoked or over."""
        token = self._token(token_id_of(text))
        # Compared even when there is no such id, so that the time taken tells nothing.
        same = hmac.compare_digest(token.hash if token else "0" * 64, token_hash(text))
        if token is None or not same or token.revoked is not None:
            return None
        if token.expires is not None and token.expires <= self._clock.now():
            return None
        return SignedIn(token.user, token.role)

    def _token(self, token_id: str) -> AccessToken | None:
        if not token_id.isalnum():
            return None
        try:
            data = self._store.get(f"{self._folder}/{token_id}.json")
        except NotFoundError:
            return None
        return AccessToken.model_validate_json(data)

    def _put(self, token: AccessToken) -> None:
        self._store.put(f"{self._folder}/{token.token_id}.json", token.model_dump_json().encode())


def third_place(settings: ProjectSettings) -> tuple[Store, str]:
    """The store of the third place, and the group. Raises SettingsError when there is no third place."""
    recovery = settings.recovery
    if recovery is None or recovery.control is None:
        raise SettingsError(
            "proa control is the witness in a third place, and proa.yml names none: set"
            " `recovery.control.path` to a folder that is in neither region"
        )
    return Store.open(recovery.control.path, recovery.control.options), recovery.group
