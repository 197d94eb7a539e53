"""The seed's story: the primary runs continuously, the standby by a nightly job; they swap, twice.

Terraform applies the shipped files; Databricks' own client looks at what the regions then do.
"""

from __future__ import annotations

import threading
from datetime import timedelta

from databricks.sdk.service.jobs import RunLifeCycleState, RunResultState
from databricks.sdk.service.pipelines import PipelineState, UpdateInfoState


def until(true):
    """Look again and again until it is true."""
    pause = threading.Event()
    for _ in range(1000):
        if found := true():
            return found
        pause.wait(0.02)
    raise AssertionError("it never became true")


class Site:
    """One region as the story sees it."""

    def __init__(self, live, root):
        self.live = live
        self.root = root
        self.pipeline_id = root.output("pipeline_id")
        self.job_id = int(root.output("job_id"))

    def state(self):
        return self.live.client.pipelines.get(self.pipeline_id).state

    def runs_continuously(self):
        until(lambda: self.state() == PipelineState.RUNNING)
        return self.live.client.pipelines.get(self.pipeline_id).spec.continuous

    def idles(self):
        until(lambda: self.state() == PipelineState.IDLE)
        return not self.live.client.pipelines.get(self.pipeline_id).spec.continuous

    def runs(self):
        return list(self.live.client.jobs.list_runs(job_id=self.job_id))

    def night(self):
        """A night passes; every update that the job started in it completes."""
        self.live.clock.shift += timedelta(days=1)
        control = self.live.region.control
        turns = control.turns

        def looked():
            control.wake()
            return control.turns > turns + 1  # the turn under way may have looked before

        until(looked)

    def complete(self):
        until(lambda: self.state() == PipelineState.RUNNING)
        for work in self.live.workers.running:
            work.end("COMPLETED")
        until(lambda: self.runs()[0].state.life_cycle_state == RunLifeCycleState.TERMINATED)
        return self.runs()[0].state.result_state


def test_failover_and_failback_swap_who_runs_continuously_and_who_by_night(regions, roots):
    for root in roots.values():
        root.apply()
    east, west = (Site(regions[name], roots[name]) for name in regions)

    assert east.runs_continuously()
    assert west.idles()
    east.night()
    west.night()
    assert east.runs() == []
    assert west.complete() == RunResultState.SUCCESS

    regions["us-east"].stop()
    west.root.apply("-var=active_region=true")
    assert west.runs_continuously()
    west.night()
    assert len(west.runs()) == 1

    regions["us-east"].start()
    assert east.runs_continuously()
    east.root.apply("-var=active_region=false")
    assert east.idles()
    east.night()
    assert east.complete() == RunResultState.SUCCESS

    east.root.apply("-var=active_region=true")
    west.root.apply("-var=active_region=false")
    assert east.runs_continuously()
    assert west.idles()
    west.night()
    assert west.complete() == RunResultState.SUCCESS
    assert len(west.runs()) == 2
    updates = west.live.client.pipelines.list_updates(west.pipeline_id).updates
    assert [update.state for update in updates] == [
        UpdateInfoState.COMPLETED,
        UpdateInfoState.CANCELED,
        UpdateInfoState.COMPLETED,
    ]
