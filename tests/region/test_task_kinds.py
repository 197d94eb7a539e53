"""Tasks of each kind that bundles bring: scripts, wheels, SQL files, and one task for each input."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
from databricks.sdk.errors import InvalidParameterValue
from databricks.sdk.service import compute, jobs, pipelines
from databricks.sdk.service.workspace import ImportFormat

pytestmark = pytest.mark.slow

FOLDER = "/Workspace/Users/me/.bundle/kinds/files"

SCRIPT = b"""
import sys
from databricks.sdk.runtime import dbutils
from pyspark.sql import SparkSession
import beside

spark = SparkSession.builder.getOrCreate()
if __name__ == "__main__":
    total = spark.range(int(sys.argv[1])).count()
    print("total", total, beside.WORD)
    dbutils.jobs.taskValues.set("total", total)
    if total == 13:
        raise ValueError("unlucky")
    if total == 7:
        sys.exit(3)
    sys.exit(0)
"""

PACKAGE = b"""
import sys

def main():
    from databricks.connect import DatabricksSession

    spark = DatabricksSession.builder.serverless().getOrCreate()
    print("wheel", spark.range(3).count(), sys.argv[1:])
    if "--fail=yes" in sys.argv:
        raise RuntimeError("as asked")
"""


def wheel() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("shop/__init__.py", b"")
        archive.writestr("shop/main.py", PACKAGE)
        archive.writestr(
            "shop-1.dist-info/entry_points.txt", "[console_scripts]\nmain=shop.main:main\n"
        )
        archive.writestr("shop-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: shop\n")
    return made.getvalue()


@pytest.fixture(scope="module")
def w(serve, tmp_path_factory):
    with serve(tmp_path_factory.mktemp("region"), None, workers=2, warm_workers=2) as running:
        client = running.client()
        for name, content in {
            "main.py": SCRIPT,
            "beside.py": b"WORD = 'beside'",
            "shop-1-py3-none-any.whl": wheel(),
            "report.sql": b"select :day as day; -- a comment; with a semicolon\nselect 2;",
            "bad.sql": b"select 1; drop table x",
        }.items():
            client.workspace.upload(
                f"{FOLDER}/{name}", content, format=ImportFormat.RAW, overwrite=True
            )
        yield client


def submit(w, **task):
    """(result, error) of a run with one task."""
    environments = [
        jobs.JobEnvironment(
            "default",
            compute.Environment(
                environment_version="2", dependencies=[f"{FOLDER}/shop-1-py3-none-any.whl"]
            ),
        )
    ]
    run = w.jobs.submit(
        tasks=[jobs.SubmitTask("t", environment_key="default", **task)], environments=environments
    ).result()
    output = w.jobs.get_run_output(run.tasks[0].run_id)
    return run.state.result_state.value, output.error or ""


@pytest.mark.parametrize(
    ("argument", "result", "says"),
    [("4", "SUCCESS", ""), ("13", "FAILED", "unlucky"), ("7", "FAILED", "exit")],
)
def test_a_script_has_its_arguments_its_neighbours_and_a_session(w, argument, result, says):
    task = jobs.SparkPythonTask(f"{FOLDER}/main.py", parameters=[argument])
    state, error = submit(w, spark_python_task=task)
    assert (state, says in error) == (result, True), error


@pytest.mark.parametrize(("fail", "result"), [("no", "SUCCESS"), ("yes", "FAILED")])
def test_a_wheel_runs_by_its_entry_point(w, fail, result):
    task = jobs.PythonWheelTask("shop", "main", named_parameters={"fail": fail})
    state, error = submit(w, python_wheel_task=task)
    assert state == result, error


def test_a_wheel_that_lacks_the_entry_point_says_so(w):
    state, error = submit(w, python_wheel_task=jobs.PythonWheelTask("shop", "nothing"))
    assert state == "FAILED"
    assert "entry point 'nothing'" in error


@pytest.mark.parametrize(
    ("file", "result", "says"),
    [("report.sql", "SUCCESS", ""), ("bad.sql", "FAILED", "only read"), ("no.sql", "FAILED", "")],
)
def test_a_sql_file_is_run_statement_by_statement_and_only_reads(w, file, result, says):
    warehouse = next(iter(w.warehouses.list())).id
    task = jobs.SqlTask(
        warehouse, file=jobs.SqlTaskFile(f"{FOLDER}/{file}"), parameters={"day": "2026-01-01"}
    )
    state, error = submit(w, sql_task=task)
    assert (state, says in error) == (result, True), error


def test_sources_of_a_pipeline_import_what_lies_below_its_root_path(w):
    root = f"{FOLDER}/src/shop_etl"
    w.workspace.mkdirs(f"{root}/transformations")
    w.workspace.mkdirs(f"{root}/utilities")
    for name, content in {
        "utilities/__init__.py": b"",
        "utilities/words.py": b"GREETING = 'hello'",
        "transformations/a.py": b"from pyspark import pipelines as dp\n"
        b"from utilities.words import GREETING\n\n"
        b"@dp.materialized_view\n"
        b"def greetings():\n"
        b"    return spark.sql(f\"select '{GREETING}' as word\")\n",
    }.items():
        w.workspace.upload(f"{root}/{name}", content, format=ImportFormat.RAW, overwrite=True)
    made = w.pipelines.create(
        name="etl",
        schema="shop",
        root_path=root,
        serverless=True,
        libraries=[
            pipelines.PipelineLibrary(glob=pipelines.PathPattern(f"{root}/transformations/**"))
        ],
        environment=pipelines.PipelinesEnvironment(dependencies=[f"--editable {FOLDER}"]),
    )
    task = jobs.PipelineTask(made.pipeline_id)
    state, error = submit(w, pipeline_task=task)
    assert state == "SUCCESS", error


class TestForEach:
    """One task for each input, with workers that do what the test says."""

    @pytest.fixture
    def path(self, still):
        from proa.region.workspace.workspace import ObjectKind

        return still.region.workspace.put("/Shared/nb", b"1", ObjectKind.NOTEBOOK, "PYTHON").path

    def start(self, still, path, inputs, **more):
        inner = {
            "task_key": "one",
            "notebook_task": {
                "notebook_path": path,
                "base_parameters": {"it": "{{input}}", "run": "{{job.run_id}}"},
            },
        }
        task = {"task_key": "all", "for_each_task": {"inputs": inputs, "task": inner, **more}}
        after = {
            "task_key": "after",
            "depends_on": [{"task_key": "all"}],
            "condition_task": {"op": "EQUAL_TO", "left": "1", "right": "1"},
        }
        made = still.region.jobs.create({"name": "each", "tasks": [task, after]}, "me")
        return still.region.runs.run_now(made, {}, "me").run_id

    def end_all(self, still, outcome="COMPLETED"):
        most, given = 0, []
        for _ in range(50):
            still.turn()
            running = still.workers.running
            most = max(most, len(running))
            for work in running:
                given.append(work.work.payload["parameters"])
                work.end(outcome)
        return most, given

    @pytest.mark.parametrize("concurrency", [1, 3])
    def test_every_input_is_worked_on_once_and_no_more_at_once_than_allowed(
        self, still, path, concurrency
    ):
        inputs = json.dumps(["a", "b", 3, {"k": [1]}, None])
        run_id = self.start(still, path, inputs, concurrency=concurrency)
        most, given = self.end_all(still)
        assert most == concurrency
        assert [item["it"] for item in given] == ["a", "b", "3", '{"k": [1]}', "null"]
        assert {item["run"] for item in given} == {str(run_id)}
        run = still.region.runs.get(run_id)
        assert run.result == "SUCCESS"
        assert still.region.runs.list()[0] == [run]

    def test_no_inputs_are_no_work(self, still, path):
        run_id = self.start(still, path, "[]")
        assert self.end_all(still) == (0, [])
        assert still.region.runs.get(run_id).result == "SUCCESS"

    def test_one_that_fails_fails_the_task_and_the_others_go_on(self, still, path):
        run_id = self.start(still, path, "[1, 2]", concurrency=2)
        still.turn(3)
        still.workers.running[0].end("FAILED", error="no")
        self.end_all(still)
        attempts = still.region.runs.attempts([run_id])[run_id]
        assert [item.result for item in attempts] == ["FAILED", "UPSTREAM_FAILED"]

    def test_cancelling_the_run_ends_the_iterations(self, still, path):
        run_id = self.start(still, path, "[1, 2, 3]", concurrency=2)
        still.turn(3)
        still.region.runs.cancel(run_id)
        still.turn(8)
        assert [work.killed for work in still.workers.begun] == [True, True]
        assert still.region.runs.get(run_id).result == "CANCELED"

    def test_a_server_that_dies_goes_on_with_what_was_not_begun(self, still, path):
        run_id = self.start(still, path, "[1, 2, 3]")
        still.turn(3)
        later = still.restarted()
        _, given = self.end_all(later)
        assert [item["it"] for item in given] == ["2", "3"]
        assert later.region.runs.get(run_id).result == "FAILED"

    @pytest.mark.parametrize("inputs", ["no JSON", "{}", "3"])
    def test_inputs_that_are_no_array_fail_the_task_with_a_sentence(self, still, path, inputs):
        run_id = self.start(still, path, inputs)
        still.turn(5)
        assert "array" in still.region.runs.get(run_id).message


@pytest.mark.parametrize(
    "task",
    [
        {"for_each_task": {"inputs": "[]"}},
        {
            "for_each_task": {
                "inputs": "[]",
                "task": {"for_each_task": {"inputs": "[]", "task": {}}},
            }
        },
        {
            "for_each_task": {
                "inputs": "[]",
                "concurrency": 0,
                "task": {"condition_task": {"op": "EQUAL_TO", "left": "1", "right": "1"}},
            }
        },
        {"sql_task": {"warehouse_id": "1", "query": {"query_id": "1"}}},
        {"spark_python_task": {"python_file": "a.py", "source": "GIT"}},
        {"python_wheel_task": {"package_name": "a"}},
        {"dbt_task": {"commands": ["dbt run"]}},
    ],
)
def test_a_task_that_no_region_can_run_is_refused_when_the_job_is_made(w, task):
    with pytest.raises(InvalidParameterValue):
        w.api_client.do(
            "POST",
            "/api/2.2/jobs/create",
            body={"name": "wrong", "tasks": [{"task_key": "t", **task}]},
        )
