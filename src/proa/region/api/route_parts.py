"""What all routes share: the region they serve, who asks, and bodies that are echoed as sent."""

from __future__ import annotations

from collections.abc import Callable
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from proa.http.client_habits import json_fault
from proa.region.region import RegionServices


async def _region(request: Request) -> RegionServices:
    found: RegionServices = request.app.state.region
    return found


async def _user(request: Request) -> str:
    return str(request.scope["proa.user"])


RegionOf = Annotated[RegionServices, Depends(_region)]
"""The region that this server is."""

UserOf = Annotated[str, Depends(_user)]
"""The user whose token was sent."""

Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]
PageSize = Annotated[int, Query(ge=0, le=10_000)]
PageToken = Annotated[str | None, Query()]


def _types(annotation: Any) -> set[Any]:
    """The types that an annotation is made of, the members of unions each."""
    members = get_args(annotation)
    if get_origin(annotation) in {Union, UnionType, Annotated}:
        return {kind for member in members for kind in _types(member)}
    return {annotation}


class Body(BaseModel):
    """A JSON object. Fields that are not named here are kept, and echoed where the API echoes."""

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, data: Any) -> Any:
        """Refuse JSON that no client means; drop empty texts where only another type makes sense."""
        if not isinstance(data, dict):
            return data
        if (fault := json_fault(data)) is not None:
            raise ValueError(fault)
        optional = {
            field.alias or name
            for name, field in cls.model_fields.items()
            if not field.is_required() and str not in _types(field.annotation)
        }
        return {key: value for key, value in data.items() if value != "" or key not in optional}

    def sent_fields(self, *without: str) -> dict[str, Any]:
        """What the client sent, as it sent it, but for nulls and the fields in `without`."""
        found = self.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
        return {key: value for key, value in found.items() if key not in without}


class Empty(BaseModel):
    """`{}`"""


def without_none(**fields: Any) -> dict[str, Any]:
    """The fields that are not None: the API leaves out what it does not know."""
    return {key: value for key, value in fields.items() if value is not None}


def every_version(register: Callable[..., Any], path: str, **options: Any) -> Callable[..., Any]:
    """Register a route of the Jobs API under 2.0, 2.1 and 2.2, shown as 2.2."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for version in ("2.2", "2.1", "2.0"):
            register(
                f"/api/{version}{path}",
                operation_id=f"{function.__name__}_{version}",
                include_in_schema=version == "2.2",
                **options,
            )(function)
        return function

    return decorate
