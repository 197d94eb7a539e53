"""The SQL API: statements against a server's tables, and the one warehouse that answers them."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import FileResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from proa.clock import Clock
from proa.http.api_errors import InvalidParameterError, MissingError, PermissionDeniedError
from proa.region.api.route_parts import Body, Empty, Int64, without_none
from proa.region.region import RegionServices
from proa.region.statements.statements import Statement, StatementState
from proa.region.tokens import DEFAULT_USER
from proa.times import millis, rfc3339

router = APIRouter(prefix="/api/2.0/sql", tags=["sql"])

_WAIT = re.compile(r"(\d{1,2})s")
_LONGEST_WAIT_S = 50
_SHORTEST_WAIT_S = 5
_LINK_MS = 15 * 60 * 1000
"""How long a link to a result is good."""

RESULTS = "/api/2.0/sql/results/"
"""Where links to results lead; they carry their right with them."""

_MEDIA_TYPES = {
    "ARROW_STREAM": "application/vnd.apache.arrow.stream",
    "CSV": "text/csv",
    "JSON_ARRAY": "application/json",
}
_ERROR_CODES = ("BAD_REQUEST", "ABORTED", "INTERNAL_ERROR")


class StatementsPort(Protocol):
    """Statements that are answered; `Statements` has them all."""

    @property
    def secret(self) -> bytes:
        """Signs the links to results."""

    def execute(  # noqa: PLR0913 - the API's own parameters
        self,
        text: str,
        *,
        schema: str | None = None,
        parameters: Sequence[Mapping[str, Any]] = (),
        row_limit: int | None = None,
        byte_limit: int | None = None,
        format: str = "JSON_ARRAY",  # noqa: A002 - the API's own word
        external: bool = False,
    ) -> Statement:
        """Begin a statement."""

    def get(self, statement_id: str) -> Statement:
        """The statement. MissingError when there is none."""

    def cancel(self, statement_id: str) -> None:
        """Forget about the answer."""


@dataclass(frozen=True)
class Warehouse:
    """Who answers statements."""

    name: str
    workspace_id: str
    statements: StatementsPort
    clock: Clock
    address: str | None = None
    """Where clients reach the server; None takes it from each request."""

    @property
    def warehouse_id(self) -> str:
        """16 hexadecimal digits, always the same."""
        return f"{int(self.workspace_id):016x}"


async def _warehouse(request: Request) -> Warehouse:
    found: Warehouse = await request.app.state.warehouse(request)
    return found


WarehouseOf = Annotated[Warehouse, Depends(_warehouse)]
"""The warehouse of the server that is asked."""


class Parameter(Body):
    """The value of a marker `:name`."""

    name: str
    value: str | None = None
    type: str | None = None


class Execute(Body):
    """A statement to run."""

    statement: str
    warehouse_id: str
    catalog: str | None = None
    schema_: str | None = Field(default=None, alias="schema")
    parameters: list[Parameter] = Field(default_factory=list)
    row_limit: Annotated[Int64, Field(ge=1)] | None = None
    byte_limit: Annotated[Int64, Field(ge=1)] | None = None
    disposition: Literal["INLINE", "EXTERNAL_LINKS", "INLINE_OR_EXTERNAL_LINKS"] = "INLINE"
    format: Literal["JSON_ARRAY", "ARROW_STREAM", "CSV"] = "JSON_ARRAY"
    wait_timeout: str = "10s"
    on_wait_timeout: Literal["CONTINUE", "CANCEL"] = "CONTINUE"


@router.post("/statements")
async def execute_statement(
    body: Execute, warehouse: WarehouseOf, request: Request
) -> dict[str, Any]:
    """Run a statement, and wait a while for its end. It can only read."""
    need_warehouse(warehouse, body.warehouse_id)
    external = body.disposition == "EXTERNAL_LINKS" or (
        body.disposition == "INLINE_OR_EXTERNAL_LINKS" and body.format != "JSON_ARRAY"
    )
    if body.format != "JSON_ARRAY" and not external:
        raise InvalidParameterError(
            f"the format {body.format} comes by links: set disposition to EXTERNAL_LINKS"
        )
    seconds = _seconds(body.wait_timeout)
    statement = await run_in_threadpool(
        warehouse.statements.execute,
        body.statement,
        schema=body.schema_,
        parameters=[parameter.model_dump() for parameter in body.parameters],
        row_limit=body.row_limit,
        byte_limit=body.byte_limit,
        format=body.format,
        external=external,
    )
    if seconds and not statement.state.over:
        done = asyncio.wrap_future(statement.done)
        await asyncio.wait([done], timeout=seconds)
        if not statement.state.over and body.on_wait_timeout == "CANCEL":
            warehouse.statements.cancel(statement.statement_id)
    return _statement(statement, warehouse, request)


@router.get("/statements/{statement_id}")
async def get_statement(
    statement_id: str, warehouse: WarehouseOf, request: Request
) -> dict[str, Any]:
    """A statement's state and, once it is there, the first chunk of its result."""
    return _statement(warehouse.statements.get(statement_id), warehouse, request)


