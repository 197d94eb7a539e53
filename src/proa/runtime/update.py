"""An update: one run of a pipeline over a selection of its tables, until there is nothing new."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from proa.errors import ConflictError, ProaError
from proa.graph import Graph, Selection
from proa.lake.table import GENERATION
from proa.runtime.context import Context
from proa.runtime.flow import FlowProgress, FlowRunner
from proa.runtime.retry import Patience, worth_another_try
from proa.storage import NotFoundError
from proa.times import utc_text


class State(StrEnum):
    """Where an update is."""

    INITIALIZING = "INITIALIZING"
    RESETTING = "RESETTING"
    SETTING_UP_TABLES = "SETTING_UP_TABLES"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"


class FlowStatus(StrEnum):
    """Where a flow is within an update."""

    QUEUED = "QUEUED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    STOPPED = "STOPPED"
    IDLE = "IDLE"
    EXCLUDED = "EXCLUDED"


@dataclass(frozen=True)
class UpdateRequest:
    """What an update is to do."""

    update_id: str | None = None
    """Given by who asked; None makes one up. Asking again with one id resets nothing twice."""
    continuous: bool = False
    """Go on until `stop` is set."""
    refresh: Sequence[str] = ()
    full_refresh: Sequence[str] = ()
    full_refresh_all: bool = False
    validate_only: bool = False
    cause: str = "API_CALL"
    """USER_ACTION is not retried as a whole: somebody is there to see what went wrong."""
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass
class FlowResult:
    """What one flow did in an update."""

    flow: str
    dataset: str
    status: FlowStatus = FlowStatus.QUEUED
    progress: FlowProgress = field(default_factory=FlowProgress)
    error: Exception | None = None


@dataclass(frozen=True)
class UpdateResult:
    """How an update ended."""

    update_id: str
    state: State
    flows: tuple[FlowResult, ...]
    started: datetime
    ended: datetime
    seconds: float
    error: Exception | None = None
    """The first flow's error, or what kept the update from beginning."""

    @property
    def rows(self) -> int:
        return sum(flow.progress.rows for flow in self.flows)


class Flows:
    """The flows of an update, run in the order that their reads demand and otherwise at once."""

    def __init__(
        self,
        graph: Graph,
        runners: Mapping[str, Sequence[FlowRunner]],
        selection: Selection,
        context: Context,
        patience: Patience,
    ) -> None:
        self.results = {
            id(runner): FlowResult(runner.name, name)
            for name in graph.tables
            if name in selection.tables
            for runner in runners[name]
        }
        self._runners = {name: runners[name] for name in graph.tables if name in selection.tables}
        self._context = context
        self.patience = patience

    def run(self) -> None:
        """Run every flow that is not completed; a flow's failure skips what reads its table."""
        for result in self.results.values():
            if result.status is not FlowStatus.COMPLETED:
                result.status, result.error = FlowStatus.QUEUED, None
        waiting = dict(self._runners)
        open_: dict[Future[None], str] = {}
        left = {name: len(runners) for name, runners in self._runners.items()}
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="proa-flow") as pool:
            while waiting or open_:
                for name in [n for n, rs in waiting.items() if self._ready(rs, left)]:
                    for runner in waiting.pop(name):
                        open_[pool.submit(self._one, runner)] = name
                done, _ = wait(open_, return_when=FIRST_COMPLETED)
                for future in done:
                    left[open_.pop(future)] -= 1
                    future.result()

    @property
    def runners(self) -> list[FlowRunner]:
        """All flows' runners, upstream ones first."""
        return [runner for runners in self._runners.values() for runner in runners]

    @property
    def failed(self) -> list[FlowResult]:
        """Flows that failed, upstream ones first."""
        return [r for r in self.results.values() if r.status is FlowStatus.FAILED]

    def _ready(self, runners: Sequence[FlowRunner], left: Mapping[str, int]) -> bool:
        return all(not left.get(up, 0) for runner in runners for up in runner.node.upstream)

    def _one(self, runner: FlowRunner) -> None:
        result = self.results[id(runner)]
        if result.status is FlowStatus.COMPLETED:
            return
        if self.patience.stop.is_set():
            result.status = FlowStatus.STOPPED
            report(self._context, result, "is stopped")
            return
        broken = self._broken_upstream(runner)
        if broken is not None:
            result.status = FlowStatus.SKIPPED
            report(self._context, result, f"is skipped: {broken!r}, which it reads, failed", "WARN")
            return
        run_flow(runner, result, self._context, self.patience)

    def _broken_upstream(self, runner: FlowRunner) -> str | None:
        bad = {FlowStatus.FAILED, FlowStatus.SKIPPED}
        for result in self.results.values():
            if result.dataset in runner.node.upstream and result.status in bad:
                return result.dataset
        return None


