"""The permissions API: stored and echoed."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import Field

from proa.http.api_errors import InvalidParameterError, MissingError
from proa.region.api.route_parts import Body, RegionOf
from proa.region.api.statement_routes import need_warehouse, warehouse_of
from proa.region.region import RegionServices
from proa.region.tokens import DEFAULT_USER
from proa.region.workspace.permissions import KINDS, KINDS_WITHOUT_OBJECTS, permissions_answer
from proa.region.workspace.workspace import ObjectKind

router = APIRouter(prefix="/api/2.0/permissions", tags=["permissions"])

_WORKSPACE_KINDS = {
    "notebooks": ObjectKind.NOTEBOOK,
    "directories": ObjectKind.DIRECTORY,
    "files": ObjectKind.FILE,
}


class AccessList(Body):
    """Who may do what."""

    access_control_list: list[dict[str, Any]] = Field(default_factory=list)


@router.get("/{kind:path}/{object_id}/permissionLevels")
def permission_levels(kind: str, object_id: str, region: RegionOf) -> dict[str, Any]:
    """The levels that an object of this kind can have."""
    kind, object_id, _ = _owned_object(region, kind, object_id)
    return {"permission_levels": [{"permission_level": level} for level in KINDS[kind].levels]}


@router.get("/{kind:path}/{object_id}")
def get_permissions(kind: str, object_id: str, region: RegionOf) -> dict[str, Any]:
    """The access list of an object."""
    kind, object_id, owner = _owned_object(region, kind, object_id)
    return permissions_answer(kind, object_id, owner, region.permissions.get(kind, object_id))


@router.put("/{kind:path}/{object_id}")
def set_permissions(
    kind: str, object_id: str, body: AccessList, region: RegionOf
) -> dict[str, Any]:
    """Replace the access list of an object."""
    kind, object_id, owner = _owned_object(region, kind, object_id)
    region.permissions.set(kind, object_id, _need_levels(kind, body))
    return permissions_answer(kind, object_id, owner, region.permissions.get(kind, object_id))


@router.patch("/{kind:path}/{object_id}")
def update_permissions(
    kind: str, object_id: str, body: AccessList, region: RegionOf
) -> dict[str, Any]:
    """Change the entries of some principals."""
    kind, object_id, owner = _owned_object(region, kind, object_id)
    region.permissions.merge(kind, object_id, _need_levels(kind, body))
    return permissions_answer(kind, object_id, owner, region.permissions.get(kind, object_id))


def _need_levels(kind: str, body: AccessList) -> list[dict[str, Any]]:
    """The entries of the list. Raises InvalidParameterError for a level that the kind does not have."""
    levels = KINDS[kind].levels
    for entry in body.access_control_list:
        if entry.get("permission_level") not in levels:
            raise InvalidParameterError(
                f"permission_level of {kind} must be one of {', '.join(levels)};"
                f" it is {entry.get('permission_level')!r}"
            )
    return body.access_control_list


def _owned_object(region: RegionServices, kind: str, object_id: str) -> tuple[str, str, str]:
    """(kind, id, owner) of the object that an address names.

    Raises InvalidParameterError for a kind that no client knows, MissingError if there is no such
    object.
    """
    if kind == "authorization":
        kind, object_id = f"authorization/{object_id}", ""
    if kind in KINDS_WITHOUT_OBJECTS:
        raise MissingError(f"a region has no {kind}, so {object_id!r} is not there")
    if kind not in KINDS:
        raise InvalidParameterError(
            f"permissions of {kind!r} are not known; use one of {', '.join(KINDS)}"
        )
    if kind == "pipelines":
        return kind, object_id, region.pipelines.get(object_id).creator
    if kind.endswith("warehouses"):
        need_warehouse(warehouse_of(region), object_id)
        return "sql/warehouses", object_id, DEFAULT_USER
    if not object_id:
        return kind, object_id, DEFAULT_USER
    if not object_id.isascii() or not object_id.isdigit() or len(object_id) > 18:
        raise MissingError(f"there is no {KINDS[kind].object_type} {object_id!r}")
    if kind == "jobs":
        return kind, object_id, region.jobs.get(int(object_id)).creator
    item = region.workspace.by_id(int(object_id))
    if item.kind is not _WORKSPACE_KINDS[kind]:
        raise MissingError(f"object {object_id} is a {item.kind.lower()}, not one of {kind}")
    return kind, object_id, DEFAULT_USER
