"""ORC files, open for reading.

Apart because each format has a module.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from proa.formats.columnar import BATCH_ROWS, ColumnFile, change_types, in_utc
from proa.formats.reader_options import ReaderOptions
from proa.formats.source import OpenPart


@contextmanager
def open_orc(source: OpenPart, options: ReaderOptions) -> Iterator[ColumnFile]:  # noqa: ARG001 - as all formats
    """Open one file for a while. Its times are instants, as Spark reads them."""
    from pyarrow import orc

    with source.random_access() as opened:
        file = orc.ORCFile(opened)
        schema = pa.schema([f.with_type(in_utc(f.type)) for f in file.schema])

        def batches(columns: list[str] | None) -> Iterator[pa.RecordBatch]:  # noqa: ARG001 - a name with a dot cannot be asked for
            for number in range(file.nstripes):
                stripe = file.read_stripe(number)
                for at in range(0, len(stripe), BATCH_ROWS):
                    yield change_types(stripe.slice(at, BATCH_ROWS), schema)

        yield ColumnFile(schema, batches)