def run_flow(
    runner: FlowRunner,
    result: FlowResult,
    context: Context,
    patience: Patience,
    *,
    quiet: bool = False,
) -> None:
    """Run a flow until nothing is new, trying again where that may help; tells the event log.

    `quiet` tells it of failures only.
    """

    def failed(error: Exception, tries: int, pause: float) -> None:
        report(
            context,
            result,
            f"failed {tries} time{'s' * (tries != 1)} and is tried again in {pause:.0f} s: {error}",
            "WARN",
            error,
        )

    result.status, result.error = FlowStatus.RUNNING, None
    if not quiet:
        report(context, result, "is running")
    try:
        patience.call(lambda: runner.run(result.progress, patience.stop), failed)
    except Exception as error:  # noqa: BLE001 - whatever a flow dies of, the others go on
        result.status, result.error = FlowStatus.FAILED, error
        report(context, result, f"failed: {error}", "ERROR", error)
        return
    if quiet:
        return
    if patience.stop.is_set():
        result.status = FlowStatus.STOPPED
        report(context, result, "is stopped")
        return
    result.status = FlowStatus.COMPLETED
    what = "is completed"
    if result.progress.waiting_for is not None:
        what = f"has nothing to do yet: {result.progress.waiting_for} is not there"
    report(context, result, what)


def report(
    context: Context,
    result: FlowResult,
    what: str,
    level: str = "INFO",
    error: Exception | None = None,
) -> None:
    """Tell the event log how a flow is."""
    context.events.add(
        "flow_progress",
        f"Flow {result.flow!r} {what}.".replace("..", "."),
        level=level,
        details=details(result),
        error=error,
        origin=context.events.origin_of(result.flow, result.dataset),
    )


def details(result: FlowResult) -> dict[str, Any]:
    """What `flow_progress` says of a flow, under Databricks' names."""
    progress = result.progress
    found: dict[str, Any] = {
        "status": result.status,
        "metrics": {
            "num_output_rows": progress.rows,
            "num_output_bytes": progress.bytes,
            "backlog_bytes": progress.backlog.bytes,
            "backlog_files": progress.backlog.files,
        },
    }
    if progress.event_time is not None:
        low, high = (utc_text(moment, "milliseconds") for moment in progress.event_time)
        found["streaming_metrics"] = {"event_time": {"min": low, "max": high}}
    if progress.outcomes:
        found["data_quality"] = {
            "dropped_records": progress.dropped,
            "expectations": [
                {
                    "name": outcome.expectation,
                    "dataset": result.dataset,
                    "passed_records": outcome.passed,
                    "failed_records": outcome.failed,
                }
                for outcome in progress.outcomes.values()
            ],
        }
    return found


def reset(context: Context, dataset: str, update_id: str) -> bool:
    """Empty a table for a full refresh, once per update; False when there is no table yet."""
    table = context.table(dataset)
    for _ in range(_TRIES):
        if table.refresh() is None:
            return False
        if _reset_by(context, dataset) == update_id:
            return True
        try:
            table.reset({"update": update_id})
        except ConflictError:
            continue
        return True
    raise ConflictError(f"the table {table.url!r} is changed by others all the time; stop them")


def _reset_by(context: Context, dataset: str) -> str | None:
    """The update that last emptied the table."""
    table = context.table(dataset)
    if not table.generation:
        return None
    for version in range(table.version, -1, -1):
        try:
            commit = table.commit_info(version)
        except NotFoundError:
            return None
        if GENERATION in commit.transactions:
            found: str | None = commit.proa.get("update")
            return found
    return None


def retryable(failed: Sequence[FlowResult]) -> bool:
    """Whether running the failed flows again may help any of them."""
    return any(r.error is not None and worth_another_try(r.error) for r in failed)


def first_error(failed: Sequence[FlowResult]) -> Exception | None:
    """What an update is said to have failed of."""
    found = [r.error for r in failed if r.error is not None]
    return next((e for e in found if isinstance(e, ProaError)), found[0] if found else None)


_TRIES = 20
_AT_ONCE = 16
"""Flows that run side by side."""
