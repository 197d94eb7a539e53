"""A column whose type is wrong in every row is read at once, exactly as its rows one by one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from format_reading import as_texts, one_by_one, read
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from proa.autoloader.options import parse
from proa.formats.json_blocks import JsonReader
from proa.formats.source import OpenPart, Part

RESCUED = pa.field("_rescued_data", pa.string())
CORRUPT = pa.field("_corrupt_record", pa.string())
DATA = [
    pa.field("id", pa.int64()),
    pa.field("i", pa.int8()),
    pa.field("j", pa.int64()),
    pa.field("f", pa.float64()),
    pa.field("g", pa.float32()),
    pa.field("m", pa.decimal128(6, 2)),
    pa.field("w", pa.decimal128(38, 0)),
    pa.field("d", pa.date32()),
    pa.field("t", pa.timestamp("us", "UTC")),
    pa.field("o", pa.bool_()),
    pa.field("s", pa.string()),
    pa.field("n", pa.struct([("x", pa.decimal128(3, 1)), ("y", pa.string())])),
    pa.field("l", pa.list_(pa.int64())),
]
NAMES = [f.name for f in DATA[1:]]
OPTIONS = {
    "rescued": {"cloudFiles.schemaEvolutionMode": "rescue"},
    "kept as corrupt": {"cloudFiles.schemaEvolutionMode": "none"},
    "dropped": {"cloudFiles.schemaEvolutionMode": "none", "mode": "DROPMALFORMED"},
    "in the user's patterns": {
        "cloudFiles.schemaEvolutionMode": "rescue",
        "dateFormat": "dd.MM.yyyy",
        "timestampFormat": "dd.MM.yyyy HH:mm",
    },
}

digits = st.text("0123456789", min_size=1, max_size=40).map(lambda t: t.lstrip("0") or "0")
numbers = st.one_of(
    digits,
    st.builds("-{}".format, digits),
    st.builds("{}.{}".format, digits, st.text("0123456789", min_size=1, max_size=42)),
    st.sampled_from(
        [
            "127",
            "128",
            "-128",
            "-129",
            "-0",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "9999.995",
            "9999.994",
            "1e3",
            "1E-3",
            "1.5e400",
            "0.005",
            "-0.004",
            "3.5e38",
            "99999999999999999999999999999999999999",
            "NaN",
            "-Infinity",
        ]
    ),
)
days = st.builds(
    "{:04d}-{:02d}-{:02d}".format,
    st.just(0) | st.integers(2, 9998),
    st.integers(0, 13),
    st.integers(0, 32),
)
texts = st.one_of(
    st.sampled_from(["free", "", " ", "NaN", "Infinity", "-INF", "inf", "true", "1_000", "+1.5"])
    | st.sampled_from([" 12", "12/31/2013", "31.12.2013", "31.12.2013 10:30", "1e3", "[1]", "{"]),
    numbers,
    days,
    st.builds(
        "{}{}{}{}".format,
        days,
        st.sampled_from(["T", " ", "x"]),
        st.sampled_from(["10:00:00", "23:59:59.123456", "24:00:00", "10:00", "1:2:3.1234567"]),
        st.sampled_from(["", "Z", "+01:00", " UTC"]),
    ),
    st.text(max_size=6),
)
strings = st.builds(lambda t, a: json.dumps(t, ensure_ascii=a), texts, st.booleans())
values = st.one_of(
    strings.filter(lambda text: "\\ud" not in text),
    numbers,
    st.sampled_from(["null", "true", "false", "[1, 2]", '["a"]', "[]", "{}", '{ "x": 1.0 }']),
    st.sampled_from(['{"x":1,"y":"z"}', '{"x":"1"}', '{"x":100,"z":2}', '{"i":[{"x":1}]}']),
)
columns = st.lists(values, min_size=1, max_size=4)


@st.composite
def wrong_files(draw: Any) -> list[bytes]:
    """Lines in which a few columns have any values at all, most of them in every row."""
    chosen = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
    # Python has no times after the year 9999.
    late = re.compile(r"-?[0-9]{11,}")
    found = {
        name: [text for text in draw(columns) if name != "t" or not late.fullmatch(text)] or ["1"]
        for name in chosen
    }
    colon, comma = draw(st.sampled_from([(":", ","), (": ", ", ")]))
    lines = []
    for row in range(draw(st.integers(9, 24))):
        members = [f'"id"{colon}{row}']
        members += [f'"{name}"{colon}{own[row % len(own)]}' for name, own in found.items()]
        lines.append(("{" + comma.join(members) + "}").encode())
    return lines


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(lines=wrong_files())
@example(lines=[b'{"id":%d,"m":"free","n":"x","l":{"x":1}}' % row for row in range(20)])
@example(lines=[b'{"id":%d,"f":"-Infinity"}' % row for row in range(20)])
@example(lines=[b'{"id":%d,"m":10000}' % row for row in range(20)])
@example(lines=[b'{"id":%d,"i":%d,"t":%d}' % (row, 10**20 + row, row) for row in range(20)])
def test_values_of_another_type_are_read_as_one_by_one(
    options: dict[str, str], lines: list[bytes]
) -> None:
    rescues = options["cloudFiles.schemaEvolutionMode"] == "rescue"
    schema = pa.schema([*DATA, RESCUED if rescues else CORRUPT])
    if not rescues:
        # Whether a field that a struct lacks makes its record malformed is not this test's promise.
        lines = [line for line in lines if b'"z"' not in line and b'{"i":[' not in line]
    written = {"cloudFiles.format": "json", **options}
    expected = one_by_one(lines, schema, written, schema_given=not rescues)

    actual = read(b"\n".join(lines), schema, written, schema_given=not rescues)

    assert as_texts(actual) == as_texts(expected)


WRONG = {
    "text for an integer": ("j", '"none {}"'),
    "an integer too large": ("i", "{}000"),
    "an integer of twenty digits": ("j", "9{:019d}"),
    "text for a decimal": ("m", '"free {}"'),
    "a decimal with too many digits": ("m", '"98765{}.25"'),
    "text for a double": ("f", '"x{}"'),
    "text for a time": ("t", '"noon of {}"'),
    "text for a day": ("d", '"12/31/{:04d}"'),
    "text for a boolean": ("o", '"yes {}"'),
    "an object for an integer": ("j", '{{"m": {}}}'),
    "an array for an integer": ("j", "[{}]"),
    "text for an object": ("n", '"EWR {}"'),
    "a number for an array": ("l", "{}"),
}


@pytest.mark.parametrize(("name", "value"), WRONG.values(), ids=WRONG)
def test_a_column_wrong_in_every_row_does_not_tear_its_block_apart(
    tmp_path: Path, name: str, value: str
) -> None:
    written = [value.format(row) for row in range(100, 3100)]
    path = tmp_path / "wrong.json"
    path.write_text("".join(f'{{"s":"a","{name}":{text}}}\n' for text in written))
    options = parse({"cloudFiles.format": "json"}, schema_given=False).reader
    part = Part(str(path), path.stat().st_size, 0, 0, None)
    reader = JsonReader(pa.schema([*DATA, RESCUED]), options)

    tables = list(reader.read(OpenPart(part, options, {}), "wrong.json"))

    assert [len(table) for table in tables] == [len(written)]
    rescued = [json.loads(text)[name] for text in tables[0]["_rescued_data"].to_pylist()]
    nested = written[0].startswith(("{", "["))
    assert rescued == [text if nested else json.loads(text) for text in written]
