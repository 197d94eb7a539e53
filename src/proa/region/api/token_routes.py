"""The token API: tokens that their owners make, list and revoke themselves."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from proa.http.api_errors import MissingError
from proa.region.api.route_parts import Body, Empty, RegionOf, UserOf
from proa.region.tokens import ApiToken

router = APIRouter(prefix="/api/2.0/token", tags=["tokens"])

_FOR_EVER = -1
_LONGEST_S = 10 * 366 * 24 * 60 * 60


class NewToken(Body):
    """A token to make."""

    comment: str = ""
    lifetime_seconds: Annotated[int, Field(ge=-1, le=_LONGEST_S)] | None = None


class TokenId(Body):
    """A token."""

    token_id: str


@router.post("/create")
def create_token(body: NewToken, region: RegionOf, user: UserOf) -> dict[str, Any]:
    """Make a token for the user who asks; its value is in this answer only."""
    lifetime = None if body.lifetime_seconds in (None, 0, _FOR_EVER) else body.lifetime_seconds
    token, text = region.tokens.create(user, body.comment, lifetime)
    return {"token_value": text, "token_info": _token_info(token)}


@router.get("/list")
def list_tokens(region: RegionOf, user: UserOf) -> dict[str, Any]:
    """The user's tokens that are not revoked, without their values."""
    tokens = [
        _token_info(token)
        for token in region.tokens.list()
        if token.user == user and token.revoked_at is None
    ]
    return {"token_infos": tokens} if tokens else {}


@router.post("/delete")
def delete_token(body: TokenId, region: RegionOf, user: UserOf) -> Empty:
    """Revoke one of the user's tokens."""
    own = {token.token_id for token in region.tokens.list() if token.user == user}
    if body.token_id not in own:
        raise MissingError(f"Token with id {body.token_id[:80]} does not exist.")
    region.tokens.revoke(body.token_id)
    return Empty()


def _token_info(token: ApiToken) -> dict[str, Any]:
    return {
        "token_id": token.token_id,
        "comment": token.comment,
        "creation_time": token.created_at,
        "expiry_time": _FOR_EVER if token.expires_at is None else token.expires_at,
    }
