"""A region that sees a newer epoch, in which another one is active, becomes a standby by itself.

So a region that was lost and comes back demotes itself before it runs anything, and one that was cut off
does as soon as it can read the control record again. Without an answer nothing changes: a record that is
silent says nothing about who is active.
"""

from __future__ import annotations

import threading
from typing import Any

import structlog

from proa.clock import Clock
from proa.errors import ProaError
from proa.recovery.control_record import ControlRecord, ControlStore
from proa.region.jobs.jobs import Jobs
from proa.region.pipelines.pipelines import Pipelines
from proa.settings import ProjectSettings, RecoverySettings
from proa.times import millis

USER = "proa"
"""Whose name the changes carry in the event log."""
_LOOK_MS = 2000

_log = structlog.get_logger("proa.region")


class Demotion:
    """The part of the control loop that follows the control record."""

    def __init__(
        self,
        name: str,
        project: ProjectSettings | None,
        pipelines: Pipelines,
        jobs: Jobs,
        clock: Clock,
    ) -> None:
        self._name = name
        self._recovery: RecoverySettings | None = None
        self._store: ControlStore | None = None
        if project is not None and project.recovery is not None and name in project.regions:
            self._recovery = project.recovery
            self._store = ControlStore.of(project)
        self._pipelines = pipelines
        self._jobs = jobs
        self._clock = clock
        self._record: ControlRecord | None = None
        self._obeyed = (0, False)
        """The newest epoch that this server has acted on, and whether it was owed a demotion then."""
        self._next = 0
        self._reader: threading.Thread | None = None

    def start(self) -> None:
        """Look at the record, and obey it, before anything runs."""
        self._read()
        self._obey()

    def turn(self) -> None:
        """Obey what was read last, and read again now and then; never waits for an answer."""
        self._obey()
        now = millis(self._clock.now())
        idle = self._reader is None or not self._reader.is_alive()
        if self._store is not None and now >= self._next and idle:
            self._next = now + _LOOK_MS
            self._reader = threading.Thread(target=self._read, name="proa-record", daemon=True)
            self._reader.start()

    def next_due(self) -> int | None:
        """When the next look is due."""
        return None if self._store is None else self._next

    def _read(self) -> None:
        if self._store is None:
            return
        try:
            self._record = self._store.read()
        except ProaError as error:
            _log.warning("the control record cannot be read", region=self._name, error=str(error))

    def _obey(self) -> None:
        record = self._record
        if record is None:
            return
        # A region that was fenced and then lost runs nothing at all: it is owed its schedule.
        owed = self._name in record.owed
        if (record.epoch, owed) <= self._obeyed:
            return
        if record.active != self._name:
            self._demote(record, owed=owed)
        self._obeyed = record.epoch, owed  # only now: a state that did not answer is asked again

    def _demote(self, record: ControlRecord, *, owed: bool) -> None:
        assert self._recovery is not None
        names = self._recovery.pipelines
        for pipeline in self._pipelines.every():
            if names and pipeline.name not in names:
                continue
            if not pipeline.continuous:
                if owed:
                    self._start_schedules(pipeline.pipeline_id)
                continue
            _log.warning(
                "the region demotes itself",
                region=self._name,
                pipeline=pipeline.name,
                active=record.active,
                epoch=record.epoch,
            )
            # Last what says that it is done: it is all done again after an error or a death.
            self._start_schedules(pipeline.pipeline_id)
            self._pipelines.change(
                pipeline.pipeline_id, {**pipeline.spec, "continuous": False}, USER
            )

    def _start_schedules(self, pipeline_id: str) -> None:
        """Let the jobs that run a pipeline run it by their schedules."""
        for job in self._jobs.every():
            if pipeline_id not in map(_pipeline_of, job.settings.get("tasks", ())):
                continue
            changes = {
                part: {**job.settings[part], "pause_status": "UNPAUSED"}
                for part in ("schedule", "trigger")
                if job.settings.get(part)
            }
            if changes:
                self._jobs.update(job.job_id, changes)


def _pipeline_of(task: dict[str, Any]) -> str | None:
    found: str | None = (task.get("pipeline_task") or {}).get("pipeline_id")
    return found