@router.get("/statements/{statement_id}/result/chunks/{chunk_index}")
async def get_statement_result_chunk(
    statement_id: str, chunk_index: Int64, warehouse: WarehouseOf, request: Request
) -> dict[str, Any]:
    """One chunk of a result."""
    statement = warehouse.statements.get(statement_id)
    if not 0 <= chunk_index < len(statement.chunk_rows):
        raise MissingError(f"the statement {statement_id} has no chunk {chunk_index}")
    return _chunk(statement, chunk_index, warehouse, request)


@router.get("/results/{statement_id}/{chunk_index}", include_in_schema=False)
def download_result(
    statement_id: str, chunk_index: int, until: int, signature: str, warehouse: WarehouseOf
) -> Response:
    """A chunk of a result as a file. The link is the right to read it, for a while."""
    expected = _signature(warehouse, statement_id, chunk_index, until)
    if not hmac.compare_digest(signature.encode(), expected.encode()):
        raise PermissionDeniedError("the link is not one that this server gave out")
    if until < millis(warehouse.clock.now()):
        raise PermissionDeniedError("the link is over; ask the statement for its chunk again")
    statement = warehouse.statements.get(statement_id)
    if statement.folder is None or not 0 <= chunk_index < len(statement.files):
        raise MissingError(f"the statement {statement_id} has no chunk {chunk_index}")
    kind = _MEDIA_TYPES[statement.format]
    return FileResponse(statement.folder / statement.files[chunk_index]["name"], media_type=kind)


@router.post("/statements/{statement_id}/cancel")
async def cancel_statement(statement_id: str, warehouse: WarehouseOf) -> Empty:
    """Give a statement up."""
    warehouse.statements.cancel(statement_id)
    return Empty()


@router.get("/warehouses")
async def list_warehouses(warehouse: WarehouseOf) -> dict[str, Any]:
    """The one warehouse."""
    return {"warehouses": [_description(warehouse)]}


@router.get("/warehouses/{warehouse_id}")
async def get_warehouse(warehouse_id: str, warehouse: WarehouseOf) -> dict[str, Any]:
    """The one warehouse; always running."""
    need_warehouse(warehouse, warehouse_id)
    return _description(warehouse)


@router.post("/warehouses/{warehouse_id}/start")
async def start_warehouse(warehouse_id: str, warehouse: WarehouseOf) -> Empty:
    """It is running already."""
    need_warehouse(warehouse, warehouse_id)
    return Empty()


def warehouse_of(region: RegionServices) -> Warehouse:
    """The warehouse of a region."""
    return Warehouse(region.name, region.identity.workspace_id, region.statements, region.clock)


