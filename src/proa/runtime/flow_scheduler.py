"""The flows of an update: which may run now, how each is run, and what the event log is told."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from proa.graph import Graph, Selection
from proa.graph.findings import SEQUENCE_TIES, Finding
from proa.lake.commit import end_generation
from proa.runtime.context import Context
from proa.runtime.flow import FlowProgress, FlowRunner
from proa.runtime.plan_cuts import is_of_rows
from proa.runtime.retry import Retrier
from proa.states import FlowStatus
from proa.times import utc_text


@dataclass
class FlowResult:
    """What one flow did in an update."""

    flow: str
    dataset: str
    status: FlowStatus = FlowStatus.QUEUED
    progress: FlowProgress = field(default_factory=FlowProgress)
    error: Exception | None = None


class FlowScheduler:
    """The flows of an update, run in the order that their reads demand and otherwise at once."""

    def __init__(  # noqa: PLR0913 - what an update consists of
        self,
        graph: Graph,
        runners: Mapping[str, Sequence[FlowRunner]],
        selection: Selection,
        context: Context,
        retrier: Retrier,
        *,
        done: FlowStatus = FlowStatus.COMPLETED,
    ) -> None:
        """`done` is what a flow is once it has nothing more to do: COMPLETED, or IDLE for now."""
        self._done = done
        self._graph = graph
        targets = [name for name in graph.targets if name in selection.tables]
        self._runners = {name: runners[name] for name in targets}
        self.results = {
            id(runner): FlowResult(runner.name, name)
            for name in targets
            for runner in runners[name]
        }
        self._context = context
        self.retrier = retrier

    def run(self) -> None:
        """Run every flow that is not completed; a flow's failure skips what reads its table."""
        for result in self.results.values():
            if result.status is not self._done:
                result.status, result.error = FlowStatus.QUEUED, None
        waiting = self.runners
        open_: dict[Future[None], FlowRunner] = {}
        left = {name: len(runners) for name, runners in self._runners.items()}
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="proa-flow") as pool:
            while waiting or open_:
                unfinished = {_key(runner.name) for runner in (*waiting, *open_.values())}
                for runner in [r for r in waiting if _is_ready(r, left, unfinished)]:
                    waiting.remove(runner)
                    open_[pool.submit(self._one, runner)] = runner
                done, _ = wait(open_, return_when=FIRST_COMPLETED)
                for future in done:
                    name = open_.pop(future).node.target
                    future.result()
                    if left[name] == 1 and not self._graph.datasets[name].is_sink:
                        self._end_refresh(name)
                    left[name] -= 1

    @property
    def runners(self) -> list[FlowRunner]:
        """All flows' runners, upstream ones first."""
        return [runner for runners in self._runners.values() for runner in runners]

    @property
    def failed(self) -> list[FlowResult]:
        """Flows that failed, upstream ones first."""
        return [r for r in self.results.values() if r.status is FlowStatus.FAILED]

    def _one(self, runner: FlowRunner) -> None:
        result = self.results[id(runner)]
        if result.status is self._done:
            return
        if self.retrier.stop.is_set():
            result.status = FlowStatus.STOPPED
            report(self._context, result, "is stopped")
            return
        broken = self._broken_before(runner)
        if broken is not None:
            result.status = FlowStatus.SKIPPED
            report(self._context, result, f"is skipped: {broken} failed", "WARN")
            return
        result.status = FlowStatus.RUNNING
        report(self._context, result, "is running")
        if run_flow(runner, result, self._context, self.retrier):
            self._end(result)

    def _end(self, result: FlowResult) -> None:
        """Tell that a flow has nothing more to do, and what it did."""
        result.status = self._done
        if result.progress.held_back is not None:
            if self._done is not FlowStatus.IDLE:
                result.status = FlowStatus.EXCLUDED
            what = f"writes nothing to its sink: {result.progress.held_back}"
        elif self._done is FlowStatus.IDLE:
            what = "has new rows" if result.progress.batches else "follows its sources"
        elif result.progress.waiting_for is not None:
            what = f"has nothing to do yet: {result.progress.waiting_for} is not there"
        else:
            what = "is completed"
        report(self._context, result, what)

    def _end_refresh(self, name: str) -> None:
        """Take out what a full refresh is to replace, when none of the table's flows had new rows.

        Flows whose input is not there yet leave the rows where they are.
        """
        results = [self.results[id(runner)] for runner in self._runners[name]]
        done = all(r.status is self._done for r in results)
        if not done or any(r.progress.waiting_for is not None for r in results):
            return
        table = self._context.table(name)
        try:
            self.retrier.call(
                lambda: end_generation(table, {"update": self._context.update_id}),
                lambda *_: None,
            )
        except Exception as error:  # noqa: BLE001 - as when the flow itself had died of it
            for result in results:
                result.status, result.error = FlowStatus.FAILED, error
                report(self._context, result, f"failed: {error}", "ERROR", error)

    def unmet(self, runner: FlowRunner) -> FlowResult | None:
        """A flow that `runner` depends on and that is not completed; None when all are."""
        before = {_key(name) for name in runner.node.flow.depends_on}
        for result in self.results.values():
            if _key(result.flow) in before and result.status is not self._done:
                return result
        return None

    def _broken_before(self, runner: FlowRunner) -> str | None:
        """What failed of that which a flow reads or depends on."""
        bad = {FlowStatus.FAILED, FlowStatus.SKIPPED}
        before = {_key(name) for name in runner.node.flow.depends_on}
        for result in self.results.values():
            if result.status not in bad:
                continue
            if result.dataset in runner.node.upstream and not self._stands(result):
                return f"{result.dataset!r}, which it reads,"
            if _key(result.flow) in before:
                return f"{result.flow!r}, which it depends on,"
        return None

    def _stands(self, result: FlowResult) -> bool:
        """Whether a flow has stopped at wrong data, with all before them in its table.

        A region that ran more often has read what is in the table long ago.
        """
        if result.error is None or not is_of_rows(result.error):
            return False
        table = self._context.table(result.dataset)
        with table.lock:
            return table.exists and table.generation == table.wanted_generation


