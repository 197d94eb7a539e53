"""The witness over HTTP: what it sees, the verbs, what load balancers and Prometheus ask."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from proa.control.access import AccessRole, SignedIn
from proa.control.witness import RoleChange, Witness
from proa.errors import ConflictError, ProaError, UnavailableError, UserError
from proa.http.api_errors import (
    ApiError,
    InvalidParameterError,
    MissingError,
    PermissionDeniedError,
)
from proa.recovery.control_record import Operation
from proa.recovery.controller import Request as ChangeRequest
from proa.times import duration_setting

router = APIRouter(tags=["control"])
BASE = "/api/proa/1/control"
OPEN_PATHS = ("/health", "/active", "/active/", "/standby", "/standby/")
"""What answers without a token: load balancers have none."""


async def _witness(request: Request) -> Witness:
    found: Witness = request.app.state.witness
    return found


async def _signed_in(request: Request) -> SignedIn:
    user: SignedIn = request.scope["proa.user"]
    return user


async def _operator(request: Request) -> SignedIn:
    user: SignedIn = request.scope["proa.user"]
    if user.role is not AccessRole.OPERATOR:
        raise PermissionDeniedError(
            f"{user} may look, and not change anything; an operator's token may"
        )
    return user


WitnessOf = Annotated[Witness, Depends(_witness)]
UserOf = Annotated[SignedIn, Depends(_signed_in)]
OperatorOf = Annotated[SignedIn, Depends(_operator)]


class Wanted(BaseModel):
    """What is asked for, with the words and the meaning of the command line's options."""

    model_config = ConfigDict(extra="forbid")

    to: str | None = None
    """The region; of a failback the one that was active before, of a drill the only standby."""
    reason: str = ""
    max_loss: str | None = None
    force: bool = False
    wait: str = "1h"
    confirm: str = Field(default="", max_length=100)
    """What the explanation gave out; without it nothing is done."""


@router.get("/health")
async def health() -> dict[str, str]:
    """The process answers. Needs no token."""
    return {"status": "ok"}


@router.get(BASE)
def show(witness: WitnessOf, user: UserOf) -> dict[str, Any]:
    """Everything that the witness sees: the record, the regions, alerts, and the change that runs."""
    return {**witness.facts(), "user": str(user), "role": user.role.value}


@router.get(f"{BASE}/history")
def history(witness: WitnessOf) -> dict[str, Any]:
    """The changes of roles, oldest first."""
    look = witness.record_look
    if look.error is not None and not look.history:
        raise as_api_error(look.error)
    return {"entries": [record.model_dump(mode="json") for record in look.history]}


@router.get(f"{BASE}/reports")
def reports(witness: WitnessOf) -> dict[str, Any]:
    """The reports of drills and promotions, oldest first."""
    return {"reports": list_reports(witness)}


@router.get(f"{BASE}/reports/{{name}}")
def report(witness: WitnessOf, name: str) -> dict[str, Any]:
    """One report."""
    return read_report(witness, name)


@router.get(f"{BASE}/validate")
def validate(
    witness: WitnessOf,
    response: Response,
    again: bool = False,  # noqa: FBT001, FBT002 - a field of the query
) -> dict[str, Any]:
    """Would a failover work now? 202 with what is known while a region is waited for: ask again.

    Answers are given out for half a minute; with `again` everything is looked at anew.
    """
    look = witness.validate(again=again)
    response.status_code = 200 if look.done.is_set() else 202
    return look.facts()


@router.post(f"{BASE}/{{verb}}/explain")
def explain(witness: WitnessOf, verb: Operation, body: Wanted) -> dict[str, Any]:
    """What a change would do, and what confirms it. Changes nothing."""
    request = change_request(witness, verb, body)
    try:
        steps = witness.explain(request)
        confirm = witness.confirmation(request)
    except ProaError as error:
        raise as_api_error(error) from error
    return {"operation": verb, "target": request.target, "steps": steps, "confirm": confirm}


@router.post(f"{BASE}/resume")
def resume(witness: WitnessOf, user: OperatorOf, response: Response) -> dict[str, Any]:
    """Finish what is under way, and demote regions that are back."""
    return _begin(response, lambda: witness.resume(user))


@router.post(f"{BASE}/cancel")
def cancel(
    witness: WitnessOf, user: OperatorOf, response: Response, body: Wanted
) -> dict[str, Any]:
    """Take back what is under way, while that is still possible."""
    return _begin(response, lambda: witness.cancel(user, body.reason))


@router.post(f"{BASE}/{{verb}}")
def change(
    witness: WitnessOf, user: OperatorOf, verb: Operation, body: Wanted, response: Response
) -> dict[str, Any]:
    """Begin a change that was explained and confirmed. 202 while it runs, 200 when it has ended."""
    request = change_request(witness, verb, body)
    check_confirmation(witness, request, body.confirm)
    return _begin(response, lambda: witness.begin(request, user))


