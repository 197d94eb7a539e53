"""Which columns of a result say which rows it comes from, and what is not followed."""

from __future__ import annotations

from typing import Any

import pytest
from pyspark.sql import functions as F

from proa.graph.refresh_kinds import refresh_kinds
from proa.graph.row_origins import RowOrigins, row_origins
from proa.pipelines.ddl import parse_schema

SCHEMAS = {
    "t": "id long, k string, v long, ts timestamp, f double, c struct<z: string>",
    "names": "id long, k string, name string",
}


def landed(columns: str) -> Any:
    """A stream of files of these columns."""
    return lambda spark: (
        spark.readStream.format("cloudFiles")
        .option("cloudFiles.format", "json")
        .schema(columns)
        .load("/x")
    )


def origins_of(pipeline: Any, query: Any) -> RowOrigins:
    for name, columns in SCHEMAS.items():
        pipeline.streaming_table(name, landed(columns))
    pipeline.materialized_view("view", query)
    plan = pipeline.build().datasets["view"].flows[0].plan
    schemas = {leaf.key: parse_schema(SCHEMAS[leaf.dataset]) for leaf in plan.leaves}
    return row_origins(plan.template, schemas)


def columns_of(pipeline: Any, query: Any) -> dict[str, set[str]]:
    """For each column of a result that has origins: where they are."""
    found = origins_of(pipeline, query)
    return {
        name: {f"{leaf.split(':')[1]}: {text}" for leaf, text in origins.items()}
        for name, origins in found.columns.items()
    }


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        ("SELECT k, sum(v) AS s FROM t GROUP BY k", {"k": {"t: `k`"}}),
        ("SELECT k, sum(v) AS s FROM t GROUP BY ALL HAVING s > 1", {"k": {"t: `k`"}}),
        (
            "SELECT date_trunc('DAY', ts) AS d, count(*) AS n FROM t GROUP BY 1",
            {"d": {"t: DATE_TRUNC('DAY', `ts`)"}},
        ),
        (
            "SELECT to_date(ts) AS day, year(ts) AS y, max(f) AS m FROM t GROUP BY day, year(ts)",
            {"day": {"t: TO_DATE(`ts`)"}, "y": {"t: YEAR(`ts`)"}},
        ),
        ("SELECT upper(x.k) AS u, v + 1 AS w FROM t AS x WHERE v > 0", {
            "u": {"t: UPPER(`k`)"}, "w": {"t: `v` + 1"},
        }),
        ("SELECT c.z AS z, c['z'] AS y FROM t", {"z": {"t: `c`.`z`"}}),
        (
            "SELECT a.id, b.name FROM t a LEFT JOIN names b ON a.id = b.id",
            {"id": {"t: `id`", "names: `id`"}},
        ),
        (
            "SELECT a.id, b.name FROM t a JOIN names b ON a.k = b.k AND a.v > 1",
            {"id": {"t: `id`"}, "name": {"names: `name`"}},
        ),
        ("SELECT a.id, b.name FROM t a RIGHT JOIN names b USING (k)", {"name": {"names: `name`"}}),
        ("SELECT id FROM t LEFT ANTI JOIN names USING (id)", {"id": {"t: `id`", "names: `id`"}}),
        (
            "WITH x AS (SELECT k, v FROM t) SELECT x.k, y.v FROM x JOIN x AS y ON x.k = y.k",
            {"k": {"t: `k`"}},
        ),
        (
            "SELECT k, v FROM t QUALIFY row_number() OVER (PARTITION BY k ORDER BY v) = 1",
            {"k": {"t: `k`"}},
        ),
        ("SELECT k FROM t WHERE id IN (SELECT id FROM names)", {"k": {"t: `k`"}}),
        ("SELECT id FROM t UNION ALL SELECT id FROM names", {"id": {"t: `id`", "names: `id`"}}),
        ("SELECT DISTINCT k, k || 'x' AS y FROM t", {"k": {"t: `k`"}, "y": {"t: `k` || 'x'"}}),
        ("SELECT k, e FROM t LATERAL VIEW explode(array(1, v)) x AS e", {"k": {"t: `k`"}}),
        ("SELECT * EXCEPT (ts, f, c, v) FROM t", {"id": {"t: `id`"}, "k": {"t: `k`"}}),
        # Grouped by the time itself: the alias that the query gives means nothing there.
        ("SELECT to_date(ts) AS ts, count(*) AS n FROM t GROUP BY ts", {}),
        ("SELECT k, rand() AS r, concat(k, rand()) AS q FROM t", {"k": {"t: `k`"}}),
        ("SELECT a.id FROM t a JOIN t b ON a.id = b.v", {}),
        ("SELECT id FROM t WHERE id IN (SELECT v FROM t)", {}),
    ],
)  # fmt: skip
def test_columns_of_a_text_have_their_origins(
    pipeline: Any, query: str, columns: dict[str, set[str]]
) -> None:
    assert columns_of(pipeline, query) == columns


