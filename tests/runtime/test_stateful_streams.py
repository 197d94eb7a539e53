"""Operators with state over streams: two regions hold the same rows, whenever each of them ran."""

import contextlib
from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from small_projects import Project, ok

from proa.clock import SystemClock
from proa.errors import DataError, PipelineError
from proa.formats.place import PLACE
from proa.landing.adoption import adopt_files
from proa.landing.delivery import Zone
from proa.runtime.maintenance import maintain
from proa.steps import Step, probing
from proa.testing import FakeClock, FaultProbe, Kill, Killed, LoseAnswer, When

BRONZE = """
zone = spark.conf.get("landing_zone")

@dp.table
def bronze():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.schemaHints", "id long, v long, ts timestamp").load(zone + "/events")
    )

def events():
    return spark.readStream.table("bronze").withWatermark("ts", "10 minutes")
"""
PYTHON = (
    BRONZE
    + """
@dp.temporary_view
def doubled():
    return spark.readStream.table("bronze").withColumn("v", F.col("v") * 2)

@dp.table
def first():
    return events().dropDuplicates(["id"]).select("id", "v")

@dp.table
def again():
    return events().dropDuplicatesWithinWatermark(["id"]).select("id", "v")

@dp.table
def by_window():
    return (
        events().groupBy(F.window("ts", "10 minutes", "5 minutes"), "id")
        .agg(F.sum("v").alias("total"), F.countDistinct("v").alias("n"))
        .select(F.col("window.start").alias("at"), "id", "total", "n")
    )

@dp.table
def by_session():
    return (
        spark.readStream.table("doubled").withWatermark("ts", "1 minute").filter("v > 2")
        .groupBy(F.session_window("ts", "4 minutes").alias("w"), (F.col("id") % 2).alias("odd"))
        .agg(F.sum("v").alias("total")).select("w.start", "w.end", "odd", "total")
    )
"""
)
SQL = """
CREATE OR REFRESH STREAMING TABLE ids AS SELECT DISTINCT id FROM STREAM bronze;

CREATE OR REFRESH STREAMING TABLE windows AS
SELECT window.start AS at, id AS who, count(*) AS n
FROM STREAM(bronze) WATERMARK ts DELAY OF INTERVAL 10 MINUTES AS b
WHERE b.v > 1
GROUP BY window(b.ts, '5 minutes'), b.id
HAVING count(*) > 0;

CREATE OR REFRESH STREAMING TABLE sessions AS
SELECT session_window.start AS at, session_window.end AS until, sum(v) AS total
FROM STREAM bronze WATERMARK ts DELAY OF INTERVAL '1' MINUTE
GROUP BY session_window(ts, '4 minutes'), id % 2;
"""
TABLES = ["first", "again", "by_window", "by_session", "ids", "windows", "sessions"]


def at(minutes: int) -> str:
    return f"2026-01-01T{minutes // 60:02}:{minutes % 60:02}:00Z"


SHIPMENTS = [
    [
        {"id": (number * 5 + row) % 4, "v": row + number % 3, "ts": at(number * 7 - row * 6 + 30)}
        for row in range(4)
    ]
    for number in range(9)
]


def contents(project: Project, tables=TABLES):
    return {name: project.rows(name) for name in tables}


@pytest.mark.slow
def test_a_region_that_ran_after_each_shipment_equals_one_that_ran_once(region):
    often, late = region("often"), region("late")
    for rows in SHIPMENTS:
        often.ship("events", rows)
        late.ship("events", rows)
        ok(often.run())
    ok(late.run())
    assert contents(often) == contents(late)
    assert all(contents(late).values())
    names = [field.name for field in late.table("bronze").schema().fields]
    assert names == ["id", "ts", "v", "_rescued_data"]


ONE = (
    BRONZE
    + """
@dp.table
@dp.expect_or_drop("positive", "total >= 0")
def by_window():
    return (
        events().groupBy(F.window("ts", "5 minutes"), "id").agg(F.sum("v").alias("total"))
        .select("window.start", "id", "total")
    )
"""
)


