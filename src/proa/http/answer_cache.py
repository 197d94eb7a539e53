"""AnswerCache that are given again while nothing has been written: many clients ask the same thing.

A server is the only writer of its state, so an answer that was read at one count of
writes is the truth for as long as the count stands still.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Message, Scope, Send

_MOST = 2000
_MAX_BYTES = 256 * 1024

Key = tuple[str, str, bytes]


@dataclass
class CachedAnswer:
    """One whole answer."""

    writes: int
    """The count of writes before it was read."""
    messages: list[Message] = field(default_factory=list)
    size: int = 0
    route: Any = None
    """The route that answered, for the metrics."""

    def add(self, message: Message) -> None:
        self.size += len(message.get("body", b""))
        if self.size <= _MAX_BYTES:
            self.messages.append(message)

    @property
    def complete(self) -> bool:
        return (
            bool(self.messages)
            and self.size <= _MAX_BYTES
            and self.messages[0].get("status") == 200
            and not self.messages[-1].get("more_body", False)
        )


class AnswerCache:
    """The answers of one server."""

    def __init__(self, writes: Callable[[], int], prefixes: tuple[str, ...]) -> None:
        """`writes` counts the writes of the state; paths with `prefixes` are answered from it alone."""
        self._writes = writes
        self._prefixes = prefixes
        self._kept: dict[Key, CachedAnswer] = {}

    def key(self, scope: Scope, host: str) -> Key | None:
        """What names the answer to this request; None when it is not to be given twice."""
        path: str = scope["path"]
        if scope["method"] != "GET" or not path.startswith(self._prefixes):
            return None
        return (host, path, scope["query_string"])

    async def give(self, key: Key, scope: Scope, send: Send) -> bool:
        """Send the answer if it still holds; whether it did."""
        kept = self._kept.get(key)
        if kept is None or kept.writes != self._writes():
            return False
        scope["route"] = kept.route
        for message in kept.messages:
            await send(message)
        return True

    def begin(self) -> CachedAnswer:
        """An answer that is about to be read."""
        return CachedAnswer(self._writes())

    def keep(self, key: Key, scope: Scope, answer: CachedAnswer) -> None:
        """Remember an answer, if it is one to remember."""
        if not answer.complete:
            return
        answer.route = scope.get("route")
        if len(self._kept) >= _MOST:
            self._kept.clear()
        self._kept[key] = answer
