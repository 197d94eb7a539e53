"""What becomes of updates: continuous ones kept alive, deaths survived, switches in mid-batch."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from proa.http.api_errors import MissingError, TakenError
from proa.region.pipelines.update_loop import HEALTHY_AFTER_S, MAX_ATTEMPTS
from proa.region.pipelines.updates import UpdateCause
from proa.region.state import StateUnavailableError
from proa.runtime.event import Event, Origin, as_json, from_json
from proa.states import UpdateState
from proa.steps import Step, probing
from proa.times import millis

FLOW_RUNS = Event(
    id="e1",
    sequence=7,
    origin=Origin("p0", "p", "u0", flow_name="f", dataset_name="d"),
    timestamp=datetime(2020, 1, 1, 12, 30, 15, 250_000, UTC),
    message="Flow f is RUNNING.",
    level="INFO",
    event_type="flow_progress",
    details={"flow_progress": {"status": "RUNNING"}},
)


def create(still, **spec):
    return still.region.pipelines.create({"name": "p", **spec}, "me")


def state(still, pipeline_id):
    pipeline = still.region.pipelines.get(pipeline_id)
    latest, _ = still.region.updates.list(pipeline_id, size=5)
    return still.region.updates.state_of(pipeline, latest)


def start(still, pipeline_id, **request):
    pipeline = still.region.pipelines.get(pipeline_id)
    return still.region.updates.start(pipeline, request, UpdateCause.API_CALL)


def messages(still, pipeline_id):
    found, _ = still.region.events.list(pipeline_id, ascending=True, size=200)
    return [event["message"] for event in found]


def test_an_update_passes_through_its_states(still):
    pipeline = create(still)
    update = start(still, pipeline, full_refresh=True)
    still.turn()
    work = still.workers.begun[0]
    assert work.work.work_id == update
    assert work.work.payload["request"] == {"full_refresh": True}
    seen = [still.region.updates.get(update).state]
    for name in ("SETTING_UP_TABLES", "RUNNING"):
        work.state(name)
        still.turn()
        seen.append(still.region.updates.get(update).state)
    work.end()
    still.turn()
    seen.append(still.region.updates.get(update).state)
    assert seen == ["INITIALIZING", "SETTING_UP_TABLES", "RUNNING", "COMPLETED"]
    assert state(still, pipeline) == "IDLE"


def test_a_second_update_waits_for_nobody_it_is_refused(still):
    pipeline = create(still)
    start(still, pipeline)
    with pytest.raises(TakenError):
        start(still, pipeline)


@pytest.mark.slow
def test_continuous_is_started_and_kept_alive_with_growing_pauses(still):
    pipeline = create(still, continuous=True)
    still.turn(2)
    pauses = []
    for _ in range(4):
        still.workers.running[0].end("CRASHED", error="it died")
        still.turn()
        assert state(still, pipeline) == "RECOVERING"
        waited = 0
        while not still.workers.running:
            still.pass_time(0.5)
            waited += 0.5
        pauses.append(waited)
    assert pauses == sorted(pauses)
    assert pauses[-1] > 4 * pauses[0]
    causes = {update.cause for update in still.region.updates.list(pipeline, size=100)[0]}
    assert causes == {"USER_ACTION", "RETRY_ON_FAILURE"}


def test_a_users_mistake_is_not_tried_again_until_the_pipeline_changes(still):
    pipeline = create(still, continuous=True)
    still.turn(2)
    still.workers.running[0].end("FAILED", error="no such column", retryable=False)
    still.pass_time(100_000)
    assert not still.workers.running
    assert state(still, pipeline) == "FAILED"
    still.region.pipelines.change(pipeline, {"name": "p", "continuous": True}, "me")
    still.turn(2)
    assert still.workers.running


def test_put_false_stops_in_the_middle_of_a_batch_and_put_true_starts_again(still):
    pipeline = create(still, continuous=True)
    still.turn(2)
    work = still.workers.running[0]
    work.state("RUNNING")
    still.turn()
    still.region.pipelines.change(pipeline, {"name": "p"}, "me")
    still.turn()
    assert (work.stopped, state(still, pipeline)) == (True, "STOPPING")
    still.region.pipelines.change(pipeline, {"name": "p", "continuous": True}, "me")
    still.turn()
    assert len(still.workers.running) == 1
    work.end("CANCELED")
    still.turn(2)
    assert len(still.workers.running) == 1
    assert still.workers.running[0] is not work


def test_a_triggered_update_ends_before_continuous_begins(still):
    pipeline = create(still)
    start(still, pipeline)
    still.turn()
    still.region.pipelines.change(pipeline, {"name": "p", "continuous": True}, "me")
    still.turn(3)
    assert len(still.workers.begun) == 1
    still.workers.begun[0].end()
    still.turn(2)
    assert still.workers.running[0].work.payload["continuous"] is True


def test_a_changed_spec_restarts_a_continuous_update(still):
    pipeline = create(still, continuous=True)
    still.turn(2)
    still.region.pipelines.change(
        pipeline, {"name": "p", "continuous": True, "configuration": {"a": "b"}}, "me"
    )
    still.turn()
    still.workers.begun[0].end("CANCELED")
    still.turn(2)
    assert still.workers.running[0].work.payload["configuration"]["a"] == "b"


def test_stop_keeps_a_continuous_pipeline_stopped(still):
    pipeline = create(still, continuous=True)
    still.turn(2)
    still.region.pipelines.want(pipeline, running=False)
    still.region.updates.request_stop(pipeline)
    still.turn()
    still.workers.begun[0].end("CANCELED")
    still.pass_time(1000)
    assert (len(still.workers.begun), state(still, pipeline)) == (1, "IDLE")
    start(still, pipeline)
    still.pass_time(1)
    assert len(still.workers.running) == 1


@pytest.mark.parametrize("reached", [None, "INITIALIZING", "RUNNING", "STOPPING"])
@pytest.mark.parametrize("continuous", [True, False])
def test_after_sigkill_the_state_is_true_and_the_update_goes_on(still, reached, continuous):
    pipeline = create(still, continuous=continuous)
    update = still.region.updates.start(
        still.region.pipelines.get(pipeline), {}, UpdateCause.API_CALL
    )
    if reached is not None:
        still.turn()
    if reached in {"RUNNING", "STOPPING"}:
        still.workers.begun[0].state("RUNNING")
        still.turn()
    if reached == "STOPPING":
        still.region.updates.request_stop(pipeline)
        still.turn()
    later = still.restarted()
    found = later.region.updates.get(update)
    expected = UpdateState.CANCELED if reached == "STOPPING" else UpdateState.QUEUED
    assert found.state is expected
    later.turn(2)
    running = [work.work.work_id for work in later.workers.running]
    if reached == "STOPPING":
        assert update not in running
        assert len(running) == int(continuous)
    else:
        assert running == [update]


def test_an_update_that_kills_server_after_server_is_given_up(still):
    pipeline = create(still)
    update = start(still, pipeline)
    for _ in range(MAX_ATTEMPTS):
        still.turn()
        still = still.restarted()
    assert still.region.updates.get(update).state is UpdateState.FAILED
    assert state(still, pipeline) == "IDLE"


def test_servers_that_end_as_told_are_not_counted_against_an_update(still):
    pipeline = create(still, continuous=True)
    still.turn(2)
    for _ in range(2 * MAX_ATTEMPTS):
        still.region.update_loop.hand_back(0)
        still = still.restarted()
        still.turn(2)
    assert [work.work.payload["pipeline_id"] for work in still.workers.running] == [pipeline]


@pytest.mark.slow
def test_deaths_long_after_the_beginning_are_not_counted_against_an_update(still):
    pipeline = create(still, continuous=True)
    still.turn(2)
    for _ in range(2 * MAX_ATTEMPTS):
        still.pass_time(HEALTHY_AFTER_S)
        still = still.restarted()
        still.turn(2)
    assert [work.work.payload["pipeline_id"] for work in still.workers.running] == [pipeline]


def test_a_continuous_pipeline_whose_servers_die_is_tried_again_later(still):
    create(still, continuous=True)
    still.turn(2)
    for _ in range(MAX_ATTEMPTS):
        still = still.restarted()
        still.turn()
    assert not still.workers.running
    still.pass_time(400)
    assert len(still.workers.running) == 1


def test_a_worker_that_does_not_stop_is_ended_when_the_patience_ends(still):
    pipeline = create(still)
    update = start(still, pipeline)
    still.turn()
    work = still.workers.begun[0]
    work.state("RUNNING")
    still.region.updates.request_stop(pipeline)
    still.turn()
    grace = still.region.settings.server.grace_seconds
    still.pass_time(grace - 1)
    assert (work.stopped, work.killed) == (True, False)
    due = still.region.update_loop.next_due()
    assert due == millis(still.clock.now()) + 1000
    still.pass_time(1)
    assert work.killed
    still.turn()
    assert still.region.updates.get(update).state is UpdateState.CANCELED


class Refused:
    """A probe: the state cannot be written while `down`."""

    def __init__(self) -> None:
        self.down = True

    def before(self, step):
        if self.down and step is Step.STATE_WRITE:
            raise StateUnavailableError("the disk is full, on purpose")

    def after(self, step):
        pass


@pytest.mark.parametrize("outcome", ["COMPLETED", "FAILED", "CRASHED"])
def test_an_end_that_cannot_be_written_is_written_later(still, outcome):
    pipeline = create(still)
    update = start(still, pipeline)
    still.turn()
    still.workers.begun[0].end(outcome, error="boom")
    refused = Refused()
    with probing(refused):
        for _ in range(3):
            with pytest.raises(StateUnavailableError):
                still.turn()
        refused.down = False
        still.turn()
    wanted = UpdateState.COMPLETED if outcome == "COMPLETED" else UpdateState.FAILED
    assert still.region.updates.get(update).state is wanted


def test_a_beginning_that_cannot_be_written_begins_later(still):
    pipeline = create(still)
    update = start(still, pipeline)
    with probing(Refused()), pytest.raises(StateUnavailableError):
        still.turn()
    assert still.region.updates.get(update).state is UpdateState.QUEUED
    still.turn()
    assert [work.work.work_id for work in still.workers.running] == [update]


def test_an_answer_to_a_write_that_is_lost_leaves_nobody_said_to_run(still):
    class Lost(Refused):
        def before(self, step):
            pass

        def after(self, step):
            super().before(step)

    pipeline = create(still)
    update = start(still, pipeline)
    with probing(Lost()), pytest.raises(StateUnavailableError):
        still.turn()
    assert still.region.updates.get(update).state is UpdateState.INITIALIZING
    still.turn(2)
    assert [work.work.work_id for work in still.workers.running] == [update]


def test_without_a_process_an_update_fails_and_says_why(still):
    def nobody(*_):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    pipeline = create(still)
    update = start(still, pipeline)
    still.workers.start = nobody
    still.turn()
    assert still.region.updates.get(update).state is UpdateState.FAILED
    assert "no worker process could be started" in messages(still, pipeline)[-1]


def test_sigterm_hands_unfinished_updates_to_the_next_server(still):
    pipeline = create(still)
    update = start(still, pipeline)
    still.turn()
    still.region.update_loop.hand_back(0)
    assert still.workers.begun[0].stopped
    assert still.region.updates.get(update).state is UpdateState.QUEUED
    later = still.restarted()
    later.turn()
    assert later.workers.running[0].work.work_id == update


def test_a_deleted_pipeline_takes_its_worker_along(still):
    pipeline = create(still, continuous=True)
    still.turn(2)
    still.region.pipelines.delete(pipeline)
    still.turn(2)
    assert still.workers.begun[0].killed
    assert not still.workers.running
    with pytest.raises(MissingError):
        still.region.pipelines.get(pipeline)


def test_updates_beyond_the_limit_wait_their_turn(still):
    still.workers.limit = 1
    first, second = create(still), create(still, name="q")
    start(still, first)
    start(still, second)
    still.turn(3)
    assert len(still.workers.begun) == 1
    still.workers.begun[0].end()
    still.turn(2)
    assert len(still.workers.begun) == 2


def test_a_missing_notebook_fails_the_update_and_says_which(still):
    pipeline = create(still, libraries=[{"notebook": {"path": "/Shared/gone"}}])
    update = start(still, pipeline)
    still.turn()
    assert still.region.updates.get(update).state is UpdateState.FAILED
    assert "/Shared/gone" in messages(still, pipeline)[-1]


def test_output_and_failure_reach_the_event_log(still):
    pipeline = create(still)
    start(still, pipeline)
    still.turn()
    work = still.workers.begun[0]
    work.say("output", text="hello from the pipeline")
    work.say("event", event=as_json(FLOW_RUNS))
    work.end("FAILED", error="/a.py:3: boom", condition="ValueError", stack=[{"line_number": 3}])
    still.turn()
    found, _ = still.region.events.list(pipeline, size=200)
    assert found[0]["error"]["exceptions"][0]["message"] == "/a.py:3: boom"
    assert {"user_output", "flow_progress"} <= {event["event_type"] for event in found}


def test_a_worker_s_event_is_shown_as_its_own_log_has_it_with_the_region_s_origin(still):
    pipeline = create(still)
    update = start(still, pipeline)
    still.turn()
    still.workers.begun[0].say("event", event=json.loads(json.dumps(as_json(FLOW_RUNS))))
    still.turn()
    (event,) = (e for e in still.region.events.list(pipeline)[0] if e["id"] == FLOW_RUNS.id)
    origin = event.pop("origin")
    assert from_json({**as_json(FLOW_RUNS), **event}) == FLOW_RUNS
    assert (origin["pipeline_id"], origin["update_id"]) == (pipeline, update)
    assert (origin["flow_name"], origin["dataset_name"]) == ("f", "d")
