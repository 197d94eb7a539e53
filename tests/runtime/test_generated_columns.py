"""Columns that a table computes (GENERATED ALWAYS AS) are computed in every batch and refresh."""

import pytest
from small_projects import Project, ok

from proa.errors import PipelineError

BRONZE = """
@dp.table
def bronze():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.schemaHints", "id long, v long")
        .load(spark.conf.get("landing_zone"))
    )
"""


def land(project: Project, name: str, *ids: int) -> None:
    project.land(f"{name}.json", [{"id": i, "v": i} for i in ids])


def test_a_table_computes_the_columns_that_its_schema_generates(project: Project) -> None:
    project.write(
        """
        @dp.table(
            schema="id BIGINT, twice STRING GENERATED ALWAYS AS (id * 2), v DOUBLE",
            partition_cols=["twice"],
        )
        def numbers():
            files = spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
            rows = files.load(spark.conf.get("landing_zone"))
            return rows.selectExpr("cast(id as bigint) as id", "cast(v as double) as v")
        """
    )
    project.write(
        """
        CREATE MATERIALIZED VIEW counts (
          twice STRING, n BIGINT, less INT GENERATED ALWAYS AS (n - 1)
        ) AS SELECT twice, count(*) AS n FROM numbers GROUP BY twice;
        """,
        "counts.sql",
    )
    land(project, "a", 1, 3)
    ok(project.run())
    land(project, "b", 2, 3)
    ok(project.run())
    assert project.rows("numbers", "id", "twice") == [(1, "2"), (2, "4"), (3, "6"), (3, "6")]
    assert project.rows("counts", "twice", "less") == [("2", 0), ("4", 0), ("6", 1)]


def test_a_target_of_changes_generates_no_columns(project: Project) -> None:
    project.write(
        BRONZE
        + """
dp.create_streaming_table("t", schema="id BIGINT, v BIGINT, w BIGINT GENERATED ALWAYS AS (v * 2)")
dp.create_auto_cdc_flow("t", "bronze", ["id"], "v")
"""
    )
    with pytest.raises(PipelineError, match="compute the column in the query") as refusal:
        project.runner().graph()
    assert refusal.value.condition == "UNSUPPORTED_FEATURE"
