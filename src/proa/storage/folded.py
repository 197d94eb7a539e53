"""A log in an object store: numbered entries, and folds of many entries in one object.

An entry is created under its number and never changed, so of two writers at one number one loses and
reads what stands there. A log that runs all year has millions of entries, so entries are folded, and
folds of one size are folded again: a reader asks for a few folds and for the entries after the last.

Nobody holds a lock. Three rules keep every entry readable, whoever folds at once and wherever a
process dies:

1. An entry's content is fixed before it is folded. So folds that overlap say the same.
2. A fold is created before what it contains is deleted.
3. A reader whose fold is gone lists again: what it said is in a larger one.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from itertools import takewhile
from typing import Generic, Protocol, TypeVar

from proa.errors import ConflictError, DataError, UnknownOutcome
from proa.steps import Step, step
from proa.storage.store import NotFoundError, Store

T = TypeVar("T")

_LOOKS = 10
"""How often a reader lists again because folds went while it read."""


class NumberedEntries:
    """Objects that a number names, each created once and never changed."""

    def __init__(
        self,
        store: Store,
        folder: str,
        *,
        digits: int = 10,
        suffix: str = "",
        step: Step | None = None,
    ) -> None:
        """`step` is the dangerous step that writing an entry is, unless its owner says so."""
        self._store = store
        self._folder = folder
        self._step = step
        self._digits = digits
        self._suffix = suffix

    def path(self, number: int) -> str:
        """Where in the store an entry lies."""
        return f"{self._folder}/{number:0{self._digits}d}{self._suffix}"

    def get(self, number: int) -> bytes | None:
        """The content of an entry. Returns None if there is no such entry."""
        try:
            return self._store.get(self.path(number))
        except NotFoundError:
            return None

    def create(self, number: int, data: bytes) -> None:
        """Write an entry. Raises ConflictError if there is one of that number."""
        with nullcontext() if self._step is None else step(self._step):
            self._store.create(self.path(number), data)

    def settle(self, number: int, data: bytes) -> bytes:
        """Write an entry unless there is one; return the content that stands in the end.

        It is ours too if an earlier attempt's answer was lost.
        """
        try:
            self.create(number, data)
        except (ConflictError, UnknownOutcome):
            standing = self.get(number)
            if standing is None:
                raise
            return standing
        return data

    def add(self, before: int, content: Callable[[int], bytes]) -> int:
        """Write an entry under the next free number after `before`; returns that number.

        `content` makes the entry for a number.
        """
        number = before + 1
        while self.settle(number, data := content(number)) != data:
            number += 1
        return number

    def numbers(self) -> list[int]:
        """The numbers of all entries, ascending. Lists the folder."""
        names = (info.path.rsplit("/", 1)[-1] for info in self._store.walk(self._folder))
        stems = (name.removesuffix(self._suffix) for name in names if name.endswith(self._suffix))
        return sorted(int(stem) for stem in stems if stem.isdigit())


@dataclass(frozen=True, order=True)
class Span:
    """A range of numbers."""

    first: int
    end: int
    """The number after the last one."""

    @property
    def length(self) -> int:
        """How many numbers."""
        return self.end - self.first

    def contains(self, other: Span) -> bool:
        """Whether all numbers of `other` are among these."""
        return self.first <= other.first and other.end <= self.end


@dataclass(frozen=True)
class SpanNames:
    """How the object of a fold is named after its span: `<first>-<last>`."""

    digits: int
    suffix: str = ""
    last: int = 0
    """What is taken from a span's end for the second number: 1 to name the last entry."""

    def name(self, span: Span) -> str:
        """The name of the fold of a span."""
        first, last = span.first, span.end - self.last
        return f"{first:0{self.digits}d}-{last:0{self.digits}d}{self.suffix}"

    def span(self, name: str) -> Span | None:
        """The span of a fold of that name. Returns None if no fold is named so."""
        first, _, last = name.removesuffix(self.suffix).partition("-")
        if not (name.endswith(self.suffix) and first.isdigit() and last.isdigit()):
            return None
        return Span(int(first), int(last) + self.last)


class FoldCodec(Protocol[T]):
    """How the entries of a span are written as one object; `T` holds the entries."""

    def encode(self, rows: T) -> bytes:
        """The object of a fold."""

    def decode(self, span: Span, data: bytes, url: str) -> T:
        """The entries in an object. Raises DataError, which names `url`, if it is damaged."""

    def join(self, parts: Sequence[T]) -> T:
        """The entries of parts that follow one another."""

    def cut(self, rows: T, span: Span) -> T:
        """The entries that are in the span, or more where a second time does no harm."""


