"""Errors as Databricks' clients read them: a status, `error_code` and `message`, never a traceback."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
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


ErrorBody = Callable[[str, str], Mapping[str, str]]
"""Writes a code and a message as the body of an answer."""


def error_body(code: str, message: str) -> Mapping[str, str]:
    """The body of an error as Databricks' clients read it."""
    return {"error_code": code, "message": message}


def answer_errors(app: FastAPI, body: ErrorBody = error_body) -> None:
    """Let `app` answer every error, foreseen or not, as the API writes errors."""

    def answer(status: int, code: str, message: str) -> JSONResponse:
        return JSONResponse(body(code, message), status_code=status)

    for kind, handler in (
        (ApiError, _answer_api_error),
        (ProaError, _answer_proa_error),
        (RequestValidationError, _answer_invalid),
        (RecursionError, _answer_too_deep),
        (UnicodeEncodeError, _answer_malformed),
        (HTTPException, _answer_http),
        (Exception, _answer_mistake),
    ):
        app.add_exception_handler(kind, partial(handler, answer))


_Answer = Callable[[int, str, str], JSONResponse]


async def _answer_api_error(answer: _Answer, _request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return answer(error.status, error.condition, str(error))


async def _answer_proa_error(answer: _Answer, _request: Request, error: Exception) -> Response:
    assert isinstance(error, ProaError)
    if error.condition == "INVALID_OBJECT_NAME":
        return answer(400, "INVALID_PARAMETER_VALUE", "the path has a name that stores do not take")
    if isinstance(error, UserError):
        return answer(400, "INVALID_PARAMETER_VALUE", str(error))
    if isinstance(error, ConflictError):
        return answer(409, "RESOURCE_CONFLICT", str(error))
    # What a store says of itself names the server's own places: that is for its log.
    _log.error("a request failed", error=str(error))
    what = {
        "STATE_UNAVAILABLE": "the server's state",
    }.get(error.condition, "a store of the server, or its engine,")
    return answer(500, "INTERNAL_ERROR", f"{what} did not answer; the server's log says more")


async def _answer_invalid(answer: _Answer, _request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return answer(400, "MALFORMED_REQUEST", "the body is not valid JSON")
    where = ".".join(str(part) for part in first["loc"])
    what = first["msg"].removeprefix("Value error, ").lower()
    return answer(400, "INVALID_PARAMETER_VALUE", f"{where}: {what}")


async def _answer_malformed(answer: _Answer, _request: Request, _mistake: Exception) -> Response:
    return answer(400, "MALFORMED_REQUEST", "the text holds half a surrogate pair: not Unicode")


async def _answer_too_deep(answer: _Answer, _request: Request, _mistake: Exception) -> Response:
    return answer(400, "MALFORMED_REQUEST", "the request is nested too deep")


async def _answer_http(answer: _Answer, request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        message = f"{request.method} is not allowed on {request.url.path}"
        refusal = answer(405, "METHOD_NOT_ALLOWED", message)
        refusal.headers.update(error.headers or {})
        return refusal
    if error.status_code == 404 and "\n" in request.scope["path"]:
        return answer(400, "INVALID_PARAMETER_VALUE", "a path cannot hold a line's end")
    if error.status_code == 404:
        return answer(501, "NOT_IMPLEMENTED", f"{request.url.path} is not served")
    return answer(error.status_code, "BAD_REQUEST", str(error.detail))


async def _answer_mistake(answer: _Answer, _request: Request, _mistake: Exception) -> Response:
    return answer(500, "INTERNAL_ERROR", "the server made a mistake; its log says more")
