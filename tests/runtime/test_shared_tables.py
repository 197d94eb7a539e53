"""Columns' types and tables' names: flows that share a table, and names of any kind."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql.types import LongType, StructField, StructType
from small_projects import Project, ok

from proa.lake import Change, Table, commit_change, write_rows
from proa.lake.table_schema import to_arrow
from proa.steps import Step, probing

BRONZE = """
@dp.table
def bronze():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.schemaHints", "id long")
        .load(spark.conf.get("landing_zone"))
    )
"""


def test_flows_that_make_a_table_together_agree_on_its_types(project: Project) -> None:
    project.write(
        BRONZE
        + """
dp.create_streaming_table("all", table_properties={"delta.enableTypeWidening": "true"})

@dp.append_flow(target="all")
def long():
    return spark.readStream.table("bronze").selectExpr("cast(id as bigint) as id")

@dp.append_flow(target="all", once=True)
def short():
    return spark.createDataFrame([(7,)], "id int")

@dp.materialized_view
def copy():
    return spark.read.table("all")
"""
    )
    project.land("a.json", [{"id": 1}])
    ok(project.run())
    assert project.rows("copy", "id") == [1, 7]


class GivesOtherTypes:
    """Another flow, which gives the table of a batch a wider type before that is committed."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def before(self, step: Step) -> None:
        if step is Step.COMMIT and self._table.version < 0:
            self._table.refresh()
            wide = StructType([StructField("id", LongType())])
            rows = pa.table({"id": pa.array([1], pa.int64())}, schema=to_arrow(wide))
            file = write_rows(rows, self._table.url, {}, "other")
            commit_change(self._table, Change("other", 0, "other", 0, [file], schema=wide))

    def after(self, step: Step) -> None:
        pass


def test_a_batch_is_written_once_more_when_its_table_was_given_other_types(
    project: Project,
) -> None:
    project.write(
        """
dp.create_streaming_table("all")

@dp.append_flow(target="all", once=True)
def short():
    return spark.createDataFrame([(7,)], "id int")

@dp.materialized_view
def copy():
    return spark.read.table("all")
"""
    )
    other = Table.at(f"{project.storage}/tables/all", {})
    with probing(GivesOtherTypes(other)):
        ok(project.run())
    other.refresh()
    for file in other.files():
        assert pq.read_schema(file) == to_arrow(other.schema)
    assert project.rows("copy", "id") == [1, 7]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["odd name", "ünïcode", "my-table", "50%", "a~b"])
def test_a_table_of_any_name_is_written_again_and_again(project: Project, name: str) -> None:
    project.write(
        f"CREATE OR REFRESH STREAMING TABLE `{name}` AS SELECT CAST(id AS INT) AS id FROM STREAM"
        " read_files('${landing_zone}/x', format => 'json', schemaHints => 'id int');"
        f" CREATE OR REFRESH MATERIALIZED VIEW copy AS SELECT * FROM `{name}`",
        "odd.sql",
    )
    for number in (1, 2):
        project.land(f"x/{number}.json", [{"id": number}])
        ok(project.run())
    assert project.rows("copy", "id") == [1, 2]
