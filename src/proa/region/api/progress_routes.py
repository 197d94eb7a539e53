"""How far the region is, for the controller: Proa's own route beside Databricks' API."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from proa.http.api_errors import moment_parameter
from proa.region.api.route_parts import RegionOf
from proa.settings import ProjectSettings

router = APIRouter(tags=["progress"])


@router.get("/api/proa/1/progress")
def progress(region: RegionOf, as_of: str | None = None) -> dict[str, Any]:
    """How far the region has come, source by source; with `as_of`, whether it has caught up."""
    # Loaded when it is asked for: a server that waits needs neither Arrow nor an engine.
    from proa.recovery import read_caught_up, read_status
    from proa.recovery.region_status import status_facts

    project = region.project or ProjectSettings(regions={region.name: region.settings})
    (status,) = read_status(project, region.clock, [region.name])
    answer: dict[str, Any] = {**status_facts(status), "caught_up": None, "sentence": None}
    if as_of is not None:
        found = read_caught_up(project, region.name, moment_parameter(as_of, "as_of"), region.clock)
        answer |= {"as_of": as_of, "caught_up": found.caught_up, "sentence": found.sentence}
    return answer
