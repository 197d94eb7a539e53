"""The part of the control loop that moves runs on: tasks in order, retries, timeouts, cancelling.

Each turn reads a run with its attempts, decides what is due, and writes it; a turn never waits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from sqlalchemy import Connection, func, select, update

from proa.clock import Clock
from proa.errors import ProaError
from proa.http.api_errors import MissingError, TakenError
from proa.region.jobs import parameters
from proa.region.jobs.dependencies import Next, next_step
from proa.region.jobs.job_tasks import tasks_of, type_of
from proa.region.jobs.jobs import job_from_row
from proa.region.jobs.runs import (
    ACTIVE,
    CODES,
    FOR_EACH_RUN,
    Life,
    Result,
    Run,
    Runs,
    Trigger,
    find_run,
    latest_attempts,
    run_from_row,
    values_of,
)
from proa.region.pipelines.pipelines import Pipelines
from proa.region.pipelines.updates import UpdateCause, Updates
from proa.region.state import Database, LostError, StateUnavailableError, outlive_mistakes
from proa.region.state.state_tables import jobs, runs
from proa.region.workers.charges import Charges
from proa.region.workers.port import Report, Work, Workers
from proa.states import UpdateState
from proa.times import millis

_log = structlog.get_logger("proa.region")

_PIPELINE_OPTIONS = ("full_refresh", "full_refresh_selection", "refresh_selection")
_MAX_OUTPUT = 5 * 1024 * 1024

WorkOf = Callable[[Run, Mapping[str, Any]], Work]
"""(run, task with its references filled) -> what a worker is given; its id does not matter."""


class RunLoop:
    """Looks after the runs of a region."""

    def __init__(  # noqa: PLR0913, PLR0917 - its parts
        self,
        database: Database,
        clock: Clock,
        states: Runs,
        pipelines: Pipelines,
        updates: Updates,
        workers: Workers,
        work_of: WorkOf,
        source: Callable[[str], Mapping[str, Any]],
        wake: Callable[[], None],
    ) -> None:
        self._database = database
        self._clock = clock
        self._runs = states
        self._pipelines = pipelines
        self._updates = updates
        self._work_of = work_of
        self._source = source
        self._wake = wake
        self._charges = Charges(workers, clock, wake)
        self._handing_back = False

    def recover(self) -> None:
        """Make the state true after a server's death: no notebook runs any more."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(runs).where(
                    runs.c.parent_id.is_not(None),
                    runs.c.life_cycle.in_((Life.RUNNING, Life.TERMINATING)),
                    runs.c.update_id.is_(None),
                    runs.c.child_id.is_(None),
                )
            )
            lost = [run_from_row(row) for row in rows]
        for attempt in lost:
            self._write_lost(attempt)

    def turn(self) -> None:
        """Move every active run on."""
        self._charges.drain(self._hear)
        with self._database.read() as connection:
            rows = connection.execute(
                select(runs, jobs.c.job_id.label("known_job"))
                .outerjoin(jobs, jobs.c.job_id == runs.c.job_id)
                .where(runs.c.parent_id.is_(None), runs.c.life_cycle.in_(ACTIVE))
                .order_by(runs.c.run_id)
            )
            active = [
                (run_from_row(row), row.run_type == "JOB_RUN" and row.known_job is None)
                for row in rows
            ]
        attempts = self._runs.attempts([run.run_id for run, _ in active])
        for run, orphan in active:
            with outlive_mistakes("a run cannot be moved on", run=run.run_id):
                self._move(run, attempts[run.run_id], orphan=orphan)

    def next_due(self) -> int | None:
        """When a retry is due, or a timeout over, milliseconds since 1970. None: neither."""
        now = millis(self._clock.now())
        with self._database.read() as connection:
            retry_at = connection.scalar(
                select(func.min(runs.c.not_before)).where(
                    runs.c.life_cycle.in_((Life.BLOCKED, Life.PENDING)), runs.c.not_before > now
                )
            )
            rows = connection.execute(
                select(runs.c.started_at, runs.c.settings).where(
                    runs.c.life_cycle == Life.RUNNING, runs.c.started_at.is_not(None)
                )
            )
            due = [
                row.started_at + 1000 * int(row.settings["timeout_seconds"])
                for row in rows
                if row.settings.get("timeout_seconds")
            ]
        return min(due if retry_at is None else [*due, int(retry_at)], default=None)

    def hand_back(self, seconds: float) -> None:
        """Let notebooks end; those that do not in `seconds` are ended, and the state says so."""
        self._handing_back = True
        self._charges.finish(seconds, self._hear)
        self.recover()

    def _write_lost(self, attempt: Run) -> None:
        """Write that a notebook's process is gone and nobody knows how far it came."""
        if attempt.life_cycle is Life.TERMINATING:
            result, message = _stopped_result(attempt), ""
        else:
            result, message = Result.FAILED, _LOST
        with self._database.write() as connection:
            self._end(connection, attempt, result, message)

    def _move(self, run: Run, attempts: list[Run], *, orphan: bool) -> None:
        now = millis(self._clock.now())
        if run.life_cycle is Life.QUEUED:
            if not self._admit(run, cancelled=orphan):
                return
            attempts = self._runs.attempts([run.run_id])[run.run_id]
        limit = int(run.settings.get("timeout_seconds") or 0)
        over_time = bool(limit and run.started_at and now - run.started_at >= 1000 * limit)
        ending = run.cancel_requested or orphan or over_time
        writes = self._database.writes
        places = _free_places(run, attempts)
        for attempt in attempts:
            if attempt.life_cycle is Life.BLOCKED and not ending:
                places -= 1
                if places < 0:
                    continue
            if not attempt.life_cycle.over:
                self._move_attempt(run, attempt, attempts, ending=ending)
        if self._database.writes != writes:
            attempts = self._runs.attempts([run.run_id])[run.run_id]
        if all(attempt.life_cycle.over for attempt in attempts):
            self._finish(run, attempts, ending=ending, over_time=over_time)

    def _admit(self, run: Run, *, cancelled: bool) -> bool:
        with self._database.write() as connection:
            if run.cancel_requested or cancelled:
                self._end(connection, run, Result.CANCELED, "cancelled before it began")
                return False
            if run.run_type == "JOB_RUN":
                limit = int(run.settings.get("max_concurrent_runs", 1))
                busy = connection.scalars(
                    select(runs.c.run_id).where(
                        runs.c.job_id == run.job_id,
                        runs.c.parent_id.is_(None),
                        runs.c.run_type == "JOB_RUN",
                        runs.c.life_cycle.in_((Life.RUNNING, Life.TERMINATING)),
                    )
                ).all()
                if len(busy) >= limit:
                    return False
            connection.execute(
                update(runs)
                .where(runs.c.run_id == run.run_id)
                .values(life_cycle=Life.RUNNING, started_at=millis(self._clock.now()))
            )
            only = run.parameters.get("only") or None
            for task in tasks_of(run.settings):
                if only is None or task["task_key"] in only:
                    self._runs.new_attempt(connection, run, task, 0)
        return True

    def _move_attempt(self, run: Run, attempt: Run, attempts: list[Run], *, ending: bool) -> None:
        now = millis(self._clock.now())
        latest = latest_attempts(attempts)
        if ending or attempt.cancel_requested:
            self._cancel(attempt)
            return
        if attempt.life_cycle is Life.BLOCKED:
            step = next_step(attempt, latest)
            if step is Next.WAIT or (attempt.not_before or 0) > now:
                return
            if step is not Next.RUN:
                with self._database.write() as connection:
                    self._end(connection, attempt, Result(step.value), _WHY[step])
                return
            self._start(run, attempt, latest)
            return
        limit = int(attempt.settings.get("timeout_seconds") or 0)
        if limit and attempt.started_at and now - attempt.started_at >= 1000 * limit:
            self._cancel(attempt, over_time=True)
            return
        if attempt.life_cycle is Life.PENDING:
            self._start(run, attempt, latest)
            return
        self._look(attempt)

    def _start(self, run: Run, attempt: Run, latest: Mapping[str, Run]) -> None:
        try:
            values = parameters.references(run, attempt, latest)
            task = parameters.fill_references(
                dict(attempt.settings), values, later="for_each_task" in attempt.settings
            )
            begin = {
                "pipeline_task": self._start_pipeline,
                "notebook_task": self._start_worker,
                "sql_task": self._start_worker,
                "spark_python_task": self._start_worker,
                "python_wheel_task": self._start_worker,
                "for_each_task": self._start_iterations,
                "run_job_task": self._start_job,
                "condition_task": self._decide,
            }[type_of(task)]
            begin(run, attempt, task)
        except (StateUnavailableError, LostError):
            raise
        except ProaError as error:
            with self._database.write() as connection:
                self._end(connection, attempt, Result.FAILED, str(error), final=True)

    def _start_pipeline(self, run: Run, attempt: Run, task: Mapping[str, Any]) -> None:
        asked = task["pipeline_task"]
        pipeline = self._pipelines.get(str(asked["pipeline_id"]))
        given = {**asked, **(run.parameters.get("pipeline_params") or {})}
        request = {key: given[key] for key in _PIPELINE_OPTIONS if given.get(key)}
        cause = UpdateCause.RETRY_ON_FAILURE if attempt.attempt else UpdateCause.JOB_TASK
        try:
            with self._database.write() as connection:
                started = self._updates.begin(connection, pipeline, request, cause)
                self._running(connection, attempt, update_id=started)
        except TakenError:
            active = self._updates.active(pipeline.pipeline_id)
            if active is not None and active.continuous:
                raise
            # Its turn comes when the other update is over.
            with self._database.write() as connection:
                self._pending(
                    connection, attempt, f"waits for the active update of {pipeline.name!r}"
                )
        self._wake()

    def _start_worker(self, run: Run, attempt: Run, task: Mapping[str, Any]) -> None:
        if self._charges.free_places() <= 0:
            with self._database.write() as connection:
                self._pending(connection, attempt, "waits for a worker")
            return
        others = latest_attempts(self._runs.attempts([run.run_id])[run.run_id])
        work = self._work_of(run, task)
        payload = {
            **work.payload,
            "task_values": {key: dict(values_of(other)) for key, other in others.items()},
        }
        with self._database.write() as connection:
            self._running(connection, attempt)
        try:
            self._charges.start(Work(str(attempt.run_id), work.kind, payload))
        except OSError as error:
            with self._database.write() as connection:
                message = f"no worker process could be started: {error}"
                self._end(connection, attempt, Result.FAILED, message)

    def _start_iterations(self, run: Run, attempt: Run, task: Mapping[str, Any]) -> None:
        inputs = parameters.inputs_of(task["for_each_task"]["inputs"])
        with self._database.write() as connection:
            child = self._runs.begin_iterations(connection, run, task, inputs)
            self._running(connection, attempt, child_id=child.run_id)
        self._wake()

    def _start_job(self, run: Run, attempt: Run, task: Mapping[str, Any]) -> None:
        asked = task["run_job_task"]
        given = {key: asked[key] for key in _RUN_JOB_PARAMETERS if asked.get(key)}
        with self._database.write() as connection:
            row = connection.execute(
                select(jobs).where(jobs.c.job_id == int(asked["job_id"])).with_for_update()
            ).first()
            if row is None:
                raise MissingError(f"Job {asked['job_id']} does not exist.")
            child = self._runs.begin(
                connection, job_from_row(row), Trigger.RUN_JOB_TASK, run.creator, given
            )
            self._running(connection, attempt, child_id=child.run_id)
        self._wake()

    def _decide(self, _run: Run, attempt: Run, task: Mapping[str, Any]) -> None:
        answer = str(parameters.holds(task["condition_task"])).lower()
        with self._database.write() as connection:
            self._end(connection, attempt, Result.SUCCESS, "", output={"outcome": answer})

    def _look(self, attempt: Run) -> None:
        """See what became of what the attempt started."""
        if attempt.update_id is not None:
            self._look_at_update(attempt)
        elif attempt.child_id is not None:
            child = self._runs.get(attempt.child_id)
            if child.life_cycle.over:
                well = child.result in {Result.SUCCESS, Result.SUCCESS_WITH_FAILURES}
                message = "" if well else f"run {child.run_id} ended with {child.result}"
                with self._database.write() as connection:
                    self._end(
                        connection,
                        attempt,
                        Result.SUCCESS if well else _as_failure(child.result),
                        message,
                    )
        elif str(attempt.run_id) not in self._charges:
            # Its beginning was written and then came to nothing.
            self._write_lost(attempt)

    def _look_at_update(self, attempt: Run) -> None:
        try:
            found = self._updates.get(str(attempt.update_id))
        except MissingError:
            with self._database.write() as connection:
                self._end(connection, attempt, Result.FAILED, "the pipeline was deleted")
            return
        if not found.state.over:
            return
        result = {
            UpdateState.COMPLETED: Result.SUCCESS,
            UpdateState.FAILED: Result.FAILED,
            UpdateState.CANCELED: Result.CANCELED,
        }[found.state]
        if attempt.code == _OVER_TIME:
            result = Result.TIMEDOUT
        with self._database.write() as connection:
            self._end(connection, attempt, result, found.error or "")

    def _cancel(self, attempt: Run, *, over_time: bool = False) -> None:
        """Stop what the attempt started; it is over when that is."""
        if attempt.life_cycle in {Life.BLOCKED, Life.PENDING}:
            with self._database.write() as connection:
                self._end(connection, attempt, Result.CANCELED, "cancelled", final=True)
            return
        if attempt.life_cycle is Life.RUNNING:
            with self._database.write() as connection:
                connection.execute(
                    update(runs)
                    .where(runs.c.run_id == attempt.run_id)
                    .values(life_cycle=Life.TERMINATING, code=_OVER_TIME if over_time else None)
                )
                if attempt.update_id is not None:
                    self._updates.request_stop_of(connection, attempt.update_id)
                elif attempt.child_id is not None:
                    self._runs.request_cancel(connection, attempt.child_id)
            self._charges.kill(str(attempt.run_id))
            self._wake()
            return
        self._look(attempt)

    def _finish(self, run: Run, attempts: list[Run], *, ending: bool, over_time: bool) -> None:
        latest = latest_attempts(attempts)
        results = {attempt.result for attempt in latest.values()}
        needed = {
            item["task_key"]
            for task in tasks_of(run.settings)
            for item in task.get("depends_on") or ()
        }
        leaves = [attempt for key, attempt in latest.items() if key not in needed]
        failed = [item for item in latest.values() if item.result in _FAILURES]
        if over_time:
            result, message = Result.TIMEDOUT, "the run took longer than timeout_seconds"
        elif ending or (results & _CANCELS and not failed):
            result, message = Result.CANCELED, "the run was cancelled"
        elif any(leaf.result in _FAILURES for leaf in leaves):
            first = next(item for item in failed if item.result not in _UPSTREAM)
            result = Result.FAILED
            message = f"task {first.task_key} failed: {first.message}"
        elif failed:
            result, message = Result.SUCCESS_WITH_FAILURES, "some tasks failed"
        else:
            result, message = Result.SUCCESS, ""
        with self._database.write() as connection:
            self._end(connection, run, result, message)
        _log.info("run ended", run=run.run_id, job=run.name, result=str(result))
        self._wake()

    def _end(  # noqa: PLR0913 - what an end is made of
        self,
        connection: Connection,
        run: Run,
        result: Result,
        message: str,
        *,
        output: Mapping[str, Any] | None = None,
        final: bool = False,
    ) -> None:
        now = millis(self._clock.now())
        connection.execute(
            update(runs)
            .where(runs.c.run_id == run.run_id)
            .values(
                life_cycle=Life.TERMINATED,
                result=result,
                code=CODES[result],
                message=message,
                ended_at=now,
                **({} if output is None else {"output": dict(output)}),
            )
        )
        if run.parent_id is not None:
            # What comes after it is due at once, not at the next look.
            self._wake()
        if run.parent_id is not None and not final and self._is_retried(run, result):
            wait = int(run.settings.get("min_retry_interval_millis") or 0)
            parent = find_run(connection, run.parent_id)
            if parent is not None and not parent.cancel_requested:
                self._runs.new_attempt(
                    connection,
                    parent,
                    run.settings,
                    run.attempt + 1,
                    run.repair_id,
                    not_before=now + wait,
                )

    @staticmethod
    def _is_retried(run: Run, result: Result) -> bool:
        retries = int(run.settings.get("max_retries") or 0)
        again = result is Result.FAILED or (
            result is Result.TIMEDOUT and bool(run.settings.get("retry_on_timeout"))
        )
        return again and not run.cancel_requested and (retries < 0 or run.attempt < retries)

    def _running(self, connection: Connection, attempt: Run, **started: Any) -> None:
        connection.execute(
            update(runs)
            .where(runs.c.run_id == attempt.run_id)
            .values(
                life_cycle=Life.RUNNING,
                started_at=millis(self._clock.now()),
                message="",
                **started,
            )
        )

    @staticmethod
    def _pending(connection: Connection, attempt: Run, message: str) -> None:
        if attempt.message != message:
            connection.execute(
                update(runs)
                .where(runs.c.run_id == attempt.run_id)
                .values(life_cycle=Life.PENDING, message=message)
            )

    def _hear(self, work_id: str, reports: Sequence[Report]) -> None:
        """Write what a notebook's worker has said, and answer what it asks."""
        run_id = int(work_id)
        for report in reports:
            if report.kind == "end":
                self._notebook_ended(run_id, report.data)
            elif report.kind == "ask":
                self._charges.send(work_id, type="source", **self._source(str(report.data["path"])))
            elif report.kind == "value":
                self._keep_value(run_id, str(report.data["key"]), report.data["value"])

    def _keep_value(self, run_id: int, key: str, value: Any) -> None:
        """Keep what a task tells the tasks after it."""
        with self._database.write() as connection:
            attempt = find_run(connection, run_id)
            if attempt is None or attempt.life_cycle.over:
                return
            output = {**(attempt.output or {}), "values": {**values_of(attempt), key: value}}
            connection.execute(update(runs).where(runs.c.run_id == run_id).values(output=output))

    def _notebook_ended(self, run_id: int, data: Mapping[str, Any]) -> None:
        with self._database.write() as connection:
            attempt = find_run(connection, run_id)
            if attempt is None or attempt.life_cycle.over:
                return
            if attempt.life_cycle is Life.TERMINATING:
                self._end(connection, attempt, _stopped_result(attempt), "")
            elif self._handing_back and data["outcome"] == "CRASHED":
                self._end(connection, attempt, Result.FAILED, _LOST)
            elif data["outcome"] == "COMPLETED":
                text = str(data.get("output", ""))
                output = {
                    **(attempt.output or {}),
                    "result": text[:_MAX_OUTPUT],
                    "truncated": len(text) > _MAX_OUTPUT,
                }
                self._end(connection, attempt, Result.SUCCESS, "", output=output)
            elif data["outcome"] == "CANCELED":
                self._end(connection, attempt, Result.CANCELED, "")
            else:
                trace = {**(attempt.output or {}), "error_trace": _trace(data)}
                message = str(data.get("error") or "the task failed")
                self._end(connection, attempt, Result.FAILED, message, output=trace)


