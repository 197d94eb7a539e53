"""Feed one process with hostile bytes: python hostile_bytes.py SEED COUNT. It must end by itself."""

from __future__ import annotations

import io
import random  # noqa: TID251 - seeded
import sys
import tempfile
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import orc

from proa.autoloader.options import parse
from proa.autoloader.tasks import opener_of, reader_of
from proa.formats.arrow_types import arrow_schema, settle_type
from proa.formats.binary_file import BINARY_FILE
from proa.formats.columnar import infer_columns
from proa.formats.csv_blocks import infer_csv
from proa.formats.json_schema import JsonInference
from proa.formats.problems import ReadError
from proa.formats.source import OpenPart, Part
from proa.landing.event_span import event_span

KEYS = ["a", "", " a", "a.b", "`a`", "a\\u0000", "_rescued_data", "_corrupt_record", "é", "A", "at"]
VALUES = [
    "null", "1", "-0", "1e400", "9" * 40, "1.50", "true", '"x"', '"\\ud800"', '"\\u0000"', "[]", "{}",
    '[1,"x",{}]', '{"a":{"b":[1]}}', "NaN", "[" * 300 + "]" * 300, "[" * 100_000, '{"a":' * 2_000,
    '"2026-01-01T00:00:00"', '"unclosed', "01", "\udcff",
]  # fmt: skip
LINES = ["null", "[]", "1", "", " ", "{", '{"a":1}{"a":2}', "\x00", "\udcff\udcfe", '"', "{}"]
ENDS = ["\n", "\r\n", "\r", "\n\n"]
TYPES = [
    pa.string(), pa.int32(), pa.int64(), pa.float64(), pa.decimal128(10, 2), pa.date32(), pa.bool_(),
    pa.timestamp("us", "UTC"), pa.binary(), pa.map_(pa.string(), pa.int64()), pa.list_(pa.int64()),
    pa.struct([("a", pa.int64()), ("b", pa.string())]),
]  # fmt: skip


def json_bytes(dice: random.Random) -> bytes:
    def line() -> str:
        if dice.random() < 0.2:
            return dice.choice(LINES)
        members = [f'"{dice.choice(KEYS)}":{dice.choice(VALUES)}' for _ in range(dice.randrange(4))]
        return "{" + dice.choice([",", ", "]).join(members) + "}"

    text = "".join(line() + dice.choice(ENDS) for _ in range(dice.randrange(1, 20)))
    if dice.random() < 0.2:
        return text.encode("utf-16", "surrogatepass")
    return text.encode("utf-8", "surrogateescape")


def csv_bytes(dice: random.Random) -> bytes:
    cells = [
        "a",
        "1",
        '"x',
        '"x"',
        '""',
        "\\",
        ",",
        "\udcff",
        "\x00",
        " ",
        "9" * 30,
        "é",
        "2026-01-01",
    ]
    lines = [
        ",".join(dice.choices(cells, k=dice.randrange(4))) for _ in range(dice.randrange(1, 30))
    ]
    return "".join(line + dice.choice(ENDS) for line in lines).encode("utf-8", "surrogateescape")


def parquet_bytes(dice: random.Random) -> bytes:
    arrays = {
        "a": pa.array([1, None, 3], dice.choice([pa.int32(), pa.int64(), pa.float32()])),
        dice.choice(KEYS): pa.array(["x", None, "z" * 50]),
        "at": pa.array([0, 1, None], pa.timestamp(dice.choice(["us", "ns", "ms"]))),
        "s": pa.array([{"a": 1}, None, {"a": 2}]),
        "l": pa.array([[1], [], None]),
    }
    sink = io.BytesIO()
    pq.write_table(pa.table(arrays), sink, compression=dice.choice(["none", "snappy", "zstd"]))
    return sink.getvalue()


def orc_bytes(dice: random.Random) -> bytes:
    table = pq.read_table(io.BytesIO(parquet_bytes(dice)))
    sink = io.BytesIO()
    orc.write_table(
        table, sink, compression=dice.choice(["uncompressed", "snappy", "zlib", "zstd"])
    )
    return sink.getvalue()


