"""What clients leave out of a request, or send empty, and mean nevertheless.

* JSON without a content type, or with that of a form, is JSON.
* A query parameter with an empty value was not given.
* JSON that no client means (nested without end, numbers that are not numbers) is refused before it is read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

MOST_LEVELS = 100
"""How deep JSON may be nested."""

_WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_LEFT_ALONE = (b"multipart/", b"application/json", b"application/octet-stream")


class ClientHabits:
    """ASGI middleware that spells a request out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["query_string"] = without_empty_values(scope["query_string"])
            if scope["method"] in _WITH_BODY:
                scope["headers"] = _with_content_type(scope["headers"])
        await self._app(scope, receive, send)


def without_empty_values(query: bytes) -> bytes:
    """The query string without the parameters whose value is empty."""
    pairs = query.split(b"&")
    return b"&".join(pair for pair in pairs if pair.partition(b"=")[2])


def json_fault(value: Any) -> str | None:
    """What is wrong with a value read from JSON, as a phrase. Returns None if nothing is."""
    level = [value]
    for _ in range(MOST_LEVELS):
        inside: list[Any] = []
        for item in level:
            if isinstance(item, float) and not math.isfinite(item):
                return "a number is not finite"
            if isinstance(item, Mapping):
                inside.extend(item.values())
            elif isinstance(item, list):
                inside.extend(item)
        if not inside:
            return None
        level = inside
    return f"it is nested more than {MOST_LEVELS} levels deep"


def _with_content_type(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    given = next((value for name, value in headers if name == b"content-type"), b"")
    if given.lower().startswith(_LEFT_ALONE):
        return headers
    others = [(name, value) for name, value in headers if name != b"content-type"]
    return [*others, (b"content-type", b"application/json")]
