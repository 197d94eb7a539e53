"""AUTO CDC in a pipeline: published examples, several batches, refreshes, and every dangerous step."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from pathlib import Path

import pytest
from small_projects import Project, ok

from proa.clock import SystemClock
from proa.errors import PipelineError
from proa.runtime import UpdateRequest
from proa.runtime.maintenance import maintain
from proa.steps import Step, probing
from proa.testing import FakeClock, Fault, FaultProbe, Kill, Killed, When, every_fault

pytestmark = pytest.mark.slow

EVENTS = [
    (124, "Raul", "Oaxaca", "INSERT", 1),
    (123, "Isabel", "Monterrey", "INSERT", 1),
    (125, "Mercedes", "Tijuana", "INSERT", 2),
    (126, "Lily", "Cancun", "INSERT", 2),
    (123, None, None, "DELETE", 6),
    (125, "Mercedes", "Guadalajara", "UPDATE", 6),
    (125, "Mercedes", "Mexicali", "UPDATE", 5),
    (123, "Isabel", "Chihuahua", "UPDATE", 5),
]
TRUNCATE = (None, None, None, "TRUNCATE", 3)
FIELDS = ("userId", "name", "city", "operation", "sequenceNum")

BRONZE = """
@dp.table
def users_cdc():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.schemaHints",
                "userId long, name string, city string, operation string, sequenceNum long")
        .option("cloudFiles.maxFilesPerTrigger", 1)
        .load(spark.conf.get("landing_zone") + "/users").drop("_rescued_data")
    )

