"""Bytes in; rows, rescued values and corrupt records out; nothing is lost, nothing raises."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from format_reading import as_texts, one_by_one, read
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from proa.formats.problems import ReadError

RESCUED = pa.field("_rescued_data", pa.string())
STRINGS = pa.schema([("a", pa.string()), ("b", pa.string()), ("n", pa.string()), RESCUED])
TYPED = pa.schema(
    [
        ("a", pa.int64()),
        ("b", pa.string()),
        ("d", pa.date32()),
        ("t", pa.timestamp("us", "UTC")),
        ("f", pa.float64()),
        ("m", pa.decimal128(10, 2)),
        ("n", pa.struct([("x", pa.int32()), ("y", pa.string())])),
        ("l", pa.list_(pa.int64())),
        RESCUED,
    ]
)
MAPPED = pa.schema(
    [
        ("a", pa.map_(pa.string(), pa.int64())),
        ("b", pa.string()),
        ("n", pa.struct([("x", pa.list_(pa.struct([("y", pa.bool_())])))])),
        ("l", pa.binary()),
        RESCUED,
    ]
)
SCHEMAS = {"strings": STRINGS, "typed": TYPED, "mapped": MAPPED}
RESCUE = {"cloudFiles.format": "json", "cloudFiles.schemaEvolutionMode": "rescue"}

names = st.sampled_from(
    ["a", "A", "b", "d", "t", "f", "m", "n", "N", "l", "x", "y", "x.y", 'q"', "é"]
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-5, 5),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(
        ["1.50", "2020-01-01", "2020-01-01T10:00:00Z", "NaN", "", "x", "\u2028", "}\n{"]
    ),
    st.text(max_size=5),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(names, values, max_size=5)
spaces = st.sampled_from([(",", ":"), (", ", ": ")])


@st.composite
def json_lines(draw: Any) -> bytes:
    """A line as a source may write it: mostly an object, sometimes something else."""
    text = json.dumps(
        draw(objects), separators=draw(spaces), ensure_ascii=draw(st.booleans())
    ).encode("utf-8", "backslashreplace")
    kind = draw(st.integers(0, 12))
    odd = {
        0: draw(st.binary(max_size=8)).replace(b"\n", b""),
        1: text[: draw(st.integers(0, len(text)))],
        2: b"",
        3: b"[" + text + b"," + text + b"]",
        4: b'{"a":1,"a":"2","a":3}',
        5: b'{"a":1,}',
        6: text + b" " + text,
        7: b'{"a":\t1}',
        9: b"null",
        8: b'{"a":1.50,"b":1e3,"n":{"x":-0,"y":1.10}}',
    }
    return odd.get(kind, text)


@pytest.mark.slow
@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(lines=st.lists(json_lines(), min_size=1, max_size=30))
@example(lines=[b'{"a":1}{"a":2}', b'{"a":', b"3}"] + [b'{"a":1}'] * 10)
@example(lines=[b'{"n":{"x":1,"z":2}}'] * 10 + [b'{"b":1}'] * 10)
@example(lines=[b"", b"", b"", b'{"a":{"A":false}}', b'{"A":null}'])
def test_a_block_is_read_as_its_lines_are_one_by_one(schema: pa.Schema, lines: list[bytes]) -> None:
    expected = one_by_one(lines, schema, RESCUE)

    actual = read(b"\n".join(lines), schema, RESCUE)

    assert as_texts(actual) == as_texts(expected)


@pytest.mark.slow
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(records=st.lists(objects, min_size=9, max_size=30), separators=spaces)
def test_every_value_is_in_its_column_or_rescued(
    records: list[dict[str, Any]], separators: tuple[str, str]
) -> None:
    for number, record in enumerate(records):
        record["b"] = f"row {number}"
    data = b"".join(
        json.dumps(r, separators=separators).encode("utf-8", "replace") + b"\n" for r in records
    )

    rows = {row["b"]: row for row in read(data, STRINGS, RESCUE)}

    assert len(rows) == len(records)
    for record in records:
        row = rows[record["b"]]
        rescued = json.loads(row["_rescued_data"] or "{}")
        for name, value in record.items():
            if value is None:
                continue
            if name in {"a", "b", "n"}:
                found = row[name] if isinstance(value, str) else json.loads(row[name])
            else:
                found = rescued[name]
                found = json.loads(found) if isinstance(value, (dict, list)) else found
            assert found == value


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(lines=st.lists(json_lines(), min_size=1, max_size=12), data=st.data())
def test_ranges_of_a_file_read_every_line_once(lines: list[bytes], data: st.DataObject) -> None:
    content = b"\n".join(lines)
    cuts = data.draw(st.sets(st.integers(1, max(1, len(content))), max_size=4))
    bounds = tuple(sorted(cut for cut in cuts if cut < len(content)))

    assert as_texts(read(content, TYPED, RESCUE, bounds=bounds)) == as_texts(
        read(content, TYPED, RESCUE)
    )


@settings(max_examples=30, deadline=None)
@given(data=st.binary(max_size=200))
@pytest.mark.parametrize("schema", SCHEMAS.values(), ids=SCHEMAS)
def test_any_bytes_become_rows(schema: pa.Schema, data: bytes) -> None:
    try:
        rows = read(data, schema, RESCUE)
    except ReadError:
        assert not data.isascii() or not data.decode("ascii").isprintable()  # another kind of file
        return

    text = data.replace("\ufeff".encode(), b"")
    assert bool(rows) == any(line.strip(b" \t\r") for line in text.split(b"\n"))
