"""The part of the control loop that starts runs when files arrive.

Looking into a store can take long, so looks are made aside and their results are read in the next
turn. What a job has seen, and the run that it starts for it, are written in one transaction.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import structlog
from sqlalchemy import Connection, Row, select, update

from proa.clock import Clock
from proa.errors import ProaError
from proa.region.jobs.jobs import job_from_row
from proa.region.jobs.runs import Runs, Trigger
from proa.region.jobs.triggers import Arrival, FilesSeen
from proa.region.state import Database, outlive_mistakes
from proa.region.state.state_tables import jobs
from proa.times import millis

LOOK_MS = 10_000
"""How long after a look the next one is due."""

_log = structlog.get_logger("proa.region")

Aside = Callable[[Callable[[], None]], None]
"""Does something without keeping the caller waiting."""


def do_aside(work: Callable[[], None]) -> None:
    """Do `work` in a thread of its own, which ends with the process at the latest."""
    threading.Thread(target=work, name="proa-arrivals", daemon=True).start()


class Arrivals:
    """Looks after the jobs of a region that wait for files."""

    def __init__(  # noqa: PLR0913, PLR0917 - its parts
        self,
        database: Database,
        clock: Clock,
        runs: Runs,
        look: Callable[[str], FilesSeen],
        wake: Callable[[], None],
        aside: Aside = do_aside,
    ) -> None:
        """`look` finds out what lies at a URL. Raises ProaError if it cannot."""
        self._database = database
        self._clock = clock
        self._runs = runs
        self._look = look
        self._wake = wake
        self._aside = aside
        self._results: queue.SimpleQueue[dict[int, FilesSeen]] = queue.SimpleQueue()
        self._look_at: int | None = None
        self._looking = False
        self._due: int | None = None

    def turn(self) -> None:
        """Read what was seen, start what is due, and look again when it is time."""
        now = millis(self._clock.now())
        while not self._results.empty():
            self._looking = False
            for job_id, seen in self._results.get().items():
                with outlive_mistakes("a job's files cannot be judged", job=job_id):
                    self._write(job_id, seen, now)
        with self._database.read() as connection:
            rows = connection.execute(
                select(jobs.c.job_id, jobs.c.settings, jobs.c.arrival).where(jobs.c.watches_files)
            ).all()
        due = {row.job_id: _due_at(row.arrival, row.settings) for row in rows}
        for job_id, due_at in due.items():
            if due_at is not None and due_at <= now:
                with outlive_mistakes("a job's files cannot be judged", job=job_id):
                    self._write(job_id, None, now)
        self._due = min((at for at in due.values() if at is not None and at > now), default=None)
        if not rows:
            self._look_at = None
        elif not self._looking and (self._look_at is None or self._look_at <= now):
            self._looking = True
            self._look_at = now + LOOK_MS
            urls = {row.job_id: str(row.settings["trigger"]["file_arrival"]["url"]) for row in rows}
            self._aside(lambda: self._look_into(urls))

    def next_due(self) -> int | None:
        """When the next look, or a run for what was seen, is due."""
        times = [self._due, None if self._looking else self._look_at]
        return min((time for time in times if time is not None), default=None)

    def _look_into(self, urls: dict[int, str]) -> None:
        by_url: dict[str, FilesSeen] = {}
        for url in set(urls.values()):
            try:
                by_url[url] = self._look(url)
            except ProaError as error:
                _log.warning("a folder that a job waits for cannot be read", why=str(error))
            except Exception:  # noqa: BLE001 - one folder must not keep all others waiting
                _log.exception("a folder that a job waits for cannot be read")
        self._results.put({job: by_url[url] for job, url in urls.items() if url in by_url})
        self._wake()

    def _write(self, job_id: int, seen: FilesSeen | None, now: int) -> None:
        """Write what a job has seen, and start its run if that is due."""
        with self._database.write() as connection:
            row = connection.execute(
                select(jobs).where(jobs.c.job_id == job_id, jobs.c.watches_files).with_for_update()
            ).first()
            if row is None:
                return
            known = None if row.arrival is None else Arrival(**row.arrival)
            arrival = known
            if seen is not None:
                # The first look says what was there before; only what comes later is new.
                arrival = (
                    Arrival(seen.count, seen.newest, seen.digest)
                    if known is None
                    else known.after_look(seen, now)
                )
            if arrival is None:
                return
            due_at = _due_at(asdict(arrival), row.settings)
            if due_at is not None and due_at <= now:
                arrival = self._fire(connection, row, arrival, now)
            if arrival != known:
                connection.execute(
                    update(jobs).where(jobs.c.job_id == job_id).values(arrival=asdict(arrival))
                )

    def _fire(self, connection: Connection, row: Row[Any], arrival: Arrival, now: int) -> Arrival:
        job = job_from_row(row)
        self._runs.begin(connection, job, Trigger.FILE_ARRIVAL, job.creator)
        self._wake()
        return Arrival(arrival.count, arrival.newest, arrival.digest, fired_at=now)


def _due_at(arrival: Mapping[str, Any] | None, settings: Mapping[str, Any]) -> int | None:
    """When the job with these settings is to run for what it has seen. None: not yet known."""
    if arrival is None:
        return None
    return Arrival(**arrival).due_at(settings["trigger"]["file_arrival"])
