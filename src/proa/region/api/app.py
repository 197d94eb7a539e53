"""The HTTP application of a region: the routes, the errors as Databricks writes them, the gate."""

from __future__ import annotations

from importlib.metadata import version

from anyio import CapacityLimiter
from fastapi import FastAPI, Request, Response
from starlette.types import Scope

from proa.http.answer_cache import AnswerCache
from proa.http.api_errors import NotSupportedError
from proa.http.client_habits import ClientHabits
from proa.http.error_answers import ERROR_SCHEMA, answer_errors
from proa.http.gate import MAX_BYTES, Gate
from proa.http.metrics import RequestMetrics
from proa.region.api import (
    file_routes,
    health_routes,
    identity_routes,
    inventory_routes,
    job_routes,
    permission_routes,
    pipeline_routes,
    progress_routes,
    run_routes,
    secret_routes,
    statement_routes,
    token_routes,
    workspace_routes,
)
from proa.region.region import RegionServices
from proa.region.workspace.files import MAX_FILE

_UPLOADING = 16
"""How many files can come in at once; further ones wait."""

OPEN_PATHS = ("/health", "/ready", "/.well-known/databricks-config", statement_routes.RESULTS)
"""What answers without a token."""

_FROM_STATE = ("/api/2.0/pipelines", "/api/2.0/jobs/", "/api/2.1/jobs/", "/api/2.2/jobs/")
"""What is answered from the state alone: neither from the clock nor from a store."""


def create_app(region: RegionServices) -> FastAPI:
    """The application that serves `region`. Starting and stopping the region is the caller's."""
    metrics = RequestMetrics(region.name)
    app = FastAPI(
        title=f"Proa region {region.name}",
        description="The part of the Databricks REST API that a Proa region speaks.",
        version=version("proa"),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses={"4XX": dict(ERROR_SCHEMA)},
    )
    metrics.watch("proa_updates", "Updates by state", region.updates.count)
    metrics.watch("proa_runs", "Runs of jobs by life cycle state", region.runs.count)
    app.state.region = region
    app.state.metrics = metrics
    app.state.warehouse = _warehouse
    # Slow senders hold these threads and no others.
    app.state.uploading = CapacityLimiter(_UPLOADING)
    for part in (
        health_routes,
        identity_routes,
        inventory_routes,
        workspace_routes,
        secret_routes,
        file_routes,
        permission_routes,
        pipeline_routes,
        job_routes,
        run_routes,
        statement_routes,
        progress_routes,
        token_routes,
    ):
        app.include_router(part.router)
    app.add_api_route(
        "/{path:path}",
        _not_supported,
        methods=["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"],
        include_in_schema=False,
    )
    answer_errors(app)
    app.add_middleware(ClientHabits)
    app.add_middleware(
        Gate,
        user_of=region.tokens.user_of,
        workspace_id=region.identity.workspace_id,
        clock=region.clock,
        metrics=metrics,
        answers=AnswerCache(lambda: region.database.writes, _FROM_STATE),
        open_paths=OPEN_PATHS,
        most_bytes=_most_bytes,
    )
    return app


def _most_bytes(scope: Scope) -> int:
    """How many bytes the request's body may have: files go to storage as they come."""
    is_file = scope["method"] == "PUT" and scope["path"].startswith("/api/2.0/fs/files/")
    return MAX_FILE if is_file else MAX_BYTES


async def _warehouse(request: Request) -> statement_routes.Warehouse:
    return statement_routes.warehouse_of(request.app.state.region)


async def _not_supported(request: Request) -> Response:
    raise NotSupportedError(
        f"{request.method} {request.url.path} is not part of what a Proa region serves"
    )
