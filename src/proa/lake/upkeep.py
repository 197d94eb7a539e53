"""Upkeep of a table: few large files in the place of many small ones, and nothing that nobody needs.

Nothing here changes a row. What is removed is what no version younger than the cutoff has, and what
no reader that fell behind will ask for.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from proa.clock import Ids
from proa.engine import Engine
from proa.errors import ConflictError, DataError
from proa.lake import log
from proa.lake.commit import Rewriter, replace_files
from proa.lake.table import Table
from proa.lake.writer import discard_attempt
from proa.steps import Step, step
from proa.storage import ObjectInfo, Store

SMALL = 32 << 20
"""Bytes below which a file is small."""
FEW = 8
"""Small files of one partition that are left alone."""
_AT_ONCE = 512 << 20
"""Bytes of small files that one commit replaces."""
_READERS = 8
_LOG_ENTRY = re.compile(r"(\d{20})\.(json|checkpoint\.parquet|crc)$")


@dataclass(frozen=True)
class Compacted:
    """What compaction did, or would do."""

    before: int = 0
    """Small files that were replaced."""
    after: int = 0
    """Files in their place."""


@dataclass(frozen=True)
class Removed:
    """What was removed, or would be."""

    files: int = 0
    bytes: int = 0


def small_files(table: Table) -> list[list[str]]:
    """The table's small files, as one commit after the other would replace them.

    Paths as in the log. A partition with few of them is left alone, and so is a table in which
    others have marked rows as deleted.
    """
    by_folder: dict[str, list[tuple[str, int]]] = {}
    if table.marks_rows():
        return []
    for path, size, _ in table.live():
        if size < SMALL:
            by_folder.setdefault(path.rpartition("/")[0], []).append((path, size))
    groups: list[list[str]] = []
    room = 0
    for files in by_folder.values():
        if len(files) < FEW:
            continue
        for path, size in sorted(files):
            if not groups or room < size:
                groups.append([])
                room = _AT_ONCE
            groups[-1].append(path)
            room -= size
    return [group for group in groups if len(group) > 1]


def compact(table: Table, group: Sequence[str], engine: Engine, ids: Ids) -> Compacted:
    """Write the rows of `group` into few files and put these in its place.

    ConflictError when one of the files went meanwhile; DataError, and nothing changed, when the
    rows that came out are not as many as went in.
    """
    rows = {path: count for path, _, count in table.live()}
    if not rows.keys() >= set(group):
        raise ConflictError(f"files of {table.url!r} were replaced by another commit")
    files = [f"{table.url}/{urllib.parse.unquote(path)}" for path in group]
    destination, result = Rewriter(engine, ids).write(table, files, table.schema)
    if result.rows != sum(rows[path] for path in group):
        discard_attempt(destination, result.files)
        raise DataError(
            f"{len(group)} files of {table.url!r} hold {result.rows} rows and should hold"
            f" {sum(rows[path] for path in group)}; nothing was changed",
            condition="FAILED_READ_FILE",
        )
    try:
        replace_files(table, group, result.files)
    except ConflictError:
        discard_attempt(destination, result.files)
        raise
    return Compacted(len(group), len(result.files))


def unneeded_objects(table: Table, cutoff: datetime, needed: Iterable[str]) -> list[ObjectInfo]:
    """Objects in the table's folder that no version since `cutoff` has, and that are older.

    `needed` are absolute locations that must stay all the same. What is younger than the cutoff
    stays, whatever it is: it may be about to be committed.
    """
    store = Store.open(table.url, table.options)
    table.refresh()
    old = {
        info.path: info
        for info in store.walk()
        if info.modified < cutoff and not info.path.startswith(("_", "."))
    }
    for path, _, _ in table.live():
        old.pop(urllib.parse.unquote(path), None)
    for path in _removed_since(store, cutoff):
        old.pop(path, None)
    for location in needed:
        old.pop(location.removeprefix(f"{table.url}/"), None)
    return list(old.values())


def expired_log(table: Table, cutoff: datetime, floor: int) -> list[ObjectInfo]:
    """Entries of the table's log, oldest first, that are older than `cutoff` and dispensable.

    The log reaches back to a checkpoint at or before the version `floor`, and to the newest one
    before the cutoff.
    """
    store = Store.open(table.url, table.options)
    entries = []
    for info in store.walk(log.FOLDER):
        found = _LOG_ENTRY.search(info.path)
        if found is not None:
            entries.append((int(found[1]), found[2], info))
    young = min(
        (v for v, kind, i in entries if kind == "json" and i.modified >= cutoff), default=None
    )
    first = min(floor, table.version if young is None else young - 1)
    checkpoints = [v for v, kind, _ in entries if kind.startswith("checkpoint") and v <= first]
    if not checkpoints:
        return []
    last = max(checkpoints)
    gone = [(v, info) for v, _, info in entries if v < last and info.modified < cutoff]
    return [info for _, info in sorted(gone, key=lambda entry: (entry[0], entry[1].path))]


def remove(store: Store, objects: Sequence[ObjectInfo]) -> Removed:
    """Delete the objects, in their order."""
    for found in objects:
        with step(Step.MAINTAIN_DELETE):
            store.delete(found.path)
    return count_objects(objects)


def count_objects(objects: Sequence[ObjectInfo]) -> Removed:
    return Removed(len(objects), sum(found.size for found in objects))


def _removed_since(store: Store, cutoff: datetime) -> Iterator[str]:
    """Files that left the table in a commit made since `cutoff`."""
    young = [
        info.path
        for info in store.walk(log.FOLDER)
        if info.path.endswith(".json") and info.modified >= cutoff
    ]
    with ThreadPoolExecutor(_READERS) as pool:
        for text in pool.map(store.get, young):
            for line in text.splitlines():
                action: dict[str, Any] = json.loads(line) if b'"remove"' in line else {}
                if "remove" in action:
                    yield urllib.parse.unquote(action["remove"]["path"])
