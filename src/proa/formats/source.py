"""Bytes of one file, or of a range of its lines, as a stream of blocks of whole lines."""

from __future__ import annotations

import bz2
import codecs
import io
import os
import zlib
from array import array
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from proa.errors import ProaError
from proa.formats.problems import Problem, ProblemKind, ReadError
from proa.formats.reader_options import ReaderOptions
from proa.storage import NotFoundError, Store, is_url

BLOCK = 8 << 20
"""Bytes that are parsed at once."""
_LONGEST = 1 << 30
"""Bytes; a line that is longer is an error, not a reason to run out of memory."""
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


class OpenPart:
    """One part of a file, open for reading.

    What is wrong with the file is raised as `ReadError`: missing, changed since it was discovered,
    not readable.
    """

    def __init__(self, part: Part, options: ReaderOptions, storage: Mapping[str, str]) -> None:
        self.part = part
        self._options = options
        self._storage = storage

    def at(self, part: Part) -> OpenPart:
        """Another part, read in the same way."""
        return OpenPart(part, self._options, self._storage)

    def problem(self, kind: ProblemKind, detail: str) -> ReadError:
        return ReadError(Problem(kind, self.part.path, detail))

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn what reading may raise into `ReadError`."""
        try:
            yield
        except ReadError:
            raise
        except (FileNotFoundError, NotFoundError):
            raise self.problem(ProblemKind.MISSING, "") from None
        except ProaError as error:
            raise self.problem(ProblemKind.UNAVAILABLE, str(error)) from error
        except (EOFError, zlib.error, UnicodeError, pa.ArrowInvalid, ValueError) as error:
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
            self._check(os.fstat(file.fileno()).st_size)
            file.seek(start)
            left = None if end is None else end - start
            while left is None or left > 0:
                chunk = file.read(BLOCK if left is None else min(BLOCK, left))
                if not chunk:
                    break
                left = None if left is None else left - len(chunk)
                yield chunk
            self._check(os.fstat(file.fileno()).st_size)

    def _check(self, size: int) -> None:
        if size != self.part.size and not self._options.allow_overwrites:
            raise self.problem(
                ProblemKind.CHANGED, f"{self.part.size} bytes then, {size} bytes now"
            )

    def whole(self) -> bytes:
        """The unpacked, UTF-8 bytes of the whole file."""
        with self.guarded():
            return _without_bom(b"".join(self._text()))

    @contextmanager
    def random_access(self) -> Iterator[Any]:
        """The file as something that can be sought in, for a while."""
        with self.guarded(), ExitStack() as opened:
            if is_url(self.part.path):
                store, name = _object(self.part.path, self._storage)
                self._check(store.head(name).size)
                yield opened.enter_context(store.open_reader(name))
                return
            file = opened.enter_context(Path(self.part.path).open("rb"))
            self._check(os.fstat(file.fileno()).st_size)
            yield file

    def records(self) -> Iterator[bytes]:
        """Blocks of whole CSV records, whose values may hold line ends within quotes."""
        quote, escape = self._options.quote.encode(), self._options.escape.encode()
        with self.guarded():
            first = True
            held = b""
            for chunk in self._text():
                held += chunk
                cut = _outside_quotes(held, quote, escape)
                if cut:
                    yield _without_bom(held[:cut]) if first else held[:cut]
                    held, first = held[cut:], False
                elif len(held) > _LONGEST:
                    raise self.problem(ProblemKind.CORRUPT, "it has a record of more than 1 GiB")
            if held:
                yield _without_bom(held) if first else held

    def lines(self) -> Iterator[bytes]:
        """Blocks of whole lines; the last line may lack its end."""
        with self.guarded():
            part = self.part
            ranged = part.start > 0 or part.end is not None
            text = self._range() if ranged else self._text()
            first = part.start == 0
            for block in _whole_lines(text, self):
                yield _without_bom(block) if first else block
                first = False

    def _text(self) -> Iterator[bytes]:
        """The unpacked file as UTF-8, in chunks."""
        chunks = _unpacked(self.part.path, self.raw())
        if self._options.encoding != "utf-8":
            chunks = _recoded(chunks, self._options.encoding)
        separator = self._options.line_separator.encode()
        if separator == b"\n":
            return chunks
        return (chunk.replace(separator, b"\n") for chunk in chunks)

    def _range(self) -> Iterator[bytes]:
        """The lines that begin in the range: a line belongs to the range of its first byte."""
        start, end = self.part.start, self.part.end
        at = max(start - 1, 0)
        skipping = start > 0
        for chunk in self.raw(at):
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
    held: list[bytes] = []
    size = 0
    for chunk in chunks:
        cut = chunk.rfind(b"\n") + 1
        if cut and size + cut >= BLOCK // 2:
            yield b"".join([*held, chunk[:cut]])
            held, size = [chunk[cut:]], len(chunk) - cut
            continue
        held.append(chunk)
        size += len(chunk)
        if size > _LONGEST and not cut:
            raise source.problem(ProblemKind.CORRUPT, "it has a line of more than 1 GiB")
    rest = b"".join(held)
    if rest:
        yield rest


def _outside_quotes(data: bytes, quote: bytes, escape: bytes) -> int:
    """The end of the last line that ends outside of quotes; 0 when there is none."""

    def quotes(begin: int, end: int) -> int:
        if not quote:
            return 0
        escaped = data.count(escape + quote, begin, end) if escape not in {b"", quote} else 0
        return data.count(quote, begin, end) - escaped

    at = data.rfind(b"\n")
    open_ = quotes(0, at + 1) % 2
    while at >= 0 and open_:
        before = data.rfind(b"\n", 0, at)
        open_ ^= quotes(before + 1, at + 1) % 2
        at = before
    return at + 1


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


def _unpacked(path: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
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


def _recoded(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    for chunk in chunks:
        yield decoder.decode(chunk).encode()
    yield decoder.decode(b"", final=True).encode()


def _short(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return text[0][:200] if text else type(error).__name__