@pytest.mark.slow
@pytest.mark.parametrize("moment", [1, 2])
@pytest.mark.parametrize(
    "step",
    [Step.PLAN_PUT, Step.COMPUTE_WRITE, Step.STREAM_STATE_PUT, Step.TABLE_CREATE, Step.COMMIT],
)
def test_a_crash_at_any_step_counts_no_row_twice(region, step, moment):
    whole = region("whole", ONE, "")
    crashing = region("crashing", ONE, "")
    for number, rows in enumerate(SHIPMENTS[:6]):
        whole.ship("events", rows)
        crashing.ship("events", rows)
        faults = [Kill(step, When.BEFORE, moment), Kill(step, When.AFTER, moment)]
        fault = [*faults, LoseAnswer(step, moment)][number % 3]
        with contextlib.suppress(Killed), probing(FaultProbe(fault)):
            crashing.run()
    ok(whole.run())
    ok(crashing.run())
    tables = ["bronze", "by_window"]
    assert contents(whole, tables) == contents(crashing, tables)
    assert whole.rows("by_window")


def test_straight_from_files_a_row_is_the_first_of_its_key_by_its_shipment(region):
    project = region(
        "one",
        """
        @dp.table
        def first():
            files = spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
            rows = files.option("cloudFiles.schemaHints", "id long, v long").load(
                spark.conf.get("landing_zone") + "/events")
            return rows.dropDuplicates(["id"])
        """,
        "",
    )
    for value in (3, 1, 2):
        project.ship("events", [{"id": 1, "v": value}, {"id": value + 1, "v": 0}])
    ok(project.run())
    assert project.rows("first", "id", "v") == [(1, 3), (2, 0), (3, 0), (4, 0)]


def test_a_zone_without_a_manifest_is_refused_with_the_remedy(region):
    project = region(
        "one", BRONZE + "\n@dp.table\ndef first():\n    return events().distinct()\n", ""
    )
    project.land("events/1.json", [{"id": 1, "v": 1, "ts": at(1)}])
    error = project.run().error
    assert isinstance(error, DataError)
    assert error.condition == "STREAM_WITHOUT_ORDER"
    assert "manifest" in str(error)


@pytest.mark.slow
def test_a_table_from_before_its_reader_is_refreshed_first(region):
    project = region("one", BRONZE, "")
    project.ship("events", SHIPMENTS[0])
    ok(project.run())
    project.write(ONE)
    error = project.run().error
    assert isinstance(error, DataError)
    assert error.condition == "STREAM_WITHOUT_ORDER"
    ok(project.run(full_refresh_all=True))


@pytest.mark.slow
def test_a_changed_operator_asks_for_a_full_refresh(region):
    project = region("one", ONE, "")
    project.ship("events", SHIPMENTS[0])
    ok(project.run())
    project.ship("events", SHIPMENTS[5])
    project.write(ONE.replace('"5 minutes"', '"10 minutes"'))
    error = project.run().error
    assert isinstance(error, DataError)
    assert error.condition == "STREAMING_STATE_DRIFT"
    ok(project.run(full_refresh=["by_window"]))
    assert project.rows("by_window")


def test_a_query_that_names_other_columns_has_them_or_asks_for_a_full_refresh(region):
    """What a query does not name is not remembered; keys are enough to tell duplicates."""
    pipeline = (
        BRONZE
        + """
@dp.table
def first():
    return events().dropDuplicatesWithinWatermark(["id"]).select("id"%s)

@dp.table
def by_window():
    return events().groupBy(F.window("ts", "5 minutes"), "id").agg(%s.alias("found"))
"""
    )
    project = region("one", pipeline % ("", 'F.count("*")'), "")
    project.ship("events", [{"id": n, "v": n, "ts": at(n)} for n in range(3)])
    ok(project.run())
    project.write(pipeline % (', "v"', 'F.count("*")'))
    project.ship("events", [{"id": n, "v": n, "ts": at(n + 30)} for n in range(2, 4)])
    ok(project.run())
    assert project.rows("first", "id", "v") == [*((n, None) for n in range(3)), (3, 3)]
    project.write(pipeline % (', "v"', 'F.max("v")'))
    project.ship("events", [{"id": 9, "v": 9, "ts": at(90)}])
    error = project.run().error
    assert isinstance(error, DataError)
    assert error.condition == "STREAMING_STATE_DRIFT"
    assert "'v'" in str(error)
    ok(project.run(full_refresh=["by_window"]))
    assert project.rows("by_window", "found") == [0, 1, 2, 2, 3]


