"""Files on disk, where going through the object-store library costs several times the work.

Apart because it is the adapter of one kind of store.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

_FULL = "; the disk is full: make room there and run it again, nothing is lost"
_REMEDIES = {
    "No space left on device": _FULL,
    "Disk quota exceeded": _FULL,
    "File too large": _FULL,
    "disk is full": _FULL,
    "Read-only file system": "; make the disk writable and run it again, nothing is lost",
}
"""What to do, by what a disk or a database on it says."""


def with_remedy(reason: str) -> str:
    """Add what to do to why a disk has refused a write; other reasons stay as they are."""
    return reason + next((one for text, one in _REMEDIES.items() if text in reason), "")


def path_of(folder: str, path: str) -> Path:
    """Where the object `path` of the store at `folder` is. ValueError when it leads out of there."""
    parts = path.split("/")
    if any(part in {"", ".", ".."} for part in parts):
        raise ValueError(f"the path {path!r} has an empty part, '.' or '..'")
    return Path(folder, *parts)


def chunks(path: Path, size: int, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """The bytes of a file from `start` up to `end`, `size` at a time."""
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        left = None if end is None else max(0, end - start)
        while chunk := file.read(size if left is None else min(size, left)):
            yield chunk
            if left is not None:
                left -= len(chunk)


def create(path: Path, content: Iterable[bytes]) -> None:
    """Write a file that appears whole or not at all. FileExistsError when there is one already."""
    if path.exists():
        raise FileExistsError(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        # Named as the library names what it is writing: listings leave such files out.
        aside = path.with_name(f"{path.name}#{number}")
        try:
            file = aside.open("xb", buffering=0)
        except FileExistsError:
            continue
        try:
            with file:
                for chunk in content:
                    _write(file.fileno(), chunk)
            os.link(aside, path)
        finally:
            with suppress(OSError):
                aside.unlink()
        return


def _write(descriptor: int, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]
