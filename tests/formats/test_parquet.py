"""Parquet files: times of 96 bits, and pages that are not what was written."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from format_reading import inferred, read

from proa.formats.columnar import change_type
from proa.formats.problems import ProblemKind, ReadError

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
CLOCK = pa.timestamp("us")


def parquet_bytes(table: pa.Table, **options: object) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


TIMES = pa.table(
    {
        "id": [1, 2],
        "at": pa.array([NOON.replace(tzinfo=None), None], CLOCK),
        "s": pa.array([{"l": [NOON.replace(tzinfo=None)]}, None], pa.struct([("l", pa.list_(CLOCK))])),
    }
)  # fmt: skip


def test_times_of_96_bits_are_instants_nested_ones_too(tmp_path: Path) -> None:
    data = parquet_bytes(TIMES, use_deprecated_int96_timestamps=True)
    assert inferred("parquet", data, tmp_path) == (
        "struct<id:bigint,at:timestamp,s:struct<l:array<timestamp>>>"
    )
    zoned = pa.timestamp("us", "UTC")
    wanted = pa.schema(
        [("at", zoned), ("id", pa.int64()), ("s", pa.struct([("l", pa.list_(zoned))]))]
    )
    rows = read(data, wanted, {"format": "parquet"})
    assert rows == [
        {"at": NOON, "id": 1, "s": {"l": [NOON]}},
        {"at": None, "id": 2, "s": None},
    ]
    picked = read(data, wanted.remove(1), {"format": "parquet", "schemaEvolutionMode": "none"})
    assert [row["at"] for row in picked] == [NOON, None]


def test_clocks_that_say_so_have_no_zone(tmp_path: Path) -> None:
    assert inferred("parquet", parquet_bytes(TIMES), tmp_path) == (
        "struct<id:bigint,at:timestamp_ntz,s:struct<l:array<timestamp_ntz>>>"
    )


def test_a_page_that_is_not_what_was_written_is_told() -> None:
    table = pa.table({"a": pa.array([7_000_000_007] * 10, pa.int64())})
    data = parquet_bytes(table, write_page_checksum=True, compression="none", use_dictionary=False)
    values = (7_000_000_007).to_bytes(8, "little") * 2
    damaged = data.replace(values, bytes(16), 1)
    assert damaged != data
    schema = pa.schema([("a", pa.int64())])
    assert len(read(data, schema, {"format": "parquet"})) == 10
    with pytest.raises(ReadError) as caught:
        read(damaged, schema, {"format": "parquet"})
    assert caught.value.problem.kind is ProblemKind.CORRUPT
    assert "checksum" in caught.value.problem.detail


def test_the_farthest_years_are_those_that_spark_wrote() -> None:
    # As Arrow reads what Spark writes for 290000-12-31T23:00: day and nanoseconds are negative.
    misread = pa.array([-7_188_624_036_226_874_385, 0, None], pa.int64()).cast(CLOCK)
    meant = change_type(misread, pa.timestamp("us", "UTC"))
    assert meant.cast(pa.int64()).to_pylist() == [9_089_380_393_200_000_000, 0, None]
