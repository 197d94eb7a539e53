"""The same pipeline on Apache Spark and on the embedded engine: the same rows."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from pyspark.sql.connect import proto
from pyspark.sql.types import DoubleType, StructField, StructType

from proa.engine import Engine
from proa.settings import EngineSettings

PROA = [sys.executable, "-m", "proa"]
SPEC = "name: shop\nstorage: storage\nlibraries: [{glob: {include: transformations/**}}]\n"
REGIONS = """\
regions:
  embedded: {{landing_zone: embedded/landing, storage: embedded/storage}}
  spark: {{landing_zone: spark/landing, storage: spark/storage, engine: {{remote: "{address}"}}}}
sources:
  orders: {{path: source/orders}}
dr_safety: "off"
"""
BRONZE = """\
from pyspark import pipelines as dp
from pyspark.sql import functions as F
from pyspark.sql.types import StringType

zone = spark.conf.get("landing_zone")

@dp.table
@dp.expect("whole", "_rescued_data IS NULL")
@dp.expect_or_drop("has_id", "id IS NOT NULL")
def bronze():
    return (spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
            .option("cloudFiles.schemaHints", "id bigint, amount decimal(12,2), at timestamp")
            .load(f"{zone}/orders"))

@F.udf(returnType=StringType())
def shout(text):
    return None if text is None else text.upper() + "!"

@dp.table(partition_cols=["day", "kind"])
def silver():
    return (spark.readStream.table("bronze")
            .select("id", "amount", "at", shout("name").alias("name"),
                    F.to_date("at").alias("day"), F.col("tags").alias("tags"),
                    F.concat(F.lit("a/b c=%*{"), F.col("id").cast("string")).alias("kind")))
"""
GOLD = """\
CREATE OR REFRESH MATERIALIZED VIEW gold AS
SELECT day, name, count(*) AS orders, sum(amount) AS amount, max(at) AS latest
FROM silver GROUP BY day, name;

CREATE OR REFRESH MATERIALIZED VIEW best AS
SELECT * FROM (
  SELECT id, name, amount, row_number() OVER (PARTITION BY name ORDER BY amount DESC, id) AS place
  FROM silver WHERE amount IS NOT NULL)
WHERE place <= 2;
"""
CHANGING = """\
from pyspark import pipelines as dp
from pyspark.sql import functions as F

zone = spark.conf.get("landing_zone")

def stream(folder, kind, hints):
    return (spark.readStream.format("cloudFiles").option("cloudFiles.format", kind)
            .option("cloudFiles.schemaHints", hints).load(f"{zone}/{folder}"))

@dp.table
def changes():
    return stream("changes", "csv", "id int, name string, op string, at timestamp, n bigint")

@dp.table
def visits():
    return stream("visits", "parquet", "id bigint, at timestamp, page string")

for kind in (1, 2):
    dp.create_streaming_table(f"people{kind}")
    dp.create_auto_cdc_flow(
        target=f"people{kind}", source="changes", keys=["id"], sequence_by="n",
        apply_as_deletes=F.expr("op = 'D'"), except_column_list=["op", "n"],
        stored_as_scd_type=kind)

def events(name, minutes="10 minutes"):
    return spark.readStream.table(name).withWatermark("at", minutes)

@dp.table
def first_visits():
    return events("visits").dropDuplicates(["id", "page"]).select("id", "page")

@dp.table
def by_window():
    return (events("visits").groupBy(F.window("at", "10 minutes", "5 minutes"), "page")
            .agg(F.count("*").alias("visits"), F.max("id").alias("greatest"))
            .select(F.col("window.start").alias("at"), "page", "visits", "greatest"))

@dp.table
def by_session():
    return (events("visits").groupBy(F.session_window("at", "4 minutes"), "id")
            .agg(F.count("*").alias("visits"))
            .select("id", F.col("session_window.start").alias("at"), "visits"))

@dp.table
def both():
    a, b = events("visits").alias("a"), events("changes").alias("b")
    return (a.join(b, F.expr("a.id = b.id AND b.at BETWEEN a.at AND a.at + INTERVAL 20 MINUTES"),
                   "left_outer")
            .select("a.id", "a.page", F.col("b.n").alias("n")))
