"""Aggregations of streams without a watermark: the batch query's rows, whenever a region ran."""

import contextlib

import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_projects import Project, ok

from proa.errors import DataError
from proa.runtime.declared import read_declared
from proa.steps import Step, probing
from proa.testing import FaultProbe, Kill, Killed, LoseAnswer, When

PYTHON = """
zone = spark.conf.get("landing_zone")

def files():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.inferColumnTypes", "true")
        .option("cloudFiles.schemaHints", "ts timestamp").load(f"{zone}/events")
    )

@dp.table
def bronze():
    return files()

@dp.temporary_view
def groups():
    return spark.readStream.table("bronze").groupBy("id").agg(F.sum("v").alias("total"), F.count("*").alias("n"))

@dp.table
@dp.expect_or_drop("some", "n > 0")
def by_id():
    return spark.readStream.table("groups")

@dp.table
def of_files():
    return files().groupBy("id").agg(F.sum("v").alias("total"), F.count("*").alias("n"))
"""
SQL = """
CREATE OR REFRESH STREAMING TABLE windows AS
SELECT window.start AS at, count(*) AS n FROM STREAM bronze GROUP BY window(ts, '10 minutes');

CREATE OR REFRESH STREAMING TABLE everything AS SELECT count(*) AS n, max(v) AS most FROM STREAM bronze;

CREATE OR REFRESH MATERIALIZED VIEW as_view AS SELECT id, sum(v) AS total, count(*) AS n FROM bronze GROUP BY id;

CREATE OR REFRESH MATERIALIZED VIEW above AS SELECT count(*) AS ids FROM by_id;
"""
TABLES = ["by_id", "of_files", "windows", "everything", "above"]
SHIPMENTS = [
    [
        {
            "id": (number * 5 + row) % 4,
            "v": number - row,
            "ts": f"2026-01-01T00:{number * 5 + row:02}:00Z",
        }
        | ({"more": "x"} if number > 2 else {})
        for row in range(4)
    ]
    for number in range(6)
]


def contents(project: Project) -> dict:
    found = {name: project.rows(name) for name in TABLES}
    assert found["by_id"] == found["of_files"] == project.rows("as_view")
    return found


@pytest.mark.slow
@settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_cutting_gives_the_rows_of_the_batch_query(region, data, tmp_path_factory):
    name = tmp_path_factory.mktemp("cut").name
    cut, whole = region(f"{name}-cut"), region(f"{name}-whole")
    for rows in SHIPMENTS[:4]:
        cut.ship("events", rows)
        whole.ship("events", rows)
        if data.draw(st.booleans()):
            ok(cut.run())
    ok(cut.run())
    ok(whole.run())
    assert contents(cut) == contents(whole)
    assert whole.rows("everything", "n") == [16]


@pytest.mark.slow
@pytest.mark.parametrize(
    "step", [Step.PLAN_PUT, Step.COMPUTE_WRITE, Step.COMMIT, Step.TABLE_CREATE]
)
def test_a_crash_leaves_the_rows_of_a_batch_or_those_before(region, step):
    whole, crashing = region("whole"), region("crashing")
    for number, rows in enumerate(SHIPMENTS[:3]):
        whole.ship("events", rows)
        crashing.ship("events", rows)
        moment = number + 1
        fault = [
            Kill(step, When.BEFORE, moment),
            Kill(step, When.AFTER, moment),
            LoseAnswer(step, moment),
        ]
        with contextlib.suppress(Killed), probing(FaultProbe(fault[number])):
            crashing.run()
    ok(crashing.run())
    ok(whole.run())
    assert contents(crashing) == contents(whole)


@pytest.mark.slow
def test_an_update_replaces_all_rows_by_one_commit_and_none_when_nothing_is_new(region):
    project = region("one", PYTHON, "")
    project.ship("events", SHIPMENTS[0])
    ok(project.run())
    project.ship("events", SHIPMENTS[1])
    ok(project.run())
    version = project.table("by_id").version()
    ok(project.run())
    assert project.table("by_id").version() == version
    assert {name: len(project.rows(name)) for name in ("by_id", "of_files")} == {
        "by_id": 4,
        "of_files": 4,
    }
    modes = {
        name: DeltaTable(f"{project.storage}/tables/{name}").history(1)[0]["operationParameters"]
        for name in ("by_id", "of_files")
    }
    assert modes == {"by_id": {"mode": "Append"}, "of_files": {"mode": "Overwrite"}}


def test_a_table_of_groups_is_declared_as_a_streaming_table_that_is_recomputed(region):
    project = region("one")
    project.ship("events", SHIPMENTS[0])
    ok(project.run())
    declared = read_declared(project.storage, {})
    tables = {name: (t.recomputed, t.view) for name, t in declared.tables.items()}
    assert tables["bronze"] == (False, False)
    assert tables["by_id"] == tables["of_files"] == (True, False)
    assert tables["as_view"] == (True, True)


def test_a_full_refresh_gives_the_same_rows(region):
    project = region("one", PYTHON, "")
    project.ship("events", SHIPMENTS[0])
    ok(project.run())
    before = project.rows("of_files")
    ok(project.run(full_refresh=["of_files"]))
    assert project.rows("of_files") == before


@pytest.mark.slow
def test_rows_of_a_stream_are_not_added_to_groups(region):
    project = region("one", PYTHON, "")
    project.ship("events", SHIPMENTS[0])
    ok(project.run())
    project.write(PYTHON.replace("""return files().groupBy("id").agg""", "return files() #"))
    project.ship("events", SHIPMENTS[1])
    error = project.run().error
    assert isinstance(error, DataError)
    assert "--full-refresh of_files" in str(error)
    ok(project.run(full_refresh=["of_files"]))
    assert len(project.rows("of_files")) == 8


def test_groups_take_the_place_of_rows_that_were_added(region):
    project = region(
        "one", PYTHON.replace("""return files().groupBy("id").agg""", "return files() #"), ""
    )
    project.ship("events", SHIPMENTS[0])
    ok(project.run())
    project.write(PYTHON)
    ok(project.run())
    assert project.rows("of_files") == project.rows("by_id")
