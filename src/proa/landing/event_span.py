"""The earliest and latest event in a file, where that can be had cheaply."""

from __future__ import annotations

import io
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from proa.formats.arrow_json import UnparsedError, arrow_json
from proa.formats.source import DAMAGED
from proa.lazy import compute as pc

Span = tuple[datetime, datetime]


def event_span(path: str, content: bytes, field: str | None) -> Span | None:
    """The smallest and largest value of `field` ("a.b" when nested) in a JSON-lines, CSV or Parquet file.

    None when no field is asked for, the kind of file is another one (judged by its name), or there
    is no such field with times: what a manifest says must be certain. Times without a zone are UTC.
    """
    if field is None:
        return None
    name = path.lower()
    try:
        if name.endswith((".json", ".jsonl", ".ndjson")):
            values = _json(content, field.split("."))
        elif name.endswith(".csv"):
            values = _csv(content, field)
        elif name.endswith(".parquet"):
            values = _parquet(content, field)
        else:
            return None
        return _span(values)
    except (UnparsedError, KeyError, OSError, *DAMAGED):
        return None


def _json(content: bytes, parts: list[str]) -> pa.ChunkedArray:
    kind: Any = pa.string()
    for part in reversed(parts):
        kind = pa.struct([(part, kind)])
    table = arrow_json(content, pa.schema(list(kind)), infer=False)
    return _nested_values(table[parts[0]], parts[1:])


def _csv(content: bytes, field: str) -> pa.ChunkedArray:
    options = pyarrow.csv.ConvertOptions(include_columns=[field], column_types={field: pa.string()})
    return pyarrow.csv.read_csv(io.BytesIO(content), convert_options=options)[field]


def _parquet(content: bytes, field: str) -> pa.ChunkedArray:
    """The extremes of each batch of rows, or the different texts. ArrowInvalid if a text is no time."""
    first, *rest = field.split(".")
    found: list[pa.Array] = []
    with pq.ParquetFile(io.BytesIO(content), read_dictionary=[field], pre_buffer=False) as file:
        for batch in file.iter_batches(_ROWS, columns=[field], use_threads=False):
            values = batch.column(first)
            for part in rest:
                values = pc.struct_field(values, part)
            if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
                both = pc.min_max(values)
                found.append(pa.array([both["min"], both["max"]], values.type))
                continue
            if not pa.types.is_dictionary(values.type):
                raise pa.ArrowInvalid("it is not a column of times")
            texts = values.dictionary
            if (pc.max(pc.binary_length(texts)).as_py() or 0) > _LONGEST_TIME:
                raise pa.ArrowInvalid("a text is longer than a time")
            found.append(values.unique().dictionary_decode())
    return pa.chunked_array(found)


_ROWS = 65_536
_LONGEST_TIME = 100
"""Characters."""


def _nested_values(values: pa.ChunkedArray, parts: list[str]) -> pa.ChunkedArray:
    for part in parts:
        values = pc.struct_field(values, part)
    return values


def _span(values: pa.ChunkedArray) -> Span | None:
    if not pa.types.is_timestamp(values.type):
        values = _times(values)
    both = pc.min_max(values.cast(pa.timestamp("us", "UTC")))
    if both["min"].as_py() is None:
        return None
    return both["min"].as_py(), both["max"].as_py()


def _times(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Strings as times; all with a zone or all without one, else ArrowInvalid."""
    text = values.cast(pa.string())
    try:
        return text.cast(pa.timestamp("us", "UTC"))
    except pa.ArrowInvalid:
        return text.cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
