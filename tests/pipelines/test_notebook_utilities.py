"""What a pipeline's code finds around it on Databricks: dbutils, display, the runtime's module."""

from __future__ import annotations

import sys

import pytest

PACKAGES = "library"
"""The utility of `dbutils` for packages, as Databricks calls it."""
PRELUDE = "import dlt\ndlt.create_streaming_table('t')\n"


def run(project, code: str, **configuration: str) -> None:
    project.write("transformations/a.py", PRELUDE + code).load(**configuration)


def test_widgets_are_the_pipelines_configuration_and_have_defaults(project):
    run(
        project,
        "dbutils.widgets.text('a', '1')\ndbutils.widgets.dropdown('b', '2', ['2'])\n"
        "assert dbutils.widgets.get('a') == 'given'\nassert getArgument('b') == '2'\n",
        a="given",
    )


def test_a_secret_comes_from_the_configuration_or_the_environment(project, monkeypatch):
    monkeypatch.setenv("PROA_SECRET_MY_SCOPE_A_KEY", "from the environment")
    run(
        project,
        "assert dbutils.secrets.get(scope='my-scope', key='a.key') == 'from the environment'\n"
        "assert dbutils.secrets.get('s', 'k') == 'given'\n"
        "assert dbutils.secrets.getBytes('s', 'k') == b'given'\n",
        **{"secrets/s/k": "given"},
    )


@pytest.mark.parametrize(
    "code",
    [
        "from databricks.sdk.runtime import spark, dbutils, display, sql, table",
        "from databricks.sdk.runtime import *",
        "from pyspark.dbutils import DBUtils\ndbutils = DBUtils(spark)",
    ],
)
def test_the_runtimes_names_can_be_imported(project, code):
    run(project, f"{code}\nassert dbutils.widgets.get('a', 'b') == 'b'\nassert spark.range(1)\n")
    assert "pyspark.dbutils" not in sys.modules


def test_files_can_be_listed(project):
    project.write("data/x/a.json", "{}")
    run(
        project,
        "(entry,) = dbutils.fs.ls('data')\nassert (entry.name, entry.path) == ('x/', 'data/x/')\n"
        "import os\n(file,) = dbutils.fs.ls(f'dbfs:{os.getcwd()}/data/x')\n"
        "assert file.size == 2 and file.isFile()\nassert dbutils.fs.head('data/x/a.json') == '{}'\n",
    )


def test_the_notebooks_context_knows_its_path(project):
    run(
        project,
        "door = dbutils.notebook.entry_point.getDbutils().notebook().getContext()\n"
        "assert door.notebookPath().get() == '/transformations/a'\n"
        f"dbutils.{PACKAGES}.restartPython()\n"
        "assert dbutils.jobs.taskValues.get('t', 'k', debugValue=3) == 3\n",
    )


def test_the_notebooks_tags_are_those_that_the_configuration_gives(project):
    run(
        project,
        "context = dbutils.notebook.entry_point.getDbutils().notebook().getContext()\n"
        "assert context.tags().apply('user') == 'a@b.c'\n"
        "assert context.tags().get('user').get() == context.userName().get() == 'a@b.c'\n",
        **{"notebook.tags.user": "a@b.c"},
    )


@pytest.mark.parametrize(
    ("code", "condition"),
    [
        ("dbutils.notebook.getContext().tags().apply('user')", "SQL_CONF_NOT_FOUND"),
        ("dbutils.notebook.getContext().userName().get()", "SQL_CONF_NOT_FOUND"),
        ("dbutils.widgets.get('a')", "WIDGET_NOT_FOUND"),
        ("dbutils.secrets.get('s', 'k')", "SECRET_NOT_FOUND"),
        ("dbutils.fs.ls('nowhere')", "PATH_NOT_FOUND"),
        ("dbutils.fs.head('nowhere')", "PATH_NOT_FOUND"),
        ("dbutils.fs.ls('s3://bucket')", "UNSUPPORTED_FEATURE"),
        ("dbutils.fs.rm('data')", "UNSUPPORTED_FEATURE"),
        ("dbutils.notebook.run('x', 60)", "UNSUPPORTED_FEATURE"),
        ("dbutils.notebook.exit('done')", "UNSUPPORTED_FEATURE"),
        ("dbutils.jobs.taskValues.get('t', 'k')", "UNSUPPORTED_FEATURE"),
        ("dbutils.jobs.taskValues.set('k', 1)", "UNSUPPORTED_FEATURE"),
    ],
)
def test_what_is_not_there_or_would_act_is_refused_at_its_line(project, code, condition):
    error = project.write("transformations/a.py", f"{PRELUDE}\n{code}\n").refused()
    assert error.condition == condition
    assert str(error.location) == "transformations/a.py:4"
