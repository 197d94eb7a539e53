"""Avro files: every type that Avro has, every codec, and schemas that change."""

from __future__ import annotations

import bz2
import io
import json
import lzma
import zlib
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import fastavro
import pyarrow as pa
import pytest
from format_reading import read, tables

from proa.autoloader.options import parse
from proa.autoloader.tasks import opener_of
from proa.errors import PipelineError
from proa.formats.avro_container import MAGIC, Container, varint
from proa.formats.avro_schema import plain_schema
from proa.formats.columnar import infer_columns
from proa.formats.problems import ProblemKind, ReadError
from proa.formats.source import OpenPart, Part

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "Order",
    "namespace": "shop.v1",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "state", "type": {"type": "enum", "name": "State", "symbols": ["NEW", "PAID"]}},
        {"name": "before", "type": ["null", "State"]},
        {"name": "hash", "type": {"type": "fixed", "name": "Hash", "size": 2}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "local", "type": {"type": "long", "logicalType": "local-timestamp-micros"}},
        {
            "name": "price",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 2},
        },
        {"name": "tags", "type": {"type": "map", "values": ["null", "int"]}},
        {"name": "number", "type": ["int", "long", "null"]},
        {"name": "odd", "type": ["null", "int", "string", {"type": "array", "items": "double"}]},
        {
            "name": "lines",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Line",
                    "fields": [{"name": "sku", "type": "string"}, {"name": "was", "type": "State"}],
                },
            },
        },
        {"name": "key", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "time", "type": {"type": "int", "logicalType": "time-millis"}},
    ],
}
RECORD: dict[str, Any] = {
    "id": 1,
    "state": "NEW",
    "before": None,
    "hash": b"\x00\xff",
    "day": date(2026, 1, 31),
    "at": datetime(2026, 1, 31, 12, tzinfo=UTC),
    "local": datetime(2026, 1, 31, 12, 0, 0, 1),  # noqa: DTZ001 - a clock without a zone
    "price": Decimal("-12345678901234567890123456789012345.67"),
    "tags": {"a": 1, "b": None},
    "number": 2**40,
    "odd": "x",
    "lines": [{"sku": "s", "was": "PAID"}],
    "key": "6f1b6a33-9d0b-4b0a-8f0e-5d1a3f0f3f55",
    "time": 5,
}
READ: dict[str, Any] = RECORD | {
    "tags": [("a", 1), ("b", None)],
    "odd": {"member0": None, "member1": "x", "member2": None},
}


def avro(schema: Any, records: list[Any], codec: str = "null", interval: int = 16000) -> bytes:
    file = io.BytesIO()
    fastavro.writer(file, schema, records, sync_interval=interval)
    return packed(file.getvalue(), codec)


def packed(data: bytes, codec: str) -> bytes:
    """The file with its blocks packed: the writer has only some of the codecs."""
    container = Container.open(io.BytesIO(data))
    meta = {"avro.schema": json.dumps(container.schema), "avro.codec": codec}
    out = MAGIC + varint(len(meta))
    for text in (each for member in meta.items() for each in member):
        out += varint(len(text.encode())) + text.encode()
    out += varint(0) + container.sync
    for count, body in container.blocks():
        small = PACK[codec](body)
        out += varint(count) + varint(len(small)) + small + container.sync
    return out


