"""AnswerCache that are given again while nothing has been written: many clients ask the same thing.

A server is the only writer of its state, so an answer that was read at one count of
writes is the truth for as long as the count stands still.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Message, Scope, Send

MOST_BYTES = 32 * 1024 * 1024
"""How much memory the remembered answers may take together."""

_LONGEST_ANSWER = 256 * 1024
_OVERHEAD = 2048
"""Bytes that an answer takes besides its body and its key, about."""

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
        if self.size <= _LONGEST_ANSWER:
            self.messages.append(message)

    @property
    def complete(self) -> bool:
        return (
            bool(self.messages)
            and self.size <= _LONGEST_ANSWER
            and self.messages[0].get("status") == 200
            and not self.messages[-1].get("more_body", False)
        )


class AnswerCache:
    """The answers of one server: the last used ones, of at most `most_bytes` together."""

    def __init__(
        self,
        writes: Callable[[], int],
        prefixes: tuple[str, ...],
        *,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        """`writes` counts the writes of the state; paths with `prefixes` are answered from it alone."""
        self._writes = writes
        self._prefixes = prefixes
        self._most_bytes = most_bytes
        self._answers: OrderedDict[Key, CachedAnswer] = OrderedDict()
        self._of_writes = -1
        """The count of writes that all remembered answers were read at."""
        self.size = 0
        """Bytes that the remembered answers take, about."""

    def key(self, scope: Scope, host: str) -> Key | None:
        """What names the answer to this request; None when it is not to be given twice."""
        path: str = scope["path"]
        if scope["method"] != "GET" or not path.startswith(self._prefixes):
            return None
        return (host, path, scope["query_string"])

    async def give(self, key: Key, scope: Scope, send: Send) -> bool:
        """Send the answer if it still holds; whether it did."""
        self._forget_stale()
        answer = self._answers.get(key)
        if answer is None:
            return False
        self._answers.move_to_end(key)
        scope["route"] = answer.route
        for message in answer.messages:
            await send(message)
        return True

    def begin(self) -> CachedAnswer:
        """An answer that is about to be read."""
        return CachedAnswer(self._writes())

    def keep(self, key: Key, scope: Scope, answer: CachedAnswer) -> None:
        """Remember an answer, if it is whole and still true."""
        self._forget_stale()
        if not answer.complete or answer.writes != self._of_writes:
            return
        answer.route = scope.get("route")
        answer.size += _OVERHEAD + sum(map(len, key))
        replaced = self._answers.pop(key, None)
        self.size += answer.size - (replaced.size if replaced else 0)
        self._answers[key] = answer
        while self.size > self._most_bytes:
            self.size -= self._answers.popitem(last=False)[1].size

    def _forget_stale(self) -> None:
        """Drop every answer when something was written: none of them is the truth any more."""
        writes = self._writes()
        if writes != self._of_writes:
            self._of_writes = writes
            self._answers.clear()
            self.size = 0
