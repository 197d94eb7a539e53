"""Delta tables that others make are read by name or path, complete or as a stream, each row once."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql.types import StructType
from small_projects import Project, ok

from proa.cli.main import run as cli
from proa.errors import UserError
from proa.runtime.pipeline import from_project
from proa.runtime.table_rows import check_mapping


def put(path, ids, *, mode="append", partition_by=None):
    days = [dt.date(2026, 1, 1 + i % 3) if i % 4 else None for i in ids]
    table = pa.table({"id": pa.array(ids, pa.int64()), "day": pa.array(days, pa.date32())})
    write_deltalake(str(path), table, mode=mode, partition_by=partition_by)


def expected(ids):
    return sorted(((i, dt.date(2026, 1, 1 + i % 3) if i % 4 else None) for i in ids), key=str)


READS = {
    "by name": "spark.readStream.table('main.raw.orders')",
    "by path": "spark.readStream.format('delta').load('{path}')",
    "without a format": "spark.readStream.load('{path}')",
    "in SQL": 'spark.sql("SELECT * FROM STREAM delta.`{path}`")',
    "in SQL by name": 'spark.sql("SELECT * FROM STREAM main.raw.orders o WHERE o.id >= 0")',
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
@pytest.mark.parametrize("partition_by", [None, ["day"]], ids=["plain", "partitioned"])
def test_a_stream_reads_each_row_of_a_foreign_table_once(project: Project, read, partition_by):
    path = project.folder / "orders"
    put(path, [1, 2, 3], partition_by=partition_by)
    project.configuration = {"tables.main.raw.orders": str(path)}
    project.write(f"@dp.table\ndef a():\n    return {read.format(path=path)}\n")
    ok(project.run())
    assert project.rows("a", "id", "day") == expected([1, 2, 3])
    put(path, [4, 5], partition_by=partition_by)
    put(path, [6], partition_by=partition_by)
    assert ok(project.run()).rows == 3
    assert project.rows("a", "id", "day") == expected([1, 2, 3, 4, 5, 6])
    assert ok(project.run()).rows == 0


def test_a_materialized_view_follows_a_foreign_table_whatever_happens_to_it(project: Project):
    path = project.folder / "orders"
    put(path, [1, 2, 3])
    project.configuration = {"tables.main.raw.orders": str(path)}
    project.write("CREATE MATERIALIZED VIEW a AS SELECT id FROM MAIN.raw.Orders", "a.sql")
    ok(project.run())
    DeltaTable(str(path)).delete("id = 2")
    put(path, [7])
    ok(project.run())
    assert project.rows("a", "id") == [1, 3, 7]


def test_a_stream_may_begin_at_a_version(project: Project):
    path = project.folder / "orders"
    put(path, [1])
    put(path, [2])
    put(path, [3])
    project.write(
        "@dp.table\ndef a():\n"
        f"    return spark.readStream.option('startingVersion', 1).format('delta').load('{path}')\n"
    )
    ok(project.run())
    assert project.rows("a", "id") == [2, 3]


def test_rows_that_were_taken_out_stop_a_stream_unless_it_skips_such_commits(project: Project):
    path = project.folder / "orders"
    put(path, [1, 2])
    text = "@dp.table\ndef a():\n    return spark.readStream{}.format('delta').load('{}')\n"
    project.write(text.format("", path))
    ok(project.run())
    DeltaTable(str(path)).delete("id = 2")
    put(path, [3])
    error = project.run().error
    assert error is not None
    assert error.condition == "DELTA_SOURCE_TABLE_IGNORE_CHANGES"
    project.write(text.format(".option('skipChangeCommits', 'true')", path))
    ok(project.run())
    assert project.rows("a", "id") == [1, 2, 3]


OPTIONS = [
    "startingTimestamp",
    "readChangeFeed",
    "startingVersion",
    "ignoreChanges",
    "endingVersion",
]


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_that_is_not_done_is_refused(project: Project, option):
    path = project.folder / "orders"
    put(path, [1])
    project.write(
        "@dp.table\ndef a():\n"
        f"    return spark.readStream.option('{option}', 'x').format('delta').load('{path}')\n"
    )
    error = project.run().error
    assert error is not None
    assert option in str(error)


def stream_of(path, *options: tuple[str, str]) -> str:
    given = "".join(f".option({name!r}, {value!r})" for name, value in options)
    return (
        f"@dp.table\ndef a():\n    return spark.readStream{given}.format('delta').load('{path}')\n"
    )


def test_a_stream_may_begin_at_a_time(project: Project):
    path = project.folder / "orders"
    for number in (1, 2, 3):
        put(path, [number])
    moments = [DeltaTable(str(path)).history()[2 - v]["timestamp"] for v in range(3)]
    begin = dt.datetime.fromtimestamp(moments[1] / 1000, dt.UTC)
    project.write(stream_of(path, ("startingTimestamp", begin.isoformat())))
    ok(project.run())
    assert project.rows("a", "id") == [v + 1 for v in range(3) if moments[v] >= moments[1]]
    project.write(stream_of(path, ("startingTimestamp", "2999-01-01")))
    ok(project.run(full_refresh_all=True))
    assert project.rows("a") == []


def test_commits_that_only_take_rows_out_may_be_ignored(project: Project):
    path = project.folder / "orders"
    put(path, [1, 2])
    project.write(stream_of(path, ("ignoreDeletes", "true")))
    ok(project.run())
    DeltaTable(str(path)).delete()
    put(path, [3])
    ok(project.run())
    assert project.rows("a", "id") == [1, 2, 3]
    DeltaTable(str(path)).update(predicate="id = 3", updates={"id": "4"})
    error = project.run().error
    assert error is not None
    assert error.condition == "DELTA_SOURCE_TABLE_IGNORE_CHANGES"


def test_a_table_by_name_is_read_as_it_was(project: Project):
    path = project.folder / "orders"
    for number in (1, 2, 3):
        put(path, [number])
    project.configuration = {"tables.main.raw.orders": str(path)}
    text = "@dp.materialized_view\ndef a():\n    return spark.read.option('versionAsOf', {}).table('{}')\n"
    project.write(text.format(1, "main.raw.orders"))
    ok(project.run())
    assert project.rows("a", "id") == [1, 2]
    error = project.write(text.format(7, "main.raw.orders")).run().error
    assert error is not None
    assert error.condition == "DELTA_VERSION_NOT_FOUND"


def commit(path, version: int, *actions: dict) -> None:
    """Write a version of a table as another writer does."""
    log = path / "_delta_log"
    log.mkdir(parents=True, exist_ok=True)
    (log / f"{version:020d}.json").write_text("".join(json.dumps(a) + "\n" for a in actions))


def add(path, name: str, column: str, ids: list[int], **more) -> dict:
    file = path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({column: pa.array(ids, pa.int64())}), file)
    stats = json.dumps({"numRecords": len(ids)})
    size = file.stat().st_size
    entry = {"path": name, "partitionValues": {}, "size": size, "modificationTime": 1}
    return {"add": {**entry, "dataChange": True, "stats": stats, **more}}


def metadata(column: dict, **configuration: str) -> dict:
    schema = {"type": "struct", "fields": [column]}
    return {
        "metaData": {
            "id": "00000000-0000-4000-8000-000000000000",
            "format": {"provider": "parquet", "options": {}},
            "schemaString": json.dumps(schema),
            "partitionColumns": [],
            "configuration": configuration,
            "createdTime": 1,
        }
    }


def mapped(name: str, physical: str, kind: object = "long") -> dict:
    given = {"delta.columnMapping.id": 1, "delta.columnMapping.physicalName": physical}
    return {"name": name, "type": kind, "nullable": True, "metadata": given}


def test_a_stream_reads_a_table_whose_columns_have_other_names_in_its_files(project: Project):
    path = project.folder / "mapped"
    mapping = {"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "1"}
    protocol = {"protocol": {"minReaderVersion": 2, "minWriterVersion": 5}}
    first = metadata(mapped("id", "col-a1"), **mapping)
    commit(path, 0, protocol, first, add(path, "0.parquet", "col-a1", [1, 2]))
    project.write(stream_of(path))
    ok(project.run())
    commit(path, 1, add(path, "1.parquet", "col-a1", [3]))
    ok(project.run())
    assert project.rows("a", "id") == [1, 2, 3]


def test_a_stream_over_mapped_fields_inside_a_column_is_refused_by_name(project: Project):
    struct = {"type": "struct", "fields": [mapped("x", "col-x")]}
    columns = StructType.fromJson({"type": "struct", "fields": [mapped("s", "col-s", struct)]})
    with pytest.raises(UserError, match="'s'") as caught:
        check_mapping(columns, "/t")
    assert caught.value.condition == "UNSUPPORTED_FEATURE"


MARKS = {
    "storageType": "i",
    "pathOrInlineDv": "^Bg9^0rr910000000000iXQKl0rr91000315c8Xg0rri4",
    "sizeInBytes": 36,
    "cardinality": 2,
}
"""A deletion vector of the rows 1 and 3, inline."""


def test_rows_that_deletion_vectors_mark_are_not_read(project: Project):
    path = project.folder / "marked"
    feature = ["deletionVectors"]
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7}
    protocol |= {"readerFeatures": feature, "writerFeatures": feature}
    column = {"name": "id", "type": "long", "nullable": True, "metadata": {}}
    ids = list(range(5))
    commit(
        path,
        0,
        {"protocol": protocol},
        metadata(column),
        add(path, "0.parquet", "id", ids, deletionVector=MARKS),
    )
    project.write(stream_of(path))
    ok(project.run())
    assert project.rows("a", "id") == [0, 2, 4]
    commit(path, 1, add(path, "1.parquet", "id", ids, deletionVector=MARKS))
    error = project.run().error
    assert error is not None
    assert (error.condition, "deletion vectors" in str(error)) == ("UNSUPPORTED_FEATURE", True)


OWN = """
@dp.table
def bronze():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.schemaHints", "id long").load(spark.conf.get("landing_zone"))
        .select("id")
    )