@pytest.mark.parametrize(
    "found",
    [
        'F.expr("max(v * 2)")',
        'F.countDistinct("v", "n")',
        'F.max("s.x")',
        'F.sum(F.when(F.col("n") > 1, F.col("v")))',
    ],
)
def test_columns_that_are_not_named_are_those_that_do_not_count(region, found):
    """The result over rows that came once is that of all of them, whatever is left out on the way."""
    query = """
@dp.%s
def %s():
    rows = %s.filter("n > 0")
    return rows.groupBy(F.window("ts", "5 minutes"), "id").agg(%s.alias("found"))
"""
    pipeline = BRONZE.replace("v long,", "v long, n long, s struct<x: long>,")
    pipeline += query % ("table", "streamed", "events()", found)
    pipeline += query % ("materialized_view", "whole", 'spark.read.table("bronze")', found)
    project = region("one", pipeline, "")
    project.ship(
        "events",
        [{"id": k, "v": k * 7, "n": k, "s": {"x": k}, "u": "u", "ts": at(k)} for k in (1, 2, 3, 3)],
    )
    project.ship("events", [{"id": 1, "v": 1, "n": 0, "ts": at(90)}])
    ok(project.run())
    assert project.rows("streamed", "id", "found") == project.rows("whole", "id", "found")
    assert len(project.rows("streamed")) == 3


def test_a_value_that_does_not_fit_a_column_that_is_not_named_loses_no_row(region):
    project = region(
        "one",
        BRONZE.split("@dp.table", maxsplit=1)[0]
        + """
@dp.table
def once():
    rows = (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .schema("id long, v long, ts timestamp").load(zone + "/events")
    )
    return rows.withWatermark("ts", "1 minute").dropDuplicatesWithinWatermark(["id"]).select("id")
""",
        "",
    )
    project.ship("events", [{"id": 1, "v": "text", "ts": at(1)}, {"id": 2, "v": {}, "ts": at(1)}])
    project.ship("events", [{"id": "text", "v": 1, "ts": at(1)}, {"id": 1, "v": 1, "ts": at(1)}])
    ok(project.run())
    assert project.rows("once", "id") == [1, 2, None]


@pytest.mark.slow
def test_places_survive_maintenance_and_old_states_do_not(region):
    project, other = region("one", ONE, ""), region("other", ONE, "")
    for rows in [*SHIPMENTS, *SHIPMENTS]:
        project.ship("events", rows)
        other.ship("events", rows)
        ok(project.run())
    project.clock = FakeClock(SystemClock().now() + timedelta(days=40))
    states = Path(project.storage, "tables/by_window/_proa_state")
    before = len(list(states.rglob("*.json")))
    with project.runner() as runner:
        list(maintain(runner))
    assert len(list(states.rglob("*.json"))) < before
    files = project.table("bronze").file_uris()
    assert len(files) < 18
    assert all(PLACE in pq.read_schema(file).names for file in files)
    project.write(PYTHON)
    project.write(SQL, "more.sql")
    other.write(PYTHON)
    other.write(SQL, "more.sql")
    ok(project.run())
    ok(other.run())
    tables = [name for name in TABLES if name != "by_window"]
    assert contents(project, tables) == contents(other, tables)


def test_columns_may_be_chosen_behind_the_watermark_and_by_their_table(region):
    project = region(
        "one",
        BRONZE
        + """
@dp.table
def days():
    return events().select(F.to_date("ts").alias("day"), "ts").select("ts", "day").distinct()

@dp.table
def counts():
    rows = spark.readStream.table("bronze")
    timed = rows.withWatermark("ts", "10 minutes").filter(rows.v >= 0)
    return timed.groupBy(F.window(rows.ts, "5 minutes"), rows.id).count()
""",
        "",
    )
    project.ship("events", [{"id": 1, "v": 1, "ts": at(minute)} for minute in (1, 1, 2)])
    project.ship("events", [{"id": 1, "v": 1, "ts": at(60)}])
    ok(project.run())
    assert len(project.rows("days")) == 3
    assert project.rows("counts", "id", "count") == [(1, 3)]