"""
ROWS = [
    {"id": 1, "amount": "10.50", "at": "2026-01-05T09:00:00Z", "name": "ann", "tags": ["a"]},
    {"id": 2, "amount": 20, "at": "2026-01-05T10:00:00Z", "name": "bo", "tags": []},
    {"id": 3, "amount": "much", "at": "2026-01-06T10:00:00Z", "name": None},
    {"amount": 1, "at": "2026-01-06T10:00:00Z", "name": "no id"},
    {"id": 5, "amount": 7.25, "at": "2026-01-06T23:59:59Z", "name": "ann", "more": {"x": 1}},
]


MORE_SOURCES = "  changes: {path: source/changes}\n  visits: {path: source/visits}\n"
SHOP = {"transformations/bronze.py": BRONZE, "transformations/gold.sql": GOLD}


def project(folder: Path, address: str, files: dict[str, str] = SHOP) -> Path:
    regions = REGIONS.format(address=address)
    if files is not SHOP:
        regions = regions.replace("  orders: {path: source/orders}\n", MORE_SOURCES)
    settings = {"spark-pipeline.yml": SPEC, "proa.yml": regions}
    for path, text in (settings | files).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return folder


def put(folder: Path, name: str, rows: list[dict]) -> None:
    path = folder / "source" / "orders" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)) + "\n{broken\n", encoding="utf-8")


def put_events(folder: Path, number: int) -> None:
    """One file of changes and one of visits; the third brings late ones and duplicates."""
    start = datetime(2026, 1, 5, 9, tzinfo=UTC) + timedelta(minutes=15 * (number % 3))
    times = [start + timedelta(minutes=minute) for minute in range(12)]
    lines = [
        f"{i % 5},name {i % 3},{'D' if i % 7 == 6 else 'U'},{at:%Y-%m-%dT%H:%M:%SZ},{number * 5 + i}"
        for i, at in enumerate(times)
    ]
    changes = folder / "source" / "changes" / f"{number}.csv"
    changes.parent.mkdir(parents=True, exist_ok=True)
    changes.write_text("\n".join(["id,name,op,at,n", *lines]) + "\n", encoding="utf-8")
    visits = folder / "source" / "visits" / f"{number}.parquet"
    visits.parent.mkdir(parents=True, exist_ok=True)
    pages = [f"/page{i % 2}" for i in range(12)]
    rows = {"id": [i % 5 for i in range(12)], "at": pa.array(times, pa.timestamp("us", "UTC"))}
    pq.write_table(pa.table({**rows, "page": pages}), visits)


def proa(folder: Path, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [*PROA, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.mark.versions
def test_a_region_on_spark_equals_a_region_on_the_embedded_engine(spark, spark_version, tmp_path):
    folder = project(tmp_path, spark.address)
    put(folder, "1.json", ROWS[:3])
    proa(folder, "ship", "--once")
    proa(folder, "run", "--region", "spark")
    put(folder, "2.json", ROWS[3:])
    proa(folder, "ship", "--once")
    proa(folder, "run", "--region", "spark")
    proa(folder, "run", "--region", "embedded")
    assert "embedded and spark are equal: 4 tables" in proa(folder, "verify"), spark_version


@pytest.mark.versions
def test_changes_and_state_are_the_same_on_both(spark, spark_version, tmp_path):
    """AUTO CDC, duplicates, windows, sessions and a join of two streams, in other batches each."""
    folder = project(tmp_path, spark.address, {"transformations/changing.py": CHANGING})
    for number in (1, 2, 4):
        put_events(folder, number)
        proa(folder, "ship", "--once")
        if number != 1:
            proa(folder, "run", "--region", "spark")
    proa(folder, "run", "--region", "embedded")
    assert "embedded and spark are equal: 8 tables" in proa(folder, "verify"), spark_version


def test_plans_at_the_same_time_read_what_is_theirs(spark):
    """Spark makes a view of the session of each relation that SQL reads; all have one name here."""

    def numbers(to: int) -> proto.Relation:
        relation = proto.Relation()
        relation.range.start, relation.range.end, relation.range.step = 0, to, 1
        return relation

    def total(of: proto.Relation) -> proto.Relation:
        relation = proto.Relation()
        relation.with_relations.root.sql.query = "SELECT sum(id) AS id FROM __proa_0"
        reference = relation.with_relations.references.add()
        reference.subquery_alias.alias = "__proa_0"
        reference.subquery_alias.input.CopyFrom(of)
        return relation

    with Engine.start(EngineSettings(remote=spark.address)) as engine:

        def answer(to: int) -> int:
            frame = engine.dataframe(total(total(numbers(to))))
            return int(engine.arrow(frame)["id"][0].as_py())

        sizes = range(2, 42)
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(answer, sizes))
    assert answers == [sum(range(size)) for size in sizes]


@pytest.mark.versions
def test_a_nan_is_found_by_what_is_greater(spark, tmp_path):
    """The file's statistics say that no value is above 1."""
    path = tmp_path / "values.parquet"
    pq.write_table(pa.table({"x": [1.0, float("nan")]}), path)
    with Engine.start(EngineSettings(remote=spark.address)) as engine:
        schema = StructType([StructField("x", DoubleType())])
        frame = engine.dataframe(engine.parquet([str(path)], schema)).where("x > 5")
        assert str(engine.arrow(frame)["x"].to_pylist()) == "[nan]"