@dp.materialized_view
def seen():
    return spark.read.table("bronze")

dp.create_streaming_table("t")
dp.create_auto_cdc_flow("t", "bronze", ["id"], "id")
"""


def mark_rows(table: DeltaTable) -> None:
    """Delete the rows 1 and 3 of a table's only file, as another program with deletion vectors."""
    path, version = Path(table.table_uri.removeprefix("file://")), table.version()
    entries = sorted((path / "_delta_log").glob("*.json"))
    lines = [json.loads(line) for entry in entries for line in entry.read_text().splitlines()]
    (found,) = [line["add"] for line in lines if "add" in line]
    feature = ["deletionVectors"]
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7}
    protocol |= {"readerFeatures": feature, "writerFeatures": feature}
    commit(
        path,
        version + 1,
        {"protocol": protocol},
        {"remove": {"path": found["path"], "deletionTimestamp": 1, "dataChange": True}},
        {"add": {**found, "deletionVector": MARKS}},
    )


def test_rows_that_others_mark_in_the_pipelines_own_tables_are_not_read(project: Project):
    project.write(OWN)
    project.land("1.json", [{"id": number} for number in range(5)])
    ok(project.run())
    mark_rows(project.table("bronze"))
    ok(project.run(refresh=["seen"]))
    assert project.rows("seen", "id") == [0, 2, 4]
    mark_rows(project.table("t"))
    project.land("2.json", [{"id": 7}])
    error = project.run(refresh=["bronze", "t"]).error
    assert error is not None
    assert error.condition == "DELTA_SOURCE_TABLE_IGNORE_CHANGES"


