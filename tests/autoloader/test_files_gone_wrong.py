"""Files that vanish, grow, are cut off, are empty or are something else."""

from __future__ import annotations

import bz2
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from proa.errors import DataError, PipelineError, UnavailableError
from proa.formats.problems import Problem, ProblemKind, ReadError, explain

CSV = {"cloudFiles.format": "csv"}
PARQUET = {"cloudFiles.format": "parquet"}
GOOD = '{"a": "1"}\n'


def test_a_file_that_vanished_is_an_error_that_names_it(source):
    source.write("good.json", GOOD)
    source.read()
    source.write("gone.json", GOOD)
    loader = source.loader()
    files = loader.discover(None).take()
    (source.folder / "gone.json").unlink()

    with pytest.raises(Exception, match="missing") as failed:
        source.engine.rows(loader.relation(source.engine, files))
    with pytest.raises(DataError, match=r"gone\.json.*ignoreMissingFiles") as raised:
        loader.evolve(source.engine, failed.value, files)
    assert raised.value.condition == "CF_FILE_NOT_FOUND"


def test_a_file_that_vanished_is_left_out_when_the_option_says_so(source):
    source.write("good.json", GOOD)
    source.write("gone.json", GOOD)
    loader = source.loader({"ignoreMissingFiles": "true"})
    files = loader.discover(None).take()
    (source.folder / "gone.json").unlink()

    assert len(source.engine.rows(loader.relation(source.engine, files))) == 1


def test_a_file_that_grew_is_an_error_that_names_it(source):
    source.write("good.json", GOOD)
    source.read()
    source.write("slow.json", GOOD)
    loader = source.loader()
    files = loader.discover(None).take()
    source.write("slow.json", GOOD * 2)

    with pytest.raises(Exception, match="changed") as failed:
        source.engine.rows(loader.relation(source.engine, files))
    with pytest.raises(DataError, match=r"slow\.json.*11 bytes then, 22 bytes now"):
        loader.evolve(source.engine, failed.value, files)

    ready = source.loader({"cloudFiles.allowOverwrites": "true"})
    assert len(source.engine.rows(ready.relation(source.engine, files))) == 3


@pytest.mark.parametrize(
    ("name", "content", "options"),
    [
        ("cut.json.gz", gzip.compress(GOOD.encode() * 100, mtime=0)[:-12], {}),
        ("cut.json.bz2", bz2.compress(GOOD.encode() * 100)[:-12], {}),
        ("no.json.gz", b"not gzip", {}),
        ("no.json.zst", b"not zstd", {}),
        ("no.parquet", b"PAR1 not parquet", PARQUET),
        ("empty.parquet", b"", PARQUET),
        ("archive.csv", b"PK\x03\x04" + bytes(90), CSV),
        ("packed.json", gzip.compress(GOOD.encode(), mtime=0), {}),
        ("avro.csv", b"Obj\x01" + bytes(90), CSV),
        ("latin.csv", b"a\n\xff\xfe\xfd\n", {**CSV, "encoding": "utf-16"}),
    ],
)
def test_a_file_that_is_not_of_its_format_is_named_or_left_out(source, name, content, options):
    source.write(name, content)
    hinted = {**options, "cloudFiles.schemaHints": "a string"}

    with pytest.raises(DataError, match=name.replace(".", r"\.")) as failed:
        source.read(hinted)
    assert failed.value.condition == "FAILED_READ_FILE"

    rows = source.read({**hinted, "ignoreCorruptFiles": "true"})
    assert len(rows) < 100


@pytest.mark.parametrize("options", [{}, CSV, {"cloudFiles.format": "text"}])
@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file_has_no_rows(source, options, content):
    source.write("empty", content)
    hints = (
        {} if options.get("cloudFiles.format") == "text" else {"cloudFiles.schemaHints": "a int"}
    )

    rows = source.read({**options, **hints})

    assert [row for row in rows if any(row.values())] == []


@pytest.mark.parametrize("suffix", ["gz", "bz2", "zst", "deflate"])
def test_compressed_files_are_unpacked_by_their_names(source, suffix):
    import zlib

    data = (GOOD * 1000).encode()
    packed = {
        "gz": lambda: gzip.compress(data) + gzip.compress(data),
        "bz2": lambda: bz2.compress(data),
        "zst": lambda: pa.compress(data, "zstd", asbytes=True),
        "deflate": lambda: zlib.compress(data),
    }[suffix]()
    source.write(f"a.json.{suffix}", packed)

    assert len(source.read()) == (2000 if suffix == "gz" else 1000)


