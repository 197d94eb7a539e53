"""Sinks get each row of their flows, from the active region only."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from small_projects import Project, ok

from proa.runtime import UpdateRequest
from proa.runtime.context import Turn
from proa.steps import Step, probing
from proa.testing import Fault, FaultProbe, Killed, every_fault

BRONZE = """
@dp.table
def bronze():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.maxFilesPerTrigger", 1).option("cloudFiles.schemaHints", "id long")
        .load(spark.conf.get("landing_zone"))
    )
"""
DELTA = """
dp.create_sink("out", "delta", {"path": spark.conf.get("out")})

@dp.append_flow(target="out")
def to_out():
    return spark.readStream.table("bronze").select("id")
"""
FUNCTION = """
@dp.foreach_batch_sink
def out(df, batch_id):
    ids = sorted(row.id for row in df.collect())
    with open(spark.conf.get("out"), "a") as file:
        print(batch_id, *ids, file=file)

@dp.update_flow(target="out", name="to_out")
def ids():
    return spark.readStream.table("bronze").select("id")
"""


@pytest.fixture
def delta(project: Project) -> Project:
    project.configuration = {"out": str(project.folder / "out")}
    return project.write(BRONZE + DELTA)


@pytest.fixture
def function(project: Project) -> Project:
    project.configuration = {"out": str(project.folder / "out.txt")}
    return project.write(BRONZE + FUNCTION)


def land(project: Project, *numbers: int) -> None:
    for number in numbers:
        project.land(f"{number}.json", [{"id": number}, {"id": number + 100}])


def ids_of(numbers: range) -> list[int]:
    return sorted([*numbers, *(number + 100 for number in numbers)])


def written(project: Project) -> list[int]:
    table = DeltaTable(str(project.folder / "out")).to_pyarrow_table()
    return sorted(table.column("id").to_pylist())


def delivered(project: Project) -> list[list[int]]:
    """The lines that the function wrote: a batch's number, and its ids."""
    path = project.folder / "out.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    return [[int(word) for word in line.split()] for line in lines]


@pytest.mark.slow
def test_a_delta_sink_has_each_row_once(delta: Project) -> None:
    land(delta, 1, 2)
    ok(delta.run())
    land(delta, 3)
    ok(delta.run())
    assert written(delta) == ids_of(range(1, 4))
    assert ok(delta.run()).rows == 0


def test_a_function_gets_batches_numbered_from_0(function: Project) -> None:
    land(function, 1, 2)
    ok(function.run())
    land(function, 3)
    ok(function.run())
    assert delivered(function) == [[0, 1, 2, 101, 102], [1, 3, 103]]
    assert ok(function.run()).rows == 0


@pytest.mark.slow
def test_a_full_refresh_gives_a_sink_all_rows_again_and_removes_none(
    delta: Project, make: Callable[..., Project]
) -> None:
    land(delta, 1)
    ok(delta.run())
    ok(delta.run(full_refresh_all=True, update_id="u"))
    ok(delta.run(full_refresh=["bronze", "out"], update_id="v"))
    assert written(delta) == sorted([1, 101] * 3)
    other = make(name="q", configuration={"out": str(delta.folder / "out.txt")})
    other.write(BRONZE + FUNCTION)
    land(other, 1)
    ok(other.run())
    ok(other.run(full_refresh_all=True))
    assert delivered(delta) == [[0, 1, 101]] * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    every_fault([Step.PLAN_PUT, Step.COMPUTE_WRITE, Step.TABLE_CREATE, Step.COMMIT]),
    ids=str,
)
def test_a_delta_sink_has_each_row_once_whatever_fails(delta: Project, fault: Fault) -> None:
    ok(delta.run(refresh=["bronze"]))
    land(delta, 1, 2)
    ok(delta.run(refresh=["bronze"]))
    crash(delta, fault)
    ok(delta.run())
    assert written(delta) == ids_of(range(1, 3))


@pytest.mark.parametrize("fault", every_fault([Step.SINK_DELIVER, Step.SINK_NOTE]), ids=str)
def test_a_function_gets_a_batch_again_as_it_was(function: Project, fault: Fault) -> None:
    land(function, 1, 2)
    ok(function.run(refresh=["bronze"]))
    crash(function, fault)
    land(function, 3)
    ok(function.run())
    batches = delivered(function)
    assert {tuple(batch) for batch in batches} == {(0, 1, 2, 101, 102), (1, 3, 103)}
    assert batches.count([1, 3, 103]) == 1


def crash(project: Project, fault: Fault) -> None:
    probe = FaultProbe(fault)
    with contextlib.suppress(Killed), probing(probe):
        project.runner().update(UpdateRequest(refresh=["out"]))
    assert probe.struck == [fault]


def test_a_standby_writes_nothing_and_everything_once_it_is_active(
    delta: Project, function: Project
) -> None:
    land(delta, 1)
    turn = [Turn(1, "west is active")]
    with delta.runner(gate=lambda: turn[0]) as runner:
        result = runner.update()
        assert (str(result.state), result.error) == ("COMPLETED", None)
        flow = next(flow for flow in result.flows if flow.flow == "to_out")
        assert (flow.status, flow.progress.held_back) == ("EXCLUDED", "west is active")
        assert delivered(function) == []
        assert delta.rows("bronze", "id") == [1, 101]
        turn[0] = Turn(2)
        ok(runner.update())
    assert delivered(function) == [[0, 1, 101]]


