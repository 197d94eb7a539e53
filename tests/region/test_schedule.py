"""Schedules: every time once, nothing stormed, pauses kept."""

from __future__ import annotations

import pytest

HOURLY = {"quartz_cron_expression": "0 0 * * * ?", "timezone_id": "UTC"}
CONDITION = {"task_key": "c", "condition_task": {"op": "EQUAL_TO", "left": "1", "right": "1"}}


def job(still, **settings):
    return still.region.jobs.create({"name": "j", "tasks": [CONDITION], **settings}, "me")


def count(still, job_id):
    found, _ = still.region.runs.list(job_id=job_id)
    return len(found)


def test_a_schedule_fires_each_of_its_times_once(still):
    made = job(still, schedule=HOURLY)
    for hour in range(1, 4):
        still.pass_time(3599)
        assert count(still, made) == hour - 1
        still.pass_time(1)
        assert count(still, made) == hour
    assert still.region.runs.list(job_id=made)[0][0].trigger == "PERIODIC"


def test_what_was_missed_while_the_server_was_down_starts_one_run(still):
    made = job(still, schedule=HOURLY)
    still.clock.advance(50 * 3600 + 60)
    later = still.restarted()
    later.turn(3)
    assert count(later, made) == 1
    later.pass_time(3600 - 60)
    assert count(later, made) == 2


def test_a_paused_schedule_rests_and_starts_from_the_moment_it_goes_on(still):
    made = job(still, schedule={**HOURLY, "pause_status": "PAUSED"})
    still.pass_time(10 * 3600 + 1)
    assert count(still, made) == 0
    still.region.jobs.update(made, {"schedule": {**HOURLY, "pause_status": "UNPAUSED"}})
    still.pass_time(1)
    assert count(still, made) == 0
    still.pass_time(3600)
    assert count(still, made) == 1


def test_a_continuous_job_runs_again_when_it_ends_and_slower_when_it_fails(still):
    made = job(still, continuous={"pause_status": "UNPAUSED"})
    still.turn(6)
    assert count(still, made) >= 2
    still.region.jobs.update(
        made, {"tasks": [{"task_key": "c", "notebook_task": {"notebook_path": "/nowhere"}}]}
    )
    before = count(still, made)
    still.turn(20)
    assert count(still, made) <= before + 2
    still.pass_time(60)
    assert count(still, made) > before


@pytest.mark.parametrize("status", ["PAUSED", "UNPAUSED"])
def test_the_next_time_is_known_to_the_loop(still, status):
    job(still, schedule={**HOURLY, "pause_status": status})
    due = [part.next_due() for part in still.region.control._parts]
    assert any(due) is (status == "UNPAUSED")
