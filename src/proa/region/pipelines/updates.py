"""Updates: one run of a pipeline each, and the states they pass through.

    QUEUED -> INITIALIZING -> [RESETTING | SETTING_UP_TABLES] -> RUNNING -> COMPLETED
                    |                                               |----> FAILED
                    `-------> STOPPING -----------------------------'----> CANCELED

A pipeline has at most one active update; the database sees to it. An update that the region's
server left behind goes back to QUEUED under its own id and runs again: batches are exactly-once,
so running again is safe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from proa.clock import Clock, Ids
from proa.http.api_errors import MissingError, TakenError
from proa.http.paging import make_page_token, read_page_token, split_page
from proa.region.pipelines.pipeline_events import Events
from proa.region.pipelines.pipelines import PipelineState, StoredPipeline, shown_spec
from proa.region.state import Database
from proa.region.state.state_tables import pipelines, updates
from proa.settings import THROUGH
from proa.states import UpdateState
from proa.times import millis

_MAX_PAGE = 100
_OTHER = updates.alias()


class UpdateCause(StrEnum):
    """Why an update was started."""

    API_CALL = "API_CALL"
    INFRASTRUCTURE_MAINTENANCE = "INFRASTRUCTURE_MAINTENANCE"
    JOB_TASK = "JOB_TASK"
    RETRY_ON_FAILURE = "RETRY_ON_FAILURE"
    SCHEMA_CHANGE = "SCHEMA_CHANGE"
    SERVICE_UPGRADE = "SERVICE_UPGRADE"
    USER_ACTION = "USER_ACTION"


@dataclass(frozen=True)
class Update:
    """One update."""

    number: int
    update_id: str
    pipeline_id: str
    state: UpdateState
    cause: str
    request: Mapping[str, Any]
    """`full_refresh`, the selections, `validate_only` and `parameters`, as they were sent."""
    spec: Mapping[str, Any]
    """The pipeline's spec when the update was started: what it runs."""
    continuous: bool
    revision: int
    attempt: int
    """Counts, from 1, the servers that tried to run it and soon died."""
    stop_requested: bool
    error: str | None
    created_at: int
    started_at: int | None
    ended_at: int | None

    @property
    def parameters(self) -> dict[str, str]:
        """What this update alone adds to the pipeline's configuration."""
        given: Mapping[str, str] = self.request.get("parameters") or {}
        return {key: value for key, value in given.items() if key != THROUGH}


