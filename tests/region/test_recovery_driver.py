"""The controller flips running regions over their REST API, and real Databricks clients see it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest
from databricks.sdk.errors import InvalidParameterValue
from databricks.sdk.service import jobs
from databricks.sdk.service.pipelines import NotebookLibrary, PipelineLibrary
from databricks.sdk.service.workspace import Language

from proa.clock import SystemClock
from proa.errors import UnavailableError, UserError
from proa.recovery.by_api import ApiView
from proa.recovery.driver import Role
from proa.recovery.driver_api import ApiDriver
from proa.region.workers.fake_workers import FakeWorkers
from proa.settings import ApiSettings, ProjectSettings, RecoverySettings, RegionSettings

pytestmark = pytest.mark.slow

REGIONS = ("us-east", "us-west")


class QuickWorkers(FakeWorkers):
    """Triggered updates end at once; continuous ones run until they are stopped."""

    def start(self, work, report):
        begun = super().start(work, report)
        if not work.payload.get("continuous"):
            begun.end("COMPLETED")
        return begun


@pytest.fixture(scope="module")
def running(tmp_path_factory, serve) -> Iterator[dict[str, object]]:
    """Two regions with the same pipeline and its nightly job; east is active."""
    with ExitStack() as stack:
        regions = {}
        for name in REGIONS:
            folder = tmp_path_factory.mktemp(name)
            (folder / "zone").mkdir()
            region = stack.enter_context(serve(folder, QuickWorkers(obedient=True), name))
            w = region.client()
            library = PipelineLibrary(notebook=NotebookLibrary(path="/p"))
            w.workspace.import_(
                "/p",
                content="IyBEYXRhYnJpY2tzIG5vdGVib29rIHNvdXJjZQo=",
                overwrite=True,
                language=Language.PYTHON,
            )
            for pipeline in ("sales", "other"):
                created = w.pipelines.create(
                    name=pipeline,
                    continuous=name == "us-east",
                    libraries=[library],
                    configuration={"landing_zone": str(folder)},
                )
                task = jobs.Task(
                    "run", pipeline_task=jobs.PipelineTask(pipeline_id=created.pipeline_id)
                )
                paused = jobs.PauseStatus.PAUSED if name == "us-east" else jobs.PauseStatus.UNPAUSED
                w.jobs.create(
                    name=f"nightly {pipeline}",
                    tasks=[task],
                    schedule=jobs.CronSchedule("0 0 1 * * ?", "UTC", pause_status=paused),
                )
            regions[name] = region
        yield regions


def settings_of(running, *, pipelines=("sales",), **changed: ApiSettings) -> ProjectSettings:
    apis = {name: ApiSettings(host=one.address, token=one.token) for name, one in running.items()}
    regions = {
        name: RegionSettings(
            landing_zone="/nowhere",
            storage="/nowhere",
            api=changed.get(name.replace("-", "_"), api),
        )
        for name, api in apis.items()
    }
    return ProjectSettings(regions=regions, recovery=RecoverySettings(pipelines=pipelines))


def seen(running, region: str, pipeline: str = "sales") -> tuple[bool, str]:
    """What a client sees: whether the pipeline is continuous, and its job's pause status."""
    w = running[region].client()
    (listed,) = [one for one in w.pipelines.list_pipelines() if one.name == pipeline]
    (job,) = list(w.jobs.list(name=f"nightly {pipeline}"))
    found = w.jobs.get(job.job_id)
    return bool(
        w.pipelines.get(listed.pipeline_id).spec.continuous
    ), found.settings.schedule.pause_status.value


def test_a_region_is_flipped_there_and_back_and_again(running):
    driver = ApiDriver(settings_of(running))
    assert [driver.role(name) for name in REGIONS] == [Role.ACTIVE, Role.STANDBY]
    for _ in range(2):
        driver.fence("us-east")
        assert driver.role("us-east") is Role.FENCED
        assert seen(running, "us-east") == (False, "PAUSED")
    driver.drain("us-west")
    for _ in range(2):
        driver.activate("us-west")
        assert seen(running, "us-west") == (True, "PAUSED")
        driver.demote("us-east")
        assert seen(running, "us-east") == (False, "UNPAUSED")
    assert [driver.role(name) for name in REGIONS] == [Role.STANDBY, Role.ACTIVE]
    assert seen(running, "us-east", "other") == (True, "PAUSED")
    assert seen(running, "us-west", "other") == (False, "UNPAUSED")
    w = running["us-west"].client()
    (sales,) = [one for one in w.pipelines.list_pipelines() if one.name == "sales"]
    spec = w.pipelines.get(sales.pipeline_id).spec
    assert spec.configuration["landing_zone"]
    assert spec.libraries[0].notebook.path == "/p"


def test_a_drain_tells_where_it_ends(running):
    driver = ApiDriver(settings_of(running))
    driver.demote("us-west")
    driver.drain("us-west", {"orders": 120, "events": 7})
    assert running["us-west"].workers.begun[-1].work.payload["request"]["parameters"] == {
        "proa.through": "events=7,orders=120"
    }
    w = running["us-west"].client()
    (sales,) = [one for one in w.pipelines.list_pipelines() if one.name == "sales"]
    with pytest.raises(InvalidParameterValue, match="write it like orders=120"):
        w.pipelines.start_update(sales.pipeline_id, parameters={"proa.through": "noon"})
    driver.activate("us-west")
    with pytest.raises(InvalidParameterValue, match="the pipeline is continuous; leave it out"):
        w.pipelines.start_update(sales.pipeline_id, parameters={"proa.through": "n=1"})


def test_without_names_all_pipelines_move(running):
    driver = ApiDriver(settings_of(running, pipelines=()))
    driver.demote("us-east")
    driver.activate("us-west")
    for name in ("sales", "other"):
        assert (seen(running, "us-east", name)[0], seen(running, "us-west", name)[0]) == (
            False,
            True,
        )


def test_a_region_that_is_gone_is_unavailable_and_a_wrong_token_is_a_mistake(running):
    gone = ApiSettings(host="http://127.0.0.1:9", token="t")
    with pytest.raises(UnavailableError, match="us-east does not answer"):
        ApiDriver(settings_of(running, us_east=gone)).role("us-east")
    wrong = ApiSettings(host=running["us-east"].address, token="wrong")
    with pytest.raises(UserError, match=r"refuses the token of regions\.us-east\.api"):
        ApiDriver(settings_of(running, us_east=wrong)).role("us-east")
    with pytest.raises(UserError, match="has no pipeline 'sails'"):
        ApiDriver(settings_of(running, pipelines=("sails",))).role("us-east")


def test_a_controller_without_the_storages_asks_the_servers(running, tmp_path):
    settings = settings_of(running)
    view = ApiView(settings, SystemClock())
    status = view.status("us-east")
    assert (status.region, status.error, status.sources) == ("us-east", None, ())
    assert view.caught_up("us-east", SystemClock().now() - timedelta(seconds=60)).caught_up
    assert view.loss("us-west").files == 0
    gone = ApiSettings(host="http://127.0.0.1:9", token="t")
    silent = ApiView(settings_of(running, us_east=gone), SystemClock()).status("us-east")
    assert isinstance(silent.error, UnavailableError)
