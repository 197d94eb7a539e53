"""Any order of switches, starts, deaths and restarts keeps what a region promises of its updates."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from stills import still_region

from proa.http.api_errors import TakenError
from proa.region.jobs.runs import ACTIVE
from proa.region.pipelines.updates import UpdateCause
from proa.testing import FakeClock
from proa.times import millis

ENDS = st.sampled_from(
    [
        ("COMPLETED", True),
        ("FAILED", True),
        ("FAILED", False),
        ("CANCELED", True),
        ("CRASHED", True),
    ]
)


class Updates(RuleBasedStateMachine):
    """One pipeline, its job, and a server that may die at any moment."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.still = still_region(Path(self.folder.name), FakeClock())
        self.pipeline = self.still.region.pipelines.create({"name": "p"}, "me")
        self.job = self.still.region.jobs.create(
            {
                "name": "j",
                "tasks": [{"task_key": "t", "pipeline_task": {"pipeline_id": self.pipeline}}],
                "max_concurrent_runs": 3,
            },
            "me",
        )
        self.asked = 0

    def teardown(self) -> None:
        self.still.close()
        self.folder.cleanup()

    @property
    def work(self):
        return self.still.workers.running

    @rule(continuous=st.booleans())
    def put(self, continuous):
        spec = {"name": "p", "continuous": continuous}
        self.still.region.pipelines.change(self.pipeline, spec, "me")

    @rule()
    def start(self):
        pipeline = self.still.region.pipelines.get(self.pipeline)
        taken = self.still.region.updates.active(self.pipeline) is not None
        try:
            self.still.region.updates.start(pipeline, {}, UpdateCause.API_CALL)
            assert not taken
        except TakenError:
            assert taken

    @rule()
    def stop(self):
        self.still.region.pipelines.want(self.pipeline, running=False)
        self.still.region.updates.request_stop(self.pipeline)

    @rule()
    def run_job(self):
        self.still.region.runs.run_now(self.job, {}, "me")
        self.asked += 1

    @rule(times=st.integers(1, 4))
    def turn(self, times):
        self.still.turn(times)

    @rule(seconds=st.sampled_from([1, 30, 1000]))
    def wait(self, seconds):
        self.still.pass_time(seconds)

    @precondition(lambda self: self.work)
    @rule()
    def works(self):
        self.work[0].state("RUNNING")

    @precondition(lambda self: self.work)
    @rule(end=ENDS)
    def ends(self, end):
        outcome, retryable = end
        self.work[0].end(outcome, error="for some reason", retryable=retryable)

    @rule(polite=st.booleans())
    def restart(self, polite):
        if polite:
            self.still.region.update_loop.hand_back(0)
            self.still.region.run_loop.hand_back(0)
        self.still = self.still.restarted()

    @invariant()
    def one_update_is_active_and_one_process_works_on_it(self):
        updates, _ = self.still.region.updates.list(self.pipeline, size=100)
        active = [update for update in updates if not update.state.over]
        assert len(active) <= 1
        assert len(self.work) <= 1
        if self.work and active and self.work[0].work.work_id != active[0].update_id:
            assert self.work[0].stopped or self.work[0].killed

    @invariant()
    def what_is_said_to_run_is_run_by_somebody(self):
        self.still.turn()
        active = self.still.region.updates.active(self.pipeline)
        if active is not None and active.state != "QUEUED":
            assert [work.work.work_id for work in self.work] == [active.update_id]

    @invariant()
    def no_run_is_lost(self):
        found, _ = self.still.region.runs.list(job_id=self.job, size=25)
        assert len(found) >= min(self.asked, 25)

    @invariant()
    def a_loop_with_nothing_to_do_waits(self):
        writes = self.still.region.database.writes
        self.still.turn()
        if self.still.region.database.writes == writes:
            now = millis(self.still.clock.now())
            due = [part.next_due() for part in self.still.region.control._parts]
            assert [moment for moment in due if moment is not None and moment <= now] == []

    def settle(self) -> None:
        """Let everything that can end, end; then what is wanted must be so."""
        for _ in range(60):
            self.still.pass_time(400)
            pipeline = self.still.region.pipelines.get(self.pipeline)
            for work in self.work:
                if work.stopped or not work.work.payload["continuous"]:
                    work.end("CANCELED" if work.stopped else "COMPLETED")
        pipeline = self.still.region.pipelines.get(self.pipeline)
        given_up = pipeline.failures > 0 and pipeline.retry_at is None
        expected = int(pipeline.continuous and pipeline.wanted and not given_up)
        assert len(self.work) == expected
        runs, _ = self.still.region.runs.list(job_id=self.job, size=25)
        active = {run.run_id for run in runs if run.life_cycle in ACTIVE}
        # A task that started the update of a continuous pipeline lasts as long as that.
        working = {work.work.work_id for work in self.work}
        attempts = self.still.region.runs.attempts(list(active))
        assert all(attempts[run][-1].update_id in working for run in active)

    @rule()
    def everything_settles(self):
        self.settle()


TestUpdates = pytest.mark.slow(Updates.TestCase)
TestUpdates.settings = settings(
    max_examples=6,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
