"""The change feed of a table says what its rows did, to Delta's readers and to flows."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from small_projects import Project, ok

from proa.errors import PipelineError

CHANGES = """
@dp.table
def changes():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.maxFilesPerTrigger", 1)
        .option("cloudFiles.schemaHints", "id long, v long, gone boolean, n long")
        .load(spark.conf.get("landing_zone")).drop("_rescued_data")
    )

dp.create_streaming_table("t", table_properties={"delta.enableChangeDataFeed": "true"})
dp.create_auto_cdc_flow("t", "changes", ["id"], "n", apply_as_deletes=F.expr("gone"),
    except_column_list=["gone", "n"], stored_as_scd_type=SCD)
"""
FOLLOW = """
@dp.table
def feed():
    return spark.readStream.option("readChangeFeed", "true").table("t")
"""
UNDONE = {"delete", "update_preimage"}


def land(project: Project, seed: int, files: int) -> None:
    for number in range(files):
        rows = [
            {"id": (3 * n + seed) % 5, "v": (n * n + seed) % 3, "gone": (n + seed) % 4 == 0, "n": n}
            for n in range((seed + number) * 5, (seed + number) * 5 + 5)
        ]
        project.land(f"{seed}-{number}.json", rows)


def replayed(rows: list[dict], columns: list[str]) -> Counter:
    """The rows that a feed leaves when each of its changes is done or undone."""
    left: Counter = Counter()
    for row in rows:
        key = tuple(row[column] for column in columns)
        left[key] += -1 if row["_change_type"] in UNDONE else 1
    assert min(left.values(), default=0) >= 0
    return +left


@pytest.mark.slow
@pytest.mark.parametrize("scd", [1, 2])
def test_a_feed_replayed_is_the_table_for_every_reader(project: Project, scd: int) -> None:
    project.write(CHANGES.replace("SCD", str(scd)) + FOLLOW)
    for seed in range(3):
        land(project, seed, 3)
        ok(project.run())
    table = project.table("t")
    names = [field.name for field in table.schema().fields]
    there = Counter(tuple(row[name] for name in names) for row in project.rows("t"))
    assert there
    assert replayed(project.rows("feed"), names) == there
    others = pa.table(table.load_cdf(starting_version=0, ending_version=table.version()).read_all())
    assert replayed(others.to_pylist(), names) == there
    kinds = {row["_change_type"] for row in project.rows("feed")}
    assert kinds == {"insert", "update_preimage", "update_postimage", "delete"}


@pytest.mark.slow
def test_a_copy_that_follows_a_feed_is_the_table(project: Project) -> None:
    project.write(
        CHANGES.replace("SCD", "1")
        + """
@dp.view
def followed():
    feed = spark.readStream.option("readChangeFeed", "true").table("t")
    return feed.where("_change_type <> 'update_preimage'")

dp.create_streaming_table("copy")
dp.create_auto_cdc_flow("copy", "followed", ["id"], F.struct("_commit_version", "_change_type"),
    apply_as_deletes=F.expr("_change_type = 'delete'"),
    except_column_list=["_change_type", "_commit_version", "_commit_timestamp"])
"""
    )
    for seed in range(2):
        land(project, seed, 2)
        ok(project.run())
        assert project.rows("copy") == project.rows("t")
    ok(project.run(full_refresh=["t", "changes"]))
    ok(project.run())
    assert project.rows("copy") == project.rows("t")


@pytest.mark.slow
@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM table_changes('t', 1)",
        "SELECT c.* FROM table_changes('t', 1, 999) AS c WHERE c.id >= 0",
        "SELECT * FROM table_changes('t', '2026-01-01') WHERE _commit_version >= 1",
    ],
)
def test_a_view_reads_the_changes_of_versions(project: Project, query: str) -> None:
    project.write(CHANGES.replace("SCD", "1"))
    project.write(f"CREATE MATERIALIZED VIEW seen AS {query}", "seen.sql")
    for seed in range(3):
        land(project, seed, 1)
        ok(project.run())
    assert {row["_commit_version"] for row in project.rows("seen")} == {1, 2, 3}


@pytest.mark.slow
def test_a_stream_in_sql_reads_a_feed(project: Project) -> None:
    project.write(CHANGES.replace("SCD", "1"))
    texts = (
        "CREATE STREAMING TABLE a AS SELECT * FROM STREAM t WITH (readChangeFeed = true);"
        "CREATE STREAMING TABLE b AS SELECT * FROM STREAM(table_changes('t', 0));"
        "CREATE STREAMING TABLE c AS SELECT * FROM STREAM table_changes('t', 0)"
    )
    project.write(texts, "feeds.sql")
    land(project, 1, 3)
    ok(project.run())
    names = ["id", "v"]
    there = Counter(tuple(row[name] for name in names) for row in project.rows("t"))
    assert [replayed(project.rows(name), names) for name in "abc"] == [there] * 3


def test_a_feed_that_nobody_records_is_refused_before_anything_runs(project: Project) -> None:
    project.write(CHANGES.replace("SCD", "1").replace('"true"', '"false"') + FOLLOW)
    error = project.run().error
    assert isinstance(error, PipelineError)
    assert error.condition == "DELTA_MISSING_CHANGE_DATA"
    assert "delta.enableChangeDataFeed: true" in str(error)
    assert project.exists("t") is False


@pytest.mark.slow
def test_a_feed_that_was_turned_on_later_begins_there(project: Project) -> None:
    without = CHANGES.replace("SCD", "1").replace('"true"', '"false"')
    project.write(without)
    for seed in range(3):
        land(project, seed, 1)
        ok(project.run())
    project.write(CHANGES.replace("SCD", "1") + FOLLOW)
    land(project, 4, 1)
    ok(project.run())
    land(project, 5, 1)
    ok(project.run())
    names = ["id", "v"]
    there = Counter(tuple(row[name] for name in names) for row in project.rows("t"))
    assert replayed(project.rows("feed"), names) == there
    project.write(
        CHANGES.replace("SCD", "1")
        + FOLLOW.replace(".table(", ".option('startingVersion', 0).table(")
    )
    error = project.run(full_refresh=["feed"]).error
    assert error is not None
    assert error.condition == "DELTA_MISSING_CHANGE_DATA"


def put(path, ids, **options) -> None:
    days = [str(i % 2) for i in ids]
    write_deltalake(
        str(path),
        pa.table({"id": pa.array(ids, pa.int64()), "day": days}),
        mode="append",
        **options,
    )


@pytest.mark.parametrize("partition_by", [None, ["day"]], ids=["plain", "partitioned"])
def test_the_feed_of_a_foreign_table_replayed_is_the_table(project: Project, partition_by) -> None:
    path = project.folder / "orders"
    on = {"delta.enableChangeDataFeed": "true"}
    put(path, [1, 2, 3], partition_by=partition_by, configuration=on)
    project.write(
        "@dp.table\ndef feed():\n    return spark.readStream.format('delta')"
        f".option('readChangeFeed', True).load('{path}')\n"
    )
    ok(project.run())
    foreign = DeltaTable(str(path))
    foreign.update(predicate="id = 1", updates={"id": "10"})
    foreign.delete("id = 2")
    put(path, [5])
    ok(project.run())
    there = Counter(
        (row["id"], row["day"]) for row in DeltaTable(str(path)).to_pyarrow_table().to_pylist()
    )
    assert replayed(project.rows("feed"), ["id", "day"]) == there