def test_workers_are_given_what_they_need(spark, tmp_path):
    """The server's Python has Spark and no Proa; nothing was installed there."""
    folder = project(tmp_path, spark.address)
    put(folder, "1.json", ROWS)
    proa(folder, "ship", "--once")
    result = json.loads(proa(folder, "run", "--region", "spark", "--json"))
    assert result["state"] == "COMPLETED"
    assert {flow["dataset"]: flow["rows"] for flow in result["flows"]}["bronze"] == 4


def test_a_server_that_dies_in_mid_batch_costs_no_row(own_spark, tmp_path):
    folder = project(tmp_path, own_spark.address)
    put(folder, "1.json", [{**row, "id": number} for number in range(2000) for row in ROWS[:2]])
    proa(folder, "ship", "--once")
    running = subprocess.Popen(
        [*PROA, "run", "--region", "spark"],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with running:
        for line in running.stderr:
            if "Flow 'bronze' is running" in line:
                own_spark.kill()
                break
        again = threading.Thread(target=own_spark.start)
        again.start()
        running.stderr.read()
        again.join()
    proa(folder, "run", "--region", "spark")
    proa(folder, "run", "--region", "embedded")
    assert "embedded and spark are equal: 4 tables" in proa(folder, "verify")


def assert_cluster_equals(cluster, folder: Path) -> None:
    """Ship 20 files, compute them on the cluster and embedded, and compare; both workers worked."""
    _, folders = cluster
    for number in range(20):
        put(folder, f"{number}.json", [{**row, "id": number} for row in ROWS[:3]])
    proa(folder, "ship", "--once")
    proa(folder, "run", "--region", "spark")
    proa(folder, "run", "--region", "embedded")
    assert "embedded and spark are equal: 4 tables" in proa(folder, "verify")
    for worker in folders:
        assert any("Running task" in log for log in logs_of(worker)), worker


def logs_of(worker: Path) -> list[str]:
    return [
        path.read_text(encoding="utf-8")
        for name in ("stdout", "stderr")
        for path in worker.rglob(name)
    ]


def test_a_cluster_spreads_the_work_over_its_workers(cluster, tmp_path):
    assert_cluster_equals(cluster, project(tmp_path, cluster[0].address))


@pytest.mark.packages
def test_a_cluster_reads_and_writes_s3_and_logs_no_key(
    cluster_with_s3, s3_secret, new_bucket, tmp_path
):
    server, folders = cluster_with_s3
    folder = project(tmp_path, server.address)
    regions = {}
    for name in ("embedded", "spark"):
        url, options = new_bucket()
        options["aws_secret_access_key"] = s3_secret
        places = {"landing_zone": f"{url}/landing", "storage": f"{url}/storage"}
        regions[name] = {**places, "options": options}
    regions["spark"]["engine"] = {"remote": server.address}
    sources = {"orders": {"path": "source/orders"}}
    settings = {"regions": regions, "sources": sources, "dr_safety": "off"}
    (folder / "proa.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert_cluster_equals(cluster_with_s3, folder)
    logs = [log for worker in folders for log in logs_of(worker)]
    assert not [log for log in [*logs, *server.lines] if s3_secret in log]
    assert s3_secret not in proa(folder, "events", "--region", "spark", "--json")
