"""What every request passes: its size, its token, its region; and what every answer carries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from proa.clock import Clock
from proa.errors import UnavailableError
from proa.http.answer_cache import AnswerCache
from proa.http.api_errors import (
    ApiError,
    PermissionDeniedError,
    TooLargeError,
    UnauthenticatedError,
)
from proa.http.error_answers import ErrorBody, error_body
from proa.http.metrics import RequestMetrics

MAX_BYTES = 64 * 1024 * 1024
"""The largest body, unless a server allows more for some requests."""

REMEMBERED_S = 1.0
"""How long a token that was good stays good without another look: so long a revoked one lives."""

_MOST_REMEMBERED = 10_000


@dataclass(frozen=True)
class Refusals:
    """How a server says no."""

    body: ErrorBody = error_body
    unavailable: int = 500
    """The status while tokens cannot be looked up."""
    new_token: str = "`proa token create`"  # noqa: S105 - a command
    """What makes a token."""


class Gate:
    """ASGI middleware around the whole application."""

    def __init__(  # noqa: PLR0913 - its parts
        self,
        app: ASGIApp,
        *,
        user_of: Callable[[str], str | None],
        workspace_id: str,
        clock: Clock,
        metrics: RequestMetrics,
        answers: AnswerCache,
        open_paths: Collection[str] = (),
        most_bytes: Callable[[Scope], int] = lambda _scope: MAX_BYTES,
        refusals: Refusals = Refusals(),
    ) -> None:
        """`open_paths` answer without a token, those that end with "/" with all below; `most_bytes` says how long a request's body may be."""
        self._app = app
        self._open_paths = frozenset(open_paths)
        self._open_folders = tuple(
            path for path in open_paths if path.endswith("/") and path != "/"
        )
        self._most_bytes = most_bytes
        self._user_of = user_of
        self._workspace_id = workspace_id
        self._clock = clock
        self._metrics = metrics
        self._answers = answers
        self._refusals = refusals
        self._known: dict[bytes, tuple[float, str]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = self._clock.monotonic()
        status = 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-databricks-org-id"] = self._workspace_id
            await send(message)

        try:
            headers = Headers(scope=scope)
            try:
                await self._admit(scope, headers)
            except ApiError as error:
                await self._refuse(error, answer)
                return
            except UnavailableError as error:
                status_then = self._refusals.unavailable
                code = "TEMPORARILY_UNAVAILABLE" if status_then == 503 else "INTERNAL_ERROR"
                await self._refuse(ApiError(str(error), condition=code, status=status_then), answer)
                return
            key = self._answers.key(scope, headers.get("host", ""))
            if key is None:
                await self._app(scope, _limited_receive(receive, self._most_bytes(scope)), answer)
            elif not await self._answers.give(key, scope, answer):
                kept = self._answers.begin()

                async def remembering(message: Message) -> None:
                    kept.add(dict(message))
                    await answer(message)

                await self._app(scope, _limited_receive(receive, MAX_BYTES), remembering)
                self._answers.keep(key, scope, kept)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.count_answer(
                scope["method"], route, status, self._clock.monotonic() - began
            )

    async def _admit(self, scope: Scope, headers: Headers) -> None:
        if scope["path"] in self._open_paths or scope["path"].startswith(self._open_folders):
            return
        kind, _, text = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not text.strip():
            raise UnauthenticatedError(
                f"a bearer token is needed; {self._refusals.new_token} makes one"
            )
        user = await self._user(text.strip())
        if user is None:
            raise UnauthenticatedError(
                "the token is not known here, was revoked, or is over;"
                f" {self._refusals.new_token} makes another"
            )
        scope["proa.user"] = user
        wanted = headers.get("x-databricks-workspace-id", self._workspace_id)
        if wanted not in {"", self._workspace_id}:
            raise PermissionDeniedError(
                f"this is workspace {self._workspace_id}, not {wanted[:40]}:"
                " the address belongs to another region"
            )
        length = headers.get("content-length", "0")
        most = self._most_bytes(scope)
        if length.isascii() and length.isdigit() and int(length) > most:
            raise _too_large(most)

    async def _refuse(self, error: ApiError, send: Send) -> None:
        body = json.dumps(self._refusals.body(error.condition, error.args[0])).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        if error.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        if error.status == 503:
            headers.append((b"retry-after", b"1"))
        await send({"type": "http.response.start", "status": error.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _user(self, text: str) -> str | None:
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
        now = self._clock.monotonic()
        known = self._known.get(digest)
        if known is not None and now - known[0] < REMEMBERED_S:
            return known[1]
        user = await run_in_threadpool(self._user_of, text)
        if len(self._known) >= _MOST_REMEMBERED:
            self._known.clear()
        if user is None:
            self._known.pop(digest, None)
        else:
            self._known[digest] = (now, user)
        return user


def _limited_receive(receive: Receive, most: int) -> Receive:
    seen = 0

    async def receive_counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most:
            raise _too_large(most)
        return message

    return receive_counted


def _too_large(most: int) -> TooLargeError:
    return TooLargeError(f"the body is over {most} bytes; ship it to storage instead")