def frames() -> list[tuple[Any, dict[str, set[str]]]]:
    def joined(spark: Any) -> Any:
        t, names = spark.read.table("t"), spark.read.table("names")
        return t.join(names, t.id == names.id, "left").select(t.id, names.name)

    def grouped(spark: Any) -> Any:
        t = spark.read.table("t").where("v > 0").withColumn("day", F.to_date("ts"))
        return t.groupBy("day", F.col("k").alias("key")).agg(F.sum("v"), F.count("*"))

    def renamed(spark: Any) -> Any:
        t = spark.read.table("t").select("*", F.upper("k").alias("u")).drop("ts", "f", "c", "k")
        return t.withColumnRenamed("id", "ident").filter(F.col("v") > 1)

    def newest(spark: Any) -> Any:
        from pyspark.sql import Window

        window = Window.partitionBy("k").orderBy("v")
        t = spark.read.table("t").withColumn("n", F.row_number().over(window))
        return t.where("n = 1").select("k", "id")

    def cast(spark: Any) -> Any:
        return spark.read.table("t").select(F.col("ts").cast("date").alias("d"), "f").distinct()

    return [
        (joined, {"id": {"t: `id`", "names: `id`"}}),
        (grouped, {"day": {"t: to_date(`ts`)"}, "key": {"t: `k`"}}),
        (renamed, {"ident": {"t: `id`"}, "v": {"t: `v`"}, "u": {"t: upper(`k`)"}}),
        (newest, {"k": {"t: `k`"}}),
        (cast, {"d": {"t: CAST(`ts` AS DATE)"}, "f": {"t: `f`"}}),
    ]


@pytest.mark.parametrize(("query", "columns"), frames())
def test_columns_of_a_frame_have_their_origins(
    pipeline: Any, query: Any, columns: dict[str, set[str]]
) -> None:
    found = {
        name: {w.lower() for w in where} for name, where in columns_of(pipeline, query).items()
    }
    assert found == {name: {w.lower() for w in where} for name, where in columns.items()}


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("SELECT count(*) AS n FROM t", "without groups"),
        (lambda s: s.read.table("t").select(F.sum("v").cast("long").alias("s")), "without groups"),
        ("SELECT k FROM t LIMIT 3", "LIMIT"),
        (lambda s: s.read.table("t").limit(3), "limit"),
        ("SELECT k, count(*) AS n FROM t GROUP BY ROLLUP (k)", "ROLLUP"),
        ("SELECT a.k FROM t a FULL JOIN names b USING (id)", "full outer join"),
        ("SELECT k FROM t INTERSECT SELECT k FROM names", "INTERSECT"),
        (lambda s: s.read.table("t").select(F.udf(lambda k: k, "string")("k")), "Python"),
        ("SELECT k, sum(v) OVER () AS s FROM t", "no column"),
        ("SELECT sum(v) AS s FROM t GROUP BY k", "no column"),
    ],
)
def test_what_is_not_followed_is_said(pipeline: Any, query: Any, reason: str) -> None:
    found = origins_of(pipeline, query)
    assert not found.columns
    assert reason in found.reason


@pytest.mark.parametrize(
    ("query", "measures"),
    [
        (
            "SELECT k, sum(v) AS s, count(*) AS n, count(v) AS c, min(v) AS lo, count_if(v > 1) AS m FROM t GROUP BY k",
            {"s": "sum", "n": "rows", "c": "count", "lo": "min", "m": "count"},
        ),
        ("SELECT k, count(*) FILTER (WHERE v > 1) AS n FROM t GROUP BY k", {"n": "count"}),
        ("SELECT k AS a, sum(v) AS s FROM (SELECT * FROM t WHERE v > 0) GROUP BY k", {"s": "sum"}),
        ("SELECT k, count(DISTINCT v) AS n FROM t GROUP BY k", {}),
        ("SELECT k, sum(v) + 1 AS s FROM t GROUP BY k", {}),
        ("SELECT k, sum(v) AS s FROM t GROUP BY k HAVING sum(v) > 1", {}),
        ("SELECT k, sum(v) AS s FROM t GROUP BY k, id", {}),
        ("SELECT k, avg(v) AS s FROM t GROUP BY k", {}),
    ],
)
def test_sums_are_told_from_what_must_be_computed_anew(
    pipeline: Any, query: str, measures: Any
) -> None:
    assert dict(origins_of(pipeline, query).measures) == measures


@pytest.mark.parametrize(
    ("query", "additive"),
    [
        ("SELECT k FROM t WHERE v > 0", {"t"}),
        ("SELECT a.k FROM t a JOIN names b USING (id)", {"t", "names"}),
        ("SELECT a.k FROM t a LEFT JOIN names b USING (id)", {"t"}),
        ("SELECT k FROM t UNION ALL SELECT k FROM names", set()),
        ("SELECT DISTINCT k FROM t", set()),
        ("SELECT k, sum(v) AS s FROM t GROUP BY k", set()),
    ],
)
def test_rows_that_are_added_are_told_to_add_rows(
    pipeline: Any, query: str, additive: set[str]
) -> None:
    assert {leaf.split(":")[1] for leaf in origins_of(pipeline, query).additive} == additive


def test_a_graph_says_how_its_views_are_refreshed(pipeline: Any) -> None:
    pipeline.streaming_table("t", landed(SCHEMAS["t"]))
    pipeline.materialized_view("groups", "SELECT k, sum(v) AS s FROM t GROUP BY k")
    pipeline.materialized_view("floats", "SELECT f, count(*) AS n FROM t GROUP BY f")
    schemas = {
        "t": parse_schema(SCHEMAS["t"]),
        "groups": parse_schema("k string, s long"),
        "floats": parse_schema("f double, n long"),
    }
    graph = pipeline.build()
    found = refresh_kinds(graph, schemas)
    assert found["groups"].columns == ("k",)
    assert found["groups"].incremental
    assert not found["floats"].incremental
    assert "for keys" in found["floats"].why
    assert refresh_kinds(graph, {}) == {}
    assert not refresh_kinds(graph, schemas, {"groups"})["groups"].incremental
