"""Recipients: who may read which shares. Tokens are shown once and kept as a hash."""

from __future__ import annotations

import hmac
import json
from collections.abc import Collection
from dataclasses import asdict, dataclass

from proa.clock import Clock, Ids
from proa.errors import UserError
from proa.http.token_text import new_token, token_hash, token_id_of
from proa.storage import NotFoundError, Store
from proa.storage.folded import check_format
from proa.times import millis, rfc3339

_FOLDER = "recipients"
_FORMAT = 1
PROFILE_VERSION = 1
"""Of profile files with a bearer token."""


@dataclass(frozen=True)
class Recipient:
    """What is known of one token; not the token."""

    token_id: str
    name: str
    shares: tuple[str, ...] | None
    """The shares it may read, in lower case; None for all."""
    created_at: int
    """Milliseconds since 1970, as the other."""
    expires_at: int | None
    hash: str

    def may_read(self, share: str) -> bool:
        """Whether a share, in any case, is among its shares."""
        return self.shares is None or share.lower() in self.shares


class Recipients:
    """The recipients of one gateway, in its state."""

    def __init__(self, store: Store, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids

    def add(
        self, name: str, shares: Collection[str] | None = None, lifetime_s: float | None = None
    ) -> tuple[Recipient, str]:
        """A new token for `name` and its text, which nobody can ask for again."""
        token_id, text = new_token(self._ids)
        now = millis(self._clock.now())
        recipient = Recipient(
            token_id,
            name,
            None if shares is None else tuple(sorted(share.lower() for share in shares)),
            now,
            None if lifetime_s is None else now + int(1000 * lifetime_s),
            token_hash(text),
        )
        self._store.create(
            _path(token_id), json.dumps({"format": _FORMAT, **asdict(recipient)}).encode()
        )
        return recipient, text

    def list(self) -> list[Recipient]:
        """All recipients, oldest first; one with several tokens several times."""
        names = [info.path.rsplit("/", 1)[-1] for info in self._store.walk(_FOLDER)]
        recipients = [self.get(name.removesuffix(".json")) for name in names]
        known = [recipient for recipient in recipients if recipient is not None]
        return sorted(known, key=lambda recipient: (recipient.created_at, recipient.token_id))

    def remove(self, name: str) -> int:
        """Make the tokens of a recipient, or the one with that id, worthless; returns how many.

        Raises UserError when there is none.
        """
        gone = [one for one in self.list() if name in {one.name, one.token_id}]
        for recipient in gone:
            self._store.delete(_path(recipient.token_id))
        if not gone:
            raise UserError(
                f"there is no recipient {name!r}; `proa gateway recipient list` shows them",
                condition="RECIPIENT_NOT_FOUND",
            )
        return len(gone)

    def get(self, token_id: str) -> Recipient | None:
        """The recipient with a token's id. Returns None when there is none (any more)."""
        try:
            data = json.loads(self._store.get(_path(token_id)))
        except NotFoundError:
            return None
        check_format(data.pop("format", 1), _FORMAT, f"the recipient {token_id!r}")
        shares = data.pop("shares")
        return Recipient(shares=None if shares is None else tuple(shares), **data)

    def token_id(self, text: str) -> str | None:
        """The id of a token. Returns None when it is unknown, removed or over."""
        token_id = token_id_of(text)
        recipient = self.get(token_id) if token_id.isalnum() else None
        # Compared even when there is no such id, so that the time taken tells nothing.
        same = hmac.compare_digest(recipient.hash if recipient else "0" * 64, token_hash(text))
        if recipient is None or not same:
            return None
        if recipient.expires_at is not None and recipient.expires_at <= millis(self._clock.now()):
            return None
        return recipient.token_id


def profile_of(recipient: Recipient, text: str, endpoint: str) -> dict[str, object]:
    """The profile file of a recipient, as Delta Sharing clients read it."""
    profile: dict[str, object] = {
        "shareCredentialsVersion": PROFILE_VERSION,
        "endpoint": endpoint,
        "bearerToken": text,
    }
    if recipient.expires_at is not None:
        profile["expirationTime"] = rfc3339(recipient.expires_at)
    return profile


def _path(token_id: str) -> str:
    return f"{_FOLDER}/{token_id}.json"
