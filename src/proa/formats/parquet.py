"""Parquet files, open for reading.

Apart because each format has a module.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from proa.formats.columnar import BATCH_ROWS, ColumnFile, change_types, in_utc
from proa.formats.reader_options import ReaderOptions
from proa.formats.source import OpenPart


@contextmanager
def open_parquet(source: OpenPart, options: ReaderOptions) -> Iterator[ColumnFile]:  # noqa: ARG001 - as all formats
    """Open one file for a while. Its times of 96 bits are instants, as Spark reads them."""
    # An INT96 holds years that nanoseconds in 64 bits do not.
    with (
        source.random_access() as opened,
        pq.ParquetFile(
            opened, coerce_int96_timestamp_unit="us", page_checksum_verification=True
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
            for batch in file.iter_batches(BATCH_ROWS, columns=columns, use_threads=False):
                yield change_types(batch, schema) if instants else batch

        yield ColumnFile(schema, batches)
