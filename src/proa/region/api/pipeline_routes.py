"""The pipelines API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from proa.http.api_errors import InvalidParameterError
from proa.region.api.route_parts import (
    Body,
    Empty,
    Int64,
    PageSize,
    PageToken,
    RegionOf,
    UserOf,
    without_none,
)
from proa.region.pipelines import pipelines as domain
from proa.region.pipelines.updates import Update, UpdateCause
from proa.region.region import RegionServices
from proa.settings import THROUGH, file_numbers
from proa.times import rfc3339

router = APIRouter(prefix="/api/2.0/pipelines", tags=["pipelines"])

_LATEST = 5


class Spec(Body):
    """What a pipeline is to be. Other fields are kept and echoed."""

    name: str | None = None
    storage: str | None = None
    catalog: str | None = None
    target: str | None = None
    schema_: str | None = Field(default=None, alias="schema")
    continuous: bool | None = None
    development: bool | None = None
    channel: str | None = None
    edition: str | None = None
    configuration: dict[str, str] | None = None
    libraries: list[dict[str, Any]] | None = None


class PipelineCreate(Spec):
    """A pipeline to make."""

    allow_duplicate_names: bool = False
    dry_run: bool = False


class PipelineEdit(Spec):
    """A pipeline's new spec, whole."""

    pipeline_id: str | None = None
    allow_duplicate_names: bool = False
    expected_last_modified: Int64 | None = None


class StartUpdate(Body):
    """How to update."""

    full_refresh: bool = False
    full_refresh_selection: list[str] = Field(default_factory=list)
    refresh_selection: list[str] = Field(default_factory=list)
    reset_checkpoint_selection: list[str] = Field(default_factory=list)
    validate_only: bool = False
    cause: UpdateCause = UpdateCause.API_CALL
    parameters: dict[str, str] = Field(default_factory=dict)
    """Configuration for this update alone. `proa.through`, as `orders=120`, names the last file of a source
    that the update reads."""


@router.post("")
def create_pipeline(body: PipelineCreate, region: RegionOf, user: UserOf) -> dict[str, Any]:
    """Make a pipeline; a continuous one starts at once."""
    spec = body.sent_fields("allow_duplicate_names", "dry_run")
    if body.dry_run:
        domain.check_spec(spec)
        return {"effective_settings": spec}
    made = region.pipelines.create(spec, user, duplicates=body.allow_duplicate_names)
    region.wake()
    return {"pipeline_id": made}


@router.get("")
def list_pipelines(
    region: RegionOf,
    filter: str | None = None,  # noqa: A002 - the API's own word
    max_results: PageSize = domain.DEFAULT_PAGE,
    order_by: Annotated[list[str] | None, Query()] = None,
    page_token: PageToken = None,
) -> dict[str, Any]:
    """The pipelines, one page."""
    found, following = region.pipelines.list(
        text=filter,
        order=order_by or (),
        size=max_results or domain.DEFAULT_PAGE,
        page_token=page_token,
    )
    latest = region.updates.latest([pipeline.pipeline_id for pipeline in found], _LATEST)
    statuses = [_status(region, pipeline, latest[pipeline.pipeline_id]) for pipeline in found]
    return without_none(statuses=statuses or None, next_page_token=following)


@router.get("/{pipeline_id}")
def get_pipeline(pipeline_id: str, region: RegionOf) -> dict[str, Any]:
    """One pipeline: its spec as it was sent, and its state."""
    pipeline = region.pipelines.get(pipeline_id)
    latest = region.updates.latest([pipeline_id], _LATEST)[pipeline_id]
    return {
        **_status(region, pipeline, latest),
        "spec": domain.shown_spec(pipeline),
        "last_modified": pipeline.modified_at,
        "effective_budget_policy_id": "",
    }


@router.put("/{pipeline_id}")
def edit_pipeline(pipeline_id: str, body: PipelineEdit, region: RegionOf, user: UserOf) -> Empty:
    """Replace a pipeline's spec; a continuous one is running after this, another is not."""
    if body.pipeline_id not in (None, "", pipeline_id):
        raise InvalidParameterError(
            f"the body speaks of pipeline {body.pipeline_id!r}, the address of {pipeline_id!r}"
        )
    region.pipelines.change(
        pipeline_id,
        body.sent_fields("allow_duplicate_names", "expected_last_modified", "pipeline_id", "id"),
        user,
        expected=body.expected_last_modified,
        duplicates=body.allow_duplicate_names,
    )
    region.wake()
    return Empty()


@router.delete("/{pipeline_id}")
def delete_pipeline(pipeline_id: str, region: RegionOf) -> Empty:
    """Remove a pipeline at once; its worker is stopped, its tables stay in their storage.

    `cascade` and `force` are taken and change nothing.
    """
    region.pipelines.delete(pipeline_id)
    region.wake()
    return Empty()


