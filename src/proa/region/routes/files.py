"""The Files API and DBFS: two doors to one tree."""

from __future__ import annotations

import base64
import binascii
import contextlib
from datetime import UTC
from email.utils import format_datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from proa.region.errors import AlreadyExistsError, InvalidParameterError, MissingError, TakenError
from proa.region.files import Entry
from proa.region.paging import page, place, token
from proa.region.routes.base import Body, Empty, Int64, PageSize, PageToken, RegionOf, present
from proa.region.times import moment

router = APIRouter(tags=["files"])

_RAW = {"requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string"}}}}}
_MAX_READ = 1024 * 1024


class Path(Body):
    """The path of a file or folder."""

    path: str


class Create(Path):
    """A file that will come in blocks."""

    overwrite: bool = False


class Handle(Body):
    """A file that is coming in blocks."""

    handle: Int64


class Block(Handle):
    """The next piece of a file, base64."""

    data: str


class Put(Path):
    """A whole file, base64."""

    contents: str = ""
    overwrite: bool = False


class Remove(Path):
    """What to remove."""

    recursive: bool = False


class Move(Body):
    """From where to where."""

    source_path: str
    destination_path: str


@router.put("/api/2.0/fs/files/{path:path}", status_code=204, openapi_extra=_RAW)
async def upload_file(
    path: str, request: Request, region: RegionOf, *, overwrite: bool = False
) -> Response:
    """Write a file from the raw body."""
    data = await request.body()
    try:
        await run_in_threadpool(region.files.write, f"/{path}", data, overwrite=overwrite)
    except AlreadyExistsError as error:
        raise TakenError(str(error), condition="ALREADY_EXISTS") from error
    return Response(status_code=204)


@router.get("/api/2.0/fs/files/{path:path}")
def download_file(path: str, region: RegionOf) -> Response:
    """A file's bytes."""
    entry = _need_file(region.files.stat(f"/{path}"))
    data = region.files.read(f"/{path}")
    return Response(
        data, media_type="application/octet-stream", headers=_headers(entry, with_length=False)
    )


@router.head("/api/2.0/fs/files/{path:path}")
def file_metadata(path: str, region: RegionOf) -> Response:
    """A file's size and time, as headers."""
    entry = _need_file(region.files.stat(f"/{path}"))
    return Response(
        media_type="application/octet-stream", headers=_headers(entry, with_length=True)
    )


@router.delete("/api/2.0/fs/files/{path:path}", status_code=204)
def delete_file(path: str, region: RegionOf) -> Response:
    """Remove a file."""
    region.files.delete_file(f"/{path}")
    return Response(status_code=204)


@router.get("/api/2.0/fs/directories/{path:path}")
def list_directory(
    path: str, region: RegionOf, page_size: PageSize = 1000, page_token: PageToken = None
) -> dict[str, Any]:
    """What lies directly in a folder."""
    at = place(page_token, "after")
    entries = region.files.children(f"/{path}")
    if at is not None:
        entries = [entry for entry in entries if entry.path > str(at["after"])]
    found, more = page(entries, min(page_size or 1000, 1000))
    contents = [
        present(
            path=entry.path,
            name=entry.path.rsplit("/", 1)[-1],
            is_directory=entry.is_dir,
            file_size=None if entry.is_dir else entry.size,
            last_modified=entry.modified,
        )
        for entry in found
    ]
    return present(contents=contents, next_page_token=token(after=found[-1].path) if more else None)


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
    return _shown(region.files.stat(path))


@router.get("/api/2.0/dbfs/list")
def dbfs_list(path: str, region: RegionOf) -> dict[str, Any]:
    """What lies directly in a folder."""
    return {"files": [_shown(entry) for entry in region.files.children(path)]}


@router.get("/api/2.0/dbfs/read")
def dbfs_read(
    path: str,
    region: RegionOf,
    offset: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    length: Annotated[int, Query(ge=0, le=_MAX_READ)] = 512 * 1024,
) -> dict[str, Any]:
    """A piece of a file, base64."""
    data = region.files.read(path)[offset : offset + length]
    return {"bytes_read": len(data), "data": base64.b64encode(data).decode()}


@router.post("/api/2.0/dbfs/mkdirs")
def dbfs_mkdirs(body: Path, region: RegionOf) -> Empty:
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
    region.files.write(body.path, _decoded(body.contents), overwrite=body.overwrite)
    return Empty()


@router.post("/api/2.0/dbfs/create")
def dbfs_create(body: Create, region: RegionOf) -> dict[str, Any]:
    """Begin a file that comes in blocks."""
    return {"handle": region.files.open_upload(body.path, overwrite=body.overwrite)}


@router.post("/api/2.0/dbfs/add-block")
def dbfs_add_block(body: Block, region: RegionOf) -> Empty:
    """The next block."""
    region.files.add_block(body.handle, _decoded(body.data))
    return Empty()


@router.post("/api/2.0/dbfs/close")
def dbfs_close(body: Handle, region: RegionOf) -> Empty:
    """The file is complete."""
    region.files.close_upload(body.handle)
    return Empty()


def _shown(entry: Entry) -> dict[str, Any]:
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


def _headers(entry: Entry, *, with_length: bool) -> dict[str, str]:
    headers = {
        "last-modified": format_datetime(moment(entry.modified).astimezone(UTC), usegmt=True)
    }
    if with_length:
        headers["content-length"] = str(entry.size)
    return headers


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidParameterError("the data is not base64") from error
