"""The text of a bearer token: shown once, kept as a hash, found again by the id that it begins with.

Apart because every server's tokens have this one form, wherever that server keeps them.
"""

from __future__ import annotations

import hashlib

from proa.clock import Ids

_PREFIX = "proa"
_ID_LENGTH = 12


def new_token(ids: Ids) -> tuple[str, str]:
    """(id, text) of a new token. The text is a secret, the id is not."""
    token_id = ids.new().replace("-", "")[-_ID_LENGTH:]
    return token_id, f"{_PREFIX}{token_id}{ids.new()}{ids.new()}".replace("-", "")


def token_id_of(text: str) -> str:
    """The id that a token's text begins with; of any other text, something that is not an id."""
    return text.removeprefix(_PREFIX)[:_ID_LENGTH]


def token_hash(text: str) -> str:
    """What a server keeps of a token: 64 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
