"""Errors as Databricks' clients read them: a status, `error_code` and `message`, never a traceback."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from proa.errors import ConflictError, ProaError, UserError
from proa.http.api_errors import ApiError

_log = structlog.get_logger("proa.http")

ERROR_SCHEMA: Mapping[str, Any] = {
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
"""The answer with an error, for the API's description."""


def answer_errors(app: FastAPI) -> None:
    """Let `app` answer every error, foreseen or not, as the API writes errors."""
    app.add_exception_handler(ApiError, _answer_api_error)
    app.add_exception_handler(ProaError, _answer_proa_error)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(RecursionError, _answer_too_deep)
    app.add_exception_handler(UnicodeEncodeError, _answer_malformed)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(Exception, _answer_mistake)


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error_code": code, "message": message}, status_code=status)


async def _answer_api_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _error(error.status, error.condition, str(error))


async def _answer_proa_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ProaError)
    if error.condition == "INVALID_OBJECT_NAME":
        return _error(400, "INVALID_PARAMETER_VALUE", "the path has a name that stores do not take")
    if isinstance(error, UserError):
        return _error(400, "INVALID_PARAMETER_VALUE", str(error))
    if isinstance(error, ConflictError):
        return _error(409, "RESOURCE_CONFLICT", str(error))
    # What a store says of itself names the server's own places: that is for its log.
    _log.error("a request failed", error=str(error))
    what = {
        "STATE_UNAVAILABLE": "the server's state",
    }.get(error.condition, "a store of the server, or its engine,")
    return _error(500, "INTERNAL_ERROR", f"{what} did not answer; the server's log says more")


async def _answer_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _error(400, "MALFORMED_REQUEST", "the body is not valid JSON")
    where = ".".join(str(part) for part in first["loc"])
    what = first["msg"].removeprefix("Value error, ").lower()
    return _error(400, "INVALID_PARAMETER_VALUE", f"{where}: {what}")


async def _answer_malformed(_request: Request, _mistake: Exception) -> Response:
    return _error(400, "MALFORMED_REQUEST", "the text holds half a surrogate pair: not Unicode")


async def _answer_too_deep(_request: Request, _mistake: Exception) -> Response:
    return _error(400, "MALFORMED_REQUEST", "the request is nested too deep")


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
    return _error(500, "INTERNAL_ERROR", "the server made a mistake; its log says more")
