"""What needs state that batches would decide is refused by name; what does not is let through."""

import pytest
from pyspark.sql import Window
from pyspark.sql import functions as F

from proa.errors import PipelineError, SourceLocation
from proa.graph import render
from proa.pipelines.definitions import AutoCdc, DatasetKind, SinkPlace, SnapshotCdc

A, B = "stream_a", "stream_b"


@pytest.fixture
def streams(pipeline):
    """Two streaming tables and a table that is none."""
    for name in (A, B):
        pipeline.streaming_table(name, f"SELECT * FROM STREAM read_files('/{name}')")
    pipeline.materialized_view("dim", "SELECT 1 AS id, 'x' AS name")
    return pipeline


def stream(spark, name=A):
    return spark.readStream.table(name)


REFUSED = {
    "aggregate() of a watermark": lambda s: (
        stream(s).withWatermark("t", "1 hour").select(F.max("a"))
    ),
    "aggregation of distinct rows": lambda s: stream(s).distinct().groupBy("a").count(),
    "distinct rows of an aggregation, and a stream": lambda s: (
        stream(s).dropDuplicates(["a"]).join(stream(s, B).groupBy("a").count(), "a")
    ),
    "within watermark": lambda s: stream(s).dropDuplicatesWithinWatermark(["a"]),
    "aggregation by no window": lambda s: stream(s).withWatermark("t", "1 hour").agg(F.sum("a")),
    "two with state": lambda s: stream(s).dropDuplicates(["a"]).distinct(),
    "a window in a cube": lambda s: (
        stream(s).withWatermark("t", "1 hour").cube(F.window("t", "1 hour"), "a").count()
    ),
    "sorting": lambda s: stream(s).orderBy("a"),
    "limit": lambda s: stream(s).limit(10),
    "offset": lambda s: stream(s).offset(10),
    "full outer": lambda s: stream(s).join(s.table("dim"), "id", "full"),
    "right outer": lambda s: stream(s).join(s.table("dim"), "id", "right"),
    "left outer of a table": lambda s: s.table("dim").join(stream(s), "id", "left"),
    "anti of a table": lambda s: s.table("dim").join(stream(s), "id", "anti"),
    "union with a table": lambda s: stream(s).union(s.table("dim")),
    "except": lambda s: stream(s).subtract(stream(s, B)),
    "intersect": lambda s: stream(s).intersect(stream(s, B)),
    "window": lambda s: stream(s).select(F.row_number().over(Window.partitionBy("b").orderBy("a"))),
    "window in withColumn": lambda s: stream(s).withColumn(
        "n", F.lag("a").over(Window.partitionBy("b").orderBy("a"))
    ),
    "subquery": lambda s: s.table("dim").filter(F.col("id") > stream(s).select("id").scalar()),
    "spark.sql": lambda s: s.sql("SELECT a FROM STREAM stream_a LIMIT 1"),
}

REFUSED_SQL = [
    "SELECT count(*) FROM STREAM(stream_a) WATERMARK t DELAY OF INTERVAL 1 HOUR",
    "SELECT a, count(*) FROM (SELECT DISTINCT a, b FROM STREAM stream_a) GROUP BY a",
    "SELECT count(*) FROM STREAM stream_a JOIN STREAM stream_b USING (id)",
    "SELECT a FROM STREAM(stream_a) ORDER BY a",
    "SELECT a FROM STREAM(stream_a) LIMIT 5",
    "SELECT a FROM STREAM(stream_a) HAVING count(*) > 1",
    "SELECT row_number() OVER (PARTITION BY a ORDER BY b) FROM STREAM(stream_a)",
    "SELECT a FROM STREAM(stream_a) QUALIFY row_number() OVER (ORDER BY b) = 1",
    "SELECT * FROM STREAM stream_a a FULL JOIN dim d ON a.id = d.id",
    "SELECT * FROM STREAM stream_a a RIGHT JOIN dim d ON a.id = d.id",
    "SELECT * FROM dim d LEFT JOIN STREAM stream_a a ON a.id = d.id",
    "SELECT * FROM STREAM stream_a UNION SELECT * FROM STREAM stream_b",
    "SELECT * FROM STREAM stream_a UNION ALL SELECT * FROM dim",
    "SELECT * FROM STREAM stream_a EXCEPT SELECT * FROM dim",
    "SELECT * FROM dim WHERE id IN (SELECT id FROM STREAM stream_a)",
    "SELECT (SELECT a FROM STREAM stream_a) AS x FROM dim",
    "(SELECT * FROM STREAM stream_a) LIMIT 3",
    "SELECT * FROM STREAM stream_a PIVOT (sum(v) FOR k IN ('x'))",
    "SELECT * FROM dim d, LATERAL (SELECT * FROM STREAM stream_a a WHERE a.id = d.id)",
    "SELECT * FROM STREAM stream_a a, LATERAL (SELECT * FROM STREAM stream_b)",
    "SELECT * FROM STREAM stream_a a ANTI JOIN (SELECT id FROM STREAM stream_b) b USING (id)",
]

