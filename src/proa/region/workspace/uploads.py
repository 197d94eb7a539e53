"""Files that come in parts: kept apart in the region's storage, joined when the last one is there.

An upload is a few objects beside the tree of files: a record of what it will be, and its parts. So parts
may come in any order and again, a server that starts anew knows every upload, and what nobody ends
is swept away after a day.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from proa.clock import Clock, Ids
from proa.http.api_errors import InvalidParameterError, MissingError
from proa.region.workspace.files import Files
from proa.storage import NotFoundError, ObjectInfo, Store

FOLDER = "uploads"
"""Where parts lie in the region's storage."""

_RECORD = ".json"
_KEPT = timedelta(days=1)
_HANDLE_KEPT_S = 600.0
_FLUSHED = 8 * 1024 * 1024
"""Bytes of a block upload that are held in memory before they become a part."""


@dataclass(frozen=True)
class _Upload:
    path: str
    overwrite: bool


@dataclass
class _Handle:
    """An upload that comes in blocks, one after the other."""

    upload: str | None
    path: str
    overwrite: bool
    used_at: float
    held: bytearray = field(default_factory=bytearray)
    parts: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class Uploads:
    """The uploads of one region."""

    def __init__(self, storage: Store, files: Files, clock: Clock, ids: Ids) -> None:
        self._store = storage.child(FOLDER)
        self._files = files
        self._clock = clock
        self._ids = ids
        self._handles: dict[int, _Handle] = {}
        self._last_handle = 0
        self._lock = threading.Lock()

    def begin(self, path: str, *, overwrite: bool) -> str:
        """Begin an upload; returns its id. AlreadyExistsError when it would have to overwrite."""
        self._sweep()
        self._files.check_target(path, overwrite=overwrite)
        made = self._ids.new()
        record = json.dumps({"path": path, "overwrite": overwrite})
        self._store.create(made + _RECORD, record.encode())
        return made

    def put(self, upload: str, path: str, number: int, chunks: Iterable[bytes]) -> None:
        """Keep a part, numbered from 1. One that comes again takes the place of the first."""
        self._need(upload, path)
        with self._store.writer(_part(upload, number)) as file:
            for chunk in chunks:
                file.write(chunk)

    def complete(self, upload: str, path: str, numbers: Sequence[int]) -> None:
        """Join the parts into the file, which is there from now on."""
        found = self._need(upload, path)
        wanted = sorted(set(numbers))
        sizes = {info.path: info.size for info in self._of(upload)}
        missing = [number for number in wanted if _part(upload, number) not in sizes]
        if missing or not wanted:
            what = f"part {missing[0]} has not come" if missing else "it has no parts"
            raise InvalidParameterError(f"the upload of {path!r} cannot be completed: {what}")
        self._files.write_from(
            path,
            self._joined_parts([_part(upload, number) for number in wanted]),
            sum(sizes[_part(upload, number)] for number in wanted),
            overwrite=found.overwrite,
        )
        self._remove(upload)

    def abort(self, upload: str, path: str) -> None:
        """Forget an upload and its parts."""
        self._need(upload, path)
        self._remove(upload)

    def open(self, path: str, *, overwrite: bool) -> int:
        """Begin a file that comes in blocks; returns its handle, which this server alone knows."""
        self._files.check_target(path, overwrite=overwrite)
        now = self._clock.monotonic()
        with self._lock:
            for handle, item in list(self._handles.items()):
                if now - item.used_at > _HANDLE_KEPT_S:
                    del self._handles[handle]
            self._last_handle += 1
            self._handles[self._last_handle] = _Handle(None, path, overwrite, now)
            return self._last_handle

    def add_block(self, handle: int, data: bytes) -> None:
        """The next block. MissingError for a handle that is not open."""
        item = self._handle(handle)
        with item.lock:
            item.used_at = self._clock.monotonic()
            item.held += data
            if len(item.held) >= _FLUSHED:
                self._flush(item)

    def close(self, handle: int) -> None:
        """Write what came; only now does the file exist."""
        item = self._handle(handle)
        with self._lock:
            self._handles.pop(handle, None)
        with item.lock:
            if item.upload is None:
                self._files.write(item.path, bytes(item.held), overwrite=item.overwrite)
                return
            if item.held:
                self._flush(item)
            self.complete(item.upload, item.path, range(1, item.parts + 1))

    def _handle(self, handle: int) -> _Handle:
        with self._lock:
            found = self._handles.get(handle)
        if found is None:
            raise MissingError(f"there is no open upload with handle {handle}")
        return found

    def _flush(self, item: _Handle) -> None:
        if item.upload is None:
            item.upload = self.begin(item.path, overwrite=item.overwrite)
        self.put(item.upload, item.path, item.parts + 1, [bytes(item.held)])
        item.parts += 1
        item.held.clear()

    def _need(self, upload: str, path: str) -> _Upload:
        missing = MissingError(f"there is no upload of {path!r} with that session token")
        if not upload.replace("-", "").isalnum():
            raise missing
        try:
            record = json.loads(self._store.get(upload + _RECORD))
        except NotFoundError:
            raise missing from None
        if record["path"] != path:
            raise missing
        return _Upload(record["path"], record["overwrite"])

    def _joined_parts(self, names: Sequence[str]) -> Iterator[bytes]:
        for name in names:
            yield from self._store.chunks(name)

    def _remove(self, upload: str) -> None:
        # The record last: until it is gone, this can be done again.
        for info in self._of(upload):
            if not info.path.endswith(_RECORD):
                self._store.delete(info.path)
        self._store.delete(upload + _RECORD)

    def _sweep(self) -> None:
        old = self._clock.now() - _KEPT
        for info in list(self._store.walk()):
            if info.path.endswith(_RECORD) and info.modified < old:
                self._remove(info.path.removesuffix(_RECORD))

    def _of(self, upload: str) -> list[ObjectInfo]:
        return [info for info in self._store.walk() if info.path.startswith(f"{upload}.")]


def _part(upload: str, number: int) -> str:
    return f"{upload}.{number:05}"
