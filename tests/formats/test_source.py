"""Bytes of files and of ranges of their lines, on disk and on S3."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from proa.autoloader.options import parse
from proa.errors import UnavailableError
from proa.formats.problems import ProblemKind, ReadError
from proa.formats.source import BLOCK, OpenPart, Part
from proa.storage import Store

OPTIONS = parse({"format": "json"}, schema_given=False).reader


def source(store: Store, name: str, size: int, start: int = 0, end: int | None = None) -> OpenPart:
    return OpenPart(Part(store.url_of(name), size, 0, start, end), OPTIONS, store.options)


def test_every_line_belongs_to_the_range_of_its_first_byte(store):
    data = b"aa\nbbbb\n\ncc"
    store.put("x/f.json", data)
    for cut in range(1, len(data)):
        first = b"".join(source(store, "x/f.json", len(data), 0, cut).lines())
        second = b"".join(source(store, "x/f.json", len(data), cut).lines())
        assert first + second == data
        assert first.endswith(b"\n") or not second


def test_blocks_are_whole_lines_however_long_the_file(store):
    line = b"x" * 1000 + b"\n"
    data = line * (2 * BLOCK // len(line)) + b"end"
    store.put("f.json", data)

    blocks = list(source(store, "f.json", len(data)).lines())

    assert b"".join(blocks) == data
    assert len(blocks) > 1
    assert all(block.endswith(b"\n") for block in blocks[:-1])
    assert max(map(len, blocks)) < 2 * BLOCK


@pytest.mark.parametrize("size", [BLOCK - 1, BLOCK, BLOCK + 1, BLOCK * 5 // 4])
def test_a_file_that_is_little_more_than_a_block_is_one(tmp_path, size):
    line = b"x" * 999 + b"\n"
    data = (line * (size // len(line) + 1))[: size - 1] + b"\n"
    folder = Store.open(str(tmp_path))
    folder.put("f.json", data)

    assert list(source(folder, "f.json", len(data)).lines()) == [data]


def test_parquet_and_compressed_files_are_read_from_every_store(store, tmp_path):
    pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "f.parquet")
    data = (tmp_path / "f.parquet").read_bytes()
    store.put("f.parquet", data)
    with source(store, "f.parquet", len(data)).random_access() as file:
        assert pq.read_table(file).to_pydict() == {"a": [1, 2]}

    packed = gzip.compress(b"x\n" * 1000)
    store.put("f.gz", packed)
    assert b"".join(source(store, "f.gz", len(packed)).lines()) == b"x\n" * 1000


def test_what_is_wrong_with_a_file_is_said_with_its_name(store):
    with pytest.raises(ReadError) as missing:
        list(source(store, "gone.json", 1).lines())
    store.put("grown.json", b"12")
    with pytest.raises(ReadError) as changed:
        list(source(store, "grown.json", 1).lines())

    problems = [missing.value.problem, changed.value.problem]
    assert [p.kind for p in problems] == [ProblemKind.MISSING, ProblemKind.CHANGED]
    assert [p.file.rsplit("/", 1)[1] for p in problems] == ["gone.json", "grown.json"]


def test_a_folder_in_place_of_a_file_is_unavailable(tmp_path):
    (tmp_path / "folder.json").mkdir()
    part = Part(str(Path(tmp_path) / "folder.json"), 0, 0)

    with pytest.raises(ReadError) as failed:
        list(OpenPart(part, OPTIONS, {}).lines())

    assert isinstance(failed.value.problem.error(), UnavailableError)
