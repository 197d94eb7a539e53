"""GatewayServer: the gateway in this process, from its settings to its end."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from proa.clock import Clock, Ids
from proa.gateway.active_region import Serving
from proa.gateway.gateway import Gateway
from proa.gateway.gateway_app import create_gateway_app
from proa.gateway.shared_statements import SharedStatements
from proa.http.serving import HttpServer, Listen
from proa.region.workers.pool import Pool
from proa.region.workers.port import Workers
from proa.settings import ProjectSettings
from proa.storage import Store

_WORKER_MEMORY = 4096 << 20
_FIRST_LOOK_S = 2.0

_log = structlog.get_logger("proa.gateway")


class GatewayServer:
    """One gateway in this process."""

    def __init__(  # noqa: PLR0913 - its parts
        self,
        settings: ProjectSettings,
        state: Store,
        listen: Listen,
        clock: Clock,
        ids: Ids,
        *,
        workers: Workers | None = None,
    ) -> None:
        self._listen = listen
        self._workers = workers or Pool(clock, limit=1, warm=0, memory=_WORKER_MEMORY)
        self._told: Serving | None = None
        self.gateway = Gateway(settings, state, clock, ids, self._follow)
        self.statements = SharedStatements(self.gateway, self._workers)
        self._http = HttpServer(create_gateway_app(self.gateway, self.statements), listen)

    def run(self, started: Callable[[str], None]) -> None:
        """Serve until `stop` or a signal. `started` is told the address once it answers."""

        def on_start(address: str) -> None:
            _log.info("the gateway answers", address=address)
            started(address)

        sockets = self._listen.sockets()
        try:
            self._workers.open()
            self.gateway.start()
            # The first answers are no 503 for nothing; but a lost region does not keep it from starting.
            self.gateway.clock.wait(_FIRST_LOOK_S, self.gateway.has_looked)
            self._http.run(sockets, on_start)
        finally:
            self.gateway.stop()
            self.statements.close()
            _log.info("the gateway has stopped")

    def stop(self) -> None:
        """Ask the server to end; returns at once."""
        self._http.stop()

    def stop_on_signals(self) -> None:
        """Let SIGTERM and SIGINT stop the server; for the main thread."""
        self._http.stop_on_signals()

    def _follow(self, serving: Serving | None) -> None:
        if serving is not None and serving != self._told:
            _log.info("a region is served", region=serving.region, epoch=serving.epoch)
            self._told = serving
        self.statements.follow(serving)
