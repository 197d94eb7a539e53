"""Bad records and bad files are left out and written aside, whatever the format and the place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from proa.autoloader.options import check_bad_path, parse
from proa.errors import DataError, PipelineError, UnavailableError
from proa.formats.bad_records import BadRecords
from proa.formats.problems import Problem, ProblemKind, ReadError
from proa.formats.source import Part
from proa.storage import Store

SCHEMA = "a int, b string"
BAD_LINES = {
    "json": ('{"a": 1, "b": "x"}\n', ['{"a": 1, "b', '{"a": "one", "b": "y"}', "null", "[1]"]),
    "csv": ("1,x\n", ["one,y", "1", "1,x,y"]),
}


def written(folder: Path, kind: str) -> list[dict[str, Any]]:
    """What was written aside, after a look at where it stands."""
    found = [
        json.loads(line)
        for path in sorted(folder.rglob("*.json"))
        if path.parent.name == kind
        for line in path.read_text("utf-8").splitlines()
    ]
    assert all(path.parts[-3][8] == "T" for path in folder.rglob("*.json"))
    return found


@pytest.mark.parametrize("many", [1, 3000], ids=["few", "many"])
@pytest.mark.parametrize("format_", BAD_LINES)
def test_bad_records_are_written_with_path_record_and_reason(source, tmp_path, format_, many):
    good, bad = BAD_LINES[format_]
    source.write(f"1.{format_}", good * many + "".join(line + "\n" for line in bad) + good)
    folder = tmp_path / "bad"
    options = {"cloudFiles.format": format_, "badRecordsPath": str(folder)}

    rows = source.read(options, schema=SCHEMA)

    assert [row["a"] for row in rows] == [1] * (many + 1)
    found = written(folder, "bad_records")
    assert sorted(each["record"] for each in found) == sorted(bad)
    assert {Path(each["path"]).name for each in found} == {f"1.{format_}"}
    assert all(each["reason"] for each in found)


def test_what_is_rescued_is_no_bad_record(source, tmp_path):
    source.write("1.json", '{"a": "one"}\n{"a"\n')
    folder = tmp_path / "bad"
    hints = {"cloudFiles.schemaHints": "a int", "badRecordsPath": str(folder)}

    [row] = source.read(hints)

    assert json.loads(row["_rescued_data"])["a"] == "one"
    assert [each["record"] for each in written(folder, "bad_records")] == ['{"a"']


@pytest.mark.parametrize("format_", ["avro", "orc", "parquet"])
def test_bad_files_are_written_with_path_and_reason(source, tmp_path, format_):
    source.write(f"1.{format_}", b"no such file")
    folder = tmp_path / "bad"
    options = {"cloudFiles.format": format_, "badRecordsPath": str(folder)}

    assert source.read(options, schema=SCHEMA) == []

    [found] = written(folder, "bad_files")
    assert found["path"].endswith(f"1.{format_}")
    assert "cannot read the file" in found["reason"]


def test_a_file_that_is_gone_is_a_bad_file(source, tmp_path):
    source.write("1.json", '{"a": 1}\n')
    loader = source.loader({"badRecordsPath": str(tmp_path / "bad")}, SCHEMA)
    files = loader.discover(None).take()
    (source.folder / "1.json").unlink()

    assert source.engine.rows(loader.relation(source.engine, files)) == []
    assert [Path(f["path"]).name for f in written(tmp_path / "bad", "bad_files")] == ["1.json"]


def test_a_batch_that_is_computed_again_writes_the_same_files(source, tmp_path):
    source.write("1.json", '{"a": 1}\nno\n')
    loader = source.loader({"badRecordsPath": str(tmp_path / "bad")}, SCHEMA)
    files = loader.discover(None).take()
    for _ in range(2):
        source.engine.rows(loader.relation(source.engine, files))
    assert len(written(tmp_path / "bad", "bad_records")) == 1


def test_what_cannot_be_written_is_not_lost(source, tmp_path):
    source.write("1.json", '{"a": 1}\nno\n')
    (tmp_path / "bad").write_text("a file")
    loader = source.loader({"badRecordsPath": str(tmp_path / "bad")}, SCHEMA)
    files = loader.discover(None).take()
    with pytest.raises(Exception, match="unavailable") as failed:
        source.engine.rows(loader.relation(source.engine, files))
    with pytest.raises(UnavailableError, match="cannot be written below"):
        loader.evolve(source.engine, failed.value, files)


def test_without_the_option_a_bad_file_stops_the_batch(source):
    source.write("1.avro", b"no such file")
    with pytest.raises(DataError, match=r"1\.avro"):
        source.read({"cloudFiles.format": "avro"}, schema=SCHEMA)


def test_a_mode_beside_it_is_refused_as_is_a_folder_that_is_read():
    options = {"format": "json", "badRecordsPath": "/data/in/bad"}
    with pytest.raises(PipelineError, match="leave mode out"):
        parse({**options, "mode": "FAILFAST"}, schema_given=True)
    for path in ("/data/in", "/data/in/*.json", "/data"):
        with pytest.raises(PipelineError, match="read again"):
            check_bad_path(parse(options, schema_given=True), path)
    check_bad_path(parse(options, schema_given=True), "/data/input")


@pytest.mark.slow
def test_many_bad_records_are_several_files_in_any_place(store: Store):
    store.put("keep", b"")
    part = Part("/x/1.json", 0, 1_700_000_000_000_000)
    bad = BadRecords(store.url_of("bad"), part, store.options)
    for _ in range(20):
        bad.note("x" * (1 << 20), "why")
    bad.write()
    bad.write_file(Problem(ProblemKind.MISSING, part.path))
    names = sorted(info.path.split("/", 2)[2] for info in store.walk("bad"))
    assert [name.partition("/")[0] for name in names] == ["bad_files", "bad_records", "bad_records"]
    assert {info.path.split("/")[1] for info in store.walk("bad")} == {"20231114T221320"}


def test_a_place_without_rights_is_told():
    bad = BadRecords("nowhere://x", Part("/x/1.json", 0, 0), {})
    bad.note("x", "why")
    with pytest.raises(ReadError, match="cannot be written below"):
        bad.write()
