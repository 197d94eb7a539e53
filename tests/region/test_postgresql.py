"""A region whose state is in PostgreSQL: restarts of either, rivals, and many clients at once."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from databricks.sdk.errors import DatabricksError, ResourceConflict
from databricks.sdk.service import jobs

from killing import Server, Site, alive, pause_until
from proa.clock import SystemClock
from proa.demo.postgresql import postgresql
from proa.errors import ConflictError, UnavailableError
from proa.region.state.database import Database
from proa.region.state.ownership import Exclusive

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def database():
    with postgresql() as made:
        made.execute("create database state")
        yield made


@pytest.fixture(scope="module")
def site(lives, database, tmp_path_factory):
    made = Site(lives, tmp_path_factory.mktemp("site"), state=database.url("state"))
    made.start()
    made.land()
    yield made
    made.close()


@pytest.fixture(scope="module")
def shop(site):
    return site.pipeline()


@pytest.fixture(scope="module")
def job(site, shop):
    task = jobs.Task(task_key="load", pipeline_task=jobs.PipelineTask(shop))
    return site.w.jobs.create(name="load", tasks=[task], max_concurrent_runs=100).job_id


def test_a_database_that_is_killed_and_comes_back_loses_nothing(site, database, job, lives):
    site.hold("loading")
    run = site.w.jobs.run_now(job).run_id
    site.reached("loading")
    workers = site.server.workers()
    database.kill()
    with pytest.raises(DatabricksError, match="state cannot be read"):
        site.w.jobs.get_run(run)
    # The update ends while nobody can write that down.
    site.open("loading")
    pause_until(lambda: not all(map(alive, workers)), "the worker never ends")
    site.exact()
    database.start()
    site.over(run, "SUCCESS")
    # The lock went with the database, and was taken again.
    assert "looking again" in site.log()
    pause_until(
        lambda: database.execute("select 1 from pg_locks where locktype = 'advisory'", "state"),
        "nobody takes the lock",
    )
    rival = Server(lives, site)
    site.servers.append(rival)
    assert rival.ended() == 1
    assert "another server owns this region's state; stop it first" in site.log()
    site.servers.remove(rival)


def test_after_sigkill_the_next_server_goes_on(site, job):
    site.land()
    site.hold("loading")
    token = "killed"
    run = site.w.jobs.run_now(job, idempotency_token=token).run_id
    site.reached("loading")
    workers = site.server.workers()
    assert site.server.end(signal.SIGKILL) == -signal.SIGKILL
    site.open("loading")
    site.start()
    assert site.w.jobs.run_now(job, idempotency_token=token).run_id == run
    site.over(run, "SUCCESS")
    assert not any(map(alive, workers))
    site.exact()


def test_clients_at_once_start_one_run_by_token_and_one_update(site, shop, job):
    site.hold("loading")

    def run(number: int) -> int:
        return site.w.jobs.run_now(job, idempotency_token="at once").run_id

    def submit(number: int) -> int:
        task = jobs.SubmitTask(
            task_key="c",
            condition_task=jobs.ConditionTask(
                op=jobs.ConditionTaskOp.EQUAL_TO, left="1", right="1"
            ),
        )
        return site.w.jobs.submit(tasks=[task], idempotency_token="at once").run_id

    def update(number: int) -> bool:
        try:
            return bool(site.w.pipelines.start_update(shop).update_id)
        except ResourceConflict:
            return False

    with ThreadPoolExecutor(8) as clients:
        started = list(clients.map(update, range(8)))
        runs = set(clients.map(run, range(8)))
        submitted = set(clients.map(submit, range(8)))
    assert sorted(started) == [False] * 7 + [True]
    assert (len(runs), len(submitted)) == (1, 1)
    site.open("loading")
    site.over(runs.pop(), "SUCCESS")
    site.exact()


def test_a_server_that_was_frozen_and_lost_its_state_writes_nothing_and_ends(site, database, job):
    site.land()
    site.hold("loading")
    run = site.w.jobs.run_now(job).run_id
    site.reached("loading")
    old, client, workers = site.server, site.w, site.server.workers()
    os.kill(old.pid, signal.SIGSTOP)
    database.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'state'"
    )
    site.start()
    site.open("loading")
    site.over(run, "SUCCESS")
    before = database.execute("select count(*), max(number) from events", "state")
    os.kill(old.pid, signal.SIGCONT)
    assert old.ended() == 1
    assert "another server owns this region's state now" in site.log()
    assert not any(map(alive, workers))
    assert database.execute("select count(*), max(number) from events", "state") == before
    with pytest.raises(TimeoutError):
        client.jobs.get_run(run)
    site.exact()


def test_a_check_that_found_no_database_does_not_give_up_the_lock():
    with postgresql() as made:
        made.execute("create database alone")
        database = Database.open(made.url("alone"))
        owner = Exclusive.take(database, SystemClock())
        made.kill()
        for _ in range(2):
            with pytest.raises(UnavailableError):
                owner.check()
        made.start()
        owner.check()
        rival = Database.open(made.url("alone"))
        with pytest.raises(ConflictError, match="another server owns"):
            Exclusive.take(rival, SystemClock())
        owner.release()
        Exclusive.take(rival, SystemClock()).release()
        for each in (database, rival):
            each.close()
