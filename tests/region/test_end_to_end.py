"""The seed's scenario on two regions with real workers: active, standby, toggled, toggled back."""

from __future__ import annotations

import io
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from databricks.sdk.service import jobs, workspace
from databricks.sdk.service.pipelines import NotebookLibrary, PipelineLibrary, UpdateInfoState

pytestmark = pytest.mark.slow

NOTEBOOK = """# Databricks notebook source
import dlt

# COMMAND ----------

@dlt.table
def bronze():
    return (
        spark.readStream.format("cloudFiles")
        .option("cloudFiles.format", "json")
        .option("cloudFiles.inferColumnTypes", "true")
        .load(spark.conf.get("landing_zone") + "/orders")
    )

# COMMAND ----------

@dlt.table
@dlt.expect_or_drop("positive", "amount > 0")
def silver():
    print("silver is planned")
    return dlt.read_stream("bronze")

# COMMAND ----------

@dlt.table
def gold():
    return spark.sql("select max(event_timestamp) as latest, sum(amount) as total from silver")
"""
PATH = "/Pipelines/Pipeline1/notebook1.py"


@dataclass
class Site:
    """One region of the seed: its server, pipeline and nightly job."""

    name: str
    folder: Path
    running: object
    pipeline: str
    job: int

    @property
    def w(self):
        return self.running.client()

    def drop(self, name: str, *amounts: int) -> None:
        lines = [
            f'{{"event_timestamp": "2023-02-28T13:00:{n:02}Z", "amount": {n}}}' for n in amounts
        ]
        zone = self.folder / "zone" / "orders"
        zone.mkdir(parents=True, exist_ok=True)
        hidden = zone / f"_{name}"
        hidden.write_text("\n".join(lines) + "\n")
        hidden.rename(zone / name)

    def activate(self, *, active: bool) -> None:
        """What the seed's Terraform sends when `active_region` changes."""
        spec = self.w.pipelines.get(self.pipeline).spec
        self.w.pipelines.update(
            self.pipeline,
            name=spec.name,
            continuous=active,
            storage=spec.storage,
            target=spec.target,
            libraries=spec.libraries,
            configuration=spec.configuration,
        )
        settings = self.w.jobs.get(self.job).settings
        settings.schedule.pause_status = (
            jobs.PauseStatus.PAUSED if active else jobs.PauseStatus.UNPAUSED
        )
        self.w.jobs.reset(self.job, settings)

    def total(self) -> str | None:
        warehouse = next(iter(self.w.warehouses.list())).id
        found = self.w.statement_execution.execute_statement(
            "select total from shop.gold", warehouse, wait_timeout="30s"
        )
        return found.result.data_array[0][0] if found.result else None


def deploy(running, name: str, folder: Path, *, active: bool) -> Site:
    w = running.client()
    w.workspace.mkdirs("/Pipelines/Pipeline1")
    w.workspace.upload(
        PATH, io.BytesIO(NOTEBOOK.encode()), language=workspace.Language.PYTHON, overwrite=True
    )
    pipeline = w.pipelines.create(
        name="pipeline",
        continuous=active,
        channel="CURRENT",
        edition="ADVANCED",
        storage=str(folder / "dlt"),
        target="shop",
        configuration={"pipelines.trigger.interval": "0.2 seconds"},
        libraries=[PipelineLibrary(notebook=NotebookLibrary(PATH))],
    ).pipeline_id
    job = w.jobs.create(
        name="Job for pipeline",
        tasks=[jobs.Task(task_key="DLT", pipeline_task=jobs.PipelineTask(pipeline))],
        schedule=jobs.CronSchedule(
            "0 0 1 * * ?",
            "America/New_York",
            jobs.PauseStatus.PAUSED if active else jobs.PauseStatus.UNPAUSED,
        ),
    ).job_id
    return Site(name, folder, running, pipeline, job)


@pytest.fixture(scope="module")
def sites(serve, tmp_path_factory):
    east, west = tmp_path_factory.mktemp("east"), tmp_path_factory.mktemp("west")
    with (
        serve(east, None, "us-east", warm_workers=1) as one,
        serve(west, None, "us-west", warm_workers=1) as two,
    ):
        primary = deploy(one, "us-east", east, active=True)
        standby = deploy(two, "us-west", west, active=False)
        yield primary, standby


def wait(true, message: str) -> None:
    pause = threading.Event()
    for _ in range(600):
        if true():
            return
        pause.wait(0.1)
    raise AssertionError(message)


def test_failover_and_failback(sites):
    primary, standby = sites
    for site in sites:
        site.drop("a.json", 1, 2, -3)
    wait(lambda: primary.total() == "3", "the primary never read the first file")

    run = standby.w.jobs.run_now(standby.job).result()
    assert run.state.result_state is jobs.RunResultState.SUCCESS
    assert standby.total() == "3"

    # The outage: the primary is gone, files go to the standby only, which becomes active.
    standby.activate(active=True)
    standby.drop("b.json", 4)
    wait(lambda: standby.total() == "7", "the standby never took over")

    # Failback: the primary has the files now and catches up; the standby goes back to its job.
    primary.drop("b.json", 4)
    wait(lambda: primary.total() == "7", "the primary never caught up")
    standby.activate(active=False)
    wait(
        lambda: standby.w.pipelines.get(standby.pipeline).state.value == "IDLE",
        "the standby never stopped",
    )
    for site in sites:
        site.drop("c.json", 5)
    standby.w.jobs.run_now(standby.job).result()
    wait(lambda: primary.total() == "12", "the primary stopped reading")
    assert standby.total() == "12"


def test_the_event_log_tells_of_output_quality_and_progress(sites):
    _, standby = sites
    events = list(standby.w.pipelines.list_pipeline_events(standby.pipeline, max_results=250))
    text = {event.message for event in events}
    assert "silver is planned" in text
    kinds = {event.event_type for event in events}
    assert {"create_update", "update_progress", "flow_progress", "user_output"} <= kinds
    body, _ = standby.running.region.events.list(
        standby.pipeline, text="event_type = 'flow_progress'", size=250
    )
    quality = [event["details"]["flow_progress"].get("data_quality") for event in body]
    assert any(item and item["dropped_records"] == 1 for item in quality)


def test_a_mistake_names_the_users_file_and_line(sites):
    _, standby = sites
    broken = NOTEBOOK.replace("dlt.read_stream", "dlt.read_streem")
    standby.w.workspace.upload(
        PATH, io.BytesIO(broken.encode()), language=workspace.Language.PYTHON, overwrite=True
    )
    update = standby.w.pipelines.start_update(standby.pipeline).update_id
    wait(
        lambda: (
            standby.w.pipelines.get_update(standby.pipeline, update).update.state
            is UpdateInfoState.FAILED
        ),
        "the update never failed",
    )
    failed = next(
        iter(standby.w.pipelines.list_pipeline_events(standby.pipeline, filter="level = 'ERROR'"))
    )
    line = broken.splitlines().index('    return dlt.read_streem("bronze")') + 1
    assert f"Pipelines/Pipeline1/notebook1.py:{line}" in failed.error.exceptions[0].message
    assert failed.error.exceptions[0].stack[0].line_number == line
