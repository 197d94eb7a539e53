"""`proa serve` in trouble: told to stop, frozen workers, a full disk, a rival for its state."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3

import pytest
from databricks.sdk.errors import DatabricksError
from databricks.sdk.service import jobs
from deltalake.exceptions import TableNotFoundError

from killing import Server, Site, alive, pause_until
from proa.clock import SystemClock

pytestmark = pytest.mark.slow

NOTEBOOK = """# Databricks notebook source
from pathlib import Path
import threading
folder = Path(dbutils.widgets.get("folder"))
with (folder / "ran").open("a") as ran:
    ran.write("ran\\n")
pause = threading.Event()
while (folder / "notebook").exists():
    pause.wait(0.02)
dbutils.notebook.exit("42")
"""
CONDITION = jobs.ConditionTask(op=jobs.ConditionTaskOp.EQUAL_TO, left="1", right="1")


@pytest.fixture(scope="module")
def site(lives, tmp_path_factory):
    made = Site(lives, tmp_path_factory.mktemp("site"))
    made.start()
    yield made
    made.close()


@pytest.fixture(scope="module")
def shop(site):
    site.land()
    return site.pipeline()


@pytest.fixture(scope="module")
def job(site, shop):
    task = jobs.Task(task_key="load", pipeline_task=jobs.PipelineTask(shop))
    return site.w.jobs.create(name="load", tasks=[task]).job_id


def test_a_server_that_is_told_to_stop_lets_work_end_or_hands_it_back(site, job):
    site.put("/Shared/notebook", NOTEBOOK)
    notebook = jobs.NotebookTask("/Shared/notebook", {"folder": str(site.folder)})
    once = site.w.jobs.create(
        name="once", tasks=[jobs.Task(task_key="n", notebook_task=notebook)]
    ).job_id
    for gate in ("loading", "notebook"):
        site.hold(gate)
    site.w.jobs.run_now(once)
    load = site.w.jobs.run_now(job).run_id
    run = next(iter(site.w.jobs.list_runs(job_id=once))).run_id
    ran = site.folder / "ran"
    pause_until(ran.exists, "the notebook never began")
    site.reached("loading")
    os.kill(site.server.pid, signal.SIGTERM)
    for gate in ("loading", "notebook"):
        site.open(gate)
    assert site.server.ended() == 0
    site.start()
    site.over(load, "SUCCESS")
    site.over(run, "SUCCESS")
    task = site.w.jobs.get_run(run).tasks[0].run_id
    assert site.w.jobs.get_run_output(task).notebook_output.result == "42"
    assert ran.read_text() == "ran\n"
    site.exact()


def test_frozen_workers_can_be_stopped_and_do_not_outlive_their_server(site, job):
    def frozen(run: int) -> list[int]:
        site.reached("loading")
        workers = site.server.workers()
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        return workers

    site.hold("loading")
    cancelled = site.w.jobs.run_now(job).run_id
    workers = frozen(cancelled)
    site.w.jobs.cancel_run(cancelled)
    site.over(cancelled, "CANCELED")
    for pid in workers:
        if alive(pid):  # a spare
            os.kill(pid, signal.SIGCONT)
    site.hold("loading")
    run = site.w.jobs.run_now(job).run_id
    workers = frozen(run)
    assert site.server.end(signal.SIGKILL) == -signal.SIGKILL
    site.land()
    site.open("loading")
    site.start()
    pause_until(lambda: not any(map(alive, workers)), "a frozen worker lives on")
    site.over(run, "SUCCESS")
    site.exact()


def test_a_full_disk_loses_nothing_and_says_so(site, job):
    site.land()
    site.hold("loading")
    run = site.w.jobs.run_now(job).run_id
    site.reached("loading")
    workers = site.server.workers()
    unlimited = resource.prlimit(site.server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(site.server.pid, resource.RLIMIT_FSIZE, (1, unlimited[1]))
    try:
        with pytest.raises(DatabricksError, match="state did not answer"):
            site.w.workspace.mkdirs("/Shared/more")
        assert site.w.jobs.get_run(run).state.life_cycle_state.value == "RUNNING"
        site.open("loading")
        pause_until(lambda: not all(map(alive, workers)), "the worker never ends")
        site.exact()
        with pytest.raises(DatabricksError, match="state did not answer"):
            site.w.jobs.run_now(job)
    finally:
        resource.prlimit(site.server.pid, resource.RLIMIT_FSIZE, unlimited)
    site.over(run, "SUCCESS")
    assert len(list(site.w.jobs.list_runs(job_id=job, active_only=True))) == 0
    updates = site.w.pipelines.list_updates(
        site.w.jobs.get(job).settings.tasks[0].pipeline_task.pipeline_id
    )
    assert {item.state.value for item in updates.updates} <= {"COMPLETED", "CANCELED"}


def test_a_second_server_is_refused_and_a_server_that_lost_its_state_ends(lives, site, job):
    first = site.server
    rival = Server(lives, site)
    site.servers.append(rival)
    assert rival.ended() == 1
    assert "another server owns this region's state; stop it first" in site.log()
    # Somebody removes the lock: nothing keeps the next server out, and the first writes no more.
    (site.folder / ".proa" / "us-east.db.lock").unlink()
    old, workers = site.w, first.workers()
    site.start()
    with pytest.raises(DatabricksError, match="another server owns"):
        old.workspace.mkdirs("/Shared/old")
    assert first.ended() == 1
    assert not any(map(alive, workers))
    run = site.w.jobs.run_now(job).run_id
    site.over(run, "SUCCESS")


def test_continuous_pipelines_and_schedules_go_on_by_themselves(site):
    site.land()
    far = (SystemClock().now().hour + 12) % 24  # it must not fire by itself
    stream = site.pipeline("stream", continuous=True)
    nightly = site.w.jobs.create(
        name="nightly",
        tasks=[jobs.Task(task_key="c", condition_task=CONDITION)],
        schedule=jobs.CronSchedule(f"0 0 {far} * * ?", "UTC"),
    ).job_id

    def caught_up() -> bool:
        try:
            site.exact("stream")
        except (AssertionError, TableNotFoundError):
            return False
        return True

    pause_until(caught_up, "the stream never begins")
    site.land()
    assert site.server.end(signal.SIGKILL) == -signal.SIGKILL
    site.land()
    # The server was down for two days.
    with sqlite3.connect(site.folder / ".proa" / "us-east.db") as state:
        state.execute(
            "update jobs set next_fire_at = next_fire_at - 172800000 where job_id = ?", (nightly,)
        )
    state.close()
    site.start()
    pause_until(caught_up, "the stream does not go on")
    for pid in site.server.workers():
        os.kill(pid, signal.SIGKILL)
    site.land()
    pause_until(caught_up, "the stream does not begin again")
    runs = list(site.w.jobs.list_runs(job_id=nightly))
    assert [(run.trigger.value, run.state.result_state.value) for run in runs] == [
        ("PERIODIC", "SUCCESS")
    ]
    updates = site.w.pipelines.list_updates(stream).updates
    assert [(item.state.value, item.cause.value) for item in updates] == [
        ("RUNNING", "RETRY_ON_FAILURE"),
        ("FAILED", "USER_ACTION"),
    ]
    told = site.w.pipelines.list_pipeline_events(stream, filter="level = 'ERROR'")
    assert ["killed by signal 9" in event.message for event in told] == [True]
    site.w.pipelines.delete(stream)


def test_a_state_that_cannot_be_written_keeps_the_server_from_starting(lives, site, read_only):
    assert site.server.end(signal.SIGTERM) == 0
    with read_only(site.folder / ".proa"):
        refused = Server(lives, site)
        site.servers.append(refused)
        assert refused.ended() == 3
    assert "cannot open the region's state" in site.log()
