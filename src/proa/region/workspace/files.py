"""Files in the region's own storage: DBFS and the Files API show one tree, below `<storage>/dbfs`.

Object stores have no folders, so a folder that was made is marked by an object that listings hide.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from proa.clock import Clock
from proa.errors import ConflictError
from proa.http.api_errors import (
    AlreadyExistsError,
    ApiError,
    InvalidParameterError,
    MissingError,
)
from proa.region.workspace.workspace import canonical
from proa.storage import NotFoundError, ObjectInfo, Store
from proa.times import millis

_MARK = "_proa_folder"
_LONGEST_NAME = 240
"""Bytes that a name may have: a disk takes 255, and files that are being written have longer names."""

FOLDER = "dbfs"
"""Where the tree lies in the region's storage."""

MAX_FILE = 5 * 1024**3
"""The largest file, or part of one, that one call can send; it is not held in memory."""


@dataclass(frozen=True)
class Entry:
    """A file or a folder."""

    path: str
    """Absolute, without `dbfs:`."""
    is_dir: bool
    size: int = 0
    modified: int = 0
    """Milliseconds since 1970."""


class Files:
    """The files of one region."""

    def __init__(self, storage: Store, clock: Clock) -> None:
        self._store = storage.child(FOLDER)
        self._clock = clock

    def stat(self, path: str) -> Entry:
        """What stands at `path`. MissingError when nothing does."""
        key = _key(path)
        if key and not _is_mark(key):
            try:
                return _file(self._store.head(key))
            except NotFoundError:
                pass
        if not key:
            return Entry("/", is_dir=True)
        if next(self._walk(key), None) is None:
            raise MissingError(f"No file or directory exists on path {path}.")
        return Entry(f"/{key}", is_dir=True, modified=millis(self._clock.now()))

    def read(self, path: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The file's bytes in order, as they come. MissingError when there is no such file."""
        try:
            yield from self._store.chunks(_file_key(path), start=start, end=end)
        except NotFoundError:
            raise MissingError(f"No file or directory exists on path {path}.") from None

    def write(self, path: str, data: bytes, *, overwrite: bool) -> None:
        """Write the whole file; atomically refused when there is one and not `overwrite`."""
        self.write_from(path, [data], len(data), overwrite=overwrite)

    def write_from(
        self, path: str, chunks: Iterable[bytes], size: int | None, *, overwrite: bool
    ) -> None:
        """Write a file of `size` bytes, None for unknown, as they come; it appears whole.

        AlreadyExistsError when there is one and not `overwrite`.
        """
        key = self.check_target(path, overwrite=True)
        if overwrite:
            with self._store.writer(key) as file:
                for chunk in chunks:
                    file.write(chunk)
            return
        try:
            self._store.create_from(key, chunks, MAX_FILE if size is None else size)
        except ConflictError as error:
            raise AlreadyExistsError(f"A file or directory already exists at {path}.") from error

    def check_target(self, path: str, *, overwrite: bool) -> str:
        """The key of a file that can be written there."""
        key = _file_key(path)
        self._need_no_file_above(key)
        if next(self._walk(key), None) is not None:
            raise InvalidParameterError(f"{path!r} is a folder")
        if not overwrite and self._store.exists(key):
            raise AlreadyExistsError(f"A file or directory already exists at {path}.")
        return key

    def delete_file(self, path: str) -> None:
        """Remove the file. MissingError when there is none."""
        entry = self.stat(path)
        if entry.is_dir:
            raise InvalidParameterError(f"{path!r} is a folder")
        self._store.delete(_file_key(path))

    def mkdirs(self, path: str) -> None:
        """Make the folder and those above it; no error when they are there."""
        key = _file_key(path) if _key(path) else ""
        self._need_no_file_above(key)
        parts = key.split("/") if key else []
        for end in range(1, len(parts) + 1):
            above = "/".join(parts[:end])
            if not _is_mark(above) and self._store.exists(above):
                raise AlreadyExistsError(f"/{above} is a file")
            self._store.put(f"{above}/{_MARK}", b"")

    def delete(self, path: str, *, recursive: bool) -> None:
        """Remove a file, an empty folder, or with `recursive` all there is."""
        key = _key(path)
        if not key:
            raise InvalidParameterError("the root cannot be deleted")
        if not self.stat(path).is_dir:
            self._store.delete(key)
            return
        found = [info.path for info in self._walk(key)]
        if not recursive and found != [f"{key}/{_MARK}"]:
            raise ApiError(f"The directory {path} is not empty.", condition="DIRECTORY_NOT_EMPTY")
        for name in found:
            self._store.delete(name)

    def children(self, path: str) -> list[Entry]:
        """What lies directly in the folder, by path; a file is its own only child."""
        entry = self.stat(path)
        if not entry.is_dir:
            return [entry]
        key = _key(path)
        found: dict[str, Entry] = {}
        for info in self._walk(key):
            rest = info.path[len(key) + 1 :] if key else info.path
            name, deeper, _ = rest.partition("/")
            if name == _MARK:
                continue
            child = f"{key}/{name}" if key else name
            if deeper:
                found.setdefault(name, Entry(f"/{child}", is_dir=True, modified=_time(info)))
            else:
                found[name] = _file(info)
        return [found[name] for name in sorted(found)]

    def move(self, source: str, target: str) -> None:
        """Give a file or folder another path; nothing may stand there yet."""
        if self._store.exists(_key(target)) or next(self._walk(_key(target)), None) is not None:
            raise AlreadyExistsError(f"A file or directory already exists at {target}.")
        for old in self.copy(source, target, recursive=True):
            self._store.delete(old)

    def copy(self, source: str, target: str, *, recursive: bool) -> list[str]:
        """Write a file, or with `recursive` a folder, once more; the keys that were copied."""
        origin, destination = _key(source), _file_key(target)
        self._need_no_file_above(destination)
        if destination.startswith(f"{origin}/"):
            raise InvalidParameterError(f"{source!r} cannot be put into itself")
        found = [origin]
        if self.stat(source).is_dir:
            if not recursive:
                raise InvalidParameterError(f"{source!r} is a folder")
            found = [info.path for info in self._walk(origin)]
        for old in found:
            self._store.copy(old, destination + old[len(origin) :])
        return found

    def _need_no_file_above(self, key: str) -> None:
        """Raise InvalidParameterError if a part of the path before the last is a file."""
        parts = key.split("/")
        for end in range(1, len(parts)):
            above = "/".join(parts[:end])
            if not _is_mark(above) and self._store.exists(above):
                raise InvalidParameterError(f"/{above} is a file; nothing can lie below it")

    def _walk(self, key: str) -> Iterator[ObjectInfo]:
        prefix = f"{key}/" if key else ""
        return (info for info in self._store.walk(key) if info.path.startswith(prefix))


def _key(path: str) -> str:
    text = path.removeprefix("dbfs:")
    if text.startswith("/Workspace/"):
        raise InvalidParameterError(f"{path!r} lies in the workspace; use the workspace API")
    return canonical(text).removeprefix("/")


def _file_key(path: str) -> str:
    key = _key(path)
    if not key or _is_mark(key):
        raise InvalidParameterError(f"{path!r} cannot be a file")
    if any(len(name.encode()) > _LONGEST_NAME for name in key.split("/")):
        raise InvalidParameterError(
            f"a name in the path {path[:60]!r}... is over {_LONGEST_NAME} bytes"
        )
    return key


def _is_mark(key: str) -> bool:
    return posixpath.basename(key) == _MARK


def _file(info: ObjectInfo) -> Entry:
    return Entry(f"/{info.path}", is_dir=False, size=info.size, modified=_time(info))


def _time(info: ObjectInfo) -> int:
    return millis(info.modified)
