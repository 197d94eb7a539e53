"""Generated shipments: files of every format, with dirt, new and vanishing columns, and folders."""

from __future__ import annotations

import gzip
import io
import itertools
import json
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from pyarrow import orc

FORMATS = ("json", "csv", "parquet", "avro", "orc", "text")
MODES = ("addNewColumns", "rescue", "none", "failOnNewColumns", "addNewColumnsWithTypeWidening")
Files = dict[str, bytes]

_NAMES = st.sampled_from(
    ["a", "A", "b", "B", "id", "s", "S", "m", "n.x", "é", "day", "_rescued_data"]
)
_FOLDERS = st.sampled_from(
    [
        "",
        "",
        "",
        "day=1/",
        "day=x/",
        "DAY=2/",
        "hour=3/",
        "day=1/hour=2/",
        "hour=2/day=1/",
        "a=5/",
        "p/",
    ]
)
_TEXTS = st.sampled_from(
    [
        "",
        "x",
        "7",
        "1.50",
        "2026-01-01",
        "2026-01-01 10:00:00",
        "2026-01-01T10:00:00Z",
        "true",
        "é\u2028",
    ]
)
_NUMBERS = st.sampled_from([0, 1, -3, 2**31, 2**40, 2**63, 2**70, 1.5, -0.0, 1e20, 12345678.125])
_SCALARS = st.none() | st.booleans() | _NUMBERS | _TEXTS
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.dictionaries(st.sampled_from(["x", "X", "y", "z"]), inner, max_size=2)
        | st.lists(inner, max_size=2)
    ),
    max_leaves=4,
)


@st.composite
def _json_file(draw: st.DrawFn) -> bytes:
    rows = draw(st.lists(st.dictionaries(_NAMES, _VALUES, max_size=4), max_size=3))
    lines = [json.dumps(row) for row in rows]
    if draw(st.integers(0, 4)) == 0:
        dirt = st.sampled_from(
            ["{", "[1]", "x", '{"a": 1, "a": "two"}', "null", '{"a": NaN}', '{"a": 1e999}', "[{}]"]
        )
        lines.insert(draw(st.integers(0, len(lines))), draw(dirt))
    text = "\n".join(lines)
    if draw(st.integers(0, 4)) == 0 and lines:
        text = "[" + ",\n".join(lines) + "]"
    return text.encode()


@st.composite
def _csv_file(draw: st.DrawFn) -> bytes:
    names = draw(st.lists(_NAMES, max_size=4))
    cell = (
        _TEXTS | _NUMBERS.map(str) | st.sampled_from(['"a,b"', '"', '"two\nlines"', "NULL", " 5 "])
    )
    rows = draw(st.lists(st.lists(cell, max_size=5), max_size=3))
    lines = [",".join(names), *(",".join(row) for row in rows)]
    return draw(st.sampled_from(["\n", "\r\n"])).join(lines).encode()


_SIMPLE_COLUMNS: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.int8(): st.integers(-3, 3),
    pa.int16(): st.integers(-300, 300),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.sampled_from([0, 2**40, 2**53 + 1, -(2**63)]),
    pa.float32(): st.sampled_from([1.5, 0.0, -2.25]),
    pa.float64(): st.sampled_from([1.5, 0.1, 1e300]),
    pa.bool_(): st.booleans(),
    pa.string(): _TEXTS,
    pa.binary(): st.sampled_from([b"", b"x", b"\xff"]),
    pa.date32(): st.sampled_from([date(2026, 1, 1), date(1969, 1, 1)]),
    pa.timestamp("us"): st.just(datetime(2026, 1, 1, 10)),  # noqa: DTZ001 - without a zone
    pa.timestamp("us", "UTC"): st.just(datetime(2026, 1, 1, 10, tzinfo=UTC)),
    pa.decimal128(5, 2): st.sampled_from([Decimal("1.50"), Decimal("-999.99")]),
    pa.decimal128(10, 4): st.sampled_from([Decimal("1.2345"), Decimal("123456.0000")]),
    pa.decimal128(38, 10): st.sampled_from([Decimal("1.5"), Decimal(10) ** 27]),
}
_PARQUET_COLUMNS: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.uint8(): st.integers(0, 255),
    pa.uint32(): st.integers(0, 2**32 - 1),
    pa.uint64(): st.sampled_from([0, 2**64 - 1]),
    pa.timestamp("ns"): st.just(datetime(2026, 1, 1, 10)),  # noqa: DTZ001 - without a zone
    pa.dictionary(pa.int32(), pa.string()): _TEXTS,
    pa.time64("us"): st.just(datetime(2026, 1, 1, 10).time()),  # noqa: DTZ001 - a time of day
    pa.null(): st.none(),
}


