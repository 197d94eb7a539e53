"""The part of the control loop that looks after updates.

Each turn reads what is asked for (the pipelines), what is (the updates and what workers reported),
and moves every update by at most one state. A turn never waits; only the loop does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import structlog
from sqlalchemy import Connection, func, select, update

from proa.backoff import Retries
from proa.clock import Clock, Ids
from proa.errors import ConflictError
from proa.region.pipelines.pipeline_events import Events
from proa.region.pipelines.pipelines import StoredPipeline, pipeline_from_row
from proa.region.pipelines.updates import Update, UpdateCause, Updates, update_from_row
from proa.region.state import Database, LostError, StateUnavailableError, outlive_mistakes
from proa.region.state.state_tables import pipelines, updates
from proa.region.workers.charges import Charges
from proa.region.workers.port import Report, Work, Workers
from proa.runtime.event import failure, from_json
from proa.states import UpdateState
from proa.times import millis

MAX_ATTEMPTS = 6
"""How many servers may die soon after they began one update, before it counts as the cause."""

FIRST_BACKOFF_S = 5.0
MAX_BACKOFF_S = 300.0
_BACKOFF = Retries(None, FIRST_BACKOFF_S / 2, MAX_BACKOFF_S / 2, spread=2.0)
HEALTHY_AFTER_S = 600.0
"""An update that ran this long begins counting failures, and dead servers, anew."""

_KILL_AGAIN_S = 1.0

_log = structlog.get_logger("proa.region")


class UpdateLoop:
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
        grace_seconds: float,
    ) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._events = events
        self._updates = states
        self._plan = plan
        self._wake = wake
        self._charges = Charges(workers, clock, wake)
        self._stopping: dict[str, float] = {}
        """The updates that were asked to stop, and when they are ended if they have not stopped."""
        self._grace_seconds = grace_seconds
        self._handing_back = False

    def recover(self, *, died: bool = True) -> None:
        """Make the state true after a server's end: nobody runs what was active.

        `died` says that it was not told to end.
        """
        for pipeline, found in self._active():
            if found.stop_requested or found.state is not UpdateState.QUEUED:
                self._requeue(pipeline, found, died=died)

    def turn(self) -> None:
        """Look once, and do what is due."""
        self._charges.drain(self._hear)
        active = self._active()
        known = {found.update_id for _, found in active}
        for update_id in self._charges:
            if update_id not in known:
                self._charges.kill(update_id)
        if self._handing_back:
            return
        for pipeline, found in active:
            with outlive_mistakes("an update cannot be moved on", update=found.update_id):
                self._stop_or_start(pipeline, found)
        self._keep_continuous()

    def next_due(self) -> int | None:
        """When a failed continuous pipeline is tried again, or an update that was asked to stop is
        ended, milliseconds since 1970. None: neither.
        """
        now = millis(self._clock.now())
        with self._database.read() as connection:
            retry_at = connection.scalar(
                select(func.min(pipelines.c.retry_at)).where(
                    pipelines.c.retry_at > now, pipelines.c.wanted
                )
            )
        due = [] if retry_at is None else [int(retry_at)]
        if self._stopping:
            left = min(self._stopping.values()) - self._clock.monotonic()
            due.append(now + int(1000 * (left if left > 0 else _KILL_AGAIN_S)))
        return min(due, default=None)

    def hand_back(self, seconds: float) -> None:
        """Stop all workers; what they leave unfinished is queued for the next server."""
        self._handing_back = True
        for update_id in self._charges:
            self._charges.stop(update_id)
        self._charges.finish(seconds, self._hear)
        self.recover(died=False)

    def _requeue(self, pipeline: StoredPipeline, found: Update, *, died: bool) -> None:
        """Say what is true of an active update that no process works on."""
        with self._database.write() as connection:
            if found.stop_requested:
                self._updates.enter(connection, pipeline.key, found, UpdateState.CANCELED)
                return
            if died and found.attempt >= MAX_ATTEMPTS:
                reason = f"the region's server died {found.attempt} times while it ran"
                self._fail(connection, pipeline, found, "SERVER_DIED", reason)
                return
            self._events.add(
                connection,
                pipeline.key,
                found.update_id,
                "update_progress",
                "The region's server stopped while this update ran;"
                " it goes on from the last committed batch.",
                level="WARN",
            )
            self._updates.enter(connection, pipeline.key, found, UpdateState.QUEUED, died=died)

    def _hear(self, update_id: str, reports: Sequence[Report]) -> None:
        """Write what an update's worker has said since the last turn, in one transaction."""
        ended = any(report.kind == "end" for report in reports)
        entry = self._entry(update_id)
        if entry is not None and any(_is_news(entry[1], report) for report in reports):
            pipeline, found = entry
            with self._database.write() as connection:
                for report in reports:
                    found = self._write_report(connection, pipeline, found, report)
        if ended:
            self._stopping.pop(update_id, None)

    def _write_report(
        self, connection: Connection, pipeline: StoredPipeline, found: Update, report: Report
    ) -> Update:
        """Write one report; returns the update as it is after it."""
        if report.kind == "end":
            self._end(connection, pipeline, found, report.data)
        elif report.kind == "state" and _is_news(found, report):
            state = UpdateState(str(report.data["state"]))
            since = report.data.get("timestamp")
            self._updates.enter(connection, pipeline.key, found, state, since=since)
            return replace(found, state=state)
        elif report.kind == "event":
            event = from_json(report.data["event"])
            self._events.copy(connection, pipeline.key, found.update_id, event)
        elif report.kind == "output":
            text = str(report.data["text"])
            self._events.add(connection, pipeline.key, found.update_id, "user_output", text)
        return found

    def _end(
        self,
        connection: Connection,
        pipeline: StoredPipeline,
        found: Update,
        data: Mapping[str, Any],
    ) -> None:
        """Write how an update's worker ended."""
        outcome = data["outcome"]
        _log.info("update ended", update=found.update_id, pipeline=pipeline.name, how=outcome)
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
        connection: Connection,
        pipeline: StoredPipeline,
        found: Update,
        condition: str,
        reason: str,
        *,
        retry: bool = True,
        stack: Any = (),
    ) -> None:
        self._updates.enter(
            connection,
            pipeline.key,
            found,
            UpdateState.FAILED,
            error=reason,
            failed_by=failure(condition, reason, stack),
        )
        _log.warning("update failed", update=found.update_id, pipeline=pipeline.name, why=condition)
        if not found.continuous:
            return
        now = millis(self._clock.now())
        failures = 1 if self._seconds_running(found) >= HEALTHY_AFTER_S else pipeline.failures + 1
        wait = _BACKOFF.pause(failures, self._ids)
        connection.execute(
            update(pipelines)
            .where(pipelines.c.pipeline_id == pipeline.pipeline_id)
            .values(failures=failures, retry_at=now + int(1000 * wait) if retry else None)
        )

    def _seconds_running(self, found: Update) -> float:
        """How long it has been running, in seconds."""
        now = millis(self._clock.now())
        return (now - (found.started_at or now)) / 1000

    @staticmethod
    def _healthy(connection: Connection, pipeline: StoredPipeline) -> None:
        connection.execute(
            update(pipelines)
            .where(pipelines.c.pipeline_id == pipeline.pipeline_id)
            .values(failures=0, retry_at=None)
        )

    def _stop_or_start(self, pipeline: StoredPipeline, found: Update) -> None:
        begun = found.update_id in self._charges
        if not begun and found.state is not UpdateState.QUEUED:
            # Its beginning was written and then came to nothing.
            self._requeue(pipeline, found, died=False)
            return
        stale = found.continuous and (
            not pipeline.continuous or not pipeline.wanted or found.revision != pipeline.revision
        )
        if not (found.stop_requested or stale):
            if found.state is UpdateState.QUEUED and self._charges.free_places() > 0:
                self._start(pipeline, found)
            elif found.attempt > 1 and self._seconds_running(found) >= HEALTHY_AFTER_S:
                with self._database.write() as connection:
                    self._updates.forget_deaths(connection, found)
            return
        with self._database.write() as connection:
            if not begun:
                self._updates.enter(connection, pipeline.key, found, UpdateState.CANCELED)
                return
            if found.state is not UpdateState.STOPPING:
                connection.execute(
                    update(updates)
                    .where(updates.c.number == found.number)
                    .values(stop_requested=True)
                )
                self._updates.enter(connection, pipeline.key, found, UpdateState.STOPPING)
        now = self._clock.monotonic()
        patience = self._stopping.get(found.update_id)
        if patience is None:
            self._stopping[found.update_id] = now + self._grace_seconds
            self._charges.stop(found.update_id)
        elif now >= patience:
            self._charges.kill(found.update_id)

    def _start(self, pipeline: StoredPipeline, found: Update) -> None:
        try:
            payload = self._plan(found)
        except (StateUnavailableError, LostError):
            raise
        except Exception as error:  # noqa: BLE001 - any mistake in a spec fails its update only
            with self._database.write() as connection:
                condition = getattr(error, "condition", type(error).__name__)
                self._fail(connection, pipeline, found, condition, str(error), retry=False)
            return
        with self._database.write() as connection:
            self._updates.enter(connection, pipeline.key, found, UpdateState.INITIALIZING)
        _log.info("update begins", update=found.update_id, pipeline=pipeline.name)
        try:
            self._charges.start(Work(found.update_id, "update", payload))
        except OSError as error:
            with self._database.write() as connection:
                reason = f"no worker process could be started: {error}; the update can be repeated"
                self._fail(connection, pipeline, found, "WORKER_NOT_STARTED", reason)

    def _keep_continuous(self) -> None:
        now = millis(self._clock.now())
        with self._database.read() as connection:
            rows = connection.execute(
                select(pipelines)
                .outerjoin(updates, updates.c.active == pipelines.c.pipeline_id)
                .where(pipelines.c.wanted, updates.c.number.is_(None))
            )
            idle = [pipeline_from_row(row) for row in rows]
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

    def _active(self) -> list[tuple[StoredPipeline, Update]]:
        with self._database.read() as connection:
            active = connection.execute(
                select(updates).where(updates.c.active.is_not(None)).order_by(updates.c.number)
            ).all()
            if not active:
                return []
            owners = connection.execute(
                select(pipelines).where(
                    pipelines.c.pipeline_id.in_(
                        select(updates.c.active).where(updates.c.active.is_not(None))
                    )
                )
            )
            by_id = {row.pipeline_id: pipeline_from_row(row) for row in owners}
        return [
            (by_id[row.pipeline_id], update_from_row(row))
            for row in active
            if row.pipeline_id in by_id
        ]

    def _entry(self, update_id: str) -> tuple[StoredPipeline, Update] | None:
        """The active update with that id, and its pipeline. Returns None if it is over or gone."""
        with self._database.read() as connection:
            row = connection.execute(
                select(updates).where(
                    updates.c.update_id == update_id, updates.c.active.is_not(None)
                )
            ).first()
            if row is None:
                return None
            owner = connection.execute(
                select(pipelines).where(pipelines.c.pipeline_id == row.pipeline_id)
            ).first()
        return None if owner is None else (pipeline_from_row(owner), update_from_row(row))


def _is_news(found: Update, report: Report) -> bool:
    """Whether a report says more than what is written already."""
    if report.kind != "state":
        return True
    state = UpdateState(str(report.data["state"]))
    return state is not found.state and not found.stop_requested and not state.over
