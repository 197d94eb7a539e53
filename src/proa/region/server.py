"""Serving a region over HTTP, from the command line's options to the last worker's end."""

from __future__ import annotations

import socket
from collections.abc import Callable
from types import FrameType

import structlog

from proa.clock import Clock, Ids, RandomIds, SystemClock
from proa.http.serving import HttpServer, Listen
from proa.region.api.app import create_app
from proa.region.region import RegionServices
from proa.region.state import Database, Exclusive, LostError
from proa.region.workers.pool import Pool
from proa.region.workers.port import Workers
from proa.settings import ProjectSettings, RegionSettings

_log = structlog.get_logger("proa.region")


class Server:
    """One region's server in this process."""

    def __init__(  # noqa: PLR0913 - its parts
        self,
        name: str,
        settings: RegionSettings,
        state: str,
        listen: Listen,
        *,
        clock: Clock | None = None,
        ids: Ids | None = None,
        workers: Workers | None = None,
        project: ProjectSettings | None = None,
    ) -> None:
        """`project`: what the team has agreed on for all pipelines; nothing when None."""
        clock = clock or SystemClock()
        self._listen = listen
        self._database = Database.open(state)
        self._exclusive = Exclusive.take(self._database, clock)
        self._workers = workers or Pool(
            clock,
            limit=settings.server.workers,
            warm=settings.server.warm_workers,
            memory=settings.server.worker_memory_mb << 20,
        )
        self.region = RegionServices.open(
            name, settings, self._database, self._workers, clock, ids or RandomIds(), project
        )
        self.app = create_app(self.region)
        self._http = HttpServer(self.app, listen)

    def run(self, started: Callable[[str], None]) -> None:
        """Serve until `stop` or a signal. `started` is told the address once it answers.

        Raises LostError when another server has taken the region's state over.
        """

        def answers(address: str) -> None:
            _log.info("the region answers", region=self.region.name, address=address)
            started(address)

        sockets: list[socket.socket] = []
        try:
            # First: a server that cannot be reached must not begin anything.
            sockets = self._listen.sockets()
            self._workers.open()
            self.region.start(self._exclusive.check, self.stop)
            self._http.run(sockets, answers)
        finally:
            for opened in sockets:
                opened.close()
            try:
                self.region.stop()
            finally:
                self._exclusive.release()
                self._database.close()
                _log.info("the region has stopped", region=self.region.name)
        if self.region.control.lost is not None:
            raise LostError(self.region.control.lost)

    def stop(self, *_signal: int | FrameType | None) -> None:
        """Ask the server to end; returns at once."""
        self._http.stop()

    def stop_on_signals(self) -> None:
        """Let SIGTERM and SIGINT stop the server; for the main thread."""
        self._http.stop_on_signals()
