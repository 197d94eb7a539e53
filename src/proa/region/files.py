"""Files in the region's own storage: DBFS and the Files API show one tree, below `<storage>/dbfs`.

Object stores have no folders, so a folder that was made is marked by an object that listings hide.
"""

from __future__ import annotations

import posixpath
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from proa.clock import Clock
from proa.errors import ConflictError
from proa.region.errors import (
    AlreadyExistsError,
    ApiError,
    InvalidParameterError,
    MissingError,
    TooLargeError,
)
from proa.region.times import millis
from proa.region.workspace import canonical
from proa.storage import NotFoundError, ObjectInfo, Store

_MARK = "_proa_folder"
FOLDER = "dbfs"
"""Where the tree lies in the region's storage."""

MAX_BYTES = 64 * 1024 * 1024
"""The largest file that one call can send."""


@dataclass(frozen=True)
class Entry:
    """A file or a folder."""

    path: str
    """Absolute, without `dbfs:`."""
    is_dir: bool
    size: int = 0
    modified: int = 0
    """Milliseconds since 1970."""


@dataclass
class _Upload:
    path: str
    overwrite: bool
    blocks: list[bytes] = field(default_factory=list)
    size: int = 0


class Files:
    """The files of one region."""

    def __init__(self, storage: Store, clock: Clock) -> None:
        self._store = storage.child(FOLDER)
        self._clock = clock
        self._uploads: dict[int, _Upload] = {}
        self._handles = 0
        self._lock = threading.Lock()

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

    def read(self, path: str) -> bytes:
        """The file's bytes. MissingError when there is no such file."""
        try:
            return self._store.get(_file_key(path))
        except NotFoundError:
            raise MissingError(f"No file or directory exists on path {path}.") from None

    def write(self, path: str, data: bytes, *, overwrite: bool) -> None:
        """Write the whole file; atomically refused when there is one and not `overwrite`."""
        key = _file_key(path)
        if len(data) > MAX_BYTES:
            raise TooLargeError(f"{path!r} is over {MAX_BYTES} bytes; ship it to storage instead")
        if next(self._walk(key), None) is not None:
            raise InvalidParameterError(f"{path!r} is a folder")
        if overwrite:
            self._store.put(key, data)
            return
        try:
            self._store.create(key, data)
        except ConflictError as error:
            raise AlreadyExistsError(f"A file or directory already exists at {path}.") from error

    def delete_file(self, path: str) -> None:
        """Remove the file. MissingError when there is none."""
        entry = self.stat(path)
        if entry.is_dir:
            raise InvalidParameterError(f"{path!r} is a folder")
        self._store.delete(_file_key(path))

    def mkdirs(self, path: str) -> None:
        """Make the folder and those above it; no error when they are there."""
        key = _key(path)
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
        origin, destination = _key(source), _key(target)
        if self._store.exists(destination) or next(self._walk(destination), None) is not None:
            raise AlreadyExistsError(f"A file or directory already exists at {target}.")
        if destination.startswith(f"{origin}/"):
            raise InvalidParameterError(f"{source!r} cannot be moved into itself")
        if not self.stat(source).is_dir:
            moves = [(origin, destination)]
        else:
            moves = [
                (info.path, destination + info.path[len(origin) :]) for info in self._walk(origin)
            ]
        for old, new in moves:
            self._store.put(new, self._store.get(old))
        for old, _ in moves:
            self._store.delete(old)

    def open_upload(self, path: str, *, overwrite: bool) -> int:
        """Begin a file that comes in blocks; returns its handle."""
        _file_key(path)
        if not overwrite and self._store.exists(_key(path)):
            raise AlreadyExistsError(f"A file or directory already exists at {path}.")
        with self._lock:
            self._handles += 1
            self._uploads[self._handles] = _Upload(path, overwrite)
            return self._handles

    def add_block(self, handle: int, data: bytes) -> None:
        with self._lock:
            upload = self._uploads.get(handle)
            if upload is None:
                raise MissingError(f"there is no open upload with handle {handle}")
            upload.size += len(data)
            if upload.size > MAX_BYTES:
                del self._uploads[handle]
                raise TooLargeError(
                    f"{upload.path!r} is over {MAX_BYTES} bytes; ship it to storage instead"
                )
            upload.blocks.append(data)

    def close_upload(self, handle: int) -> None:
        """Write what came; only now does the file exist."""
        with self._lock:
            upload = self._uploads.pop(handle, None)
        if upload is None:
            raise MissingError(f"there is no open upload with handle {handle}")
        self.write(upload.path, b"".join(upload.blocks), overwrite=upload.overwrite)

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
    return key


def _is_mark(key: str) -> bool:
    return posixpath.basename(key) == _MARK


def _file(info: ObjectInfo) -> Entry:
    return Entry(f"/{info.path}", is_dir=False, size=info.size, modified=_time(info))


def _time(info: ObjectInfo) -> int:
    return millis(info.modified)