def need_warehouse(warehouse: Warehouse, warehouse_id: str) -> None:
    """Raise MissingError unless the id is the warehouse's."""
    if warehouse_id != warehouse.warehouse_id:
        raise MissingError(
            f"there is no warehouse {warehouse_id!r}; here is {warehouse.warehouse_id}"
        )


def _description(warehouse: Warehouse) -> dict[str, Any]:
    return {
        "id": warehouse.warehouse_id,
        "name": f"Proa {warehouse.name}",
        "creator_name": DEFAULT_USER,
        "state": "RUNNING",
        "cluster_size": "2X-Small",
        "min_num_clusters": 1,
        "max_num_clusters": 1,
        "num_clusters": 1,
        "auto_stop_mins": 0,
        "enable_serverless_compute": False,
        "warehouse_type": "CLASSIC",
    }


def _seconds(text: str) -> int:
    match = _WAIT.fullmatch(text)
    seconds = int(match.group(1)) if match else -1
    if seconds != 0 and not _SHORTEST_WAIT_S <= seconds <= _LONGEST_WAIT_S:
        raise InvalidParameterError(
            f"wait_timeout is '0s' or between '{_SHORTEST_WAIT_S}s' and '{_LONGEST_WAIT_S}s',"
            f" not {text[:20]!r}"
        )
    return seconds


def _statement(statement: Statement, warehouse: Warehouse, request: Request) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "statement_id": statement.statement_id,
        "status": {"state": statement.state},
    }
    if statement.state is StatementState.FAILED:
        code = statement.condition if statement.condition in _ERROR_CODES else "BAD_REQUEST"
        answer["status"]["error"] = {"error_code": code, "message": statement.error}
    if statement.state is not StatementState.SUCCEEDED:
        return answer
    rows = statement.chunk_rows
    answer["manifest"] = without_none(
        format=statement.format,
        schema={"column_count": len(statement.columns), "columns": list(statement.columns)},
        total_chunk_count=len(rows),
        total_row_count=sum(rows),
        total_byte_count=sum(file["bytes"] for file in statement.files) or None,
        truncated=statement.truncated,
        chunks=[_place(statement, index) for index in range(len(rows))],
    )
    answer["result"] = _chunk(statement, 0, warehouse, request) if rows else {}
    return answer


def _chunk(
    statement: Statement, index: int, warehouse: Warehouse, request: Request
) -> dict[str, Any]:
    following = index + 1 if index + 1 < len(statement.chunk_rows) else None
    link = f"/api/2.0/sql/statements/{statement.statement_id}/result/chunks/{following}"
    places = without_none(
        next_chunk_index=following,
        next_chunk_internal_link=link if following is not None else None,
    )
    place = _place(statement, index)
    if statement.folder is None:
        return {**place, "data_array": statement.chunks[index], **places}
    until = millis(warehouse.clock.now()) + _LINK_MS
    query = urllib.parse.urlencode(
        {
            "until": until,
            "signature": _signature(warehouse, statement.statement_id, index, until),
        }
    )
    origin = warehouse.address or f"{request.url.scheme}://{request.url.netloc}"
    base = f"{origin}{RESULTS}{statement.statement_id}/{index}"
    external = {**place, "external_link": f"{base}?{query}", "expiration": rfc3339(until), **places}
    return {**place, "external_links": [external]}


def _place(statement: Statement, index: int) -> dict[str, Any]:
    """Where a chunk lies in the result."""
    rows = statement.chunk_rows
    return without_none(
        chunk_index=index,
        row_offset=sum(rows[:index]),
        row_count=rows[index],
        byte_count=statement.files[index]["bytes"] if statement.files else None,
    )


def _signature(warehouse: Warehouse, statement_id: str, index: int, until: int) -> str:
    """What makes a link to a chunk one that this server gave out."""
    text = f"{statement_id}/{index}/{until}".encode()
    return hmac.new(warehouse.statements.secret, text, hashlib.sha256).hexdigest()
