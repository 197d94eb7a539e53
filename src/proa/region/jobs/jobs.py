"""Jobs: tasks, a schedule, and how often at once; echoed as they were sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, func, insert, select, update

from proa.clock import Clock
from proa.http.api_errors import InvalidParameterError, MissingError
from proa.http.paging import page, place, token
from proa.region.jobs.quartz import CronExpression, time_zone
from proa.region.state import Database
from proa.region.state.state_tables import jobs
from proa.times import millis, moment

TASK_TYPES = ("pipeline_task", "notebook_task", "run_job_task", "condition_task")
"""The kinds of task that a region runs."""

RUN_IF = (
    "ALL_SUCCESS",
    "ALL_DONE",
    "NONE_FAILED",
    "AT_LEAST_ONE_SUCCESS",
    "ALL_FAILED",
    "AT_LEAST_ONE_FAILED",
)
_OPERATORS = (
    "EQUAL_TO",
    "NOT_EQUAL",
    "GREATER_THAN",
    "GREATER_THAN_OR_EQUAL",
    "LESS_THAN",
    "LESS_THAN_OR_EQUAL",
)
_ONE_TASK = "main"
_MAX_TASKS = 1000
_MAX_KEY = 100
_MAX_PAGE = 100
DEFAULT_PAGE = 20


@dataclass(frozen=True)
class Job:
    """One job."""

    job_id: int
    name: str
    settings: Mapping[str, Any]
    """As they were sent, with the API's own defaults."""
    creator: str
    created_at: int
    modified_at: int
    last_number: int
    next_fire_at: int | None
    """When the schedule fires next; None for no schedule or a paused one."""
    failures: int
    """Failed runs in a row, of a continuous job."""
    keeps_running: bool
    """Whether it is continuous, and not paused."""
    watches_files: bool
    """Whether it waits for files to arrive, and is not paused."""
    arrival: Mapping[str, Any] | None
    """What it has seen of them."""


class Jobs:
    """The jobs of one region."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def create(self, settings: dict[str, Any], user: str) -> int:
        """Keep a new job and return its id."""
        complete = completed(settings)
        check(complete)
        now = millis(self._clock.now())
        with self._database.write() as connection:
            made = connection.execute(
                insert(jobs).values(
                    name=complete["name"],
                    settings=complete,
                    creator=user,
                    created_at=now,
                    modified_at=now,
                    last_number=0,
                    next_fire_at=next_fire(complete, now),
                    failures=0,
                    keeps_running=is_kept_running(complete),
                    watches_files=False,
                )
            )
        key = made.inserted_primary_key
        assert key is not None
        return int(key[0])

    def get(self, job_id: int) -> Job:
        """The job. MissingError when there is none."""
        with self._database.read() as connection:
            row = connection.execute(select(jobs).where(jobs.c.job_id == job_id)).first()
        if row is None:
            raise MissingError(f"Job {job_id} does not exist.")
        return of(row)

    def list(
        self,
        *,
        name: str | None = None,
        size: int = DEFAULT_PAGE,
        page_token: str | None = None,
        offset: int = 0,
    ) -> tuple[list[Job], str | None]:
        """(jobs, newest first, token of the next page). `name` must match but for its case."""
        at = place(page_token, "before", "name")
        if at is not None:
            name = str(at["name"]) or None
        size = max(1, min(size, _MAX_PAGE))
        clauses: list[ColumnElement[bool]] = []
        if name is not None:
            clauses.append(func.lower(jobs.c.name) == name.lower())
        if at is not None:
            clauses.append(jobs.c.job_id < at["before"])
        with self._database.read() as connection:
            rows = connection.execute(
                select(jobs)
                .where(*clauses)
                .order_by(jobs.c.job_id.desc())
                .limit(size + 1)
                .offset(max(0, offset))
            )
            found = [of(row) for row in rows]
        shown, more = page(found, size)
        return shown, token(before=shown[-1].job_id, name=name or "") if more else None

    def reset(self, job_id: int, settings: dict[str, Any]) -> None:
        """Replace the job's settings. The schedule counts from now: what was missed is missed."""
        complete = completed(settings)
        check(complete)
        now = millis(self._clock.now())
        with self._database.write() as connection:
            changed = connection.execute(
                update(jobs)
                .where(jobs.c.job_id == job_id)
                .values(
                    name=complete["name"],
                    settings=complete,
                    modified_at=now,
                    next_fire_at=next_fire(complete, now),
                    failures=0,
                    keeps_running=is_kept_running(complete),
                    watches_files=False,
                )
            )
        if not changed.rowcount:
            raise MissingError(f"Job {job_id} does not exist.")

    def update(self, job_id: int, changes: Mapping[str, Any], remove: Sequence[str] = ()) -> None:
        """Change some of the job's settings: tasks by key, everything else by name."""
        settings = dict(self.get(job_id).settings)
        for path in remove:
            name, _, key = path.partition("/")
            if key and isinstance(settings.get(name), list):
                settings[name] = [
                    item
                    for item in settings[name]
                    if key not in (item.get("task_key"), item.get("name"))
                ]
            else:
                settings.pop(name, None)
        for name, value in changes.items():
            if name == "tasks":
                new = {task.get("task_key"): task for task in value}
                kept = [new.pop(task["task_key"], task) for task in settings.get("tasks", ())]
                settings["tasks"] = kept + list(new.values())
            else:
                settings[name] = value
        self.reset(job_id, settings)

    def delete(self, job_id: int) -> None:
        """Forget the job. Runs that are active are cancelled by the control loop."""
        with self._database.write() as connection:
            gone = connection.execute(delete(jobs).where(jobs.c.job_id == job_id))
        if not gone.rowcount:
            raise MissingError(f"Job {job_id} does not exist.")


