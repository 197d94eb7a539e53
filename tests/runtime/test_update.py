import contextlib
import math
import threading

import pytest
from small_projects import Project, ok

from proa.engine import Engine
from proa.errors import DataError, PipelineError, UserError
from proa.runtime import FlowStatus, UpdateRequest, UpdateState
from proa.runtime.event_rows import read_events
from proa.settings import EngineSettings
from proa.steps import Step, probing
from proa.storage import Store
from proa.testing import Fail, FaultProbe, Killed, every_fault

BRONZE = """
@dp.table
def bronze():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.schemaHints", "id long, v long")
        .load(spark.conf.get("landing_zone"))
    )
"""
GOLD = """
@dp.materialized_view
def gold():
    return spark.read.table("bronze").agg(F.sum("v").alias("total"))
"""


def land(project: Project, name: str, *ids: int) -> None:
    project.land(f"{name}.json", [{"id": i, "v": i} for i in ids])


def statuses(result) -> dict[str, str]:
    return {flow.flow: str(flow.status) for flow in result.flows}


def test_new_files_go_through_all_tables(placed: Project) -> None:
    placed.write(BRONZE + GOLD)
    land(placed, "a", 1, 2)
    assert ok(placed.run()).rows == 3
    land(placed, "b", 3)
    ok(placed.run())
    assert (placed.rows("bronze", "id"), placed.rows("gold", "total")) == ([1, 2, 3], [6])


def test_an_update_with_nothing_new_commits_nothing(project: Project) -> None:
    project.write(BRONZE + GOLD)
    land(project, "a", 1)
    with project.runner() as runner:
        ok(runner.update())
        versions = [project.table(name).version() for name in ("bronze", "gold")]
        again = ok(runner.update())
        assert [project.table(name).version() for name in ("bronze", "gold")] == versions
        assert (again.rows, statuses(again)) == (0, {"bronze": "COMPLETED", "gold": "COMPLETED"})


def test_no_files_yet_is_no_failure_and_nothing_is_made_up(project: Project) -> None:
    project.write(BRONZE.replace('.option("cloudFiles.schemaHints", "id long, v long")', "") + GOLD)
    result = ok(project.run())
    assert not project.exists("gold")
    assert result.rows == 0


@pytest.mark.slow
def test_a_view_is_recomputed_when_its_inputs_or_its_query_changed(project: Project) -> None:
    project.write(BRONZE + GOLD)
    land(project, "a", 1)
    ok(project.run())
    assert ok(project.run()).flows[1].progress.batches == 0
    project.write(BRONZE + GOLD.replace('F.sum("v")', '(F.sum("v") * 10)'))
    assert ok(project.run()).flows[1].progress.batches == 1
    assert project.rows("gold", "total") == [10]


def test_moving_a_query_in_its_file_changes_nothing(project: Project) -> None:
    project.write(BRONZE + GOLD)
    land(project, "a", 1)
    ok(project.run())
    project.write("# a comment\n\n" + BRONZE + "\n\n" + GOLD)
    assert ok(project.run()).flows[1].progress.batches == 0


def test_a_view_that_is_finished_and_then_computed_again_counts_its_rows_once(
    project: Project,
) -> None:
    view = """
@dp.materialized_view
@dp.expect_or_drop("even", "v % 2 = 0")
def gold():
    return spark.read.table("bronze").selectExpr({!r})
"""
    project.write(BRONZE + view.format("cast('x' as long) AS v"))
    land(project, "a", 1, 2, 3)
    assert project.run().state is UpdateState.FAILED
    project.write(BRONZE + view.format("v"))
    result = ok(project.run())
    gold = next(flow.progress for flow in result.flows if flow.flow == "gold")
    assert (gold.batches, gold.rows, gold.dropped) == (2, 1, 2)
    assert (gold.outcomes["even"].passed, gold.outcomes["even"].failed) == (1, 2)
    assert project.rows("gold", "v") == [2]


def test_a_view_may_change_its_columns(project: Project) -> None:
    project.write(BRONZE + GOLD)
    land(project, "a", 1)
    ok(project.run())
    project.write(
        BRONZE + GOLD.replace('F.sum("v").alias("total")', 'F.max("id").cast("string").alias("m")')
    )
    ok(project.run())
    assert project.rows("gold") == [{"m": "1"}]


