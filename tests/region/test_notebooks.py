"""Notebooks as Databricks' users write them: magics, widgets, dbutils, modules beside them."""

from __future__ import annotations

import io
import json

import pytest
from databricks.sdk.service.jobs import (
    ConditionTask,
    ConditionTaskOp,
    NotebookTask,
    RunResultState,
    SubmitTask,
    TaskDependency,
)
from databricks.sdk.service.workspace import ImportFormat, Language

pytestmark = pytest.mark.slow

FOLDER = "/Shared/nb"
PACKAGES = "library"
"""The utility of `dbutils` for packages, as Databricks calls it."""
CELL = "\n\n# COMMAND ----------\n\n"


@pytest.fixture(scope="module")
def w(serve, tmp_path_factory):
    with serve(tmp_path_factory.mktemp("region"), None, workers=2, warm_workers=2) as running:
        client = running.client()
        client.workspace.mkdirs(f"{FOLDER}/lib")
        yield client


@pytest.fixture
def put(w):
    def write(name: str, *cells: str, language: Language = Language.PYTHON) -> str:
        path = f"{FOLDER}/{name}"
        source = io.BytesIO(("# Databricks notebook source\n" + CELL.join(cells)).encode())
        w.workspace.upload(
            path, source, language=language, format=ImportFormat.SOURCE, overwrite=True
        )
        return path

    return write


@pytest.fixture
def run(w, put):
    """Runs cells as a notebook; (result state, exit value, error)."""

    def once(*cells: str, **parameters: str) -> tuple[RunResultState, str | None, str | None]:
        task = NotebookTask(put("main", *cells), base_parameters=parameters)
        ended = w.jobs.submit(tasks=[SubmitTask("n", notebook_task=task)]).result()
        found = w.jobs.get_run_output(ended.tasks[0].run_id)
        value = found.notebook_output.result if found.notebook_output else None
        return ended.state.result_state, value, found.error

    return once


def test_what_public_notebooks_begin_with_does_no_harm(run):
    state, value, error = run(
        "# MAGIC %md\n# MAGIC # A title",
        "# MAGIC %pip install something",
        f"dbutils.{PACKAGES}.restartPython()",
        'dbutils.widgets.text("day", "2020-01-01", "The day")\n'
        'dbutils.widgets.dropdown("env", "dev", ["dev", "prod"])',
        "# MAGIC %sql\n# MAGIC select 1 as one; select 2 as two",
        "display(_sqldf)\ndisplay(spark.range(2), False)\ndisplayHTML('<b>')",
        "from pyspark.dbutils import DBUtils\n"
        "path = DBUtils(spark).notebook.entry_point.getDbutils().notebook().getContext()"
        ".notebookPath().get()",
        'dbutils.notebook.exit(f\'{dbutils.widgets.get("day")} {getArgument("env")} {path}\''
        " + str(_sqldf.collect()[0].two))",
        day="2024-02-29",
    )
    assert (state, error) == (RunResultState.SUCCESS, None)
    assert value == f"2024-02-29 dev {FOLDER}/main2"


def test_run_includes_and_notebook_run_calls(put, run):
    put("helper", "def double(n):\n    return 2 * n", 'factor = dbutils.widgets.get("factor")')
    put("child", 'dbutils.notebook.exit("child of " + dbutils.widgets.get("who"))')
    state, value, error = run(
        '# MAGIC %run ./helper $factor="3"',
        'answer = dbutils.notebook.run("child", 60, {"who": "main"})',
        "dbutils.notebook.exit(f'{double(21)} {factor} {answer}')",
    )
    assert (state, value, error) == (RunResultState.SUCCESS, "42 3 child of main", None)
    _, _, error = run("# MAGIC %run ./nowhere")
    assert f"there is no notebook '{FOLDER}/nowhere'" in error


def test_modules_beside_the_notebook_are_imported(w, run):
    for name, text in (("beside", "v = 1"), ("lib/__init__", ""), ("lib/deep", "v = 2")):
        w.workspace.upload(
            f"{FOLDER}/{name}.py",
            io.BytesIO(text.encode()),
            format=ImportFormat.RAW,
            overwrite=True,
        )
    _, value, error = run(
        "import sys; sys.path.append('/Workspace/Shared/nb/lib')",
        "import beside, deep\nfrom lib.deep import v",
        "dbutils.notebook.exit(f'{beside.v}{deep.v}{v}')",
    )
    assert (value, error) == ("122", None)
    _, _, error = run("import nowhere_to_be_found")
    assert error == f"{FOLDER}/main:2: ModuleNotFoundError: No module named 'nowhere_to_be_found'"


def test_files_of_dbfs_are_one_tree_for_notebooks_and_the_api(w, run):
    _, value, error = run(
        'dbutils.fs.put("dbfs:/n/a.txt", "hello", True)\n'
        'dbutils.fs.cp("/n/a.txt", "/n/deep/b.txt")\n'
        'dbutils.fs.mv("/n/a.txt", "/n/c.txt")',
        "names = [item.name for item in dbutils.fs.ls('/n')]",
        "import json\n"
        "dbutils.notebook.exit(json.dumps([names, dbutils.fs.head('/n/c.txt', 4),"
        " dbutils.fs.rm('/n/c.txt'), dbutils.fs.rm('/n/c.txt')]))",
    )
    assert error is None
    assert json.loads(value) == [["c.txt", "deep/"], "hell", True, False]
    assert w.dbfs.download("/n/deep/b.txt").read() == b"hello"


def test_a_mistake_has_the_notebooks_own_line(run):
    _, _, error = run("x = 1", "def f(:\n    pass")
    assert "line 6" in error
    state, _, error = run("x = 1", "# MAGIC %sh ls")
    assert state is RunResultState.FAILED
    assert error.startswith(f"{FOLDER}/main:6: a cell of kind %sh")


def test_tasks_tell_one_another_values(w, put):
    tell = put(
        "tell",
        'dbutils.jobs.taskValues.set(key="n", value=7)',
        'dbutils.jobs.taskValues.set("d", {"a": [1]})',
    )
    hear = put(
        "hear",
        'd = dbutils.jobs.taskValues.get(taskKey="tell", key="d", default=None)\n'
        'dbutils.notebook.exit(f\'{d["a"][0]} {dbutils.widgets.get("n")}\''
        ' + str(dbutils.jobs.taskValues.get("tell", "x", "none")))',
    )
    ended = w.jobs.submit(
        tasks=[
            SubmitTask("tell", notebook_task=NotebookTask(tell)),
            SubmitTask(
                "many",
                depends_on=[TaskDependency("tell")],
                condition_task=ConditionTask(
                    ConditionTaskOp.GREATER_THAN, "{{tasks.tell.values.n}}", "5"
                ),
            ),
            SubmitTask(
                "hear",
                depends_on=[TaskDependency("many", outcome="true")],
                notebook_task=NotebookTask(hear, {"n": "{{tasks.tell.values.n}}"}),
            ),
        ]
    ).result()
    assert ended.state.result_state is RunResultState.SUCCESS
    heard = next(task for task in ended.tasks if task.task_key == "hear")
    assert w.jobs.get_run_output(heard.run_id).notebook_output.result == "1 7none"


@pytest.mark.parametrize(
    ("value", "why"), [("object()", "cannot be written as JSON"), ("'x' * 50_000", "over 49152")]
)
def test_a_value_that_cannot_be_told_is_an_error(run, value, why):
    state, _, error = run(f"dbutils.jobs.taskValues.set('k', {value})")
    assert state is RunResultState.FAILED
    assert why in error
