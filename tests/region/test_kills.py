"""The server dies after any of its writes: what it had promised comes true, and only once.

A scenario runs once, and the state is copied after every single write: each copy is exactly what a
SIGKILL at that moment leaves. A new server is started over each, with no workers, as after a death.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import select
from stills import Still, still_region

from proa.region.jobs.runs import Life, Result
from proa.region.pipelines.updates import UpdateCause
from proa.region.state.state_tables import runs
from proa.region.workspace.workspace import ObjectKind
from proa.states import UpdateState
from proa.steps import Step, probing
from proa.testing import FakeClock

pytestmark = pytest.mark.slow

HOURLY = {"quartz_cron_expression": "0 0 * * * ?", "timezone_id": "UTC"}
NEVER_WRITTEN = {Life.INTERNAL_ERROR}
CONDITION = {"condition_task": {"op": "EQUAL_TO", "left": "1", "right": "1"}}


@dataclass
class Kept:
    """What one death leaves: the state, the time, and what clients had been told by then."""

    state: Path
    clock: FakeClock
    told: dict[str, int] = field(default_factory=dict)


class Recorder:
    """Keeps the state as it is after every write."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self.folder, self.clock = folder, clock
        self.told: dict[str, int] = {}
        self.kept: list[Kept] = []

    def before(self, step: Step) -> None:
        pass

    def after(self, step: Step) -> None:
        if step is not Step.STATE_WRITE:
            return
        copy = self.folder / f"{len(self.kept)}.db"
        with sqlite3.connect(self.folder / "state.db") as source, sqlite3.connect(copy) as target:
            source.backup(target)
        source.close()
        target.close()
        self.kept.append(Kept(copy, FakeClock(self.clock.now()), dict(self.told)))


def work_on(still: Still) -> None:
    """Let everything that workers do end as it should; continuous updates go on."""
    for work in still.workers.running:
        if work.stopped:
            work.end("CANCELED")
        elif work.work.payload.get("continuous"):
            work.state("RUNNING")
        elif work.work.kind == "notebook" and "raise" in work.work.payload["source"]:
            work.end("FAILED", error="boom")
        elif work.work.payload.get("name") == "broken":
            work.end("FAILED", error="no such column", retryable=False)
        else:
            work.state("SETTING_UP_TABLES")
            still.turn()
            work.state("RUNNING")
            still.turn()
            work.end()


def task(key, after=None, **body):
    return {"task_key": key, "depends_on": [{"task_key": after}] if after else [], **body}


def deploy(still: Still) -> dict[str, object]:
    region = still.region
    region.workspace.put("/Shared/good", b"1", ObjectKind.NOTEBOOK, "PYTHON")
    region.workspace.put("/Shared/bad", b"raise ValueError", ObjectKind.NOTEBOOK, "PYTHON")
    shop = region.pipelines.create({"name": "shop"}, "me")
    stream = region.pipelines.create({"name": "stream", "continuous": True}, "me")
    inner = region.jobs.create({"name": "inner", "tasks": [task("c", **CONDITION)]}, "me")
    pipeline = {"pipeline_task": {"pipeline_id": shop}}
    return {
        "shop": shop,
        "stream": stream,
        "broken": region.pipelines.create({"name": "broken"}, "me"),
        "inner": inner,
        "all": region.jobs.create(
            {
                "name": "all",
                "tasks": [
                    task("decide", **CONDITION),
                    task("load", "decide", **pipeline),
                    task("notebook", "load", notebook_task={"notebook_path": "/Shared/good"}),
                    task("other", "notebook", run_job_task={"job_id": inner}),
                ],
            },
            "me",
        ),
        "load": region.jobs.create({"name": "load", "tasks": [task("load", **pipeline)]}, "me"),
        "bad": region.jobs.create(
            {
                "name": "bad",
                "max_concurrent_runs": 1,
                "tasks": [
                    task(
                        "bad",
                        notebook_task={"notebook_path": "/Shared/bad"},
                        max_retries=1,
                        min_retry_interval_millis=60_000,
                    )
                ],
            },
            "me",
        ),
        "nightly": region.jobs.create(
            {"name": "nightly", "tasks": [task("c", **CONDITION)], "schedule": HOURLY}, "me"
        ),
    }


