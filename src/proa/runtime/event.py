"""One event of the event log, and how it is written down."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from proa.times import utc_text


@dataclass(frozen=True)
class Origin:
    """Where an event comes from."""

    pipeline_id: str
    pipeline_name: str
    update_id: str | None = None
    flow_name: str | None = None
    dataset_name: str | None = None
    cloud: str | None = None
    region: str | None = None
    cluster_id: str | None = None
    maintenance_id: str | None = None


@dataclass(frozen=True)
class Event:
    """One thing that happened."""

    id: str
    sequence: int
    """Counts the events of one runner from 1."""
    origin: Origin
    timestamp: datetime
    message: str
    level: str
    """INFO, WARN, ERROR or METRICS."""
    event_type: str
    details: Mapping[str, Any]
    """`{event_type: {...}}`, as Databricks' own readers expect it."""
    error: Mapping[str, Any] | None = None
    """`{"fatal": bool, "exceptions": [{"class_name", "message"}]}`."""
    maturity_level: str = "STABLE"


def error_object(error: BaseException) -> dict[str, Any]:
    """An error as the event log tells it: the outermost one first, then its causes."""
    exceptions = []
    cause: BaseException | None = error
    while cause is not None:
        exceptions.append({"class_name": type(cause).__name__, "message": str(cause)})
        cause = cause.__cause__
    return {"fatal": True, "exceptions": exceptions}


def as_json(event: Event) -> dict[str, Any]:
    """An event as programs read it; `sequence`, `origin`, `details` and `error` are objects."""
    return {
        "id": event.id,
        "sequence": {"data_plane_id": {"seq_no": event.sequence}},
        "origin": {k: v for k, v in asdict(event.origin).items() if v is not None},
        "timestamp": utc_text(event.timestamp, "milliseconds"),
        "message": event.message,
        "level": event.level,
        "maturity_level": event.maturity_level,
        "error": event.error,
        "details": event.details,
        "event_type": event.event_type,
    }


def compact_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), default=str)
