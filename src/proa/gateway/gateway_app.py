"""The gateway's HTTP application, and the server that runs it in this process.

Delta Sharing, SQL, health; and errors in the dialects of both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from proa.clock import Clock, Ids
from proa.errors import UnavailableError
from proa.gateway.active_region import Serving
from proa.gateway.gateway import Gateway
from proa.gateway.links import FILES
from proa.gateway.shared_statements import SharedStatements
from proa.gateway.sharing_routes import (
    PREFIX,
    GatewayOf,
    RecipientOf,
    address_of,
    recipient_of,
    router,
)
from proa.http.answer_cache import AnswerCache
from proa.http.client_habits import ClientHabits
from proa.http.error_answers import answer_errors
from proa.http.gate import Gate, Refusals
from proa.http.metrics import RequestMetrics
from proa.http.serving import HttpServer, Listen
from proa.region.api import statement_routes
from proa.region.identity import Identity, scim_user
from proa.region.state.database import stable_number
from proa.region.workers.pool import Pool
from proa.region.workers.port import Workers
from proa.settings import ProjectSettings
from proa.storage import Store

_NAME = "gateway"
_MOST_BYTES = 1024 * 1024
RETRY_AFTER_S = 1
"""When a client that was sent away should come again."""

OPEN_PATHS = (
    "/health",
    "/ready",
    "/.well-known/databricks-config",
    FILES,
    statement_routes.RESULTS,
)
"""What answers without a token."""

_health = APIRouter(tags=["health"])


@_health.get("/health")
async def health() -> dict[str, str]:
    """The process answers. Needs no token."""
    return {"status": "ok"}


@_health.get("/ready")
async def ready(gateway: GatewayOf) -> dict[str, Any]:
    """Something can be served: 503 while nothing can. Needs no token; for load balancers."""
    serving, _ = gateway.now()
    return {"status": "ready", "region": serving.region, "epoch": serving.epoch}


@_health.get("/metrics")
async def metrics(request: Request) -> Response:
    """Counters in Prometheus' text format."""
    return Response(request.app.state.metrics.exposition(), media_type="text/plain; version=0.0.4")


@_health.get("/.well-known/databricks-config")
async def well_known(gateway: GatewayOf, request: Request) -> dict[str, str]:
    """What Databricks' clients ask before anything else."""
    return _identity(gateway).well_known(address_of(gateway, request))


@_health.get("/api/2.0/preview/scim/v2/Me")
async def current_user(recipient: RecipientOf) -> dict[str, Any]:
    """The owner of the token."""
    return scim_user(recipient.name)


def create_gateway_app(gateway: Gateway, statements: SharedStatements) -> FastAPI:
    """The application that serves `gateway`. Starting and stopping its parts is the caller's."""
    request_metrics = RequestMetrics(_NAME)
    request_metrics.watch(
        "proa_gateway_epoch", "The epoch that is served, by region", lambda: _served_epoch(gateway)
    )
    app = FastAPI(
        title="Proa gateway",
        description="Delta Sharing, and SQL that only reads, from whichever region is active.",
        version=version("proa"),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.gateway = gateway
    app.state.metrics = request_metrics
    identity = _identity(gateway)

    async def warehouse(request: Request) -> statement_routes.Warehouse:
        is_link = request.url.path.startswith(statement_routes.RESULTS)
        recipient = None if is_link else await recipient_of(request)
        return statement_routes.Warehouse(
            _NAME,
            identity.workspace_id,
            statements.of(recipient),
            gateway.clock,
            address_of(gateway, request),
        )

    app.state.warehouse = warehouse
    for part in (_health, router, statement_routes.router):
        app.include_router(part)
    answer_errors(app, _error_body)
    app.add_exception_handler(UnavailableError, _answer_unavailable)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_middleware(ClientHabits)
    app.add_middleware(
        Gate,
        user_of=gateway.recipients.token_id,
        workspace_id=identity.workspace_id,
        clock=gateway.clock,
        metrics=request_metrics,
        answers=AnswerCache(lambda: 0, ()),
        open_paths=OPEN_PATHS,
        most_bytes=lambda _scope: _MOST_BYTES,
        refusals=Refusals(_error_body, 503, "`proa gateway recipient add`"),
    )
    return app


def endpoint(address: str) -> str:
    """What stands in a profile file for a gateway at an address."""
    return f"{address.rstrip('/')}{PREFIX}/"


def _identity(gateway: Gateway) -> Identity:
    """Who Databricks' clients take the gateway for: the same in all regions, and for all gateways."""
    recovery = gateway.settings.recovery
    group = recovery.group if recovery is not None else "default"
    number = str(stable_number(_NAME, group))
    return Identity(_NAME, number, f"00000000-0000-0000-0000-{int(number) % 10**12:012d}")


def _served_epoch(gateway: Gateway) -> Mapping[str, int]:
    try:
        serving, _ = gateway.now()
    except UnavailableError:
        return {}
    return {serving.region: serving.epoch}


def _error_body(code: str, message: str) -> Mapping[str, str]:
    """An error as Delta Sharing's clients read it, and Databricks'."""
    return {"errorCode": code, "error_code": code, "message": message}


async def _answer_unavailable(_request: Request, error: Exception) -> Response:
    return JSONResponse(
        _error_body("TEMPORARILY_UNAVAILABLE", str(error)),
        status_code=503,
        headers={"retry-after": str(RETRY_AFTER_S)},
    )


async def _answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}.get(error.status_code, "BAD_REQUEST")
    message = f"{request.method} {request.url.path} is not part of what the gateway serves"
    return JSONResponse(_error_body(code, message), error.status_code, error.headers)


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
