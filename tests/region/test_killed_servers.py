"""`proa serve` under real SIGKILLs: exactly before and after every state of an update and of a run.

The next server goes on over the same state, clients ask again with the same token, and what comes
out is one run, one update, and every row once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal

import pytest
from databricks.sdk.errors import DatabricksError
from databricks.sdk.service import jobs

from killing import Lives, Site, alive, pause_until
from proa.region.jobs.runs import Life
from proa.states import UpdateState

pytestmark = pytest.mark.slow

MOST_DEATHS = 4
"""Of one run: an update that meets the death of many more servers is given up, on purpose."""

NEVER = {Life.INTERNAL_ERROR}
WHILE_CANCELLED = {UpdateState.STOPPING, UpdateState.CANCELED, Life.TERMINATING}
WHEN_BROKEN = {UpdateState.FAILED}
WHEN_BUSY = {Life.PENDING}
WHEN_TOO_MANY = {Life.SKIPPED}
ELSEWHERE = NEVER | WHILE_CANCELLED | WHEN_BROKEN | WHEN_BUSY | WHEN_TOO_MANY
WAYS = ("before", "after")
LOST = (DatabricksError, OSError, TimeoutError)
"""What a client meets whose server dies."""


def moment(state: UpdateState | Life, when: str) -> dict[str, str]:
    table = "updates" if isinstance(state, UpdateState) else "runs"
    return {"table": table, "value": state.value, "when": when, "victim": "server"}


def name(state: object) -> str:
    return f"{type(state).__name__}.{state}"


class Shop:
    """A region with one pipeline and jobs that run it."""

    def __init__(self, lives: Lives, folder) -> None:
        self.site = Site(lives, folder)
        self.site.start()
        self.site.land()
        self.pipeline = self.site.pipeline()
        task = jobs.Task(task_key="load", pipeline_task=jobs.PipelineTask(self.pipeline))
        self.job = self.site.w.jobs.create(name="load", tasks=[task], max_concurrent_runs=3).job_id
        self.strict = self.site.w.jobs.create(name="strict", tasks=[task]).job_id
        self.patient = self.site.w.jobs.create(
            name="patient",
            tasks=[
                dataclasses.replace(task, max_retries=len(UpdateState), min_retry_interval_millis=0)
            ],
        ).job_id
        self.deaths = 0

    @property
    def w(self):
        return self.site.w

    def ask(self, token: str, job: int | None = None) -> int | None:
        """Start a run, as a client that knows what it asked for; None when the answer is lost."""
        try:
            return self.w.jobs.run_now(
                job or self.job,
                idempotency_token=token,
                pipeline_params=jobs.PipelineParams(full_refresh=True),
            ).run_id
        except LOST:
            return None

    def state(self, run: int) -> tuple[str, str | None]:
        found = self.w.jobs.get_run(run).state
        result = found.result_state
        return found.life_cycle_state.value, None if result is None else result.value

    def over(self, run: int, *wanted: str) -> None:
        self.site.over(run, *wanted)

    def die(self) -> None:
        """Meet the moment that was armed, and let the next server begin."""
        workers = self.site.struck()
        assert self.site.server.ended() == -signal.SIGKILL
        self.deaths += 1
        self.site.start()
        pause_until(lambda: not any(map(alive, workers)), "a dead server's worker lives on")

    def is_stopping(self) -> None:
        """Wait until the update is."""

        def state() -> str:
            return self.w.pipelines.list_updates(self.pipeline, max_results=1).updates[0].state

        pause_until(lambda: state().value == "STOPPING", "it never stops")

    def kill_workers(self) -> None:
        for pid in self.site.server.workers():
            os.kill(pid, signal.SIGKILL)

    def cancel(self, run: int) -> None:
        """Cancel a run, as a client that asks again when the answer is lost."""
        with contextlib.suppress(*LOST):
            self.w.jobs.cancel_run(run)

    def exact(self) -> None:
        active = self.w.jobs.list_runs(active_only=True)
        assert list(active) == []
        found = self.w.pipelines.list_updates(self.pipeline, max_results=1).updates
        assert UpdateState(found[0].state.value).over
        self.site.exact()


@pytest.fixture(scope="module")
def shop(lives, tmp_path_factory):
    made = Shop(lives, tmp_path_factory.mktemp("shop"))
    yield made
    made.site.close()


class Walk:
    """One run after the other, each killed at most so often."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.number = 0
        self.run: int | None = None
        self.updates = 0

    def begin(self) -> None:
        self.number += 1
        self.shop.deaths = 0
        self.shop.site.land()
        self.ask()

    def ask(self) -> None:
        found = self.shop.ask(f"walk-{self.number}")
        assert self.run is None or found is None or self.run == found
        self.run = found

    def end(self) -> None:
        self.ask()
        self.shop.over(self.run, "SUCCESS")
        self.run = None
        self.shop.exact()

    def is_over(self) -> bool:
        return self.run is not None and self.shop.state(self.run)[0] == "TERMINATED"