def of(row: Row[Any]) -> Job:
    """A row of the table as a Job."""
    return Job(**{name: getattr(row, name) for name in Job.__dataclass_fields__})


def completed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the defaults that clients know to expect, and no others."""
    legacy = "tasks" not in settings and any(kind in settings for kind in TASK_TYPES)
    return {
        "name": "Untitled",
        "max_concurrent_runs": 1,
        "timeout_seconds": 0,
        "email_notifications": {},
        **settings,
        "format": "SINGLE_TASK" if legacy else "MULTI_TASK",
    }


def tasks_of(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The job's tasks; a job in the single-task form has one, called `main`."""
    if "tasks" in settings:
        return [dict(task) for task in settings["tasks"]]
    kept = (
        *TASK_TYPES,
        "max_retries",
        "min_retry_interval_millis",
        "retry_on_timeout",
    )
    if not any(kind in settings for kind in TASK_TYPES):
        return []
    return [{"task_key": _ONE_TASK, **{key: settings[key] for key in kept if key in settings}}]


def type_of(task: Mapping[str, Any]) -> str:
    """Which of TASK_TYPES the task is. InvalidParameterError when none, or several."""
    found = [kind for kind in TASK_TYPES if task.get(kind) is not None]
    other = [key for key in task if key.endswith("_task") and key not in TASK_TYPES]
    key = task.get("task_key")
    if other:
        raise InvalidParameterError(
            f"task {key!r} is a {other[0]}; a region runs {', '.join(TASK_TYPES)}"
        )
    if len(found) != 1:
        raise InvalidParameterError(
            f"task {key!r} must have exactly one of {', '.join(TASK_TYPES)}; it has"
            f" {', '.join(found) or 'none'}"
        )
    return found[0]


def check(settings: Mapping[str, Any]) -> None:
    """Raise InvalidParameterError for settings that no region could run."""
    tasks = tasks_of(settings)
    if len(tasks) > _MAX_TASKS:
        raise InvalidParameterError(f"a job has {_MAX_TASKS} tasks at most, not {len(tasks)}")
    keys = [str(task.get("task_key") or "") for task in tasks]
    if "" in keys or len(set(keys)) != len(keys):
        raise InvalidParameterError("every task of a job needs a task_key of its own")
    if any(len(key) > _MAX_KEY for key in keys):
        raise InvalidParameterError(f"a task_key has {_MAX_KEY} characters at most")
    for task in tasks:
        _check_task(task, set(keys))
    _check_acyclic(tasks)
    if settings.get("continuous") and settings.get("schedule"):
        raise InvalidParameterError("a job has either 'schedule' or 'continuous', not both")
    for unsupported in ("trigger", "git_source"):
        if settings.get(unsupported):
            raise InvalidParameterError(
                f"a region does not know {unsupported!r}; use 'schedule' or 'continuous'"
            )
    cron(settings)


def cron(settings: Mapping[str, Any]) -> tuple[CronExpression, str] | None:
    """The schedule's times and its time zone, paused or not; None for a job without schedule."""
    schedule = settings.get("schedule")
    if not schedule:
        return None
    expression, zone = schedule.get("quartz_cron_expression"), schedule.get("timezone_id")
    if not expression or not zone:
        raise InvalidParameterError("a schedule needs quartz_cron_expression and timezone_id")
    time_zone(str(zone))
    return CronExpression.parse(str(expression)), str(zone)


def next_fire(settings: Mapping[str, Any], after: int) -> int | None:
    """When the job's schedule fires next after `after`; None when never, or paused."""
    schedule = settings.get("schedule") or {}
    times = cron(settings)
    if times is None or schedule.get("pause_status") == "PAUSED":
        return None
    expression, zone = times
    found = expression.next_after(moment(after), zone)
    return None if found is None else millis(found)


def is_kept_running(settings: Mapping[str, Any]) -> bool:
    """Whether the job is continuous and not paused."""
    continuous = settings.get("continuous") or {}
    return bool(continuous) and continuous.get("pause_status", "UNPAUSED") != "PAUSED"


def _check_task(task: Mapping[str, Any], keys: set[str]) -> None:
    key = task["task_key"]
    kind = type_of(task)
    for needed in task.get("depends_on") or ():
        if needed.get("task_key") not in keys:
            raise InvalidParameterError(
                f"task {key!r} depends on {needed.get('task_key')!r}, which the job does not have"
            )
    if task.get("run_if", "ALL_SUCCESS") not in RUN_IF:
        raise InvalidParameterError(f"run_if of task {key!r} must be one of {', '.join(RUN_IF)}")
    needs = {
        "pipeline_task": "pipeline_id",
        "notebook_task": "notebook_path",
        "run_job_task": "job_id",
        "condition_task": "op",
    }[kind]
    body = task[kind]
    if not isinstance(body, Mapping) or body.get(needs) in (None, ""):
        raise InvalidParameterError(f"{kind} of task {key!r} needs {needs!r}")
    if kind == "condition_task" and body["op"] not in _OPERATORS:
        raise InvalidParameterError(
            f"op of task {key!r} must be one of {', '.join(_OPERATORS)}; it is {body['op']!r}"
        )


def _check_acyclic(tasks: Sequence[Mapping[str, Any]]) -> None:
    waiting = {task["task_key"]: set(_upstream(task)) for task in tasks}
    while waiting:
        ready = [key for key, needed in waiting.items() if not needed & waiting.keys()]
        if not ready:
            raise InvalidParameterError(
                f"the tasks {', '.join(sorted(waiting))} wait for one another in a circle"
            )
        for key in ready:
            del waiting[key]


def _upstream(task: Mapping[str, Any]) -> Iterator[str]:
    return (str(needed["task_key"]) for needed in task.get("depends_on") or ())
