"""The commands, as people and programs type them."""

import json
from pathlib import Path

import pytest
from small_projects import Project, ok
from typer.testing import CliRunner

from proa.cli.main import app
from proa.errors import SettingsError, UserError
from proa.layout import SERVED
from proa.region.workspace.files import FOLDER
from proa.runtime import Runner
from proa.runtime.queries import Queries, StoredTables

APACHE = {
    "spark-pipeline.yml": """
name: apache
storage: "file://{folder}/pipeline-storage"
catalog: spark_catalog
database: default
libraries:
  - glob:
      include: transformations/**
""",
    "transformations/example_python_materialized_view.py": """
from pyspark import pipelines as dp
from pyspark.sql import DataFrame, SparkSession

spark = SparkSession.active()

@dp.materialized_view
def example_python_materialized_view() -> DataFrame:
    return spark.range(10)
""",
    "transformations/example_sql_materialized_view.sql": """
CREATE MATERIALIZED VIEW example_sql_materialized_view AS
SELECT id FROM example_python_materialized_view WHERE id % 2 = 0
""",
}
PIPELINE = """
@dp.table
@dp.expect("small", "id < 2")
def bronze():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.schemaHints", "id long, at timestamp, price decimal(9,2)")
        .load(spark.conf.get("landing_zone")).drop("_rescued_data")
    )
"""


