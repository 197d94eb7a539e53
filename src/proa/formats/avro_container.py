"""The container of Avro files: a header, and blocks of records, packed or not."""

from __future__ import annotations

import bz2
import json
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa

from proa.formats.reader_options import MAX_RECORD

MAGIC = b"Obj\x01"
_SYNC = 16
_MOST_EMPTY = 1 << 24
"""Records of a block that take no bytes at all."""


@dataclass(frozen=True)
class Container:
    """An Avro file whose header has been read."""

    schema: Any
    """The writer's schema, as JSON values."""
    codec: str
    sync: bytes
    file: BinaryIO
    largest: int
    """Bytes of a block, packed or unpacked."""

    @classmethod
    def open(cls, file: BinaryIO, largest: int = MAX_RECORD) -> Container:
        """Read the header. ValueError or EOFError if the file is not an Avro file.

        SwollenError if something in it has more bytes than `largest`.
        """
        if _exactly(file, len(MAGIC), largest) != MAGIC:
            raise ValueError("it does not begin as an Avro file does")
        values: dict[str, bytes] = {}
        while count := _number(file):
            if count < 0:
                _number(file)  # its size in bytes
            for _ in range(abs(count)):
                name = _exactly(file, _number(file), largest).decode()
                values[name] = _exactly(file, _number(file), largest)
        codec = values.get("avro.codec", b"null").decode()
        if codec not in _CODECS:
            raise ValueError(f"its codec {codec!r} is not known; known are {', '.join(_CODECS)}")
        if "avro.schema" not in values:
            raise ValueError("its header has no schema")
        schema = json.loads(values["avro.schema"])
        return cls(schema, codec, _exactly(file, _SYNC, _SYNC), file, largest)

    def blocks(self) -> Iterator[tuple[int, bytes]]:
        """Each block's number of records, and its bytes unpacked. ValueError or EOFError if damaged."""
        while (count := _number(self.file, may_end=True)) is not None:
            packed = _exactly(self.file, _number(self.file), self.largest)
            if _exactly(self.file, _SYNC, _SYNC) != self.sync:
                raise ValueError("a block does not end with the file's mark")
            data = _CODECS[self.codec](packed, self.largest)
            if not 0 <= count <= max(len(data), _MOST_EMPTY):
                raise ValueError(f"a block of {len(data)} bytes says that it has {count} records")
            yield count, data


def varint(number: int) -> bytes:
    """A number that is not negative, as Avro writes it."""
    number <<= 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _number(file: BinaryIO, *, may_end: bool = False) -> Any:
    """The next number. Returns None if the file ends before it and may."""
    value = shift = 0
    while True:
        byte = file.read(1)
        if not byte:
            if may_end and not shift:
                return None
            raise EOFError("the file ends too early")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return (value >> 1) ^ -(value & 1)
        shift += 7
        if shift > 63:
            raise ValueError("a number has more than 64 bits")


class SwollenError(Exception):
    """A block has more bytes than a record may have."""


def _exactly(file: BinaryIO, count: int, largest: int) -> bytes:
    if count < 0:
        raise ValueError(f"a length is {count} bytes")
    if count > largest:
        raise SwollenError
    data = file.read(count)
    if len(data) < count:
        raise EOFError("the file ends too early")
    return data


def _inflate(data: bytes, largest: int) -> bytes:
    return _unpack(zlib.decompressobj(-zlib.MAX_WBITS), data, largest)


def _from_snappy(data: bytes, largest: int) -> bytes:
    size = shift = 0
    for byte in data[:5]:
        size |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    if size > 64 * len(data):  # the most that snappy can pack
        raise ValueError(f"a block of {len(data)} bytes says that it unpacks to {size}")
    if size > largest:
        raise SwollenError
    out: bytes = pa.Codec("snappy").decompress(data[:-4], size, asbytes=True)
    if zlib.crc32(out) != int.from_bytes(data[-4:]):
        raise ValueError("a block's checksum is wrong")
    return out


def _from_zstandard(data: bytes, largest: int) -> bytes:
    out: list[bytes] = []
    with pa.input_stream(pa.BufferReader(data), compression="zstd") as stream:
        while piece := stream.read(_PIECE):
            out.append(piece)
            if len(out) * _PIECE > largest + _PIECE:
                raise SwollenError
    return b"".join(out)


def _from_bzip2(data: bytes, largest: int) -> bytes:
    return _unpack(bz2.BZ2Decompressor(), data, largest)


def _from_xz(data: bytes, largest: int) -> bytes:
    return _unpack(lzma.LZMADecompressor(memlimit=_XZ_MEMORY), data, largest)


def _unpack(unpacker: Any, data: bytes, largest: int) -> bytes:
    try:
        out: bytes = unpacker.decompress(data, largest + 1)
    except lzma.LZMAError as error:
        raise ValueError(str(error)) from None
    if len(out) > largest:
        raise SwollenError
    if not unpacker.eof:
        raise ValueError("a block is cut off")
    return out


_PIECE = 1 << 20
_XZ_MEMORY = 1 << 28
_CODECS: dict[str, Callable[[bytes, int], bytes]] = {
    "null": lambda data, _: data,
    "deflate": _inflate,
    "snappy": _from_snappy,
    "zstandard": _from_zstandard,
    "bzip2": _from_bzip2,
    "xz": _from_xz,
}
