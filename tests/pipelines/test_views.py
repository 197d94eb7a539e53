"""A temporary view keeps to its expectations wherever it is read."""

from __future__ import annotations

import pytest

from proa.engine import Engine
from proa.errors import PipelineError
from proa.graph.build import build
from proa.settings import EngineSettings


@pytest.fixture(scope="module")
def engine():
    engine = Engine.start(EngineSettings(), {})
    yield engine
    engine.close()


def rows(engine, declarations, dataset: str) -> list[int]:
    built = build(declarations)
    (node,) = built.datasets[dataset].flows
    return sorted(row.id for row in engine.dataframe(node.plan.bind({})).collect())


SQL = """
    CREATE TEMPORARY VIEW v (
      CONSTRAINT counted EXPECT (id > 100),
      CONSTRAINT small EXPECT (id < 4) ON VIOLATION DROP ROW,
      CONSTRAINT odd EXPECT (CASE WHEN id % 2 = 1 THEN true END) ON VIOLATION DROP ROW
    ) AS SELECT id FROM range(10);

    CREATE MATERIALIZED VIEW m AS SELECT * FROM v;
"""

PYTHON = """
    from pyspark import pipelines as dp
    from pyspark.sql.functions import col

    @dp.temporary_view
    @dp.expect("counted", "id > 100")
    @dp.expect_or_drop("small", col("id") < 4)
    @dp.expect_all_or_drop({"odd": "CASE WHEN id % 2 = 1 THEN true END"})
    def v():
        return spark.range(10)

    @dp.materialized_view
    def m():
        return spark.table("v")
"""


@pytest.mark.parametrize(("file", "text"), [("a.sql", SQL), ("a.py", PYTHON)])
def test_rows_that_break_a_views_expectation_are_dropped(project, engine, file, text):
    project.write(f"transformations/{file}", text)
    assert rows(engine, project.load(), "m") == [1, 3]


@pytest.mark.parametrize(("file", "text"), [("a.sql", SQL), ("a.py", PYTHON)])
def test_a_row_that_breaks_a_rule_that_fails_stops_the_query(project, engine, file, text):
    failing = text.replace("ON VIOLATION DROP ROW", "ON VIOLATION FAIL UPDATE").replace(
        "_or_drop", "_or_fail"
    )
    project.write(f"transformations/{file}", failing)
    with pytest.raises(Exception, match="breaks the expectation 'small'"):
        rows(engine, project.load(), "m")


@pytest.mark.parametrize(
    ("file", "text", "place"),
    [
        ("a.sql", SQL.replace("range(10)", "nowhere"), "5:21"),
        ("a.py", PYTHON.replace("spark.range(10)", "spark.table('nowhere')"), "9"),
    ],
)
def test_a_mistake_in_such_a_view_names_the_users_line(project, file, text, place):
    project.write(f"transformations/{file}", text)
    with pytest.raises(PipelineError, match="nowhere") as caught:
        build(project.load())
    assert str(caught.value.location) == f"transformations/{file}:{place}"


def test_a_view_whose_rows_all_keep_a_rule_that_fails_is_read(project, engine):
    project.write(
        "transformations/a.sql",
        "CREATE TEMPORARY VIEW v (CONSTRAINT c EXPECT (id >= 0) ON VIOLATION FAIL UPDATE)"
        " AS SELECT id FROM range(2); CREATE MATERIALIZED VIEW m AS SELECT * FROM v",
    )
    assert rows(engine, project.load(), "m") == [0, 1]
