"""What a target remembers of its changes and does not show: its memory, beside the table.

For each key the memory holds those events that the table's rows do not tell: the order of the
newest one, deletions, and what SCD type 2 or partial changes need when a late event comes. It is a
list of Parquet files, newest last; the newest file that knows a key holds all that is known of it.

Which memory belongs to a version of the table, the table's own log says: a `txn` action `MEMORY`
in the same commit. So the memory is never ahead of the rows, and never behind.
"""

# ruff: noqa: S608 - identifiers are quoted, no value of a row is put into a query

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime
from typing import Any

from proa.cdc.shape import ChangeShape
from proa.errors import DataError
from proa.lake import DataFile
from proa.steps import Step
from proa.storage import ObjectInfo, Store
from proa.storage.folded import NumberedEntries, check_format
from proa.text import duckdb_literal

MEMORY = "proa:cdc"
"""The `txn` application that counts a table's memories."""
FOLDER = "_proa_cdc"
"""Below the table's folder; readers of Delta tables pass over it."""
_FORMAT = 1
_RUNS = 8
"""Files that a memory may have before all of them are put into one."""


@dataclass(frozen=True)
class Memory:
    """One state of a target's memory."""

    number: int = 0
    """Its `txn` version; 0 for a table that has none yet."""
    generation: int = 0
    """The table's generation that it belongs to: a full refresh forgets."""
    contract: Mapping[str, Any] = field(default_factory=dict)
    """What keys, order and type of history were when it was written."""
    files: tuple[tuple[str, int], ...] = ()
    """Paths in the table's folder, oldest first, and their rows."""
    truncated: str | None = None
    """The file whose one row `o` is the newest truncation; older changes have no effect."""
    latest: tuple[str, str] | None = None
    """The version of the snapshot that was applied last: its type and its text."""

    @property
    def latest_version(self) -> Any:
        """That version as the user's function gave it; None for none."""
        return None if self.latest is None else _PARSERS[self.latest[0]](self.latest[1])

    def check(self, shape: ChangeShape, dataset: str) -> None:
        """Raises DataError when the target was built with other keys, order or history."""
        for name, condition in _DRIFTS.items():
            before, now = self.contract.get(name), shape.contract()[name]
            if self.number and before != now:
                raise DataError(
                    f"{dataset!r} was built with {name} {_json_value(before)} and is declared with"
                    f" {_json_value(now)} now; refresh it fully (--full-refresh {dataset})",
                    condition=f"AUTOCDC_INVALID_STATE.{condition}",
                )

    def merges(self, added: int) -> int:
        """How many of the newest files a file of `added` rows is put together with.

        Each file is at least twice as large as all newer ones, so that a row is written anew few
        times only.
        """
        count = 0
        for _, rows in reversed(self.files):
            if len(self.files) - count < _RUNS and rows > 2 * added:
                break
            count += 1
            added += rows
        return count


_PARSERS: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "str": str,
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
}


def version_text(version: Any) -> tuple[str, str]:
    """A snapshot's version as it is written down. Raises DataError for a type without order."""
    kind = type(version).__name__
    if kind not in _PARSERS:
        raise DataError(
            f"a snapshot has the version {version!r}; give it a number, a string, a date or a time",
            condition="AUTOCDC_SNAPSHOT_VERSION",
        )
    return kind, version.isoformat() if isinstance(version, date) else str(version)


_DRIFTS = {
    "keys": "KEY_SCHEMA_DRIFT",
    "types": "KEY_SCHEMA_DRIFT",
    "scd": "SCD_TYPE_DRIFT",
    "sequence": "SEQUENCING_TYPE_DRIFT",
    "tracked": "TRACK_HISTORY_DRIFT",
}


class MemoryStore:
    """The memories of one table."""

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        self.url = url
        self.options = options
        self._store = Store.open(url, options)
        self._entries = NumberedEntries(
            self._store, f"{FOLDER}/memory", suffix=".json", step=Step.MEMORY_PUT
        )

    def read(self, number: int | None, generation: int) -> Memory:
        """The memory of a `txn` version; an empty one for None, and for one of before `generation`."""
        if not number:
            return Memory(generation=generation)
        path = self._entries.path(number)
        data = json.loads(self._store.get(path))
        check_format(data.get("format", 1), _FORMAT, f"the memory {self._store.url_of(path)!r}")
        if data["generation"] != generation:
            return Memory(generation=generation)
        files = tuple((path, rows) for path, rows in data["files"])
        latest = data["latest"] and tuple(data["latest"])
        return Memory(number, generation, data["contract"], files, data["truncated"], latest)

    def put(self, memory: Memory, before: int) -> Memory:
        """Write a memory under the next free number after `before`; it with that number.

        Nobody reads it until a commit names the number.
        """

        def body(number: int) -> bytes:
            numbered = {**asdict(replace(memory, number=number)), "format": _FORMAT}
            return json.dumps(numbered).encode()

        return replace(memory, number=self._entries.add(before, body))

    def superseded_objects(
        self, current: int, generation: int, objects: Iterable[ObjectInfo]
    ) -> list[ObjectInfo]:
        """Those of the memory's objects that the memory `current` does not need."""
        memory = self.read(current, generation)
        needed = {
            self._entries.path(current),
            memory.truncated,
            *(path for path, _ in memory.files),
        }
        return [info for info in objects if info.path not in needed]

    def objects(self) -> list[ObjectInfo]:
        """All objects of the table's memories, used or not."""
        return list(self._store.walk(FOLDER))


def memory_files(files: Sequence[DataFile]) -> tuple[tuple[str, int], ...]:
    """Files below the memory's folder as a memory lists them."""
    return tuple((f"{FOLDER}/{file.path}", file.rows) for file in files)


def newest_events(locations: Sequence[str], shape: ChangeShape, *, touched: bool) -> str:
    """SQL that yields the events of the files `locations`, oldest first, newest knowledge only.

    With `touched`, of the keys in the table `touched`. A key of which nothing is known any more
    has one row without `d`.
    """
    if not locations:
        return f"SELECT {shape.no_event} WHERE false"
    keys = shape.key_names
    only = f"SEMI JOIN touched USING ({keys})" if touched else ""
    union = memory_events(locations, shape, only=only)
    if len(locations) == 1:
        return f"SELECT {keys}, o, d, v, u FROM ({union})"
    return (
        f"SELECT {keys}, o, d, v, u FROM (SELECT *, max(run) OVER (PARTITION BY {keys}) AS newest"
        f" FROM ({union})) WHERE run = newest"
    )


def memory_events(
    locations: Sequence[str], shape: ChangeShape, *, values: bool = True, only: str = ""
) -> str:
    """SQL that yields all rows of the files `locations` with the number of the file as `run`.

    Without `values` there is no `v` and no `u`. `only` is a join that leaves some rows out.
    Returns an empty text where there are no files.
    """
    what = f", CAST(v AS {shape.value_type}) AS v, u" if values else ""
    return " UNION ALL ".join(
        f"SELECT {n} AS run, {shape.key_names}, CAST(o AS {shape.order_type}) AS o, d{what}"
        f" FROM read_parquet({duckdb_literal(location)}) {only}"
        for n, location in enumerate(locations)
    )


def _json_value(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
