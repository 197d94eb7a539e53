"""Avro files, open for reading: blocks of records as batches of columns."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from proa.formats.avro_container import Container, SwollenError, varint
from proa.formats.avro_schema import Plain, plain_schema
from proa.formats.columnar import BATCH_ROWS, ColumnFile, change_type
from proa.formats.problems import ProblemKind
from proa.formats.reader_options import ReaderOptions
from proa.formats.source import OpenPart


@contextmanager
def open_avro(source: OpenPart, options: ReaderOptions) -> Iterator[ColumnFile]:
    """Open one file for a while.

    Its columns are those of the file's own schema, or of the option `avroSchema`.
    """
    import fastavro

    with source.stream() as stream, _refuse_swollen(source):
        container = Container.open(stream, options.max_record)
        try:
            written = plain_schema(container.schema)
            wanted = plain_schema(json.loads(options.avro_schema)) if options.avro_schema else None
            # A block is an array that lacks the number of its elements, and its end.
            block = fastavro.parse_schema({"type": "array", "items": written.avro}, _force=True)
            asked: Any = None
            if wanted is not None:
                asked = fastavro.parse_schema({"type": "array", "items": wanted.avro}, _force=True)
        except Exception as error:
            raise source.problem(ProblemKind.CORRUPT, _text(error)) from error
        plain = wanted or written

        def batches(columns: list[str] | None) -> Iterator[pa.RecordBatch]:  # noqa: ARG001 - records are rows
            for count, data in container.blocks():
                if not count:
                    continue
                if count > BATCH_ROWS or len(data) > _LARGE_BLOCK:
                    slices = _in_slices(source, count, data, written.avro, wanted)
                else:
                    body = io.BytesIO(varint(count) + data + varint(0))
                    slices = iter([_decode(source, body, block, asked)])
                read = 0
                for records in slices:
                    read += len(records)
                    array = change_type(pa.array(records, plain.decoded), plain.type)
                    yield pa.RecordBatch.from_struct_array(array)
                if read != count:
                    raise ValueError("a block's records do not end where the block ends")

        yield ColumnFile(pa.schema(list(plain.type)), batches)


_LARGE_BLOCK = 8 << 20
"""Bytes; the records of larger blocks are decoded a few at a time."""
_MOST_VALUES = 8 << 20
"""Values of one record of such a block."""
_AT_ONCE = 16_384
_PIECE = 4 << 20
"""Bytes that are decoded at once, about, when records have one size."""


@contextmanager
def _refuse_swollen(source: OpenPart) -> Iterator[None]:
    try:
        yield
    except SwollenError:
        raise source.too_large("it has a block") from None


class _Counted(io.BytesIO):
    """Bytes that can be asked for so many values only: each takes one reading at least."""

    left = _MOST_VALUES

    def read(self, size: int | None = -1, /) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise SwollenError
        return super().read(size)


def _in_slices(
    source: OpenPart, count: int, data: bytes, schema: Any, wanted: Plain | None
) -> Iterator[list[Any]]:
    """The records of a large block, some thousands at once."""
    import fastavro

    written = fastavro.parse_schema(schema, _force=True)
    asked: Any = None if wanted is None else fastavro.parse_schema(wanted.avro, _force=True)
    body = _Counted(data)
    at_once = max(1, min(_AT_ONCE, count * _PIECE // max(len(data), 1)))
    for start in range(0, count, at_once):
        records = []
        for _ in range(min(at_once, count - start)):
            body.left = _MOST_VALUES
            records.append(_one(source, body, written, asked))
        yield records
    if body.read(1):
        raise ValueError("a block's records end before the block does")


def _one(source: OpenPart, data: io.BytesIO, block: Any, asked: Any) -> Any:
    import fastavro

    try:
        return fastavro.schemaless_reader(
            data, block, asked, handle_unicode_errors="backslashreplace"
        )
    except SwollenError:
        raise source.problem(
            ProblemKind.LARGE, f"it has a record of more than {_MOST_VALUES} values"
        ) from None
    except Exception as error:
        # The decoder raises whatever its code meets in bytes that are not Avro's.
        raise source.problem(ProblemKind.CORRUPT, f"a block is damaged: {_text(error)}") from error


def _decode(source: OpenPart, data: io.BytesIO, block: Any, asked: Any) -> list[Any]:
    records = _one(source, data, block, asked)
    if data.read(1):
        raise ValueError("a block's records end before the block does")
    return list(records)


def _text(error: Exception) -> str:
    return f"{error or type(error).__name__}"[:200]
