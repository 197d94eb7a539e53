"""The errors of the API: each knows its HTTP status and Databricks' name for it.

Messages keep clear of the words that make Databricks' clients try again ("Timed out after",
"deadline exceeded", "Unexpected error"), and nothing here is a 503 or a 429: clients repeat those
for ever.
"""

from __future__ import annotations

from datetime import datetime

from proa.errors import ConflictError, ProaError, UserError
from proa.times import parse_moment


class ApiError(ProaError):
    """What the API answers when it cannot do what was asked. `condition` is the `error_code`."""

    status = 400

    def __init__(
        self, message: str, *, condition: str | None = None, status: int | None = None
    ) -> None:
        super().__init__(message, condition=condition)
        if status is not None:
            self.status = status


class InvalidParameterError(ApiError, UserError):
    """A parameter's value makes no sense."""

    condition = "INVALID_PARAMETER_VALUE"


class InvalidStateError(ApiError):
    """The thing is not in a state in which this can be done."""

    condition = "INVALID_STATE"


class AlreadyExistsError(ApiError, ConflictError):
    """There is one of that name already; the workspace's answer (400)."""

    condition = "RESOURCE_ALREADY_EXISTS"


class TakenError(ApiError, ConflictError):
    """Somebody else was first; look again."""

    condition = "RESOURCE_CONFLICT"
    status = 409


class MissingError(ApiError):
    """There is no such thing."""

    condition = "RESOURCE_DOES_NOT_EXIST"
    status = 404


class UnauthenticatedError(ApiError):
    """No token, or one that is unknown, revoked or over."""

    condition = "UNAUTHENTICATED"
    status = 401


class PermissionDeniedError(ApiError):
    """Known, but not allowed."""

    condition = "PERMISSION_DENIED"
    status = 403


class TooLargeError(ApiError):
    """The body or an answer is over its limit."""

    condition = "MAX_REQUEST_SIZE_EXCEEDED"
    status = 413


class NotSupportedError(ApiError):
    """Databricks has this; a Proa region has not."""

    condition = "NOT_IMPLEMENTED"
    status = 501


def moment_parameter(text: str, name: str) -> datetime:
    """Read a moment; without a zone it is UTC. Raises InvalidParameterError, which names the parameter."""
    try:
        return parse_moment(text)
    except ValueError as error:
        raise InvalidParameterError(
            f"{name} is not a time: {text[:40]!r}; write it like 2023-02-28T13:00:00Z"
        ) from error