def test_other_encodings_and_byte_order_marks_are_read(source, by):
    source.write("1.csv", "\ufeffa,b\né,1\n".encode())
    source.write("2.csv", "\ufeffa,b\nü,2\n".encode())
    assert [row["a"] for row in by(source.read(CSV), "b")] == ["é", "ü"]

    source.write("3.csv", "a,b\nß,3\n".encode("latin-1"))
    assert [row["a"] for row in source.read({**CSV, "encoding": "ISO-8859-1"})] == ["ß"]


def test_a_problem_survives_the_engines_error_text_however_long_it_is():
    problem = Problem(ProblemKind.NEW_FIELDS, "/x" * 400, "d" * 5000, ("f" * 90,) * 50)
    text = str(ReadError(problem))

    found = explain(RuntimeError(f"An exception was thrown\n Traceback ...\n{text}\n"))

    assert len(text) < 1600
    assert found is not None
    assert found.kind is ProblemKind.NEW_FIELDS
    assert found.fields[0] == "f" * 60


def test_what_has_nothing_to_do_with_files_is_not_explained(source):
    source.write("good.json", GOOD)
    loader = source.loader()

    assert not loader.evolve(source.engine, RuntimeError("out of memory"), ())
    elsewhere = ReadError(Problem(ProblemKind.MISSING, "/another/leafs/file.json"))
    assert not loader.evolve(source.engine, elsewhere, loader.discover(None).take())
    assert isinstance(Problem(ProblemKind.UNAVAILABLE, "f", "down").error(), UnavailableError)


def test_parquet_files_may_differ(source, by):
    folder = source.folder
    pq.write_table(
        pa.table(
            {
                "id": pa.array([1], pa.int32()),
                "s": [{"a": 1}],
                "t": pa.array([1], pa.timestamp("ns", "UTC")),
            }
        ),
        folder / "1.parquet",
    )
    (first,) = source.read(PARQUET)
    assert (first["id"], first["s"], first["_rescued_data"]) == (1, {"a": 1}, None)

    pq.write_table(
        pa.table({"id": ["x"], "s": [{"a": "q", "b": 5}], "z": [[1]], "ID": [2.5]}),
        folder / "2.parquet",
    )
    (second,) = source.read({**PARQUET, "cloudFiles.schemaEvolutionMode": "rescue"})
    assert json.loads(second["_rescued_data"]) == {
        "id": "x",
        "s": '{"a":"q","b":5}',
        "z": "[1]",
        "ID": 2.5,
        "_file_path": "2.parquet",
    }
    assert (second["id"], second["s"]) == (None, {"a": None})

    pq.write_table(pa.table({"id": pa.array([2], pa.int8()), "z": [[1]]}), folder / "3.parquet")
    (third,) = source.read(PARQUET)
    assert (third["id"], third["z"], third["_rescued_data"]) == (2, [1], None)


def test_text_is_a_row_per_line_or_per_file(source):
    source.write("1.txt", "a\r\n\nb\n c")
    text = {"cloudFiles.format": "text"}
    assert [row["value"] for row in source.read(text)] == ["a", "", "b", " c"]

    source.write("2.txt", "a\nb\n")
    assert source.read({**text, "wholetext": "true"}) == [{"value": "a\nb\n"}]


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_corrupt_records_are_text(source, kind):
    source.write(f"1.{kind}", "a\n{")
    options = {"cloudFiles.format": kind, "columnNameOfCorruptRecord": "bad"}
    loader = source.loader({**options, "cloudFiles.schemaHints": "bad int"})
    with pytest.raises(PipelineError, match="'bad' of type 'int' cannot take corrupt records"):
        loader.schema(source.engine, loader.discover(None).take())


def test_lines_of_text_take_one_column_and_hints_add_others(source):
    source.write("1.txt", "one\n")
    text = {"cloudFiles.format": "text"}
    assert source.read({**text, "cloudFiles.schemaHints": "a int"}) == [{"value": "one", "a": None}]
    for options, schema in [({"cloudFiles.schemaHints": "value int"}, None), ({}, "line date")]:
        loader = source.loader({**text, **options}, schema)
        with pytest.raises(PipelineError, match="cannot take lines of text"):
            loader.schema(source.engine, loader.discover(None).take())
