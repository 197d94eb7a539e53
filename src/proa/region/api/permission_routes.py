"""The permissions API: stored and echoed."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import Field

from proa.http.api_errors import InvalidParameterError, MissingError
from proa.region.api.route_parts import Body, RegionOf
from proa.region.region import RegionServices
from proa.region.workspace.permissions import LEVELS, answer

router = APIRouter(prefix="/api/2.0/permissions", tags=["permissions"])


class AccessList(Body):
    """Who may do what."""

    access_control_list: list[dict[str, Any]] = Field(default_factory=list)


@router.get("/{kind}/{object_id}")
def get_permissions(kind: str, object_id: str, region: RegionOf) -> dict[str, Any]:
    """The access list of an object."""
    owner = _owner(region, kind, object_id)
    return answer(kind, object_id, owner, region.permissions.get(kind, object_id))


@router.put("/{kind}/{object_id}")
def set_permissions(
    kind: str, object_id: str, body: AccessList, region: RegionOf
) -> dict[str, Any]:
    """Replace the access list of an object."""
    owner = _owner(region, kind, object_id)
    region.permissions.set(kind, object_id, _checked(kind, body))
    return answer(kind, object_id, owner, region.permissions.get(kind, object_id))


@router.patch("/{kind}/{object_id}")
def update_permissions(
    kind: str, object_id: str, body: AccessList, region: RegionOf
) -> dict[str, Any]:
    """Change the entries of some principals."""
    owner = _owner(region, kind, object_id)
    region.permissions.merge(kind, object_id, _checked(kind, body))
    return answer(kind, object_id, owner, region.permissions.get(kind, object_id))


@router.get("/{kind}/{object_id}/permissionLevels")
def permission_levels(kind: str, object_id: str, region: RegionOf) -> dict[str, Any]:
    """The levels that an object of this kind can have."""
    _owner(region, kind, object_id)
    return {"permission_levels": [{"permission_level": level} for level in LEVELS[kind]]}


def _checked(kind: str, body: AccessList) -> list[dict[str, Any]]:
    for entry in body.access_control_list:
        if entry.get("permission_level") not in LEVELS[kind]:
            raise InvalidParameterError(
                f"permission_level of {kind} must be one of {', '.join(LEVELS[kind])};"
                f" it is {entry.get('permission_level')!r}"
            )
    return body.access_control_list


def _owner(region: RegionServices, kind: str, object_id: str) -> str:
    if kind not in LEVELS:
        raise InvalidParameterError(
            f"permissions of {kind!r} are not known; use one of {', '.join(LEVELS)}"
        )
    if kind == "pipelines":
        return region.pipelines.get(object_id).creator
    if not object_id.isascii() or not object_id.isdigit() or len(object_id) > 18:
        raise MissingError(f"there is no {kind.removesuffix('s')} {object_id!r}")
    if kind == "jobs":
        return region.jobs.get(int(object_id)).creator
    region.workspace.by_id(int(object_id))
    return "admins"
