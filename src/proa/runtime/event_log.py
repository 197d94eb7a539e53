"""The event log: what happened, in order, as a Delta table beside the pipeline's own tables.

Events are collected and flushed together: a flush is one small file and one commit. A flush
whose answer was lost is looked up in the table, as every commit is; no event is there twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from proa.clock import Clock, Ids
from proa.errors import ConflictError
from proa.lake import Change, Table, commit_change, create_table, write_rows
from proa.runtime.event import Event, Origin, error_object
from proa.steps import Step, step

_TIDY_EVERY = 64
"""Flushes of one runner."""
_SMALL_FILES = 64

Listener = Callable[[Event], None]


class EventLog:
    """Collects a runner's events and writes them to the table at `url`."""

    def __init__(  # noqa: PLR0913 - its parts
        self,
        url: str,
        options: Mapping[str, str],
        *,
        origin: Origin,
        clock: Clock,
        ids: Ids,
        listener: Listener | None = None,
    ) -> None:
        self.origin = origin
        self._listener = listener
        self._clock = clock
        self._ids = ids
        self._options = options
        self._table = Table.at(url, options)
        self._instance = ids.new()
        self._pending: list[Event] = []
        self._outgoing: list[Event] | None = None
        """The events of a flush that is not known to have happened: the next one is the same."""
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._sequence = 0
        self._flushes = 0

    def begin(self, update_id: str) -> None:
        """What happens from now on belongs to this update."""
        self.origin = replace(self.origin, update_id=update_id)

    def origin_of(self, flow: str, dataset: str) -> Origin:
        """The origin of an event of one flow."""
        return replace(self.origin, flow_name=flow, dataset_name=dataset)

    def add(  # noqa: PLR0913 - an event's columns
        self,
        event_type: str,
        message: str,
        *,
        level: str = "INFO",
        details: Mapping[str, Any] | None = None,
        error: BaseException | None = None,
        origin: Origin | None = None,
    ) -> Event:
        """Note an event. It is in the table after the next flush."""
        with self._lock:
            self._sequence += 1
            event = Event(
                id=self._ids.new(),
                sequence=self._sequence,
                origin=origin or self.origin,
                timestamp=self._clock.now(),
                message=message,
                level=level,
                event_type=event_type,
                details={event_type: dict(details or {})},
                error=None if error is None else error_object(error),
            )
            self._pending.append(event)
        if self._listener is not None:
            self._listener(event)
        return event

    @property
    def pending(self) -> int:
        """How many events are not in the table yet."""
        return len(self._pending) + len(self._outgoing or ())

    def flush(self) -> None:
        """Put the collected events into the table; those of a flush that failed go with the next.

        Raises UnavailableError when the storage does not answer.
        """
        with self._flushing:
            while True:
                if self._outgoing is None:
                    with self._lock:
                        self._outgoing, self._pending = self._pending, []
                if self._outgoing:
                    self._write(self._outgoing)
                    self._flushes += 1
                    self._tidy()
                self._outgoing = None
                if not self._pending:
                    return

    def _tidy(self) -> None:
        """Now and then, make one file of many small ones."""
        if self._flushes % _TIDY_EVERY == 1 and self._table.size()[0] > _SMALL_FILES:
            # Whoever writes now goes first; there will be another time.
            with suppress(ConflictError):
                self._table.compact()

    def _write(self, events: Sequence[Event]) -> None:
        from proa.runtime.event_rows import SCHEMA, event_rows

        table = self._table
        with step(Step.EVENTS_FLUSH):
            if table.refresh() is None:
                create_table(table, SCHEMA, comment="What happened to the pipeline.")
            attempt = self._ids.new()
            found = write_rows(
                event_rows(events, self._instance), table.url, self._options, attempt
            )
            app_id = f"proa:events:{self._instance}"
            commit_change(table, Change(app_id, self._flushes, attempt, 0, adds=[found]))
