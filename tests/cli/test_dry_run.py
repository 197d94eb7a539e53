"""The commands that only look: they write nothing, and their exit codes are an answer."""

import json

import pytest
from typer.testing import CliRunner

from proa.cli.main import app
from proa.errors import PipelineError

SPEC = """
name: shop
storage: storage
configuration: {landing_zone: landing, country: de}
libraries: [{glob: {include: "pipeline/**"}}]
"""
REGIONS = """
regions:
  east: {landing_zone: east/landing, storage: east/storage, configuration: {site: frankfurt-1}}
  west: {landing_zone: west/landing, storage: west/storage, configuration: {site: paris-2}}
"""
BRONZE = """
from pyspark import pipelines as dp
from pyspark.sql import functions as F

@dp.table
def orders():
    return (spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .load(spark.conf.get("landing_zone") + "/orders"))

@dp.view
def shouting():
    orders = spark.readStream.table("orders")
    return orders.select([F.upper(name).alias(name) for name in orders.columns])
"""
SILVER = """
CREATE OR REFRESH STREAMING TABLE loud AS SELECT * FROM STREAM(shouting);
CREATE MATERIALIZED VIEW counts AS SELECT WHO, count(*) AS n FROM loud GROUP BY WHO;
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "spark-pipeline.yml").write_text(SPEC)
    (tmp_path / "proa.yml").write_text(REGIONS)
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "bronze.py").write_text(BRONZE)
    (tmp_path / "pipeline" / "silver.sql").write_text(SILVER)
    for zone in ("landing", "east/landing"):
        folder = tmp_path / zone / "orders"
        folder.mkdir(parents=True)
        (folder / "1.json").write_text('{"who": "ann"}\n')
    return tmp_path


@pytest.fixture
def proa(project):
    """Run a command in the project: exit code and output. Errors are raised."""

    def run(*arguments):
        result = CliRunner().invoke(app, [*arguments, "--project", str(project)])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.stdout

    return run


def everything_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_good_pipeline_may_run_and_nothing_is_written(project, proa):
    before = everything_in(project)
    code, output = proa("dry-run")
    assert code == 0
    assert "3 tables, 1 views, 3 flows in 3 stages: 0 errors, 0 warnings" in output
    assert everything_in(project) == before


def test_a_finding_forbids_to_run_unless_it_is_accepted(project, proa):
    (project / "pipeline" / "gold.sql").write_text(
        "CREATE MATERIALIZED VIEW gold AS\nSELECT *, now() AS at FROM counts;\n"
    )
    code, output = proa("dry-run", "--region", "east")
    assert code == 1
    assert "error CLOCK gold.at: CURRENT_TIMESTAMP() (pipeline/gold.sql:2)" in output
    assert "take the time from the data" in output
    with (project / "proa.yml").open("a") as file:
        file.write("accept: [{finding: 'CLOCK:gold', reason: shown to people only}]\n")
    code, output = proa("dry-run", "--region", "east")
    assert code == 0
    assert "accepted CLOCK in gold (pipeline/gold.sql:2): shown to people only" in output


def test_dr_safety_warn_lets_it_run(project, proa):
    (project / "pipeline" / "gold.sql").write_text(
        "CREATE MATERIALIZED VIEW gold AS SELECT rand() AS r FROM counts;\n"
    )
    with (project / "proa.yml").open("a") as file:
        file.write("dr_safety: warn\n")
    code, output = proa("dry-run", "--json")
    assert code == 0
    found = json.loads(output)
    assert found["valid"] is True
    assert found["may_run"] is True
    assert [(f["code"], f["file"], f["line"]) for f in found["warnings"]] == [
        ("RANDOM", "pipeline/gold.sql", 1)
    ]


def test_what_a_region_sets_for_itself_is_found_in_the_data(project, proa):
    (project / "pipeline" / "gold.py").write_text(
        "from pyspark import pipelines as dp\n"
        "from pyspark.sql import functions as F\n"
        "@dp.materialized_view\n"
        "def gold():\n"
        "    frame = spark.table('counts')\n"
        "    frame = frame.withColumn('c', F.lit(spark.conf.get('country')))\n"
        "    return frame.withColumn('site', F.lit(spark.conf.get('site')))\n"
    )
    code, output = proa("dry-run", "--region", "east", "--json")
    assert code == 1
    (error,) = json.loads(output)["errors"]
    assert (error["code"], error["column"]) == ("REGION_CONFIGURATION", "site")
    assert (error["file"], error["line"]) == ("pipeline/gold.py", 7)


def test_a_mistake_is_exit_code_2_and_json_says_where(project, proa):
    (project / "pipeline" / "gold.sql").write_text(
        "CREATE MATERIALIZED VIEW gold AS\nSELECT * FROM cuonts;\n"
    )
    with pytest.raises(PipelineError, match="did you mean 'counts'"):
        proa("dry-run")
    code, output = proa("dry-run", "--json")
    assert code == 2
    assert json.loads(output)["error"]["condition"] == "TABLE_OR_VIEW_NOT_FOUND"
    assert json.loads(output)["error"]["file"] == "pipeline/gold.sql"
    assert json.loads(output)["error"]["line"] == 2


def test_a_column_that_does_not_exist_is_a_mistake(project, proa):
    (project / "pipeline" / "gold.sql").write_text(
        "CREATE MATERIALIZED VIEW gold AS SELECT whom FROM counts;\n"
    )
    with pytest.raises(PipelineError, match="whom"):
        proa("dry-run")


def test_columns_are_listed_and_what_is_not_there_yet_is_unchecked(project, proa):
    (project / "pipeline" / "later.sql").write_text(
        "CREATE STREAMING TABLE later AS SELECT * FROM STREAM"
        " read_files('${landing_zone}/later', format => 'json');\n"
    )
    code, output = proa("dry-run", "--json")
    found = json.loads(output)
    assert code == 0
    assert found["columns"]["counts"] == [
        {"name": "WHO", "type": "string"},
        {"name": "n", "type": "bigint"},
    ]
    assert "/landing/later" in found["unchecked"]["later"]


def test_the_graph_as_text(project, proa):
    code, output = proa("graph")
    assert code == 0
    assert output.splitlines() == [
        "orders  (streaming table)",
        f"  <- files {project}/landing/orders (stream)",
        "shouting  (view)",
        "  <- orders (stream)",
        "loud  (streaming table)",
        "  <- shouting (stream)",
        "counts  (materialized view)",
        "     refreshed from what changed: groups of WHO: what came is added, what went is taken off",
        "  <- loud",
    ]


@pytest.mark.slow
def test_the_graph_as_mermaid(project, proa):
    _, output = proa("graph", "--mermaid", "--region", "east")
    assert output.splitlines() == [
        "flowchart LR",
        '  d0[["orders"]]',
        '  d1("shouting")',
        '  d2[["loud"]]',
        '  d3["counts"]',
        f'  f0[("{project}/east/landing/orders")]',
        "  f0 ==> d0",
        "  d0 ==> d1",
        "  d1 ==> d2",
        "  d2 --> d3",
    ]


def test_the_graph_as_json(proa):
    _, output = proa("graph", "--json")
    found = json.loads(output)
    assert found["stages"] == [["orders"], ["loud"], ["counts"]]
    assert [dataset["kind"] for dataset in found["datasets"]] == [
        "STREAMING_TABLE",
        "TEMPORARY_VIEW",
        "STREAMING_TABLE",
        "MATERIALIZED_VIEW",
    ]
    assert found["datasets"][2]["refresh"] is None
    assert found["datasets"][3]["refresh"] == {
        "incremental": True,
        "why": "groups of WHO: what came is added, what went is taken off",
        "columns": ["WHO"],
        "whole_for": [],
    }
    assert found["datasets"][2]["flows"][0]["reads"] == [{"dataset": "shouting", "streaming": True}]
