"""A flow's checkpoint: what each of its batches consists of, written before it is computed.

A plan is put if absent and never changed, so whoever computes a batch, and however often,
computes the same one. Which batch was the last is not said here: the target's own log says it.

A plan whose data are wrong is cut: a shorter one of the same number stands beside it. The commit of a
batch says which cut it is, and before another batch is planned that cut is noted as settled.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from proa.autoloader.file_ref import FileRef
from proa.errors import DataError
from proa.layout import cut_app, folder_name
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
    cut: int = 0
    """How often the batch was cut before it was this short."""

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
        cut = {"cut": self.cut} if self.cut else {}
        return json.dumps(
            {
                "format": _FORMAT,
                "batch": self.batch,
                "definition": self.definition,
                "replaces": self.replaces,
                "inputs": inputs,
                **cut,
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """Read what `to_json` wrote, now or in an older version. DataError for a later one."""
        found = json.loads(text)
        check_format(found.get("format", 1), _FORMAT, "a plan")
        inputs = {key: _input_from_json(value) for key, value in found["inputs"].items()}
        return cls(
            found["batch"], inputs, found["definition"], found["replaces"], found.get("cut", 0)
        )


PLANS, CUTS, SETTLED = "plans", "cuts", "settled"
"""Folders of plans, of shorter ones in their place, and of those of the latter that were committed."""
MOST_CUTS = 64
"""A batch is never cut so often: each cut takes a part of what is left."""


def cut_transaction(app: str, plan: Plan) -> dict[str, int]:
    """The `txn` by which the commit of a batch says how often it was cut; none where it was not."""
    return {cut_app(app): plan.batch * MOST_CUTS + plan.cut} if plan.cut else {}


def cut_of(batch: int | None, transaction: int | None) -> int:
    """How often the last batch in a table was cut, by what the table has of `cut_app`."""
    number, cut = divmod(transaction or 0, MOST_CUTS)
    return cut if number == batch else 0


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
        self._entries = NumberedEntries(store, PLANS, suffix=".json", step=Step.PLAN_PUT)
        self._settled = NumberedEntries(store, SETTLED, suffix=".json", step=Step.PLAN_PUT)
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
        """The plan of a batch, cut as often as it was, or None when it was not planned yet."""
        text = self._entries.get(batch)
        if text is None:
            return None
        cut = 0
        while (shorter := self._cuts(cut + 1).get(batch)) is not None:
            text, cut = shorter, cut + 1
        return Plan.from_json(text)

    def committed_plan(self, batch: int, cut: int | None = None) -> Plan | None:
        """The plan of a batch that is in the table, from a fold when it has no object any more.

        `cut` is what the table says of its last batch; None for one before.
        """
        text = self._text(batch, cut)
        if text is None and batch >= 0:
            text = self._folded_plans(batch, batch + 1).get(batch)
        return None if text is None else Plan.from_json(text)

    def plans(self, last: int, cut: int | None = None) -> list[Plan | None]:
        """The plans of the batches 0 to `last`; None for one that is gone.

        `cut` is what the table says of `last`, if that is its last batch.
        """
        folded = self._folded_plans(0, last + 1)
        missing = [number for number in range(last + 1) if number not in folded]
        settled = set(self._settled.numbers()) if missing else set()

        def text_of(number: int) -> bytes | None:
            if number == last and cut is not None:
                return self._text(number, cut)
            return (self._settled if number in settled else self._entries).get(number)

        with ThreadPoolExecutor(_READERS) as pool:
            texts = {**folded, **dict(zip(missing, pool.map(text_of, missing), strict=True))}
        ordered = (texts[number] for number in range(last + 1))
        return [None if text is None else Plan.from_json(text) for text in ordered]

    def _text(self, batch: int, cut: int | None) -> bytes | None:
        """The plan of a committed batch, from its own object."""
        if cut:
            return self._cuts(cut).get(batch)
        settled = self._settled.get(batch) if cut is None else None
        return self._entries.get(batch) if settled is None else settled

    def _cuts(self, cut: int) -> NumberedEntries:
        return NumberedEntries(self._store, f"{CUTS}/{cut:02d}", suffix=".json", step=Step.PLAN_PUT)

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
        for number in self._settled.numbers():
            if start <= number < done and texts[number - start] is not None:
                texts[number - start] = self._settled.get(number)
        there = texts.index(None) if None in texts else len(texts)
        count = there // self._fold * self._fold
        plans = {n: text for n, text in enumerate(texts[:count], start) if text is not None}
        if plans:
            self._folds.add(Span(start, start + count), plans)

    def put(self, plan: Plan) -> Plan:
        """Write the plan down. Whatever plan stands for the batch afterwards, ours or another's."""
        data = plan.to_json().encode()
        entries = self._cuts(plan.cut) if plan.cut else self._entries
        standing = entries.settle(plan.batch, data)
        return plan if standing == data else Plan.from_json(standing)

    def settle(self, batch: int, cut: int) -> None:
        """Note that a batch was committed as it was after so many cuts: the table says so."""
        text = self._cuts(cut).get(batch) if cut else None
        if text is not None:
            self._settled.settle(batch, text)

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
