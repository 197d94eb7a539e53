"""Runs of jobs: order, conditions, retries, limits, deaths."""

from __future__ import annotations

import pytest

from proa.http.api_errors import InvalidParameterError, InvalidStateError
from proa.region.jobs.runs import Life, Result
from proa.region.pipelines.updates import UpdateCause
from proa.region.state import StateUnavailableError
from proa.region.workspace.workspace import ObjectKind
from proa.steps import Step, probing


@pytest.fixture
def pipeline(still):
    return still.region.pipelines.create({"name": "p"}, "me")


@pytest.fixture
def notebook(still):
    return still.region.workspace.put("/Shared/nb", b"1", ObjectKind.NOTEBOOK, "PYTHON").path


def job(still, *tasks, **settings):
    return still.region.jobs.create({"name": "j", "tasks": list(tasks), **settings}, "me")


def task(key, *after, **body):
    return {"task_key": key, "depends_on": [{"task_key": item} for item in after], **body}


def run_now(still, job_id, token=None, **given):
    run = still.region.runs.run_now(job_id, given, "me", token)
    still.turn(2)
    return run.run_id


def ended(still, run_id):
    still.turn(4)
    run = still.region.runs.get(run_id)
    return run.life_cycle, run.result


def results(still, run_id):
    attempts = still.region.runs.attempts([run_id])[run_id]
    return {item.task_key: item.result for item in attempts}


def yes(key="c", *after, left="1", right="1"):
    return task(key, *after, condition_task={"op": "EQUAL_TO", "left": left, "right": right})


def fails(key, *after, **more):
    return task(key, *after, notebook_task={"notebook_path": "/nowhere"}, **more)


def test_a_pipeline_task_is_one_update(still, pipeline):
    run = run_now(still, job(still, task("DLT", pipeline_task={"pipeline_id": pipeline})))
    assert still.workers.begun[0].work.payload["cause"] == "JOB_TASK"
    still.workers.begun[0].end()
    assert ended(still, run) == (Life.TERMINATED, Result.SUCCESS)
    assert len(still.region.updates.list(pipeline, size=10)[0]) == 1


def test_a_pipeline_task_waits_for_a_triggered_update(still, pipeline):
    still.region.updates.start(still.region.pipelines.get(pipeline), {}, UpdateCause.API_CALL)
    run = run_now(still, job(still, task("DLT", pipeline_task={"pipeline_id": pipeline})))
    assert still.region.runs.attempts([run])[run][0].life_cycle is Life.PENDING
    still.workers.begun[0].end()
    still.turn(2)
    still.workers.begun[1].end()
    assert ended(still, run) == (Life.TERMINATED, Result.SUCCESS)


def test_a_pipeline_task_of_a_running_continuous_pipeline_fails_and_says_why(still):
    made = still.region.pipelines.create({"name": "c", "continuous": True}, "me")
    still.turn(2)
    run = run_now(still, job(still, task("DLT", pipeline_task={"pipeline_id": made})))
    assert ended(still, run) == (Life.TERMINATED, Result.FAILED)
    assert "active update" in still.region.runs.get(run).message


def test_parameters_reach_the_update(still, pipeline):
    made = job(still, task("DLT", pipeline_task={"pipeline_id": pipeline}))
    run_now(still, made, pipeline_params={"full_refresh": True})
    assert still.workers.begun[0].work.payload["request"] == {"full_refresh": True}


def test_tasks_run_in_order_and_see_the_jobs_parameters(still, notebook):
    made = job(
        still,
        yes("first"),
        task(
            "second",
            "first",
            notebook_task={
                "notebook_path": notebook,
                "base_parameters": {"day": "{{job.parameters.day}}", "run": "{{job.run_id}}"},
            },
        ),
        parameters=[{"name": "day", "default": "monday"}],
    )
    run = run_now(still, made, job_parameters={"day": "friday"})
    work = still.workers.begun[0]
    assert work.work.payload["parameters"] == {"day": "friday", "run": str(run)}
    work.end("COMPLETED", output="42")
    assert ended(still, run) == (Life.TERMINATED, Result.SUCCESS)
    assert still.region.runs.attempts([run])[run][1].output == {"result": "42", "truncated": False}


def test_a_condition_chooses_the_branch(still):
    then = {**yes("then"), "depends_on": [{"task_key": "c", "outcome": "true"}]}
    other = {**yes("else"), "depends_on": [{"task_key": "c", "outcome": "false"}]}
    run = run_now(still, job(still, yes("c", left="2", right="3"), then, other))
    assert ended(still, run) == (Life.TERMINATED, Result.SUCCESS)
    assert results(still, run) == {"c": "SUCCESS", "then": "EXCLUDED", "else": "SUCCESS"}