def test_a_region_that_was_replaced_is_fenced_by_the_table_itself(delta: Project) -> None:
    land(delta, 1)
    with delta.runner(gate=lambda: Turn(2)) as runner:
        ok(runner.update())
    land(delta, 2)
    with delta.runner(gate=lambda: Turn(1)) as late:
        error = late.update(UpdateRequest(cause="USER_ACTION")).error
    assert error is not None
    assert error.condition == "REGION_FENCED"
    assert written(delta) == [1, 101]


def test_a_mistake_in_the_function_is_said_with_its_line(function: Project) -> None:
    function.write(BRONZE + FUNCTION.replace("sorted(", "sorted(1 / 0 + "))
    land(function, 1)
    error = function.run().error
    assert error is not None
    assert error.condition == "FOREACH_BATCH_USER_FUNCTION_ERROR"
    assert "ZeroDivisionError" in str(error)
    assert "pipeline.py:14" in str(error)


def test_columns_that_a_table_lacks_are_added_when_the_sink_says_so(delta: Project) -> None:
    land(delta, 1)
    ok(delta.run())
    wider = (BRONZE + DELTA).replace('.select("id")', '.selectExpr("id", "id * 2 AS twice")')
    delta.write(wider)
    land(delta, 2)
    error = delta.run().error
    assert error is not None
    assert error.condition == "DELTA_METADATA_MISMATCH"
    assert "'out'" in str(error)
    delta.write(wider.replace('("out")}', '("out"), "mergeSchema": "true"}'))
    ok(delta.run())
    assert written(delta) == [1, 2, 101, 102]


def test_sql_writes_to_a_sink_and_a_name_finds_its_table(delta: Project) -> None:
    delta.write(BRONZE + 'dp.create_sink("out", "delta", {"tableName": "main.lake.out"})')
    delta.configuration = {"tables.main.lake.out": str(delta.folder / "out")}
    delta.write("CREATE FLOW f AS INSERT INTO out BY NAME SELECT id FROM STREAM bronze", "f.sql")
    land(delta, 4)
    ok(delta.run())
    assert written(delta) == [4, 104]


def test_the_event_log_says_what_a_sink_is(delta: Project) -> None:
    events: list = []
    with delta.runner(listener=events.append) as runner:
        ok(runner.update())
    (defined,) = [event for event in events if event.event_type == "sink_definition"]
    assert json.loads(json.dumps(defined.details)) == {
        "sink_definition": {"name": "out", "format": "delta"}
    }


DEPENDING = """
dp.create_streaming_table("t")

@dp.append_flow(target="t", once=True)
def load():
    return spark.range(1000).selectExpr("id", "{value} AS v")

@dp.append_flow(target="t", depends_on="LOAD")
def follow():
    return spark.readStream.table("bronze").selectExpr("id", "1 AS v")
"""


def test_a_flow_begins_when_those_that_it_depends_on_are_completed(project: Project) -> None:
    project.write(BRONZE + DEPENDING.format(value="1"))
    land(project, 1)
    ok(project.run())
    table = project.table("t")
    flows = [commit["proa"]["flow"] for commit in table.history() if "flow" in commit["proa"]]
    assert flows == ["follow", "load"]


def test_a_flow_is_skipped_when_one_that_it_depends_on_failed(project: Project) -> None:
    project.write(BRONZE + DEPENDING.format(value="raise_error('no')"))
    land(project, 1)
    result = project.run(cause="USER_ACTION")
    assert {flow.flow: str(flow.status) for flow in result.flows} == {
        "bronze": "COMPLETED",
        "load": "FAILED",
        "follow": "SKIPPED",
    }


def test_a_continuous_update_waits_for_flows_that_end_only(project: Project) -> None:
    project.write(
        BRONZE
        + DEPENDING.replace(", once=True", "")
        .replace("range(1000)", "readStream.table('bronze')")
        .format(value="1")
    )
    error = project.run(continuous=True).error
    assert error is not None
    assert error.condition == "INVALID_FLOW_DEPENDENCY"


def test_a_pipeline_may_have_sinks_and_no_tables(project: Project) -> None:
    project.configuration = {"out": str(project.folder / "out")}
    files = BRONZE.replace("@dp.table", "@dp.view") + DELTA
    project.write(
        files
        + """
@dp.append_flow(target="out", once=True)
def seed():
    return spark.range(500, 502)
"""
    )
    land(project, 1)
    ok(project.run())
    land(project, 2)
    ok(project.run())
    assert written(project) == [1, 2, 101, 102, 500, 501]


def test_a_flow_that_changed_goes_on_where_it_was(delta: Project) -> None:
    land(delta, 1)
    ok(delta.run())
    delta.write(BRONZE + DELTA.replace('.select("id")', '.where("id < 100").select("id")'))
    land(delta, 2)
    ok(delta.run())
    assert written(delta) == [1, 2, 101]


def test_a_table_that_asks_more_of_its_writers_is_refused_by_name(delta: Project) -> None:
    path = str(delta.folder / "out")
    rows = pa.table({"id": pa.array([1], pa.int64())})
    write_deltalake(path, rows)
    DeltaTable(path).alter.add_constraint({"small": "id < 5"})
    land(delta, 1)
    error = delta.run().error
    assert error is not None
    assert error.condition == "DELTA_UNSUPPORTED_FEATURES_FOR_WRITE"
    assert "delta.constraints.small" in str(error)