@st.composite
def _column_type(draw: st.DrawFn, kinds: tuple[pa.DataType, ...], depth: int = 0) -> pa.DataType:
    nested = draw(st.integers(0, 3)) == 0 and depth < 2
    if not nested:
        return draw(st.sampled_from(kinds))
    inner = _column_type(kinds, depth + 1)
    shape = draw(st.sampled_from(["struct", "list", "map"]))
    if shape == "list":
        return pa.list_(draw(inner))
    if shape == "map":
        return pa.map_(pa.string(), draw(inner))
    names = draw(
        st.lists(st.sampled_from(["x", "y", "Y"]), min_size=1, max_size=2, unique_by=str.lower)
    )
    return pa.struct([pa.field(name, draw(inner)) for name in names])


def _value_of(type_: pa.DataType) -> st.SearchStrategy[Any]:
    if pa.types.is_struct(type_):
        return st.fixed_dictionaries({f.name: st.none() | _value_of(f.type) for f in type_})
    if pa.types.is_map(type_):
        entry = st.none() | _value_of(type_.item_type)
        return st.dictionaries(st.sampled_from(["k", "l"]), entry, max_size=2).map(
            lambda d: list(d.items())
        )
    if pa.types.is_list(type_):
        return st.lists(st.none() | _value_of(type_.value_type), max_size=2)
    return {**_SIMPLE_COLUMNS, **_PARQUET_COLUMNS}[type_]


@st.composite
def _table(draw: st.DrawFn, kinds: tuple[pa.DataType, ...]) -> pa.Table:
    names = draw(st.lists(_NAMES.filter(lambda n: n != "n.x"), min_size=1, max_size=3, unique=True))
    rows = draw(st.integers(0, 2))
    columns = {}
    for name in names:
        type_ = draw(_column_type(kinds))
        values = st.none() | _value_of(type_)
        columns[name] = pa.array([draw(values) for _ in range(rows)], type_)
    return pa.table(columns)


@st.composite
def _parquet_file(draw: st.DrawFn) -> bytes:
    table = draw(_table((*_SIMPLE_COLUMNS, *_PARQUET_COLUMNS)))
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


@st.composite
def _orc_file(draw: st.DrawFn) -> bytes:
    sink = io.BytesIO()
    orc.write_table(draw(_table(tuple(_SIMPLE_COLUMNS))), sink)
    return sink.getvalue()


_AVRO: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "int": ("int", st.integers(-3, 3)),
    "long": ("long", st.sampled_from([0, 2**40])),
    "float": ("float", st.just(1.5)),
    "double": ("double", st.just(0.1)),
    "string": ("string", _TEXTS),
    "bytes": ("bytes", st.just(b"x")),
    "boolean": ("boolean", st.booleans()),
    "date": ({"type": "int", "logicalType": "date"}, st.just(date(2026, 1, 1))),
    "union": (["null", "int", "string"], st.sampled_from([None, 1, "x"])),
    "decimal": (
        {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2},
        st.just(Decimal("1.50")),
    ),
    "array": ({"type": "array", "items": "int"}, st.lists(st.integers(0, 3), max_size=2)),
    "map": ({"type": "map", "values": "double"}, st.just({"k": 1.5})),
    "enum": ({"type": "enum", "name": "e", "symbols": ["A", "B"]}, st.just("A")),
    "record x": (
        {"type": "record", "name": "r", "fields": [{"name": "x", "type": "int"}]},
        st.just({"x": 1}),
    ),
    "record xy": (
        {
            "type": "record",
            "name": "r",
            "fields": [{"name": "y", "type": "string"}, {"name": "x", "type": "long"}],
        },
        st.just({"x": 1, "y": "t"}),
    ),
}


@st.composite
def _avro_file(draw: st.DrawFn) -> bytes:
    names = draw(
        st.lists(
            st.sampled_from(["a", "A", "b", "id", "s", "day"]), min_size=1, max_size=3, unique=True
        )
    )
    types: dict[str, str] = {}
    for name in names:
        kinds = [k for k in _AVRO if not (k.startswith(("record", "enum")) and k in types.values())]
        if any(t.startswith("record") for t in types.values()):
            kinds = [k for k in kinds if not k.startswith("record")]
        types[name] = draw(st.sampled_from(kinds))
    fields = [{"name": name, "type": _AVRO[kind][0]} for name, kind in types.items()]
    rows = [
        {name: draw(_AVRO[kind][1]) for name, kind in types.items()}
        for _ in range(draw(st.integers(0, 2)))
    ]
    sink = io.BytesIO()
    schema = fastavro.parse_schema({"type": "record", "name": "row", "fields": fields}, _force=True)
    fastavro.writer(sink, schema, rows)
    return sink.getvalue()