@pytest.mark.parametrize(
    ("rule", "result"),
    [
        ("ALL_SUCCESS", "UPSTREAM_FAILED"),
        ("ALL_DONE", "SUCCESS"),
        ("NONE_FAILED", "UPSTREAM_FAILED"),
        ("AT_LEAST_ONE_SUCCESS", "SUCCESS"),
        ("ALL_FAILED", "EXCLUDED"),
        ("AT_LEAST_ONE_FAILED", "SUCCESS"),
    ],
)
def test_run_if(still, rule, result):
    after = {**yes("after", "good", "bad"), "run_if": rule}
    run = run_now(still, job(still, yes("good"), fails("bad"), after))
    ended(still, run)
    assert results(still, run)["after"] == result


def test_a_failed_task_is_tried_again_as_often_as_it_may(still, notebook):
    retried = task(
        "n",
        notebook_task={"notebook_path": notebook},
        max_retries=2,
        min_retry_interval_millis=60_000,
    )
    run = run_now(still, job(still, retried))
    for _ in range(3):
        assert len(still.workers.running) == 1
        still.workers.running[0].end("FAILED", error="boom")
        still.turn(2)
        assert not still.workers.running
        still.pass_time(61)
    assert ended(still, run) == (Life.TERMINATED, Result.FAILED)
    attempts = still.region.runs.attempts([run])[run]
    assert [item.attempt for item in attempts] == [0, 1, 2]


def test_a_timeout_ends_task_and_run(still, notebook):
    slow = task("n", notebook_task={"notebook_path": notebook}, timeout_seconds=10)
    run = run_now(still, job(still, slow))
    still.pass_time(9)
    assert still.workers.running
    still.pass_time(2)
    assert still.workers.begun[0].killed
    assert ended(still, run) == (Life.TERMINATED, Result.FAILED)
    assert results(still, run) == {"n": "TIMEDOUT"}
    whole = run_now(
        still, job(still, task("n", notebook_task={"notebook_path": notebook}), timeout_seconds=5)
    )
    still.pass_time(6)
    assert ended(still, whole) == (Life.TERMINATED, Result.TIMEDOUT)


def test_cancel_stops_what_runs_and_what_waits(still, pipeline):
    run = run_now(
        still, job(still, task("a", pipeline_task={"pipeline_id": pipeline}), yes("b", "a"))
    )
    still.region.runs.cancel(run)
    still.turn()
    assert still.region.runs.get(run).life_cycle is Life.RUNNING
    still.turn()
    assert still.workers.begun[0].stopped
    still.workers.begun[0].end("CANCELED")
    assert ended(still, run) == (Life.TERMINATED, Result.CANCELED)
    assert results(still, run) == {"a": "CANCELED", "b": "CANCELED"}


def test_one_run_too_many_is_skipped_or_waits_in_the_queue(still, notebook):
    nb = task("n", notebook_task={"notebook_path": notebook})
    strict = job(still, nb, max_concurrent_runs=1)
    run_now(still, strict)
    assert ended(still, run_now(still, strict)) == (
        Life.SKIPPED,
        Result.MAXIMUM_CONCURRENT_RUNS_REACHED,
    )
    patient = job(still, nb, max_concurrent_runs=1, queue={"enabled": True})
    run_now(still, patient)
    second = run_now(still, patient)
    assert still.region.runs.get(second).life_cycle is Life.QUEUED
    still.workers.running[-1].end()
    still.turn(4)
    assert still.region.runs.get(second).life_cycle is Life.RUNNING


def test_a_token_starts_one_run(still):
    made = job(still, yes())
    assert run_now(still, made, "once") == run_now(still, made, "once")
    assert run_now(still, made, "twice") != run_now(still, made)


def test_run_job_runs_the_other_job(still):
    inner = job(still, yes("inner"), parameters=[{"name": "x", "default": "1"}])
    outer = job(still, task("o", run_job_task={"job_id": inner, "job_parameters": {"x": "2"}}))
    run = run_now(still, outer)
    assert ended(still, run) == (Life.TERMINATED, Result.SUCCESS)
    child = still.region.runs.list(job_id=inner)[0][0]
    assert child.parameters == {"job_parameters": {"x": "2"}}
    assert child.trigger == "RUN_JOB_TASK"


def test_a_repair_runs_what_failed_and_what_came_after(still, notebook):
    made = job(
        still, yes("a"), task("b", "a", notebook_task={"notebook_path": notebook}), yes("c", "b")
    )
    run = run_now(still, made)
    still.workers.running[0].end("FAILED", error="boom")
    assert ended(still, run) == (Life.TERMINATED, Result.FAILED)
    made_repair = still.region.runs.repair(run, failed=True)
    still.turn(2)
    still.workers.running[0].end()
    assert ended(still, run) == (Life.TERMINATED, Result.SUCCESS)
    keys = [item.task_key for item in still.region.runs.attempts([run])[run]]
    assert keys == ["a", "b", "c", "b", "c"]
    repaired = [item.repair_id for item in still.region.runs.attempts([run])[run]]
    assert repaired == [None, None, None, made_repair, made_repair]
    with pytest.raises(InvalidParameterError):
        still.region.runs.repair(run)