dp.create_streaming_table("target")
"""
FLOW = """
dp.create_auto_cdc_flow(
    target="target", source="users_cdc", keys=["userId"], sequence_by=F.col("sequenceNum"),
    apply_as_deletes=F.expr("operation = 'DELETE'"),
    except_column_list=["operation", "sequenceNum"],{more}
)
"""
SCD1 = [(124, "Raul", "Oaxaca"), (125, "Mercedes", "Guadalajara"), (126, "Lily", "Cancun")]
SCD2 = [
    (123, "Isabel", "Chihuahua", 5, 6),
    (123, "Isabel", "Monterrey", 1, 5),
    (124, "Raul", "Oaxaca", 1, None),
    (125, "Mercedes", "Guadalajara", 6, None),
    (125, "Mercedes", "Mexicali", 5, 6),
    (125, "Mercedes", "Tijuana", 2, 5),
    (126, "Lily", "Cancun", 2, None),
]
HISTORY = ("userId", "name", "city", "__START_AT", "__END_AT")


def land(project: Project, events: list[tuple], size: int, first: int = 0) -> None:
    rows = [dict(zip(FIELDS, event, strict=True)) for event in events]
    for number in range(0, len(rows), size):
        project.land(f"users/{first + number:04d}.json", rows[number : number + size])


def target(project: Project, *columns: str) -> list[tuple]:
    return sorted(project.rows("target", *columns), key=str)


@pytest.mark.parametrize("size", [1, 8])
@pytest.mark.parametrize(
    ("more", "events", "columns", "expected"),
    [
        ("", EVENTS, FIELDS[:3], SCD1),
        (
            "apply_as_truncates=F.expr(\"operation = 'TRUNCATE'\")",
            [*EVENTS, TRUNCATE],
            FIELDS[:3],
            [(125, "Mercedes", "Guadalajara")],
        ),
        ("stored_as_scd_type=2", EVENTS, HISTORY, SCD2),
        (
            "stored_as_scd_type='2', track_history_except_column_list=['city']",
            EVENTS,
            HISTORY,
            [
                (123, "Isabel", "Chihuahua", 1, 6),
                (124, "Raul", "Oaxaca", 1, None),
                (125, "Mercedes", "Guadalajara", 2, None),
                (126, "Lily", "Cancun", 2, None),
            ],
        ),
    ],
    ids=["scd1", "truncate", "scd2", "tracked"],
)
def test_the_published_examples_come_out_in_any_batches(
    project: Project, *, more, events, columns, expected, size
) -> None:
    project.write(BRONZE + FLOW.format(more=more))
    land(project, events, size)
    ok(project.run())
    assert target(project, *columns) == expected
    assert set(project.rows("target")[0]) == set(columns)


def test_the_example_in_sql_is_the_same(project: Project) -> None:
    project.write(
        """
        CREATE OR REFRESH STREAMING TABLE users_cdc AS SELECT * FROM STREAM read_files(
          '${landing_zone}/users', format => 'json',
          schemaHints => 'userId long, name string, city string, operation string, sequenceNum long');
        CREATE OR REFRESH STREAMING TABLE target;
        CREATE FLOW apply AS AUTO CDC INTO target FROM stream(users_cdc) KEYS (userId)
        APPLY AS DELETE WHEN operation = "DELETE"
        SEQUENCE BY sequenceNum
        COLUMNS * EXCEPT (operation, sequenceNum)
        STORED AS SCD TYPE 2;
        """,
        "pipeline.sql",
    )
    land(project, EVENTS, 3)
    ok(project.run())
    assert target(project, *HISTORY) == SCD2


def test_what_was_upserted_and_deleted_is_counted_in_the_event_log(project: Project) -> None:
    project.write(BRONZE + FLOW.format(more=""))
    land(project, EVENTS, 8)
    result = ok(project.run())
    [flow] = [flow for flow in result.flows if flow.dataset == "target"]
    assert (flow.progress.changes.upserted, flow.progress.changes.deleted) == (3, 0)
    land(project, [(124, None, None, "DELETE", 9), (126, "Lily", "Merida", "UPDATE", 9)], 2, 100)
    result = ok(project.run())
    [flow] = [flow for flow in result.flows if flow.dataset == "target"]
    assert (flow.progress.changes.upserted, flow.progress.changes.deleted) == (1, 1)


def test_views_several_flows_and_a_flow_that_runs_once_feed_one_target(project: Project) -> None:
    project.write(
        """
        zone = spark.conf.get("landing_zone")

        @dp.view
        def first():
            return spark.readStream.format("cloudFiles").option("cloudFiles.format", "json").option(
                "cloudFiles.schemaHints", "id long, v string, n long").load(f"{zone}/first")

        @dp.view
        def news():
            return spark.readStream.format("cloudFiles").option("cloudFiles.format", "json").option(
                "cloudFiles.schemaHints", "id long, v string, n long").load(f"{zone}/news")

        dp.create_streaming_table("target")
        dp.create_auto_cdc_flow("target", "first", ["id"], "n", name="load", once=True)
        dp.create_auto_cdc_flow("target", "news", ["id"], "n", name="follow")
        """
    )
    project.land("first/1.json", [{"id": i, "v": "loaded", "n": 1} for i in range(3)])
    project.land("news/1.json", [{"id": 1, "v": "late", "n": 0}, {"id": 2, "v": "new", "n": 2}])
    ok(project.run())
    assert target(project, "id", "v") == [(0, "loaded"), (1, "loaded"), (2, "new")]
    project.land("first/2.json", [{"id": 9, "v": "too late", "n": 9}])
    project.land("news/2.json", [{"id": 3, "v": "new", "n": 2}])
    ok(project.run())
    assert target(project, "id", "v") == [(0, "loaded"), (1, "loaded"), (2, "new"), (3, "new")]


def test_a_full_refresh_forgets_what_the_target_remembered(project: Project) -> None:
    project.write(BRONZE + FLOW.format(more=""))
    land(project, EVENTS, 4)
    ok(project.run())
    for _ in range(2):
        ok(project.run(full_refresh_all=True))
        assert target(project, *FIELDS[:3]) == SCD1


def test_a_full_refresh_without_changes_forgets_as_well(project: Project) -> None:
    project.write(BRONZE + FLOW.format(more=""))
    land(
        project,
        [(1, "new", "c", "UPDATE", 9), (2, "n", "c", "INSERT", 9), (2, None, None, "DELETE", 10)],
        3,
    )
    ok(project.run())
    project.landing.delete("users/0000.json")
    ok(project.run(full_refresh_all=True))
    assert target(project, *FIELDS[:3]) == []
    land(project, [(1, "old", "c", "INSERT", 1), (2, "old", "c", "INSERT", 1)], 2, 5)
    ok(project.run())
    assert target(project, *FIELDS[:3]) == [(1, "old", "c"), (2, "old", "c")]


def test_new_columns_of_the_source_come_into_the_target(project: Project) -> None:
    project.write(BRONZE + FLOW.format(more=""))
    land(project, EVENTS, 8)
    ok(project.run())
    project.land(
        "users/9.json",
        [{"userId": 124, "name": "Raul", "operation": "UPDATE", "sequenceNum": 7, "age": 5}],
    )
    ok(project.run())
    rows = {row["userId"]: row.get("age") for row in project.rows("target")}
    assert rows == {124: "5", 125: None, 126: None}


def test_declared_columns_expectations_and_partitions_hold(project: Project) -> None:
    project.write(
        BRONZE.replace(
            'dp.create_streaming_table("target")',
            """dp.create_streaming_table("target",
            schema="userId long, city string, name string, __START_AT long, __END_AT long",
            partition_cols=["city"], expect_all_or_drop={"named": "name IS NOT NULL AND name <> 'Lily'"})""",
        )
        + FLOW.format(more="stored_as_scd_type=2")
    )
    land(project, EVENTS, 3)
    ok(project.run())
    assert target(project, *HISTORY) == [row for row in SCD2 if row[1] != "Lily"]
    assert project.table("target").metadata().partition_columns == ["city"]


def test_a_view_reads_the_target_and_a_stream_of_it_is_refused(project: Project) -> None:
    count = """
