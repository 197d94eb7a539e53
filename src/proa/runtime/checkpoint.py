"""A flow's checkpoint: what each of its batches consists of, written before it is computed.

A plan is put if absent and never changed, so whoever computes a batch, and however often,
computes the same one. Which batch was the last is not said here: the target's own log says it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from proa.autoloader.file_ref import FileRef
from proa.errors import DataError
from proa.layout import folder_name
from proa.steps import Step
from proa.storage import Store
from proa.storage.folded import Folds, NumberedEntries, Span, SpanNames, check_format, seal, unseal

FOLD = 32
"""Plans in the smallest fold."""
_FACTOR = 16
"""Folds that make a larger one."""


@dataclass(frozen=True)
class TableInput:
    """What a batch reads of a dataset of the pipeline."""

    dataset: str
    version: int
    """The dataset's version that is read, or up to which its new rows are; -1: not there yet."""
    generation: int
    """The dataset's generation at that version."""
    after: int | None = None
    """As a stream: rows that came after this version; -1 for all rows. None: read complete."""


@dataclass(frozen=True)
class FilesInput:
    """The raw files that a batch reads."""

    files: tuple[FileRef, ...]
    through: Mapping[str, int] | None = None
    """For each source the number of the last file, in its manifest's order, that this batch or one
    before it has read; None where no manifest gives the order."""


Input = TableInput | FilesInput


