"""Who the region is and who is asking."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from proa.region.api.route_parts import RegionOf, UserOf
from proa.region.identity import scim_user

router = APIRouter(tags=["identity"])


@router.get("/.well-known/databricks-config")
async def well_known(region: RegionOf, request: Request) -> dict[str, str]:
    """What clients ask before anything else; needs no token."""
    return region.identity.well_known(f"{request.url.scheme}://{request.url.netloc}")


@router.get("/api/2.0/preview/scim/v2/Me")
async def current_user(user: UserOf) -> dict[str, Any]:
    """The owner of the token."""
    return scim_user(user)