@pytest.mark.slow
def test_columns_may_have_any_names(region):
    project = region(
        "one",
        BRONZE
        + """
@dp.table
def windows():
    rows = events().select("id", "ts", *[F.lit(1).alias(name) for name in ("s", "n", "w", "m", "i")])
    return rows.groupBy(F.window("ts", "5 minutes"), "i").agg(F.sum("w").alias("total"))

@dp.table
def spells():
    rows = events().select("ts", F.col("id").alias("session"), F.col("v").alias("begins"))
    return rows.groupBy(F.session_window("ts", "5 minutes"), "session").agg(F.sum("begins"))
""",
        "",
    )
    project.ship("events", [{"id": 1, "v": 1, "ts": at(minute)} for minute in (1, 1, 2)])
    project.ship("events", [{"id": 1, "v": 1, "ts": at(60)}])
    ok(project.run())
    assert project.rows("windows", "i", "total") == [(1, 3)]
    assert project.rows("spells", "session") == [1]


@pytest.mark.slow
def test_a_text_may_hold_queries_in_queries(region):
    project = region(
        "one",
        BRONZE,
        """
        CREATE OR REFRESH STREAMING TABLE named AS
        WITH c AS (
            SELECT id, ts FROM STREAM bronze WATERMARK ts DELAY OF INTERVAL 3 MINUTES WHERE v >= 0
        ), d AS (SELECT c.*, id + 1 AS more FROM c)
        SELECT more, window(ts, '10 minutes') AS w, count(*) AS n FROM d GROUP BY more, w;

        CREATE OR REFRESH STREAMING TABLE inner_query AS
        SELECT DISTINCT id FROM (SELECT id, v FROM STREAM(bronze)) WHERE v > 0;
        """,
    )
    project.ship("events", [{"id": 1, "v": 1, "ts": at(minute)} for minute in (1, 1, 2)])
    project.ship("events", [{"id": 2, "v": 1, "ts": at(60)}])
    ok(project.run())
    assert project.rows("named", "more", "n") == [(2, 3)]
    assert project.rows("inner_query", "id") == [1, 2]