@pytest.fixture
def shop(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project of two regions; the command line is in its folder."""
    project.write(PIPELINE)
    (project.folder / "spark-pipeline.yml").write_text(
        "name: shop\nstorage: data\nconfiguration: {landing_zone: landing}\n"
        "libraries: [{glob: {include: pipeline.py}}]\n"
    )
    (project.folder / "proa.yml").write_text(
        "regions:\n"
        "  east: {landing_zone: east/landing, storage: east/storage}\n"
        "  west: {landing_zone: west/landing, storage: west/storage}\n"
        "event_time: {table: bronze, column: at}\n"
    )
    project.base = str(project.folder / "east")
    project.land("a.json", [{"id": 1, "at": "2026-01-05T09:00:00Z", "price": 1.5}, {"id": 2}])
    monkeypatch.chdir(project.folder)
    return project


def proa(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def test_a_project_that_apache_made_runs_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in APACHE.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("{folder}", str(tmp_path)))
    monkeypatch.chdir(tmp_path)
    assert proa("run", "--json")[0] == 0
    _code, out = proa("query", "--json", "SELECT * FROM default.example_sql_materialized_view")
    assert sorted(row["id"] for row in json.loads(out)) == [0, 2, 4, 6, 8]
    assert (tmp_path / "pipeline-storage" / "tables").is_dir()


def test_a_run_says_what_it_did(shop: Project) -> None:
    code, out = proa("run", "--region", "east", "--json")
    said = json.loads(out)
    assert (code, said["state"], said["rows"]) == (0, "COMPLETED", 2)
    assert said["flows"][0]["expectations"] == [
        {"name": "small", "violation": "warn", "passed": 1, "failed": 1}
    ]
    code, out = proa("run", "--region", "east")
    assert (code, out.strip().splitlines()[-1][:30]) == (0, "COMPLETED: 0 rows from 0 new f")


def test_a_region_that_is_not_there_is_the_users_mistake(shop: Project) -> None:
    with pytest.raises(UserError, match="no region 'north'"):
        proa("run", "--region", "north")


@pytest.mark.parametrize(
    "command", [["run"], ["tables"], ["events"], ["maintain"], ["query", "SELECT 1"]], ids=str
)
def test_a_project_with_regions_has_no_third_place(shop: Project, command: list[str]) -> None:
    with pytest.raises(SettingsError, match="has the regions east, west; say which with --region"):
        proa(*command)
    with pytest.raises(SettingsError, match="names 'east' and 'west', and a command works on one"):
        proa(*command, "--region", "east", "--region", "west")
    assert not (shop.folder / "data").exists()


@pytest.mark.parametrize(
    "reader",
    [
        'spark.readStream.format("cloudFiles").option("cloudFiles.format", "json").load("{}")',
        'spark.readStream.format("cloudFiles").option("cloudFiles.format", "json").schema("a int").load("{}")',
        'spark.read.format("csv").option("header", "true").load("{}")',
        "spark.sql(\"SELECT * FROM read_files('{}', format => 'json')\")",
    ],
)
@pytest.mark.parametrize("folder", ["no/such/folder", "east/landing/ordres"])
def test_a_folder_that_is_not_there_is_refused_with_its_place(
    shop: Project, reader: str, folder: str
) -> None:
    call = reader.replace("{}", str(shop.folder / folder))
    shop.write(f"""
        @dp.table
        def a():
            return {call}
    """)
    code, out = proa("run", "--region", "east", "--json")
    (flow,) = json.loads(out)["flows"]
    assert (code, flow["status"]) == (1, "FAILED")
    assert flow["error"].startswith("[PATH_NOT_FOUND] there is nothing at")
    assert "pipeline.py:" in flow["error"]


def test_a_folder_that_a_shipment_will_make_is_waited_for(shop: Project) -> None:
    (shop.folder / "proa.yml").write_text(
        "regions:\n"
        "  west: {landing_zone: west/landing, storage: west/storage}\n"
        "sources: {orders: {path: source}}\n"
    )
    shop.write(
        PIPELINE.replace(
            '.load(spark.conf.get("landing_zone"))',
            '.load(spark.conf.get("landing_zone") + "/orders")',
        )
    )
    code, out = proa("run", "--region", "west", "--json")
    assert (code, json.loads(out)["flows"][0]["status"]) == (0, "COMPLETED")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--through", "noon"), "write it like"),
        (("--through", "n=1,n=2"), "write it like"),
        (("--through", "n=1", "--continuous"), "leave one of them out"),
    ],
)
def test_a_moment_that_no_update_can_end_at_is_refused(
    shop: Project, options: tuple[str, ...], message: str
) -> None:
    result = CliRunner().invoke(app, ["run", "--region", "east", *options])
    assert isinstance(result.exception, SettingsError)
    assert message in str(result.exception)


def test_a_failed_flow_is_exit_code_1_and_a_wrong_pipeline_2(shop: Project) -> None:
    shop.write(PIPELINE.replace('expect("small"', 'expect_or_fail("small"'))
    assert proa("run", "--region", "east")[0] == 1
    shop.write(PIPELINE.replace("def bronze():", "def bronze(:"))
    assert proa("run", "--region", "east")[0] == 2


@pytest.mark.slow
def test_tables_are_listed_with_what_they_hold(shop: Project) -> None:
    proa("run", "--region", "east")
    _code, out = proa("tables", "--region", "east", "--json")
    assert json.loads(out) == [
        {
            "name": "bronze",
            "kind": "STREAMING_TABLE",
            "rows": 2,
            "version": 1,
            "latest_event_time": "2026-01-05T09:00:00Z",
            "files": 1,
        }
    ]
    assert "streaming table" in proa("tables", "--region", "west")[1]


def test_rows_are_read_as_json_objects_with_all_their_digits(shop: Project) -> None:
    proa("run", "--region", "east")
    _code, out = proa("query", "--region", "east", "--json", "SELECT * FROM bronze ORDER BY id")
    assert json.loads(out, parse_float=str) == [
        {"at": "2026-01-05T09:00:00Z", "id": 1, "price": "1.50"},
        {"at": None, "id": 2, "price": None},
    ]
    assert "2026-01-05T09:00:00Z" in proa("query", "--region", "east", "SELECT * FROM bronze")[1]


@pytest.mark.slow
def test_an_older_version_can_be_read(shop: Project) -> None:
    proa("run", "--region", "east")
    shop.land("b.json", [{"id": 3}])
    proa("run", "--region", "east")
    count = "SELECT count(*) AS n FROM bronze"
    assert json.loads(proa("query", "--region", "east", "--json", count)[1]) == [{"n": 3}]
    old = proa("query", "--region", "east", "--json", "--as-of-version", "1", count)[1]
    assert json.loads(old) == [{"n": 2}]
    with pytest.raises(UserError, match="has the versions 0 to 2, and no version 9"):
        proa("query", "--region", "east", "--as-of-version", "9", count)


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE bronze",
        "INSERT INTO bronze VALUES (1)",
        "CREATE TABLE x AS SELECT 1",
        "DELETE FROM bronze",
        "SET a = b",
        "SELECT 1; DROP TABLE bronze",
        "WITH x AS (SELECT 1) INSERT INTO bronze SELECT * FROM x",
    ],
)
def test_a_query_cannot_write(project: Project, sql: str) -> None:
    project.write(PIPELINE)
    project.land("a.json", [{"id": 1}])
    ok(project.run())
    with pytest.raises(UserError):
        Queries(project.engine, StoredTables(project.storage)).arrow(sql)
    assert project.rows("bronze", "id") == [1]


def test_a_table_at_a_place_of_its_own_is_queried_by_its_name(project: Project) -> None:
    project.write(
        PIPELINE.replace("@dp.table\n", f"@dp.table(path={project.storage + '-own'!r})\n", 1)
    )
    project.land("a.json", [{"id": 1}])
    ok(project.run())
    rows = Queries(project.engine, StoredTables(project.storage)).arrow("SELECT id FROM bronze")
    assert rows.to_pylist() == [{"id": 1}]


def test_an_unknown_table_is_named_with_the_nearest_one(project: Project) -> None:
    project.write(PIPELINE)
    project.land("a.json", [{"id": 1}])
    ok(project.run())
    with pytest.raises(UserError, match=r"no table 'bronce'.*bronze"):
        Queries(project.engine, StoredTables(project.storage)).arrow("SELECT * FROM bronce")


@pytest.mark.slow
def test_events_are_shown_and_filtered(shop: Project) -> None:
    proa("run", "--region", "east")
    out = proa("events", "--region", "east", "--json", "--type", "flow_progress")[1]
    assert {event["event_type"] for event in json.loads(out)} == {"flow_progress"}
    levels = {"METRICS": 0, "INFO": 1, "WARN": 2, "ERROR": 3}
    every = [
        event["level"]
        for event in json.loads(proa("events", "--region", "east", "--json", "--last", "999")[1])
    ]
    for level, rank in levels.items():
        command = ("events", "--region", "east", "--json", "--last", "999", "--level", level)
        found = [event["level"] for event in json.loads(proa(*command)[1])]
        assert found == [one for one in every if levels[one] >= rank]
    assert "is COMPLETED" in proa("events", "--region", "east", "--last", "1")[1]
    assert proa("events", "--region", "west")[1] == "no events\n"


@pytest.mark.slow
def test_maintenance_tells_what_it_did_and_what_it_would(shop: Project) -> None:
    for number in range(9):
        shop.land(f"{number}.json", [{"id": number}])
        assert proa("run", "--region", "east")[0] == 0
    assert proa("maintain", "--region", "east", "--dry-run") == (
        0,
        "bronze: would be: 10 small files made 1\nthe event log: nothing to do\n",
    )
    code, output = proa("maintain", "--region", "east", "--json")
    assert code == 0
    assert json.loads(output)["tables"][0]["compacted"] == {"before": 10, "after": 1}
    with pytest.raises(UserError, match="--retention must be a duration"):
        proa("maintain", "--region", "east", "--retention", "long")


def test_dry_run_and_run_find_the_same(shop: Project) -> None:
    # A sum of a float: seen only by whoever knows the types of the files' columns.
    shop.land("f.json", [{"id": 3, "weight": 1.5}])
    shop.write(
        PIPELINE.replace(".load(", '.option("cloudFiles.inferColumnTypes", True).load(')
        + """
@dp.materialized_view
def total():
    return spark.read.table("bronze").agg(F.sum("weight").alias("weight"))
"""
    )
    _, out = proa("dry-run", "--region", "east", "--json")
    said = json.loads(out)
    checked = {(f["code"], f["dataset"]) for f in (*said["errors"], *said["warnings"])}
    proa("run", "--region", "east", "--json")
    _, out = proa("events", "--region", "east", "--type", "planning_information", "--json")
    events = [event["details"]["planning_information"] for event in json.loads(out)]
    told = [details["finding"] for details in events if "finding" in details]
    assert ("FLOAT_SUM", "total") in checked
    assert {(finding["code"], finding["dataset"]) for finding in told} == checked


@pytest.mark.slow
def test_one_look_finds_what_the_regions_server_computed(shop: Project) -> None:
    proa("run", "--region", "east")
    assert f"{FOLDER}/pipelines" == SERVED
    served = f"{shop.folder}/east/storage/{SERVED}/0a1b"
    pipeline = Runner.from_settings(
        "nightly",
        served,
        shop.files,
        {"landing_zone": shop.landing.url},
        engine=shop.engine,
    )
    with pipeline as runner:
        ok(runner.update())
    rows = json.loads(proa("tables", "--region", "east", "--json")[1])
    assert [(row["name"], row.get("pipeline"), row["rows"]) for row in rows] == [
        ("bronze", None, 2),
        ("bronze", "nightly", 2),
    ]
    assert rows[1]["storage"] == served
    assert "nightly: bronze" in proa("tables", "--region", "east")[1]
