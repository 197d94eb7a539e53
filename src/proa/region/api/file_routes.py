"""The Files API and DBFS: two doors to one tree."""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import urllib.parse
from collections.abc import Callable, Iterator
from datetime import UTC
from email.utils import format_datetime, parsedate_to_datetime
from typing import Annotated, Any, Literal

from anyio import from_thread, to_thread
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field
from starlette.requests import ClientDisconnect

from proa.http.api_errors import (
    AlreadyExistsError,
    ApiError,
    InvalidParameterError,
    MissingError,
    TakenError,
)
from proa.http.paging import make_page_token, read_page_token, split_page
from proa.region.api.route_parts import (
    Body,
    Empty,
    Int64,
    PageSize,
    PageToken,
    RegionOf,
    without_none,
)
from proa.region.workspace.files import Entry
from proa.storage.store import CHUNK
from proa.times import moment

router = APIRouter(tags=["files"])

_RAW = {"requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string"}}}}}
_FILES = "/api/2.0/fs/files/{path:path}"
_MAX_READ = 1024 * 1024
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class FilePath(Body):
    """The path of a file or folder."""

    path: str


class FileCreate(FilePath):
    """A file that will come in blocks."""

    overwrite: bool = False


class UploadHandle(Body):
    """A file that is coming in blocks."""

    handle: Int64


class Block(UploadHandle):
    """The next piece of a file, base64."""

    data: str


class Put(FilePath):
    """A whole file, base64."""

    contents: str = ""
    overwrite: bool = False


class Remove(FilePath):
    """What to remove."""

    recursive: bool = False


class UploadPart(Body):
    """A part that has come."""

    part_number: Annotated[int, Field(ge=1, le=10_000)]


class Complete(Body):
    """The parts that a file is made of."""

    parts: list[UploadPart] = Field(default_factory=list, max_length=10_000)


class Session(FilePath):
    """An upload in parts."""

    session_token: str


class PartUrls(Session):
    """Which parts are to come."""

    start_part_number: Annotated[int, Field(ge=1, le=10_000)]
    count: Annotated[int, Field(ge=1, le=1000)] = 1


class Move(Body):
    """From where to where."""

    source_path: str
    destination_path: str


@router.put(_FILES, status_code=204, openapi_extra=_RAW)
async def upload_file(  # noqa: PLR0913 - the API's own parameters
    path: str,
    request: Request,
    region: RegionOf,
    session_token: str | None = None,
    part_number: Annotated[int, Query(ge=1, le=10_000)] = 1,
    *,
    overwrite: bool = False,
) -> Response:
    """Write a file from the raw body, or with `session_token` a part of one."""
    if session_token is not None:
        await _stream_body(
            request, lambda body: region.uploads.put(session_token, f"/{path}", part_number, body)
        )
        return Response(status_code=200, headers={"etag": f'"{session_token}-{part_number}"'})
    length = request.headers.get("content-length")
    size = int(length) if length is not None else None
    try:
        await _stream_body(
            request,
            lambda body: region.files.write_from(f"/{path}", body, size, overwrite=overwrite),
        )
    except AlreadyExistsError as error:
        raise TakenError(str(error), condition="ALREADY_EXISTS") from error
    return Response(status_code=204)


