"""Files on disk, where going through the object-store library costs several times the work.

Apart because it is the adapter of one kind of store.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path


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
