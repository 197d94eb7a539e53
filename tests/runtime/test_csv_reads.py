"""`spark.read.csv` with a schema yields Spark's rows, whatever the widths of records and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_projects import Project, ok

from proa.errors import DataError, PipelineError
from proa.runtime.compile import compile_project
from proa.testkit import PipelineUnderTest

RECORDED = json.loads((Path(__file__).parent / "data" / "csv_answers.json").read_text())
"""Answers of Apache Spark: file, schema, header, mode, enforceSchema, and the rows in the order of
their texts; null where reading fails.
"""
SPEC = "name: p\nstorage: storage\nlibraries: [{glob: {include: a.py}}]\n"
ASKING = """
import dlt, json
here = {folder!r}
cases = json.loads({cases!r})
found = []
for file, schema, header, mode, enforces, _ in cases:
    reader = spark.read.schema(schema).option("header", header)
    if mode:
        reader = reader.option("mode", mode)
    if enforces:
        reader = reader.option("enforceSchema", enforces)
    try:
        found.append(sorted([list(row) for row in reader.csv(f"{{here}}/{{file}}").collect()], key=repr))
    except Exception as error:
        assert error.condition in ("FAILED_READ_FILE", "MALFORMED_RECORD_IN_PARSING"), error
        found.append(None)
with open(f"{{here}}/found.json", "w") as out:
    json.dump(found, out)
@dlt.table
def t():
    return spark.range(1)
"""


def lay(folder: Path, code: str) -> Path:
    (folder / "spark-pipeline.yml").write_text(SPEC)
    (folder / "a.py").write_text(code)
    for name, text in RECORDED["files"].items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_rows_are_those_of_spark(tmp_path):
    cases = RECORDED["answers"]
    lay(tmp_path, ASKING.format(folder=str(tmp_path), cases=json.dumps(cases)))
    compile_project(tmp_path, None)
    found = json.loads((tmp_path / "found.json").read_text())
    for case, rows in zip(cases, found, strict=True):
        assert rows == case[-1], case


def reads(folder: Path, read: str) -> list[tuple[Any, ...]]:
    code = f"import dlt\n@dlt.table\ndef t():\n    return spark.read.{read}\n"
    rows = PipelineUnderTest(lay(folder, code)).rows("t")
    return sorted((tuple(row.values()) for row in rows), key=repr)


def test_several_paths_are_read_together(tmp_path):
    paths = [f"{tmp_path}/dir/fewer.csv", f"{tmp_path}/dir/more.csv"]
    read = f"schema('a INT, b INT, c INT').option('header', True).csv({paths!r})"
    assert reads(tmp_path, read) == [(1, 2, 3), (1, 2, None), (4, 5, 6), (4, 5, None)]


def test_a_header_that_is_not_the_schema_is_told_if_it_is_to_be_compared(tmp_path):
    read = f"schema('a INT').option('enforceSchema', 'false').csv('{tmp_path}/dir', header=True)"
    with pytest.raises(DataError, match=r"its first line names \['a', 'b'.*and the schema \['a'\]"):
        reads(tmp_path, read)


def test_options_that_spark_does_not_know_change_nothing(tmp_path):
    read = (
        f"option('sheet', 'x').csv('{tmp_path}/dir/same.csv', schema='a INT, b INT', header=True)"
    )
    assert reads(tmp_path, read) == [(1, 2), (4, 5)]


def test_a_file_that_is_not_there_is_named_with_its_line(tmp_path):
    code = (
        "import dlt\n@dlt.table\ndef t():\n    return spark.read.csv('/no/x.csv', schema='a INT')\n"
    )
    with pytest.raises(PipelineError, match=r"there is nothing at '/no/x\.csv'") as caught:
        compile_project(lay(tmp_path, code), None, columns=True)
    assert (caught.value.condition, str(caught.value.location)) == ("PATH_NOT_FOUND", "a.py:4")


def test_without_a_schema_records_of_other_widths_are_a_mistake_of_the_data(tmp_path):
    with pytest.raises(DataError, match="give the reader a schema") as caught:
        reads(tmp_path, f"csv('{tmp_path}/ragged.csv', header=True)")
    assert caught.value.condition == "MALFORMED_RECORD_IN_PARSING"


def test_a_stream_of_such_files_fills_columns_in_their_order(project: Project) -> None:
    read = f"schema('a INT, b INT').csv('{project.base}/landing/x', header=True)"
    project.write(f"@dp.table\ndef t():\n    return spark.readStream.{read}\n")
    project.landing.put("x/1.csv", b"b,a,c\n1,2,3\n")
    ok(project.run())
    project.landing.put("x/2.csv", b"a\n4\n")
    ok(project.run())
    assert project.rows("t", "a", "b") == [(1, 2), (4, None)]


def test_a_view_of_such_files_follows_them(project: Project) -> None:
    path = f"{project.base}/landing/x"
    project.write(
        "@dp.materialized_view\ndef m():\n"
        f"    return spark.read.csv('{path}', schema='a INT, b INT, c STRING', header=True)\n"
    )
    project.landing.put("x/1.csv", b"a,b\n1,2\n")
    ok(project.run())
    project.landing.put("x/2.csv", b"a,b,c,d\n3,4,x,9\n5\n")
    ok(project.run())
    assert project.rows("m", "a", "b", "c") == [(1, 2, None), (3, 4, "x"), (5, None, None)]
