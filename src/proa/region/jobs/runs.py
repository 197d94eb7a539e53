"""Runs: what a job, or somebody, asked to be done once. `run_loop` does it.

One table holds both levels: the run of a job, and the attempts at its tasks. An attempt's row says
what it waits for or has started (an update, another run), written in the same transaction that
started it; so after any crash a run goes on where it was and nothing is started twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, or_, select, update

from proa.clock import Clock
from proa.errors import ConflictError
from proa.http.api_errors import InvalidParameterError, InvalidStateError, MissingError
from proa.http.paging import make_page_token, read_page_token, split_page
from proa.region.jobs.job_tasks import tasks_of
from proa.region.jobs.jobs import Job, check_settings, job_from_row, with_defaults
from proa.region.state import Database
from proa.region.state.state_tables import jobs, runs
from proa.times import millis

DEFAULT_PAGE = 25
_MAX_PAGE = 25
_MAX_TOKEN = 64


class Life(StrEnum):
    """Where a run or an attempt is."""

    BLOCKED = "BLOCKED"
    QUEUED = "QUEUED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    TERMINATING = "TERMINATING"
    TERMINATED = "TERMINATED"
    SKIPPED = "SKIPPED"
    INTERNAL_ERROR = "INTERNAL_ERROR"

    @property
    def over(self) -> bool:
        return self in {Life.TERMINATED, Life.SKIPPED, Life.INTERNAL_ERROR}


class Result(StrEnum):
    """How it ended."""

    SUCCESS = "SUCCESS"
    SUCCESS_WITH_FAILURES = "SUCCESS_WITH_FAILURES"
    FAILED = "FAILED"
    TIMEDOUT = "TIMEDOUT"
    CANCELED = "CANCELED"
    EXCLUDED = "EXCLUDED"
    UPSTREAM_FAILED = "UPSTREAM_FAILED"
    UPSTREAM_CANCELED = "UPSTREAM_CANCELED"
    MAXIMUM_CONCURRENT_RUNS_REACHED = "MAXIMUM_CONCURRENT_RUNS_REACHED"


class Trigger(StrEnum):
    """Why a run was started."""

    PERIODIC = "PERIODIC"
    ONE_TIME = "ONE_TIME"
    RETRY = "RETRY"
    RUN_JOB_TASK = "RUN_JOB_TASK"
    CONTINUOUS = "CONTINUOUS"
    CONTINUOUS_RESTART = "CONTINUOUS_RESTART"
    FILE_ARRIVAL = "FILE_ARRIVAL"


FOR_EACH_RUN = "FOR_EACH_RUN"
"""The type of the run whose tasks are the iterations of a for_each_task; no run of its own."""


ACTIVE = (Life.BLOCKED, Life.QUEUED, Life.PENDING, Life.RUNNING, Life.TERMINATING)
"""The lives of what is not over."""

CODES = {
    Result.SUCCESS: "SUCCESS",
    Result.SUCCESS_WITH_FAILURES: "SUCCESS_WITH_FAILURES",
    Result.FAILED: "RUN_EXECUTION_ERROR",
    Result.TIMEDOUT: "RUN_EXECUTION_ERROR",
    Result.CANCELED: "USER_CANCELED",
    Result.EXCLUDED: "SKIPPED",
    Result.UPSTREAM_FAILED: "RUN_EXECUTION_ERROR",
    Result.UPSTREAM_CANCELED: "USER_CANCELED",
    Result.MAXIMUM_CONCURRENT_RUNS_REACHED: "MAX_CONCURRENT_RUNS_EXCEEDED",
}
"""The termination code of each result."""


@dataclass(frozen=True)
class Run:
    """A run of a job, or (with `parent_id`) an attempt at one of its tasks."""

    run_id: int
    parent_id: int | None
    job_id: int
    """0 for a run that was submitted without a job."""
    number_in_job: int
    run_type: str
    name: str
    task_key: str | None
    attempt: int
    settings: Mapping[str, Any]
    """A run: the job's settings at its start. An attempt: the task's."""
    parameters: Mapping[str, Any]
    """What run-now was given; of an attempt, what its task was started with."""
    trigger: str
    creator: str
    life_cycle: Life
    result: Result | None
    code: str | None
    message: str
    created_at: int
    started_at: int | None
    ended_at: int | None
    not_before: int | None
    cancel_requested: bool
    update_id: str | None
    child_id: int | None
    output: Mapping[str, Any] | None
    repair_id: int | None
    repairs: Sequence[Mapping[str, Any]]


class Runs:
    """The runs of one region."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def run_now(
        self,
        job_id: int,
        parameters: Mapping[str, Any],
        user: str,
        idempotency_token: str | None = None,
    ) -> Run:
        """Start a run of the job, or find the one that the same token started before."""
        key = _idempotency(str(job_id), idempotency_token)
        with self._database.write() as connection:
            # PostgreSQL lets two writers go on side by side: the second waits here for the first.
            row = connection.execute(
                select(jobs).where(jobs.c.job_id == job_id).with_for_update()
            ).first()
            if row is None:
                raise MissingError(f"Job {job_id} does not exist.")
            known = _known_run(connection, key)
            return known or self.begin(
                connection, job_from_row(row), Trigger.ONE_TIME, user, parameters, key
            )

    def submit(
        self, settings: Mapping[str, Any], user: str, idempotency_token: str | None = None
    ) -> Run:
        """Start tasks that belong to no job."""
        complete = with_defaults(settings)
        complete["name"] = settings.get("run_name") or "Untitled"
        check_settings(complete)
        if not tasks_of(complete):
            raise InvalidParameterError("a run needs at least one task")
        key = _idempotency("submit", idempotency_token)
        try:
            with self._database.write() as connection:
                return _known_run(connection, key) or self._insert(
                    connection,
                    job_id=0,
                    number_in_job=0,
                    run_type="SUBMIT_RUN",
                    name=complete["name"],
                    settings=complete,
                    trigger=Trigger.ONE_TIME,
                    creator=user,
                    idempotency=key,
                )
        except ConflictError:
            with self._database.read() as connection:
                known = _known_run(connection, key)
            if known is None:
                raise
            return known

    def begin(  # noqa: PLR0913, PLR0917 - what a run is made of
        self,
        connection: Connection,
        job: Job,
        trigger: Trigger,
        user: str,
        parameters: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Run:
        """Start a run of `job` in a transaction that does more.

        With all of `max_concurrent_runs` busy, it waits when the job has a queue, else it is
        SKIPPED at once.
        """
        number = job.last_number + 1
        limit = int(job.settings.get("max_concurrent_runs", 1))
        busy = connection.scalar(
            select(func.count())
            .select_from(runs)
            .where(
                runs.c.job_id == job.job_id,
                runs.c.parent_id.is_(None),
                runs.c.run_type != FOR_EACH_RUN,
                runs.c.life_cycle.in_(ACTIVE),
            )
        )
        queued = bool((job.settings.get("queue") or {}).get("enabled"))
        skipped = int(busy or 0) >= limit and not queued
        connection.execute(
            update(jobs).where(jobs.c.job_id == job.job_id).values(last_number=number)
        )
        ended: dict[str, Any] = {}
        if skipped:
            result = Result.MAXIMUM_CONCURRENT_RUNS_REACHED
            ended = {
                "life_cycle": Life.SKIPPED,
                "result": result,
                "code": CODES[result],
                "message": f"the job has {limit} active runs already, which is its maximum",
                "ended_at": millis(self._clock.now()),
            }
        return self._insert(
            connection,
            job_id=job.job_id,
            number_in_job=number,
            run_type="JOB_RUN",
            name=job.name,
            settings=dict(job.settings),
            parameters=dict(parameters or {}),
            trigger=trigger,
            creator=user,
            idempotency=key,
            **ended,
        )

    def begin_iterations(
        self, connection: Connection, run: Run, task: Mapping[str, Any], inputs: Sequence[Any]
    ) -> Run:
        """Start the iterations of a for_each_task of `run`, one for each of `inputs`.

        They are the tasks of a run of their own, which ends when they have.
        """
        body = task["for_each_task"]
        inner = {**body["task"], "depends_on": []}
        key = str(inner.get("task_key") or task["task_key"])
        return self._insert(
            connection,
            job_id=run.job_id,
            number_in_job=run.number_in_job,
            run_type=FOR_EACH_RUN,
            name=run.name,
            settings={
                "tasks": [
                    {**inner, "task_key": f"{key}_{number}", "for_each_input": value}
                    for number, value in enumerate(inputs)
                ],
                "parameters": run.settings.get("parameters") or [],
                "concurrency": body.get("concurrency") or 1,
            },
            parameters={**run.parameters, "only": None, "job_run_id": run.run_id},
            trigger=run.trigger,
            creator=run.creator,
        )

    def get(self, run_id: int) -> Run:
        """The run or attempt. MissingError when there is none."""
        with self._database.read() as connection:
            found = find_run(connection, run_id)
        if found is None:
            raise MissingError(f"Run {run_id} does not exist.")
        return found

    def attempts(self, run_ids: Sequence[int]) -> dict[int, list[Run]]:
        """The attempts of each of the runs, oldest first."""
        found: dict[int, list[Run]] = {run_id: [] for run_id in run_ids}
        with self._database.read() as connection:
            rows = connection.execute(
                select(runs).where(runs.c.parent_id.in_(run_ids)).order_by(runs.c.run_id)
            )
            for row in rows:
                found[row.parent_id].append(run_from_row(row))
        return found

    def list(  # noqa: PLR0913 - the API's own parameters
        self,
        *,
        job_id: int | None = None,
        active: bool = False,
        completed: bool = False,
        since: int | None = None,
        until: int | None = None,
        size: int = DEFAULT_PAGE,
        offset: int = 0,
        page_token: str | None = None,
    ) -> tuple[list[Run], str | None]:
        """(runs, newest first, token of the next page)."""
        if active and completed:
            raise InvalidParameterError("ask for active_only or completed_only, not both")
        at = read_page_token(page_token, "before")
        size = max(1, min(size, _MAX_PAGE))
        clauses: list[ColumnElement[bool]] = [
            runs.c.parent_id.is_(None),
            runs.c.run_type != FOR_EACH_RUN,
        ]
        if job_id is not None:
            clauses.append(runs.c.job_id == job_id)
        if active:
            clauses.append(runs.c.life_cycle.in_(ACTIVE))
        if completed:
            clauses.append(runs.c.life_cycle.not_in(ACTIVE))
        if since is not None:
            clauses.append(runs.c.created_at >= since)
        if until is not None:
            clauses.append(runs.c.created_at <= until)
        if at is not None:
            clauses.append(runs.c.run_id < at["before"])
        with self._database.read() as connection:
            rows = connection.execute(
                select(runs)
                .where(*clauses)
                .order_by(runs.c.run_id.desc())
                .limit(size + 1)
                .offset(max(0, offset))
            )
            found = [run_from_row(row) for row in rows]
        shown, more = split_page(found, size)
        return shown, make_page_token(before=shown[-1].run_id) if more else None

    def count(self) -> dict[str, int]:
        """How many runs of jobs there are in each life cycle state."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(runs.c.life_cycle, func.count())
                .where(runs.c.parent_id.is_(None), runs.c.run_type != FOR_EACH_RUN)
                .group_by(runs.c.life_cycle)
            )
            return {state: number for state, number in rows}  # noqa: C416 - rows are not pairs

    def cancel(self, run_id: int) -> None:
        """Ask the run, or one attempt, to stop. No error when it is over."""
        self.get(run_id)
        with self._database.write() as connection:
            self.request_cancel(connection, run_id)

    @staticmethod
    def request_cancel(connection: Connection, run_id: int) -> None:
        """As `cancel`, in a transaction that does more."""
        connection.execute(
            update(runs).where(runs.c.run_id == run_id).values(cancel_requested=True)
        )

    def cancel_all(self, job_id: int | None) -> None:
        """Ask all active runs of the job, or of all jobs, to stop."""
        clauses: list[ColumnElement[bool]] = [
            runs.c.parent_id.is_(None),
            runs.c.life_cycle.in_(ACTIVE),
        ]
        if job_id is not None:
            clauses.append(runs.c.job_id == job_id)
        with self._database.write() as connection:
            connection.execute(update(runs).where(*clauses).values(cancel_requested=True))

    def delete(self, run_id: int) -> None:
        """Forget a run that is over."""
        run = self.get(run_id)
        if not run.life_cycle.over:
            raise InvalidStateError(f"run {run_id} is active; cancel it before you delete it")
        with self._database.write() as connection:
            connection.execute(
                delete(runs).where(or_(runs.c.run_id == run_id, runs.c.parent_id == run_id))
            )

    def forget(self, before: int) -> None:
        """Remove the runs that ended before, milliseconds since 1970."""
        with self._database.write() as connection:
            connection.execute(delete(runs).where(runs.c.ended_at < before))

    def repair(
        self,
        run_id: int,
        *,
        tasks: Sequence[str] = (),
        failed: bool = False,
        dependent: bool = False,
        parameters: Mapping[str, Any] | None = None,
    ) -> int:
        """Run some tasks of an ended run again, with those that come after them. The repair's id.

        Without `dependent`, tasks that come after are run again only when they did not succeed.
        """
        run = self.get(run_id)
        if run.parent_id is not None or not run.life_cycle.over or run.life_cycle is Life.SKIPPED:
            raise InvalidStateError(f"run {run_id} is not a run that has ended; it has no repair")
        latest = latest_attempts(self.attempts([run_id])[run_id])
        unknown = set(tasks) - set(latest)
        if unknown:
            raise InvalidParameterError(f"run {run_id} has no task {min(unknown)!r}")
        again = set(tasks)
        bad = {key for key, attempt in latest.items() if attempt.result is not Result.SUCCESS}
        if failed:
            again |= bad
        if not again:
            raise InvalidParameterError(
                "name the tasks in rerun_tasks, or set rerun_all_failed_tasks"
            )
        after = _downstream(run.settings, again)
        again |= after if dependent else after & bad
        with self._database.write() as connection:
            repair_id = 0
            for key in (task["task_key"] for task in tasks_of(run.settings)):
                if key in again:
                    made = self.new_attempt(
                        connection, run, latest[key].settings, latest[key].attempt + 1, repair_id
                    )
                    repair_id = repair_id or made
            # The first attempt's own id is the repair's, known only now.
            connection.execute(
                update(runs).where(runs.c.run_id == repair_id).values(repair_id=repair_id)
            )
            entry = {
                "id": repair_id,
                "type": "REPAIR",
                "start_time": millis(self._clock.now()),
                "task_keys": sorted(again),
            }
            connection.execute(
                update(runs)
                .where(runs.c.run_id == run_id)
                .values(
                    life_cycle=Life.RUNNING,
                    result=None,
                    code=None,
                    message="",
                    ended_at=None,
                    cancel_requested=False,
                    parameters={**run.parameters, **(parameters or {})},
                    repairs=[*run.repairs, entry],
                )
            )
        return repair_id

    def new_attempt(  # noqa: PLR0913 - what an attempt is made of
        self,
        connection: Connection,
        run: Run,
        task: Mapping[str, Any],
        attempt: int,
        repair_id: int | None = None,
        *,
        not_before: int | None = None,
    ) -> int:
        """An attempt at a task that waits for those before it; returns its id."""
        made = self._insert(
            connection,
            parent_id=run.run_id,
            job_id=run.job_id,
            number_in_job=run.number_in_job,
            run_type=run.run_type,
            name=run.name,
            task_key=task["task_key"],
            attempt=attempt,
            settings=dict(task),
            trigger=Trigger.RETRY if attempt else run.trigger,
            creator=run.creator,
            life_cycle=Life.BLOCKED,
            repair_id=repair_id or None,
            not_before=not_before,
        )
        return made.run_id

    def _insert(self, connection: Connection, **values: Any) -> Run:
        row: dict[str, Any] = {
            "attempt": 0,
            "parameters": {},
            "life_cycle": Life.QUEUED,
            "message": "",
            "created_at": millis(self._clock.now()),
            "cancel_requested": False,
            "repairs": [],
            **values,
        }
        key = connection.execute(insert(runs).values(**row)).inserted_primary_key
        assert key is not None
        found = find_run(connection, int(key[0]))
        assert found is not None
        return found


def run_from_row(row: Row[Any]) -> Run:
    """A row of the table as a Run."""
    values = {name: getattr(row, name) for name in Run.__dataclass_fields__}
    values["life_cycle"] = Life(row.life_cycle)
    values["result"] = None if row.result is None else Result(row.result)
    return Run(**values)


def find_run(connection: Connection, run_id: int) -> Run | None:
    """The run or attempt with that id."""
    row = connection.execute(select(runs).where(runs.c.run_id == run_id)).first()
    return None if row is None else run_from_row(row)


def latest_attempts(attempts: Sequence[Run]) -> dict[str, Run]:
    """The last attempt at each task."""
    return {str(attempt.task_key): attempt for attempt in attempts}


def values_of(attempt: Run) -> Mapping[str, Any]:
    """What the attempt's notebook told the tasks after it."""
    found: Mapping[str, Any] = (attempt.output or {}).get("values") or {}
    return found


def _downstream(settings: Mapping[str, Any], keys: set[str]) -> set[str]:
    found: set[str] = set()
    grew = True
    while grew:
        grew = False
        for task in tasks_of(settings):
            needed = {item["task_key"] for item in task.get("depends_on") or ()}
            if needed & (keys | found) and task["task_key"] not in found:
                found.add(task["task_key"])
                grew = True
    return found - keys


def _known_run(connection: Connection, key: str | None) -> Run | None:
    if key is None:
        return None
    row = connection.execute(select(runs).where(runs.c.idempotency == key)).first()
    return None if row is None else run_from_row(row)


def _idempotency(scope: str, text: str | None) -> str | None:
    if not text:
        return None
    if len(text) > _MAX_TOKEN:
        raise InvalidParameterError(f"idempotency_token is over {_MAX_TOKEN} characters")
    return f"{scope}:{text}"