@dataclass(frozen=True)
class Plan:
    """One batch: what it reads, leaf by leaf."""

    batch: int
    inputs: Mapping[str, Input]
    """By leaf key."""
    definition: str
    """The query's fingerprint when the batch was planned."""
    replaces: bool = False
    """The batch replaces all rows of the table, as a materialized view's does."""

    @property
    def versions(self) -> dict[str, int]:
        """The versions of the datasets that are read."""
        tables = [i for i in self.inputs.values() if isinstance(i, TableInput)]
        return {table.dataset: table.version for table in tables}

    @property
    def files(self) -> int:
        """How many raw files are read."""
        return sum(len(i.files) for i in self.inputs.values() if isinstance(i, FilesInput))

    def to_json(self) -> str:
        inputs = {key: _input_to_json(value) for key, value in self.inputs.items()}
        return json.dumps(
            {
                "format": _FORMAT,
                "batch": self.batch,
                "definition": self.definition,
                "replaces": self.replaces,
                "inputs": inputs,
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """Read what `to_json` wrote, now or in an older version. DataError for a later one."""
        found = json.loads(text)
        check_format(found.get("format", 1), _FORMAT, "a plan")
        inputs = {key: _input_from_json(value) for key, value in found["inputs"].items()}
        return cls(found["batch"], inputs, found["definition"], found["replaces"])


_FORMAT = 2
"""Of a plan as it is written down. Plans without a number are of format 1: files have no place."""
_READERS = 8


Plans = dict[int, bytes]
"""Plans as they are written down, by batch."""

_KIND = b"PROAPLAN"
_FOLD_FORMAT = 2


class PlanFolds:
    """Plans as lines of JSON, compressed. Format 1, of older versions, has no head."""

    def encode(self, rows: Plans) -> bytes:
        lines = b"\n".join(rows[number] for number in sorted(rows))
        return seal(_KIND, _FOLD_FORMAT, zlib.compress(lines))

    def decode(self, span: Span, data: bytes, url: str) -> Plans:
        body = unseal(_KIND, _FOLD_FORMAT, data, url) if data.startswith(_KIND) else data
        try:
            lines = zlib.decompress(body).split(b"\n")
            return dict(zip(range(span.first, span.end), lines, strict=True))
        except (zlib.error, ValueError) as error:
            raise DataError(
                f"the folded plans {url!r} are damaged; restore them, or run a full refresh",
                condition="CHECKPOINT_DAMAGED",
            ) from error

    def join(self, parts: Sequence[Plans]) -> Plans:
        return {number: text for part in parts for number, text in part.items()}

    def cut(self, rows: Plans, span: Span) -> Plans:
        return {n: text for n, text in rows.items() if span.first <= n < span.end}


class Checkpoint:
    """The checkpoint of one flow in one generation.

    Plans are folded `fold` at a time.
    """

    def __init__(self, store: Store, *, fold: int = FOLD, factor: int = _FACTOR) -> None:
        self._store = store
        self._fold = fold
        self._entries = NumberedEntries(store, "plans", suffix=".json", step=Step.PLAN_PUT)
        self._folds = Folds(
            store,
            "history",
            SpanNames(10),
            PlanFolds(),
            step=Step.PLAN_FOLD,
            unit=fold,
            factor=factor,
        )

    def read(self, batch: int) -> Plan | None:
        """The plan of a batch, or None when it was not planned yet."""
        text = self._entries.get(batch)
        return None if text is None else Plan.from_json(text)

    def committed_plan(self, batch: int) -> Plan | None:
        """The plan of a batch that is in the table, from a fold when it has no object any more."""
        plan = self.read(batch)
        if plan is None and batch >= 0:
            text = self._folded_plans(batch, batch + 1).get(batch)
            return None if text is None else Plan.from_json(text)
        return plan

    def plans(self, last: int) -> list[Plan | None]:
        """The plans of the batches 0 to `last`; None for one that is gone."""
        folded = self._folded_plans(0, last + 1)
        missing = [number for number in range(last + 1) if number not in folded]
        with ThreadPoolExecutor(_READERS) as pool:
            texts = {
                **folded,
                **dict(zip(missing, pool.map(self._entries.get, missing), strict=True)),
            }
        ordered = (texts[number] for number in range(last + 1))
        return [None if text is None else Plan.from_json(text) for text in ordered]

    def _folded_plans(self, first: int, end: int) -> Plans:
        self._folds.refresh()
        return {n: text for part in self._folds.read(first, end) for n, text in part.items()}

    def folded_count(self) -> int:
        """How many plans, counted from batch 0, are folded."""
        self._folds.refresh()
        return self._folds.end

    def mark_committed(self, batch: int) -> None:
        """The batch is in the table: now and then, fold the plans up to it.

        A plan that is gone stops the fold before it.
        """
        done = batch + 1
        if done % self._fold:
            return
        start = self.folded_count()
        with ThreadPoolExecutor(_READERS) as pool:
            texts = list(pool.map(self._entries.get, range(start, done)))
        there = texts.index(None) if None in texts else len(texts)
        count = there // self._fold * self._fold
        plans = {n: text for n, text in enumerate(texts[:count], start) if text is not None}
        if plans:
            self._folds.add(Span(start, start + count), plans)

    def put(self, plan: Plan) -> Plan:
        """Write the plan down. Whatever plan stands for the batch afterwards, ours or another's."""
        data = plan.to_json().encode()
        standing = self._entries.settle(plan.batch, data)
        return plan if standing == data else Plan.from_json(standing)

    def leaf(self, key: str) -> Store:
        """The folder of a leaf's own state."""
        return self._store.child(folder_name(key))


def _input_to_json(value: Input) -> dict[str, object]:
    if isinstance(value, FilesInput):
        files = [
            [file.path, file.size, file.modified, *([file.shipment] if file.shipment else [])]
            for file in value.files
        ]
        return {"files": files, **({} if value.through is None else {"through": value.through})}
    return {
        "dataset": value.dataset,
        "version": value.version,
        "generation": value.generation,
        "after": value.after,
    }


def _input_from_json(value: Mapping[str, object]) -> Input:
    files, through = value.get("files"), value.get("through")
    if isinstance(files, list):
        positions = through if isinstance(through, dict) else None
        return FilesInput(tuple(FileRef(*file) for file in files), positions)
    return TableInput(**value)  # type: ignore[arg-type]