def test_after_a_task_that_ends_by_itself_nobody_waits_for_the_next_look(still):
    made = job(still, yes("a"), yes("b", "a"), yes("c", "b"))
    run = still.region.runs.run_now(made, {}, "me").run_id
    bell = still.region.control._bell
    while not still.region.runs.get(run).life_cycle.over:
        bell.clear()
        still.turn()
        assert bell.is_set()


def test_an_active_run_is_not_deleted(still, notebook):
    run = run_now(still, job(still, task("n", notebook_task={"notebook_path": notebook})))
    with pytest.raises(InvalidStateError):
        still.region.runs.delete(run)
    still.workers.running[0].end()
    ended(still, run)
    still.region.runs.delete(run)


@pytest.mark.slow
def test_a_deleted_job_ends_its_runs(still, notebook):
    made = job(still, task("n", notebook_task={"notebook_path": notebook}))
    run = run_now(still, made)
    still.region.jobs.delete(made)
    assert ended(still, run) == (Life.TERMINATED, Result.CANCELED)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_after_sigkill_a_job_is_neither_lost_nor_run_twice(still, pipeline, turns):
    made = job(still, task("DLT", pipeline_task={"pipeline_id": pipeline}))
    run = still.region.runs.run_now(made, {}, "me").run_id
    still.turn(turns)
    later = still.restarted()
    later.turn(3)
    assert len(later.workers.running) == 1
    later.workers.running[0].end()
    assert ended(later, run) == (Life.TERMINATED, Result.SUCCESS)
    assert len(later.region.updates.list(pipeline, size=10)[0]) == 1


def test_after_sigkill_a_notebook_is_not_run_twice_unless_it_has_retries(still, notebook):
    nb = task("n", notebook_task={"notebook_path": notebook})
    once = run_now(still, job(still, nb))
    again = run_now(still, job(still, {**nb, "max_retries": 1}))
    later = still.restarted()
    assert ended(later, once) == (Life.TERMINATED, Result.FAILED)
    assert "not run again" in later.region.runs.get(once).message
    assert len(later.workers.running) == 1
    later.workers.running[0].end()
    assert ended(later, again) == (Life.TERMINATED, Result.SUCCESS)


def test_a_notebook_that_ends_while_the_server_stops_has_ended(still, notebook):
    run = run_now(still, job(still, task("n", notebook_task={"notebook_path": notebook})))
    still.workers.running[0].end("COMPLETED", output="42")
    still.region.run_loop.hand_back(0)
    later = still.restarted()
    assert ended(later, run) == (Life.TERMINATED, Result.SUCCESS)
    assert later.region.runs.attempts([run])[run][0].output["result"] == "42"


@pytest.mark.parametrize("reason", ["cancelled", "late"])
def test_after_sigkill_a_notebook_that_was_being_stopped_is_stopped(still, notebook, reason):
    slow = task("n", notebook_task={"notebook_path": notebook}, timeout_seconds=10, max_retries=1)
    run = run_now(still, job(still, slow))
    work = still.workers.running[0]
    work.kill = lambda: None  # it takes its time to die
    if reason == "cancelled":
        still.region.runs.cancel(run)
    else:
        still.clock.advance(11)
    still.turn()
    later = still.restarted()
    result = Result.CANCELED if reason == "cancelled" else Result.TIMEDOUT
    assert results(later, run) == {"n": result}
    assert ended(later, run)[0] is Life.TERMINATED


def test_a_notebook_that_never_began_is_lost_and_tried_again(still, notebook):
    def nobody(*_):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    made = job(still, task("n", notebook_task={"notebook_path": notebook}, max_retries=1))
    begin, still.workers.start = still.workers.start, nobody
    run = still.region.runs.run_now(made, {}, "me").run_id
    still.turn()
    still.workers.start = begin
    still.turn(2)
    still.workers.running[0].end()
    assert ended(still, run) == (Life.TERMINATED, Result.SUCCESS)


def test_a_start_that_the_state_refuses_is_made_later(still, notebook):
    class Refused:
        def before(self, step):
            if step is Step.STATE_WRITE and self.writes == 2:
                raise StateUnavailableError("the disk is full, on purpose")
            self.writes += 1

        def after(self, step):
            pass

        writes = 1

    made = job(still, task("n", notebook_task={"notebook_path": notebook}))
    run = still.region.runs.run_now(made, {}, "me").run_id
    with probing(Refused()), pytest.raises(StateUnavailableError):
        still.turn(2)
    assert still.region.runs.attempts([run])[run][0].life_cycle is Life.BLOCKED
    still.turn(2)
    still.workers.running[0].end()
    assert ended(still, run) == (Life.TERMINATED, Result.SUCCESS)