@router.post("/{pipeline_id}/updates")
def start_update(pipeline_id: str, body: StartUpdate, region: RegionOf) -> dict[str, Any]:
    """Start an update; 409 while one is active."""
    pipeline = region.pipelines.get(pipeline_id)
    if (through := body.parameters.get(THROUGH)) is not None:
        file_numbers(through, THROUGH)
        if pipeline.continuous:
            raise InvalidParameterError(
                f"{THROUGH} is for updates that end, and the pipeline is continuous; leave it out"
            )
    started = region.updates.start(pipeline, body.sent_fields("cause"), body.cause)
    region.wake()
    return {"update_id": started}


@router.get("/{pipeline_id}/updates")
def list_updates(
    pipeline_id: str,
    region: RegionOf,
    max_results: PageSize = 25,
    page_token: PageToken = None,
    until_update_id: str | None = None,
) -> dict[str, Any]:
    """The updates, newest first, one page."""
    region.pipelines.get(pipeline_id)
    found, following = region.updates.list(
        pipeline_id, size=max_results or 25, page_token=page_token, until=until_update_id
    )
    return without_none(
        updates=[_update(update) for update in found] or None, next_page_token=following
    )


@router.get("/{pipeline_id}/updates/{update_id}")
def get_update(pipeline_id: str, update_id: str, region: RegionOf) -> dict[str, Any]:
    """One update."""
    found = region.updates.get(update_id, pipeline_id)
    return {"update": {**_update(found), "config": dict(found.spec)}}


@router.post("/{pipeline_id}/stop")
def stop_pipeline(pipeline_id: str, region: RegionOf) -> Empty:
    """Stop what the pipeline is doing; a continuous one stays stopped until it is started."""
    region.pipelines.get(pipeline_id)
    region.pipelines.want(pipeline_id, running=False)
    region.updates.request_stop(pipeline_id)
    region.wake()
    return Empty()


@router.post("/{pipeline_id}/reset")
def reset_pipeline(pipeline_id: str, region: RegionOf) -> Empty:
    """Start a full refresh of everything."""
    region.updates.start(
        region.pipelines.get(pipeline_id), {"full_refresh": True}, UpdateCause.USER_ACTION
    )
    region.wake()
    return Empty()


@router.get("/{pipeline_id}/events")
def list_events(  # noqa: PLR0913, PLR0917 - the API's own parameters
    pipeline_id: str,
    region: RegionOf,
    filter: str | None = None,  # noqa: A002 - the API's own word
    max_results: PageSize = 25,
    order_by: Annotated[list[str] | None, Query()] = None,
    page_token: PageToken = None,
) -> dict[str, Any]:
    """What happened, newest first, one page."""
    region.pipelines.get(pipeline_id)
    orders = {"timestamp asc": True, "timestamp desc": False, "timestamp": True}
    order = " ".join((order_by or ["timestamp desc"])[0].lower().split())
    if order not in orders:
        raise InvalidParameterError(
            f"events cannot be ordered by {order!r}; use 'timestamp asc' or 'timestamp desc'"
        )
    found, following = region.events.list(
        pipeline_id,
        text=filter,
        ascending=orders[order],
        size=max_results or 25,
        page_token=page_token,
    )
    return without_none(events=found, next_page_token=following)


def _status(
    region: RegionServices, pipeline: domain.StoredPipeline, latest: Sequence[Update]
) -> dict[str, Any]:
    """The API's summary of a pipeline; `latest` are its updates, newest first."""
    state = region.updates.state_of(pipeline, latest)
    return without_none(
        pipeline_id=pipeline.pipeline_id,
        name=pipeline.name,
        state=state,
        health="UNHEALTHY" if state in {"FAILED", "RECOVERING"} else "HEALTHY",
        cause=latest[0].error if state in {"FAILED", "RECOVERING"} and latest else None,
        creator_user_name=pipeline.creator,
        run_as_user_name=pipeline.creator,
        latest_updates=[
            {
                "update_id": update.update_id,
                "state": update.state,
                "creation_time": rfc3339(update.created_at),
            }
            for update in latest
        ]
        or None,
    )


def _update(update: Update) -> dict[str, Any]:
    return without_none(
        pipeline_id=update.pipeline_id,
        update_id=update.update_id,
        cause=update.cause,
        state=update.state,
        creation_time=update.created_at,
        full_refresh=bool(update.request.get("full_refresh")),
        full_refresh_selection=update.request.get("full_refresh_selection") or None,
        refresh_selection=update.request.get("refresh_selection") or None,
        validate_only=bool(update.request.get("validate_only")),
    )
