"""Databricks' disaster-recovery API: its clients list the group, look at it and fail it over.

The group is what `proa.yml` says, so it is neither made nor changed here. A failover of this API is always
forced: whatever has not landed is lost.
"""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict

from proa.control.control_routes import OperatorOf, WitnessOf, as_api_error
from proa.control.witness import Witness
from proa.errors import ProaError
from proa.http.api_errors import InvalidParameterError, MissingError, NotSupportedError, TakenError
from proa.recovery.control_record import Operation
from proa.recovery.controller import Request as ChangeRequest
from proa.times import utc_text

router = APIRouter(tags=["disaster recovery"])
_BASE = "/api/disaster-recovery/v1/accounts/{account}"


class FailoverWanted(BaseModel):
    """The body of a failover."""

    model_config = ConfigDict(extra="ignore")

    target_primary_region: str
    failover_type: Literal["FORCED"]
    etag: str | None = None


@router.get("/.well-known/databricks-config")
def well_known(request: Request, witness: WitnessOf) -> dict[str, str]:
    """Who this is, for clients that ask first. Needs no token."""
    return {
        "oidc_endpoint": f"{request.base_url}oidc",
        "account_id": account_id(witness),
        "cloud": "AWS",
        "host_type": "account",
    }


@router.get(f"{_BASE}/failover-groups")
def list_groups(
    account: str,
    witness: WitnessOf,
    page_size: Annotated[int, Query(ge=0)] = 0,  # noqa: ARG001 - there is one group
    page_token: str | None = None,  # noqa: ARG001
) -> dict[str, Any]:
    """The one group, without its state."""
    _check_account(witness, account)
    group = _group(witness)
    return {"failover_groups": [{k: v for k, v in group.items() if k not in _NOT_LISTED}]}


@router.get(f"{_BASE}/failover-groups/{{group}}")
def get_group(account: str, group: str, witness: WitnessOf) -> dict[str, Any]:
    """The group, with the moment up to which its standbys have everything."""
    _check_group(witness, account, group)
    return _group(witness)


@router.post(f"{_BASE}/failover-groups/{{group}}/failover")
def fail_over(
    account: str, group: str, body: FailoverWanted, witness: WitnessOf, user: OperatorOf
) -> dict[str, Any]:
    """Make another region the primary one, whatever is lost by it."""
    _check_group(witness, account, group)
    record = witness.record
    if body.etag is not None and body.etag != str(record.number):
        raise TakenError(
            f"the group has changed: its etag is {record.number}, not {body.etag[:40]!r}"
        )
    if body.target_primary_region == record.active and record.is_steady:
        raise InvalidParameterError(f"{record.active} is the primary region already")
    if body.target_primary_region not in witness.settings.regions:
        raise InvalidParameterError(f"the group has no region {body.target_primary_region[:80]!r}")
    request = ChangeRequest(Operation.FAILOVER, body.target_primary_region, force=True)
    try:
        witness.begin(request, user)
    except ProaError as error:
        raise as_api_error(error) from error
    return _group(witness)


@router.get(f"{_BASE}/stable-urls")
def list_urls(account: str, witness: WitnessOf) -> dict[str, Any]:
    """The one address of consumers, if `proa.yml` names it."""
    _check_account(witness, account)
    url = _stable_url(witness)
    return {} if url is None else {"stable_urls": [url]}


@router.get(f"{_BASE}/stable-urls/{{name}}")
def get_url(account: str, name: str, witness: WitnessOf) -> dict[str, Any]:
    """The address of consumers, and the region that it leads to."""
    _check_account(witness, account)
    url = _stable_url(witness)
    if url is None or name != witness.recovery.group:
        raise MissingError(
            f"there is no stable URL {name[:80]!r}; `recovery.stable_url` of proa.yml names one"
        )
    return url


@router.api_route(
    f"{_BASE}/{{rest:path}}", methods=["POST", "PATCH", "DELETE"], include_in_schema=False
)
def refuse_change(account: str, rest: str) -> None:  # noqa: ARG001 - the path's parts
    """Groups and addresses are what proa.yml says."""
    raise NotSupportedError(
        "the failover group and its stable URL are defined in proa.yml, not over the API"
    )


def account_id(witness: Witness) -> str:
    """The account that this witness is: made of the third place and the group, so always the same."""
    control = witness.recovery.control
    place = control.path if control is not None else ""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"proa-control:{place}:{witness.recovery.group}"))


def _group(witness: Witness) -> dict[str, Any]:
    record, regions = witness.record, list(witness.settings.regions)
    waits = [witness.standby_lag(name) for name in regions if name != record.active]
    known = [wait for wait in waits if wait is not None]
    history = witness.record_look.history
    group: dict[str, Any] = {
        "name": f"accounts/{account_id(witness)}/failover-groups/{record.group}",
        "regions": regions,
        "effective_primary_region": record.active,
        "workspace_sets": [
            {
                "name": record.group,
                "workspace_ids": [_workspace(witness, name) for name in regions],
                "replicate_workspace_assets": False,
            }
        ],
        "etag": str(record.number),
        "update_time": utc_text(record.at),
        "create_time": utc_text(history[0].at if history else record.at),
        "state": _state(witness),
        "has_replication_point_blocking_errors": len(known) < len(waits),
    }
    if known:
        group["replication_point"] = utc_text(witness.clock.now() - timedelta(seconds=max(known)))
    if witness.recovery.stable_url:
        names = [f"accounts/{account_id(witness)}/stable-urls/{record.group}"]
        group["workspace_sets"][0]["stable_url_names"] = names
    return group


def _state(witness: Witness) -> str:
    record = witness.record
    if not record.is_steady and record.operation is not Operation.DRILL:
        failed = witness.change is not None and witness.change.error is not None
        return "FAILOVER_FAILED" if failed else "FAILING_OVER"
    return "ACTIVE"


def _stable_url(witness: Witness) -> dict[str, Any] | None:
    if not witness.recovery.stable_url:
        return None
    group = witness.recovery.group
    account = f"accounts/{account_id(witness)}"
    return {
        "name": f"{account}/stable-urls/{group}",
        "url": witness.recovery.stable_url,
        "effective_workspace_id": _workspace(witness, witness.record.active),
        "failover_group_name": f"{account}/failover-groups/{group}",
        "stable_workspace_id": group,
    }


def _workspace(witness: Witness, region: str) -> str:
    configured = witness.settings.region(region).server.workspace_id
    return str(configured) if configured is not None else region


def _check_account(witness: Witness, account: str) -> None:
    if account != account_id(witness):
        raise MissingError(f"this is the account {account_id(witness)}, not {account[:60]!r}")


def _check_group(witness: Witness, account: str, group: str) -> None:
    _check_account(witness, account)
    if group != witness.recovery.group:
        raise MissingError(f"the group is called {witness.recovery.group!r}, not {group[:80]!r}")


_NOT_LISTED = frozenset({"state", "replication_point"})
