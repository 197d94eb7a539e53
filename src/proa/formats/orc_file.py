"""ORC files, open for reading.

Apart because each format has a module.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from proa.formats.columnar import BATCH_ROWS, ColumnFile, change_type
from proa.formats.reader_options import ReaderOptions
from proa.formats.source import OpenPart


@contextmanager
def open_orc(source: OpenPart, options: ReaderOptions) -> Iterator[ColumnFile]:  # noqa: ARG001 - as all formats
    """Open one file for a while. Its times are instants, as Spark reads them."""
    from pyarrow import orc

    with source.random_access() as opened:
        file = orc.ORCFile(opened)
        schema = pa.schema([f.with_type(_in_spark(f.type)) for f in file.schema])

        def batches(columns: list[str] | None) -> Iterator[pa.RecordBatch]:  # noqa: ARG001 - a name with a dot cannot be asked for
            for number in range(file.nstripes):
                stripe = file.read_stripe(number)
                for at in range(0, len(stripe), BATCH_ROWS):
                    piece = stripe.slice(at, BATCH_ROWS)
                    arrays = [
                        change_type(column, f.type)
                        for column, f in zip(piece.columns, schema, strict=True)
                    ]
                    yield pa.RecordBatch.from_arrays(arrays, schema=schema)

        yield ColumnFile(schema, batches)


def _in_spark(type_: pa.DataType) -> pa.DataType:
    """The type with every time in microseconds and in UTC: ORC writes it as a clock shows it."""
    kinds = pa.types
    if kinds.is_timestamp(type_):
        return pa.timestamp("us", "UTC")
    if kinds.is_struct(type_):
        return pa.struct([f.with_type(_in_spark(f.type)) for f in type_])
    if kinds.is_map(type_):
        return pa.map_(_in_spark(type_.key_type), _in_spark(type_.item_type))
    if kinds.is_list(type_):
        return pa.list_(_in_spark(type_.value_type))
    return type_
