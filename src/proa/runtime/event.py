"""One event of an event log, a pipeline's own or a region's, and how it is written down."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
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
    sequence: int | None
    """Counts the events of one runner from 1. None in a region's log, which has its own order."""
    origin: Origin
    timestamp: datetime
    message: str
    level: str
    """INFO, WARN, ERROR or METRICS."""
    event_type: str
    details: Mapping[str, Any] = field(default_factory=dict)
    """`{event_type: {...}}`, as Databricks' own readers expect it."""
    error: Mapping[str, Any] | None = None
    """`{"fatal": bool, "exceptions": [{"class_name", "message", "stack"}]}`; `stack` may lack."""
    maturity_level: str = "STABLE"


def error_object(error: BaseException) -> dict[str, Any]:
    """An error as the event log tells it: the outermost one first, then its causes."""
    exceptions = []
    cause: BaseException | None = error
    while cause is not None:
        exceptions.append({"class_name": type(cause).__name__, "message": str(cause)})
        cause = cause.__cause__
    return {"fatal": True, "exceptions": exceptions}


def failure(class_name: str, message: str, stack: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """An error of which only its name and text are known, as the event log tells it."""
    exception: dict[str, Any] = {"class_name": class_name, "message": message}
    if stack:
        exception["stack"] = list(stack)
    return {"fatal": True, "exceptions": [exception]}


def as_json(event: Event) -> dict[str, Any]:
    """An event as programs read it; `sequence`, `origin`, `details` and `error` are objects."""
    sequence = None if event.sequence is None else {"data_plane_id": {"seq_no": event.sequence}}
    return {
        "id": event.id,
        "sequence": sequence,
        "origin": {k: v for k, v in asdict(event.origin).items() if v is not None},
        "timestamp": utc_text(event.timestamp, "milliseconds"),
        "message": event.message,
        "level": event.level,
        "maturity_level": event.maturity_level,
        "error": event.error,
        "details": event.details,
        "event_type": event.event_type,
    }


def from_json(data: Mapping[str, Any]) -> Event:
    """The event that `as_json` has written."""
    sequence = data["sequence"]
    return Event(
        id=data["id"],
        sequence=None if sequence is None else sequence["data_plane_id"]["seq_no"],
        origin=Origin(**data["origin"]),
        timestamp=datetime.fromisoformat(data["timestamp"]),
        **{name: data[name] for name in _AS_WRITTEN},
    )


_AS_WRITTEN = ("message", "level", "event_type", "details", "error", "maturity_level")


def compact_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), default=str)
