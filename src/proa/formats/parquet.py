"""Parquet files, open for reading: a bounded number of bytes at once, however far the file expands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from proa.formats.columnar import (
    BATCH_ROWS,
    MOST_SWELLING,
    ColumnFile,
    change_types,
    in_utc,
)
from proa.formats.reader_options import ReaderOptions
from proa.formats.source import OpenPart
from proa.lazy import compute as pc


@contextmanager
def open_parquet(source: OpenPart, options: ReaderOptions) -> Iterator[ColumnFile]:
    """Open one file for a while. Its times of 96 bits are instants, as Spark reads them."""
    # An INT96 holds years that nanoseconds in 64 bits do not.
    with (
        source.random_access() as opened,
        pq.ParquetFile(
            opened,
            coerce_int96_timestamp_unit="us",
            page_checksum_verification=True,
            pre_buffer=False,
        ) as file,
    ):
        leaves = (file.schema.column(i) for i in range(len(file.schema)))
        instants = {leaf.path.split(".")[0] for leaf in leaves if leaf.physical_type == "INT96"}
        schema = pa.schema(
            [
                f.with_type(in_utc(f.type)) if f.name.split(".")[0] in instants else f
                for f in file.schema_arrow
            ]
        )

        def batches(columns: list[str] | None) -> Iterator[pa.RecordBatch]:
            for number in range(file.num_row_groups):
                rows = rows_at_once(source, file, number, columns, options.max_record)
                for batch in file.iter_batches(
                    rows, row_groups=[number], columns=columns, use_threads=False
                ):
                    yield change_types(batch, schema) if instants else batch

        yield ColumnFile(schema, batches)


@dataclass
class _Expansion:
    """What a row group's columns take once they are decoded."""

    batch: int
    """Bytes of a batch, about."""
    row: float = 0
    """Bytes of a row, at most or about."""
    whole: int = 0
    """Bytes of columns that expand so far that all of it may be in one row or page."""
    dictionaries: list[str] = field(default_factory=list)
    """Columns whose texts may stand in the file once and in many rows."""


def rows_at_once(
    source: OpenPart, file: Any, number: int, columns: list[str] | None, largest: int
) -> int:
    """How many rows of a row group make a batch of a bounded size.

    ReadError if a row has more than `largest` bytes.
    """
    group = file.metadata.row_group(number)
    if not group.num_rows:
        return BATCH_ROWS
    expansion = _Expansion(2 * largest)
    for at in range(group.num_columns):
        chunk = group.column(at)
        path = chunk.path_in_schema
        if columns is None or any(f"{path}.".startswith(f"{name}.") for name in columns):
            _add(expansion, chunk, file.schema.column(at), group.num_rows)
    if expansion.dictionaries:
        expansion.row += _longest_texts(source, file, number, expansion.dictionaries)
    if expansion.row > largest or expansion.whole > 4 * largest:
        raise source.too_large("it has a row")
    return max(1, min(BATCH_ROWS, int(expansion.batch / max(expansion.row, 1))))


def _add(expansion: _Expansion, chunk: Any, column: Any, rows: int) -> None:
    texts = chunk.physical_type == "BYTE_ARRAY"
    decoded = chunk.total_uncompressed_size
    if column.max_repetition_level:
        decoded = max(decoded, chunk.num_values * _WIDTHS.get(chunk.physical_type, 8))
    if decoded > MOST_SWELLING * chunk.total_compressed_size:
        expansion.whole += decoded
    expansion.row += max(decoded / rows, 8)
    if texts and chunk.has_dictionary_page and rows * decoded > expansion.batch:
        expansion.dictionaries.append(chunk.path_in_schema)
    if "DELTA_BYTE_ARRAY" in chunk.encodings:
        # Each text may repeat all of the one before it, which takes no bytes.
        expansion.row += min(decoded, expansion.batch / _FEWEST)


_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4}
_FEWEST = 64
"""Rows of a batch, at least, whose texts may repeat each other's beginnings."""


def _longest_texts(source: OpenPart, file: Any, number: int, paths: list[str]) -> int:
    """Bytes of the longest texts in the columns' dictionaries, together."""
    longest: dict[str, int] = {}
    with (
        source.random_access() as opened,
        pq.ParquetFile(
            opened, metadata=file.metadata, read_dictionary=paths, pre_buffer=False
        ) as again,
    ):
        # A dictionary comes with the first value; in most columns that is the first row's.
        for rows in (1, _LOOK_AHEAD):
            missing = [path for path in paths if path not in longest]
            if not missing:
                break
            for batch in again.iter_batches(
                rows, row_groups=[number], columns=missing, use_threads=False
            ):
                for name, column in zip(batch.schema.names, batch.columns, strict=True):
                    for path, texts in _dictionaries(name, column):
                        longest[path] = pc.max(pc.binary_length(texts)).as_py()
                if rows == 1 or longest.keys() >= set(missing):
                    break
    return sum(longest.values())


_LOOK_AHEAD = 8192


def _dictionaries(path: str, values: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    """The dictionaries that are not empty, by the paths of their columns."""
    kinds = pa.types
    if kinds.is_dictionary(values.type):
        if len(values.dictionary):
            yield path, values.dictionary
    elif kinds.is_struct(values.type):
        for i, child in enumerate(values.type):
            yield from _dictionaries(f"{path}.{child.name}", values.field(i))
    elif kinds.is_map(values.type):
        yield from _dictionaries(f"{path}.key_value.key", values.keys)
        yield from _dictionaries(f"{path}.key_value.value", values.items)
    elif kinds.is_list(values.type):
        yield from _dictionaries(f"{path}.list.element", values.values)
