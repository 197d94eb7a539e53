"""One object store: a directory on disk or a prefix in a bucket, behind the same few verbs."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore import exceptions, store

from proa.errors import (
    ConflictError,
    DataError,
    ProaError,
    SettingsError,
    UnavailableError,
    UnknownOutcome,
)
from proa.steps import Step, step
from proa.storage import local
from proa.times import parse_duration

CHUNK = 4 * 1024 * 1024
"""Bytes a streaming read hands over at a time."""

_SINGLE_PUT = 64 * 1024 * 1024
"""Up to this size a streamed object is created by one conditional request, held in memory."""

_READS = frozenset({"read", "list", "look at", "sign"})

_CLIENT: Mapping[str, str] = {"connect_timeout": "5s", "read_timeout": "20s", "timeout": "300s"}
_RETRY = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=30),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=3)},
}
QUICK_ANSWERS: Mapping[str, str] = {
    "connect_timeout": "3s",
    "read_timeout": "5s",
    "retry_timeout": "5s",
}
"""Options for who only looks: a place that was silent for five seconds does not answer."""
_CLIENT_KEYS = ("allow_http", "allow_invalid_certificates", "proxy_url", *_CLIENT)


class NotFoundError(ProaError):
    """The object is not there."""

    condition = "NOT_FOUND"


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a listing says of one object."""

    path: str
    """Relative to the store, parts joined by "/"."""
    size: int
    """Bytes."""
    modified: datetime
    etag: str | None = None


def is_url(location: str) -> bool:
    """Whether `location` is an object-store URL rather than a path on disk."""
    return "://" in location and not location.startswith("file://")


def absolute(location: str, base: Path | None = None) -> str:
    """`location` as an absolute path or URL; a relative path is taken from `base`."""
    if is_url(location):
        return location.rstrip("/")
    path = Path(location.removeprefix("file://"))
    return str(path if path.is_absolute() else ((base or Path.cwd()) / path).absolute())


