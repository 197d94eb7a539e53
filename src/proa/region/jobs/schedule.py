"""The part of the control loop that starts runs by the clock.

A schedule that came due while nobody looked starts one run, at once, and goes on from now: what
was missed is neither stormed nor made up for, as on Databricks. The run and the schedule's next
time are written in one transaction, so no time fires twice and none is lost to a crash.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select, update

from proa.backoff import Retries
from proa.clock import Clock, Ids
from proa.region.jobs.jobs import Job, job_from_row
from proa.region.jobs.runs import ACTIVE, Result, Runs, Trigger, run_from_row
from proa.region.jobs.triggers import next_fire
from proa.region.state import Database
from proa.region.state.state_tables import jobs, runs
from proa.times import millis

FIRST_BACKOFF_S = 10.0
MAX_BACKOFF_S = 3600.0
_BACKOFF = Retries(None, FIRST_BACKOFF_S / 2, MAX_BACKOFF_S / 2, spread=2.0)

_WELL = (Result.SUCCESS, Result.SUCCESS_WITH_FAILURES, Result.CANCELED)


class Scheduler:
    """Looks after the schedules and continuous jobs of a region."""

    def __init__(self, database: Database, clock: Clock, ids: Ids, states: Runs) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids
        self._runs = states

    def turn(self) -> None:
        """Start what is due."""
        now = millis(self._clock.now())
        with self._database.read() as connection:
            due = connection.scalars(select(jobs.c.job_id).where(jobs.c.next_fire_at <= now)).all()
        for job_id in due:
            self._fire(int(job_id), now)
        self._keep_continuous(now)

    def next_due(self) -> int | None:
        """When the next schedule fires."""
        with self._database.read() as connection:
            found = connection.scalar(select(func.min(jobs.c.next_fire_at)))
        return None if found is None else int(found)

    def _fire(self, job_id: int, now: int) -> None:
        with self._database.write() as connection:
            row = connection.execute(
                select(jobs)
                .where(jobs.c.job_id == job_id, jobs.c.next_fire_at <= now)
                .with_for_update()
            ).first()
            if row is None:
                return
            job = job_from_row(row)
            connection.execute(
                update(jobs)
                .where(jobs.c.job_id == job_id)
                .values(next_fire_at=next_fire(job.settings, now, job.next_fire_at))
            )
            if job.keeps_running:
                self._restart(connection, job)
            else:
                self._runs.begin(connection, job, Trigger.PERIODIC, job.creator)

    def _keep_continuous(self, now: int) -> None:
        with self._database.read() as connection:
            rows = connection.execute(
                select(jobs).where(
                    jobs.c.keeps_running,
                    jobs.c.next_fire_at.is_(None),
                    ~select(runs.c.run_id)
                    .where(runs.c.job_id == jobs.c.job_id, runs.c.life_cycle.in_(ACTIVE))
                    .exists(),
                )
            )
            idle = [job_from_row(row) for row in rows]
        for job in idle:
            with self._database.write() as connection:
                self._after_run(connection, job, now)

    def _after_run(self, connection: Any, job: Job, now: int) -> None:
        last = connection.execute(
            select(runs)
            .where(runs.c.job_id == job.job_id, runs.c.parent_id.is_(None))
            .order_by(runs.c.run_id.desc())
            .limit(1)
        ).first()
        result = None if last is None else run_from_row(last).result
        if last is None or last.created_at < job.modified_at or result in _WELL:
            connection.execute(update(jobs).where(jobs.c.job_id == job.job_id).values(failures=0))
            self._restart(connection, job)
            return
        wait = _BACKOFF.pause(job.failures + 1, self._ids)
        connection.execute(
            update(jobs)
            .where(jobs.c.job_id == job.job_id)
            .values(failures=job.failures + 1, next_fire_at=now + int(1000 * wait))
        )

    def _restart(self, connection: Any, job: Job) -> None:
        trigger = Trigger.CONTINUOUS_RESTART if job.last_number else Trigger.CONTINUOUS
        self._runs.begin(connection, job, trigger, job.creator)