@router.post(_FILES)
def upload_in_parts(  # noqa: PLR0913, PLR0917 - the API's own parameters
    path: str,
    region: RegionOf,
    action: Literal["initiate-upload", "complete-upload"],
    body: Complete | None = None,
    session_token: str = "",
    upload_type: Annotated[Literal["multipart"], Query()] = "multipart",  # noqa: ARG001 - the only one
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Begin an upload in parts, or complete it: the file is there from then on."""
    try:
        if action == "initiate-upload":
            made = region.uploads.begin(f"/{path}", overwrite=overwrite)
            return {"multipart_upload": {"session_token": made}}
        numbers = [part.part_number for part in body.parts] if body else []
        region.uploads.complete(session_token, f"/{path}", numbers)
    except AlreadyExistsError as error:
        raise TakenError(str(error), condition="ALREADY_EXISTS") from error
    return {}


@router.post("/api/2.0/fs/create-upload-part-urls")
def create_upload_part_urls(body: PartUrls, request: Request) -> dict[str, Any]:
    """Where the parts go: to this server, with the token that asks."""
    return {
        "upload_part_urls": [
            {
                "part_number": number,
                **_address(
                    request, body.path, session_token=body.session_token, part_number=number
                ),
            }
            for number in range(body.start_part_number, body.start_part_number + body.count)
        ]
    }


@router.post("/api/2.0/fs/create-abort-upload-url")
def create_abort_upload_url(body: Session, request: Request) -> dict[str, Any]:
    """What to DELETE to give an upload up."""
    where = _address(request, body.path, action="abort-upload", session_token=body.session_token)
    return {"abort_upload_url": where}


@router.post("/api/2.0/fs/create-download-url")
def create_download_url(path: str, region: RegionOf, request: Request) -> dict[str, Any]:
    """Where a file is read: from this server, with the token that asks."""
    _need_file(region.files.stat(path))
    return _address(request, path)


@router.get(_FILES)
def download_file(path: str, region: RegionOf, request: Request) -> Response:
    """A file's bytes, or the `Range` of them that is asked for."""
    entry = _need_file(region.files.stat(f"/{path}"))
    since = request.headers.get("if-unmodified-since")
    if since and entry.modified // 1000 > _seconds(since):
        raise ApiError(
            f"/{path} has changed since {since}", condition="PRECONDITION_FAILED", status=412
        )
    headers = _headers(entry)
    asked = _RANGE.fullmatch(request.headers.get("range", "").strip())
    start, end = 0, entry.size
    if asked and asked[1]:
        start, end = int(asked[1]), min(int(asked[2] or entry.size) + 1, entry.size)
    elif asked and asked[2]:
        start = max(0, entry.size - int(asked[2]))
    if asked and (asked[1] or asked[2]):
        if start >= end:
            raise ApiError(
                f"/{path} has {entry.size} bytes, and the range holds none of them",
                condition="INVALID_PARAMETER_VALUE",
                status=416,
            )
        headers["content-range"] = f"bytes {start}-{end - 1}/{entry.size}"
    headers["content-length"] = str(end - start)
    return StreamingResponse(
        region.files.read(f"/{path}", start, end) if end > start else iter(()),
        status_code=206 if "content-range" in headers else 200,
        media_type="application/octet-stream",
        headers=headers,
    )


@router.head(_FILES)
def file_metadata(path: str, region: RegionOf) -> Response:
    """A file's size and time, as headers."""
    entry = _need_file(region.files.stat(f"/{path}"))
    headers = {**_headers(entry), "content-length": str(entry.size)}
    return Response(media_type="application/octet-stream", headers=headers)


@router.delete(_FILES, status_code=204)
def delete_file(
    path: str,
    region: RegionOf,
    action: Literal["abort-upload"] | None = None,
    session_token: str = "",
) -> Response:
    """Remove a file, or give up an upload of one."""
    if action == "abort-upload":
        region.uploads.abort(session_token, f"/{path}")
        return Response(status_code=200)
    region.files.delete_file(f"/{path}")
    return Response(status_code=204)


@router.get("/api/2.0/fs/directories/{path:path}")
def list_directory(
    path: str, region: RegionOf, page_size: PageSize = 1000, page_token: PageToken = None
) -> dict[str, Any]:
    """What lies directly in a folder."""
    at = read_page_token(page_token, "after")
    entries = region.files.children(f"/{path}")
    if at is not None:
        entries = [entry for entry in entries if entry.path > str(at["after"])]
    found, more = split_page(entries, min(page_size or 1000, 1000))
    contents = [
        without_none(
            path=entry.path,
            name=entry.path.rsplit("/", 1)[-1],
            is_directory=entry.is_dir,
            file_size=None if entry.is_dir else entry.size,
            last_modified=entry.modified,
        )
        for entry in found
    ]
    return without_none(
        contents=contents, next_page_token=make_page_token(after=found[-1].path) if more else None
    )


@router.head("/api/2.0/fs/directories/{path:path}")
def directory_metadata(path: str, region: RegionOf) -> Response:
    """Whether a folder is there."""
    if not region.files.stat(f"/{path}").is_dir:
        raise MissingError(f"/{path} is a file")
    return Response()


@router.put("/api/2.0/fs/directories/{path:path}", status_code=204)
def create_directory(path: str, region: RegionOf) -> Response:
    """Make a folder and those above it."""
    region.files.mkdirs(f"/{path}")
    return Response(status_code=204)


@router.delete("/api/2.0/fs/directories/{path:path}", status_code=204)
def delete_directory(path: str, region: RegionOf) -> Response:
    """Remove an empty folder."""
    if not region.files.stat(f"/{path}").is_dir:
        raise InvalidParameterError(f"/{path} is a file")
    region.files.delete(f"/{path}", recursive=False)
    return Response(status_code=204)


@router.get("/api/2.0/dbfs/get-status")
def dbfs_status(path: str, region: RegionOf) -> dict[str, Any]:
    """What stands at the path."""
    return _entry_object(region.files.stat(path))


@router.get("/api/2.0/dbfs/list")
def dbfs_list(path: str, region: RegionOf) -> dict[str, Any]:
    """What lies directly in a folder."""
    return {"files": [_entry_object(entry) for entry in region.files.children(path)]}


@router.get("/api/2.0/dbfs/read")
def dbfs_read(
    path: str,
    region: RegionOf,
    offset: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    length: Annotated[int, Query(ge=0, le=_MAX_READ)] = 512 * 1024,
) -> dict[str, Any]:
    """A piece of a file, base64."""
    size = _need_file(region.files.stat(path)).size
    if offset > size:
        raise InvalidParameterError(f"{path!r} has {size} bytes, and no offset {offset}")
    end = min(offset + length, size)
    data = b"".join(region.files.read(path, offset, end)) if end > offset else b""
    return {"bytes_read": len(data), "data": base64.b64encode(data).decode()}


@router.post("/api/2.0/dbfs/mkdirs")
def dbfs_mkdirs(body: FilePath, region: RegionOf) -> Empty:
    """Make a folder and those above it."""
    region.files.mkdirs(body.path)
    return Empty()


@router.post("/api/2.0/dbfs/delete")
def dbfs_delete(body: Remove, region: RegionOf) -> Empty:
    """Remove a file or folder; no error when it is gone already."""
    with contextlib.suppress(MissingError):
        region.files.delete(body.path, recursive=body.recursive)
    return Empty()


@router.post("/api/2.0/dbfs/move")
def dbfs_move(body: Move, region: RegionOf) -> Empty:
    """Give a file or folder another path."""
    region.files.move(body.source_path, body.destination_path)
    return Empty()


@router.post("/api/2.0/dbfs/put")
def dbfs_put(body: Put, region: RegionOf) -> Empty:
    """Write a whole file."""
    region.files.write(body.path, _decode_base64(body.contents), overwrite=body.overwrite)
    return Empty()


@router.post("/api/2.0/dbfs/create")
def dbfs_create(body: FileCreate, region: RegionOf) -> dict[str, Any]:
    """Begin a file that comes in blocks."""
    return {"handle": region.uploads.open(body.path, overwrite=body.overwrite)}


@router.post("/api/2.0/dbfs/add-block")
def dbfs_add_block(body: Block, region: RegionOf) -> Empty:
    """The next block."""
    region.uploads.add_block(body.handle, _decode_base64(body.data))
    return Empty()


@router.post("/api/2.0/dbfs/close")
def dbfs_close(body: UploadHandle, region: RegionOf) -> Empty:
    """The file is complete."""
    region.uploads.close(body.handle)
    return Empty()


def _entry_object(entry: Entry) -> dict[str, Any]:
    return {
        "path": entry.path,
        "is_dir": entry.is_dir,
        "file_size": entry.size,
        "modification_time": entry.modified,
    }


def _need_file(entry: Entry) -> Entry:
    if entry.is_dir:
        raise MissingError(f"{entry.path} is a folder")
    return entry


def _headers(entry: Entry) -> dict[str, str]:
    when = format_datetime(moment(entry.modified).astimezone(UTC), usegmt=True)
    return {"last-modified": when, "accept-ranges": "bytes"}


def _seconds(date: str) -> float:
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError as error:
        raise InvalidParameterError(f"{date[:60]!r} is not a date") from error


def _address(request: Request, path: str, **query: Any) -> dict[str, Any]:
    """An address of this server for a client that sends nothing but what it is told here."""
    escaped = urllib.parse.quote(path, safe="/")
    base = f"{request.url.scheme}://{request.url.netloc}/api/2.0/fs/files{escaped}"
    return {
        "url": f"{base}?{urllib.parse.urlencode(query)}" if query else base,
        "headers": [{"name": "Authorization", "value": request.headers["authorization"]}],
    }


async def _stream_body(request: Request, write: Callable[[Iterator[bytes]], None]) -> None:
    """Let `write` have the body as it comes, a few MiB at a time, in a thread of its own."""
    stream = request.stream()

    async def following() -> bytes:
        pieces, size = [], 0
        async for piece in stream:
            pieces.append(piece)
            size += len(piece)
            if size >= CHUNK:
                break
        return b"".join(pieces)

    def body() -> Iterator[bytes]:
        while chunk := from_thread.run(following):
            yield chunk

    try:
        await to_thread.run_sync(write, body(), limiter=request.app.state.uploading)
    except ClientDisconnect as error:
        raise ApiError("the body ended early", condition="CANCELLED", status=499) from error


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidParameterError("the data is not base64") from error
