"""Lines end as in Spark: at a line feed, at both, at a carriage return alone."""

from __future__ import annotations

import pyarrow as pa
import pytest
from format_reading import read
from hypothesis import given, settings
from hypothesis import strategies as st

ID = pa.schema([("id", pa.int64())])
FORMATS = {
    "json": ({"format": "json"}, [b'{"id": %d}' % i for i in range(5)]),
    "csv": ({"format": "csv"}, [b"id", *(b"%d" % i for i in range(5))]),
    "multi-line csv": (
        {"format": "csv", "multiLine": "true"},
        [b"id", *(b"%d" % i for i in range(5))],
    ),
}


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("closed", [1, 0], ids=["closed", "open"])
@pytest.mark.parametrize("kind", FORMATS)
def test_each_line_end_gives_the_same_rows(kind: str, end: bytes, closed: int):
    options, lines = FORMATS[kind]
    rows = read(end.join(lines) + end * closed, ID, options)
    assert rows == [{"id": i} for i in range(5)]


@given(
    st.lists(st.sampled_from([b"\n", b"\r\n", b"\r"]), min_size=5, max_size=5),
    st.integers(1, 60),
)
@settings(deadline=None, max_examples=60)
def test_a_range_may_begin_anywhere_whatever_ends_the_lines(ends: list[bytes], cut: int):
    lines = [b'{"id": %d}' % i for i in range(5)]
    data = b"".join(line + end for line, end in zip(lines, ends, strict=True))
    rows = read(data, ID, {"format": "json"}, bounds=(min(cut, len(data)),))
    assert rows == [{"id": i} for i in range(5)]


def test_a_return_is_a_character_where_the_user_named_the_line_end():
    rows = read(b"v\na\rb\n", pa.schema([("v", pa.string())]), {"format": "csv", "lineSep": "\n"})
    assert rows == [{"v": "a\rb"}]


def test_a_quote_that_is_never_closed_is_one_corrupt_record_not_a_slow_file():
    data = b"id,x\n" + b'1,"a\n' + b"2,b\n" * 200_000
    schema = pa.schema([("id", pa.int64()), ("_rescued_data", pa.string())])
    rows = read(
        data, schema, {"format": "csv", "multiLine": "true", "schemaEvolutionMode": "rescue"}
    )
    assert [row["id"] for row in rows] == [None]
    assert rows[0]["_rescued_data"].startswith('{"_corrupt_record":"1,')