def _is_ready(runner: FlowRunner, left: Mapping[str, int], unfinished: Container[str]) -> bool:
    """Whether all that a flow reads and depends on has run. `left`: flows to run, by table."""
    node = runner.node
    return not any(left.get(upstream) for upstream in node.upstream) and not any(
        _key(name) in unfinished for name in node.flow.depends_on
    )


def _key(flow: str) -> str:
    return flow.casefold()


def run_flow(runner: FlowRunner, result: FlowResult, context: Context, retrier: Retrier) -> bool:
    """Run a flow until nothing is new, trying again where that may help.

    Tells the event log of failures and of a stop. True unless it failed or was stopped.
    """

    def on_failure(error: Exception, tries: int, pause: float) -> None:
        report(
            context,
            result,
            f"failed {tries} time{'s' * (tries != 1)} and is tried again in {pause:.0f} s: {error}",
            "WARN",
            error,
        )

    result.status, result.error = FlowStatus.RUNNING, None
    measured = context.clock.monotonic()

    def measure() -> None:
        nonlocal measured
        if context.clock.monotonic() - measured >= _MEASURED_EVERY_S:
            measured = context.clock.monotonic()
            report(context, result, "is running", "METRICS")

    try:
        retrier.call(lambda: runner.run(result.progress, retrier.stop, measure), on_failure)
    except Exception as error:  # noqa: BLE001 - whatever a flow dies of, the others go on
        result.status, result.error = FlowStatus.FAILED, error
        report(context, result, f"failed: {error}", "ERROR", error)
        return False
    _warn_of_ties(context, runner, result)
    if retrier.stop.is_set():
        result.status = FlowStatus.STOPPED
        report(context, result, "is stopped")
        return False
    return True


def _warn_of_ties(context: Context, runner: FlowRunner, result: FlowResult) -> None:
    """Tell the event log of changes whose order the source leaves open, unless that is accepted."""
    changes = result.progress.changes
    if changes is None or not changes.ties:
        return
    rule, at = SEQUENCE_TIES, runner.node.flow.location
    finding = Finding(
        rule.code,
        rule.severity,
        result.dataset,
        None,
        f"{changes.ties} key{'s' * (changes.ties != 1)}",
        at,
        rule.why,
        rule.remedy,
    )
    if context.accepts(finding):
        return
    context.events.add(
        "planning_information",
        f"{rule.code}: several different changes of one sequence for {finding.expression} of"
        f" {result.dataset!r}, and nothing says which came last; {rule.remedy} ({at}).",
        level="WARN",
        details={"finding": {**vars(finding), "location": str(at)}},
        origin=context.events.origin_of(result.flow, result.dataset),
    )


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
            **_row_metrics(progress),
            "num_output_bytes": progress.bytes,
            "num_input_files": progress.files,
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


def _row_metrics(progress: FlowProgress) -> dict[str, int]:
    """Rows written; rows upserted and deleted for a flow that applies changes."""
    changes = progress.changes
    if changes is None:
        return {"num_output_rows": progress.rows}
    return {"num_upserted_rows": changes.upserted, "num_deleted_rows": changes.deleted}


_MEASURED_EVERY_S = 1.0
"""Seconds between two measurements of a running flow in the event log, at least."""
_AT_ONCE = 16
"""Flows that run side by side."""
