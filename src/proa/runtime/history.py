"""The plans of a flow's committed batches, many in one object.

A plan is a small object, and a flow that runs all year makes millions. So plans are folded: 32 into
a segment, 16 segments into a larger one, and so on. Which batches stand in which segment is fixed by
their numbers alone, so whoever folds writes the same bytes under the same name.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress

from proa.errors import ConflictError
from proa.steps import Step, step
from proa.storage import NotFoundError, Store

FOLDER = "history"
FOLD = 32
"""Plans in the smallest segment."""
_FACTOR = 16
"""Segments that make a larger one."""
_LOOKS = 10

Span = tuple[int, int]
"""A segment: its first batch, and the one after its last."""


class History:
    """The segments of one flow in one generation. Plans are lines of JSON here."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, until: int) -> dict[int, bytes]:
        """The folded plans of batches before `until`, by number."""
        for _ in range(_LOOKS):
            found: dict[int, bytes] = {}
            # A segment may go while we read, because a larger one has its plans: look again.
            with suppress(NotFoundError):
                for span in _largest(self._spans()):
                    if span[0] < until:
                        found.update(self._segment(span))
                return found
        raise ConflictError(
            f"the segments below {self._store.url_of(FOLDER)!r} change all the time"
        )

    def folded_count(self) -> int:
        """How many plans, counted from batch 0, are folded without a gap."""
        return max((end for _, end in _largest(self._spans())), default=0)

    def fold(self, recent: Mapping[int, bytes], done: int) -> None:
        """Fold the batches before `done`, all of them committed.

        `recent` has the plans that are not folded yet; those that it lacks are left for later.
        """
        spans = self._spans()
        size = FOLD
        while size <= done:
            for first in range(_covered_count(spans, size), done - size + 1, size):
                plans = self._plans(spans, recent, (first, first + size))
                if plans is None:
                    return
                self._put((first, first + size), plans)
                spans.add((first, first + size))
            size *= _FACTOR
        for large in _largest(spans):
            for span in spans - {large}:
                if large[0] <= span[0] and span[1] <= large[1]:
                    self._store.delete(_name(span))

    def _plans(
        self, spans: set[Span], recent: Mapping[int, bytes], wanted: Span
    ) -> dict[int, bytes] | None:
        inside = {span for span in spans if wanted[0] <= span[0] and span[1] <= wanted[1]}
        found = {number: recent[number] for number in range(*wanted) if number in recent}
        for span in _largest(inside, wanted[0]):
            found.update(self._segment(span))
        return found if len(found) == wanted[1] - wanted[0] else None

    def _put(self, span: Span, plans: Mapping[int, bytes]) -> None:
        lines = b"\n".join(plans[number] for number in range(*span))
        with step(Step.PLAN_FOLD), suppress(ConflictError):
            self._store.create(_name(span), zlib.compress(lines))

    def _segment(self, span: Span) -> Iterator[tuple[int, bytes]]:
        return enumerate(zlib.decompress(self._store.get(_name(span))).split(b"\n"), span[0])

    def _spans(self) -> set[Span]:
        found = set()
        for info in self._store.walk(FOLDER):
            first, _, end = info.path.rsplit("/", 1)[-1].partition("-")
            if first.isdigit() and end.isdigit():
                found.add((int(first), int(end)))
        return found


def _name(span: Span) -> str:
    return f"{FOLDER}/{span[0]:010d}-{span[1]:010d}"


def _largest(spans: set[Span], first: int = 0) -> list[Span]:
    """The fewest segments that have all batches from `first` on without a gap."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda span: (span[0], -span[1])):
        if span[0] == first:
            found.append(span)
            first = span[1]
    return found


def _covered_count(spans: set[Span], size: int) -> int:
    """Up to which batch there are segments of at least `size` plans without a gap."""
    return max((end for _, end in _largest({s for s in spans if s[1] - s[0] >= size})), default=0)