def avro_bytes(dice: random.Random) -> bytes:
    fields: list[dict[str, Any]] = [
        {"name": "a", "type": dice.choice(["int", "string", ["null", "long"], ["int", "bytes"]])},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "l", "type": {"type": "array", "items": {"type": "map", "values": "double"}}},
        {"name": "s", "type": {"type": "fixed", "name": "f", "size": 4, "logicalType": "decimal",
                               "precision": 8}},
    ]  # fmt: skip
    schema: dict[str, Any] = {"type": "record", "name": "r", "fields": fields}
    values = {"string": "x"}.get(str(fields[0]["type"]), 1)
    rows = [
        {"a": values, "at": n, "l": [{"k": 1.5}] * n, "s": Decimal(n)}
        for n in range(dice.randrange(20))
    ]
    sink = io.BytesIO()
    fastavro.writer(sink, schema, rows, codec=dice.choice(["null", "deflate", "xz", "bzip2"]))
    return sink.getvalue()


def damaged(data: bytes, dice: random.Random) -> bytes:
    """Some bytes changed, a piece cut out, or the end cut off."""
    out = bytearray(data)
    for _ in range(dice.choice([0, 1, 1, 3, 20])):
        if out:
            out[dice.randrange(len(out))] = dice.randrange(256)
    if out and dice.random() < 0.3:
        at = dice.randrange(len(out))
        del out[at : at + dice.randrange(1, 200)]
    return bytes(out)


MAKERS: dict[str, Callable[[random.Random], bytes]] = {
    "json": json_bytes, "csv": csv_bytes, "parquet": parquet_bytes, "text": csv_bytes,
    "orc": orc_bytes, "avro": avro_bytes, "binaryFile": csv_bytes,
}  # fmt: skip


def attempt(kind: str, data: bytes, dice: random.Random, folder: str) -> None:
    """Infer from the bytes, read them, look for the times in them."""
    written = {"format": kind, "multiLine": dice.choice(["true", "false"])}
    written["schemaEvolutionMode"] = dice.choice(["rescue", "addNewColumns", "none"])
    if kind in {"json", "csv", "text"} and dice.random() < 0.2:
        written["encoding"] = dice.choice(["utf-16", "latin-1"])
    options = parse(written, schema_given=False).reader
    path = Path(folder, f"f.{kind}")
    path.write_bytes(data)
    part = OpenPart(Part(str(path), len(data), 0), options, {})
    infer = {
        "json": JsonInference(options, types=dice.random() < 0.5, pinned=frozenset()).infer,
        "csv": lambda source: infer_csv(source, options, types=True),
        **{
            kind: partial(infer_columns, options=options, open_file=opener_of(kind))
            for kind in ("parquet", "orc", "avro")
        },
    }
    names = dice.sample(["a", "b", "A", "at", "s", "l"], 3)
    schemas = [pa.schema([(name, dice.choice(TYPES)) for name in names])]
    if kind in infer:
        try:
            inferred = infer[kind](part)
            settled_fields = [
                type(f)(f.name, settle_type(f.dataType))
                for f in inferred.fields
                if options.may_be_column(f.name)
            ]
            schemas.append(arrow_schema(type(inferred)(settled_fields)))
        except ReadError:
            pass
    else:
        schemas = [BINARY_FILE if kind == "binaryFile" else pa.schema([("value", pa.string())])]
    for schema in schemas:
        if kind in {"csv", "text"}:
            flat = [
                f if not pa.types.is_nested(f.type) else f.with_type(pa.string()) for f in schema
            ]
            schema = pa.schema(flat)  # noqa: PLW2901
        known = {*schema.names, options.rescued_column}
        if options.rescued_column and len(known) > len(schema.names):
            schema = schema.append(pa.field(options.rescued_column, pa.string()))  # noqa: PLW2901
        try:
            for table in reader_of(schema, options).read(part, path.name):
                table.validate(full=True)
        except ReadError:
            pass
    event_span(path.name, data, dice.choice(["at", "a", "s.a", "a.b"]))


def main() -> None:
    seed, count = int(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        for number in range(seed, seed + count):
            dice = random.Random(number)
            kind = dice.choice(list(MAKERS))
            sys.stdout.write(f"{number} {kind}\n")
            sys.stdout.flush()
            attempt(kind, damaged(MAKERS[kind](dice), dice), dice, folder)
    sys.stdout.write("done\n")


if __name__ == "__main__":
    main()
