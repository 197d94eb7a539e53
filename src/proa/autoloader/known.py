"""The files that a flow has read: a million of them in 16 MB.

A file is known by the 128-bit hash of its absolute path. Hashes of committed batches are kept
sorted in segments under the checkpoint; each segment says in its name which batches it covers.
The plans of later batches complete them: the runtime records those again when it starts.
"""

from __future__ import annotations

import contextlib
import hashlib
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from proa.errors import ConflictError, DataError
from proa.steps import Step, step
from proa.storage import Store

_FOLDER = "known"
_EXISTING = "existing"
_MAGIC = b"PROAKNOW\x01"
_MERGE_ABOVE = 8
"""Segments; more of them are merged into one."""

_HASH = np.dtype([("high", ">u8"), ("low", ">u8")])
_NONE = -1


class HasPath(Protocol):
    """A file that can be known."""

    @property
    def path(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def modified(self) -> int: ...


class KnownFiles:
    """Which files the batches of one flow and leaf contain.

    `through` is the last batch that needs no recording again, -1 at the start.
    """

    def __init__(self, state: Store) -> None:
        self._state = state
        self._segments: list[_Segment] = []
        self._existing: list[_Segment] = []
        self._pending: dict[int, list[bytes]] = {}
        self._recent: set[bytes] = set()
        self._load()

    @property
    def through(self) -> int:
        """The last batch that the segments on the store contain; -1 when there is none."""
        return max((segment.last for segment in self._segments), default=_NONE)

    def __len__(self) -> int:
        """How many entries are known; an overwritable file has one for each of its versions."""
        return sum(len(segment.high) for segment in self._segments) + len(self._recent)

    def record(self, batch: int, files: Iterable[HasPath], *, versions: bool = False) -> None:
        """These files belong to `batch`, whose plan is on the store. Doing it again is harmless.

        `versions`: a file is known together with its size and time (`allowOverwrites`).
        """
        if batch <= self.through or batch in self._pending:
            return
        entries = [digest(file_key(file, versions=versions)) for file in files]
        self._pending[batch] = entries
        self._recent.update(entries)

    def contains(self, keys: Sequence[str]) -> np.ndarray[Any, Any]:
        """For each key (see `file_key`) whether its file is known."""
        raw = b"".join(map(digest, keys))
        wanted = np.frombuffer(raw, dtype=_HASH)
        high, low = wanted["high"].astype(np.uint64), wanted["low"].astype(np.uint64)
        found = np.zeros(len(keys), dtype=bool)
        for segment in (*self._existing, *self._segments):
            found |= segment.contains(high, low)
        if self._recent:
            recent = self._recent
            found |= np.fromiter(
                (raw[at : at + 16] in recent for at in range(0, len(raw), 16)), bool, len(keys)
            )
        return found

    def ignore(self, keys: Iterable[str]) -> None:
        """These files were there before the flow's first start and are never to be read.

        Said once; of two runners that say it at once the first one is heard.
        """
        segment = _Segment.of(0, _NONE, b"".join(map(digest, keys)))
        self._put(segment, _EXISTING)
        self._existing = [self._read(0, _NONE, _EXISTING)]

    def compact(self, through: int | None = None) -> None:
        """Put what was recorded up to the batch `through` (default: all) on the store.

        Only committed batches may be compacted. Loses to nobody: a segment that exists already
        holds the same files.
        """
        batches = sorted(b for b in self._pending if through is None or b <= through)
        if not batches:
            return
        entries = b"".join(b"".join(self._pending[batch]) for batch in batches)
        segment = _Segment.of(self.through + 1, batches[-1], entries)
        self._put(segment, segment.name)
        self._segments.append(segment)
        for batch in batches:
            self._recent.difference_update(self._pending.pop(batch))
        if len(self._segments) > _MERGE_ABOVE:
            self._merge()

    def _merge(self) -> None:
        old = self._segments
        merged = _Segment.of(
            old[0].first, old[-1].last, b"".join(segment.entries() for segment in old)
        )
        self._put(merged, merged.name)
        self._segments = [merged]
        for segment in old:
            self._state.delete(f"{_FOLDER}/{segment.name}")

    def _put(self, segment: _Segment, name: str) -> None:
        body = segment.entries()
        head = _MAGIC + zlib.crc32(body).to_bytes(4, "big")
        # Another runner may have compacted the same batches, from the same plans.
        with step(Step.CHECKPOINT_COMPACT), contextlib.suppress(ConflictError):
            self._state.create(f"{_FOLDER}/{name}", head + body)

    def _load(self) -> None:
        ranges = []
        for info in self._state.walk(_FOLDER):
            name = info.path.rsplit("/", 1)[-1]
            if name == _EXISTING:
                self._existing = [self._read(0, _NONE, name)]
            begin, _, end = name.partition("-")
            if begin.isdigit() and end.isdigit():
                ranges.append((int(begin), int(end), name))
        # Of two segments that begin at the same batch, the longer one contains the other.
        following = 0
        for first, last, name in sorted(ranges, key=lambda r: (r[0], -r[1])):
            if first == following:
                self._segments.append(self._read(first, last, name))
                following = last + 1

    def _read(self, first: int, last: int, name: str) -> _Segment:
        path = f"{_FOLDER}/{name}"
        return _Segment.read(first, last, self._state.get(path), self._state.url_of(path))


class _Segment:
    """The hashes of a range of batches, sorted."""

    def __init__(self, first: int, last: int, hashes: np.ndarray[Any, Any]) -> None:
        self.first, self.last = first, last
        self.high = hashes["high"].astype(np.uint64)
        self.low = hashes["low"].astype(np.uint64)

    @property
    def name(self) -> str:
        return f"{self.first:020d}-{self.last:020d}"

    @classmethod
    def of(cls, first: int, last: int, entries: bytes) -> _Segment:
        hashes = np.frombuffer(entries, dtype=_HASH)
        order = np.argsort(hashes["high"].astype(np.uint64), kind="stable")
        return cls(first, last, hashes[order])

    @classmethod
    def read(cls, first: int, last: int, data: bytes, where: str) -> _Segment:
        body = data[len(_MAGIC) + 4 :]
        crc = int.from_bytes(data[len(_MAGIC) : len(_MAGIC) + 4], "big")
        if not data.startswith(_MAGIC) or len(body) % 16 or zlib.crc32(body) != crc:
            raise DataError(
                f"the checkpoint segment {where!r} is damaged; restore it, or run a full refresh",
                condition="CHECKPOINT_DAMAGED",
            )
        return cls(first, last, np.frombuffer(body, dtype=_HASH))

    def entries(self) -> bytes:
        out = np.empty(len(self.high), dtype=_HASH)
        out["high"], out["low"] = self.high, self.low
        return out.tobytes()

    def contains(self, high: np.ndarray[Any, Any], low: np.ndarray[Any, Any]) -> Any:
        found = np.zeros(len(high), dtype=bool)
        at = np.searchsorted(self.high, high)
        open_ = np.flatnonzero(at < len(self.high))
        while len(open_):
            # Equal upper halves stand side by side: look at each until they differ.
            open_ = open_[self.high[at[open_]] == high[open_]]
            hit = self.low[at[open_]] == low[open_]
            found[open_[hit]] = True
            open_ = open_[~hit]
            at[open_] += 1
            open_ = open_[at[open_] < len(self.high)]
        return found


def file_key(file: HasPath, *, versions: bool) -> str:
    """What a file is known by."""
    return version_key(file.path, file.size, file.modified) if versions else file.path


def version_key(path: str, size: int, modified: int) -> str:
    """What one version of a file is known by (`allowOverwrites`)."""
    return f"{path}\0{size}\0{modified}"


def digest(key: str) -> bytes:
    """The 128-bit hash of a key."""
    return hashlib.blake2b(key.encode(), digest_size=16).digest()
