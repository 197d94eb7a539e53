"""A row's place in the order of shipments: `_metadata`, and hidden columns that tables keep.

Files of a table hold the place beside the table's columns, and its schema does not name it. So no
reader of the table sees it. (Apart because reading, planning, storing and state all need it.)
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pyarrow as pa
from pyspark.sql.types import StructField, StructType

from proa.formats.arrow_types import spark_type

PLACE = "__proa_place"
"""The hidden column with a row's place; NULL where no manifest gives an order."""
TIME = "__proa_time"
"""The hidden column with the event time that a watermark is about."""
PLACE_TYPE = pa.struct(
    [
        ("stream", pa.string()),
        ("shipment", pa.int64()),
        ("file", pa.string()),
        ("start", pa.int64()),
        ("row", pa.int64()),
    ]
)
"""Which stream of files, the number of the shipment, the file's path below the folder that is
loaded, the byte at which a part of it begins, and the row in that part, counted from 0."""


_FILE_FIELDS = (
    pa.field("file_path", pa.string()),
    pa.field("file_name", pa.string()),
    pa.field("file_size", pa.int64()),
    pa.field("file_block_start", pa.int64()),
    pa.field("file_block_length", pa.int64()),
    pa.field("file_modification_time", pa.timestamp("us", "UTC")),
)
"""The fields of `_metadata` that Spark has for each format."""
_PLACE_FIELDS = (
    pa.field("shipment", pa.int64()),
    pa.field("file_index", pa.int64()),
    pa.field("row_index", pa.int64()),
    pa.field("shipped_at", pa.timestamp("us", "UTC")),
)
PLACE_NAMES = tuple(field.name for field in _PLACE_FIELDS)
"""The fields of `_metadata` that are there when they are asked for: the number of the shipment, the
file in it and the row in the file, both counted from 0, and when the file was shipped."""
WHOLE = "*"
"""Stands among the names of fields where `_metadata` itself is asked for."""


def metadata_type(names: Collection[str] = ()) -> pa.StructType:
    """The type of `_metadata`: what Spark has, and those of `PLACE_NAMES` that are named."""
    return pa.struct([*_FILE_FIELDS, *(field for field in _PLACE_FIELDS if field.name in names)])


def place_field() -> pa.Field:
    """The column as Arrow has it."""
    return pa.field(PLACE, PLACE_TYPE)


def with_place(schema: StructType) -> StructType:
    """The columns, and the place of each row behind them."""
    return StructType([*schema.fields, StructField(PLACE, spark_type(PLACE_TYPE))])


def places_of(stream: str | None, shipment: int, part: tuple[str, int], rows: range) -> Any:
    """The places of the rows `rows` of a part, its file and first byte, as an Arrow array."""
    count = len(rows)
    if stream is None or not shipment:
        return pa.nulls(count, PLACE_TYPE)
    file, start = part
    arrays = [
        pa.repeat(pa.scalar(value, kind.type), count)
        for value, kind in zip((stream, shipment, file, start), list(PLACE_TYPE), strict=False)
    ]
    arrays.append(pa.array(rows, pa.int64()))
    return pa.StructArray.from_arrays(arrays, fields=list(PLACE_TYPE))
