"""Triggers: intervals that deploys do not move, and runs for files that came, each once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_schedule import job

from proa.errors import UserError
from proa.landing import Shipper, ShipSource, Zone
from proa.region.jobs.triggers import Arrival, FilesSeen
from proa.storage import Store

DAY = 24 * 60 * 60


def runs(still, job_id):
    return still.region.runs.list(job_id=job_id)[0]


@pytest.mark.parametrize(
    ("interval", "unit", "seconds"),
    [(1, "DAYS", DAY), (12, "HOURS", DAY / 2), (2, "WEEKS", 14 * DAY)],
)
def test_an_interval_starts_a_run_each_time_it_is_over(still, interval, unit, seconds):
    made = job(still, trigger={"periodic": {"interval": interval, "unit": unit}})
    for expected in range(3):
        still.pass_time(seconds - 1)
        assert len(runs(still, made)) == expected
        still.pass_time(1)
        assert len(runs(still, made)) == expected + 1
    assert runs(still, made)[0].trigger == "PERIODIC"


def test_deploying_again_and_again_does_not_put_an_interval_off(still):
    trigger = {"periodic": {"interval": 1, "unit": "DAYS"}}
    made = job(still, trigger=trigger)
    for _ in range(5):
        still.pass_time(DAY / 5)
        still.region.jobs.reset(made, {"name": "again", "tasks": [], "trigger": trigger})
    still.pass_time(1)
    assert len(runs(still, made)) == 1


def test_intervals_that_were_missed_start_one_run_and_keep_their_time_of_day(still):
    made = job(still, trigger={"periodic": {"interval": 1, "unit": "DAYS"}})
    still.clock.advance(3.5 * DAY)
    later = still.restarted()
    later.turn(2)
    assert len(runs(later, made)) == 1
    later.pass_time(DAY / 2)
    assert len(runs(later, made)) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"periodic": {"interval": 0, "unit": "DAYS"}},
        {"periodic": {"interval": 1, "unit": "YEARS"}},
        {"periodic": {"interval": "1", "unit": "DAYS"}},
        {"file_arrival": {"url": ""}},
        {"file_arrival": {"url": "/a", "min_time_between_triggers_seconds": -1}},
        {"table_update": {"table_names": ["a"]}},
        {"periodic": {"interval": 1, "unit": "DAYS"}, "file_arrival": {"url": "/a"}},
        {"pause_status": "PAUSED"},
    ],
)
def test_a_trigger_that_makes_no_sense_is_refused(still, wrong):
    with pytest.raises(UserError):
        job(still, trigger=wrong)


def test_a_job_has_one_reason_to_run(still):
    with pytest.raises(UserError, match="one of"):
        job(
            still,
            trigger={"periodic": {"interval": 1, "unit": "DAYS"}},
            continuous={"pause_status": "UNPAUSED"},
        )


def waiting_for(still, folder, **more):
    made = job(still, trigger={"file_arrival": {"url": str(folder), **more}})
    still.pass_time(11)
    return made


def write(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(name)


def test_files_that_come_start_one_run_and_those_that_were_there_none(still, tmp_path):
    folder = tmp_path / "in"
    write(folder, "before.json")
    made = waiting_for(still, folder)
    assert runs(still, made) == []
    for number in range(3):
        write(folder, f"day/{number}.json")
    still.pass_time(11)
    still.pass_time(11)
    assert [run.trigger for run in runs(still, made)] == ["FILE_ARRIVAL"]
    (folder / "before.json").unlink()
    write(folder, "_hidden/x")
    still.pass_time(11)
    assert len(runs(still, made)) == 1


def test_what_came_while_the_server_was_down_starts_a_run(still, tmp_path):
    folder = tmp_path / "in"
    write(folder, "a")
    made = waiting_for(still, folder)
    write(folder, "b")
    later = still.restarted()
    later.pass_time(11)
    assert len(runs(later, made)) == 1


def test_a_run_waits_until_files_have_stopped_coming_and_keeps_its_distance(still, tmp_path):
    folder = tmp_path / "in"
    write(folder, "a")
    made = waiting_for(
        still,
        folder,
        wait_after_last_change_seconds=60,
        min_time_between_triggers_seconds=3600,
    )
    for number in range(5):
        write(folder, f"b{number}")
        still.pass_time(40)
        assert runs(still, made) == []
    still.pass_time(60)
    assert len(runs(still, made)) == 1
    write(folder, "c")
    still.pass_time(300)
    assert len(runs(still, made)) == 1
    still.pass_time(3600)
    assert len(runs(still, made)) == 2


def test_a_landing_zone_speaks_by_its_manifest(still, tmp_path, clock):
    zone = Path(still.region.settings.landing_zone)
    source = tmp_path / "source"
    write(source / "orders", "1.json")
    store = Store.open(str(source / "orders"))
    shipper = Shipper(
        ShipSource("orders", store, store),
        [Zone("us-east", str(zone))],
        clock,
    )
    shipper.ship()
    made = waiting_for(still, zone / "orders")
    # Its data is there before the manifest says so: nobody reads half a shipment.
    write(zone / "orders", "2.json")
    still.pass_time(11)
    assert runs(still, made) == []
    (zone / "orders" / "2.json").unlink()
    write(source / "orders", "2.json")
    shipper.ship()
    still.pass_time(11)
    assert len(runs(still, made)) == 1


def test_a_folder_that_cannot_be_read_disturbs_no_other_job(still, tmp_path):
    job(still, trigger={"file_arrival": {"url": "neither a URL nor a path"}})
    made = waiting_for(still, tmp_path / "in")
    write(tmp_path / "in", "a")
    still.pass_time(11)
    assert len(runs(still, made)) == 1


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(1, 100_000)), max_size=30),
    st.integers(0, 100),
    st.integers(0, 100),
)
def test_every_file_that_came_is_followed_by_a_run_and_none_starts_two(steps, quiet, apart):
    trigger = {
        "wait_after_last_change_seconds": quiet,
        "min_time_between_triggers_seconds": apart,
    }
    count = newest = now = 0
    arrival = Arrival(0, 0, "0/0")
    fired, unseen = [], 0
    for came, went, later in [*steps, (0, 0, 1_000_000), (0, 0, 1_000_000)]:
        now += later
        count = max(0, count - went) + came
        newest = now if came else newest
        unseen += came
        arrival = arrival.after_look(FilesSeen(count, newest, f"{count}/{newest}"), now)
        due_at = arrival.due_at(trigger)
        if due_at is not None and due_at <= now:
            assert unseen, "a run for nothing"
            assert not fired or now - fired[-1] >= 1000 * apart
            fired.append(now)
            unseen = 0
            arrival = Arrival(arrival.count, arrival.newest, arrival.digest, fired_at=now)
    assert unseen == 0