_FILES: Mapping[str, Callable[[], st.SearchStrategy[bytes]]] = {
    "json": _json_file,
    "csv": _csv_file,
    "parquet": _parquet_file,
    "orc": _orc_file,
    "avro": _avro_file,
    "text": lambda: st.sampled_from([b"one\ntwo", b"\n", b"a\r\nb\rc", "é".encode()]),
}
_TEXT_FORMATS = frozenset({"json", "csv", "text"})


@st.composite
def _shipped_file(draw: st.DrawFn, kind: str, name: str) -> tuple[str, bytes]:
    data = draw(_FILES[kind]())
    wish = draw(st.integers(0, 19))
    if kind in _TEXT_FORMATS:
        if wish == 0:
            data = b""
        elif wish == 1:
            data = b"\xef\xbb\xbf" + data
        elif wish == 2:
            return f"{name}.{kind}.gz", gzip.compress(data)
        elif wish == 3:
            data += b"\n\xff\xfe,x\n"
        elif wish == 4:
            data += b"\n"
    elif wish == 0:
        data = data[: len(data) // 2]
    elif wish == 1:
        data = b""
    return f"{name}.{kind}", data


@st.composite
def shipments(draw: st.DrawFn, kind: str) -> list[Files]:
    """Files of one to five shipments."""
    numbers = itertools.count()
    made: list[Files] = []
    for _ in range(draw(st.integers(1, 5))):
        files: Files = {}
        for _ in range(draw(st.integers(1, 2))):
            name = f"{draw(_FOLDERS)}{next(numbers)}"
            path, data = draw(_shipped_file(kind, name))
            files[path] = data
        made.append(files)
    return made


_COMMON: dict[str, list[str]] = {
    "cloudFiles.schemaHints": [
        "a int",
        "s struct<x:int>",
        "s.x double",
        "b decimal(5,2), ID bigint",
        "m map<string,int>",
        "a timestamp",
        "s array<struct<x:int>>",
        "s.element.x int",
        "S.x.y double, a.x int",
        "s struct<x:struct<y:int>>, b.x string",
        "s struct<x:array<struct<y:int>>>, s.z struct<x:date>",
        "day int",
        "new date",
    ],
    "rescuedDataColumn": ["_r", "b"],
    "readerCaseSensitive": ["false"],
    "cloudFiles.partitionColumns": ["day", "", "hour,day"],
    "recursiveFileLookup": ["true"],
    "pathGlobFilter": ["*[02468].*"],
    "modifiedAfter": ["2026-01-01T00:01:00Z"],
    "modifiedBefore": ["2026-01-01T00:02:30Z"],
    "cloudFiles.schemaInference.sampleSize.numFiles": ["1", "2"],
    "cloudFiles.schemaInference.sampleSize.numBytes": ["10b"],
    "cloudFiles.maxBytesPerTrigger": ["10b", "1k"],
    "mode": ["DROPMALFORMED"],
    "columnNameOfCorruptRecord": ["bad", "a"],
    "proa.metadata": ["true", "*", "file_index,row_index,shipment", "shipped_at"],
}
_OF_FORMAT: dict[str, dict[str, list[str]]] = {
    "json": {"multiLine": ["true"], "dateFormat": ["yyyy-MM-dd"]},
    "csv": {
        "multiLine": ["true"],
        "header": ["false"],
        "nullValue": ["NULL", "7"],
        "ignoreLeadingWhiteSpace": ["true"],
        "quote": ["'"],
        "timestampFormat": ["yyyy-MM-dd HH:mm:ss"],
    },
    "text": {"wholetext": ["true"]},
}
_SCHEMAS = ["a int, b string", "id bigint, s struct<x:int,y:string>, day int", "value string"]


@st.composite
def leaf_options(draw: st.DrawFn, kind: str) -> tuple[dict[str, str], str | None]:
    """What a user may write about such files, and perhaps their own schema."""
    schema = draw(st.none() | st.none() | st.none() | st.sampled_from(_SCHEMAS))
    modes = MODES[1:4] if schema else MODES
    if kind == "text":
        schema = None
    elif kind == "csv" and schema and "struct" in schema:
        schema = _SCHEMAS[0]
    options = {
        "cloudFiles.format": kind,
        "cloudFiles.schemaEvolutionMode": draw(st.sampled_from(modes)),
        "ignoreCorruptFiles": "true",
    }
    if draw(st.booleans()):
        options["cloudFiles.inferColumnTypes"] = draw(st.sampled_from(["true", "false"]))
    choices = {**_COMMON, **_OF_FORMAT.get(kind, {})}
    for name in draw(st.lists(st.sampled_from(sorted(choices)), max_size=3, unique=True)):
        options[name] = draw(st.sampled_from(choices[name]))
    return options, schema
