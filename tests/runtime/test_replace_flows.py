"""Replace flows: rows take the place of those with the same key, unless these are newer."""

from __future__ import annotations

from collections import Counter

import pytest
from small_projects import Project, ok

BRONZE = """
@dp.table
def bronze():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.schemaHints", "id long, line long, n long")
        .load(spark.conf.get("landing_zone")).drop("_rescued_data")
    )
"""
PYTHON = """
dp.create_streaming_table("t", table_properties={"delta.enableChangeDataFeed": "true"})

@dp.replace_flow(target="t", replace_using=["id"], sequence_by="n")
def lines():
    return spark.readStream.table("bronze")
"""
DECORATED = """
@dp.table(replace_using=["id"], sequence_by=F.col("n"))
def t():
    return spark.readStream.table("bronze")
"""
MANAGED = """
dp.create_table(name="t")

@dp.replace_flow(target="t", replace_using="id", sequence_by="n")
def lines():
    return spark.readStream.table("bronze")
"""
SQL = {
    "a flow": "CREATE STREAMING TABLE t;"
    " CREATE FLOW f AS INSERT INTO t REPLACE USING (id) SEQUENCE BY n BY NAME"
    " SELECT * FROM STREAM bronze",
    "inside": "CREATE OR REFRESH STREAMING TABLE t FLOW REPLACE USING (id) SEQUENCE BY n BY NAME"
    " SELECT * FROM STREAM bronze",
    "a managed table": "CREATE TABLE t (id BIGINT, line BIGINT, n BIGINT) FLOW"
    " REPLACE USING (id) SEQUENCE BY n BY NAME SELECT * FROM STREAM bronze",
}


def play(project: Project) -> None:
    """Orders of several lines; order 1 is sent again with other lines, and late with old ones."""
    project.land("1.json", [{"id": i, "line": line, "n": 1} for i in (1, 2) for line in (1, 2)])
    ok(project.run())
    project.land("2.json", [{"id": 1, "line": 9, "n": 3}])
    ok(project.run())
    project.land("3.json", [{"id": 1, "line": line, "n": 2} for line in (1, 2, 3)])
    ok(project.run())
    assert project.rows("t", "id", "line", "n") == [(1, 9, 3), (2, 1, 1), (2, 2, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("text", [PYTHON, DECORATED, MANAGED], ids=["flow", "table", "managed"])
def test_the_newest_rows_of_each_key_hold(project: Project, text: str) -> None:
    play(project.write(BRONZE + text))


@pytest.mark.slow
@pytest.mark.parametrize("text", SQL.values(), ids=SQL)
def test_the_newest_rows_of_each_key_hold_in_sql(project: Project, text: str) -> None:
    play(project.write(BRONZE).write(text, "t.sql"))


@pytest.mark.slow
def test_all_rows_at_once_give_the_same_table(project: Project) -> None:
    play(project.write(BRONZE + PYTHON))
    rows = project.rows("t")
    ok(project.run(full_refresh_all=True))
    assert project.rows("t") == rows


@pytest.mark.slow
def test_replacements_are_in_the_change_feed(project: Project) -> None:
    feed = "@dp.table\ndef feed():\n    return spark.readStream.option('readChangeFeed', True).table('t')\n"
    play(project.write(BRONZE + PYTHON + feed))
    left: Counter = Counter()
    for change in project.rows("feed"):
        left[change["id"], change["line"]] += 1 if change["_change_type"] == "insert" else -1
    assert +left == Counter({(1, 9): 1, (2, 1): 1, (2, 2): 1})


def test_a_stream_of_a_table_that_is_replaced_is_refused(project: Project) -> None:
    project.write(BRONZE + PYTHON + "@dp.table\ndef u():\n    return spark.readStream.table('t')\n")
    error = project.run().error
    assert error is not None
    assert error.condition == "UNSUPPORTED_STREAMING_SOURCE"


def test_a_managed_table_takes_appending_flows(project: Project) -> None:
    project.write(BRONZE + "dp.create_table('t')\n")
    text = "CREATE FLOW f AS INSERT INTO t BY NAME SELECT id FROM STREAM bronze;"
    text += "CREATE TABLE u FLOW INSERT BY NAME SELECT id FROM STREAM bronze"
    project.write(text, "f.sql")
    project.land("1.json", [{"id": 1, "line": 1, "n": 1}])
    ok(project.run())
    assert (project.rows("t", "id"), project.rows("u", "id")) == ([1], [1])


@pytest.mark.parametrize(
    ("code", "condition"),
    [
        (PYTHON.replace('sequence_by="n"', 'sequence_by="m"'), "UNRESOLVED_COLUMN"),
        (PYTHON.replace(', sequence_by="n"', ""), "INVALID_MULTIPLE_ARGUMENT_CONDITIONS"),
        (DECORATED.replace("readStream", "read"), "AUTOCDC_TARGET_IS_NOT_A_STREAMING_TABLE"),
    ],
)
def test_a_mistake_in_a_replace_flow_is_found_before_it_runs(
    project: Project, code, condition
) -> None:
    project.land("1.json", [{"id": 1, "line": 1, "n": 1}])
    error = project.write(BRONZE + code).run().error
    assert error is not None
    assert error.condition.startswith(condition)


@pytest.mark.parametrize(
    "flow",
    [
        'dp.create_auto_cdc_flow("t", "none", ["id"], "n")',
        """@dp.replace_flow(target="t", replace_using=["id"], sequence_by="n")
def lines():
    return spark.readStream.table("none")""",
    ],
    ids=["changes", "rows in the place of others"],
)
def test_a_batch_without_a_row_changes_nothing(project: Project, flow: str) -> None:
    """Engines write no file at all where they see that a query yields no row."""
    view = """
@dp.temporary_view
def none():
    return spark.readStream.table("bronze").where("1 = 0")

dp.create_streaming_table("t")
"""
    project.write(BRONZE + view + flow)
    for number in (1, 2):
        project.land(f"{number}.json", [{"id": number, "line": 1, "n": 1}])
        ok(project.run())
    assert project.rows("t", "id") == []
