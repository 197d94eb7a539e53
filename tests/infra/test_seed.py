"""The seed's story: the primary runs continuously, the standby by a nightly job; they swap, twice.

Terraform applies the shipped files; Databricks' own client looks at what the regions then do.
"""

from __future__ import annotations

import json
import shutil
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from databricks.sdk.service.jobs import RunLifeCycleState, RunResultState
from databricks.sdk.service.pipelines import PipelineState, UpdateInfoState
from deltalake import DeltaTable
from terraform import Terraform
from two_regions import SHIPPED, LiveRegion

from proa.infra import RegionRoot, Tree, write

pytestmark = pytest.mark.slow


def until(true):
    """Look again and again until it is true."""
    pause = threading.Event()
    for _ in range(1200):
        if found := true():
            return found
        pause.wait(0.1)
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


def land(lives, day, count):
    """The same events in every landing zone, as shipping leaves them."""
    lines = "".join(
        json.dumps({"id": f"{day}-{number}", "event_timestamp": f"{day}T{number:02}:00:00Z"}) + "\n"
        for number in range(count)
    )
    for live in lives:
        folder = Path(live.settings.landing_zone) / "events"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f".{day}.json").write_text(lines)
        (folder / f".{day}.json").rename(folder / f"{day}.json")


def daily_events(live):
    """The gold table of a region: (day, events, newest event) for each day; none before it is made."""
    url = f"{live.settings.storage}/tables/daily_events"
    if not DeltaTable.is_deltatable(url):
        return []
    columns = DeltaTable(url).to_pyarrow_table().to_pydict().values()
    return sorted(
        (str(day), events, newest.strftime("%d %H:%M"))
        for day, events, newest in zip(*columns, strict=True)
    )


@pytest.fixture
def computing(tmp_path):
    """Two regions whose workers really run pipelines."""
    made = []
    try:
        for name in ("us-east", "us-west"):
            (tmp_path / name).mkdir()
            made.append(LiveRegion(name, tmp_path / name, workers=None))
        yield made
    finally:
        for live in made:
            live.stop()


def test_the_shipped_notebooks_fill_the_same_tables_in_both_regions_whoever_is_active(
    tmp_path, provider, computing
):
    east_live, west_live = computing
    folder = tmp_path / "infra"
    shutil.copytree(SHIPPED, folder, ignore=shutil.ignore_patterns("*.tfvars", ".terraform*"))
    write(
        Tree(
            pipeline="pipeline",
            source=None,
            notebooks=("notebook1.py", "notebook2.py"),
            regions=tuple(
                RegionRoot(live.name, live.url, live.settings.landing_zone, live.settings.storage)
                for live in computing
            ),
            active="us-east",
            configuration={"pipelines.trigger.interval": "1 second"},
        ),
        folder,
        replace=True,
    )
    roots = [Terraform(folder / "regions" / live.name, provider, live.token) for live in computing]
    land(computing, "2026-01-01", 3)
    for root in roots:
        root.init()
        root.apply()
    east, west = (Site(live, root) for live, root in zip(computing, roots, strict=True))

    first = [("2026-01-01", 3, "01 02:00")]
    until(lambda: daily_events(east_live) == first)
    assert daily_events(west_live) == []
    west.night()
    until(lambda: daily_events(west_live) == first)

    land(computing, "2026-01-02", 2)
    east_live.stop()
    land(computing, "2026-01-03", 1)
    roots[1].apply("-var=active_region=true")
    everything = [
        *first,
        ("2026-01-02", 2, "02 01:00"),
        ("2026-01-03", 1, "03 00:00"),
    ]
    until(lambda: daily_events(west_live) == everything)

    east_live.start()
    until(lambda: daily_events(east_live) == everything)
    assert east.runs_continuously()
    assert west.runs_continuously()