class Store:
    """A place for objects. Every put is atomic: a reader sees the whole object or none.

    All verbs raise `NotFoundError`, `ConflictError` (a conditional put lost) or
    `UnavailableError` (no answer, refused credentials, full or read-only disk); a write over the
    network that got no answer raises `UnknownOutcome`, which is one.
    """

    def __init__(self, url: str, backend: Any, options: Mapping[str, str]) -> None:
        self.url = url
        self.options = dict(options)
        self._backend = backend

    @classmethod
    def open(cls, location: str, options: Mapping[str, str] | None = None) -> Store:
        """The store at `location`, a path (made when missing) or `s3://`, `gs://`, `abfss://` URL.

        `options` are the object-store settings of the URL's kind (`aws_endpoint_url`, ...); what
        they leave out comes from the usual environment variables.
        """
        options = dict(options or {})
        url = absolute(location)
        try:
            if is_url(url):
                return cls(url, _remote(url, options), options)
            Path(url).mkdir(parents=True, exist_ok=True)
            return cls(url, store.LocalStore(url), {})
        except (exceptions.BaseError, ValueError) as error:
            raise SettingsError(
                f"cannot open the storage location {location!r}: {_first_line(error)};"
                " check the URL and its options"
            ) from error
        except OSError as error:
            raise UnavailableError(
                f"cannot open the storage location {location!r}: {local.with_remedy(str(error))}"
            ) from error

    @property
    def checks_writes(self) -> bool:
        """Whether the store itself refuses bytes that were damaged on their way to it.

        S3 does: every request carries the SHA-256 of its body. Others are to be read back.
        """
        return self.url.startswith(("s3://", "s3a://"))

    def child(self, path: str) -> Store:
        """The store one or more folders down."""
        return Store.open(self.url_of(path), self.options)

    def url_of(self, path: str) -> str:
        """The absolute path or URL of an object, as engines and Delta spell it."""
        return f"{self.url}/{path}" if path else self.url

    def get(self, path: str) -> bytes:
        with self._wrap_errors("read", path):
            if not is_url(self.url):
                return local.path_of(self.url, path).read_bytes()
            return bytes(obstore.get(self._backend, path).bytes())

    def chunks(self, path: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The object's bytes in order, a few MiB at a time; no chunk for an empty object.

        `start` and `end` choose a range; a range that begins behind the object's end is empty.
        """
        ranged: Any = {"offset": start} if end is None else (start, end)
        options = {"range": ranged} if start or end is not None else None
        with self._wrap_errors("read", path):
            if not is_url(self.url):
                # Several times as fast as the library's stream of the same file.
                yield from local.chunks(local.path_of(self.url, path), CHUNK, start, end)
                return
            found = obstore.get(self._backend, path, options=options)
            for chunk in found.stream(min_chunk_size=CHUNK):
                yield memoryview(chunk)  # type: ignore[misc] # as good as bytes, and not copied

    def open_reader(self, path: str) -> Any:
        """The object as a file that can be sought in, read through a buffer of a few MiB."""
        with self._wrap_errors("read", path):
            return Seekable(obstore.open_reader(self._backend, path, buffer_size=CHUNK))

    def head(self, path: str) -> ObjectInfo:
        with self._wrap_errors("look at", path):
            return _info(obstore.head(self._backend, path))

    def exists(self, path: str) -> bool:
        try:
            self.head(path)
        except NotFoundError:
            return False
        return True

    def put(self, path: str, data: bytes) -> None:
        """Write the object, replacing what was there."""
        with self._wrap_errors("write", path):
            obstore.put(self._backend, path, data)

    def create(self, path: str, data: bytes) -> None:
        """Write the object if there is none; `ConflictError` when there is."""
        with self._wrap_errors("write", path):
            obstore.put(self._backend, path, data, mode="create", use_multipart=False)

    def create_from(self, path: str, chunks: Iterable[bytes], size: int) -> None:
        """Write an object of `size` bytes, as they come, if there is none.

        What `chunks` raises calls the write off: nobody sees the object. In a bucket, above 64 MiB,
        the absence is checked before the upload, not by it: of two writers at once the last one
        stays, so they must be writing the same bytes.
        """
        if not is_url(self.url):
            with self._wrap_errors("write", path):
                local.create(local.path_of(self.url, path), chunks)
            return
        if size <= _SINGLE_PUT:
            self.create(path, b"".join(chunks))
            return
        if self.exists(path):
            raise ConflictError(f"the object {self.url_of(path)!r} exists already")
        with (
            self._wrap_errors("write", path),
            obstore.open_writer(self._backend, path, max_concurrency=4) as writer,
        ):
            for chunk in chunks:
                writer.write(chunk)

    @contextmanager
    def writer(self, path: str) -> Iterator[Any]:
        """A file to `write` bytes to; the object is there when the block has ended well."""
        with self._wrap_errors("write", path), obstore.open_writer(self._backend, path) as writer:
            yield writer

    def copy(self, path: str, target: str) -> None:
        """Write the object once more under another path; its bytes do not pass through here."""
        with self._wrap_errors("copy", path):
            obstore.copy(self._backend, path, target)

    def sign(self, paths: Sequence[str], seconds: float) -> list[str]:
        """URLs that read the objects without credentials, for so long; only buckets can give them."""
        if not paths:
            return []
        with self._wrap_errors("sign", paths[0]):
            urls: list[str] = obstore.sign(
                self._backend, "GET", list(paths), timedelta(seconds=seconds)
            )
            return urls

    def walk(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[ObjectInfo]:
        """Every object below the folder `prefix`, in no order that all stores share."""
        # Below a file there is nothing, and a disk says so otherwise than by an empty list.
        with suppress(NotFoundError), self._wrap_errors("list", prefix):
            for page in obstore.list(self._backend, prefix or None, offset=start_after):
                for meta in page:
                    yield _info(meta)

    def pages(self) -> Iterator[Any]:
        """Every object as Arrow record batches with `path`, `size` and `last_modified`.

        The listing of many objects: no Python object is made per object.
        """
        import pyarrow as pa

        with self._wrap_errors("list", ""):
            for page in obstore.list(self._backend, chunk_size=10_000, return_arrow=True):
                yield pa.record_batch(page)

    def folders(self, prefix: str = "") -> list[str]:
        """The names of the folders directly below the folder `prefix`, sorted."""
        with self._wrap_errors("list", prefix):
            found = obstore.list_with_delimiter(self._backend, prefix or None)
            return sorted(path.rsplit("/", 1)[-1] for path in found["common_prefixes"])

    def delete(self, path: str) -> None:
        """Remove the object; no error when it is gone already."""
        try:
            with self._wrap_errors("delete", path):
                obstore.delete(self._backend, path)
        except NotFoundError:
            pass

    @contextmanager
    def _wrap_errors(self, verb: str, path: str) -> Iterator[None]:
        try:
            with step(Step.STORE_READ if verb in _READS else Step.STORE_WRITE):
                yield
        except ProaError:
            raise
        except (exceptions.NotFoundError, FileNotFoundError) as error:
            raise NotFoundError(f"there is no object {self.url_of(path)!r}") from error
        except (
            exceptions.AlreadyExistsError,
            exceptions.PreconditionError,
            FileExistsError,
        ) as error:
            raise ConflictError(f"the object {self.url_of(path)!r} exists already") from error
        except (exceptions.InvalidPathError, ValueError) as error:
            raise self._unnameable(verb, path, error) from error
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            raise UnavailableError(
                f"not allowed to {verb} {self.url_of(path)!r}: {_first_line(error)};"
                " check the credentials and their rights"
            ) from error
        except (exceptions.BaseError, OSError) as error:
            if any(text in str(error) for text in _UNNAMEABLE):
                raise self._unnameable(verb, path, error) from error
            if verb != "write" and "Not a directory" in str(error):
                # On a disk; in other stores nothing stops an object below another.
                raise NotFoundError(f"there is no object {self.url_of(path)!r}") from error
            kind = UnknownOutcome if verb == "write" and is_url(self.url) else UnavailableError
            reason = local.with_remedy(_first_line(error))
            raise kind(f"cannot {verb} {self.url_of(path)!r}: {reason}") from error

    def _unnameable(self, verb: str, path: str, error: Exception) -> DataError:
        return DataError(
            f"cannot {verb} {self.url_of(path)!r}: {_first_line(error)};"
            " rename what has a name that object stores do not take",
            condition="INVALID_OBJECT_NAME",
        )


_UNNAMEABLE = ("Filenames containing trailing", "File name too long")
"""What a disk says of a name that it does not take."""


def _remote(url: str, options: Mapping[str, str]) -> Any:
    """The backend of a URL. Client options may stand among the others, as delta-rs takes them."""
    config: dict[str, Any] = dict(options)
    client: dict[str, Any] = dict(_CLIENT)
    retry: dict[str, Any] = dict(_RETRY)
    if "retry_timeout" in config:
        retry["retry_timeout"] = timedelta(seconds=parse_duration(str(config.pop("retry_timeout"))))
    if "aws_allow_http" in config:
        config["allow_http"] = config.pop("aws_allow_http")
    for key in _CLIENT_KEYS:
        if key in config:
            value = str(config.pop(key))
            client[key] = value.lower() == "true" if key.startswith("allow") else value
    if url.startswith(("s3://", "s3a://")):
        config.setdefault("aws_checksum_algorithm", "sha256")
    return store.from_url(url, config=config, client_options=client, retry_config=retry)


def _info(meta: Mapping[str, Any]) -> ObjectInfo:
    return ObjectInfo(meta["path"], meta["size"], meta["last_modified"], meta.get("e_tag"))


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


class Seekable(io.RawIOBase):
    """An object as a file of Python's: what the library hands out lacks some of a file's verbs."""

    def __init__(self, reader: Any) -> None:
        super().__init__()
        self._reader = reader

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._reader.seek(offset, whence))

    def tell(self) -> int:
        return int(self._reader.tell())

    def readinto(self, buffer: Any) -> int:
        data = bytes(self._reader.read(len(buffer)))
        buffer[: len(data)] = data
        return len(data)
