"""Serving an application over HTTP: where a server listens, how it is stopped, and where it logs."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TextIO, cast

import structlog
import uvicorn
from starlette.types import ASGIApp

from proa.errors import SettingsError, UnavailableError

_BACKLOG = 2048


@dataclass(frozen=True)
class Listen:
    """Where a server listens."""

    host: str = "127.0.0.1"
    port: int = 0
    tls_cert: Path | None = None
    tls_key: Path | None = None

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise SettingsError("TLS needs both a certificate and its key")

    def sockets(self) -> list[socket.socket]:
        """Sockets of all addresses of `host`. UnavailableError when one of them is taken."""
        made: list[socket.socket] = []
        port = self.port
        try:
            for family, _, _, _, address in socket.getaddrinfo(
                self.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            ):
                try:
                    made.append(
                        socket.create_server(
                            (str(address[0]), port), family=family, backlog=_BACKLOG
                        )
                    )
                except OSError as error:
                    if error.errno == errno.EADDRNOTAVAIL and made:
                        continue  # a name with an address of a family that is switched off
                    raise
                # An accepted connection takes this over; without it a small answer may wait 40 ms
                # for an acknowledgement. The event loop sets it for sockets of its own only.
                made[-1].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                port = made[0].getsockname()[1]
        except OSError as error:
            for opened in made:
                opened.close()
            named = (
                error.strerror
                if isinstance(error, socket.gaierror)
                else os.strerror(error.errno or 0)
            )
            raise UnavailableError(
                f"cannot listen on {self.host}:{self.port}: {named};"
                " choose another address with --host and --port"
            ) from error
        return made


class HttpServer:
    """Serves one application in this process until it is stopped."""

    def __init__(self, app: ASGIApp, listen: Listen) -> None:
        self._listen = listen
        self._uvicorn = _Uvicorn(
            uvicorn.Config(
                app,
                host=listen.host,
                port=listen.port,
                ssl_certfile=listen.tls_cert,
                ssl_keyfile=listen.tls_key,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=5,
                # Longer than clients pause between two looks: they keep their connections.
                timeout_keep_alive=75,
                backlog=_BACKLOG,
            )
        )

    def run(self, sockets: list[socket.socket], started: Callable[[str], None]) -> None:
        """Serve on `sockets`, those of `Listen.sockets`, until `stop`; closes them.

        `started` is told the address once it answers.
        """
        scheme = "https" if self._listen.tls_cert else "http"
        self._uvicorn.on_start = lambda port: started(f"{scheme}://{self._listen.host}:{port}")
        try:
            self._uvicorn.run(sockets)
        finally:
            for opened in sockets:
                opened.close()

    def stop(self, *_signal: int | FrameType | None) -> None:
        """Ask the server to end; returns at once."""
        self._uvicorn.should_exit = True

    def stop_on_signals(self) -> None:
        """Let SIGTERM and SIGINT stop the server; for the main thread."""
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self.stop)


class _Uvicorn(uvicorn.Server):
    """Tells when and where it listens; leaves signals to us."""

    on_start: Callable[[int], None]

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        await super().startup(sockets=sockets)  # type: ignore[arg-type]
        if self.started:
            self.on_start(self.servers[0].sockets[0].getsockname()[1])


_GONE = (OSError, ValueError)
"""What a stream raises that cannot be written to: a ValueError when it was closed."""


class _Unfailing:
    """A stream for logs: a full disk, or a reader that has gone, must not stop a region."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(*_GONE):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(*_GONE):
            self._stream.flush()


def log_to(stream: TextIO, *, json: bool) -> None:
    """Write structured logs to `stream`: one line an event, JSON or for people."""
    renderer = (
        structlog.processors.JSONRenderer()
        if json
        else structlog.dev.ConsoleRenderer(colors=stream.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Unfailing(stream))),
    )
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
