"""A region that returns and sees a newer epoch is a standby before it runs anything."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from databricks.sdk.errors import DatabricksError
from stills import still_region

from proa.clock import SystemClock
from proa.errors import ProaError
from proa.recovery.control_record import ControlStore, first_record
from proa.region.demotion import Demotion
from proa.region.region import RegionServices
from proa.region.workers.fake_workers import FakeWorkers
from proa.settings import ControlSettings, ProjectSettings, RecoverySettings, RegionSettings
from proa.steps import Step, probing
from proa.testing import FakeClock, FaultProbe, Kill, Killed, every_fault


@pytest.fixture
def project(tmp_path: Path) -> ProjectSettings:
    regions = {
        name: RegionSettings(landing_zone=f"{tmp_path}/{name}/l", storage=f"{tmp_path}/{name}/s")
        for name in ("us-east", "us-west")
    }
    control = ControlSettings(path=f"{tmp_path}/third")
    return ProjectSettings(
        regions=regions, recovery=RecoverySettings(control=control, pipelines=("sales",))
    )


@pytest.fixture
def region(tmp_path: Path, clock: FakeClock) -> Iterator[RegionServices]:
    """us-east, active: two continuous pipelines, and the paused job of one of them."""
    still = still_region(tmp_path, clock)
    found: RegionServices = still.region
    for name in ("sales", "other"):
        library = {"notebook": {"path": "/p"}}
        pipeline = found.pipelines.create(
            {"name": name, "continuous": True, "libraries": [library]}, "ada"
        )
        task = {"task_key": "t", "pipeline_task": {"pipeline_id": pipeline}}
        schedule = {
            "quartz_cron_expression": "0 0 1 * * ?",
            "timezone_id": "UTC",
            "pause_status": "PAUSED",
        }
        found.jobs.create({"name": f"nightly {name}", "tasks": [task], "schedule": schedule}, "ada")
    yield found
    still.close()


def changed(store: ControlStore, project: ProjectSettings, active: str, epoch: int) -> None:
    record = store.read() or store.append(first_record(project, SystemClock().now(), "ada"))
    update = {"number": record.number + 1, "active": active, "epoch": epoch}
    store.append(record.model_copy(update=update))


def roles(region: RegionServices) -> dict[str, tuple[bool, str]]:
    pauses = {
        job.settings["name"]: job.settings["schedule"]["pause_status"]
        for job in region.jobs.every()
    }
    return {
        one.name: (one.continuous, pauses[f"nightly {one.name}"])
        for one in region.pipelines.every()
    }


def demotion(region: RegionServices, project: ProjectSettings) -> Demotion:
    return Demotion("us-east", project, region.pipelines, region.jobs, region.clock)


def test_a_newer_epoch_demotes_the_groups_pipelines_at_the_start(region, project):
    changed(ControlStore.of(project), project, "us-west", 2)
    demotion(region, project).start()
    assert roles(region) == {"sales": (False, "UNPAUSED"), "other": (True, "PAUSED")}


def test_a_region_that_was_fenced_and_then_lost_runs_by_its_schedule_again(region, project):
    """A switchover stopped it; then it was lost, and a failover gave it up."""
    (sales, _) = sorted(region.pipelines.every(), key=lambda one: one.name != "sales")
    region.pipelines.change(sales.pipeline_id, {**sales.spec, "continuous": False}, "ada")
    store, part = ControlStore.of(project), demotion(region, project)
    changed(store, project, "us-west", 2)
    part.start()
    assert roles(region)["sales"] == (False, "PAUSED")
    record = store.read()
    store.append(record.model_copy(update={"number": record.number + 1, "owed": ("us-east",)}))
    demotion(region, project).start()
    assert roles(region) == {"sales": (False, "UNPAUSED"), "other": (True, "PAUSED")}


@pytest.mark.parametrize(
    "fault",
    [fault for at in (1, 2) for fault in every_fault([Step.STATE_WRITE], at=at)],
    ids=str,
)
def test_a_state_that_did_not_answer_is_asked_again_until_the_region_is_a_standby(
    region, project, fault
):
    changed(ControlStore.of(project), project, "us-west", 2)
    part, probe = demotion(region, project), FaultProbe(fault)
    with probing(probe), suppress(ProaError, Killed):
        part.start()
    assert probe.struck == [fault]
    if isinstance(fault, Kill):
        part = demotion(region, project)
        part.start()
    part.turn()
    assert roles(region) == {"sales": (False, "UNPAUSED"), "other": (True, "PAUSED")}


def test_a_newer_epoch_is_noticed_while_the_region_runs(region, project):
    store, part = ControlStore.of(project), demotion(region, project)
    changed(store, project, "us-east", 2)
    part.start()
    assert roles(region)["sales"] == (True, "PAUSED")
    changed(store, project, "us-west", 3)

    pause = threading.Event()
    for _ in range(500):
        region.clock.advance(5)
        part.turn()
        if roles(region)["sales"] == (False, "UNPAUSED"):
            return
        pause.wait(0.01)
    raise AssertionError("the region did not demote itself")


def test_a_silent_record_changes_nothing(region, project, tmp_path):
    changed(ControlStore.of(project), project, "us-west", 2)
    (tmp_path / "third").rename(tmp_path / "gone")
    (tmp_path / "third").write_text("not a folder")
    demotion(region, project).start()
    assert roles(region)["sales"] == (True, "PAUSED")


def test_a_project_without_recovery_is_left_alone(region, project):
    alone = project.model_copy(update={"recovery": None})
    part = demotion(region, alone)
    part.start()
    part.turn()
    assert part.next_due() is None


@pytest.mark.slow
def test_the_region_tells_how_far_it_is(serve, tmp_path):
    with serve(tmp_path, FakeWorkers()) as running:
        zone = tmp_path / "zone" / "orders"
        zone.mkdir(parents=True)
        (zone / "1.json").write_text("{}")
        ask = running.client().api_client.do
        found = ask("GET", "/api/proa/1/progress", query={"as_of": "2026-01-01"})
        (source,) = found["sources"]
        assert (found["region"], source["source"], source["backlog_files"]) == (
            "us-east",
            "orders",
            1,
        )
        assert found["caught_up"] is False
        with pytest.raises(DatabricksError, match="as_of is not a time"):
            ask("GET", "/api/proa/1/progress", query={"as_of": "yesterday"})