class Folds(Generic[T]):
    """The folds of one log, in a folder of their own. Not for use by several threads at once."""

    def __init__(  # noqa: PLR0913 - what distinguishes one log from another
        self,
        store: Store,
        folder: str,
        names: SpanNames,
        codec: FoldCodec[T],
        *,
        step: Step,
        unit: int,
        factor: int,
        start: int = 0,
        remember: bool = False,
    ) -> None:
        """`start` is the log's first number. With `remember`, what was read is kept in memory.

        `factor` folds of one size make a larger one; those of less than `unit` times `factor`
        numbers are of the smallest size.
        """
        self._store = store
        self._folder = folder
        self._names = names
        self._codec = codec
        self._step = step
        self._unit, self._factor, self._start = unit, factor, start
        self._spans: set[Span] | None = None
        self._memory: dict[Span, T] | None = {} if remember else None
        self.other_names: frozenset[str] = frozenset()
        """Names in the folder that are not a fold's, as of the last `refresh`."""

    def refresh(self) -> None:
        """List the folds."""
        spans, others = set(), set()
        for info in self._store.walk(self._folder):
            name = info.path.rsplit("/", 1)[-1]
            span = self._names.span(name)
            if span is None:
                others.add(name)
            else:
                spans.add(span)
        self._spans, self.other_names = spans, frozenset(others)

    @property
    def end(self) -> int:
        """The first number that no fold has: all before it are folded, as of the last look."""
        pieces = self._pieces()
        return pieces[-1][1].end if pieces else self._start

    def read(self, first: int | None = None, end: int | None = None) -> list[T]:
        """Read the folded entries from `first` on and before `end`, in their order."""
        for _ in range(_LOOKS):
            try:
                return [self._part(*piece) for piece in self._pieces(first, end)]
            except NotFoundError:
                self.refresh()
        raise ConflictError(
            f"the folds below {self._store.url_of(self._folder)!r} change all the time; try again"
        )

    def add(self, span: Span, rows: T) -> None:
        """Fold entries that follow the last fold, together with folds that are not larger.

        Folding what another process has folded meanwhile is harmless.
        """
        for _ in range(_LOOKS):
            rest = Span(max(span.first, self.end), span.end)
            if rest.length <= 0:
                return
            with suppress(NotFoundError):
                self._put(*self._with_neighbours(rest, self._codec.cut(rows, rest)))
                return
            # Another process has folded its neighbours.
            self.refresh()
        raise ConflictError(
            f"the folds below {self._store.url_of(self._folder)!r} change all the time; try again"
        )

    def _with_neighbours(self, span: Span, rows: T) -> tuple[Span, T]:
        """The new fold and the newest ones that it makes superfluous, as one."""
        pieces = self._pieces()
        parts = [rows]
        while True:
            level = self._level(span)
            run = list(takewhile(lambda p: self._level(p[1]) <= level, reversed(pieces)))  # noqa: B023
            if len(run) + 1 < self._factor:
                return span, self._codec.join(parts) if len(parts) > 1 else rows
            parts = [*(self._part(*piece) for piece in reversed(run)), *parts]
            span = Span(run[-1][0].first, span.end)
            pieces = pieces[: -len(run)]

    def _level(self, span: Span) -> int:
        level, size = 0, self._unit * self._factor
        while span.length >= size:
            level, size = level + 1, size * self._factor
        return level

    def _put(self, span: Span, rows: T) -> None:
        data = self._codec.encode(rows)
        # Another process may have folded the same entries.
        with step(self._step), suppress(ConflictError):
            self._store.create(self._path(span), data)
        assert self._spans is not None
        self._spans.add(span)
        if self._memory is not None:
            self._memory[span] = rows
        for old in sorted(s for s in self._spans if _is_within(s, self._spans)):
            self._store.delete(self._path(old))
            self._spans.discard(old)
            if self._memory is not None:
                self._memory.pop(old, None)

    def _part(self, wanted: Span, span: Span) -> T:
        """The entries `wanted` of the fold `span`."""
        rows = None if self._memory is None else self._memory.get(span)
        if rows is None:
            path = self._path(span)
            rows = self._codec.decode(span, self._store.get(path), self._store.url_of(path))
            if self._memory is not None:
                self._memory[span] = rows
        return rows if wanted == span else self._codec.cut(rows, wanted)

    def _pieces(self, first: int | None = None, end: int | None = None) -> list[tuple[Span, Span]]:
        """The fewest folds that have the numbers without a gap: what is wanted of each, and its span."""
        if self._spans is None:
            self.refresh()
        pieces = []
        at = self._start
        while span := _longest(self._spans or (), at):
            wanted = Span(max(at, first or at), min(span.end, span.end if end is None else end))
            if wanted.length > 0:
                pieces.append((wanted, span))
            at = span.end
        return pieces

    def _path(self, span: Span) -> str:
        return f"{self._folder}/{self._names.name(span)}"


def _longest(spans: Iterable[Span], at: int) -> Span | None:
    """The span with number `at` that reaches furthest."""
    return max((s for s in spans if s.first <= at < s.end), key=lambda s: s.end, default=None)


def _is_within(span: Span, spans: Iterable[Span]) -> bool:
    """Whether another span has all its numbers."""
    return any(other != span and other.contains(span) for other in spans)


def seal(kind: bytes, format: int, body: bytes) -> bytes:  # noqa: A002 - its name everywhere
    """A binary object with its kind, its format number and a checksum before the body."""
    return kind + bytes([format]) + zlib.crc32(body).to_bytes(4, "big") + body


def unseal(kind: bytes, format: int, data: bytes, url: str) -> bytes:  # noqa: A002
    """The body of an object that `seal` made.

    Raises DataError if it is damaged, or of a later format than `format`.
    """
    head = len(kind) + 5
    body = data[head:]
    if not data.startswith(kind) or zlib.crc32(body).to_bytes(4, "big") != data[head - 4 : head]:
        raise DataError(
            f"the checkpoint segment {url!r} is damaged; restore it, or run a full refresh",
            condition="CHECKPOINT_DAMAGED",
        )
    check_format(data[head - 5], format, f"the checkpoint segment {url!r}")
    return body


def check_format(number: int, newest: int, what: str) -> None:
    """Raises DataError if `what` was written in a later format than this version of Proa reads."""
    if number > newest:
        raise DataError(
            f"{what} is written in format {number}, and this version of Proa reads format {newest};"
            " run the version that wrote it, or a newer one",
            condition="UNSUPPORTED_FORMAT",
        )
