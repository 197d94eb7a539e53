"""Joins of two streams: the rows of a plain definition, whenever a region ran."""

import contextlib

import pytest
from small_projects import Project, ok

from proa.errors import PipelineError
from proa.steps import Step, probing
from proa.testing import FaultProbe, Kill, Killed, LoseAnswer, When

STREAMS = """
zone = spark.conf.get("landing_zone")

def files(name):
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.schemaHints", "id long, v long, ts timestamp").load(f"{zone}/{name}")
    )

@dp.table
def shows():
    return files("shows").select("id", "v", "ts")

@dp.table
def clicks():
    return files("clicks").select("id", "v", "ts")

def show():
    return spark.readStream.table("shows").withWatermark("ts", "10 minutes")

def click():
    return spark.readStream.table("clicks").withWatermark("ts", "20 minutes")
"""
PYTHON = (
    STREAMS
    + """
@dp.table
def inner_rows():
    a, b = show().alias("a"), click().alias("b")
    near = F.expr("a.id = b.id AND b.ts BETWEEN a.ts AND a.ts + INTERVAL 15 MINUTES")
    return a.join(b, near).select("a.id", F.col("a.v").alias("v"), F.col("b.v").alias("w"))

@dp.table
def left_rows():
    a, b = show(), click()
    near = (a.id == b.id) & (b.ts >= a.ts) & (b.ts <= a.ts + F.expr("INTERVAL 15 MINUTES"))
    return a.join(b, near, "leftOuter").select(a.id, a.v, b.v.alias("w"))

@dp.table
def windows():
    a = show().select("id", F.window("ts", "30 minutes").alias("w"), F.col("v").alias("a"))
    b = click().select("id", F.window("ts", "30 minutes").alias("w"), F.col("v").alias("b"))
    return a.join(b, ["id", "w"], "full").select("id", "a", "b")

@dp.table
def twice():
    a = show().select(F.col("id").alias("x"), F.col("ts").alias("t"), F.col("v").alias("a"))
    b = show().select(F.col("id").alias("y"), F.col("ts").alias("u"), F.col("v").alias("b"))
    near = F.expr("x = y AND t < u AND u <= t + INTERVAL 30 MINUTES")
    return a.join(b, near, "right").drop("t", "u")
"""
)
SQL = """
CREATE OR REFRESH STREAMING TABLE sql_rows AS
SELECT a.id, a.v, b.v AS w
FROM STREAM(shows) WATERMARK ts DELAY OF INTERVAL 10 MINUTES AS a
FULL JOIN STREAM(clicks) WATERMARK ts DELAY OF INTERVAL 20 MINUTES AS b
ON a.id = b.id AND b.ts BETWEEN a.ts AND a.ts + INTERVAL 15 MINUTES
WHERE coalesce(a.v, b.v) >= 0 -- all of them
;

CREATE OR REFRESH STREAMING TABLE pairs AS
SELECT id, a.v, b.v AS w FROM STREAM shows AS a JOIN STREAM clicks AS b USING (id);
"""
TABLES = ["inner_rows", "left_rows", "windows", "twice", "sql_rows", "pairs"]


def at(minutes: int) -> str:
    return f"2026-01-01T{minutes // 60:02}:{minutes % 60:02}:00Z"


