"""What code may ask while it is loaded, and what it may tell the engine: rows, functions, settings."""

from __future__ import annotations

import pytest
from small_projects import Project, ok

ASKING = {
    "collect": "[row.id for row in {frame}.collect()]",
    "first": "[{frame}.orderBy('id').first().id, 1, 2]",
    "count": "list(range({frame}.count()))",
    "toPandas": "{frame}.toPandas()['id'].tolist()",
    "columns": "list(range(3)) if {frame}.columns == ['id'] else []",
    "show": "[0, 1, 2] if {frame}.show() is None and '|  2|' in {frame}._show_string() else []",
    "isEmpty": "[0, 1, 2] if not {frame}.isEmpty() else []",
}


@pytest.mark.parametrize("asking", ASKING.values(), ids=ASKING)
@pytest.mark.parametrize("inside", [False, True], ids=["in the module", "in the query"])
def test_code_may_ask_for_rows_that_are_there(project: Project, asking, inside):
    question = asking.format(frame="spark.sql('SELECT id FROM range(3)')")
    module, query = ("", question) if inside else (question, "IDS")
    project.write(
        f"IDS = {module or None}\n@dp.materialized_view\ndef a():\n    ids = {query}\n"
        "    return spark.createDataFrame([(i,) for i in ids], 'id int')\n"
    )
    ok(project.run())
    assert project.rows("a", "id") == [0, 1, 2]


def test_rows_of_no_rows_are_no_rows(project: Project):
    project.write(
        "NONE = spark.range(0).collect()\n@dp.materialized_view\ndef a():\n"
        "    return spark.range(len(NONE) + 1)\n"
    )
    ok(project.run())
    assert project.rows("a", "id") == [0]


def test_tables_are_made_from_rows_of_files(project: Project):
    file = project.folder / "names.csv"
    file.write_text("name\nx\ny\n")
    project.write(
        f"for row in spark.read.option('header', True).csv('{file}').collect():\n"
        "    @dp.materialized_view(name=row.name)\n    def a():\n        return spark.range(1)\n"
    )
    ok(project.run())
    assert project.exists("x")
    assert project.exists("y")
    file.write_text("name\nx\nz\n")
    ok(project.run())
    assert project.exists("z")


@pytest.mark.parametrize(
    "question",
    [
        "spark.read.table('b').collect()",
        "spark.sql('SELECT * FROM b').count()",
        "spark.table('b').limit(1).toPandas()",
        "spark.readStream.format('cloudFiles').option('cloudFiles.format', 'json').load('/x').collect()",
    ],
)
@pytest.mark.parametrize("inside", [False, True], ids=["in the module", "in the query"])
def test_rows_of_the_pipelines_own_are_refused(project: Project, question, inside):
    project.write(
        f"@dp.materialized_view\ndef b():\n    return spark.range(1)\n{'' if inside else question}\n"
        f"@dp.materialized_view\ndef a():\n    {question if inside else ''}\n    return spark.range(1)\n"
    )
    error = project.run().error
    assert error is not None
    assert error.condition == "ATTEMPT_ANALYSIS_IN_PIPELINE_QUERY_FUNCTION"
    assert error.location.line == (9 if inside else 6)


def test_sql_calls_the_functions_that_code_has_registered(project: Project):
    project.write(
        "spark.udf.register('plus1', lambda x: x + 1, 'int')\n"
        "@F.udf('string')\ndef shout(x):\n    return x.upper()\n"
        "spark.udf.register('shout', shout)\n"
    )
    project.write(
        "CREATE MATERIALIZED VIEW a AS"
        " SELECT plus1(CAST(id AS INT)) AS n, session.shout('x') AS s FROM range(2)",
        "a.sql",
    )
    ok(project.run())
    assert project.rows("a", "n", "s") == [(1, "X"), (2, "X")]


def test_functions_may_be_called_by_their_full_names(project: Project):
    project.write(
        "@dp.materialized_view\n@dp.expect_or_drop('odd', 'builtin.mod(id, 2) = 1')\ndef a():\n"
        "    return spark.range(4).select('id', F.expr('system.builtin.abs(-id) AS n'))\n"
        "@dp.materialized_view\ndef b():\n"
        "    return spark.table('a').selectExpr('builtin.sum(n) AS n')\n"
        "@dp.materialized_view\ndef c():\n"
        "    return spark.sql('SELECT builtin.count(*) AS n FROM a WHERE BUILTIN.abs(n) > 1')\n"
    )
    project.write(
        "CREATE MATERIALIZED VIEW d (CONSTRAINT e EXPECT (builtin.abs(n) > 1) ON VIOLATION DROP ROW) AS"
        " SELECT * FROM (SELECT `system`.`builtin`.`explode`(array(1, 2)) AS n)",
        "a.sql",
    )
    ok(project.run())
    assert [project.rows(name, "n") for name in "abcd"] == [[1, 3], [4], [1], [2]]


def test_settings_of_the_configuration_hold_and_others_keep_theirs(make):
    text = (
        "CREATE MATERIALIZED VIEW a AS SELECT hour(TIMESTAMP'2024-01-01 00:00:00Z') AS h,"
        " CAST(s AS INT) AS i FROM VALUES ('x') AS t(s)"
    )
    project = make()
    project.configuration = {
        "spark.sql.session.timeZone": "America/New_York",
        "spark.sql.ansi.enabled": "false",
    }
    ok(project.write(text, "a.sql").run())
    assert project.rows("a", "h", "i") == [(19, None)]
    other = make(name="other").write(text.replace("('x')", "('1')"), "a.sql")
    ok(other.run())
    assert other.rows("a", "h", "i") == [(0, 1)]