RECOMPUTED = {
    "aggregation": lambda s: stream(s).groupBy("a").count(),
    "aggregate()": lambda s: stream(s).select(F.max("a")),
    "global agg": lambda s: stream(s).agg(F.sum("a")),
    "a window without a watermark": lambda s: stream(s).groupBy(F.window("t", "1 hour")).count(),
    "sorted groups": lambda s: stream(s).groupBy("a").count().orderBy("count").limit(3),
    "groups of groups": lambda s: stream(s).groupBy("a").count().groupBy("count").count(),
    "groups of a union": lambda s: stream(s).unionByName(stream(s, B)).groupBy("a").count(),
    "groups of a join with a table": lambda s: (
        stream(s).join(s.table("dim"), "id").cube("a").count()
    ),
    "rows beside groups": lambda s: stream(s).join(stream(s).groupBy("a").count(), "a"),
}
RECOMPUTED_SQL = [
    "SELECT a, count(*) FROM STREAM stream_a GROUP BY a",
    "SELECT count(*) FROM STREAM(stream_a)",
    "SELECT 1 + sum(a) AS s FROM STREAM(stream_a)",
    "SELECT product(a) FROM STREAM(stream_a)",
    "SELECT * FROM (SELECT a, max(b) FROM STREAM stream_a GROUP BY a)",
    "WITH c AS (SELECT * FROM STREAM stream_a) SELECT a, count(*) FROM c GROUP BY a",
    "WITH c AS (SELECT a, count(*) FROM STREAM stream_a GROUP BY a) SELECT * FROM c",
    "SELECT window(t, '1 hour'), count(*) FROM STREAM stream_a GROUP BY window(t, '1 hour')",
    "SELECT a, count(*) AS n FROM STREAM stream_a GROUP BY a HAVING n > 1 ORDER BY n LIMIT 3",
    "SELECT * FROM dim WHERE id > (SELECT avg(id) FROM STREAM stream_a)",
]

ALLOWED = {
    "removing duplicates": lambda s: stream(s).dropDuplicates(["a"]),
    "distinct": lambda s: stream(s).select("a").distinct().filter("a > 1"),
    "within watermark": lambda s: (
        stream(s).withWatermark("t", "1 hour").dropDuplicatesWithinWatermark(["a"])
    ),
    "watermark": lambda s: stream(s).withWatermark("t", "1 hour"),
    "window": lambda s: (
        stream(s).withWatermark("t", "1 hour").groupBy(F.window("t", "1 hour"), "a").count()
    ),
    "session": lambda s: (
        stream(s).withWatermark("t", "1 hour").groupBy(F.session_window("t", "1 hour")).count()
    ),
    "the event time itself": lambda s: (
        stream(s).withWatermark("t", "1 hour").groupBy("t").agg(F.max("a"))
    ),
    "spark.sql over a DataFrame": lambda s: s.sql("SELECT DISTINCT a FROM {d}", d=stream(s)),
    "sql, then DataFrame": lambda s: s.sql("SELECT * FROM STREAM stream_a").distinct(),
    "select": lambda s: stream(s).filter("a > 1").withColumn("b", F.col("a") + 1).drop("c"),
    "stream-static": lambda s: stream(s).join(s.table("dim"), "id"),
    "stream-static left": lambda s: stream(s).join(s.table("dim"), "id", "left"),
    "static-stream right": lambda s: s.table("dim").join(stream(s), "id", "right"),
    "semi": lambda s: stream(s).join(s.table("dim"), "id", "semi"),
    "union of streams": lambda s: stream(s).unionByName(stream(s, B)),
    "aggregated static side": lambda s: stream(s).join(
        s.table("dim").groupBy("id").agg(F.max("name")), "id"
    ),
    "windowed static side": lambda s: stream(s).join(
        s.table("dim").withColumn(
            "n", F.row_number().over(Window.partitionBy("name").orderBy("id"))
        ),
        "id",
    ),
    "sort within partitions": lambda s: stream(s).sortWithinPartitions("a"),
    "higher-order function": lambda s: stream(s).select(
        F.aggregate("xs", F.lit(0), lambda a, b: a + b), F.array_max("xs")
    ),
    "explode": lambda s: stream(s).select(F.explode("xs")),
}