def test_rules_warn_drop_and_count(project: Project) -> None:
    project.write(
        """
        @dp.table
        @dp.expect("small", "v < 3")
        @dp.expect_or_drop("even", F.col("v") % 2 == 0)
        @dp.expect_or_drop("not null", "v IS NOT NULL")
        def bronze():
            return (
                spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
                .option("cloudFiles.schemaHints", "v long").load(spark.conf.get("landing_zone"))
            )
        """
    )
    project.land("a.json", [{"v": v} for v in (0, 1, 2, 3, 4, None)])
    progress = ok(project.run()).flows[0].progress
    assert project.rows("bronze", "v") == [0, 2, 4]
    counts = {o.expectation: (o.passed, o.failed) for o in progress.outcomes.values()}
    assert counts == {"small": (3, 3), "even": (3, 3), "not null": (5, 1)}
    assert (progress.rows, progress.dropped) == (3, 3)


def test_a_broken_fail_rule_stores_nothing_and_says_which_rows(project: Project) -> None:
    project.write(BRONZE.replace("@dp.table", '@dp.table\n@dp.expect_or_fail("positive", "v > 0")'))
    land(project, "a", 1, -2, -3)
    result = project.run()
    assert (result.state, result.flows[0].status) == (UpdateState.FAILED, FlowStatus.FAILED)
    with pytest.raises(DataError, match=r"'positive' of 'bronze' is broken by 2 rows.*\"id\": -2"):
        raise result.error
    assert not project.exists("bronze")


def test_an_error_in_the_users_python_says_where_it_is(project: Project) -> None:
    project.write(
        """
        @F.udf("string")
        def bad(value):
            return 1 // (value - value)

        @dp.materialized_view
        def gold():
            return spark.range(3).select(bad("id"))
        """
    )
    with pytest.raises(UserError, match=r"ZeroDivisionError: .* \(.*pipeline\.py:6\)"):
        raise project.run().error


@pytest.mark.parametrize("decorator", ['F.udf("tinyint")', "F.udf(returnType=T.ByteType())"])
def test_what_the_users_python_returns_does_not_become_another_number(
    project: Project, decorator: str
) -> None:
    project.write(
        f"""
        from pyspark.sql import types as T

        @{decorator}
        def large(value):
            return 300

        @dp.materialized_view
        def gold():
            return spark.range(3).select(large("id"))
        """
    )
    with pytest.raises(UserError, match=r"300 not in range"):
        raise project.run().error


def test_a_wrong_rule_is_named(project: Project) -> None:
    project.write(BRONZE.replace("@dp.table", '@dp.table\n@dp.expect("odd", "nothing > 0")'))
    land(project, "a", 1)
    with pytest.raises(UserError, match="expectation 'odd' of 'bronze' cannot be computed"):
        raise project.run().error


def test_several_flows_feed_one_table_and_once_means_once(project: Project) -> None:
    project.write(
        BRONZE
        + """
dp.create_streaming_table("all")

@dp.append_flow(target="all")
def a():
    return spark.readStream.table("bronze").select("id")

@dp.append_flow(target="all")
def b():
    return spark.readStream.table("bronze").selectExpr("id * 100 as id")

@dp.append_flow(target="all", once=True)
def start():
    return spark.range(7, 9)
"""
    )
    land(project, "a", 1)
    ok(project.run())
    land(project, "b", 2)
    ok(project.run())
    assert project.rows("all", "id") == sorted([1, 2, 100, 200, 7, 8], key=str)


def test_a_union_of_two_streams_follows_both(project: Project) -> None:
    project.write(
        """
        def files(folder):
            return (
                spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
                .option("cloudFiles.schemaHints", "id long")
                .load(spark.conf.get("landing_zone") + "/" + folder).select("id")
            )

        @dp.table
        def bronze():
            return files("x").union(files("y"))

        @dp.table
        def twice():
            return spark.readStream.table("bronze").union(spark.readStream.table("bronze"))
        """
    )
    project.land("x/1.json", [{"id": 1}])
    ok(project.run())
    project.land("y/1.json", [{"id": 2}])
    project.land("x/2.json", [{"id": 3}])
    ok(project.run())
    assert project.rows("bronze", "id") == [1, 2, 3]
    assert project.rows("twice", "id") == [1, 1, 2, 2, 3, 3]