@router.get("/active")
def active(witness: WitnessOf, response: Response) -> dict[str, Any]:
    """200 and the active region; 503 while nobody knows which one it is. Needs no token."""
    region = witness.active()
    response.status_code = 200 if region is not None else 503
    return {"active": region, "epoch": witness.record.epoch if region is not None else None}


@router.get("/active/{region}")
def is_active(witness: WitnessOf, region: str, response: Response) -> dict[str, Any]:
    """200 if `region` is the active one, 503 if not. Needs no token."""
    _check_region(witness, region)
    is_it = witness.active() == region
    response.status_code = 200 if is_it else 503
    return {"region": region, "active": is_it}


@router.get("/standby")
def standby(
    witness: WitnessOf, response: Response, lag: Annotated[str | None, Query()] = None
) -> dict[str, Any]:
    """200 and the standbys that answer and are not further behind than `lag`; 503 if there is no such one."""
    regions = [name for name in witness.settings.regions if _is_standby(witness, name, lag)]
    response.status_code = 200 if regions else 503
    return {"standbys": regions}


@router.get("/standby/{region}")
def is_standby(
    witness: WitnessOf, region: str, response: Response, lag: Annotated[str | None, Query()] = None
) -> dict[str, Any]:
    """200 if `region` is a standby that answers and is not further behind than `lag`; else 503."""
    _check_region(witness, region)
    is_it = _is_standby(witness, region, lag)
    response.status_code = 200 if is_it else 503
    return {"region": region, "standby": is_it, "lag_s": witness.standby_lag(region)}


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """Counters in Prometheus' text format."""
    return Response(request.app.state.metrics.exposition(), media_type="text/plain; version=0.0.4")


# -- shared with the page -----------------------------------------------------------------------------


def change_request(witness: Witness, verb: Operation, body: Wanted) -> ChangeRequest:
    """What is asked for. Raises InvalidParameterError when no region is named and none can be meant."""
    try:
        target = body.to or _meant_region(witness, verb)
        witness.settings.region(target)
        bound = None if body.max_loss in (None, "") else duration_setting(body.max_loss, "max_loss")
        wait = duration_setting(body.wait, "wait")
    except UserError as error:
        raise InvalidParameterError(str(error)) from error
    return ChangeRequest(verb, target, body.reason, bound, body.force, wait)


def _meant_region(witness: Witness, verb: Operation) -> str:
    """The region that can only be meant. Raises UserError when there are several."""
    if verb is Operation.FAILBACK:
        return witness.former()
    others = [name for name in witness.settings.regions if name != witness.record.active]
    if len(others) != 1:
        raise UserError(f"name the region with `to`: {', '.join(others)}")
    return others[0]


def check_confirmation(witness: Witness, request: ChangeRequest, confirm: str) -> None:
    """Raises ApiError when a change was not explained, or something has happened since."""
    if not confirm:
        raise ApiError(
            f"a {request.operation} is asked for and not confirmed: ask for its explanation first, and"
            " send the `confirm` that it gives out",
            condition="NOT_CONFIRMED",
        )
    if confirm != witness.confirmation(request):
        raise ApiError(
            "what was confirmed is not what is asked for, or something has happened since; ask for the"
            " explanation again",
            condition="NOT_CONFIRMED",
            status=409,
        )


def list_reports(witness: Witness) -> list[dict[str, Any]]:
    """The filed reports without their tables, oldest first."""
    return [
        {key: value for key, value in json.loads(data).items() if key != "tables"} | {"name": name}
        for name, data in witness.store.reports().items()
    ]


def read_report(witness: Witness, name: str) -> dict[str, Any]:
    """One report. Raises MissingError when there is no such report."""
    data = witness.store.reports().get(name)
    if data is None:
        raise MissingError(f"there is no report {name[:40]!r}")
    facts: dict[str, Any] = json.loads(data)
    return facts


def as_api_error(error: ProaError) -> ApiError:
    """An error of a change as the API tells it: with its sentence, which is for operators."""
    if isinstance(error, ApiError):
        return error
    status = 400 if isinstance(error, UserError) else 409
    if isinstance(error, UnavailableError):
        status = 500
    elif isinstance(error, ConflictError):
        status = 409
    return ApiError(str(error), condition=error.condition, status=status)


def _begin(response: Response, begin: Any) -> dict[str, Any]:
    try:
        change: RoleChange = begin()
    except ProaError as error:
        raise as_api_error(error) from error
    response.status_code = 200 if change.done.is_set() else 202
    return change.facts()


def _check_region(witness: Witness, region: str) -> None:
    if region not in witness.settings.regions:
        raise MissingError(f"there is no region {region[:80]!r}")


def _is_standby(witness: Witness, region: str, lag: str | None) -> bool:
    waiting = witness.standby_lag(region)
    if waiting is None:
        return False
    try:
        return lag is None or waiting <= duration_setting(lag, "lag")
    except UserError as error:
        raise InvalidParameterError(str(error)) from error