def scenario(still: Still, ids: dict[str, object], told: dict[str, int]) -> None:
    """A busy hour of a region; `told` gets what clients were answered, as it is answered."""
    region = still.region
    told["all"] = region.runs.run_now(ids["all"], {}, "me", "all").run_id
    for _ in range(6):
        still.turn()
        work_on(still)
    # A job whose pipeline is busy waits; both are cancelled, one in the middle of its batch.
    told["full"] = region.runs.run_now(
        ids["load"], {"pipeline_params": {"full_refresh": True}}, "me", "full"
    ).run_id
    still.turn(2)
    shop = next(work for work in still.workers.running if not work.work.payload["continuous"])
    shop.state("RESETTING")
    region.jobs.update(ids["load"], {"max_concurrent_runs": 2})
    told["waits"] = region.runs.run_now(ids["load"], {}, "me", "waits").run_id
    still.turn(2)
    region.runs.cancel(told["full"])
    told["full is cancelled"] = 1
    still.turn(2)
    shop.end("CANCELED")
    for _ in range(4):
        still.turn()
        work_on(still)
    # One that fails, is tried again later, and keeps the next from running.
    told["bad"] = region.runs.run_now(ids["bad"], {}, "me", "bad").run_id
    told["skipped"] = region.runs.run_now(ids["bad"], {}, "me", "skipped").run_id
    for _ in range(4):
        still.turn()
        work_on(still)
    region.updates.start(region.pipelines.get(ids["broken"]), {}, UpdateCause.API_CALL)
    still.turn()
    work_on(still)
    region.pipelines.change(ids["stream"], {"name": "stream"}, "me")
    told["stream is stopped"] = 1
    still.turn(3)
    work_on(still)
    still.turn()
    still.pass_time(3600)
    work_on(still)
    still.turn(2)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded")
    clock = FakeClock()
    still = still_region(folder, clock, url=f"sqlite:///{folder / 'state.db'}")
    ids = deploy(still)
    recorder = Recorder(folder, clock)
    with probing(recorder):
        scenario(still, ids, recorder.told)
    still.close()
    return ids, recorder.kept


def seen(state: Path) -> tuple[set[str], set[str]]:
    """The states of updates and of runs that are in a copy."""
    with sqlite3.connect(state) as connection:
        found = (
            {row[0] for row in connection.execute("select state from updates")},
            {row[0] for row in connection.execute("select life_cycle from runs")},
        )
    connection.close()
    return found


def test_the_scenario_dies_in_every_state_of_an_update_and_of_a_run(recorded):
    _, kept = recorded
    updates, lives = set(), set()
    for copy in kept:
        more = seen(copy.state)
        updates |= more[0]
        lives |= more[1]
    assert updates == set(UpdateState)
    assert lives | NEVER_WRITTEN == set(Life)
    assert len(kept) > 60


def ask_again(still: Still, ids: dict[str, object], told: dict[str, int]) -> dict[str, int]:
    """What clients do whose answer was lost: the same call with the same token."""
    found = {}
    for token, job, given in (
        ("all", "all", {}),
        ("full", "load", {"pipeline_params": {"full_refresh": True}}),
        ("bad", "bad", {}),
    ):
        if token in told or token == "all":
            found[token] = still.region.runs.run_now(ids[job], given, "me", token).run_id
            assert told.get(token, found[token]) == found[token]
    return found