@pytest.mark.slow
def test_a_stream_joined_with_a_table_sees_the_table_as_it_is_at_that_batch(
    project: Project,
) -> None:
    project.write(
        """
        def files(folder, hints):
            return (
                spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
                .option("cloudFiles.schemaHints", hints)
                .load(spark.conf.get("landing_zone") + "/" + folder)
            )

        @dp.table
        def names():
            return files("names", "id long, name string").select("id", "name")

        @dp.table
        def events():
            return files("events", "id long").select("id")

        @dp.table
        def named():
            return spark.readStream.table("events").join(spark.read.table("names"), "id", "left")
        """
    )
    project.land("names/1.json", [{"id": 1, "name": "one"}])
    project.land("events/1.json", [{"id": 1}, {"id": 2}])
    ok(project.run())
    project.land("names/2.json", [{"id": 2, "name": "two"}])
    ok(project.run())
    assert project.rows("named", "id", "name") == [(1, "one"), (2, None)]
    project.land("events/2.json", [{"id": 2}])
    ok(project.run())
    assert project.rows("named", "id", "name") == [(1, "one"), (2, "two"), (2, None)]


def test_only_what_is_selected_runs(project: Project) -> None:
    project.write(BRONZE + GOLD)
    land(project, "a", 1)
    assert statuses(ok(project.run(refresh=["bronze"]))) == {"bronze": "COMPLETED"}
    assert not project.exists("gold")


def test_a_full_refresh_computes_everything_anew(placed: Project) -> None:
    placed.write(BRONZE + GOLD)
    land(placed, "a", 1)
    ok(placed.run())
    land(placed, "b", 2)
    ok(placed.run(full_refresh_all=True))
    ok(placed.run())
    assert (placed.rows("bronze", "id"), placed.rows("gold", "total")) == ([1, 2], [3])


def test_a_stream_does_not_follow_a_table_that_was_fully_refreshed(project: Project) -> None:
    project.write(
        BRONZE
        + """
@dp.table
def silver():
    return spark.readStream.table("bronze")
"""
    )
    land(project, "a", 1)
    ok(project.run())
    ok(project.run(full_refresh=["bronze"]))
    result = project.run()
    assert statuses(result) == {"bronze": "COMPLETED", "silver": "FAILED"}
    with pytest.raises(DataError, match=r"'bronze' was fully refreshed.*--full-refresh"):
        raise result.error
    ok(project.run(full_refresh=["silver"]))
    assert project.rows("silver", "id") == [1]


def test_a_table_that_may_not_be_reset_is_not(project: Project) -> None:
    keep = '@dp.table(table_properties={"pipelines.reset.allowed": "false"})'
    project.write(BRONZE.replace("@dp.table", keep) + GOLD)
    land(project, "a", 1)
    ok(project.run())
    with pytest.raises(UserError, match="cannot be fully refreshed"):
        raise project.run(full_refresh=["bronze"]).error
    ok(project.run(full_refresh_all=True))
    assert project.table("bronze").transaction_version("proa:generation") == 0
    assert project.table("gold").transaction_version("proa:generation") == 1


def test_a_check_runs_nothing(project: Project) -> None:
    project.write(BRONZE + GOLD)
    land(project, "a", 1)
    assert ok(project.run(validate_only=True)).flows == ()
    assert not project.exists("bronze")


def test_a_mistake_in_the_source_is_the_updates_error(project: Project) -> None:
    project.write(GOLD)
    result = project.run()
    assert (result.state, result.flows) == (UpdateState.FAILED, ())
    with pytest.raises(UserError, match="TABLE_OR_VIEW_NOT_FOUND"):
        raise result.error


def test_a_failing_flow_stops_what_reads_it_and_nothing_else(project: Project) -> None:
    project.write(
        BRONZE
        + GOLD
        + """
@dp.table
@dp.expect_or_fail("never", "false")
def bad():
    return spark.readStream.table("bronze")

@dp.materialized_view
def worse():
    return spark.read.table("bad")
"""
    )
    land(project, "a", 1)
    result = project.run()
    assert result.state is UpdateState.FAILED
    assert statuses(result) == {
        "bronze": "COMPLETED",
        "gold": "COMPLETED",
        "bad": "FAILED",
        "worse": "SKIPPED",
    }