_OVER_TIME = "OVER_TIME"
_LOST = (
    "the region's server stopped while this notebook ran; how far it came is not known,"
    " so it is not run again unless the task has retries"
)
_RUN_JOB_PARAMETERS = ("job_parameters", "notebook_params", "pipeline_params")
_UPSTREAM = (Result.UPSTREAM_FAILED, Result.UPSTREAM_CANCELED)
_FAILURES = (Result.FAILED, Result.TIMEDOUT, Result.UPSTREAM_FAILED)
_CANCELS = {Result.CANCELED, Result.UPSTREAM_CANCELED}
_WHY = {
    Next.EXCLUDED: "the conditions for this task were not met",
    Next.UPSTREAM_FAILED: "a task before this one failed",
    Next.UPSTREAM_CANCELED: "a task before this one was cancelled",
}


def _free_places(run: Run, attempts: Sequence[Run]) -> float:
    """How many more attempts of the run can begin: its iterations have a limit, tasks have none."""
    if run.run_type != FOR_EACH_RUN:
        return math.inf
    busy = sum(
        not item.life_cycle.over and item.life_cycle is not Life.BLOCKED for item in attempts
    )
    return int(run.settings["concurrency"]) - busy


def _stopped_result(attempt: Run) -> Result:
    """What became of an attempt that was told to stop."""
    return Result.TIMEDOUT if attempt.code == _OVER_TIME else Result.CANCELED


def _as_failure(result: Result | None) -> Result:
    return Result.CANCELED if result is Result.CANCELED else Result.FAILED


def _trace(data: Mapping[str, Any]) -> str:
    lines = [str(data.get("error") or "")]
    lines += [
        f"  {frame['file_name']}:{frame['line_number']} in {frame['method_name']}"
        for frame in data.get("stack") or ()
    ]
    return "\n".join(lines)