def test_a_server_that_is_killed_at_every_state_loses_and_doubles_nothing(shop):
    walk = Walk(shop)
    for state in (*UpdateState, *Life):
        if state in ELSEWHERE:
            continue
        for when in WAYS:
            if shop.deaths >= MOST_DEATHS:
                walk.end()
            shop.site.arm(**moment(state, when))
            die(walk, f"{when} {name(state)}")
    walk.end()
    # Every run was one run, however often it was asked for, and every run one update.
    runs = list(shop.w.jobs.list_runs(job_id=shop.job, expand_tasks=True))
    assert len(runs) == walk.number
    updates = shop.w.pipelines.list_updates(shop.pipeline, max_results=100).updates
    assert len(updates) == walk.number


def die(walk: Walk, what: str) -> None:
    """Go on with a run, or with the next, until the server dies of what was armed."""
    begun = 0
    struck = walk.shop.site.folder / "moment.struck"

    def met() -> bool:
        nonlocal begun
        if struck.exists():
            return True
        try:
            if walk.run is None or walk.is_over():
                assert begun < 2, f"the moment {what} never comes"
                if walk.run is not None:
                    walk.end()
                walk.begin()
                begun += 1
        except LOST:
            pass
        return struck.exists()

    pause_until(met, f"the moment {what} never comes")
    walk.shop.die()
    walk.ask()


@pytest.mark.parametrize("when", WAYS)
@pytest.mark.parametrize("state", sorted(WHILE_CANCELLED), ids=str)
def test_a_run_whose_server_dies_while_it_is_cancelled_is_cancelled(shop, state, when):
    shop.site.hold("loading")
    run = shop.ask(f"cancelled-{state}-{when}")
    shop.site.reached("loading")
    states = {"updates": UpdateState, "runs": Life}
    kind = next(kind for kind in states.values() if state in set(kind))
    shop.site.arm(**moment(kind(state), when))
    shop.cancel(run)
    if state == UpdateState.CANCELED:
        shop.is_stopping()
        shop.kill_workers()
    shop.die()
    shop.site.open("loading")
    shop.cancel(run)
    shop.over(run, "CANCELED")


def test_a_failure_is_reported_once_by_whichever_server_lives(shop):
    shop.site.hold("broken")
    for state in WHEN_BROKEN:
        for when in WAYS:
            shop.site.arm(**moment(state, when))
            shop.ask("broken")
            shop.die()
    run = shop.ask("broken")
    shop.over(run, "FAILED")
    assert "broken on purpose" in shop.w.jobs.get_run(run).state.state_message
    shop.site.open("broken")


def test_runs_that_wait_and_runs_too_many_outlive_the_server(shop):
    shop.site.hold("loading")
    update = shop.w.pipelines.start_update(shop.pipeline).update_id
    shop.site.reached("loading")
    waiting = []
    for when in WAYS:
        for state in WHEN_BUSY:
            shop.site.arm(**moment(state, when))
            shop.ask(f"waits-{when}")
            shop.die()
            waiting.append(shop.ask(f"waits-{when}"))
    first = shop.ask("strict", shop.strict)
    for when in WAYS:
        for state in WHEN_TOO_MANY:
            token = f"too-many-{when}"
            shop.site.arm(**moment(state, when))
            shop.ask(token, shop.strict)
            shop.die()
            assert shop.state(shop.ask(token, shop.strict))[0] == "SKIPPED"
    shop.site.open("loading")
    for run in (*waiting, first):
        shop.over(run, "SUCCESS")
    found = shop.w.pipelines.list_updates(shop.pipeline, until_update_id=update).updates
    assert [item.state.value for item in found] == ["COMPLETED"] * 4
    shop.exact()


def test_a_worker_that_is_killed_in_any_state_is_replaced(shop):
    shop.site.land()
    states = [state for state in UpdateState if not state.over and state != "QUEUED"]
    died = []
    for state in states:
        if state not in WHILE_CANCELLED:
            shop.site.arm(**{**moment(state, "after"), "victim": "workers"})
            run = shop.ask("workers", shop.patient)
            died += shop.site.struck()
    shop.over(run, "SUCCESS")
    shop.exact()
    assert not any(map(alive, died))
    tries = [task.attempt_number for task in shop.w.jobs.get_run(run).tasks]
    told = shop.w.pipelines.list_pipeline_events(shop.pipeline, filter="level = 'ERROR'")
    assert sum("killed by signal 9" in event.message for event in told) == len(tries) - 1
    # While it is INITIALIZING no worker has begun: a spare dies, which may cost a try.
    assert len(tries) >= len(set(states) - WHILE_CANCELLED)


def test_a_worker_that_is_killed_while_it_stops_is_stopped(shop):
    shop.site.hold("loading")
    run = shop.ask("stops", shop.patient)
    shop.site.reached("loading")
    shop.site.arm(**{**moment(UpdateState.STOPPING, "after"), "victim": "workers"})
    shop.cancel(run)
    shop.site.struck()
    shop.over(run, "CANCELED")
    shop.site.open("loading")