@dp.materialized_view
def cities():
    return spark.read.table("target").groupBy("city").count()
"""
    project.write(BRONZE + FLOW.format(more="") + count)
    land(project, EVENTS, 8)
    ok(project.run())
    assert sorted(project.rows("cities", "city")) == ["Cancun", "Guadalajara", "Oaxaca"]
    project.write(
        BRONZE
        + FLOW.format(more="")
        + "@dp.table\ndef follows():\n    return spark.readStream.table('target')\n"
    )
    error = project.run().error
    assert isinstance(error, PipelineError)
    assert error.condition == "UNSUPPORTED_STREAMING_SOURCE"
    assert "skipChangeCommits" in str(error)


@pytest.mark.parametrize(
    ("event", "condition"),
    [
        ((None, "n", "c", "INSERT", 1), "AUTOCDC_MICROBATCH_VALIDATION.NULL_KEY"),
        ((1, "n", "c", "INSERT", None), "AUTOCDC_MICROBATCH_VALIDATION.NULL_SEQUENCE"),
    ],
)
def test_a_change_without_key_or_sequence_stops_the_flow(
    project: Project, event, condition
) -> None:
    project.write(BRONZE + FLOW.format(more=""))
    land(project, [event], 1)
    assert project.run().error.condition == condition


def test_another_scd_type_needs_a_full_refresh(project: Project) -> None:
    project.write(BRONZE + FLOW.format(more=""))
    land(project, EVENTS, 8)
    ok(project.run())
    project.write(BRONZE + FLOW.format(more="stored_as_scd_type=2"))
    land(project, [(1, "n", "c", "INSERT", 1)], 1, 50)
    assert project.run().error.condition == "AUTOCDC_INVALID_STATE.SCD_TYPE_DRIFT"
    ok(project.run(full_refresh_all=True))
    assert len(target(project, *HISTORY)) == len(SCD2) + 1


STEPS = [Step.PLAN_PUT, Step.COMPUTE_WRITE, Step.MEMORY_PUT, Step.TABLE_CREATE, Step.COMMIT]


@pytest.mark.parametrize("more", ["", "stored_as_scd_type=2"], ids=["scd1", "scd2"])
@pytest.mark.parametrize("at", [1, 4])
@pytest.mark.parametrize("fault", every_fault(STEPS), ids=str)
def test_changes_are_applied_once_whatever_fails_where(
    project: Project, fault: Fault, more, at
) -> None:
    project.write(BRONZE + FLOW.format(more=more))
    land(project, EVENTS, 3)
    fault = type(fault)(**{**vars(fault), "at": at})
    probe = FaultProbe(fault)
    with contextlib.suppress(Killed), probing(probe):
        project.runner().update(UpdateRequest())
    ok(project.run())
    expected, columns = (SCD2, HISTORY) if more else (SCD1, FIELDS[:3])
    assert target(project, *columns) == expected


def test_an_attempt_that_died_before_its_commit_leaves_no_trace_in_what_is_remembered(
    project: Project,
) -> None:
    project.write(BRONZE + FLOW.format(more=""))
    land(project, EVENTS, 8)
    with contextlib.suppress(Killed), probing(FaultProbe(Kill(Step.MEMORY_PUT, When.AFTER))):
        project.runner().update(UpdateRequest())
    land(project, [(123, "Isabel", "late", "UPDATE", 2)], 1, 50)
    ok(project.run())
    assert target(project, *FIELDS[:3]) == SCD1


def test_maintenance_removes_what_is_remembered_no_more_and_nothing_else(project: Project) -> None:
    project.write(BRONZE + FLOW.format(more=""))
    for number in range(0, len(EVENTS), 2):
        land(project, EVENTS[number : number + 2], 2, number)
        with contextlib.suppress(Killed), probing(FaultProbe(Kill(Step.MEMORY_PUT, When.AFTER))):
            project.runner().update(UpdateRequest())
        ok(project.run())
    folder = Path(project.storage) / "tables" / "target" / "_proa_cdc"
    before = len([path for path in folder.rglob("*") if path.is_file()])
    project.clock = FakeClock(SystemClock().now() + timedelta(days=30))
    with project.runner() as runner:
        list(maintain(runner))
    after = [path for path in folder.rglob("*") if path.is_file()]
    assert len(after) < before / 2
    land(project, [(123, "Isabel", "late", "UPDATE", 2), (124, "Raul", "new", "UPDATE", 9)], 1, 50)
    ok(project.run())
    assert target(project, *FIELDS[:3]) == [(124, "Raul", "new"), *SCD1[1:]]


@pytest.mark.parametrize("accepted", [False, True])
def test_changes_of_one_sequence_are_told(project: Project, *, accepted: bool) -> None:
    project.write(BRONZE + FLOW.format(more=""))
    land(project, [(1, "a", "c", "INSERT", 1), (1, "b", "c", "UPDATE", 1)], 2)
    events = []
    with project.runner(listener=events.append) as runner:
        runner.context.accepts = lambda finding: accepted and finding.code == "SEQUENCE_TIES"
        ok(runner.update(UpdateRequest()))
    told = [e for e in events if "changes of one sequence" in e.message]
    assert [e.level for e in told] == ([] if accepted else ["WARN"])
    for event in told:
        finding = event.details["planning_information"]["finding"]
        assert (finding["code"], finding["dataset"]) == ("SEQUENCE_TIES", "target")
        assert finding["location"].startswith("pipeline.py:")
    assert target(project, *FIELDS[:3]) == [(1, "b", "c")]


def test_the_later_place_in_the_manifest_holds_where_the_sequence_has_it(project: Project) -> None:
    project.write(
        """
        @dp.table
        def users():
            return (
                spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
                .option("cloudFiles.schemaHints", "id long, name string, n long")
                .load(spark.conf.get("landing_zone") + "/users")
                .select("id", "name", "n", "_metadata.shipment", "_metadata.file_index", "_metadata.row_index")
            )

        dp.create_streaming_table("target")
        dp.create_auto_cdc_flow("target", "users", ["id"],
            F.struct("n", "shipment", "file_index", "row_index"), column_list=["id", "name"])
        """
    )
    for rows in (["z", "y"], ["x", "b"], ["a"]):
        project.ship("users", [{"id": 1, "name": name, "n": 1} for name in rows])
        events = []
        with project.runner(listener=events.append) as runner:
            ok(runner.update(UpdateRequest()))
        assert not [e for e in events if "SEQUENCE_TIES" in e.message]
        assert target(project, "id", "name") == [(1, rows[-1])]


def test_a_target_in_an_object_store_is_merged_as_one_on_disk(make, s3_location) -> None:
    project: Project = make(s3_location)
    project.write(BRONZE + FLOW.format(more="stored_as_scd_type=2"))
    land(project, EVENTS[:5], 5)
    ok(project.run())
    land(project, EVENTS[5:], 5, 50)
    ok(project.run())
    assert target(project, *HISTORY) == SCD2