class Updates:
    """The updates of a region's pipelines."""

    def __init__(self, database: Database, clock: Clock, ids: Ids, events: Events) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._events = events

    def start(
        self, pipeline: StoredPipeline, request: Mapping[str, Any], cause: UpdateCause
    ) -> str:
        """Queue an update and return its id.

        TakenError while another one is active, MissingError when the pipeline is gone.
        """
        with self._database.write() as connection:
            return self.begin(connection, pipeline, request, cause)

    def begin(
        self,
        connection: Connection,
        pipeline: StoredPipeline,
        request: Mapping[str, Any],
        cause: UpdateCause,
    ) -> str:
        """As `start`, in a transaction that does more."""
        # PostgreSQL lets two writers go on side by side: the second waits here for the first.
        known = connection.scalar(
            select(pipelines.c.number)
            .where(pipelines.c.pipeline_id == pipeline.pipeline_id)
            .with_for_update()
        )
        if known is None:
            raise MissingError(f"The specified pipeline {pipeline.pipeline_id} was not found.")
        active = connection.scalar(
            select(updates.c.update_id).where(updates.c.active == pipeline.pipeline_id)
        )
        if active is not None:
            raise TakenError(
                f"An active update {active} already exists for pipeline"
                f" {pipeline.pipeline_id}; stop it or wait for its end."
            )
        continuous = pipeline.continuous and not request.get("validate_only")
        update_id = self._ids.new()
        connection.execute(
            insert(updates).values(
                update_id=update_id,
                pipeline_id=pipeline.pipeline_id,
                state=UpdateState.QUEUED,
                cause=cause,
                request=dict(request),
                spec=shown_spec(pipeline),
                continuous=continuous,
                revision=pipeline.revision,
                attempt=1,
                stop_requested=False,
                created_at=millis(self._clock.now()),
                active=pipeline.pipeline_id,
            )
        )
        if continuous:
            connection.execute(
                update(pipelines)
                .where(pipelines.c.pipeline_id == pipeline.pipeline_id)
                .values(wanted=True)
            )
        self._events.add(
            connection,
            pipeline.key,
            update_id,
            "create_update",
            f"Update {update_id[:6]} started by {cause}.",
            details={"cause": cause, **request},
        )
        self._say_state(connection, pipeline.key, update_id, UpdateState.QUEUED)
        return update_id

    def get(self, update_id: str, pipeline_id: str | None = None) -> Update:
        """The update. MissingError when there is none (of that pipeline)."""
        with self._database.read() as connection:
            row = connection.execute(
                select(updates).where(updates.c.update_id == update_id)
            ).first()
        if row is None or pipeline_id not in (None, row.pipeline_id):
            raise MissingError(f"The specified update {update_id} was not found.")
        return update_from_row(row)

    def active(self, pipeline_id: str) -> Update | None:
        """The pipeline's active update, if it has one."""
        with self._database.read() as connection:
            row = connection.execute(select(updates).where(updates.c.active == pipeline_id)).first()
        return None if row is None else update_from_row(row)

    def latest(self, pipeline_ids: Sequence[str], size: int) -> dict[str, list[Update]]:
        """The `size` newest updates of each of the pipelines, newest first, in one statement."""
        of_pipeline: dict[str, list[Update]] = {pipeline_id: [] for pipeline_id in pipeline_ids}
        newest = (
            select(_OTHER.c.number)
            .where(_OTHER.c.pipeline_id == pipelines.c.pipeline_id)
            .order_by(_OTHER.c.number.desc())
            .limit(size)
            .correlate(pipelines)
        )
        query = (
            select(updates)
            .join(pipelines, updates.c.pipeline_id == pipelines.c.pipeline_id)
            .where(pipelines.c.pipeline_id.in_(pipeline_ids), updates.c.number.in_(newest))
            .order_by(updates.c.number.desc())
        )
        with self._database.read() as connection:
            for row in connection.execute(query):
                of_pipeline[row.pipeline_id].append(update_from_row(row))
        return of_pipeline

    def list(
        self,
        pipeline_id: str,
        *,
        size: int,
        page_token: str | None = None,
        until: str | None = None,
    ) -> tuple[list[Update], str | None]:
        """(updates, newest first, token of the next page), those after `until` only."""
        at = read_page_token(page_token, "before")
        size = max(1, min(size, _MAX_PAGE))
        query = select(updates).where(updates.c.pipeline_id == pipeline_id)
        if at is not None:
            query = query.where(updates.c.number < at["before"])
        if until is not None:
            query = query.where(updates.c.number >= self.get(until, pipeline_id).number)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(updates.c.number.desc()).limit(size + 1))
            found = [update_from_row(row) for row in rows]
        shown, more = split_page(found, size)
        return shown, make_page_token(before=shown[-1].number) if more else None

    def count(self) -> dict[str, int]:
        """How many updates there are in each state."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(updates.c.state, func.count()).group_by(updates.c.state)
            )
            return {state: number for state, number in rows}  # noqa: C416 - rows are not pairs

    def forget(self, before: int) -> None:
        """Remove the updates that ended before, milliseconds since 1970."""
        with self._database.write() as connection:
            connection.execute(delete(updates).where(updates.c.ended_at < before))

    def request_stop(self, pipeline_id: str) -> None:
        """Ask the active update, if there is one, to stop at the end of its batch."""
        with self._database.write() as connection:
            connection.execute(
                update(updates).where(updates.c.active == pipeline_id).values(stop_requested=True)
            )

    @staticmethod
    def request_stop_of(connection: Connection, update_id: str) -> None:
        """Ask one update to stop; nothing happens when it is over."""
        connection.execute(
            update(updates)
            .where(updates.c.update_id == update_id, updates.c.active.is_not(None))
            .values(stop_requested=True)
        )

    @staticmethod
    def forget_deaths(connection: Connection, found: Update) -> None:
        """Begin to count anew the servers that died while it ran."""
        connection.execute(
            update(updates).where(updates.c.number == found.number).values(attempt=1)
        )

    def state_of(self, pipeline: StoredPipeline, latest: Sequence[Update]) -> PipelineState:
        """What the pipeline is doing, given its updates, newest first."""
        if latest and not latest[0].state.over:
            return _WHILE_ACTIVE.get(
                latest[0].state,
                PipelineState.RECOVERING if pipeline.failures else PipelineState.STARTING,
            )
        if not (pipeline.continuous and pipeline.wanted):
            return PipelineState.IDLE
        if not pipeline.failures:
            return PipelineState.STARTING
        return PipelineState.FAILED if pipeline.retry_at is None else PipelineState.RECOVERING

    def enter(  # noqa: PLR0913 - what a change of state is made of
        self,
        connection: Connection,
        pipeline: tuple[str, str],
        found: Update,
        state: UpdateState,
        *,
        error: str | None = None,
        failed_by: Mapping[str, Any] | None = None,
        since: int | None = None,
        died: bool = False,
    ) -> None:
        """Write that the update is in `state`, and the event that says so.

        `since` is when it got there, milliseconds since 1970; None: now. `died` counts a server
        that died while it ran.
        """
        now = millis(self._clock.now())
        values: dict[str, Any] = {"state": state}
        if state is UpdateState.QUEUED:
            values |= {"started_at": None, "attempt": found.attempt + int(died)}
        if state is UpdateState.INITIALIZING:
            values["started_at"] = now
        if state.over:
            values |= {"active": None, "ended_at": now, "error": error}
        connection.execute(update(updates).where(updates.c.number == found.number).values(**values))
        self._say_state(connection, pipeline, found.update_id, state, error, failed_by, since)

    def _say_state(  # noqa: PLR0913, PLR0917 - what the event says
        self,
        connection: Connection,
        pipeline: tuple[str, str],
        update_id: str,
        state: UpdateState,
        error: str | None = None,
        failed_by: Mapping[str, Any] | None = None,
        since: int | None = None,
    ) -> None:
        """Record the event that an update is in `state`."""
        message = f"Update {update_id[:6]} is {state}."
        self._events.add(
            connection,
            pipeline,
            update_id,
            "update_progress",
            f"{message} {error}" if error else message,
            level="ERROR" if state is UpdateState.FAILED else "INFO",
            details={"state": state},
            error=failed_by,
            since=since,
        )


def update_from_row(row: Row[Any]) -> Update:
    """A row of the table as an Update."""
    values = {name: getattr(row, name) for name in Update.__dataclass_fields__}
    return Update(**{**values, "state": UpdateState(row.state)})


_WHILE_ACTIVE = {
    UpdateState.RUNNING: PipelineState.RUNNING,
    UpdateState.RESETTING: PipelineState.RESETTING,
    UpdateState.STOPPING: PipelineState.STOPPING,
}
