"""CSV: what a writer wrote is what comes out; any bytes become rows."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pyarrow as pa
import pytest
from format_reading import as_texts, read
from hypothesis import example, given, settings
from hypothesis import strategies as st

RESCUED = pa.field("_rescued_data", pa.string())
STRINGS = pa.schema([("a", pa.string()), ("b", pa.string()), ("c", pa.string()), RESCUED])
TYPED = pa.schema(
    [
        ("a", pa.int32()),
        ("b", pa.decimal128(8, 2)),
        ("c", pa.timestamp("us", "UTC")),
        ("d", pa.bool_()),
        RESCUED,
    ]
)
RESCUE = {"cloudFiles.format": "csv", "cloudFiles.schemaEvolutionMode": "rescue"}
MULTI = {**RESCUE, "multiLine": "true"}

texts = st.text(
    st.sampled_from([*"ab1 .-,\"'é;\t", "\u2028"])
    | st.characters(codec="utf-8", exclude_characters="\r\n\\\0"),
    max_size=6,
)
loose = st.sampled_from(
    [
        "1",
        "-5",
        "1.255",
        "$1",
        "2020-01-01T00:00:00Z",
        "2020-01-01",
        "true",
        "TRUE",
        "",
        "x",
        "99999999999",
    ]
)


def written(rows: list[list[str]], **how: Any) -> bytes:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n", **how).writerows(rows)
    return out.getvalue().encode()


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.lists(texts, min_size=3, max_size=3), max_size=20))
def test_what_was_written_is_read(rows: list[list[str]]) -> None:
    data = written([["a", "b", "c"], *rows], quoting=csv.QUOTE_ALL)

    actual = read(data, STRINGS, RESCUE)

    assert [[row["a"], row["b"], row["c"]] for row in actual] == [
        [text or None for text in row] for row in rows
    ]


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.lists(texts | st.just("x\ny"), min_size=3, max_size=3), max_size=20))
def test_values_with_line_ends_are_read_in_multi_line_mode(rows: list[list[str]]) -> None:
    data = written([["a", "b", "c"], *rows], quoting=csv.QUOTE_ALL)

    assert [[row["a"], row["b"], row["c"]] for row in read(data, STRINGS, MULTI)] == [
        [text or None for text in row] for row in rows
    ]


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.lists(loose, min_size=4, max_size=6), max_size=20))
def test_every_value_is_in_its_column_or_rescued(rows: list[list[str]]) -> None:
    data = written([["a", "b", "c", "d"], *rows])

    actual = sorted(map(_facts, read(data, TYPED, RESCUE)))

    assert len(actual) == len(rows)
    expected = sorted(
        sorted(
            (("abcd" + "45")[i], text)
            for i, text in enumerate(row)
            if text and not (i < 4 and _fits(i, text))
        )
        for row in rows
    )
    assert actual == expected


def _fits(column: int, text: str) -> bool:
    if column == 0:
        return text in {"1", "-5"}
    if column == 1:
        return text in {"1", "-5", "1.255"}
    if column == 2:
        return text.startswith("2020")
    return text.lower() == "true"


def _facts(row: dict[str, Any]) -> list[tuple[str, str]]:
    rescued = json.loads(row["_rescued_data"] or "{}")
    rescued.pop("_file_path", None)
    return sorted((name.removeprefix("_c"), text) for name, text in rescued.items())


lines = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"1,2,3",
                b'"x,y",2,3',
                b'"open,2,3',
                b"1",
                b"1,2,3,4",
                b"",
                b'a"b,c,d',
                b'"a\\"b",1,2',
                b"\\,1,2",
            ]
        ),
        st.binary(max_size=10).map(lambda data: data.replace(b"\n", b"").replace(b"\r", b"")),
    ),
    max_size=150,
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(lines=lines)
@example(lines=[b"1,2,3"] * 100 + [b'"open,2,3'] + [b"1,2,3"] * 100)
@example(lines=[b"1,2,3"] * 100 + [b"\xff,2,3"])
def test_a_block_is_read_as_its_lines_are_one_by_one(lines: list[bytes]) -> None:
    head = b"a,b,c\n"
    expected = [row for line in lines for row in read(head + line, STRINGS, RESCUE)]

    actual = read(head + b"\n".join(lines), STRINGS, RESCUE)

    assert as_texts(actual) == as_texts(expected)


@settings(max_examples=40, deadline=None)
@given(lines=lines, data=st.data())
def test_ranges_of_a_file_read_every_line_once(lines: list[bytes], data: st.DataObject) -> None:
    content = b"a,b,c\n" + b"\n".join(lines)
    cuts = data.draw(st.sets(st.integers(1, len(content)), max_size=4))
    bounds = tuple(sorted(cut for cut in cuts if cut < len(content)))

    assert as_texts(read(content, STRINGS, RESCUE, bounds=bounds)) == as_texts(
        read(content, STRINGS, RESCUE)
    )


@pytest.mark.parametrize("options", [RESCUE, MULTI], ids=["lines", "multiLine"])
@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=100))
def test_any_bytes_become_rows(options: dict[str, str], data: bytes) -> None:
    rows = read(b"a,b,c\n" + data, STRINGS, options)

    filled = [line for line in data.split(b"\n") if line.strip(b"\r")]
    assert bool(rows) == bool(filled)


# What Apache Spark 4.1 reads as b1, b2 ... under these options.
AS_SPARK = [
    ({}, [None, None, " x ", " y ", "-", "-"]),
    ({"nullValue": "-"}, [None, "", " x ", " y ", None, None]),
    ({"emptyValue": "E"}, [None, "E", " x ", " y ", "-", "-"]),
    ({"nullValue": "-", "emptyValue": "E"}, [None, "E", " x ", " y ", None, None]),
    ({"ignoreLeadingWhiteSpace": "true"}, [None, None, " x ", "y ", "-", "-"]),
    ({"ignoreTrailingWhiteSpace": "true"}, [None, None, " x ", " y", "-", "-"]),
    ({"quote": ""}, [None, '""', '" x "', " y ", "-", '"-"']),
]


@pytest.mark.parametrize("filling", [0, 200], ids=["one by one", "at once"])
@pytest.mark.parametrize(("options", "expected"), AS_SPARK)
def test_no_text_empty_text_and_white_space_are_spark_s(options, expected, filling):
    texts = ["", '""', '" x "', " y ", "-", '"-"']
    records = [f"{i},{text},z" for i, text in enumerate(texts)] + ["9,b,z"] * filling
    data = "\n".join(["a,b,c", *records]).encode()

    actual = read(data, STRINGS, {**RESCUE, **options})

    assert [row["b"] for row in actual] == [*expected, *["b"] * filling]


@pytest.mark.parametrize("blanks", [" ", "\t "])
def test_white_space_is_left_out_without_quotes_too(blanks):
    data = f"a,b,c\n{blanks}x{blanks},{blanks},y z\n".encode() * 100
    both = {"ignoreLeadingWhiteSpace": "true", "ignoreTrailingWhiteSpace": "true"}

    row = read(data, STRINGS, {**RESCUE, **both})[0]

    assert (row["a"], row["b"], row["c"]) == ("x", None, "y z")
