"""Bytes of one file, or of a range of its lines, as a stream of blocks of whole lines."""

from __future__ import annotations

import bz2
import codecs
import io
import os
import re
import zlib
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa

from proa.errors import ProaError
from proa.formats.problems import Problem, ProblemKind, ReadError
from proa.formats.reader_options import ReaderOptions
from proa.storage import NotFoundError, Store, is_url

BLOCK = 8 << 20
"""Bytes that are parsed at once."""
_LAST = BLOCK + BLOCK // 4
"""Bytes; what is left of a file is read in one piece when it is no more."""
_BOM = codecs.BOM_UTF8

COMPRESSED = (".gz", ".gzip", ".bz2", ".zst", ".zstd", ".deflate")
"""Names of files that are unpacked while they are read."""


@dataclass(frozen=True, slots=True)
class Part:
    """What one reader reads of one file: all of it, or the lines that begin in a range."""

    path: str
    """Absolute path or URL."""
    size: int
    modified: int
    start: int = 0
    end: int | None = None
    """Bytes; None: to the end of the file, whatever its size."""
    shipment: int = 0
    """The number of its file's shipment; 0 where no manifest gives the order."""
    file_index: int = 0
    """Which file of its shipment it is, counted from 0, when rows are to know it."""
    shipped_at: int = 0
    """Microseconds since 1970, when rows are to know it."""


DAMAGED = (
    EOFError,
    zlib.error,
    UnicodeError,
    ValueError,
    OverflowError,
    RecursionError,
    pa.ArrowException,
    pa.ArrowMemoryError,
)
"""What libraries raise when they meet bytes that are not of the file's format."""


NoteBad = Callable[[str, str], None]
"""Takes a record and the reason why it is not one."""


