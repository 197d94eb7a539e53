"""Avro files, open for reading: blocks of records as batches of columns."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from proa.formats.avro_container import Container, varint
from proa.formats.avro_schema import plain_schema
from proa.formats.columnar import ColumnFile, change_type
from proa.formats.problems import ProblemKind
from proa.formats.reader_options import ReaderOptions
from proa.formats.source import OpenPart


@contextmanager
def open_avro(source: OpenPart, options: ReaderOptions) -> Iterator[ColumnFile]:
    """Open one file for a while.

    Its columns are those of the file's own schema, or of the option `avroSchema`.
    """
    import fastavro

    with source.stream() as stream:
        container = Container.open(stream)
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
                body = varint(count) + data + varint(0)
                records = _decode(source, io.BytesIO(body), block, asked)
                if len(records) != count:
                    raise ValueError("a block's records do not end where the block ends")
                array = change_type(pa.array(records, plain.decoded), plain.type)
                yield pa.RecordBatch.from_struct_array(array)

        yield ColumnFile(pa.schema(list(plain.type)), batches)


def _decode(source: OpenPart, data: io.BytesIO, block: Any, asked: Any) -> list[Any]:
    import fastavro

    try:
        records: Any = fastavro.schemaless_reader(
            data, block, asked, handle_unicode_errors="backslashreplace"
        )
    except Exception as error:
        # The decoder raises whatever its code meets in bytes that are not Avro's.
        raise source.problem(ProblemKind.CORRUPT, f"a block is damaged: {_text(error)}") from error
    if data.read(1):
        raise ValueError("a block's records end before the block does")
    return list(records)


def _text(error: Exception) -> str:
    return f"{error or type(error).__name__}"[:200]