def shipment(number: int, first: int) -> list[dict]:
    return [
        {
            "id": (number * 3 + row) % 3,
            "v": first + number * 10 + row,
            "ts": at(max(0, number * 17 - row * 11 + first // 100)),
        }
        for row in range(4)
    ]


def contents(project: Project, tables=TABLES):
    return {name: project.rows(name) for name in tables}


@pytest.mark.slow
def test_a_region_that_ran_after_each_shipment_equals_one_that_ran_once(region):
    often, late = region("often"), region("late")
    for number in range(7):
        for name, first in (("shows", 0), ("clicks", 1000)):
            for project in (often, late):
                project.ship(name, shipment(number, first))
            ok(often.run())
    ok(late.run())
    assert contents(often) == contents(late)
    assert all(contents(late).values())


@pytest.mark.slow
@pytest.mark.parametrize("moment", [1, 2])
@pytest.mark.parametrize(
    "step",
    [Step.PLAN_PUT, Step.TABLE_CREATE, Step.COMPUTE_WRITE, Step.STREAM_STATE_PUT, Step.COMMIT],
)
def test_a_crash_at_any_step_makes_no_pair_twice(region, step, moment):
    text = PYTHON.partition("@dp.table\ndef windows")[0]
    whole, crashing = region("whole", text, ""), region("crashing", text, "")
    for number in range(4):
        for name, first in (("shows", 0), ("clicks", 1000)):
            for project in (whole, crashing):
                project.ship(name, shipment(number, first))
        faults = [Kill(step, When.BEFORE, moment), Kill(step, When.AFTER, moment)]
        fault = [*faults, LoseAnswer(step, moment)][number % 3]
        with contextlib.suppress(Killed), probing(FaultProbe(fault)):
            crashing.run()
    ok(whole.run())
    ok(crashing.run())
    tables = ["inner_rows", "left_rows"]
    assert contents(whole, tables) == contents(crashing, tables)
    assert all(contents(whole, tables).values())


@pytest.mark.slow
def test_state_of_a_join_lies_in_an_object_store_as_well(make, s3_location, region):
    text = PYTHON.partition("@dp.table\ndef windows")[0]
    remote, local = make(s3_location), region("local", text, "")
    remote.write(text)
    for number in range(3):
        for name, first in (("clicks", 1000), ("shows", 0)):
            for project in (remote, local):
                project.ship(name, shipment(number, first))
        ok(remote.run())
    ok(local.run())
    tables = ["inner_rows", "left_rows"]
    assert contents(remote, tables) == contents(local, tables)
    assert all(contents(remote, tables).values())


REFUSED = {
    "outer without bounds": ("show().join(click(), 'id', 'left')", "how far apart"),
    "outer without a watermark": (
        "spark.readStream.table('shows').join(click(), ['id', 'ts'], 'left')",
        "watermark",
    ),
    "semi": ("show().join(click(), ['id', 'ts'], 'left_semi')", "inner, left, right or full"),
    "over another": (
        "show().join(click(), ['id', 'ts']).groupBy(F.window('ts', '1 hour')).count()",
        "streaming table of its own",
    ),
    "three": (
        "show().join(click(), ['id', 'ts']).join(show(), ['id', 'ts'])",
        "streaming table of its own",
    ),
}


JOINED = "STREAM shows AS a JOIN STREAM clicks AS b USING (id)"
REFUSED_SQL = {
    **{
        f"{clause}{' and WHERE' if where else ''}": (
            f"SELECT id, a.v FROM {JOINED} {where} {clause}",
            "materialized view",
        )
        for clause in ("ORDER BY id", "SORT BY id", "CLUSTER BY id", "DISTRIBUTE BY id", "LIMIT 3")
        for where in ("", "WHERE a.v > 0")
    },
    "CTE": (
        "WITH a AS (SELECT * FROM STREAM shows) SELECT id, a.v FROM a JOIN STREAM clicks AS b USING (id)",
        "view or a streaming table of its own",
    ),
    "subqueries": (
        "SELECT id, a.v FROM (SELECT * FROM STREAM shows) a JOIN (SELECT * FROM STREAM clicks) b USING (id)",
        "view or a streaming table of its own",
    ),
}


@pytest.mark.parametrize("case", REFUSED_SQL.values(), ids=REFUSED_SQL.keys())
def test_a_text_whose_join_cannot_be_cut_is_refused_by_name(region, case):
    query, remedy = case
    sql = f"CREATE OR REFRESH STREAMING TABLE target AS {query}"
    error = region("one", STREAMS, sql).run().error
    assert isinstance(error, PipelineError)
    assert error.condition == "UNSUPPORTED_STREAMING_OPERATOR"
    assert remedy in str(error)


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_what_has_no_meaning_is_refused_by_name(region, case):
    query, remedy = case
    project = region("one", STREAMS + f"\n@dp.table\ndef target():\n    return {query}\n", "")
    project.ship("shows", shipment(0, 0))
    error = project.run().error
    assert isinstance(error, PipelineError)
    assert error.condition == "UNSUPPORTED_STREAMING_OPERATOR"
    assert remedy in str(error)
    assert "pipeline.py:" in str(error)
