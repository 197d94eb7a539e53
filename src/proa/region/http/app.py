"""The HTTP application of a region: the routes, the errors as Databricks writes them, the gate."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import structlog
from anyio import CapacityLimiter
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from proa.errors import ConflictError, ProaError, UserError
from proa.region.errors import ApiError, NotSupportedError
from proa.region.http.answers import Answers
from proa.region.http.gate import Gate
from proa.region.http.metrics import Metrics
from proa.region.http.routes import (
    files,
    health,
    identity,
    jobs,
    permissions,
    pipelines,
    runs,
    secrets,
    statements,
    workspace,
)
from proa.region.service import Region

_UPLOADING = 16
"""How many files can come in at once; further ones wait."""

_log = structlog.get_logger("proa.region")
_ERROR: Mapping[str, Any] = {
    "description": "What went wrong",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error_code", "message"],
                "properties": {"error_code": {"type": "string"}, "message": {"type": "string"}},
            }
        }
    },
}


def create_app(region: Region) -> FastAPI:
    """The application that serves `region`. Starting and stopping the region is the caller's."""
    metrics = Metrics(region.name)
    app = FastAPI(
        title=f"Proa region {region.name}",
        description="The part of the Databricks REST API that a Proa region speaks.",
        version=version("proa"),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        responses={"4XX": dict(_ERROR)},
    )
    metrics.watch("proa_updates", "Updates by state", region.updates.count)
    metrics.watch("proa_runs", "Runs of jobs by life cycle state", region.runs.count)
    app.state.region = region
    app.state.metrics = metrics
    # Slow senders hold these threads and no others.
    app.state.uploading = CapacityLimiter(_UPLOADING)
    for part in (
        health,
        identity,
        workspace,
        secrets,
        files,
        permissions,
        pipelines,
        jobs,
        runs,
        statements,
    ):
        app.include_router(part.router)
    app.add_api_route(
        "/{path:path}",
        _not_supported,
        methods=["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"],
        include_in_schema=False,
    )
    app.add_exception_handler(ApiError, _answer_api_error)
    app.add_exception_handler(ProaError, _answer_proa_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(UnicodeEncodeError, _answer_malformed)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(Exception, _answer_mistake)
    app.add_middleware(
        Gate,
        user_of=region.tokens.user_of,
        workspace_id=region.identity.workspace_id,
        clock=region.clock,
        metrics=metrics,
        answers=Answers(lambda: region.database.writes),
    )
    return app


async def _not_supported(request: Request) -> Response:
    raise NotSupportedError(
        f"{request.method} {request.url.path} is not part of what a Proa region serves"
    )


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error_code": code, "message": message}, status_code=status)


async def _answer_api_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _error(error.status, error.condition, str(error))


async def _answer_proa_error(_request: Request, error: Exception) -> Response:
    if isinstance(error, UserError):
        return _error(400, "INVALID_PARAMETER_VALUE", str(error))
    if isinstance(error, ConflictError):
        return _error(409, "RESOURCE_CONFLICT", str(error))
    _log.error("a request failed", error=str(error))
    return _error(500, "INTERNAL_ERROR", str(error))


async def _answer_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _error(400, "MALFORMED_REQUEST", "the body is not valid JSON")
    where = ".".join(str(part) for part in first["loc"])
    return _error(400, "INVALID_PARAMETER_VALUE", f"{where}: {first['msg'].lower()}")


async def _answer_malformed(_request: Request, _mistake: Exception) -> Response:
    return _error(400, "MALFORMED_REQUEST", "the text holds half a surrogate pair: not Unicode")


async def _answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return JSONResponse(
            {
                "error_code": "METHOD_NOT_ALLOWED",
                "message": f"{request.method} is not allowed on {request.url.path}",
            },
            status_code=405,
            headers=error.headers,
        )
    if error.status_code == 404 and "\n" in request.scope["path"]:
        return _error(400, "INVALID_PARAMETER_VALUE", "a path cannot hold a line's end")
    if error.status_code == 404:
        return _error(501, "NOT_IMPLEMENTED", f"{request.url.path} is not served")
    return _error(error.status_code, "BAD_REQUEST", str(error.detail))


async def _answer_mistake(_request: Request, _mistake: Exception) -> Response:
    return _error(500, "INTERNAL_ERROR", "the region made a mistake; its log says more")
