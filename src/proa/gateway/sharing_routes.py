"""The Delta Sharing protocol."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from proa.gateway.active_region import Serving
from proa.gateway.gateway import Gateway
from proa.gateway.links import FilePlace
from proa.gateway.recipients import Recipient
from proa.gateway.served_region import ServedRegion
from proa.gateway.shares import SharedTable, Shares, share_id
from proa.gateway.table_answers import Capabilities, Question, TableAnswer, TableReading
from proa.http import paging
from proa.http.api_errors import MissingError, PermissionDeniedError, UnauthenticatedError

PREFIX = "/delta-sharing"
router = APIRouter(prefix=PREFIX, tags=["sharing"])

_LINES = "application/x-ndjson; charset=utf-8"
_PAGE = 500
_CHUNK = 256 * 1024
"""Bytes of a file that are sent at a time: about what a socket takes at once."""


async def gateway_of(request: Request) -> Gateway:
    """The gateway that is asked."""
    gateway: Gateway = request.app.state.gateway
    return gateway


async def recipient_of(request: Request) -> Recipient:
    """Who asks. Raises UnauthenticatedError for one who was removed this very moment."""
    gateway: Gateway = request.app.state.gateway
    recipient = await run_in_threadpool(gateway.recipients.get, str(request.scope["proa.user"]))
    if recipient is None:
        raise UnauthenticatedError("the token was removed")
    return recipient


GatewayOf = Annotated[Gateway, Depends(gateway_of)]
RecipientOf = Annotated[Recipient, Depends(recipient_of)]
Long = Annotated[int | None, Query(ge=0, lt=2**63)]


class TableQuery(BaseModel):
    """The body of a query. What is not known is passed over."""

    model_config = ConfigDict(extra="ignore")

    predicateHints: list[str] = Field(default_factory=list)  # noqa: N815 - the protocol's names
    jsonPredicateHints: str | None = None  # noqa: N815
    limitHint: Annotated[int, Field(ge=0)] | None = None  # noqa: N815
    version: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    timestamp: str | None = None
    startingVersion: Annotated[int, Field(ge=0, lt=2**63)] | None = None  # noqa: N815
    endingVersion: Annotated[int, Field(ge=0, lt=2**63)] | None = None  # noqa: N815


@dataclass(frozen=True)
class _Page:
    """Which part of a list is asked for."""

    size: int
    place: int

    def answer(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        shown = list(items[self.place : self.place + self.size])
        end = self.place + len(shown)
        answer: dict[str, Any] = {"items": shown}
        if end < len(items):
            answer["nextPageToken"] = paging.make_page_token(at=end)
        return answer


async def _page(
    maxResults: Annotated[int | None, Query(ge=0, lt=2**31)] = None,  # noqa: N803
    pageToken: str | None = None,  # noqa: N803
) -> _Page:
    place = paging.read_page_token(pageToken, "at")
    return _Page(_PAGE if maxResults is None else maxResults, int(place["at"]) if place else 0)


PageOf = Annotated[_Page, Depends(_page)]


@dataclass(frozen=True)
class _Asked:
    """A table that somebody asks about."""

    gateway: Gateway
    recipient: Recipient
    share: str
    schema: str
    table: str
    base: str
    capabilities: Capabilities

    async def answer(self, ask: Callable[[TableReading], TableAnswer]) -> Response:
        """The answer of the active region. Raises MissingError, PermissionDeniedError, UnavailableError."""

        def work(serving: Serving, region: ServedRegion) -> Response:
            reading = TableReading(
                self._shared_table(region.shares()),
                region,
                serving,
                self.gateway.versions,
                self.gateway.links,
                self.base,
            )
            answer = ask(reading)
            body = "".join(f"{line}\n" for line in answer.lines)
            return Response(body, media_type=_LINES, headers=answer.headers)

        return await self.gateway.read(work)

    def _shared_table(self, shares: Shares) -> SharedTable:
        share = shares.share(self.share)
        need_share(self.recipient, share)
        return shares.table(share, self.schema, self.table)


async def _asked_table(  # noqa: PLR0913, PLR0917 - what a request has
    share: str,
    schema: str,
    table: str,
    gateway: GatewayOf,
    recipient: RecipientOf,
    request: Request,
    capabilities: Annotated[str | None, Header(alias="delta-sharing-capabilities")] = None,
) -> _Asked:
    base = address_of(gateway, request)
    known = Capabilities.parse(capabilities)
    return _Asked(gateway, recipient, share, schema, table, base, known)


AskedOf = Annotated[_Asked, Depends(_asked_table)]


def address_of(gateway: Gateway, request: Request) -> str:
    """Where the client reaches the gateway: scheme, host and port."""
    return gateway.address or f"{request.url.scheme}://{request.url.netloc}"


def need_share(recipient: Recipient, share: str) -> None:
    """Raise PermissionDeniedError for a share that was not given to the recipient."""
    if not recipient.may_read(share):
        raise PermissionDeniedError(f"the share {share!r} was not given to {recipient.name!r}")


# -- lists ------------------------------------------------------------------------------------------


async def _list(
    gateway: Gateway, page: _Page, items_of: Callable[[Shares], list[dict[str, Any]]]
) -> dict[str, Any]:
    def work(_serving: Serving, region: ServedRegion) -> dict[str, Any]:
        return page.answer(items_of(region.shares()))

    return await gateway.read(work)


@router.get("/shares")
async def list_shares(gateway: GatewayOf, recipient: RecipientOf, page: PageOf) -> dict[str, Any]:
    """The shares that the recipient may read."""

    def items_of(shares: Shares) -> list[dict[str, Any]]:
        return [_share(name) for name in shares.names() if recipient.may_read(name)]

    return await _list(gateway, page, items_of)


@router.get("/shares/{share}")
async def get_share(share: str, gateway: GatewayOf, recipient: RecipientOf) -> dict[str, Any]:
    """One share."""

    def work(_serving: Serving, region: ServedRegion) -> dict[str, Any]:
        shares = region.shares()
        need_share(recipient, shares.share(share))
        return {"share": _share(shares.share(share))}

    return await gateway.read(work)


@router.get("/shares/{share}/schemas")
async def list_schemas(
    share: str, gateway: GatewayOf, recipient: RecipientOf, page: PageOf
) -> dict[str, Any]:
    """The schemas of a share."""

    def items_of(shares: Shares) -> list[dict[str, Any]]:
        name = shares.share(share)
        need_share(recipient, name)
        return [{"name": schema, "share": name} for schema in shares.schemas(share)]

    return await _list(gateway, page, items_of)


@router.get("/shares/{share}/schemas/{schema}/tables")
async def list_tables(
    share: str, schema: str, gateway: GatewayOf, recipient: RecipientOf, page: PageOf
) -> dict[str, Any]:
    """The tables of a schema."""
    return await _list(gateway, page, partial(_tables, recipient, share, schema))


@router.get("/shares/{share}/all-tables")
async def list_all_tables(
    share: str, gateway: GatewayOf, recipient: RecipientOf, page: PageOf
) -> dict[str, Any]:
    """The tables of a share."""
    return await _list(gateway, page, partial(_tables, recipient, share, None))


def _tables(
    recipient: Recipient, share: str, schema: str | None, shares: Shares
) -> list[dict[str, Any]]:
    need_share(recipient, shares.share(share))
    return [
        {
            "name": table.name,
            "schema": table.schema,
            "share": table.share,
            "shareId": table.share_id,
            "id": table.table_id,
        }
        for table in shares.tables(share, schema)
    ]


def _share(name: str) -> dict[str, Any]:
    return {"name": name, "id": share_id(name)}


# -- tables -----------------------------------------------------------------------------------------

_TABLE = "/shares/{share}/schemas/{schema}/tables/{table}"


@router.head(_TABLE)
async def head_table(asked: AskedOf) -> Response:
    """The newest version, as clients asked before there was a route of its own."""
    return await asked.answer(lambda reading: reading.version(None))


@router.get(f"{_TABLE}/version")
async def get_table_version(
    asked: AskedOf,
    startingTimestamp: str | None = None,  # noqa: N803
) -> Response:
    """The newest version, or the oldest since a moment."""
    return await asked.answer(lambda reading: reading.version(startingTimestamp))


@router.get(f"{_TABLE}/metadata")
async def get_table_metadata(
    asked: AskedOf, version: Long = None, timestamp: str | None = None
) -> Response:
    """What the table is."""
    question = Question(version=version, timestamp=timestamp)
    return await asked.answer(lambda reading: reading.metadata(question, asked.capabilities))


@router.post(f"{_TABLE}/query")
async def query_table(asked: AskedOf, body: TableQuery | None = None) -> Response:
    """Links to the files of a version, or to those that came and went since one."""
    query = body or TableQuery()
    question = Question(
        version=query.version,
        timestamp=query.timestamp,
        starting_version=query.startingVersion,
        ending_version=query.endingVersion,
        sql_hints=query.predicateHints,
        json_hint=query.jsonPredicateHints,
        limit=query.limitHint,
    )
    if query.startingVersion is not None:
        question = replace(question, with_metadata=True)
        return await asked.answer(
            lambda reading: reading.changes(question, asked.capabilities, feed=False)
        )
    return await asked.answer(lambda reading: reading.files(question, asked.capabilities))


@router.get(f"{_TABLE}/changes")
async def get_table_changes(  # noqa: PLR0913, PLR0917 - the protocol's parameters
    asked: AskedOf,
    startingVersion: Long = None,  # noqa: N803
    startingTimestamp: str | None = None,  # noqa: N803
    endingVersion: Long = None,  # noqa: N803
    endingTimestamp: str | None = None,  # noqa: N803
    includeHistoricalMetadata: bool = False,  # noqa: N803, FBT001, FBT002
) -> Response:
    """The change data feed."""
    question = Question(
        starting_version=startingVersion,
        starting_timestamp=startingTimestamp,
        ending_version=endingVersion,
        ending_timestamp=endingTimestamp,
        with_metadata=includeHistoricalMetadata,
    )
    return await asked.answer(
        lambda reading: reading.changes(question, asked.capabilities, feed=True)
    )


# -- files ------------------------------------------------------------------------------------------


class _DataFile(FileResponse):
    chunk_size = _CHUNK


@router.api_route(
    "/files/{region}/{dataset}/{path:path}", methods=["GET", "HEAD"], include_in_schema=False
)
def read_file(  # noqa: PLR0913, PLR0917 - what a link consists of
    region: str, dataset: str, path: str, until: int, sig: str, gateway: GatewayOf
) -> Response:
    """A data file of a region whose storage is a disk. The link is the right to read it."""
    dataset = urllib.parse.unquote(dataset)
    gateway.links.check(FilePlace(region, dataset, path), until, sig)
    served = gateway.regions.get(region)
    url = None if served is None else served.dataset_url(dataset)
    file = None if url is None else Path(url, path)
    if file is None or not file.is_file():
        raise MissingError("the file is not there any more; ask for the table again")
    return _DataFile(file, media_type="application/vnd.apache.parquet")