def test_changes_are_not_merged_into_files_whose_rows_others_marked(project: Project):
    project.write(OWN)
    project.land("1.json", [{"id": number} for number in range(5)])
    ok(project.run())
    mark_rows(project.table("t"))
    project.land("2.json", [{"id": 4}])
    error = project.run().error
    assert error is not None
    assert (error.condition, "deletion vectors" in str(error)) == ("UNSUPPORTED_FEATURE", True)
    ok(project.run(full_refresh=["t"]))
    engine, version = project.engine, project.table("t").version()
    rows = engine.arrow(engine.dataframe(engine.delta(f"{project.storage}/tables/t", version)))
    assert sorted(rows.column("id").to_pylist()) == [0, 1, 2, 3, 4]


def test_a_table_that_is_not_there_is_a_missing_path(project: Project):
    project.configuration = {"tables.main.raw.orders": str(project.folder / "nowhere")}
    project.write("CREATE MATERIALIZED VIEW a AS SELECT * FROM main.raw.orders", "a.sql")
    error = project.run().error
    assert error is not None
    assert error.condition == "PATH_NOT_FOUND"


def test_a_table_that_nobody_named_is_refused_with_the_place_to_name_it(project: Project):
    project.write("CREATE MATERIALIZED VIEW a AS SELECT * FROM main.raw.orders", "a.sql")
    error = project.run().error
    assert "main.raw.orders: /path/of/the/delta/table" in str(error)


