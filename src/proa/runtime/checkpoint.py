"""A flow's checkpoint: what each of its batches consists of, written before it is computed.

A plan is put if absent and never changed, so whoever computes a batch, and however often,
computes the same one. Which batch was the last is not said here: the target's own log says it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from proa.autoloader.file_ref import FileRef
from proa.errors import ConflictError, DataError, UnknownOutcome
from proa.layout import folder_name
from proa.runtime.history import FOLD, History
from proa.steps import Step, step
from proa.storage import NotFoundError, Store


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
        if found.get("format", 1) > _FORMAT:
            raise DataError(
                f"a plan is written in format {found['format']}, and this version of Proa reads"
                f" format {_FORMAT}; run the version that wrote it, or a newer one",
                condition="UNSUPPORTED_FORMAT",
            )
        inputs = {key: _input_from_json(value) for key, value in found["inputs"].items()}
        return cls(found["batch"], inputs, found["definition"], found["replaces"])


_FORMAT = 2
"""Of a plan as it is written down. Plans without a number are of format 1: files have no place."""
_READERS = 8


class Checkpoint:
    """The checkpoint of one flow in one generation."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._history = History(store)

    def read(self, batch: int) -> Plan | None:
        """The plan of a batch, or None when it was not planned yet."""
        text = self._text(batch)
        return None if text is None else Plan.from_json(text)

    def committed_plan(self, batch: int) -> Plan | None:
        """The plan of a batch that is in the table, from a segment when it has no object any more."""
        found = self.read(batch)
        if found is None and batch >= 0:
            text = self._history.read(batch + 1).get(batch)
            return None if text is None else Plan.from_json(text)
        return found

    def plans(self, last: int) -> list[Plan | None]:
        """The plans of the batches 0 to `last`; None for one that is gone."""
        folded = self._history.read(last + 1)
        missing = [number for number in range(last + 1) if number not in folded]
        with ThreadPoolExecutor(_READERS) as pool:
            texts = {**folded, **dict(zip(missing, pool.map(self._text, missing), strict=True))}
        found = (texts[number] for number in range(last + 1))
        return [None if text is None else Plan.from_json(text) for text in found]

    def folded_count(self) -> int:
        """How many plans, counted from batch 0, stand in segments."""
        return self._history.folded_count()

    def mark_committed(self, batch: int) -> None:
        """The batch is in the table: now and then, fold the plans up to it."""
        done = batch + 1
        if done % FOLD:
            return
        start = self._history.folded_count()
        with ThreadPoolExecutor(_READERS) as pool:
            texts = pool.map(self._text, range(start, done))
            recent = {n: text for n, text in enumerate(texts, start) if text is not None}
        # Another runner may be merging the same segments; one is enough.
        with suppress(NotFoundError):
            self._history.fold(recent, done)

    def _text(self, batch: int) -> bytes | None:
        try:
            return self._store.get(_name(batch))
        except NotFoundError:
            return None

    def put(self, plan: Plan) -> Plan:
        """Write the plan down. Whatever plan stands for the batch afterwards, ours or another's."""
        try:
            with step(Step.PLAN_PUT):
                self._store.create(_name(plan.batch), plan.to_json().encode())
        except (ConflictError, UnknownOutcome):
            standing = self.read(plan.batch)
            if standing is None:
                raise
            return standing
        return plan

    def leaf(self, key: str) -> Store:
        """The folder of a leaf's own state."""
        return self._store.child(folder_name(key))


def _name(batch: int) -> str:
    return f"plans/{batch:010d}.json"


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