ALLOWED_SQL = [
    "SELECT DISTINCT a FROM STREAM(stream_a)",
    "SELECT * FROM STREAM stream_a WATERMARK t DELAY OF INTERVAL 10 MINUTES",
    "SELECT * FROM STREAM(stream_a) WATERMARK t DELAY OF INTERVAL '1' HOUR AS a JOIN dim d USING (id)",
    (
        "SELECT window(t, '1 hour'), count(*) FROM STREAM stream_a WATERMARK t DELAY OF INTERVAL 5"
        " MINUTES GROUP BY window(t, '1 hour')"
    ),
    (
        "SELECT window.start, a FROM STREAM(stream_a) WATERMARK t DELAY OF INTERVAL 5 MINUTES AS s"
        " GROUP BY s.a, window(s.t, '2 hours', '1 hour') HAVING count(*) > 1"
    ),
    (
        "SELECT session_window.end FROM STREAM stream_a WATERMARK t DELAY OF INTERVAL 5 MINUTES"
        " WHERE a > 1 GROUP BY session_window(t, '1 hour'), upper(b)"
    ),
    "SELECT a, upper(b) FROM STREAM(stream_a) WHERE c > 1",
    "SELECT * FROM STREAM stream_a a JOIN dim d ON a.id = d.id",
    "SELECT * FROM STREAM stream_a a LEFT JOIN dim d USING (id)",
    "SELECT * FROM dim d RIGHT JOIN STREAM stream_a a USING (id)",
    "SELECT * FROM STREAM stream_a LEFT ANTI JOIN dim USING (id)",
    "SELECT * FROM STREAM stream_a WHERE id IN (SELECT max(id) FROM dim GROUP BY name)",
    "SELECT * FROM STREAM stream_a UNION ALL SELECT * FROM STREAM stream_b",
    "WITH d AS (SELECT id, max(x) n FROM dim GROUP BY id) SELECT * FROM STREAM stream_a JOIN d",
    "SELECT x.*, y FROM STREAM stream_a x LATERAL VIEW explode(xs) v AS y",
    "SELECT array_max(xs), reduce(xs, 0, (a, b) -> a + b), greatest(a, b) FROM STREAM stream_a",
    "SELECT * FROM (SELECT * FROM STREAM stream_a) a JOIN (SELECT * FROM dim LIMIT 3) d ON TRUE",
    "SELECT 'group by' AS first, count AS last FROM STREAM stream_a",
    "SELECT * FROM STREAM stream_a UNPIVOT (v FOR k IN (a, b))",
    "SELECT * FROM STREAM stream_a a, LATERAL (SELECT a.x + 1 AS y)",
    "SELECT * FROM STREAM stream_a a, LATERAL explode(a.xs) AS t(x)",
    "SELECT watermark, delay FROM STREAM stream_a WHERE watermark > delay",
]


@pytest.mark.parametrize("query", REFUSED.values(), ids=REFUSED.keys())
def test_state_over_a_stream_is_refused_in_dataframes(streams, query):
    streams.streaming_table("target", query)
    with pytest.raises(PipelineError) as caught:
        streams.build()
    assert caught.value.condition == "UNSUPPORTED_STREAMING_OPERATOR"
    assert caught.value.location is not None


@pytest.mark.parametrize("query", REFUSED_SQL)
def test_state_over_a_stream_is_refused_in_sql(streams, query):
    streams.streaming_table("target", query)
    with pytest.raises(PipelineError) as caught:
        streams.build()
    assert caught.value.condition == "UNSUPPORTED_STREAMING_OPERATOR"


@pytest.mark.parametrize("query", [*ALLOWED.values(), *ALLOWED_SQL])
def test_what_needs_no_state_is_allowed(streams, query):
    streams.streaming_table("target", query)
    assert "target" in streams.build().datasets


@pytest.mark.parametrize("query", [*RECOMPUTED.values(), *RECOMPUTED_SQL])
def test_groups_that_nothing_ends_are_about_all_rows(streams, query):
    streams.table("target", query)
    node = streams.build().datasets["target"]
    assert node.dataset.kind is DatasetKind.STREAMING_TABLE
    assert node.is_recomputed
    assert not node.flows[0].plan.streaming


