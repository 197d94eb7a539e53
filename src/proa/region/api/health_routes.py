"""Whether the server lives, whether it can work, and what it has done."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from sqlalchemy import select

from proa.errors import UnavailableError
from proa.region.api.route_parts import RegionOf
from proa.region.state.state_tables import meta

router = APIRouter(tags=["health"])


@router.get("/health")
async def health() -> dict[str, str]:
    """The process answers. Needs no token."""
    return {"status": "ok"}


@router.get("/ready")
def ready(region: RegionOf, response: Response) -> dict[str, Any]:
    """The state can be read. Needs no token; 500 when it cannot."""
    try:
        with region.database.read() as connection:
            connection.execute(select(meta.c.key).limit(1))
    except UnavailableError:
        response.status_code = 500
        return {"status": "the region's state cannot be read"}
    return {"status": "ready", "region": region.name}


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """Counters in Prometheus' text format."""
    return Response(request.app.state.metrics.exposition(), media_type="text/plain; version=0.0.4")
