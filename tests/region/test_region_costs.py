"""What a region's work costs does not grow with what it does not touch."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from sqlalchemy import event

from proa.region.pipelines.updates import UpdateCause
from proa.states import UpdateState

CONDITION = {"task_key": "c", "condition_task": {"op": "EQUAL_TO", "left": "1", "right": "1"}}


@contextmanager
def statements(still):
    """The SQL statements that the block sends, BEGIN and COMMIT left out."""
    sent: list[str] = []

    def note(_connection, _cursor, statement, *_more) -> None:
        if not statement.startswith("begin"):
            sent.append(statement)

    event.listen(still.region.database.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(still.region.database.engine, "before_cursor_execute", note)


@pytest.mark.slow
@pytest.mark.parametrize("pipelines", [1, 100])
def test_a_page_of_pipelines_costs_as_many_statements_as_one(still, pipelines):
    region = still.region
    ids = [
        region.pipelines.create({"name": f"p{n}", "libraries": []}, "me") for n in range(pipelines)
    ]
    with statements(still) as sent:
        found, _ = region.pipelines.list(size=100)
        latest = region.updates.latest([item.pipeline_id for item in found], 5)
    assert list(latest) == ids
    assert len(sent) == 2


def test_the_latest_updates_are_those_that_the_list_shows(still):
    region = still.region
    ids = [region.pipelines.create({"name": f"p{n}", "libraries": []}, "me") for n in range(3)]
    for index, pipeline_id in enumerate(ids):
        for _ in range(4 * index):
            pipeline = region.pipelines.get(pipeline_id)
            update_id = region.updates.start(pipeline, {}, UpdateCause.API_CALL)
            with region.database.write() as connection:
                update = region.updates.get(update_id)
                region.updates.enter(connection, pipeline.key, update, UpdateState.COMPLETED)
    for pipeline_id, latest in region.updates.latest(ids, 5).items():
        assert latest == region.updates.list(pipeline_id, size=5)[0]


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 200])
def test_an_idle_turn_loads_no_job(still, jobs):
    for number in range(jobs):
        still.region.jobs.create({"name": f"j{number}", "tasks": [CONDITION]}, "me")
    still.turn(2)
    decoded = []
    dialect = still.region.database.engine.dialect
    before = dialect._json_deserializer

    def note(text):
        decoded.append(text)
        return before(text) if before else __import__("json").loads(text)

    dialect._json_deserializer = note
    try:
        with statements(still) as sent:
            still.turn()
    finally:
        dialect._json_deserializer = before
    assert decoded == []
    assert len(sent) <= 12


def test_what_a_talkative_worker_says_costs_one_transaction_a_turn(still):
    pipeline_id = still.region.pipelines.create({"name": "p", "libraries": []}, "me")
    pipeline = still.region.pipelines.get(pipeline_id)
    still.region.updates.start(pipeline, {}, UpdateCause.API_CALL)
    still.turn()
    work = still.workers.running[0]
    work.state("RUNNING")
    for number in range(300):
        work.say("output", text=f"line {number}")
    work.end()
    before = still.region.database.writes
    still.turn()
    assert still.region.database.writes - before == 1
    events, _ = still.region.events.list(pipeline_id, size=250)
    texts = [item["message"] for item in events if item["event_type"] == "user_output"]
    assert texts[0] == "line 299"
    assert still.region.updates.list(pipeline_id, size=1)[0][0].state is UpdateState.COMPLETED


def test_one_report_that_makes_no_sense_is_dropped_and_no_other(still):
    pipeline_id = still.region.pipelines.create({"name": "p", "libraries": []}, "me")
    pipeline = still.region.pipelines.get(pipeline_id)
    still.region.updates.start(pipeline, {}, UpdateCause.API_CALL)
    still.turn()
    work = still.workers.running[0]
    work.say("output", text="before")
    work.say("event", event={"message": "an event without its type"})
    work.say("output", text="after")
    work.end()
    still.turn()
    events, _ = still.region.events.list(pipeline_id, size=250)
    texts = [item["message"] for item in events if item["event_type"] == "user_output"]
    assert texts == ["after", "before"]
    assert still.region.updates.list(pipeline_id, size=1)[0][0].state is UpdateState.COMPLETED
