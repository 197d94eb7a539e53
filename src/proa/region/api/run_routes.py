"""The runs part of the jobs API, versions 2.0, 2.1 and 2.2 from one handler."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
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
    every_version,
    without_none,
)
from proa.region.jobs.job_tasks import TASK_TYPES
from proa.region.jobs.parameters import of_run
from proa.region.jobs.runs import DEFAULT_PAGE, Life, Result, Run
from proa.region.region import RegionServices

router = APIRouter(tags=["runs"])

_GIVEN = (
    "job_parameters",
    "notebook_params",
    "python_params",
    "python_named_params",
    "pipeline_params",
    "only",
)
_STATES = {Life.SKIPPED: "TERMINATED", Life.INTERNAL_ERROR: "TERMINATED"}


class RunNow(Body):
    """Which job to run, and with what."""

    job_id: Int64
    idempotency_token: str | None = None
    job_parameters: dict[str, Any] | None = None
    notebook_params: dict[str, str] | None = None
    python_params: list[str] | None = None
    python_named_params: dict[str, str] | None = None
    pipeline_params: dict[str, Any] | None = None
    only: list[str] | None = None


class Submit(Body):
    """Tasks to run once."""

    run_name: str | None = None
    tasks: list[dict[str, Any]] | None = None
    timeout_seconds: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    idempotency_token: str | None = None


class RunId(Body):
    """A run."""

    run_id: Int64


class CancelAll(Body):
    """Whose runs to cancel."""

    job_id: Int64 | None = None
    all_queued_runs: bool = False


class Repair(RunId):
    """Which tasks to run again."""

    rerun_tasks: list[str] = Field(default_factory=list)
    rerun_all_failed_tasks: bool = False
    rerun_dependent_tasks: bool = False
    latest_repair_id: Int64 | None = None
    job_parameters: dict[str, Any] | None = None
    notebook_params: dict[str, str] | None = None
    python_params: list[str] | None = None
    python_named_params: dict[str, str] | None = None
    pipeline_params: dict[str, Any] | None = None


@every_version(router.post, "/jobs/run-now")
def run_now(body: RunNow, region: RegionOf, user: UserOf) -> dict[str, Any]:
    """Start a run of a job."""
    sent = body.sent_fields()
    given = {key: sent[key] for key in _GIVEN if key in sent}
    run = region.runs.run_now(body.job_id, given, user, body.idempotency_token)
    region.wake()
    return {"run_id": run.run_id, "number_in_job": run.number_in_job}


@every_version(router.post, "/jobs/runs/submit")
def submit_run(body: Submit, region: RegionOf, user: UserOf) -> dict[str, Any]:
    """Start tasks that belong to no job."""
    run = region.runs.submit(body.sent_fields("idempotency_token"), user, body.idempotency_token)
    region.wake()
    return {"run_id": run.run_id}


@every_version(router.get, "/jobs/runs/get")
def get_run(
    run_id: Annotated[Int64, Query()],
    region: RegionOf,
    request: Request,
    *,
    include_history: bool = False,
) -> dict[str, Any]:
    """A run with its tasks, or one attempt."""
    run = region.runs.get(run_id)
    found = run_object(run, request)
    if run.parent_id is not None and "for_each_task" in run.settings and run.child_id is not None:
        iterations = region.runs.attempts([run.child_id])[run.child_id]
        found |= shown_attempt(run, request)
        found["for_each_task"] = {**found["for_each_task"], "stats": _stats(iterations)}
        found["iterations"] = [shown_attempt(attempt, request) for attempt in iterations]
    if run.parent_id is None:
        attempts = region.runs.attempts([run_id])[run_id]
        found["tasks"] = [shown_attempt(attempt, request) for attempt in attempts]
        if include_history:
            found["repair_history"] = _history(run, attempts)
    return found


@every_version(router.get, "/jobs/runs/list")
def list_runs(  # noqa: PLR0913, PLR0917 - the API's own parameters
    region: RegionOf,
    request: Request,
    job_id: Annotated[Int64 | None, Query()] = None,
    limit: PageSize = DEFAULT_PAGE,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    start_time_from: Annotated[Int64 | None, Query()] = None,
    start_time_to: Annotated[Int64 | None, Query()] = None,
    page_token: PageToken = None,
    *,
    active_only: bool = False,
    completed_only: bool = False,
    expand_tasks: bool = False,
) -> dict[str, Any]:
    """The runs, newest first, one page."""
    found, following = region.runs.list(
        job_id=job_id,
        active=active_only,
        completed=completed_only,
        since=start_time_from,
        until=start_time_to,
        size=limit or DEFAULT_PAGE,
        offset=offset,
        page_token=page_token,
    )
    runs = [run_object(run, request) for run in found]
    if expand_tasks:
        attempts = region.runs.attempts([run.run_id for run in found])
        for run in runs:
            run["tasks"] = [shown_attempt(item, request) for item in attempts[run["run_id"]]]
    return without_none(
        runs=runs or None, has_more=following is not None, next_page_token=following
    )


@every_version(router.post, "/jobs/runs/cancel")
def cancel_run(body: RunId, region: RegionOf) -> Empty:
    """Stop a run."""
    region.runs.cancel(body.run_id)
    region.wake()
    return Empty()


@every_version(router.post, "/jobs/runs/cancel-all")
def cancel_all_runs(body: CancelAll, region: RegionOf) -> Empty:
    """Stop all runs of a job."""
    if body.job_id is None and not body.all_queued_runs:
        raise InvalidParameterError("name the job in job_id, or set all_queued_runs")
    if body.job_id is not None:
        region.jobs.get(body.job_id)
    region.runs.cancel_all(body.job_id)
    region.wake()
    return Empty()


@every_version(router.post, "/jobs/runs/delete")
def delete_run(body: RunId, region: RegionOf) -> Empty:
    """Forget a run that has ended."""
    region.runs.delete(body.run_id)
    return Empty()


@every_version(router.post, "/jobs/runs/repair")
def repair_run(body: Repair, region: RegionOf) -> dict[str, Any]:
    """Run some tasks of an ended run again."""
    sent = body.sent_fields()
    repair_id = region.runs.repair(
        body.run_id,
        tasks=body.rerun_tasks,
        failed=body.rerun_all_failed_tasks,
        dependent=body.rerun_dependent_tasks,
        parameters={key: sent[key] for key in _GIVEN if key in sent},
    )
    region.wake()
    return {"repair_id": repair_id}


@every_version(router.get, "/jobs/runs/get-output")
def get_run_output(
    run_id: Annotated[Int64, Query()], region: RegionOf, request: Request
) -> dict[str, Any]:
    """What a task's attempt, or the only task of a run, answered."""
    run = _only_attempt(region, region.runs.get(run_id))
    output = dict(run.output or {})
    failed = run.result not in {None, Result.SUCCESS}
    return without_none(
        metadata=shown_attempt(run, request) if run.parent_id else run_object(run, request),
        notebook_output=(
            {"result": output["result"], "truncated": output["truncated"]}
            if "result" in output
            else None
        ),
        error=run.message if failed else None,
        error_trace=output.get("error_trace"),
    )


