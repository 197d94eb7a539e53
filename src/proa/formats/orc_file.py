"""ORC files, open for reading: a bounded number of rows at once, however far the file expands."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from proa.formats.columnar import (
    BATCH_ROWS,
    MOST_SWELLING,
    ColumnFile,
    change_types,
    in_utc,
)
from proa.formats.reader_options import ReaderOptions
from proa.formats.source import OpenPart


@contextmanager
def open_orc(source: OpenPart, options: ReaderOptions) -> Iterator[ColumnFile]:
    """Open one file for a while. Its times are instants, as Spark reads them."""
    from pyarrow import dataset, orc

    with source.random_access() as opened:
        texts, values = expansion(opened)
        file = orc.ORCFile(opened)
        schema = pa.schema([f.with_type(in_utc(f.type)) for f in file.schema])

        def batches(columns: list[str] | None) -> Iterator[pa.RecordBatch]:
            swells = texts > MOST_SWELLING * source.part.size
            row = max(texts, 8 * values) / max(file.nrows, 1) * (_UNEVEN if swells else 1)
            if file.nrows and max(texts, 8 * values) / file.nrows > options.max_record:
                raise source.too_large("it has a row")
            # A name that is a path to the scanner cannot be asked for.
            plain = columns and all(name.isidentifier() for name in columns)
            scanner = (
                dataset.OrcFileFormat()
                .make_fragment(opened)
                .scanner(
                    batch_size=max(1, min(BATCH_ROWS, int(2 * options.max_record / max(row, 1)))),
                    columns=columns if plain else None,
                    batch_readahead=0,
                    fragment_readahead=0,
                    use_threads=False,
                )
            )
            for batch in scanner.to_reader():
                yield change_types(batch, schema)

        yield ColumnFile(schema, batches)


_UNEVEN = 16
"""How many times the mean a row is taken for, where a file expands so far that few rows may be all of it."""


def expansion(file: Any) -> tuple[int, int]:
    """(bytes of all texts, number of all values) as the file's statistics say; zeros without any."""
    size = file.seek(0, 2)
    file.seek(max(size - _TAIL, 0))
    data = bytes(file.read(_TAIL))
    file.seek(0)
    try:
        end = len(data) - 1 - data[-1]
        script = dict(_fields(data[end:-1]))
        footer = _unpack(data[end - script[1] : end], script.get(2, 0))
        columns = [dict(_fields(value)) for key, value in _fields(footer) if key == 7]
        texts = sum(
            _zigzag(dict(_fields(column[kind])).get(total, 0))
            for column in columns
            for kind, total in ((4, 3), (8, 1))
            if kind in column
        )
        return texts, sum(column.get(1, 0) for column in columns)
    except (KeyError, IndexError, TypeError, ValueError, OSError, zlib.error, pa.ArrowException):
        return 0, 0  # the reader says what is wrong with it


_TAIL = 4 << 20
"""Bytes at the end of a file that are looked at."""


def _zigzag(number: int) -> int:
    return (number >> 1) ^ -(number & 1)


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a protobuf message: numbers as they are, messages as bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
        elif kind == 2:
            size, at = _varint(data, at)
            yield key >> 3, data[at : at + size]
            at += size
        elif kind in {1, 5}:
            at += 8 if kind == 1 else 4
        else:
            raise ValueError("not a message")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("not a number")


def _unpack(data: bytes, codec: int) -> bytes:
    """The chunks of a packed stream. ValueError if that cannot be had."""
    if codec == 0:
        return data
    out: list[bytes] = []
    at = 0
    while at < len(data):
        head = int.from_bytes(data[at : at + 3], "little")
        chunk = data[at + 3 : at + 3 + (head >> 1)]
        at += 3 + (head >> 1)
        if head & 1:
            out.append(chunk)
        elif codec == 1:
            out.append(zlib.decompressobj(-zlib.MAX_WBITS).decompress(chunk, _TAIL))
        elif codec == 2:
            out.append(pa.Codec("snappy").decompress(chunk, _varint(chunk, 0)[0], asbytes=True))
        elif codec != 5:
            raise ValueError("packed in a way that does not say how large it is")
        else:
            with pa.input_stream(pa.BufferReader(chunk), compression="zstd") as stream:
                out.append(stream.read(_TAIL))
    return b"".join(out)
