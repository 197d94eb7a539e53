"""The logs that are folded, each as numbers that are appended, folded and read."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

from proa.autoloader.file_ref import FileRef
from proa.autoloader.known import KnownFiles
from proa.landing import Manifest, Shipment, ShippedFile
from proa.runtime.checkpoint import Checkpoint, Plan
from proa.steps import Step
from proa.storage import Store
from proa.storage.folded import Folds, NumberedEntries, Span, SpanNames

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Log(Protocol):
    """A process that appends to a log and folds it. Numbers count from 0."""

    folder: str
    """Where the folds lie."""

    def append(self, number: int) -> None:
        """Write an entry, unless another process has."""

    def fold(self, count: int) -> None:
        """Fold what is there, if it is enough; the log has `count` entries."""

    def read(self, count: int) -> list[int]:
        """Read all entries; there are `count` at most."""


class Lines:
    """Numbers as lines."""

    def encode(self, rows: list[int]) -> bytes:
        return "\n".join(map(str, rows)).encode()

    def decode(self, span: Span, data: bytes, url: str) -> list[int]:
        rows = [int(line) for line in data.split(b"\n")]
        assert rows == list(range(span.first, span.end)), url
        return rows

    def join(self, parts: Sequence[list[int]]) -> list[int]:
        return [number for part in parts for number in part]

    def cut(self, rows: list[int], span: Span) -> list[int]:
        return [number for number in rows if span.first <= number < span.end]


class Plain:
    """The log itself, with folds of two entries, and three that make a larger one."""

    folder = "folds"

    def __init__(self, store: Store) -> None:
        self.entries = NumberedEntries(store, "entries")
        self.folds = Folds(
            store, self.folder, SpanNames(4), Lines(), step=Step.PLAN_FOLD, unit=2, factor=3
        )

    def append(self, number: int) -> None:
        assert self.entries.settle(number, str(number).encode()) == str(number).encode()

    def fold(self, count: int) -> None:
        first = self.folds.end
        if count - first >= 2:
            self.folds.add(Span(first, count), list(range(first, count)))

    def read(self, count: int) -> list[int]:
        self.folds.refresh()
        rows = [number for part in self.folds.read() for number in part]
        tail = (number for number in range(len(rows), count) if self.entries.get(number))
        return [*rows, *tail]


class Plans:
    """A flow's plans; those that are folded are deleted, as maintenance does it."""

    folder = "history"

    def __init__(self, store: Store) -> None:
        self.store = store
        self.checkpoint = Checkpoint(store, fold=4, factor=3)

    def append(self, number: int) -> None:
        assert self.checkpoint.put(Plan(number, {}, "d")) == Plan(number, {}, "d")

    def fold(self, count: int) -> None:
        self.checkpoint.mark_committed(count - 1)
        for number in range(self.checkpoint.folded_count()):
            self.store.delete(f"plans/{number:010d}.json")

    def read(self, count: int) -> list[int]:
        return [plan.batch for plan in self.checkpoint.plans(count - 1) if plan]


class Shipments:
    """A manifest of shipments of one file."""

    folder = "_proa/manifest/orders/segments"

    def __init__(self, store: Store) -> None:
        self.manifest = Manifest(store, "orders", fold=3)
        self.manifest.refresh()

    def append(self, number: int) -> None:
        self.manifest.refresh()
        if self.manifest.head == number:
            file = ShippedFile(path=f"{number}", size=1, sha256="0" * 64, modified=NOON)
            self.manifest.append(Shipment(first=number + 1, shipped_at=NOON, files=(file,)))

    def fold(self, count: int) -> None:
        self.manifest.compact()

    def read(self, count: int) -> list[int]:
        self.manifest.refresh()
        return [int(path) for path in self.manifest.table()["path"].to_pylist()][:count]


class Known:
    """The files that a flow has read, one a batch. What is not folded yet comes from plans."""

    folder = "known"

    def __init__(self, store: Store) -> None:
        self.files = KnownFiles(store)
        self.plans = NumberedEntries(store, "plans")

    def append(self, number: int) -> None:
        self.plans.settle(number, b"x")

    def fold(self, count: int) -> None:
        self._record(count)
        self.files.compact()

    def read(self, count: int) -> list[int]:
        self._record(count)
        found = self.files.contains([str(number) for number in range(count)])
        return [number for number in range(count) if found[number]]

    def _record(self, count: int) -> None:
        for number in range(self.files.through + 1, count):
            if self.plans.get(number):
                self.files.record(number, [FileRef(str(number), 1, 1)])


LOGS: dict[type[Log], tuple[int, int]] = {
    Plain: (2, 3),
    Plans: (4, 3),
    Shipments: (3, 2),
    Known: (1, 4),
}
"""Each log, how many entries a fold takes, and how many folds make a larger one."""
