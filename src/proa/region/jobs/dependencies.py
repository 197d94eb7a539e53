"""Whether a task's turn has come: one table over what became of the tasks before it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from proa.region.jobs.runs import Result, Run


class Next(StrEnum):
    """What to do with a task that waits."""

    WAIT = "WAIT"
    RUN = "RUN"
    EXCLUDED = "EXCLUDED"
    UPSTREAM_FAILED = "UPSTREAM_FAILED"
    UPSTREAM_CANCELED = "UPSTREAM_CANCELED"


_FAILED = {Result.FAILED, Result.TIMEDOUT, Result.UPSTREAM_FAILED}
_CANCELLED = {Result.CANCELED, Result.UPSTREAM_CANCELED}


def next_step(attempt: Run, latest: Mapping[str, Run]) -> Next:
    """What to do with `attempt`, given the last attempt at each task."""
    before = [
        (latest[item["task_key"]], item.get("outcome"))
        for item in attempt.settings.get("depends_on") or ()
        if item["task_key"] in latest
    ]
    if any(not run.life_cycle.over for run, _ in before):
        return Next.WAIT
    if any(outcome is not None and not _went(run, str(outcome)) for run, outcome in before):
        return Next.EXCLUDED
    results = [run.result for run, _ in before]
    succeeded = any(result is Result.SUCCESS for result in results)
    failed = any(result in _FAILED for result in results)
    cancelled = any(result in _CANCELLED for result in results)
    excluded = any(result is Result.EXCLUDED for result in results)
    stop = (
        Next.UPSTREAM_FAILED if failed else Next.UPSTREAM_CANCELED if cancelled else Next.EXCLUDED
    )
    rule = str(attempt.settings.get("run_if") or "ALL_SUCCESS")
    run = {
        "ALL_SUCCESS": not (failed or cancelled or excluded),
        "ALL_DONE": True,
        "NONE_FAILED": not (failed or cancelled) and (succeeded or not results),
        "AT_LEAST_ONE_SUCCESS": succeeded,
        "ALL_FAILED": bool(results) and all(result in _FAILED for result in results),
        "AT_LEAST_ONE_FAILED": failed,
    }[rule]
    if run:
        return Next.RUN
    return Next.EXCLUDED if rule in {"ALL_FAILED", "AT_LEAST_ONE_FAILED"} else stop


def _went(run: Run, outcome: str) -> bool:
    """Whether a condition was decided this way; what was never decided went no way."""
    return run.output is not None and run.output.get("outcome") == outcome.lower()
