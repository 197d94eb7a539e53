"""Parquet files, open for reading.

Apart because each format has a module.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from proa.formats.columnar import BATCH_ROWS, ColumnFile
from proa.formats.reader_options import ReaderOptions
from proa.formats.source import OpenPart


@contextmanager
def open_parquet(source: OpenPart, options: ReaderOptions) -> Iterator[ColumnFile]:  # noqa: ARG001 - as all formats
    """Open one file for a while."""
    # An INT96 holds years that nanoseconds in 64 bits do not.
    with (
        source.random_access() as opened,
        pq.ParquetFile(opened, coerce_int96_timestamp_unit="us") as file,
    ):

        def batches(columns: list[str] | None) -> Iterator[pa.RecordBatch]:
            yield from file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False)

        yield ColumnFile(file.schema_arrow, batches)