def test_what_may_go_well_next_time_is_tried_again(project: Project) -> None:
    project.write(BRONZE)
    land(project, "a", 1)
    with probing(FaultProbe(*(Fail(Step.COMMIT, at) for at in (1, 2)))):
        ok(project.run())
    assert [round(wait) for wait in project.clock.waits] == [1, 2]


def test_a_flow_is_tried_three_times_and_an_update_six(project: Project) -> None:
    project.write(BRONZE)
    land(project, "a", 1)
    probe = FaultProbe(*(Fail(Step.COMPUTE_WRITE, at) for at in range(1, 100)))
    with probing(probe):
        assert project.run().state is UpdateState.FAILED
    assert probe.reached[Step.COMPUTE_WRITE] == 18
    updates = [wait for wait in project.clock.waits if wait > 4]
    assert [int(math.log2(wait / 5)) for wait in updates] == [0, 1, 2, 3, 4]


def test_somebody_who_looks_on_is_not_kept_waiting(project: Project) -> None:
    project.write(BRONZE)
    land(project, "a", 1)
    probe = FaultProbe(*(Fail(Step.COMPUTE_WRITE, at) for at in range(1, 100)))
    with probing(probe):
        assert project.run(cause="USER_ACTION").state is UpdateState.FAILED
    assert probe.reached[Step.COMPUTE_WRITE] == 3


def test_the_users_mistakes_are_not_tried_again(project: Project) -> None:
    project.write(BRONZE.replace(".load(", '.option("cloudFiles.typo", 1).load('))
    assert project.run().state is UpdateState.FAILED
    assert project.clock.waits == []


def test_an_update_that_is_stopped_goes_on_later(project: Project) -> None:
    project.write(BRONZE + GOLD)
    land(project, "a", 1)
    stop = threading.Event()
    stop.set()
    result = project.run(stop=stop)
    assert (result.state, set(statuses(result).values())) == (UpdateState.CANCELED, {"STOPPED"})
    ok(project.run())
    assert project.rows("gold", "total") == [1]


@pytest.mark.slow
def test_new_fields_of_files_become_columns_at_once(placed: Project) -> None:
    placed.write(BRONZE)
    land(placed, "a", 1)
    ok(placed.run())
    placed.land("b.json", [{"id": 2, "v": 2, "new": {"x": "y"}}])
    result = ok(placed.run())
    assert result.flows[0].progress.batches == 1
    assert placed.rows("bronze", "id", "new") == [(1, None), (2, '{"x": "y"}')]


def test_a_declared_schema_is_the_tables_schema(project: Project) -> None:
    declared = "@dp.table(schema=\"id bigint COMMENT 'the key', v bigint, later date\")"
    project.write(
        BRONZE.replace("@dp.table", declared).replace(
            '.load(spark.conf.get("landing_zone"))',
            '.load(spark.conf.get("landing_zone")).select("id", "v")',
        )
    )
    land(project, "a", 1)
    ok(project.run())
    assert project.rows("bronze") == [{"id": 1, "v": 1, "later": None}]
    assert project.table("bronze").schema().fields[0].metadata == {"comment": "the key"}


def test_a_column_that_the_declared_schema_lacks_is_refused(project: Project) -> None:
    project.write(BRONZE.replace("@dp.table", '@dp.table(schema="id bigint")'))
    land(project, "a", 1)
    with pytest.raises(DataError, match=r"'v'.*which its schema does not name"):
        raise project.run().error


@pytest.mark.slow
def test_partitions_comments_and_properties_reach_the_table(placed: Project) -> None:
    placed.write(
        BRONZE.replace(
            "@dp.table",
            '@dp.table(partition_cols=["v"], comment="raw", table_properties={"quality": "b"})',
        )
    )
    land(placed, "a", 1, 2, 2)
    ok(placed.run())
    metadata = placed.table("bronze").metadata()
    assert (metadata.partition_columns, metadata.description) == (["v"], "raw")
    assert metadata.configuration == {"quality": "b"}
    found = placed.table("bronze").to_pyarrow_table(filters=[("v", "=", 2)])
    assert found["id"].to_pylist() == [2, 2]


