"""What happened to a pipeline, as the API shows it: stored in order, newest shown first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, or_, select

from proa.clock import Clock, Ids
from proa.http.api_errors import InvalidParameterError
from proa.http.paging import page, place, token
from proa.region.pipelines.event_filter import Condition, parse
from proa.region.state import Database
from proa.region.state.state_tables import events
from proa.times import millis, rfc3339

_FIELDS = {
    "id": events.c.event_id,
    "level": events.c.level,
    "timestamp": events.c.timestamp,
    "update_id": events.c.update_id,
    "event_type": events.c.event_type,
}
_MAX_PAGE = 250
DEFAULT_PAGE = 25


@dataclass(frozen=True)
class PipelineEvent:
    """One thing that happened."""

    event_type: str
    message: str
    level: str = "INFO"
    details: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    """`{"fatal": bool, "exceptions": [{"class_name", "message", "stack"}]}`."""
    origin: Mapping[str, Any] | None = None
    """Added to what the region knows: `flow_name`, `dataset_name`, ..."""
    event_id: str | None = None
    timestamp: int | None = None


class Events:
    """The events of a region's pipelines."""

    def __init__(self, database: Database, clock: Clock, ids: Ids, region: str) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._region = region

    def add(
        self,
        connection: Connection,
        pipeline: tuple[str, str],
        update_id: str | None,
        *found: PipelineEvent,
    ) -> None:
        """Record `found`, in this order, in the transaction that made them true.

        `pipeline` is (id, name).
        """
        rows = [self._row(pipeline, update_id, event) for event in found]
        if rows:
            connection.execute(insert(events), rows)

    def _row(
        self, pipeline: tuple[str, str], update_id: str | None, event: PipelineEvent
    ) -> dict[str, Any]:
        now = millis(self._clock.now()) if event.timestamp is None else event.timestamp
        event_id = event.event_id or self._ids.new()
        origin = {
            "cloud": "AWS",
            "region": self._region,
            "pipeline_id": pipeline[0],
            "pipeline_name": pipeline[1],
            **({"update_id": update_id} if update_id else {}),
            **{key: value for key, value in (event.origin or {}).items() if value is not None},
        }
        body = {
            "id": event_id,
            "origin": origin,
            "timestamp": rfc3339(now),
            "message": event.message,
            "level": event.level,
            "event_type": event.event_type,
            "maturity_level": "STABLE",
            **({"error": dict(event.error)} if event.error else {}),
            **({"details": dict(event.details)} if event.details else {}),
        }
        return {
            "event_id": event_id,
            "pipeline_id": pipeline[0],
            "update_id": update_id,
            "timestamp": now,
            "event_type": event.event_type,
            "level": event.level,
            "body": body,
        }

    def list(
        self,
        pipeline_id: str,
        *,
        text: str | None = None,
        ascending: bool = False,
        size: int = DEFAULT_PAGE,
        page_token: str | None = None,
    ) -> tuple[list[dict[str, Any]], str | None]:
        """(events, token of the next page) that the filter `text` lets through.

        A page token carries its filter and order, so that every page belongs to one question.
        """
        at = place(page_token, "t", "n", "f", "a")
        if at is not None:
            text, ascending = str(at["f"]), bool(at["a"])
        size = max(1, min(size, _MAX_PAGE))
        query = select(events.c.body, events.c.timestamp, events.c.number).where(
            events.c.pipeline_id == pipeline_id, *map(_clause, parse(text, _FIELDS))
        )
        moment, number = events.c.timestamp, events.c.number
        if at is not None and ascending:
            query = query.where(or_(moment > at["t"], and_(moment == at["t"], number > at["n"])))
        elif at is not None:
            query = query.where(or_(moment < at["t"], and_(moment == at["t"], number < at["n"])))
        order = (moment, number) if ascending else (moment.desc(), number.desc())
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(*order).limit(size + 1)).all()
        shown, more = page(list(rows), size)
        following = None
        if more:
            last = shown[-1]
            following = token(t=last.timestamp, n=last.number, f=text or "", a=int(ascending))
        return [row.body for row in shown], following

    def forget(self, before: int) -> None:
        """Remove the events older than `before`, milliseconds since 1970."""
        with self._database.write() as connection:
            connection.execute(delete(events).where(events.c.timestamp < before))


def failure(
    class_name: str, message: str, *, fatal: bool = True, stack: Any = ()
) -> dict[str, Any]:
    """The `error` of an event. `stack` is a list of frames as the API writes them."""
    exception: dict[str, Any] = {"class_name": class_name, "message": message}
    if stack:
        exception["stack"] = list(stack)
    return {"fatal": fatal, "exceptions": [exception]}


def _clause(condition: Condition) -> ColumnElement[bool]:
    column: Any = _FIELDS[condition.field]
    values: list[Any] = list(condition.values)
    if condition.field == "timestamp":
        values = [_timestamp(value) for value in values]
    elif condition.field in {"level", "event_type"} and condition.operator not in {"=", "!=", "in"}:
        raise InvalidParameterError(
            f"the field {condition.field!r} can be compared by =, != and IN only"
        )
    if condition.operator == "in":
        found: ColumnElement[bool] = column.in_(values)
        return found
    if condition.operator == "like":
        raise InvalidParameterError("events cannot be filtered by LIKE; use =, IN, < or >")
    operators = {
        "=": "__eq__",
        "!=": "__ne__",
        "<": "__lt__",
        "<=": "__le__",
        ">": "__gt__",
        ">=": "__ge__",
    }
    compared: ColumnElement[bool] = getattr(column, operators[condition.operator])(values[0])
    return compared


def _timestamp(text: str) -> int:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidParameterError(
            f"{text!r} is not a timestamp; write it like '2026-01-01T00:00:00.000Z'"
        ) from None
    return millis(found if found.tzinfo else found.replace(tzinfo=UTC))