REFUSED = {
    "over another": (
        "events().dropDuplicates(['id']).groupBy(F.window('ts', '1 hour')).count()",
        "streaming table of its own",
    ),
    "another column": (
        "events().withColumn('t', F.col('ts')).groupBy(F.window('t', '1 hour')).count()",
        "very column",
    ),
    "a changed column": (
        (
            "events().withColumn('ts', F.col('ts') + F.expr('INTERVAL 1 HOUR'))"
            ".groupBy(F.window('ts', '1 hour')).count()"
        ),
        "very column",
    ),
    "no watermark": (
        "spark.readStream.table('bronze').dropDuplicatesWithinWatermark(['id'])",
        "withWatermark",
    ),
    "rollup": ("events().rollup(F.window('ts', '1 hour'), 'id').count()", "window"),
    "months": ("events().groupBy(F.window('ts', 'a while')).count()", "duration"),
    "two streams": (
        (
            "spark.readStream.table('bronze').union(spark.readStream.table('silver'))"
            ".dropDuplicates(['id'])"
        ),
        "one source",
    ),
    "no place": (
        "spark.readStream.table('mapped').dropDuplicates(['id'])",
        "materialized view",
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_what_has_no_meaning_is_refused_by_name(region, case):
    query, remedy = case
    text = (
        BRONZE
        + f"""
@dp.table
def silver():
    return spark.readStream.format("cloudFiles").option("cloudFiles.format", "json").option(
        "cloudFiles.schemaHints", "id long, v long, ts timestamp").load(zone + "/others")

@dp.table
def mapped():
    return spark.readStream.table("bronze").mapInArrow(lambda b: b, "id long, v long")

@dp.table
def target():
    return {query}
"""
    )
    project = region("one", text, "")
    project.ship("events", SHIPMENTS[0])
    result = project.run()
    assert isinstance(result.error, PipelineError)
    assert result.error.condition == "UNSUPPORTED_STREAMING_OPERATOR"
    assert remedy in str(result.error)
    assert "pipeline.py:" in str(result.error)


@pytest.mark.slow
def test_a_folder_that_was_adopted_is_not_read_twice_and_has_an_order(region):
    project = region("one", BRONZE, "")
    project.land("events/1.json", [{"id": 1, "v": 1, "ts": at(1)}])
    ok(project.run())
    zones = [Zone("east", f"{project.base}/landing")]
    project.land("events/2.json", [{"id": 2, "v": 1, "ts": at(2)}])
    adopt_files("events", zones, project.clock)
    ok(project.run())
    project.land("events/3.json", [{"id": 3, "v": 1, "ts": at(3)}])
    ok(project.run())
    assert project.rows("bronze", "id") == [1, 2]
    adopt_files("events", zones, project.clock)
    ok(project.run())
    assert project.rows("bronze", "id") == [1, 2, 3]
    project.write(BRONZE + "\n@dp.table\ndef first():\n    return events().dropDuplicates(['v'])\n")
    ok(project.run(full_refresh_all=True))
    assert project.rows("first", "id") == [1]


@pytest.mark.slow
def test_a_view_may_have_the_operator(region):
    project = region(
        "one",
        BRONZE,
        """
        CREATE TEMPORARY VIEW spells AS
        SELECT session_window.start AS at, upper(CAST(id AS STRING)) AS who, count(*) AS n
        FROM STREAM bronze WATERMARK ts DELAY OF INTERVAL 1 MINUTE
        GROUP BY session_window(ts, '4 minutes'), upper(CAST(id AS STRING));

        CREATE OR REFRESH STREAMING TABLE long_spells AS
        SELECT who, n FROM STREAM(spells) WHERE n > 1;
        """,
    )
    project.ship("events", [{"id": 1, "v": 1, "ts": at(minute)} for minute in (1, 4, 20, 40)])
    project.ship("events", [{"id": 2, "v": 1, "ts": at(60)}])
    ok(project.run())
    assert project.rows("long_spells", "who", "n") == [("1", 2)]


@pytest.mark.slow
def test_state_lies_in_an_object_store_as_well(make, s3_location, region):
    remote, local = make(s3_location), region("local", ONE, "")
    remote.write(ONE)
    for rows in SHIPMENTS[:5]:
        remote.ship("events", rows)
        local.ship("events", rows)
        ok(remote.run())
    ok(local.run())
    assert remote.rows("by_window") == local.rows("by_window")
    assert remote.rows("by_window")


ARRIVALS = """
zone = spark.conf.get("landing_zone")

@dp.table
def arrivals():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json").load(zone + "/events")
        .withColumn("shipment", F.col("_metadata.shipment"))
        .withColumn("row", F.col("_metadata")["row_index"])
        .select("id", "shipment", F.col("_metadata.file_index").alias("file"), "row", "_metadata.shipped_at")
    )

@dp.table
def whole():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json").load(zone + "/events")
        .select("id", "_metadata").select("id", "_metadata.shipment", "_metadata.file_name", "_metadata.row_index")
    )
"""
ARRIVALS_SQL = """
CREATE MATERIALIZED VIEW newest AS SELECT id, v, shipped FROM (
  SELECT *, _metadata.shipped_at AS shipped FROM read_files('${landing_zone}/events', format => 'json')
) QUALIFY row_number() OVER (PARTITION BY id ORDER BY shipped DESC, v) = 1;

CREATE MATERIALIZED VIEW last_rows AS
SELECT id, _metadata.shipment, _metadata.row_index AS r FROM read_files('${landing_zone}/events', format => 'json')
WHERE _metadata.shipment > 1;
"""


@pytest.mark.slow
def test_rows_have_the_same_places_in_both_regions(region):
    east, west = (region(name, ARRIVALS, ARRIVALS_SQL) for name in ("east", "west"))
    for number in range(4):
        rows = [{"id": i, "v": number} for i in range(number, -1, -1)]
        for project in (east, west):
            project.ship("events", rows)
        ok(east.run())
    ok(west.run())
    for table in ("arrivals", "whole", "newest", "last_rows"):
        assert sorted(map(str, east.rows(table))) == sorted(map(str, west.rows(table)))
    places = [
        (row["shipment"], row["file"], row["row"], int(row["id"])) for row in west.rows("arrivals")
    ]
    assert sorted(places) == [(n + 1, 0, n - i, i) for n in range(4) for i in range(n, -1, -1)]
    assert len({str(row["shipped_at"]) for row in west.rows("arrivals")}) == 4
    assert {row["v"] for row in west.rows("newest")} == {3}
    assert len(west.rows("last_rows")) == 9


def test_a_place_without_a_manifest_is_refused_at_its_query(region):
    project = region("east", ARRIVALS, "")
    project.land("events/1.json", [{"id": 1, "v": 1}])
    error = project.run().error
    assert isinstance(error, PipelineError)
    assert "_metadata.file_index, because no manifest" in str(error)
