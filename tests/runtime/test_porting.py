"""What of a folder of pipelines runs, whatever its layout, and what stands in the way of the rest."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from proa.cli.main import run
from proa.engine import Engine
from proa.errors import PipelineError
from proa.runtime.compile import compile_project
from proa.runtime.porting import FileReport, PortingVerdict, port


@pytest.fixture
def engine(engines) -> Engine:
    return engines({})


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return folder


def by_file(reports: list[FileReport]) -> dict[str, PortingVerdict]:
    return {report.file: report.verdict for report in reports}


def families(report: FileReport) -> list[tuple[str, int]]:
    """Conditions without their subclasses, which Apache Spark has, and lines of a file's obstacles."""
    return [(each.condition.partition(".")[0], each.line) for each in report.obstacles]


VIEW = "CREATE MATERIALIZED VIEW {} AS SELECT 1 AS one"


def test_files_that_declare_are_found_and_others_are_not(tmp_path, engine):
    notebook = {
        "cells": [
            {
                "cell_type": "code",
                "source": [
                    "import dlt\n",
                    "@dlt.table\n",
                    "def n():\n",
                    "    return spark.range(1)",
                ],
            }
        ],
        "metadata": {},
    }
    write(
        tmp_path,
        **{
            "a.sql": VIEW.format("a"),
            "b.py": "import dlt\n@dlt.table\ndef b():\n    return spark.range(1)\n",
            "c.ipynb": json.dumps(notebook),
            "deep/er/d.sql": "-- Databricks notebook source\nCREATE OR REFRESH LIVE TABLE d AS SELECT 1",
            "job.sql": "SELECT 1",
            "module.py": "x = 1\n",
            "notes.md": "import dlt",
            ".hidden/e.sql": VIEW.format("e"),
            "tests/f.py": "import dlt\n",
        },
    )
    reports = port(tmp_path, engine)
    assert by_file(reports) == dict.fromkeys(
        ("a.sql", "b.py", "c.ipynb", "deep/er/d.sql"), PortingVerdict.RUNS
    )
    assert [report.datasets for report in reports] == [["a"], ["b"], ["n"], ["d"]]


def test_a_file_with_a_mistake_does_not_hide_the_others(tmp_path, engine):
    write(
        tmp_path,
        **{
            "a.sql": VIEW.format("a"),
            "b.py": "import dlt\nraise ValueError('no')\n",
            "c.sql": "CREATE MATERIALIZED VIEW c AS SELECT nope FROM a",
            "d.sql": "CREATE MATERIALIZED VIEW d AS SELECT one FROM a",
        },
    )
    reports = port(tmp_path, engine)
    assert [str(verdict) for verdict in by_file(reports).values()] == [
        "runs",
        "fails",
        "fails",
        "runs",
    ]
    assert [(o.condition, o.line) for o in reports[1].obstacles] == [("PIPELINE_SOURCE_FAILED", 2)]
    assert families(reports[2]) == [("UNRESOLVED_COLUMN", 1)]


NEEDS = {
    "spark.conf.get('my.key')": "SQL_CONF_NOT_FOUND",
    "dbutils.widgets.get('key')": "WIDGET_NOT_FOUND",
    "dbutils.secrets.get('scope', 'key')": "SECRET_NOT_FOUND",
    "import a_module_that_is_nowhere": "PIPELINE_SOURCE_FAILED",
    "from .in_a_package import names": "PIPELINE_SOURCE_FAILED",
    "spark.read.csv('/no/such/folder').columns": "PATH_NOT_FOUND",
    "open('/no/such/file')": None,
}


@pytest.mark.filterwarnings("ignore:can't resolve package:ImportWarning")
@pytest.mark.parametrize("inside", [False, True], ids=["in the module", "in the query"])
@pytest.mark.parametrize("code", NEEDS)
def test_what_the_folder_does_not_hold_is_needed(tmp_path, engine, code, inside):
    if inside and "import " in code:
        return
    at_first, in_query = ("", code) if inside else (code, "")
    text = (
        f"import dlt\n{at_first}\n@dlt.table\ndef a():\n    {in_query}\n    return spark.range(1)\n"
    )
    (report,) = port(write(tmp_path, **{"a.py": text}), engine)
    assert report.verdict is PortingVerdict.NEEDS
    anywhere = "QUERY_FUNCTION_FAILED" if inside else "PIPELINE_SOURCE_FAILED"
    assert {obstacle.condition for obstacle in report.obstacles} == {NEEDS[code] or anywhere}


