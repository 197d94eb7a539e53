"""The part of the control loop that looks after updates.

Each turn reads what is asked for (the pipelines), what is (the updates and what workers reported),
and moves every update by at most one state. A turn never waits; only the loop does.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from sqlalchemy import Row, select, update

from proa.clock import Clock, Ids
from proa.errors import ConflictError
from proa.region import pipelines as of_pipelines
from proa.region import updates as of_updates
from proa.region.events import Event, Events, failure
from proa.region.pipelines import Pipeline
from proa.region.store import Database
from proa.region.store.tables import pipelines, updates
from proa.region.times import millis
from proa.region.updates import Update, UpdateCause, Updates, UpdateState
from proa.region.workers import Handle, Report, Work, Workers

MAX_ATTEMPTS = 6
"""How many servers may try one update before it counts as what kills them."""

FIRST_BACKOFF_S = 5.0
MAX_BACKOFF_S = 300.0
HEALTHY_AFTER_S = 600.0
"""A continuous update that ran this long begins counting failures anew."""

_log = structlog.get_logger("proa.region")


class Supervisor:
    """Keeps the updates of a region as they should be."""

    def __init__(  # noqa: PLR0913, PLR0917 - its parts
        self,
        database: Database,
        clock: Clock,
        ids: Ids,
        events: Events,
        states: Updates,
        workers: Workers,
        plan: Callable[[Update], Mapping[str, Any]],
        wake: Callable[[], None],
    ) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._events = events
        self._updates = states
        self._workers = workers
        self._plan = plan
        self._wake = wake
        self._handles: dict[str, Handle] = {}
        self._stopping: set[str] = set()
        self._inbox: queue.SimpleQueue[Report] = queue.SimpleQueue()
        self._handing_back = False

    def recover(self) -> None:
        """Make the state true after a server's death: nobody runs what was active."""
        for pipeline, found in self._active():
            with self._database.write() as connection:
                if found.stop_requested:
                    self._updates.enter(connection, pipeline.key, found, UpdateState.CANCELED)
                elif found.attempt >= MAX_ATTEMPTS:
                    reason = f"the region's server died {found.attempt} times while it ran"
                    self._fail(connection, pipeline, found, "SERVER_DIED", reason, retry=False)
                elif found.state is not UpdateState.QUEUED:
                    self._events.add(
                        connection,
                        pipeline.key,
                        found.update_id,
                        Event(
                            "update_progress",
                            "The region's server stopped while this update ran;"
                            " it goes on from the last committed batch.",
                            level="WARN",
                        ),
                    )
                    self._updates.enter(connection, pipeline.key, found, UpdateState.QUEUED)

    def turn(self) -> None:
        """Look once, and do what is due."""
        self._read_reports()
        active = self._active()
        known = {found.update_id for _, found in active}
        for update_id in self._handles.keys() - known:
            self._handles[update_id].kill()
        if self._handing_back:
            return
        for pipeline, found in active:
            self._stop_or_start(pipeline, found)
        self._keep_continuous()

    def next_due(self) -> int | None:
        """When a failed continuous pipeline is to be tried again; None for no such time."""
        with self._database.read() as connection:
            times = connection.scalars(
                select(pipelines.c.retry_at).where(
                    pipelines.c.retry_at.is_not(None), pipelines.c.wanted
                )
            ).all()
        return min((int(time) for time in times if time is not None), default=None)

    def hand_back(self, seconds: float) -> None:
        """Stop all workers; what they leave unfinished is queued for the next server."""
        self._handing_back = True
        for handle in self._handles.values():
            handle.stop()
        end = self._clock.monotonic() + seconds
        while self._handles and (left := end - self._clock.monotonic()) > 0:
            try:
                self._read(self._inbox.get(timeout=min(left, 0.2)))
            except queue.Empty:
                continue
        for handle in self._handles.values():
            handle.kill()
        self._read_reports()
        self._handles.clear()
        self.recover()

    def _report(self, report: Report) -> None:
        self._inbox.put(report)
        self._wake()

    def _read_reports(self) -> None:
        while True:
            try:
                report = self._inbox.get_nowait()
            except queue.Empty:
                return
            self._read(report)

    def _read(self, report: Report) -> None:
        if report.kind == "end":
            self._handles.pop(report.work_id, None)
            self._stopping.discard(report.work_id)
        entry = self._entry(report.work_id)
        if entry is None:
            return
        pipeline, found = entry
        if report.kind == "end":
            self._ended(pipeline, found, report.data)
        elif report.kind == "state":
            state = UpdateState(str(report.data["state"]))
            if state is not found.state and not found.stop_requested and not state.over:
                with self._database.write() as connection:
                    self._updates.enter(
                        connection, pipeline.key, found, state, since=report.data.get("timestamp")
                    )
        elif report.kind == "event":
            with self._database.write() as connection:
                self._events.add(
                    connection, pipeline.key, found.update_id, _event(report.data["event"])
                )
        elif report.kind == "output":
            with self._database.write() as connection:
                self._events.add(
                    connection,
                    pipeline.key,
                    found.update_id,
                    Event("user_output", str(report.data["text"])),
                )

    def _ended(self, pipeline: Pipeline, found: Update, data: Mapping[str, Any]) -> None:
        outcome = data["outcome"]
        _log.info("update ended", update=found.update_id, pipeline=pipeline.name, how=outcome)
        with self._database.write() as connection:
            if outcome in {"FAILED", "CRASHED"}:
                if found.stop_requested and outcome == "CRASHED":
                    self._updates.enter(connection, pipeline.key, found, UpdateState.CANCELED)
                    return
                if self._handing_back and outcome == "CRASHED":
                    self._updates.enter(connection, pipeline.key, found, UpdateState.QUEUED)
                    return
                self._fail(
                    connection,
                    pipeline,
                    found,
                    str(data.get("condition") or "UPDATE_FAILED"),
                    str(data.get("error") or "the update failed"),
                    retry=bool(data.get("retryable", True)),
                    stack=data.get("stack") or (),
                )
            elif outcome == "COMPLETED":
                self._updates.enter(connection, pipeline.key, found, UpdateState.COMPLETED)
                self._healthy(connection, pipeline)
            elif self._handing_back and not found.stop_requested:
                self._updates.enter(connection, pipeline.key, found, UpdateState.QUEUED)
            else:
                self._updates.enter(connection, pipeline.key, found, UpdateState.CANCELED)
                self._healthy(connection, pipeline)

    def _fail(  # noqa: PLR0913 - what the event says
        self,
        connection: Any,
        pipeline: Pipeline,
        found: Update,
        condition: str,
        reason: str,
        *,
        retry: bool,
        stack: Any = (),
    ) -> None:
        self._updates.enter(
            connection,
            pipeline.key,
            found,
            UpdateState.FAILED,
            error=reason,
            failed_by=failure(condition, reason, stack=stack),
        )
        _log.warning("update failed", update=found.update_id, pipeline=pipeline.name, why=condition)
        if not found.continuous:
            return
        now = millis(self._clock.now())
        lasted = (now - (found.started_at or now)) / 1000
        failures = 1 if lasted >= HEALTHY_AFTER_S else pipeline.failures + 1
        wait = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2 ** min(failures - 1, 16))
        wait *= 0.5 + self._ids.jitter()
        connection.execute(
            update(pipelines)
            .where(pipelines.c.pipeline_id == pipeline.pipeline_id)
            .values(failures=failures, retry_at=now + int(1000 * wait) if retry else None)
        )

    @staticmethod
    def _healthy(connection: Any, pipeline: Pipeline) -> None:
        connection.execute(
            update(pipelines)
            .where(pipelines.c.pipeline_id == pipeline.pipeline_id)
            .values(failures=0, retry_at=None)
        )

    def _stop_or_start(self, pipeline: Pipeline, found: Update) -> None:
        stale = found.continuous and (
            not pipeline.continuous or not pipeline.wanted or found.revision != pipeline.revision
        )
        if not (found.stop_requested or stale):
            if found.state is UpdateState.QUEUED and self._workers.free() > 0:
                self._start(pipeline, found)
            return
        handle = self._handles.get(found.update_id)
        with self._database.write() as connection:
            if handle is None:
                self._updates.enter(connection, pipeline.key, found, UpdateState.CANCELED)
                return
            if found.state is not UpdateState.STOPPING:
                connection.execute(
                    update(updates)
                    .where(updates.c.number == found.number)
                    .values(stop_requested=True)
                )
                self._updates.enter(connection, pipeline.key, found, UpdateState.STOPPING)
        if found.update_id not in self._stopping:
            self._stopping.add(found.update_id)
            handle.stop()

    def _start(self, pipeline: Pipeline, found: Update) -> None:
        try:
            payload = self._plan(found)
        except Exception as error:  # noqa: BLE001 - any mistake in a spec fails its update only
            with self._database.write() as connection:
                condition = getattr(error, "condition", type(error).__name__)
                self._fail(connection, pipeline, found, condition, str(error), retry=False)
            return
        with self._database.write() as connection:
            self._updates.enter(connection, pipeline.key, found, UpdateState.INITIALIZING)
        _log.info("update begins", update=found.update_id, pipeline=pipeline.name)
        work = Work(found.update_id, "update", payload)
        self._handles[found.update_id] = self._workers.start(work, self._report)

    def _keep_continuous(self) -> None:
        now = millis(self._clock.now())
        with self._database.read() as connection:
            rows = connection.execute(
                select(pipelines)
                .outerjoin(updates, updates.c.active == pipelines.c.pipeline_id)
                .where(pipelines.c.wanted, updates.c.number.is_(None))
            )
            idle = [of_pipelines.of(row) for row in rows]
        for pipeline in idle:
            tried = pipeline.failures > 0
            due = not tried or (pipeline.retry_at is not None and pipeline.retry_at <= now)
            if not (pipeline.continuous and due):
                continue
            cause = UpdateCause.RETRY_ON_FAILURE if tried else UpdateCause.USER_ACTION
            try:
                self._updates.start(pipeline, {}, cause)
            except ConflictError:
                continue
            self._wake()

    def _active(self) -> list[tuple[Pipeline, Update]]:
        with self._database.read() as connection:
            rows = connection.execute(
                select(updates).where(updates.c.active.is_not(None)).order_by(updates.c.number)
            )
            return [entry for row in rows if (entry := self._with_pipeline(connection, row))]

    def _entry(self, update_id: str) -> tuple[Pipeline, Update] | None:
        with self._database.read() as connection:
            row = connection.execute(
                select(updates).where(
                    updates.c.update_id == update_id, updates.c.active.is_not(None)
                )
            ).first()
            return None if row is None else self._with_pipeline(connection, row)

    @staticmethod
    def _with_pipeline(connection: Any, row: Row[Any]) -> tuple[Pipeline, Update] | None:
        owner = connection.execute(
            select(pipelines).where(pipelines.c.pipeline_id == row.pipeline_id)
        ).first()
        return None if owner is None else (of_pipelines.of(owner), of_updates.of(row))


def _event(data: Mapping[str, Any]) -> Event:
    known = {key: data[key] for key in Event.__dataclass_fields__ if key in data}
    return Event(**known)
