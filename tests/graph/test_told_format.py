"""A read without a format has the one that names of files, or a table's log, tell."""

import gzip
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from proa.graph.told_format import format_of_files, format_of_source, names_format


@pytest.mark.parametrize(
    ("path", "options", "format_"),
    [
        ("/x/*.csv", {}, "csv"),
        ("s3://bucket/day=1/part.JSON.gz", {}, "json"),
        ("s3://bucket/x", {"pathGlobFilter": "*.snappy.parquet"}, "parquet"),
        ("s3://bucket/x", {"fileNamePattern": "*.avro"}, "avro"),
        ("s3://bucket/x", {}, None),
        ("/nowhere/at/all", {}, None),
    ],
)
def test_a_path_or_a_pattern_tells_the_format(path, options, format_):
    assert format_of_files(path, options) == format_


def test_the_first_file_that_is_not_hidden_tells_the_format(tmp_path: Path):
    for name in (
        "_proa/log.json",
        ".x.json",
        "_tmp/a.json",
        "b/_SUCCESS",
        "c/readme",
        "day=1/a.csv.gz",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(gzip.compress(b"a\n1\n"))
    assert format_of_files(str(tmp_path), {}) == "csv"
    assert format_of_files(f"file://{tmp_path}", {}) == "csv"
    assert format_of_files(f"{tmp_path}/day=*", {}) == "csv"
    (tmp_path / "b" / "x.orc").touch()
    assert format_of_files(str(tmp_path), {}) == "orc"


def test_a_format_is_named_under_either_spelling():
    assert names_format({"format": "csv"})
    assert names_format({"cloudFiles.Format": "csv"})
    assert not names_format({"header": "true", "format": " "})


def test_what_is_loaded_without_a_format_is_a_table_where_a_table_is(tmp_path: Path):
    write_deltalake(str(tmp_path / "table"), pa.table({"a": [1]}))
    assert format_of_source(str(tmp_path / "table"), streaming=False) == "delta"
    assert format_of_source(str(tmp_path), streaming=False) == "parquet"
    assert format_of_source(str(tmp_path), streaming=True) == "delta"
