"""ORC files and whole files as bytes."""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from format_reading import inferred, read, tables
from pyarrow import orc

from proa.formats.binary_file import BINARY_FILE
from proa.formats.problems import ProblemKind, ReadError

TABLE = pa.table(
    {
        "id": pa.array([1, None], pa.int64()),
        "small": pa.array([1, 2], pa.int8()),
        "name": pa.array(["a", None]),
        "price": pa.array([Decimal("1.50"), None], pa.decimal128(10, 2)),
        "day": pa.array([date(2026, 1, 31), None]),
        "at": pa.array([datetime(2026, 1, 31, 12), None], pa.timestamp("us")),  # noqa: DTZ001
        "tags": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int32())),
        "lines": pa.array([[{"sku": "s", "at": None}], None], pa.list_(
            pa.struct([("sku", pa.string()), ("at", pa.timestamp("us"))])
        )),
        "a.b": pa.array([b"x", None], pa.binary()),
    }
)  # fmt: skip


def orc_bytes(table: pa.Table, **options: object) -> bytes:
    file = io.BytesIO()
    orc.write_table(table, file, **options)
    return file.getvalue()


def test_the_types_are_sparks(tmp_path: Path) -> None:
    assert inferred("orc", orc_bytes(TABLE), tmp_path) == (
        "struct<id:bigint,small:tinyint,name:string,price:decimal(10,2),day:date,at:timestamp,"
        "tags:map<string,int>,lines:array<struct<sku:string,at:timestamp>>,a.b:binary>"
    )


@pytest.mark.parametrize("packing", ["uncompressed", "zlib", "snappy", "lz4", "zstd"])
def test_every_type_is_read(packing: str) -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    time = pa.timestamp("us", "UTC")
    types = {"at": time, "lines": pa.list_(pa.struct([("sku", pa.string()), ("at", time)]))}
    wanted = pa.schema([f.with_type(types.get(f.name, f.type)) for f in TABLE.schema])
    rows = read(orc_bytes(TABLE, compression=packing), wanted, {"format": "orc"})
    assert rows == [
        TABLE.to_pylist()[0] | {"at": noon},
        dict.fromkeys(TABLE.column_names) | {"small": 2},
    ]


def test_stripes_are_read_in_pieces() -> None:
    count = 150_000
    lists = pa.array([None if i % 3 else [i] for i in range(count)])
    table = pa.table({"a": pa.array(range(count)), "l": lists})
    found = tables(
        orc_bytes(table),
        pa.schema([("a", pa.int64()), ("l", pa.list_(pa.int32()))]),
        {"format": "orc"},
    )
    assert found["a"].equals(table["a"])
    assert found["l"].to_pylist() == lists.to_pylist()


def test_what_does_not_fit_is_rescued() -> None:
    wanted = pa.schema([("name", pa.int32()), ("_rescued_data", pa.string())])
    options = {"format": "orc", "schemaEvolutionMode": "rescue"}
    rows = read(orc_bytes(TABLE.select(["name", "small"])), wanted, options)
    assert [json.loads(row["_rescued_data"]) for row in rows] == [
        {"name": "a", "small": 1, "_file_path": "file"},
        {"small": 2, "_file_path": "file"},
    ]


@pytest.mark.parametrize(
    "damage", [lambda data: b"", lambda data: data[:-3], lambda data: data[9:]]
)
def test_damaged_files_are_told(damage: object) -> None:
    assert callable(damage)
    wanted = pa.schema([("id", pa.int64())])
    with pytest.raises(ReadError) as caught:
        read(damage(orc_bytes(TABLE)), wanted, {"format": "orc", "schemaEvolutionMode": "none"})
    assert caught.value.problem.kind is ProblemKind.CORRUPT


def test_a_time_that_arrow_cannot_hold_is_told() -> None:
    far = pa.table({"at": pa.array([datetime(9999, 12, 31)], pa.timestamp("us"))})  # noqa: DTZ001
    wanted = pa.schema([("at", pa.timestamp("us", "UTC"))])
    with pytest.raises(ReadError, match="out of range"):
        read(orc_bytes(far), wanted, {"format": "orc"})


def test_a_whole_file_is_one_row() -> None:
    data = b"\xef\xbb\xbf\x00\xff\n"
    [row] = read(data, BINARY_FILE, {"format": "binaryFile"}, name="a.gz")
    assert row["content"] == data
    assert row["length"] == len(data)
    assert row["path"].endswith("/a.gz")
    assert row["modificationTime"] == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("year", [1, 1582, 1677, 2263, 9999])
@pytest.mark.parametrize("kind", ["orc", "parquet"])
def test_days_and_times_of_any_year_are_read_right_or_refused(kind: str, year: int) -> None:
    # Arrow reads ORC's times as nanoseconds in 64 bits, which end in 1677 and 2262.
    moment = datetime(year, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    table = pa.table({"day": [moment.date()], "at": pa.array([moment], pa.timestamp("us", "UTC"))})
    file = io.BytesIO()
    if kind == "orc":
        orc.write_table(table, file)
    else:
        pq.write_table(table, file)
    day = read(file.getvalue(), table.schema.remove(1), {"format": kind}, schema_given=True)
    assert day == [{"day": moment.date()}]
    if kind == "orc":
        with pytest.raises(ReadError, match="out of range") as told:
            read(file.getvalue(), table.schema, {"format": kind})
        assert told.value.problem.kind is ProblemKind.CORRUPT
    else:
        assert read(file.getvalue(), table.schema, {"format": kind}) == table.to_pylist()
