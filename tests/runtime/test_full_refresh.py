"""A full refresh keeps what readers see: old rows until the new ones take their place."""

import contextlib
import threading

import pytest
from deltalake import DeltaTable
from small_projects import Project, ok

from proa.errors import UnavailableError
from proa.runtime import UpdateRequest, UpdateState
from proa.steps import Step, probing
from proa.testing import FailFrom, Fault, FaultProbe, Kill, Killed, When

PIPELINE = """
zone = spark.conf.get("landing_zone")

@dp.table
def bronze():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.schemaHints", "id long").load(zone)
    )

dp.create_streaming_table("both")

@dp.append_flow(target="both")
def streamed():
    return spark.readStream.table("bronze").select("id")

@dp.append_flow(target="both", once=True)
def seed():
    return spark.range(100, 102)

@dp.materialized_view
def gold():
    return spark.read.table("both").agg(F.count("*").alias("n"))
"""
TABLES = ["bronze", "both", "gold"]
STEPS = [Step.RESET, Step.PLAN_PUT, Step.COMPUTE_WRITE, Step.COMMIT]


class Readers:
    """Reads all tables around every step, as consumers do, and keeps how many rows there were."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._busy = threading.Lock()
        self.counts: dict[str, set[int]] = {name: set() for name in TABLES}

    def before(self, step: Step) -> None:
        if step in STEPS:
            self.look()

    def after(self, step: Step) -> None:
        if step in STEPS:
            self.look()

    def look(self) -> None:
        with self._busy:
            for name in TABLES:
                self.counts[name].add(rows(self._project.table(name)))


def rows(table: DeltaTable) -> int:
    return sum(table.get_add_actions(flatten=True).column("num_records").to_pylist())


@pytest.fixture
def filled(project: Project) -> Project:
    project.write(PIPELINE)
    for number in range(3):
        project.land(f"{number}.json", [{"id": number}])
    ok(project.run())
    return project


def exact(project: Project, ids: list[int]) -> None:
    assert project.rows("bronze", "id") == sorted(ids, key=str)
    assert project.rows("both", "id") == sorted([*ids, 100, 101], key=str)
    assert project.rows("gold", "n") == [len(ids) + 2]


@pytest.mark.slow
def test_readers_never_see_an_empty_table(filled: Project) -> None:
    filled.land("3.json", [{"id": 3}])
    readers = Readers(filled)
    with probing(readers):
        ok(filled.run(full_refresh_all=True))
    readers.look()
    exact(filled, [0, 1, 2, 3])
    # A table with two flows is whole again when both have run; it is never without rows.
    assert readers.counts["bronze"] == {3, 4}
    assert readers.counts["both"] <= {5, 2, 4, 6}
    assert readers.counts["gold"] == {1}


@pytest.mark.slow
def test_a_full_refresh_that_was_stopped_leaves_the_old_rows(filled: Project) -> None:
    stop = threading.Event()

    class StopsAtOnce:
        def before(self, step: Step) -> None:
            if step is Step.RESET:
                stop.set()

        def after(self, step: Step) -> None:
            pass

    with probing(StopsAtOnce()):
        assert filled.run(full_refresh_all=True, stop=stop).state is UpdateState.CANCELED
    exact(filled, [0, 1, 2])
    filled.land("3.json", [{"id": 3}])
    ok(filled.run())
    exact(filled, [0, 1, 2, 3])
    assert {filled.table(name).transaction_version("proa:generation") for name in TABLES} == {1}


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [fault for step in STEPS for fault in (FailFrom(step), Kill(step), Kill(step, When.AFTER))],
    ids=str,
)
def test_a_full_refresh_that_fails_leaves_rows_and_is_finished_by_the_next_update(
    filled: Project, fault: Fault
) -> None:
    with (
        contextlib.suppress(Killed, UnavailableError),
        probing(FaultProbe(fault)),
        filled.runner() as runner,
    ):
        assert runner.update(UpdateRequest(full_refresh_all=True)).state is UpdateState.FAILED
    for name in TABLES:
        assert rows(filled.table(name)) > 0
    ok(filled.run())
    exact(filled, [0, 1, 2])


def test_a_full_refresh_of_files_that_are_gone_empties_the_table(filled: Project) -> None:
    for number in range(3):
        filled.landing.delete(f"{number}.json")
    ok(filled.run(full_refresh=["bronze"]))
    assert filled.rows("bronze", "id") == []