def run_object(run: Run, request: Request) -> dict[str, Any]:
    """The API's object for a run."""
    ended = run.ended_at or 0
    started = run.started_at or run.created_at
    return without_none(
        run_id=run.run_id,
        job_id=run.job_id or None,
        number_in_job=run.number_in_job,
        original_attempt_run_id=run.run_id,
        run_name=run.name,
        run_type=run.run_type,
        trigger=run.trigger,
        creator_user_name=run.creator,
        start_time=run.created_at,
        end_time=ended,
        run_duration=max(0, ended - run.created_at) if ended else 0,
        execution_duration=max(0, ended - started) if ended else 0,
        setup_duration=0,
        cleanup_duration=0,
        queue_duration=started - run.created_at if run.started_at else None,
        run_page_url=f"{request.url.scheme}://{request.url.netloc}/#job/{run.job_id}/run/{run.run_id}",
        format="MULTI_TASK" if "tasks" in run.settings else "SINGLE_TASK",
        schedule=run.settings.get("schedule"),
        job_parameters=[{"name": name, "value": value} for name, value in of_run(run).items()]
        or None,
        **_state(run),
    )


def shown_attempt(attempt: Run, request: Request) -> dict[str, Any]:
    """The API's object for an attempt at a task."""
    task = attempt.settings
    ended = attempt.ended_at or 0
    return without_none(
        run_id=attempt.run_id,
        task_key=attempt.task_key,
        attempt_number=attempt.attempt,
        depends_on=task.get("depends_on"),
        run_if=task.get("run_if", "ALL_SUCCESS"),
        **{kind: task[kind] for kind in TASK_TYPES if kind in task and kind != "run_job_task"},
        run_job_task=(
            without_none(**task["run_job_task"], run_id=attempt.child_id)
            if "run_job_task" in task
            else None
        ),
        start_time=attempt.started_at or 0,
        end_time=ended,
        execution_duration=max(0, ended - (attempt.started_at or ended)),
        setup_duration=0,
        cleanup_duration=0,
        run_page_url=(
            f"{request.url.scheme}://{request.url.netloc}"
            f"/#job/{attempt.job_id}/run/{attempt.parent_id}/task/{attempt.run_id}"
        ),
        **_state(attempt),
    )


