"""A Delta table's log, read and written as what it is: one JSON file per version."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from proa.storage import Store

if TYPE_CHECKING:
    from proa.lake.writer import DataFile

FOLDER = "_delta_log"
GENERATION = "proa:generation"
"""The `txn` application that counts the full refreshes that have replaced a table's rows."""
REFRESH = "proa:refresh"
"""The `txn` application that counts the full refreshes that were asked for."""

EPOCH = "proa:epoch"
"""The `txn` application whose version is the epoch of the region that wrote last."""


@dataclass(frozen=True)
class Commit:
    """What one version did."""

    version: int
    adds: tuple[tuple[str, int], ...]
    """Paths, relative to the table, and sizes of the files that came with new rows."""
    removes: bool
    """Whether rows were taken out."""
    transactions: Mapping[str, int]
    """The `txn` actions: application id to version."""
    info: Mapping[str, Any] = field(default_factory=dict)
    """The `commitInfo`."""
    vectors: bool = False
    """Whether files with new rows have deletion vectors: not all of their rows count."""

    @property
    def begins_generation(self) -> bool:
        """Whether a full refresh replaced all rows by those of its first batch."""
        return GENERATION in self.transactions and self.version > 0

    @property
    def appended(self) -> tuple[tuple[str, int], ...]:
        """The files whose rows are new to a stream that leaves changes of older rows out."""
        return self.adds if self.begins_generation or not self.removes else ()

    @property
    def proa(self) -> Mapping[str, Any]:
        """What Proa noted about the commit; empty for others' commits."""
        noted = self.info.get("proa")
        return noted if isinstance(noted, dict) else {}


def name(version: int) -> str:
    """The log file of a version, relative to the table."""
    return f"{FOLDER}/{version:020d}.json"


def read(store: Store, version: int) -> Commit:
    """The commit of a version; `NotFoundError` when there is none (any more)."""
    return commit_of(version, read_actions(store, version))


def read_actions(store: Store, version: int) -> list[dict[str, Any]]:
    """The actions of a version, as its entry spells them; `NotFoundError` as for `read`."""
    lines = store.get(name(version)).splitlines()
    return [json.loads(line) for line in lines if line.strip()]


def commit_of(version: int, actions: Iterable[Mapping[str, Any]]) -> Commit:
    """What a version did whose log entry consists of `actions`."""
    adds: list[tuple[str, int]] = []
    removes = vectors = False
    transactions: dict[str, int] = {}
    info: dict[str, Any] = {}
    for action in actions:
        if "add" in action:
            found = action["add"]
            if found.get("dataChange", True):
                adds.append((urllib.parse.unquote(found["path"]), found["size"]))
                vectors = vectors or bool(found.get("deletionVector"))
        elif "remove" in action:
            removes = removes or action["remove"].get("dataChange", True)
        elif "txn" in action:
            transactions[action["txn"]["appId"]] = action["txn"]["version"]
        elif "commitInfo" in action:
            info = action["commitInfo"]
    return Commit(version, tuple(adds), removes, transactions, info, vectors)


@dataclass(frozen=True)
class FileActions:
    """What one version did to rows, file by file: path in the table to its partition values."""

    version: int
    adds: Mapping[str, Mapping[str, str | None]]
    """Files that came with new rows."""
    removes: Mapping[str, Mapping[str, str | None]]
    """Files whose rows went."""
    changes: Mapping[str, Mapping[str, str | None]]
    """Files that say row by row what changed; where there are any, they say all."""
    operation: str
    vectors: bool
    """Whether rows are marked as deleted in files that stay."""


def read_files(store: Store, version: int) -> FileActions:
    """What a version did, file by file; `NotFoundError` when there is none (any more)."""
    files: dict[str, dict[str, Mapping[str, str | None]]] = {"add": {}, "remove": {}, "cdc": {}}
    operation, vectors = "", False
    for action in read_actions(store, version):
        operation = action.get("commitInfo", {}).get("operation", operation)
        for kind, found in files.items():
            entry = action.get(kind)
            if entry is None or not (kind == "cdc" or entry.get("dataChange", True)):
                continue
            vectors = vectors or "deletionVector" in entry
            found[urllib.parse.unquote(entry["path"])] = entry.get("partitionValues") or {}
    return FileActions(version, files["add"], files["remove"], files["cdc"], operation, vectors)


def add_action(file: DataFile, *, new_rows: bool) -> dict[str, Any]:
    """The action that adds a file; without `new_rows` its rows were in the table before."""
    return {
        "add": {
            "path": log_path(file.path),
            "partitionValues": dict(file.partition),
            "size": file.size,
            "modificationTime": file.modified,
            "dataChange": new_rows,
            "stats": file.stats,
        }
    }


def change_action(file: DataFile) -> dict[str, Any]:
    """The action that names a file which says what changed."""
    return {
        "cdc": {
            "path": log_path(file.path),
            "partitionValues": dict(file.partition),
            "size": file.size,
            "dataChange": False,
        }
    }


def remove_action(path: str, now: int, *, rows_go: bool) -> dict[str, Any]:
    """The action that takes out the file `path`, as the log spells it, at `now` milliseconds.

    Without `rows_go` its rows stay in the table in other files.
    """
    return {"remove": {"path": path, "deletionTimestamp": now, "dataChange": rows_go}}


def log_path(path: str) -> str:
    """A path relative to the table as the log spells it."""
    return urllib.parse.quote(path, safe="/=!$&()+,;@~.-_")


def put(store: Store, version: int, actions: Iterable[Mapping[str, Any]]) -> None:
    """Make `actions` the given version; `ConflictError` when that version exists already."""
    text = "".join(json.dumps(action, ensure_ascii=False) + "\n" for action in actions)
    store.create(name(version), text.encode())