class OpenPart:
    """One part of a file, open for reading.

    What is wrong with the file is raised as `ReadError`: missing, changed since it was discovered,
    not readable.
    """

    def __init__(
        self,
        part: Part,
        options: ReaderOptions,
        storage: Mapping[str, str],
        note: NoteBad | None = None,
    ) -> None:
        self.part = part
        self.note = note
        """Takes records that are left out of the rows; None when nobody asks for them."""
        self.options = options
        self._storage = storage

    def at(self, part: Part) -> OpenPart:
        """Another part, read in the same way."""
        return OpenPart(part, self.options, self._storage)

    def problem(self, kind: ProblemKind, detail: str) -> ReadError:
        return ReadError(Problem(kind, self.part.path, detail))

    def too_large(self, what: str) -> ReadError:
        """The error of a file in which something has more bytes than a record may have."""
        limit = self.options.max_record
        return self.problem(ProblemKind.LARGE, f"{what} of more than {limit >> 20} MiB")

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Turn what reading may raise into `ReadError`."""
        try:
            yield
        except ReadError:
            raise
        except (FileNotFoundError, NotFoundError):
            raise self.problem(ProblemKind.MISSING, "") from None
        except ProaError as error:
            raise self.problem(ProblemKind.UNAVAILABLE, str(error)) from error
        except DAMAGED as error:
            raise self.problem(ProblemKind.CORRUPT, _short(error)) from error
        except OSError as error:
            kind = ProblemKind.CORRUPT if error.errno is None else ProblemKind.UNAVAILABLE
            raise self.problem(kind, _short(error)) from error

    def raw(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The file's own bytes in the range, in chunks."""
        if is_url(self.part.path):
            store, name = _object(self.part.path, self._storage)
            read = 0
            for piece in store.chunks(name, start=start, end=end):
                read += len(piece)
                yield bytes(piece)
            if start == 0 and end is None:
                self._check(read)
            return
        with Path(self.part.path).open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            self._check(size)
            file.seek(start)
            at = start
            while end is None or at < end:
                rest = (size if end is None else end) - at
                chunk = file.read(rest if 0 < rest <= _LAST else BLOCK)
                if not chunk:
                    break
                at += len(chunk)
                yield chunk
            self._check(os.fstat(file.fileno()).st_size)

    def _check(self, size: int) -> None:
        if size != self.part.size and not self.options.allow_overwrites:
            raise self.problem(
                ProblemKind.CHANGED, f"{self.part.size} bytes then, {size} bytes now"
            )

    def whole(self) -> bytes:
        """The unpacked, UTF-8 bytes of the whole file. ReadError if a record may not have so many."""
        with self.guard():
            chunks: list[bytes] = []
            size = 0
            for chunk in self._text():
                size += len(chunk)
                if size > self.options.max_record:
                    raise self.too_large("it is one value")
                chunks.append(chunk)
            return _without_bom(b"".join(chunks))

    def documents(self) -> Iterator[tuple[bytes, bool]]:
        """A file of one JSON value: (all of it, False), or blocks of lines of a large array's elements.

        The second of each pair is whether the block has lines.
        """
        with self.guard():
            chunks = self._text()
            held: list[bytes] = []
            size = 0
            for chunk in chunks:
                held.append(chunk)
                size += len(chunk)
                if size > _LARGE_DOCUMENT:
                    break
            else:
                yield _without_bom(b"".join(held)), False
                return
            text = chain([_without_bom(held[0]), *held[1:]], chunks)
            yield from ((block, True) for block in _whole_lines(_array_elements(text, self), self))

    @contextmanager
    def random_access(self) -> Iterator[Any]:
        """The file as something that can be sought in, for a while."""
        with self.guard(), ExitStack() as opened:
            if is_url(self.part.path):
                store, name = _object(self.part.path, self._storage)
                self._check(store.head(name).size)
                yield opened.enter_context(store.open_reader(name))
                return
            file = opened.enter_context(Path(self.part.path).open("rb"))
            self._check(os.fstat(file.fileno()).st_size)
            yield file

    @contextmanager
    def stream(self) -> Iterator[BinaryIO]:
        """The file's own bytes from its beginning on, for a while."""
        with self.guard(), io.BufferedReader(_Chunks(self.raw()), BLOCK) as opened:
            yield cast("BinaryIO", opened)

    def records(self) -> Iterator[bytes]:
        """Blocks of whole CSV records, whose values may hold line ends within quotes."""
        with self.guard():
            first = True
            scan = RecordEnds(self.options.quote, self.options.escape)
            held: list[bytes] = []
            size = 0
            for chunk in (
                _with_line_ends(self._text()) if self.options.any_line_end else self._text()
            ):
                cut = scan.last_end(chunk)
                if cut:
                    block = b"".join([*held, chunk[:cut]])
                    yield _without_bom(block) if first else block
                    held, size, first = [chunk[cut:]], len(chunk) - cut, False
                    continue
                held.append(chunk)
                size += len(chunk)
                if size > self.options.max_record:
                    raise self.too_large("a quote is probably not closed: it has a record")
            rest = b"".join(held)
            if rest:
                yield _without_bom(rest) if first else rest

    def lines(self) -> Iterator[bytes]:
        """Blocks of whole lines; the last line may lack its end."""
        with self.guard():
            part = self.part
            ranged = part.start > 0 or part.end is not None
            text = self._range() if ranged else self._text()
            if ranged and part.start == 0:
                text = self._check_kind(text)
            if self.options.any_line_end and not ranged:
                text = _one_line_end(text)
            first = part.start == 0
            for block in _whole_lines(text, self):
                yield _without_bom(block) if first else block
                first = False

    def _text(self) -> Iterator[bytes]:
        """The unpacked file as UTF-8, in chunks. ReadError if it is a file of another kind."""
        chunks = self._check_kind(_decompress(self.part.path, self.raw()))
        if self.options.encoding != "utf-8":
            chunks = _recode(chunks, self.options.encoding)
        separator = self.options.line_separator.encode()
        if separator == b"\n":
            return chunks
        return (chunk.replace(separator, b"\n") for chunk in chunks)

    def _check_kind(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The chunks; ReadError if the first one begins as no text does."""
        for number, chunk in enumerate(chunks):
            kind = None if number else _kind_of_file(chunk)
            if kind is not None:
                raise self.problem(ProblemKind.CORRUPT, f"it is {kind}, and text is wanted")
            yield chunk

    def _range(self) -> Iterator[bytes]:
        """The lines that begin in the range: a line belongs to the range of its first byte."""
        start, end = self.part.start, self.part.end
        at = max(start - 1, 0)
        skipping = start > 0
        chunks = self.raw(at)
        for chunk in _one_line_end(chunks) if self.options.any_line_end else chunks:
            data = chunk
            if skipping:
                found = data.find(b"\n")
                if found < 0:
                    at += len(data)
                    continue
                at, data, skipping = at + found + 1, data[found + 1 :], False
                if end is not None and at >= end:
                    return
            if end is not None and at + len(data) >= end:
                found = data.find(b"\n", max(end - 1 - at, 0))
                if found >= 0:
                    yield data[: found + 1]
                    return
            yield data
            at += len(data)


def _object(url: str, storage: Mapping[str, str]) -> tuple[Store, str]:
    """The bucket of a URL, and the object's name in it."""
    scheme, _, rest = url.partition("://")
    bucket, _, name = rest.partition("/")
    return _bucket(f"{scheme}://{bucket}", tuple(sorted(storage.items()))), name


@lru_cache(maxsize=8)
def _bucket(url: str, storage: tuple[tuple[str, str], ...]) -> Store:
    # One client for all files of a bucket: its connections are used again.
    return Store.open(url, dict(storage))


def _whole_lines(chunks: Iterator[bytes], source: OpenPart) -> Iterator[bytes]:
    longest = source.options.max_record
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        cut = chunk.rfind(b"\n") + 1
        if cut and size + cut >= BLOCK // 2:
            whole = not held and cut == len(chunk)
            yield chunk if whole else b"".join([*held, memoryview(chunk)[:cut]])
            held, size = [chunk[cut:]], len(chunk) - cut
            continue
        held.append(chunk)
        size += len(chunk)
        if size > longest and not cut:
            raise source.too_large("it has a line")
    rest = b"".join(held)
    if rest:
        yield rest


def line_pieces(block: bytes, most: int, ends: np.ndarray[Any, Any] | None = None) -> list[bytes]:
    """The block in pieces of at most so many lines; `ends` are where lines end, if not at every line feed."""
    if len(block) <= most or block.count(b"\n") <= most:
        return [block]
    if ends is None:
        ends = np.flatnonzero(np.frombuffer(block, np.uint8) == ord("\n"))
    cuts = [0, *(ends[most - 1 :: most] + 1).tolist()]
    pieces = [block[start:end] for start, end in pairwise([*cuts, len(block)])]
    return [piece for piece in pieces if piece]


def _array_elements(chunks: Iterator[bytes], source: OpenPart) -> Iterator[bytes]:
    """The bytes of a JSON array with each element on a line of its own: separators become line ends.

    EOFError if it does not end. What is wrong within an element stays there.
    """
    held = b""
    level, in_string = 0, False
    for number, piece in enumerate(chunks):
        chunk = held + piece
        if number == 0 and chunk.lstrip()[:1] != b"[":
            raise source.too_large("it is a document that is no array, and")
        tail = len(chunk) - len(chunk.rstrip(b"\\"))
        chunk, held = (chunk[:-1], chunk[-1:]) if tail % 2 else (chunk, b"")
        data = np.frombuffer(bytearray(chunk), np.uint8)
        marks = np.frombuffer(_ESCAPED.sub(b"..", chunk) if b"\\" in chunk else chunk, np.uint8)
        inside = (np.cumsum(marks == ord('"'), dtype=np.uint8) + in_string) % 2
        signs = np.flatnonzero(_STRUCTURAL[marks] & (inside == 0))
        kinds = marks[signs]
        levels = level + np.cumsum(_STEPS[kinds])
        data[signs[kinds == ord("\n")]] = ord(" ")
        data[signs[(kinds == ord(",")) & (levels == 1)]] = ord("\n")
        data[signs[(kinds == ord("[")) & (levels == 1)]] = ord(" ")
        data[signs[(kinds == ord("]")) & (levels == 0)]] = ord("\n")
        in_string = bool(inside[-1]) if len(inside) else in_string
        level = int(levels[-1]) if len(levels) else level
        yield data.tobytes()
    if level or held:
        raise EOFError("the array does not end")


_LARGE_DOCUMENT = 32 << 20
"""Bytes; larger arrays are read an element at a time."""
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_STRUCTURAL = np.zeros(256, bool)
_STRUCTURAL[list(b"[]{},\n")] = True
_STEPS = np.zeros(256, np.int64)
_STEPS[list(b"[{")] = 1
_STEPS[list(b"]}")] = -1


class RecordEnds:
    """Finds line ends outside of quotes, chunk after chunk; each byte is looked at once."""

    def __init__(self, quote: str, escape: str) -> None:
        self._quote = quote.encode()
        self._escape = escape.encode() if escape != quote else b""
        self._open = False
        self._escaped = False
        """The last chunk ended with the escape character."""

    def last_end(self, chunk: bytes) -> int:
        """Where the last line that ends outside of quotes ends in the chunk; 0 when none does."""
        if not self._quote:
            return chunk.rfind(b"\n") + 1
        ends = self.ends(chunk)
        return int(ends[-1]) + 1 if len(ends) else 0

    def ends(self, chunk: bytes) -> np.ndarray[Any, Any]:
        """The line feeds of the chunk that are outside of quotes."""
        data = np.frombuffer(chunk, np.uint8)
        quotes = data == ord(self._quote)
        if self._escape:
            escapes = data == ord(self._escape)
            quotes[1:] &= ~escapes[:-1]
            quotes[:1] &= not self._escaped
            self._escaped = bool(escapes[-1:].any())
        ends = np.flatnonzero(data == ord("\n"))
        places = np.flatnonzero(quotes)
        inside = (np.searchsorted(places, ends) + self._open) % 2
        self._open = bool((len(places) + self._open) % 2)
        outside: np.ndarray[Any, Any] = ends[inside == 0]
        return outside


_LONE_RETURN = re.compile(rb"\r(?!\n)")


def _one_line_end(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks with a line feed for each carriage return that stands alone.

    Spark ends lines at either. No byte is added or taken away, so that ranges stay where they are.
    """
    held = b""
    for piece in chunks:
        chunk = held + piece if held else piece
        held = b""
        if b"\r" in chunk:
            if chunk.endswith(b"\r"):
                chunk, held = chunk[:-1], b"\r"
            if chunk.count(b"\r") > chunk.count(b"\r\n"):
                chunk = _LONE_RETURN.sub(b"\n", chunk)
        if chunk:
            yield chunk
    if held:
        yield b"\n"


def _with_line_ends(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks of a file whose lines may all end in a carriage return.

    Returns within quotes are values in any other file.
    """
    alone = None
    for chunk in chunks:
        if alone is None:
            alone = b"\r" in chunk and b"\n" not in chunk
        yield chunk.replace(b"\r", b"\n") if alone else chunk


_BEGINNINGS = {
    b"PK\x03\x04": "a zip archive",
    b"PK\x05\x06": "an empty zip archive",
    b"\x1f\x8b\x08": "packed with gzip and not named .gz",
    b"\x28\xb5\x2f\xfd": "packed with zstd and not named .zst",
    b"\xfd7zXZ\x00": "packed with xz",
    b"PAR1\x15": "a Parquet file",
    b"Obj\x01": "an Avro file",
}
"""How files begin that are no text."""


def _kind_of_file(data: bytes) -> str | None:
    return next((kind for begin, kind in _BEGINNINGS.items() if data.startswith(begin)), None)


def is_utf8(data: bytes) -> bool:
    """Whether the bytes are UTF-8; as fast as reading them."""
    offsets = pa.py_buffer(array("q", [0, len(data)]))
    try:
        pa.LargeStringArray.from_buffers(1, offsets, pa.py_buffer(data)).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _without_bom(data: bytes) -> bytes:
    return data.removeprefix(_BOM)


def _decompress(path: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    name = path.lower()
    if name.endswith((".gz", ".gzip")):
        return _inflate(chunks, zlib.MAX_WBITS | 16)
    if name.endswith(".deflate"):
        return _inflate(chunks, zlib.MAX_WBITS)
    if name.endswith(".bz2"):
        return _members(chunks, bz2.BZ2Decompressor)
    if name.endswith((".zst", ".zstd")):
        return _arrow_unpacked(chunks, "zstd")
    return chunks


def _inflate(chunks: Iterator[bytes], bits: int) -> Iterator[bytes]:
    return _members(chunks, lambda: zlib.decompressobj(bits))


def _members(chunks: Iterator[bytes], new: Any) -> Iterator[bytes]:
    """Unpack members one after the other; EOFError when the last one is cut off."""
    unpacker = new()
    begun = False
    for chunk in chunks:
        data = chunk
        while data:
            if unpacker.eof:
                unpacker, begun = new(), False
                if not data.strip(b"\0"):
                    break
            begun = True
            limited = isinstance(unpacker, bz2.BZ2Decompressor)
            out = unpacker.decompress(data, BLOCK)
            data = b"" if limited else unpacker.unconsumed_tail
            if out:
                yield out
            while limited and not unpacker.eof and not unpacker.needs_input:
                yield unpacker.decompress(b"", BLOCK)
            if unpacker.eof:
                data = unpacker.unused_data
    if begun and not unpacker.eof:
        raise EOFError("the compressed file ends too early")


def _arrow_unpacked(chunks: Iterator[bytes], codec: str) -> Iterator[bytes]:
    with pa.input_stream(_Chunks(chunks), compression=codec) as stream:
        while data := stream.read(BLOCK):
            yield data


class _Chunks(io.RawIOBase):
    """A stream of chunks as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks = chunks
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            self._left = bytes(next(self._chunks, b""))
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


def _recode(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    for chunk in chunks:
        yield decoder.decode(chunk).encode()
    yield decoder.decode(b"", final=True).encode()


def _short(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__
