"""The workspace API: import, export, get-status, list, mkdirs, delete, import-file."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from proa.http.api_errors import AlreadyExistsError, InvalidParameterError, TakenError
from proa.region.api.route_parts import Body, Empty, RegionOf, without_none
from proa.region.workspace.workspace import ObjectKind, WorkspaceObject

router = APIRouter(tags=["workspace"])

_Format = Literal["SOURCE", "HTML", "JUPYTER", "DBC", "R_MARKDOWN", "AUTO", "RAW"]
_Language = Literal["PYTHON", "SQL", "SCALA", "R"]


class Import(Body):
    """A notebook or file to write."""

    path: str
    content: str = ""
    """Base64."""
    format: _Format | None = None
    language: _Language | Literal[""] | None = None
    overwrite: bool = False


class ObjectPath(Body):
    """The path of an object."""

    path: str


class Delete(ObjectPath):
    """What to remove."""

    recursive: bool = False


_IMPORT = TypeAdapter(Import)
_IMPORT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": Import.model_json_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["path", "content"],
                    "properties": {
                        "path": {"type": "string"},
                        "content": {"type": "string", "format": "binary"},
                        "format": {"type": "string"},
                        "language": {"type": "string"},
                        "overwrite": {"type": "string", "enum": ["true", "false"]},
                    },
                }
            },
        },
    }
}


@router.post("/api/2.0/workspace/import", openapi_extra=_IMPORT_BODY)
async def import_object(request: Request, region: RegionOf) -> dict[str, Any]:
    """Write a notebook or file, from JSON or from a form."""
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        async with request.form(max_part_size=16 * 1024 * 1024) as form:
            fields = {key: value for key, value in form.items() if isinstance(value, str)}
            part = form.get("content")
            content = (
                await part.read() if isinstance(part, UploadFile) else str(part or "").encode()
            )
        body = _validate_import({**fields, "content": ""})
        by_default = "SOURCE" if body.language else "AUTO"
    else:
        body = _validate_import(await request.body())
        content = _decode_base64(body.content)
        by_default = "SOURCE"
    item = await run_in_threadpool(
        region.workspace.import_,
        body.path,
        content,
        format=body.format or by_default,
        language=body.language or None,
        overwrite=body.overwrite,
    )
    return {"object_id": item.object_id}


@router.get("/api/2.0/workspace/export")
def export_object(
    region: RegionOf,
    path: str,
    format: Annotated[_Format, Query()] = "SOURCE",  # noqa: A002 - the API's own word
    *,
    direct_download: bool = False,
) -> Response:
    """The content of a notebook or file, in base64 or as it is."""
    content, file_type = region.workspace.export(path, format)
    if direct_download:
        return Response(content, media_type="application/octet-stream")
    answer = {"content": base64.b64encode(content).decode(), "file_type": file_type}
    return Response(json.dumps(answer), media_type="application/json")


@router.get("/api/2.0/workspace/get-status")
def get_status(region: RegionOf, path: str) -> dict[str, Any]:
    """What stands at the path, which is echoed as it was spelled."""
    return object_info(region.workspace.get(path), path)


@router.get("/api/2.0/workspace/list")
def list_objects(
    region: RegionOf,
    path: str,
    notebooks_modified_after: Annotated[int | None, Query(ge=0, lt=2**63)] = None,
) -> dict[str, Any]:
    """What lies directly in a folder."""
    prefix = "/Workspace" if path == "/Workspace" or path.startswith("/Workspace/") else ""
    found = [
        object_info(item, prefix + item.path)
        for item in region.workspace.children(path)
        if notebooks_modified_after is None
        or item.kind is not ObjectKind.NOTEBOOK
        or item.modified_at > notebooks_modified_after
    ]
    return {"objects": found} if found else {}


@router.post("/api/2.0/workspace/mkdirs")
def mkdirs(body: ObjectPath, region: RegionOf) -> Empty:
    """Make a folder and those above it."""
    region.workspace.mkdirs(body.path)
    return Empty()


@router.post("/api/2.0/workspace/delete")
def delete_object(body: Delete, region: RegionOf) -> Empty:
    """Remove an object; a folder that is not empty needs `recursive`."""
    region.workspace.delete(body.path, recursive=body.recursive)
    return Empty()


@router.post(
    "/api/2.0/workspace-files/import-file/{path:path}",
    openapi_extra={
        "requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string"}}}}
    },
)
async def import_file(
    path: str, request: Request, region: RegionOf, *, overwrite: bool = False
) -> Empty:
    """Write a file from the raw body. Without `overwrite`: create it, or 409 when it is there."""
    content = await request.body()
    try:
        await run_in_threadpool(
            region.workspace.upload, f"/{path.lstrip('/')}", content, overwrite=overwrite
        )
    except AlreadyExistsError as error:
        raise TakenError(str(error), condition="RESOURCE_ALREADY_EXISTS") from error
    return Empty()


def object_info(item: WorkspaceObject, path: str) -> dict[str, Any]:
    """The API's object for `item`."""
    file = item.kind is not ObjectKind.DIRECTORY
    return without_none(
        path=path,
        object_type=item.kind,
        object_id=item.object_id,
        resource_id=str(item.object_id),
        language=item.language,
        size=item.size if item.kind is ObjectKind.FILE else None,
        created_at=item.created_at if file else None,
        modified_at=item.modified_at if file else None,
    )


def _validate_import(data: bytes | dict[str, Any]) -> Import:
    try:
        if isinstance(data, bytes):
            return _IMPORT.validate_python(json.loads(data))
        return _IMPORT.validate_python(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise InvalidParameterError(
            f"{where}: {first['msg'].removeprefix('Value error, ').lower()}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InvalidParameterError(
            "the body is not valid JSON", condition="MALFORMED_REQUEST"
        ) from error


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidParameterError("the content is not base64") from error
