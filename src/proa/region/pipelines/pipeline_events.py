"""What happened to a pipeline, as the API shows it: stored in order, newest shown first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, or_, select

from proa.clock import Clock, Ids
from proa.http.api_errors import InvalidParameterError
from proa.http.paging import make_page_token, read_page_token, split_page
from proa.region.pipelines.event_filter import Condition, parse
from proa.region.state import Database
from proa.region.state.state_tables import events
from proa.runtime.event import Event, Origin, as_json
from proa.times import millis, moment, parse_moment

_FIELDS = {
    "id": events.c.event_id,
    "level": events.c.level,
    "timestamp": events.c.timestamp,
    "update_id": events.c.update_id,
    "event_type": events.c.event_type,
}
_MAX_PAGE = 250
DEFAULT_PAGE = 25


class Events:
    """The events of a region's pipelines, each in the transaction that made it true."""

    def __init__(self, database: Database, clock: Clock, ids: Ids, region: str) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._region = region

    def add(  # noqa: PLR0913 - an event's columns
        self,
        connection: Connection,
        pipeline: tuple[str, str],
        update_id: str | None,
        event_type: str,
        message: str,
        *,
        level: str = "INFO",
        details: Mapping[str, Any] | None = None,
        error: Mapping[str, Any] | None = None,
        since: int | None = None,
    ) -> None:
        """Record what the server has done. `pipeline` is (id, name), `details` those of the type.

        `since` is when it happened, milliseconds since 1970; None: now.
        """
        event = Event(
            id=self._ids.new(),
            sequence=None,
            origin=self._origin(pipeline, update_id),
            timestamp=self._clock.now() if since is None else moment(since),
            message=message,
            level=level,
            event_type=event_type,
            details={} if details is None else {event_type: details},
            error=error,
        )
        self._insert(connection, event)

    def copy(
        self,
        connection: Connection,
        pipeline: tuple[str, str],
        update_id: str,
        event: Event,
    ) -> None:
        """Record an event that a worker's event log has, of the flow and dataset that it names."""
        origin = replace(
            self._origin(pipeline, update_id),
            flow_name=event.origin.flow_name,
            dataset_name=event.origin.dataset_name,
        )
        self._insert(connection, replace(event, origin=origin, sequence=None))

    def _origin(self, pipeline: tuple[str, str], update_id: str | None) -> Origin:
        return Origin(*pipeline, update_id=update_id, cloud="AWS", region=self._region)

    @staticmethod
    def _insert(connection: Connection, event: Event) -> None:
        row = {
            "event_id": event.id,
            "pipeline_id": event.origin.pipeline_id,
            "update_id": event.origin.update_id,
            "timestamp": millis(event.timestamp),
            "event_type": event.event_type,
            "level": event.level,
            "body": {name: value for name, value in as_json(event).items() if value},
        }
        connection.execute(insert(events), [row])

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
        at = read_page_token(page_token, "t", "n", "f", "a")
        if at is not None:
            text, ascending = str(at["f"]), bool(at["a"])
        size = max(1, min(size, _MAX_PAGE))
        query = select(events.c.body, events.c.timestamp, events.c.number).where(
            events.c.pipeline_id == pipeline_id, *map(_clause, parse(text, _FIELDS))
        )
        time, number = events.c.timestamp, events.c.number
        if at is not None and ascending:
            query = query.where(or_(time > at["t"], and_(time == at["t"], number > at["n"])))
        elif at is not None:
            query = query.where(or_(time < at["t"], and_(time == at["t"], number < at["n"])))
        order = (time, number) if ascending else (time.desc(), number.desc())
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(*order).limit(size + 1)).all()
        shown, more = split_page(list(rows), size)
        following = None
        if more:
            last = shown[-1]
            following = make_page_token(
                t=last.timestamp, n=last.number, f=text or "", a=int(ascending)
            )
        return [row.body for row in shown], following

    def forget(self, before: int) -> None:
        """Remove the events older than `before`, milliseconds since 1970."""
        with self._database.write() as connection:
            connection.execute(delete(events).where(events.c.timestamp < before))


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
        return millis(parse_moment(text))
    except ValueError:
        raise InvalidParameterError(
            f"{text!r} is not a timestamp; write it like '2026-01-01T00:00:00.000Z'"
        ) from None