def deflated(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "null": bytes,
    "deflate": deflated,
    "snappy": lambda body: (
        pa.Codec("snappy").compress(body, asbytes=True) + zlib.crc32(body).to_bytes(4)
    ),
    "zstandard": lambda body: pa.Codec("zstd").compress(body, asbytes=True),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


def columns(schema: Any) -> pa.Schema:
    return pa.schema(list(plain_schema(schema).type))


def inferred(data: bytes, tmp_path: Any, **written: str) -> Any:
    path = tmp_path / "f.avro"
    path.write_bytes(data)
    options = parse({"format": "avro", **written}, schema_given=False).reader
    part = OpenPart(Part(str(path), len(data), 0), options, {})
    return infer_columns(part, options, opener_of("avro"))


@pytest.mark.parametrize("codec", PACK)
def test_every_type_is_read_whatever_packs_the_blocks(codec: str) -> None:
    rows = read(avro(SCHEMA, [RECORD] * 3, codec), columns(SCHEMA), {"format": "avro"})
    assert rows == [READ] * 3


def test_the_types_are_sparks(tmp_path: Any) -> None:
    found = inferred(avro(SCHEMA, [RECORD]), tmp_path)
    assert found.simpleString() == (
        "struct<id:bigint,state:string,before:string,hash:binary,day:date,at:timestamp,"
        "local:timestamp_ntz,price:decimal(38,2),tags:map<string,int>,number:bigint,"
        "odd:struct<member0:int,member1:string,member2:array<double>>,"
        "lines:array<struct<sku:string,was:string>>,key:string,time:int>"
    )


def test_many_blocks_come_in_order() -> None:
    schema = {"type": "record", "name": "r", "fields": [{"name": "a", "type": "int"}]}
    data = avro(schema, [{"a": i} for i in range(5000)], interval=100)
    rows = read(data, columns(schema), {"format": "avro"})
    assert [row["a"] for row in rows] == list(range(5000))


def test_what_the_schema_lacks_is_rescued_and_what_the_file_lacks_is_null() -> None:
    schema = {
        "type": "record",
        "name": "r",
        "fields": [{"name": "a", "type": "string"}, {"name": "new", "type": "int"}],
    }
    wanted = pa.schema([("a", pa.int64()), ("b", pa.int64()), ("_rescued_data", pa.string())])
    options = {"format": "avro", "schemaEvolutionMode": "rescue"}
    [row] = read(avro(schema, [{"a": "x", "new": 1}]), wanted, options)
    assert json.loads(row.pop("_rescued_data")) == {"a": "x", "new": 1, "_file_path": "file"}
    assert row == {"a": None, "b": None}


def test_a_new_field_is_told() -> None:
    schema = {"type": "record", "name": "r", "fields": [{"name": "a", "type": "int"}]}
    wanted = pa.schema([("_rescued_data", pa.string())])
    with pytest.raises(ReadError) as caught:
        read(avro(schema, [{"a": 1}]), wanted, {"format": "avro"})
    assert caught.value.problem.kind is ProblemKind.NEW_FIELDS
    assert caught.value.problem.fields == ("a",)


def test_a_schema_of_the_user_resolves_aliases_defaults_and_wider_types(tmp_path: Any) -> None:
    old = {
        "type": "record",
        "name": "r",
        "fields": [{"name": "a", "type": "int"}, {"name": "gone", "type": "string"}],
    }
    new = {
        "type": "record",
        "name": "r",
        "fields": [
            {"name": "b", "aliases": ["a"], "type": "double"},
            {"name": "c", "type": "string", "default": "none"},
        ],
    }
    data = avro(old, [{"a": 7, "gone": "x"}])
    text = json.dumps(new)
    assert inferred(data, tmp_path, avroSchema=text).simpleString() == "struct<b:double,c:string>"
    rows = read(data, columns(new), {"format": "avro", "avroSchema": text})
    assert rows == [{"b": 7.0, "c": "none"}]


def test_a_schema_of_the_user_that_is_none_is_refused() -> None:
    with pytest.raises(PipelineError, match="avroSchema"):
        parse({"format": "avro", "avroSchema": '{"type": "int"}'}, schema_given=False)


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (
            {"type": "record", "name": "n", "fields": [{"name": "a", "type": ["null", "n"]}]},
            "itself",
        ),
        ("string", "not a record"),
        (
            {
                "type": "record",
                "name": "n",
                "fields": [{"name": "a", "type": {"type": "array", "items": "null"}}],
            },
            "no bytes",
        ),
    ],
)
def test_a_schema_without_columns_is_refused_by_name(schema: Any, says: str) -> None:
    record: Any = "x" if schema == "string" else {"a": None if says == "itself" else []}
    with pytest.raises(ReadError) as caught:
        read(avro(schema, [record]), pa.schema([("a", pa.string())]), {"format": "avro"})
    assert caught.value.problem.kind is ProblemKind.CORRUPT
    assert says in caught.value.problem.detail


SMALL = {"type": "record", "name": "r", "fields": [{"name": "a", "type": "string"}]}


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"{}\n",
        lambda data: data[:-20],
        lambda data: data[:-1],
        lambda data: data[:-16] + b"\0" * 16,
        lambda data: data.replace(b"null", b"nulk"),
        lambda data: data.replace(b'"string"', b'"strong"'),
    ],
)
def test_damaged_files_are_told(damage: Any) -> None:
    data = damage(avro(SMALL, [{"a": "x"}, {"a": "y"}]))
    with pytest.raises(ReadError) as caught:
        read(data, columns(SMALL), {"format": "avro"})
    assert caught.value.problem.kind is ProblemKind.CORRUPT


def test_bytes_that_are_no_text_are_kept() -> None:
    data = avro(SMALL, [{"a": "xyz"}]).replace(b"\x06xyz", b"\x06x\xffz")
    [row] = read(data, columns(SMALL), {"format": "avro"})
    assert row == {"a": "x\\xffz"}


def test_times_beyond_pythons_years_are_read() -> None:
    kind = {"type": "long", "logicalType": "timestamp-micros"}
    schema = {"type": "record", "name": "r", "fields": [{"name": "a", "type": kind}]}
    wanted = pa.schema([("a", pa.timestamp("us", "UTC"))])
    found = tables(avro(schema, [{"a": 2**60}]), wanted, {"format": "avro"})
    assert found["a"].cast(pa.int64()).to_pylist() == [2**60]


def test_milliseconds_beyond_microseconds_are_told() -> None:
    kind = {"type": "long", "logicalType": "timestamp-millis"}
    schema = {"type": "record", "name": "r", "fields": [{"name": "a", "type": kind}]}
    with pytest.raises(ReadError, match="out of bounds"):
        read(avro(schema, [{"a": 2**60}]), columns(schema), {"format": "avro"})