def test_groups_of_a_foreign_stream_are_kept_up_to_date(project: Project):
    path = project.folder / "orders"
    project.configuration = {"tables.main.raw.orders": str(path)}
    project.write(
        "CREATE STREAMING TABLE a AS SELECT count(*) AS n FROM STREAM main.raw.orders", "a.sql"
    )
    for number in (1, 2):
        put(path, [number])
        ok(project.run())
        assert project.rows("a", "n") == [number]


def test_state_over_a_foreign_stream_is_refused_as_over_any_other(project: Project):
    path = project.folder / "orders"
    put(path, [1])
    project.configuration = {"tables.main.raw.orders": str(path)}
    text = "CREATE STREAMING TABLE a AS SELECT DISTINCT * FROM STREAM {}"
    for table in ("main.raw.orders", f"delta.`{path}`"):
        error = project.write(text.format(table), "a.sql").run().error
        assert error is not None
        assert error.condition == "UNSUPPORTED_STREAMING_OPERATOR"


REGIONS = """
regions:
  east: {landing_zone: east/landing, storage: east/storage, tables: {main.raw.orders: lake/orders}}
  west: {landing_zone: west/landing, storage: west/storage, tables: {main.raw.orders: s3://b/orders}}
"""


def test_each_region_names_its_own_tables(tmp_path, capsys):
    put(tmp_path / "lake/orders", [1, 2])
    (tmp_path / "proa.yml").write_text(REGIONS)
    (tmp_path / "spark-pipeline.yml").write_text(
        "name: p\nstorage: s\ncatalog: main\nlibraries: [{glob: {include: a.sql}}]\n"
    )
    (tmp_path / "a.sql").write_text(
        "CREATE STREAMING TABLE a AS SELECT id FROM STREAM raw.orders;"
        "CREATE MATERIALIZED VIEW b AS SELECT o.id FROM main.raw.orders AS o"
    )
    assert from_project(tmp_path, "west").configuration["tables.main.raw.orders"] == "s3://b/orders"
    command = ["--region", "east", "--project", str(tmp_path)]
    assert cli(["run", "--json", *command]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 4
    assert cli(["graph", *command]) == 0
    orders = tmp_path / "lake/orders"
    assert capsys.readouterr().out.splitlines() == [
        "a  (streaming table)",
        f"  <- table {orders} (stream)",
        "b  (materialized view)",
        "     refreshed whole: it may yield other rows although nothing that it reads changed",
        f"  <- table {orders}",
    ]
    assert cli(["dry-run", "--json", *command]) == 1
    (first, *_) = json.loads(capsys.readouterr().out)["errors"]
    assert (first["code"], first["expression"]) == ("EXTERNAL_LOOKUP", "table raw.orders")


def fake_statistics(path, change):
    """Let another writer have written other statistics into the table's first version."""
    log = path / "_delta_log" / "00000000000000000000.json"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    for action in actions:
        if "add" in action:
            action["add"]["stats"] = change(action["add"]["stats"])
    log.write_text("".join(json.dumps(action) + "\n" for action in actions))


def test_values_are_those_of_the_files_whatever_the_statistics_say(project: Project):
    path = project.folder / "odd"
    exact = Decimal("3333333333.3333333333")
    table = {
        "p": pa.array([exact] * 2, pa.decimal128(20, 10)),
        "f": [1.0, float("nan")],
        "s": pa.array([{"x": 1}] * 2, pa.struct([pa.field("x", pa.int32(), nullable=False)])),
    }
    write_deltalake(str(path), pa.table(table))
    fake_statistics(path, lambda text: text.replace("3333333333.333333", str(exact)))
    project.write(f"""
        @dp.materialized_view
        def a():
            return spark.read.format("delta").load("{path}")

        @dp.materialized_view
        def b():
            return a_where("p = 3333333333.3333333333BD and f > 5")

        def a_where(text):
            return spark.read.format("delta").load("{path}").where(text)
    """)
    ok(project.run())
    rows = project.rows("a")
    assert [row["p"] for row in rows] == [exact, exact]
    assert sorted(str(row["f"]) for row in rows) == ["1.0", "nan"]
    assert [row["s"] for row in rows] == [{"x": 1}] * 2
    assert len(project.rows("b")) == 1


def test_statistics_of_nulls_in_columns_that_have_none_are_no_matter(project: Project):
    path = project.folder / "odd"
    inner = pa.struct([pa.field("x", pa.int32(), nullable=False), ("y", pa.string())])
    schema = pa.schema([pa.field("s", inner, nullable=False)])
    write_deltalake(str(path), pa.table({"s": [{"x": 1, "y": None}]}, schema=schema))
    nothing = {"s": {"x": None, "y": None}}
    odd = {"numRecords": 1, "minValues": nothing, "maxValues": nothing, "nullCount": nothing}
    fake_statistics(path, lambda _: json.dumps(odd))
    project.write(f"CREATE MATERIALIZED VIEW a AS SELECT * FROM delta.`{path}`", "a.sql")
    ok(project.run())
    assert project.rows("a", "s") == [{"x": 1, "y": None}]


def test_partition_columns_of_every_type_have_their_values(project: Project):
    path = project.folder / "parts"
    at = dt.datetime(2026, 1, 31, 1, 2, 3, 4, dt.UTC)
    table = pa.table(
        {
            "id": [1, 2],
            "day": pa.array([dt.date(2026, 1, 31), None]),
            "number": [7, None],
            "yes": [True, None],
            "text": ["x y/z", "ä"],
            "at": pa.array([at, None], pa.timestamp("us", "UTC")),
            "price": pa.array([Decimal("1.50"), None], pa.decimal128(5, 2)),
        }
    )
    names = [name for name in table.column_names if name != "id"]
    write_deltalake(str(path), table, partition_by=names)
    project.write(f"CREATE MATERIALIZED VIEW a AS SELECT * FROM delta.`{path}`", "a.sql")
    ok(project.run())
    assert sorted(project.rows("a"), key=lambda row: row["id"]) == table.to_pylist()


@pytest.mark.parametrize("log", ['{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}', "{"])
def test_a_damaged_log_is_the_users_to_mend(project: Project, log):
    path = project.folder / "odd"
    (path / "_delta_log").mkdir(parents=True)
    (path / "_delta_log" / f"{0:020}.json").write_text(log)
    project.write(f"CREATE MATERIALIZED VIEW a AS SELECT * FROM delta.`{path}`", "a.sql")
    result = project.run()
    assert result.state == "FAILED"
    assert "restore its _delta_log" in str(result)
