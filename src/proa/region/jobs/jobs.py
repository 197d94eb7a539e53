"""Jobs: tasks, a schedule, and how often at once; echoed as they were sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, func, insert, select, update

from proa.clock import Clock
from proa.http.api_errors import InvalidParameterError, MissingError
from proa.http.paging import make_page_token, read_page_token, split_page
from proa.region.jobs.job_tasks import TASK_TYPES, check_tasks, tasks_of
from proa.region.jobs.triggers import check_trigger, is_kept_running, next_fire, watches_files
from proa.region.state import Database
from proa.region.state.state_tables import jobs
from proa.times import millis

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
        complete = with_defaults(settings)
        check_settings(complete)
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
                    watches_files=watches_files(complete),
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
        return job_from_row(row)

    def every(self) -> list[Job]:
        """All jobs, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(select(jobs).order_by(jobs.c.job_id))
            return [job_from_row(row) for row in rows]

    def list(
        self,
        *,
        name: str | None = None,
        size: int = DEFAULT_PAGE,
        page_token: str | None = None,
        offset: int = 0,
    ) -> tuple[list[Job], str | None]:
        """(jobs, newest first, token of the next page). `name` must match but for its case."""
        at = read_page_token(page_token, "before", "name")
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
            found = [job_from_row(row) for row in rows]
        shown, more = split_page(found, size)
        return shown, make_page_token(before=shown[-1].job_id, name=name or "") if more else None

    def reset(self, job_id: int, settings: dict[str, Any]) -> None:
        """Replace the job's settings. The schedule counts from now: what was missed is missed.

        A trigger that stays as it was goes on as if nothing had happened: who deploys a job every
        hour must not keep it from running every day.
        """
        complete = with_defaults(settings)
        check_settings(complete)
        now = millis(self._clock.now())
        values = {
            "name": complete["name"],
            "settings": complete,
            "modified_at": now,
            "next_fire_at": next_fire(complete, now),
            "failures": 0,
            "keeps_running": is_kept_running(complete),
            "watches_files": watches_files(complete),
            "arrival": None,
        }
        with self._database.write() as connection:
            row = connection.execute(
                select(jobs).where(jobs.c.job_id == job_id).with_for_update()
            ).first()
            if row is None:
                raise MissingError(f"Job {job_id} does not exist.")
            trigger = complete.get("trigger")
            if trigger is not None and trigger == row.settings.get("trigger"):
                values |= {"next_fire_at": row.next_fire_at, "arrival": row.arrival}
            connection.execute(update(jobs).where(jobs.c.job_id == job_id).values(**values))

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


def job_from_row(row: Row[Any]) -> Job:
    """A row of the table as a Job."""
    return Job(**{name: getattr(row, name) for name in Job.__dataclass_fields__})


def with_defaults(settings: Mapping[str, Any]) -> dict[str, Any]:
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


def check_settings(settings: Mapping[str, Any]) -> None:
    """Raise InvalidParameterError for settings that no region could run."""
    check_tasks(tasks_of(settings))
    check_trigger(settings)
    if settings.get("git_source"):
        raise InvalidParameterError(
            "a region does not know 'git_source'; import the files into its workspace, as bundles do"
        )