def test_new_comments_and_properties_reach_the_table(project: Project) -> None:
    project.write(BRONZE.replace("@dp.table", '@dp.table(table_properties={"a": "1"})'))
    land(project, "a", 1)
    ok(project.run())
    project.write(
        BRONZE.replace("@dp.table", '@dp.table(comment="now", table_properties={"b": "2"})')
    )
    ok(project.run())
    version = project.table("bronze").version()
    ok(project.run())
    metadata = project.table("bronze").metadata()
    assert (metadata.description, metadata.configuration) == ("now", {"a": "1", "b": "2"})
    assert project.table("bronze").version() == version


def test_new_partitions_need_a_full_refresh(project: Project) -> None:
    project.write(BRONZE)
    land(project, "a", 1)
    ok(project.run())
    project.write(BRONZE.replace("@dp.table", '@dp.table(partition_cols=["v"])'))
    land(project, "b", 2)
    with pytest.raises(DataError, match="refresh the table fully"):
        raise project.run().error
    ok(project.run(full_refresh=["bronze"]))
    assert project.table("bronze").metadata().partition_columns == ["v"]
    assert project.rows("bronze", "id") == [1, 2]


def test_a_type_that_changes_is_refused_until_a_full_refresh(project: Project) -> None:
    project.write(BRONZE)
    land(project, "a", 1)
    ok(project.run())
    project.write(BRONZE.replace("v long", "v string"))
    land(project, "b", 2)
    with pytest.raises(DataError, match="'v' of 'bronze' is 'bigint' in the table and 'string'"):
        raise project.run().error
    ok(project.run(full_refresh=["bronze"]))
    assert project.rows("bronze", "v") == ["1", "2"]


WIDE = """
@dp.table(table_properties={"delta.enableTypeWidening": "true"})
def numbers():
    return spark.readStream.table("bronze").selectExpr("id", "cast(v as int) as v")

@dp.table
def after():
    return spark.readStream.table("numbers").selectExpr("id", "cast(v as bigint) as v")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", [None, *every_fault([Step.TABLE_EVOLVE, Step.COMPUTE_WRITE], at=2)], ids=str
)
def test_a_column_may_take_a_wider_type(project: Project, fault) -> None:
    project.write(BRONZE + WIDE)
    land(project, "a", 1)
    ok(project.run())
    project.write(BRONZE + WIDE.replace("as int)", "as bigint)"))
    project.land("b.json", [{"id": 2, "v": 1 << 40}])
    if fault is not None:
        with contextlib.suppress(Killed), probing(FaultProbe(fault)):
            project.run()
    ok(project.run())
    expected = [(1, 1), (2, 1 << 40)]
    assert project.rows("numbers", "id", "v") == expected
    assert project.rows("after", "id", "v") == expected


def test_query_functions_may_ask_for_columns(project: Project) -> None:
    project.write(
        BRONZE
        + """
@dp.table
def upper():
    df = spark.readStream.table("bronze")
    return df.select([F.col(c).alias(c.upper()) for c in df.columns if c in ("id", "v")])
