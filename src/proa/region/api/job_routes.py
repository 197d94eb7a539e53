"""The jobs API, versions 2.0, 2.1 and 2.2 from one handler."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field

from proa.region.api.route_parts import (
    Body,
    Empty,
    Int64,
    PageSize,
    PageToken,
    RegionOf,
    UserOf,
    every_version,
    without_none,
)
from proa.region.jobs.jobs import DEFAULT_PAGE, Job

router = APIRouter(tags=["jobs"])

_SUMMARY = (
    "name",
    "schedule",
    "continuous",
    "trigger",
    "format",
    "max_concurrent_runs",
    "tags",
    "timeout_seconds",
)


class Schedule(Body):
    """When a job runs by itself."""

    quartz_cron_expression: str
    timezone_id: str
    pause_status: str | None = None


class JobSettings(Body):
    """What a job is to be. Other fields are kept and echoed."""

    name: str | None = None
    tasks: list[dict[str, Any]] | None = None
    schedule: Schedule | None = None
    continuous: dict[str, Any] | None = None
    trigger: dict[str, Any] | None = None
    max_concurrent_runs: Annotated[int, Query(ge=0, le=1000)] | None = None
    timeout_seconds: Annotated[int, Query(ge=0, lt=2**31)] | None = None
    queue: dict[str, Any] | None = None
    parameters: list[dict[str, Any]] | None = None


class JobId(Body):
    """A job."""

    job_id: Int64


class JobReset(JobId):
    """A job's new settings, whole."""

    new_settings: JobSettings


class JobChange(JobId):
    """Some of a job's settings."""

    new_settings: JobSettings | None = None
    fields_to_remove: list[str] = Field(default_factory=list)


@every_version(router.post, "/jobs/create")
def create_job(body: JobSettings, region: RegionOf, user: UserOf) -> dict[str, Any]:
    """Make a job."""
    made = region.jobs.create(body.sent_fields(), user)
    region.wake()
    return {"job_id": made}


@every_version(router.get, "/jobs/get")
def get_job(job_id: Annotated[Int64, Query()], region: RegionOf) -> dict[str, Any]:
    """One job: its settings as they were sent."""
    return job_object(region.jobs.get(job_id))


@every_version(router.get, "/jobs/list")
def list_jobs(  # noqa: PLR0913, PLR0917 - the API's own parameters
    request: Request,
    region: RegionOf,
    name: str | None = None,
    limit: PageSize = DEFAULT_PAGE,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    page_token: PageToken = None,
    *,
    expand_tasks: bool = False,
) -> dict[str, Any]:
    """The jobs, newest first, one page."""
    found, following = region.jobs.list(
        name=name, size=limit or DEFAULT_PAGE, page_token=page_token, offset=offset
    )
    whole = expand_tasks or request.url.path.startswith("/api/2.0/")
    return without_none(
        jobs=[job_object(job) if whole else _summary(job) for job in found] or None,
        has_more=following is not None,
        next_page_token=following,
    )


@every_version(router.post, "/jobs/reset")
def reset_job(body: JobReset, region: RegionOf) -> Empty:
    """Replace a job's settings."""
    region.jobs.reset(body.job_id, body.new_settings.sent_fields())
    region.wake()
    return Empty()


@every_version(router.post, "/jobs/update")
def update_job(body: JobChange, region: RegionOf) -> Empty:
    """JobChange some of a job's settings."""
    changes = body.new_settings.sent_fields() if body.new_settings else {}
    region.jobs.update(body.job_id, changes, body.fields_to_remove)
    region.wake()
    return Empty()


@every_version(router.post, "/jobs/delete")
def delete_job(body: JobId, region: RegionOf) -> Empty:
    """Remove a job; its active runs are cancelled."""
    region.jobs.delete(body.job_id)
    region.wake()
    return Empty()


def job_object(job: Job) -> dict[str, Any]:
    """The API's object for `job`."""
    return {
        "job_id": job.job_id,
        "creator_user_name": job.creator,
        "run_as_user_name": job.creator,
        "created_time": job.created_at,
        "settings": dict(job.settings),
    }


def _summary(job: Job) -> dict[str, Any]:
    whole = job_object(job)
    whole["settings"] = {key: job.settings[key] for key in _SUMMARY if key in job.settings}
    return whole
