"""Files of each format that holds columns or bytes, read in each way in which a pipeline reads files."""

from __future__ import annotations

import io
from collections.abc import Callable

import fastavro
import pyarrow as pa
import pytest
from pyarrow import orc
from small_projects import Project, ok

SCHEMA = {
    "type": "record",
    "name": "r",
    "fields": [{"name": "id", "type": "long"}, {"name": "name", "type": ["null", "string"]}],
}


def avro_bytes(*rows: tuple[int, str | None]) -> bytes:
    file = io.BytesIO()
    fastavro.writer(file, SCHEMA, [{"id": i, "name": name} for i, name in rows])
    return file.getvalue()


def orc_bytes(*rows: tuple[int, str | None]) -> bytes:
    file = io.BytesIO()
    ids, names = zip(*rows, strict=True)
    orc.write_table(pa.table({"id": ids, "name": pa.array(names, pa.string())}), file)
    return file.getvalue()


MAKE: dict[str, Callable[..., bytes]] = {"avro": avro_bytes, "orc": orc_bytes}
STREAMS = {
    "cloudFiles": "spark.readStream.format('cloudFiles').option('cloudFiles.format', '{f}').load('{p}')",
    "read_files": "spark.sql(\"SELECT * FROM STREAM read_files('{p}', format => '{f}')\")",
    "path": 'spark.sql("SELECT * FROM STREAM {f}.`{p}`")',
}
BATCHES = {
    "reader": "spark.read.format('{f}').load('{p}')",
    "read_files": "spark.sql(\"SELECT * FROM read_files('{p}', format => '{f}')\")",
    "path": 'spark.sql("SELECT * FROM {f}.`{p}`")',
}


def declare(kind: str, reads: dict[str, str], format_: str, path: str) -> str:
    return "".join(
        f"@dp.{kind}\ndef {kind[0]}_{name}():\n    return {read.format(f=format_, p=path)}\n"
        for name, read in reads.items()
    )


@pytest.mark.slow
@pytest.mark.parametrize("format_", MAKE)
def test_columns_are_read_in_each_way(project: Project, format_: str) -> None:
    path = f"{project.base}/landing/x"
    project.write(
        declare("table", STREAMS, format_, path)
        + declare("materialized_view", BATCHES, format_, path)
    )
    project.landing.put(f"x/1.{format_}", MAKE[format_]((1, "a"), (2, None)))
    ok(project.run())
    project.landing.put(f"x/2.{format_}", MAKE[format_]((3, "b")))
    ok(project.run())
    names = [f"t_{name}" for name in STREAMS] + [f"m_{name}" for name in BATCHES]
    for name in names:
        assert project.rows(name, "id", "name") == [(1, "a"), (2, None), (3, "b")], name
    assert project.table("m_reader").schema().to_arrow().names == ["id", "name"]


@pytest.mark.slow
def test_files_are_read_whole_wherever_they_lie(placed: Project) -> None:
    path = f"{placed.base}/landing/x"
    placed.write(
        declare("table", STREAMS, "binaryFile", path)
        + declare("materialized_view", BATCHES, "binaryFile", path)
        + declare("table", {"avro": STREAMS["cloudFiles"]}, "avro", f"{placed.base}/landing/a")
    )
    placed.landing.put("x/a.png", b"\x89PNG\xff")
    placed.landing.put("a/1.avro", avro_bytes((1, "a")))
    ok(placed.run())
    for name in [f"t_{name}" for name in STREAMS] + [f"m_{name}" for name in BATCHES]:
        [(found, length, content)] = placed.rows(name, "path", "length", "content")
        assert (found.rpartition("/")[2], length, content) == ("a.png", 5, b"\x89PNG\xff"), name
    assert placed.rows("t_avro", "id") == [1]


def test_a_column_of_another_type_is_an_error_where_nothing_is_rescued(project: Project) -> None:
    project.write(
        "@dp.materialized_view\ndef a():\n    return spark.read.schema('id int, name int')"
        f".format('avro').load('{project.base}/landing/x')\n"
    )
    project.landing.put("x/1.avro", avro_bytes((1, "a")))
    result = project.run()
    assert result.state == "FAILED"
    assert "1.avro" in str(result)
    assert "'name' has the type string" in str(result)


def test_what_is_no_number_stays_so_from_table_to_table(project: Project) -> None:
    project.land("x/1.json", [{"id": 1, "f": 1.0, "s": {"g": 1.0}}])
    project.landing.put("x/2.json", b'{"id":2,"f":"NaN","s":{"g":"NaN"}}\n')
    project.write(f"""
        @dp.table
        def a():
            files = spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
            return files.schema("id int, f double, s struct<g double>").load("{project.base}/landing/x")

        @dp.materialized_view
        def b():
            return spark.read.table("a")

        @dp.materialized_view
        def c():
            return spark.read.table("b").where("f > 5 and s.g > 5")
    """)
    ok(project.run())
    for name in ("a", "b"):
        assert sorted(map(str, project.rows(name, "f"))) == ["1.0", "nan"]
    assert project.rows("c", "id") == [2]


TYPED = {
    "auto_loader": "spark.readStream.format('cloudFiles').option('cloudFiles.format', 'json')"
    ".schema(COLUMNS).load('{p}')",
    "stream": "spark.readStream.schema(COLUMNS).json('{p}')",
    "metadata": "spark.readStream.format('cloudFiles').option('cloudFiles.format', 'json')"
    ".schema(COLUMNS).load('{p}').select('*', '_metadata.file_name')",
}


def test_a_schema_may_be_a_struct_type_wherever_files_are_read(project: Project) -> None:
    path = f"{project.base}/landing/x"
    batch = TYPED["metadata"].replace("readStream.format('cloudFiles')", "read.format('json')")
    project.write(
        "from pyspark.sql.types import *\n"
        "COLUMNS = StructType([StructField('id', LongType(), False),"
        " StructField('tags', MapType(StringType(), ArrayType(StringType())))])\n"
        + declare("table", TYPED, "json", path)
        + declare("materialized_view", {"batch": batch}, "json", path)
    )
    project.landing.put("x/1.json", b'{"id": 1, "tags": {"a": ["b"]}, "more": 2}')
    ok(project.run())
    for name in (*(f"t_{name}" for name in TYPED), "m_batch"):
        assert project.rows(name, "id", "tags") == [(1, [("a", ["b"])])], name