SHARED = {
    "another flow": lambda p: p.flow("more", "target", stream),
    "a view below an operator with state": lambda p: (
        p.view("groups", lambda s: stream(s).groupBy("a").count()),
        p.streaming_table("third", lambda s: s.readStream.table("groups").distinct()),
    ),
    "a sink": lambda p: (
        p.dataset("out", DatasetKind.SINK, sink=SinkPlace("delta"), path="/out"),
        p.flow("more", "out", lambda s: stream(s).groupBy("a").count()),
    ),
    "changes of rows": lambda p: (
        p.streaming_table("third"),
        p.flow("more", "third", lambda s: stream(s).groupBy("a").count(), cdc=AutoCdc(("a",), "t")),
    ),
}


@pytest.mark.parametrize("declare", SHARED.values(), ids=SHARED.keys())
def test_groups_that_nothing_ends_have_a_table_of_their_own(streams, declare):
    streams.streaming_table("target", lambda s: stream(s).groupBy("a").count())
    declare(streams)
    with pytest.raises(PipelineError) as caught:
        streams.build()
    assert caught.value.condition == "UNSUPPORTED_STREAMING_OPERATOR"
    assert "table" in str(caught.value)


def test_groups_that_nothing_ends_may_be_a_snapshot(streams):
    streams.streaming_table("target")
    query = "SELECT a, count(*) AS n FROM STREAM stream_a GROUP BY a"
    streams.flow("more", "target", query, cdc=SnapshotCdc(("a",)))
    assert not streams.build().datasets["target"].is_recomputed


def test_a_graph_says_what_is_computed_from_all_rows(streams):
    streams.streaming_table("target", "SELECT count(*) FROM STREAM stream_a")
    graph = streams.build()
    assert "target  (streaming table, computed from all rows)" in render.text(graph)
    recomputed = {d["name"]: d["recomputed"] for d in render.as_object(graph)["datasets"]}
    assert recomputed == {"stream_a": False, "stream_b": False, "dim": True, "target": True}


def test_groups_that_nothing_ends_are_no_stream(streams):
    streams.streaming_table("target", lambda s: stream(s).groupBy("a").count())
    streams.streaming_table("reader", lambda s: stream(s, "target"))
    with pytest.raises(PipelineError, match="readChangeFeed") as caught:
        streams.build()
    assert caught.value.condition == "UNSUPPORTED_STREAMING_SOURCE"


def test_a_view_of_groups_that_nothing_ends_is_inlined(streams):
    streams.view("groups", lambda s: stream(s).groupBy("a").count())
    streams.streaming_table("target", lambda s: stream(s, "groups").filter("a > 1"))
    assert streams.build().datasets["target"].is_recomputed


def test_a_refusal_names_the_operator_the_line_and_the_remedy(streams):
    streams.streaming_table(
        "target",
        "SELECT a,\n  count(*)\nFROM STREAM stream_a WATERMARK t DELAY OF INTERVAL 1 HOUR\nGROUP BY CUBE (a)",
    )
    with pytest.raises(PipelineError) as caught:
        streams.build()
    assert str(caught.value) == (
        "[UNSUPPORTED_STREAMING_OPERATOR] GROUP BY over a stream would depend on how a region cuts"
        " its batches; group by a window of the watermark's column, or leave the watermark out: then"
        " the table is computed from all rows, and kept up to date (pipeline.sql:4)"
    )


def test_a_materialized_view_may_do_all_of_it(streams):
    streams.materialized_view(
        "target", "SELECT a, count(*) FROM stream_a JOIN stream_b USING (id) GROUP BY a ORDER BY a"
    )
    assert "target" in streams.build().datasets


def test_a_watermark_says_nothing_of_a_batch_and_is_not_passed_on(streams):
    streams.materialized_view(
        "target",
        "SELECT t, count(*)\nFROM stream_a WATERMARK t DELAY OF INTERVAL 1 HOUR AS a\nGROUP BY t",
    )
    (flow,) = streams.build().datasets["target"].flows
    text = flow.plan.template.with_relations.root.sql.query
    assert text == "SELECT t, count(*)\nFROM __proa_0  AS a\nGROUP BY t"


def test_sql_in_python_is_refused_at_its_own_line(streams):
    def query(spark):
        return spark.sql("""
            SELECT a
            FROM STREAM stream_a
            ORDER BY a
        """)

    streams.streaming_table("target", query)
    with pytest.raises(PipelineError) as caught:
        streams.build()
    assert caught.value.location == SourceLocation(__file__, query.__code__.co_firstlineno + 4)