def test_tables_from_elsewhere_are_needed_and_named(tmp_path, engine):
    text = """
        CREATE MATERIALIZED VIEW a AS SELECT o.id FROM main.raw.orders o JOIN other USING (id);
        CREATE MATERIALIZED VIEW b AS SELECT * FROM a;
    """
    (report,) = port(write(tmp_path, **{"a.sql": text}), engine)
    assert report.verdict is PortingVerdict.NEEDS
    assert ["main.raw.orders" in o.message or "'other'" in o.message for o in report.obstacles] == [
        True,
        True,
    ]


REFUSED = {
    "kafka": "CREATE STREAMING TABLE a AS SELECT * FROM STREAM read_kafka(bootstrapServers => 'x')",
    "state": "CREATE STREAMING TABLE a AS SELECT * FROM STREAM read_files('/x', format => 'json') LIMIT 3",
    "xml": "CREATE STREAMING TABLE a AS SELECT * FROM"
    " STREAM read_files('/x', format => 'xml', rowTag => 'r')",
    "row filter": "CREATE STREAMING TABLE a WITH ROW FILTER f ON (x)",
    "global view": "CREATE GLOBAL TEMPORARY VIEW v AS SELECT 1 AS a;\n" + VIEW.format("b"),
}
REFUSED_CODE = {
    "df.createOrReplaceTempView('x')": "SESSION_MUTATION_IN_DECLARATIVE_PIPELINE.CREATE_OR_REPLACE_TEMP_VIEW",
    "df.createGlobalTempView('x')": "SESSION_MUTATION_IN_DECLARATIVE_PIPELINE.CREATE_GLOBAL_TEMP_VIEW",
    "spark.catalog.dropTempView('x')": "SESSION_MUTATION_IN_DECLARATIVE_PIPELINE.DROP_TEMP_VIEW",
    "spark.sql('CREATE TEMP VIEW x AS SELECT 1')": "UNSUPPORTED_PIPELINE_SPARK_SQL_COMMAND",
    "spark.sparkContext": "JVM_ATTRIBUTE_NOT_SUPPORTED",
    "df.writeTo('x').create()": "ATTEMPT_ANALYSIS_IN_PIPELINE_QUERY_FUNCTION",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_is_refused_by_decision_is_told_apart_from_mistakes(tmp_path, engine, text):
    (report,) = port(write(tmp_path, **{"a.sql": text}), engine)
    assert report.verdict is PortingVerdict.REFUSED


@pytest.mark.parametrize(
    "place",
    [
        "df = spark.range(1)\n{}\n@dlt.table\ndef a():\n    return df",
        "\n@dlt.table\ndef a():\n    df = spark.range(1)\n    {}\n    return df",
    ],
    ids=["file", "query"],
)
@pytest.mark.parametrize(("code", "condition"), REFUSED_CODE.items())
def test_code_that_changes_the_session_is_refused_in_the_words_of_a_dry_run(
    tmp_path, engine, place, code, condition
):
    text = "import dlt\n" + place.format(code)
    (report,) = port(write(tmp_path, **{"a.py": text}), engine)
    assert report.verdict is PortingVerdict.REFUSED
    (obstacle,) = report.obstacles
    assert (obstacle.condition, obstacle.line) == (
        condition,
        text[: text.index(code)].count("\n") + 1,
    )
    write(
        tmp_path,
        **{"spark-pipeline.yml": "name: p\nstorage: s\nlibraries:\n  - glob: {include: a.py}\n"},
    )
    with pytest.raises(PipelineError) as caught:
        compile_project(tmp_path, None, columns=True)
    assert (caught.value.args[0], caught.value.condition) == (obstacle.message, condition)
    assert "[" not in obstacle.message


def test_a_bundles_pipelines_are_kept_apart_and_have_their_configuration(tmp_path, engine):
    write(
        tmp_path,
        **{
            "resources/one.yml": """
                resources:
                  pipelines:
                    one:
                      configuration: {key: "${var.value}"}
                      libraries: [{notebook: {path: ../src/one}}]
                    two:
                      libraries: [{glob: {include: ../src/two/**}}]
            """,
            "src/one.py": "# Databricks notebook source\nimport dlt\n"
            "dlt.table(lambda: spark.range(1), name=spark.conf.get('key'))\n",
            "src/two/a.sql": VIEW.format("value"),
        },
    )
    reports = port(tmp_path, engine)
    assert [(r.file, r.pipeline, r.verdict) for r in reports] == [
        ("src/one.py", "one", PortingVerdict.RUNS),
        ("src/two/a.sql", "two", PortingVerdict.RUNS),
    ]


def test_variants_of_one_table_in_one_folder_are_pipelines_of_their_own(tmp_path, engine):
    files = {f"{name}.sql": VIEW.format("same") for name in "abc"}
    reports = port(write(tmp_path, **files), engine)
    assert set(by_file(reports).values()) == {PortingVerdict.RUNS}
    assert [report.datasets for report in reports] == [["same"]] * 3


def test_modules_above_the_pipelines_folder_are_found(tmp_path, engine):
    write(
        tmp_path,
        **{
            "helpers/names.py": "NAME = 'x'\n",
            "pipelines/sales/a.py": "import dlt\nfrom helpers.names import NAME\n"
            "dlt.table(lambda: spark.range(1), name=NAME)\n",
        },
    )
    (report,) = port(tmp_path, engine)
    assert (report.verdict, report.datasets) == (PortingVerdict.RUNS, ["x"])


def test_the_command_prints_a_line_a_file_and_ends_with_one_if_some_do_not_run(tmp_path, capsys):
    write(tmp_path, **{"a.sql": VIEW.format("a")})
    assert run(["port", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "runs    a.sql (1 dataset)",
        "1 files that declare datasets: 1 runs, 0 needs, 0 refused, 0 fails",
    ]
    write(tmp_path, **{"b.sql": "CREATE STREAMING TABLE b AS SLECT"})
    assert run(["port", str(tmp_path), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["counts"] == {"runs": 1, "needs": 0, "refused": 0, "fails": 1}
    assert document["files"][1]["obstacles"][0]["condition"] == "PARSE_SYNTAX_ERROR"


def test_a_folder_without_pipelines_and_one_that_is_not_there(tmp_path, capsys):
    assert run(["port", str(tmp_path)]) == 0
    assert "no file declares a dataset" in capsys.readouterr().out
    assert run(["port", str(tmp_path / "nowhere")]) == 2


def test_code_that_asks_for_the_columns_of_a_table_from_elsewhere_needs_the_table(tmp_path, engine):
    write(
        tmp_path,
        **{
            "a.py": """
                import dlt

                @dlt.table
                def a():
                    frame = spark.readStream.table("main.crm.customers")
                    return frame.select([c for c in frame.columns if c != "x"])
            """
        },
    )
    (report,) = port(tmp_path, engine)
    assert report.verdict is PortingVerdict.NEEDS
    said = {obstacle.message for obstacle in report.obstacles}
    assert any("'main.crm.customers', which is made elsewhere; name it" in text for text in said)
    assert not any("assumed" in text for text in said)


HIDDEN = {
    "read_files": "SELECT *, _metadata.file_path AS f"
    " FROM STREAM read_files('/l', format => 'csv', schema => 'a int')",
    "cloud_files": "SELECT *, input_file_name() AS f"
    " FROM cloud_files('/l', 'csv', map('schema', 'a int'))",
    "folders and rescued data": "SELECT a, _metadata FROM STREAM read_files('/l', format => 'json',"
    " schema => 'a int', partitionColumns => 'day', rescuedDataColumn => 'r')"
    " WHERE day > '1' AND r IS NULL",
    "text": "SELECT value, _metadata.file_name AS f FROM STREAM read_files('/l', format => 'text')",
}


@pytest.mark.parametrize("text", HIDDEN.values(), ids=HIDDEN)
def test_the_hidden_column_of_files_is_there_when_no_file_is_looked_at(tmp_path, engine, text):
    write(
        tmp_path,
        **{
            "a.sql": f"CREATE STREAMING TABLE a AS {text};\n"
            "CREATE MATERIALIZED VIEW b AS SELECT nope FROM a",
        },
    )
    (report,) = port(tmp_path, engine)
    assert families(report) == [("UNRESOLVED_COLUMN", 2)]
    assert "nope" in report.obstacles[0].message


VALUES = {
    "a number": "int(spark.conf.get('year'))",
    "two numbers in a line": "range(int(spark.conf.get('a')), int(spark.conf.get('b')))",
    "a date": "datetime.strptime(spark.conf.get('day'), '%Y-%m-%d')",
    "json": "json.loads(spark.conf.get('tables'))[:]",
    "a document of json": "json.loads(spark.conf.get('tables')).items()",
    "a choice": "{'dev': 1}[spark.conf.get('target')]",
    "a widget": "int(dbutils.widgets.get('year'))",
}


@pytest.mark.parametrize("inside", [False, True], ids=["in the module", "in the query"])
@pytest.mark.parametrize("code", VALUES.values(), ids=VALUES)
def test_a_value_that_was_assumed_is_no_mistake_of_the_file(tmp_path, engine, code, inside):
    at_first, in_query = ("", code) if inside else (code, "")
    text = (
        f"import dlt, json\nfrom datetime import datetime\nname = spark.conf.get('z')\n{at_first}\n"
        f"@dlt.table\ndef a():\n    {in_query}\n    return spark.range(1)\n"
    )
    (report,) = port(write(tmp_path, **{"a.py": text}), engine)
    assert report.verdict is PortingVerdict.NEEDS


def test_a_schema_that_was_assumed_is_no_mistake_of_the_file(tmp_path, engine):
    text = "CREATE STREAMING TABLE a (${a.schema});\nCREATE MATERIALIZED VIEW b (${b.schema}) AS SELECT 1L id;"
    (report,) = port(write(tmp_path, **{"a.sql": text}), engine)
    assert report.verdict is PortingVerdict.NEEDS


def test_a_mistake_stays_one_whatever_is_assumed(tmp_path, engine):
    text = (
        "import dlt\nyear, day = spark.conf.get('year'), spark.conf.get('day')\n"
        "raise ValueError('no')\n"
    )
    (report,) = port(write(tmp_path, **{"a.py": text}), engine)
    assert report.verdict is PortingVerdict.FAILS
    assert {(o.verdict, o.line) for o in report.obstacles if o.verdict != "needs"} == {("fails", 3)}


def test_a_value_that_a_bundle_leaves_open_is_assumed(tmp_path, engine):
    write(
        tmp_path,
        **{
            "one.yml": """
                resources:
                  pipelines:
                    one:
                      configuration: {year: "${var.year}"}
                      libraries: [{file: {path: one.py}}]
            """,
            "one.py": "import dlt\n@dlt.table\ndef a():\n"
            "    return spark.range(int(spark.conf.get('year')))\n",
        },
    )
    (report,) = port(tmp_path, engine)
    assert report.verdict is PortingVerdict.RUNS


@pytest.mark.parametrize(
    ("function", "verdict"),
    [
        ("my_company_score", PortingVerdict.NEEDS),
        ("uppper", PortingVerdict.FAILS),
        ("ai_nothing_yet", PortingVerdict.REFUSED),
        ("h3_nothing_yet", PortingVerdict.FAILS),
        ("is_account_group_member", PortingVerdict.REFUSED),
    ],
)
def test_a_function_that_nobody_has_is_registered_elsewhere(tmp_path, engine, function, verdict):
    text = f"CREATE MATERIALIZED VIEW a AS SELECT {function}('x') AS y"
    (report,) = port(write(tmp_path, **{"a.sql": text}), engine)
    assert report.verdict is verdict
    if verdict is PortingVerdict.NEEDS:
        assert "spark.udf.register" in report.obstacles[0].message


def test_rows_of_the_pipelines_own_tables_are_refused_while_it_declares(tmp_path, engine):
    text = (
        "import dlt\n@dlt.table\ndef a():\n    return spark.range(1)\n"
        "@dlt.table\ndef b():\n    return spark.range(spark.table('a').count())\n"
    )
    (report,) = port(write(tmp_path, **{"a.py": text}), engine)
    assert report.verdict is PortingVerdict.REFUSED
    assert report.obstacles[0].condition == "ATTEMPT_ANALYSIS_IN_PIPELINE_QUERY_FUNCTION"
