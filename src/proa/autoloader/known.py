"""The files that a flow has read: a million of them in 16 MB.

A file is known by the 128-bit hash of its absolute path. Hashes of committed batches are kept
sorted in segments under the checkpoint; each segment says in its name which batches it covers.
The plans of later batches complete them: the runtime records those again when it starts.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from proa.errors import ConflictError, DataError
from proa.steps import Step, step
from proa.storage import Store
from proa.storage.folded import Folds, Span, SpanNames, seal, unseal

_FOLDER = "known"
_EXISTING = f"{_FOLDER}/existing"
_KIND = b"PROAKNOW"
_FORMAT = 1
_UNIT = 32
"""Batches in the smallest segments, more or less."""
_FACTOR = 4
"""Segments that make a larger one."""

_HASH = np.dtype([("high", ">u8"), ("low", ">u8")])


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
        self._folds = Folds(
            state,
            _FOLDER,
            SpanNames(20, last=1),
            _HashFolds(),
            step=Step.CHECKPOINT_COMPACT,
            unit=_UNIT,
            factor=_FACTOR,
            remember=True,
        )
        self._folds.refresh()
        self._segments = self._folds.read()
        self._existing: list[_Segment] = []
        if _EXISTING.rsplit("/", 1)[-1] in self._folds.other_names:
            self._existing = [self._read_existing()]
        self._pending: dict[int, list[bytes]] = {}
        self._recent: set[bytes] = set()

    @property
    def through(self) -> int:
        """The last batch that the segments on the store contain; -1 when there is none."""
        return self._folds.end - 1

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
        segment = _Segment.of(b"".join(map(digest, keys)))
        with step(Step.CHECKPOINT_COMPACT), contextlib.suppress(ConflictError):
            self._state.create(_EXISTING, _HashFolds().encode(segment))
        self._existing = [self._read_existing()]

    def compact(self, through: int | None = None) -> None:
        """Put what was recorded up to the batch `through` (default: all) on the store.

        Only committed batches may be compacted.
        """
        batches = sorted(b for b in self._pending if through is None or b <= through)
        if not batches:
            return
        entries = b"".join(b"".join(self._pending[batch]) for batch in batches)
        span = Span(self._folds.end, batches[-1] + 1)
        self._folds.add(span, _Segment.of(entries))
        self._segments = self._folds.read()
        for batch in batches:
            self._recent.difference_update(self._pending.pop(batch))

    def _read_existing(self) -> _Segment:
        data, url = self._state.get(_EXISTING), self._state.url_of(_EXISTING)
        return _HashFolds().decode(Span(0, 0), data, url)


class _Segment:
    """The hashes of a range of batches, sorted."""

    def __init__(self, hashes: np.ndarray[Any, Any]) -> None:
        self.high = hashes["high"].astype(np.uint64)
        self.low = hashes["low"].astype(np.uint64)

    @classmethod
    def of(cls, entries: bytes) -> _Segment:
        hashes = np.frombuffer(entries, dtype=_HASH)
        order = np.argsort(hashes["high"].astype(np.uint64), kind="stable")
        return cls(hashes[order])

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


class _HashFolds:
    """Sorted hashes with a checksum. Which batch a hash is of is not written down."""

    def encode(self, rows: _Segment) -> bytes:
        return seal(_KIND, _FORMAT, rows.entries())

    def decode(self, span: Span, data: bytes, url: str) -> _Segment:  # noqa: ARG002 - the port's shape
        body = unseal(_KIND, _FORMAT, data, url)
        if len(body) % _HASH.itemsize:
            raise DataError(
                f"the checkpoint segment {url!r} is damaged; restore it, or run a full refresh",
                condition="CHECKPOINT_DAMAGED",
            )
        return _Segment(np.frombuffer(body, dtype=_HASH))

    def join(self, parts: Sequence[_Segment]) -> _Segment:
        return _Segment.of(b"".join(part.entries() for part in parts))

    def cut(self, rows: _Segment, span: Span) -> _Segment:  # noqa: ARG002 - the port's shape
        """All of them: a file that is known twice is known."""
        return rows


def file_key(file: HasPath, *, versions: bool) -> str:
    """What a file is known by."""
    return version_key(file.path, file.size, file.modified) if versions else file.path


def version_key(path: str, size: int, modified: int) -> str:
    """What one version of a file is known by (`allowOverwrites`)."""
    return f"{path}\0{size}\0{modified}"


def digest(key: str) -> bytes:
    """The 128-bit hash of a key."""
    return hashlib.blake2b(key.encode(), digest_size=16).digest()