"""
    )
    land(project, "a", 1)
    ok(project.run())
    assert project.rows("upper") == [{"ID": 1, "V": 1}]


def test_sql_says_the_same(project: Project) -> None:
    project.write(
        """
        CREATE OR REFRESH STREAMING TABLE bronze (CONSTRAINT ok EXPECT (v > 1) ON VIOLATION DROP ROW)
        AS SELECT *, _metadata.file_name AS file FROM STREAM read_files(
          '${landing_zone}', format => 'json', schemaHints => 'id long, v long');
        CREATE OR REFRESH MATERIALIZED VIEW gold AS SELECT count(*) AS n FROM bronze;
        """,
        "pipeline.sql",
    )
    land(project, "a", 1, 2, 3)
    ok(project.run())
    assert (project.rows("gold", "n"), project.rows("bronze", "file")) == ([2], ["a.json"] * 2)


def test_what_happened_is_in_the_event_log(placed: Project) -> None:
    placed.write(BRONZE.replace("@dp.table", '@dp.table\n@dp.expect("small", "v < 2")'))
    land(placed, "a", 1, 2)
    update = ok(placed.run()).update_id
    events = list(read_events(f"{placed.storage}/system/events", placed.options))
    assert {e["event_type"] for e in events} == {
        "create_update",
        "update_progress",
        "dataset_definition",
        "flow_definition",
        "flow_progress",
    }
    states = [
        e["details"]["update_progress"]["state"]
        for e in events
        if e["event_type"] == "update_progress"
    ]
    assert states == ["INITIALIZING", "SETTING_UP_TABLES", "RUNNING", "COMPLETED"]
    last = [e for e in events if e["event_type"] == "flow_progress"][-1]
    assert last["origin"] == {
        "pipeline_id": "test",
        "pipeline_name": "test",
        "update_id": update,
        "flow_name": "bronze",
        "dataset_name": "bronze",
    }
    progress = last["details"]["flow_progress"]
    assert (progress["status"], progress["metrics"]["num_output_rows"]) == ("COMPLETED", 2)
    assert progress["data_quality"]["expectations"] == [
        {"name": "small", "dataset": "bronze", "passed_records": 1, "failed_records": 1}
    ]
    numbers = [e["sequence"]["data_plane_id"]["seq_no"] for e in events]
    assert numbers == list(range(1, len(events) + 1))


def test_the_listener_hears_what_the_log_says(project: Project) -> None:
    project.write(BRONZE)
    land(project, "a", 1)
    heard = []
    with project.runner(listener=heard.append) as runner:
        ok(runner.update(UpdateRequest()))
    logged = [e["id"] for e in read_events(f"{project.storage}/system/events", {})]
    assert [event.id for event in heard] == logged


def test_changed_sources_are_seen_by_a_warm_runner(project: Project) -> None:
    project.write(BRONZE)
    land(project, "a", 1)
    with project.runner() as runner:
        ok(runner.update())
        project.write(BRONZE + GOLD)
        ok(runner.update())
    assert project.rows("gold", "total") == [1]


@pytest.mark.slow
def test_what_a_deleted_leaf_read_is_not_read_again(project: Project) -> None:
    both = (
        BRONZE
        + """
@dp.table
def silver():
    return spark.readStream.table("bronze").select("id").union(spark.readStream.table("other"))

@dp.table
def other():
    return spark.readStream.table("bronze").selectExpr("-id as id")
"""
    )
    project.write(both)
    land(project, "a", 1)
    ok(project.run())
    project.write(both.replace('.union(spark.readStream.table("other"))', ""))
    land(project, "b", 2)
    ok(project.run())
    project.write(both)
    land(project, "c", 3)
    ok(project.run())
    assert project.rows("silver", "id") == sorted([1, -1, 2, 3, -2, -3], key=str)


@pytest.mark.slow
def test_a_table_file_that_is_gone_is_noticed(placed: Project) -> None:
    placed.write(BRONZE + GOLD)
    land(placed, "a", 1)
    ok(placed.run(refresh=["bronze"]))
    (url,) = placed.table("bronze").file_uris()
    folder, name = url.rsplit("/", 1)
    Store.open(folder, placed.options).delete(name)
    with pytest.raises(DataError, match=r"belongs to a table and is gone"):
        raise placed.run().error


@pytest.mark.slow
def test_a_server_elsewhere_computes_the_same(project: Project, remote_address: str) -> None:
    project.write(BRONZE.replace("@dp.table", '@dp.table\n@dp.expect_or_drop("x", "v > 1")') + GOLD)
    land(project, "a", 1, 2, 3)
    with Engine.start(EngineSettings(remote=remote_address)) as engine:
        project.engine = engine
        ok(project.run())
        project.land("b.json", [{"id": 4, "v": 4, "new": "field"}])
        ok(project.run())
    assert (project.rows("bronze", "id"), project.rows("gold", "total")) == ([2, 3, 4], [9])


def test_a_column_that_is_there_twice_is_named_and_not_tried_again(project: Project) -> None:
    project.write(
        BRONZE
        + """
@dp.materialized_view
def joined():
    one = spark.read.table("bronze").select("id", F.lit(1).alias("v"))
    return one.join(one, "id")
"""
    )
    land(project, "a", 1)
    error = project.run().error
    assert isinstance(error, DataError)
    assert error.condition == "COLUMN_ALREADY_EXISTS"


def test_a_wrong_option_of_a_source_is_found_before_anything_runs(project: Project) -> None:
    project.write(BRONZE.replace('"cloudFiles.format"', '"cloudFiles.fromat"'))
    land(project, "a", 1)
    error = project.run().error
    assert isinstance(error, PipelineError)
    assert error.condition == "CF_UNKNOWN_OPTION_KEYS_ERROR"
    assert error.location is not None
    assert error.location.line == 4
