"""Regions as their servers tell: for a controller that cannot read the regions' storages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from proa.clock import Clock
from proa.errors import ProaError
from proa.recovery.caught_up import CaughtUp
from proa.recovery.region_api import RegionApi, open_api
from proa.recovery.region_status import RegionStatus, SourceStatus, read_order
from proa.recovery.region_view import Loss, Proof, StorageView, loss_of
from proa.settings import ProjectSettings

_PATH = "/api/proa/1/progress"


class ApiView:
    """Asks each region's server. Comparing rows still needs both storages."""

    def __init__(self, settings: ProjectSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._clients: dict[str, RegionApi] = {}
        self._storages = StorageView(settings, clock)

    def status(self, region: str) -> RegionStatus:
        try:
            return _status(region, self._progress(region))
        except ProaError as error:
            return RegionStatus(region, error=error)

    def caught_up(self, region: str, as_of: datetime) -> CaughtUp:
        found = self._progress(region, as_of=as_of.isoformat())
        latest = _moment(found.get("latest_event"))
        return CaughtUp(region, as_of, bool(found["caught_up"]), str(found["sentence"]), latest)

    def loss(self, region: str) -> Loss:
        status = _status(region, self._progress(region))
        landed = {source.source: source.landed or 0 for source in status.sources}
        orders = [read_order(self._settings, source) for source in self._settings.sources]
        return loss_of(
            region, [(order, landed.get(order.source, 0)) for order in orders], self._clock.now()
        )

    def prove(self, left: str, right: str) -> Proof:
        return self._storages.prove(left, right)

    def _progress(self, region: str, **query: str) -> Mapping[str, Any]:
        if region not in self._clients:
            self._clients[region] = open_api(self._settings, region, self._clock)
        return self._clients[region].ask("GET", _PATH, query=query)


def _status(region: str, found: Mapping[str, Any]) -> RegionStatus:
    sources = tuple(
        SourceStatus(
            source["source"],
            source["shipped_through"],
            source["landed_through"],
            source["processed_through"],
            source["backlog_files"],
            source["backlog_bytes"],
            _moment(source["newest_shipped_at"]),
            source["lag_s"],
            source["manifest"],
            float(source.get("waiting_s") or 0.0),
            int(source.get("unnamed_files") or 0),
        )
        for source in found["sources"]
    )
    error = ProaError(found["error"]) if found.get("error") else None
    return RegionStatus(region, sources, _moment(found.get("latest_event")), error)


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
