"""What a worker hands to the engine: the rows of its files, in batches that are neither tiny nor huge."""

from __future__ import annotations

from itertools import pairwise

import pyarrow as pa
import pytest

from proa.autoloader.options import parse
from proa.autoloader.tasks import Assignment, ReadTask
from proa.formats.problems import ReadError
from proa.formats.source import Part

SCHEMA = pa.schema([("n", pa.int64()), ("t", pa.string())])


def batches(folder, contents, options=None):
    """The batches of files with these bytes, as one task reads them."""
    parts = []
    for number, data in enumerate(contents):
        path = folder / f"{number:03}.json"
        path.write_bytes(data)
        parts.append(Part(str(path), len(data), 0))
    schema = SCHEMA.serialize().to_pybytes()
    reader = parse({"format": "json", **(options or {})}, schema_given=True).reader
    task = ReadTask(Assignment.of([parts]), {}, reader, str(folder), schema, schema)
    return list(task([pa.record_batch({"id": [0]})]))


def lines(first, last):
    return b"".join(b'{"n": %d}\n' % n for n in range(first, last))


def test_small_files_share_a_batch_and_rows_keep_their_order(tmp_path):
    many = batches(tmp_path, [lines(10 * n, 10 * n + 10) for n in range(300)])

    assert len(many) == 1
    assert [n for batch in many for n in batch["n"].to_pylist()] == list(range(3000))


def test_a_batch_has_no_more_rows_than_one_of_a_large_file_and_few_more(tmp_path):
    edges = [0, 5, 100_005, 100_010, 200_010, 200_015]
    read = batches(tmp_path, [lines(a, b) for a, b in pairwise(edges)])

    assert [n for batch in read for n in batch["n"].to_pylist()] == list(range(200_015))
    assert max(batch.num_rows for batch in read) < 65_536 + 8192


def test_rows_before_and_behind_a_file_that_is_left_out_are_there(tmp_path):
    contents = [lines(0, 3), b"PAR1\x15 not text", lines(3, 6)]
    with pytest.raises(ReadError):
        batches(tmp_path, contents)

    read = batches(tmp_path, contents, {"ignoreCorruptFiles": "true"})

    assert [n for batch in read for n in batch["n"].to_pylist()] == list(range(6))


def test_large_rows_do_not_wait_for_each_other(tmp_path):
    text = b"x" * (3 << 20)
    read = batches(tmp_path, [b'{"n": %d, "t": "%s"}\n' % (n, text) for n in range(6)])

    assert [batch.num_rows for batch in read] == [2, 2, 2]