def _state(run: Run) -> dict[str, Any]:
    details = None
    if run.life_cycle.over:
        kind = "SUCCESS" if run.code in {"SUCCESS", "SUCCESS_WITH_FAILURES"} else "CLIENT_ERROR"
        details = {"code": run.code, "type": kind, "message": run.message}
    return {
        "state": without_none(
            life_cycle_state=run.life_cycle,
            result_state=run.result,
            state_message=run.message,
            user_cancelled_or_timedout=run.result in {Result.CANCELED, Result.TIMEDOUT},
        ),
        "status": without_none(
            state=_STATES.get(run.life_cycle, run.life_cycle), termination_details=details
        ),
    }


def _history(run: Run, attempts: list[Run]) -> list[dict[str, Any]]:
    first = without_none(
        type="ORIGINAL",
        start_time=run.created_at,
        end_time=run.ended_at,
        task_run_ids=[item.run_id for item in attempts if item.repair_id is None],
        state=_state(run)["state"] if not run.repairs else None,
    )
    return [first] + [
        without_none(
            id=entry["id"],
            type="REPAIR",
            start_time=entry["start_time"],
            task_run_ids=[item.run_id for item in attempts if item.repair_id == entry["id"]],
        )
        for entry in run.repairs
    ]


def _stats(iterations: list[Run]) -> dict[str, Any]:
    over = [item for item in iterations if item.life_cycle.over]
    succeeded = sum(item.result is Result.SUCCESS for item in over)
    active = sum(item.life_cycle in {Life.RUNNING, Life.TERMINATING} for item in iterations)
    return {
        "task_run_stats": {
            "total_iterations": len(iterations),
            "scheduled_iterations": len(over) + active,
            "active_iterations": active,
            "completed_iterations": len(over),
            "succeeded_iterations": succeeded,
            "failed_iterations": len(over) - succeeded,
        }
    }


def _only_attempt(region: RegionServices, run: Run) -> Run:
    if run.parent_id is not None:
        return run
    attempts = region.runs.attempts([run.run_id])[run.run_id]
    if len({attempt.task_key for attempt in attempts}) > 1:
        raise InvalidParameterError(
            f"run {run.run_id} has several tasks; ask for the output of one by its own run id"
        )
    return attempts[-1] if attempts else run
