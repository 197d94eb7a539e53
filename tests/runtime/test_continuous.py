"""Continuous updates, on the machine's own clock: what is awaited is an event, never a time."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_projects import Project, ok

from proa.clock import SystemClock
from proa.errors import SettingsError
from proa.runtime import Event, UpdateRequest, UpdateResult, UpdateState
from proa.runtime.continuous import INTERVAL
from proa.steps import Step, probing
from proa.testing import Fail, FaultProbe
from proa.times import duration_setting

PATIENCE = 30.0
BRONZE = """
@dp.table
def bronze():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.schemaHints", "id long")
        .load(spark.conf.get("landing_zone"))
    )
"""
SILVER = """
@dp.table
def silver():
    return spark.readStream.table("bronze").select("id")

@dp.materialized_view
def gold():
    return spark.read.table("silver").agg(F.count("*").alias("n"))
"""


class Watch:
    """Listens to a continuous update; lets a test wait until something has happened."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.events: list[Event] = []

    def hear(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def until(self, flow: str, text: str, times: int = 1) -> None:
        """Wait until the flow was said to be so, this many times."""

        def count() -> bool:
            found = [e for e in self.events if e.origin.flow_name == flow and text in e.message]
            return len(found) >= times

        with self._changed:
            assert self._changed.wait_for(count, PATIENCE), [e.message for e in self.events]

    def until_holds(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition, which is looked at after each event, holds."""
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE), [e.message for e in self.events]


@pytest.fixture
def live(project: Project) -> Project:
    project.clock = SystemClock()
    project.configuration = {"pipelines.trigger.interval": "50 ms"}
    return project


@contextmanager
def running(project: Project) -> Iterator[tuple[Watch, list[UpdateResult]]]:
    """A continuous update in a thread; it has ended when the block has."""
    watch, stop, results = Watch(), threading.Event(), []
    with project.runner(listener=watch.hear) as runner:
        request = UpdateRequest(continuous=True, stop=stop)
        thread = threading.Thread(target=lambda: results.append(runner.update(request)))
        thread.start()
        try:
            yield watch, results
        finally:
            stop.set()
            thread.join(PATIENCE)
    assert not thread.is_alive()


def test_new_files_flow_through_while_it_runs(live: Project) -> None:
    live.write(BRONZE + SILVER)
    with running(live) as (watch, results):
        watch.until("bronze", "follows its sources")
        live.land("a.json", [{"id": 1}])
        watch.until_holds(lambda: live.exists("gold") and live.rows("gold", "n") == [1])
        live.land("b.json", [{"id": 2}])
        watch.until_holds(lambda: live.rows("gold", "n") == [2])
    assert live.rows("silver", "id") == [1, 2]
    assert results[0].state is UpdateState.CANCELED


def test_groups_of_a_stream_follow_it_while_it_runs(live: Project) -> None:
    live.write(
        BRONZE
        + """
@dp.table
def counted():
    return spark.readStream.table("bronze").agg(F.count("*").alias("n"))
"""
    )
    with running(live) as (watch, _):
        for number in (1, 2):
            live.land(f"{number}.json", [{"id": number}])
            watch.until_holds(
                lambda n=number: live.exists("counted") and live.rows("counted", "n") == [n]
            )
    assert {
        e.details["flow_definition"]["flow_type"]
        for e in watch.events
        if e.origin.flow_name == "counted" and "flow_definition" in e.details
    } == {"COMPLETE"}


def test_a_flow_that_fails_begins_again_and_the_others_do_not_notice(live: Project) -> None:
    live.configuration = {**live.configuration, "pipelines.maxFlowRetryAttempts": "0"}
    live.write(
        BRONZE
        + """
@dp.table
@dp.expect_or_fail("good", "id < 5")
def picky():
    return spark.readStream.table("bronze")
"""
        + SILVER
    )
    with running(live) as (watch, results):
        live.land("a.json", [{"id": 1}])
        watch.until("picky", "has new rows")
        live.land("b.json", [{"id": 7}])
        watch.until("picky", "failed")
        live.land("c.json", [{"id": 2}])
        watch.until_holds(lambda: live.exists("silver") and live.rows("silver", "id") == [1, 2, 7])
    assert live.rows("picky", "id") == [1]
    assert results[0].state is UpdateState.FAILED


@pytest.mark.slow
def test_a_store_that_is_away_for_a_while_is_waited_for(live: Project) -> None:
    live.write(BRONZE)
    with (
        probing(FaultProbe(*(Fail(Step.COMMIT, at) for at in (1, 2)))),
        running(live) as (watch, _),
    ):
        live.land("a.json", [{"id": 1}])
        watch.until("bronze", "has new rows")
    assert live.rows("bronze", "id") == [1]


@pytest.mark.slow
def test_a_landing_zone_that_goes_away_is_reported_and_waited_for(live: Project) -> None:
    live.write(BRONZE)
    live.land("a.json", [{"id": 1}])
    zone = Path(live.landing.url)
    with running(live) as (watch, _):
        watch.until("bronze", "has new rows")
        zone.rename(zone.with_name("away"))
        watch.until("bronze", "which files were read from before, is not there")
        zone.with_name("away").rename(zone)
        live.land("b.json", [{"id": 2}])
        watch.until("bronze", "has new rows", 2)
    assert live.rows("bronze", "id") == [1, 2]


def test_it_ends_when_nothing_is_left_that_could_run(live: Project) -> None:
    live.write(BRONZE.replace("@dp.table", '@dp.table\n@dp.expect_or_fail("good", "false")'))
    live.land("a.json", [{"id": 1}])
    stop = threading.Event()
    with live.runner() as runner:
        result = runner.update(UpdateRequest(continuous=True, stop=stop))
    assert result.state is UpdateState.FAILED


def test_an_idle_update_hardly_looks(live: Project) -> None:
    live.configuration = {"pipelines.trigger.interval": "1 hour"}
    live.write(BRONZE)
    live.land("a.json", [{"id": 1}])
    with running(live) as (watch, _):
        watch.until("bronze", "has new rows")
    assert len([e for e in watch.events if e.event_type == "flow_progress"]) == 3


@pytest.mark.slow
def test_what_stops_in_the_middle_goes_on_where_it_was(live: Project) -> None:
    live.write(BRONZE + SILVER)
    for round_ in range(3):
        with running(live) as (watch, _):
            live.land(f"{round_}.json", [{"id": round_}])
            watch.until("bronze", "has new rows")
    with running(live) as (watch, _):
        live.land("end.json", [{"id": 9}])
        watch.until("silver", "has new rows")
    live.clock = SystemClock()
    live.run()
    assert live.rows("silver", "id") == [0, 1, 2, 9]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5 seconds", 5),
        ("15 minutes", 900),
        ("1 hour", 3600),
        ("250ms", 0.25),
        ("2 days", 172800),
        ("interval 1 week", 604800),
    ],
)
def test_an_interval_is_read_as_people_write_it(text: str, expected: float) -> None:
    assert duration_setting(text, INTERVAL) == expected


@pytest.mark.parametrize("text", ["", "soon", "5", "-1 s", "1 fortnight"])
def test_what_is_no_interval_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"pipelines\.trigger\.interval must be a duration"):
        duration_setting(text, INTERVAL)


LEVELS = (
    BRONZE
    + """
@dp.materialized_view
def gold1():
    return spark.read.table("bronze").agg(F.sum("id").alias("total"))

@dp.materialized_view
def gold2():
    return spark.read.table("gold1")

@dp.materialized_view
def gold3():
    return spark.read.table("gold2")
"""
)


@pytest.mark.slow
def test_all_levels_of_views_are_right_after_one_pass(live: Project) -> None:
    live.configuration = {}
    live.write(LEVELS)
    live.land("a.json", [{"id": 1}])
    ok(live.run())
    live.land("b.json", [{"id": 10}])
    with running(live) as (watch, _):
        watch.until("gold3", "has new rows")
    assert [live.rows(f"gold{n}", "total") for n in (1, 2, 3)] == [[11]] * 3


@pytest.mark.slow
def test_views_that_ran_long_ago_follow_their_input_at_once(live: Project) -> None:
    live.write(LEVELS)
    live.land("a.json", [{"id": 1}])
    ok(live.run())
    live.configuration = {"pipelines.trigger.interval": "1 hour"}
    live.write(
        LEVELS.replace(
            "@dp.table\n", '@dp.table(spark_conf={"pipelines.trigger.interval": "50 ms"})\n'
        )
    )
    ok(live.run())
    with running(live) as (watch, _):
        watch.until("gold3", "follows its sources")
        live.land("b.json", [{"id": 10}])
        watch.until("gold3", "has new rows")
    assert [live.rows(f"gold{n}", "total") for n in (1, 2, 3)] == [[11]] * 3