def nobody_is_said_to_run(still: Still) -> None:
    for state in still.region.updates.count():
        assert UpdateState(state).over or state == UpdateState.QUEUED
    with still.region.database.read() as connection:
        notebooks = connection.execute(
            select(runs.c.run_id).where(
                runs.c.parent_id.is_not(None),
                runs.c.life_cycle.in_((Life.RUNNING, Life.TERMINATING)),
                runs.c.update_id.is_(None),
                runs.c.child_id.is_(None),
            )
        ).all()
    assert notebooks == []


def everybody_works_once(still: Still) -> None:
    busy = Counter(work.work.work_id for work in still.workers.running)
    assert set(busy.values()) <= {1}
    pipelines = [
        work.work.payload["pipeline_id"]
        for work in still.workers.running
        if work.work.kind == "update"
    ]
    assert len(pipelines) == len(set(pipelines))


def settle(still: Still) -> None:
    """Let everything end that can, then what is due within the hour."""
    until_nothing_changes(still)
    still.pass_time(3700)
    until_nothing_changes(still)


def until_nothing_changes(still: Still) -> None:
    quiet = 0
    for _ in range(30):
        before = still.region.database.writes
        still.turn()
        everybody_works_once(still)
        work_on(still)
        quiet = quiet + 1 if still.region.database.writes == before else 0
        if quiet == 2:
            return
    raise AssertionError("the region never comes to rest")


def test_after_a_death_at_any_write_promises_come_true_once(recorded, tmp_path):
    ids, kept = recorded
    for copy in kept:
        still = still_region(tmp_path, copy.clock, url=f"sqlite:///{copy.state}")
        try:
            check(still, ids, copy)
        except AssertionError as error:
            error.add_note(f"the server died after write {copy.state.stem} of {len(kept)}")
            raise
        finally:
            still.close()


def check(still: Still, ids: dict[str, object], copy: Kept) -> None:
    nobody_is_said_to_run(still)
    region = still.region
    asked = ask_again(still, ids, copy.told)
    condemned = [
        attempt.update_id
        for attempt in attempts(still, asked.get("full", 0))
        if attempt.life_cycle is Life.TERMINATING
    ]
    settle(still)
    for update_id in condemned:
        assert region.updates.get(update_id).state is UpdateState.CANCELED
    for name in asked:
        run = region.runs.get(asked[name])
        lost = any("how far it came" in item.message for item in attempts(still, run.run_id))
        if run.cancel_requested:
            wanted = Result.CANCELED
        elif name == "bad" or lost:
            wanted = Result.FAILED
        else:
            wanted = Result.SUCCESS
        assert (run.life_cycle, run.result) == (Life.TERMINATED, wanted)
        once(still, run.run_id)
    if "full is cancelled" in copy.told:
        assert region.runs.get(asked["full"]).cancel_requested
    for job in ("all", "load", "bad", "nightly"):
        found, _ = region.runs.list(job_id=ids[job])
        assert all(run.life_cycle.over for run in found)
        assert len(found) <= {"all": 1, "load": 2, "bad": 2, "nightly": 2}[job]
    assert len(region.runs.list(job_id=ids["nightly"])[0]) >= 1
    stream = [w for w in still.workers.running if w.work.payload["pipeline_id"] == ids["stream"]]
    stopped = "stream is stopped" in copy.told
    continuous = region.pipelines.get(ids["stream"]).continuous
    assert len(stream) == int(continuous)
    assert not (stopped and continuous)
    assert [w for w in still.workers.running if w not in stream] == []


def attempts(still: Still, run_id: int):
    return still.region.runs.attempts([run_id])[run_id]


def once(still: Still, run_id: int) -> None:
    """Each task was tried as often as it may be, and no two tries share what they started."""
    found = attempts(still, run_id)
    tries = Counter(attempt.task_key for attempt in found)
    for attempt in found:
        assert tries[attempt.task_key] <= 1 + int(attempt.settings.get("max_retries") or 0)
    for column in ("update_id", "child_id"):
        started = [value for item in found if (value := getattr(item, column)) is not None]
        assert len(started) == len(set(started))
