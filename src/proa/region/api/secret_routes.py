"""The secrets API."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Literal

from fastapi import APIRouter

from proa.http.api_errors import InvalidParameterError
from proa.region.api.route_parts import Body, Empty, RegionOf, UserOf
from proa.region.workspace.secrets import no_acl

router = APIRouter(prefix="/api/2.0/secrets", tags=["secrets"])


class Scope(Body):
    """A scope."""

    scope: str


class NewScope(Scope):
    """A scope to make."""

    scope_backend_type: str = "DATABRICKS"
    initial_manage_principal: str | None = None


class Key(Scope):
    """A secret."""

    key: str


class NewSecret(Key):
    """A secret to keep: one of its values."""

    string_value: str | None = None
    bytes_value: str | None = None
    """Base64."""


class SecretPrincipal(Scope):
    """Somebody on a scope's access list."""

    principal: str


class NewAcl(SecretPrincipal):
    """What somebody may do with a scope."""

    permission: Literal["READ", "WRITE", "MANAGE"]


@router.post("/scopes/create")
def create_scope(body: NewScope, region: RegionOf, user: UserOf) -> Empty:
    """Make a scope."""
    if body.scope_backend_type != "DATABRICKS":
        raise InvalidParameterError(
            f"a region keeps its secrets itself: scope_backend_type {body.scope_backend_type!r}"
            " is not known, use 'DATABRICKS'"
        )
    region.secrets.create_scope(body.scope, body.initial_manage_principal or user)
    return Empty()


@router.get("/scopes/list")
def list_scopes(region: RegionOf) -> dict[str, Any]:
    """All scopes."""
    return {
        "scopes": [{"name": name, "backend_type": "DATABRICKS"} for name in region.secrets.scopes()]
    }


@router.post("/scopes/delete")
def delete_scope(body: Scope, region: RegionOf) -> Empty:
    """Remove a scope and its secrets."""
    region.secrets.delete_scope(body.scope)
    return Empty()


@router.post("/put")
def put_secret(body: NewSecret, region: RegionOf) -> Empty:
    """Keep a secret, replacing what was there."""
    if (body.string_value is None) == (body.bytes_value is None):
        raise InvalidParameterError("give exactly one of string_value and bytes_value")
    if body.string_value is not None:
        value = body.string_value.encode()
    else:
        try:
            value = base64.b64decode(body.bytes_value or "", validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidParameterError("bytes_value is not base64") from error
    region.secrets.put(body.scope, body.key, value)
    return Empty()


@router.get("/list")
def list_secrets(region: RegionOf, scope: str) -> dict[str, Any]:
    """The keys of a scope; never the values."""
    found = [
        {"key": key, "last_updated_timestamp": updated}
        for key, updated in region.secrets.keys(scope)
    ]
    return {"secrets": found} if found else {}


@router.get("/get")
def get_secret(region: RegionOf, scope: str, key: str) -> dict[str, Any]:
    """One secret's value, in base64."""
    return {"key": key, "value": base64.b64encode(region.secrets.get(scope, key)).decode()}


@router.post("/delete")
def delete_secret(body: Key, region: RegionOf) -> Empty:
    """Remove a secret."""
    region.secrets.delete(body.scope, body.key)
    return Empty()


@router.post("/acls/put")
def put_acl(body: NewAcl, region: RegionOf) -> Empty:
    """Say what somebody may do with a scope; stored, not enforced."""
    region.secrets.put_acl(body.scope, body.principal, body.permission)
    return Empty()


@router.get("/acls/list")
def list_acls(region: RegionOf, scope: str) -> dict[str, Any]:
    """A scope's access list."""
    acls = region.secrets.acls(scope)
    return {"items": [{"principal": name, "permission": level} for name, level in acls]}


@router.get("/acls/get")
def get_acl(region: RegionOf, scope: str, principal: str) -> dict[str, Any]:
    """What somebody may do with a scope."""
    for name, permission in region.secrets.acls(scope):
        if name == principal:
            return {"principal": name, "permission": permission}
    raise no_acl(scope, principal)


@router.post("/acls/delete")
def delete_acl(body: SecretPrincipal, region: RegionOf) -> Empty:
    """Take somebody off a scope's access list."""
    region.secrets.delete_acl(body.scope, body.principal)
    return Empty()
