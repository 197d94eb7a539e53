"""Pages of an answer, and the token that leads to the next one.

The token is absent on the last page, never empty: clients loop until it is gone.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from proa.http.api_errors import InvalidParameterError


def make_page_token(**place: Any) -> str:
    """An opaque token for the place where the next page begins."""
    text = json.dumps(place, separators=(",", ":"), sort_keys=True)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_page_token(text: str | None, *keys: str) -> dict[str, Any] | None:
    """What `token` was given, with exactly `keys`, integers or strings; None for no token.

    An empty token is not a token. InvalidParameterError when `text` never was one of ours.
    """
    if not text:
        return None
    try:
        found = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if (
            isinstance(found, dict)
            and set(found) == set(keys)
            and all(isinstance(value, str) or _is_int64(value) for value in found.values())
        ):
            return found
    except (ValueError, binascii.Error, RecursionError):
        pass
    raise InvalidParameterError(
        f"the page_token {text[:80]!r} is not one that this call gave out; begin without one"
    )


def split_page(items: list[Any], size: int) -> tuple[list[Any], bool]:
    """(the first `size`, whether there are more) of the `size + 1` items that were asked for."""
    return items[:size], len(items) > size


def _is_int64(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
