"""A continuous update: every flow follows its sources until somebody says stop.

A flow looks for something new once per trigger interval, and at once when a table that it reads
got new rows. Between looks it sleeps.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from proa.backoff import Retries
from proa.runtime.context import Context
from proa.runtime.flow import FlowRunner
from proa.runtime.flow_scheduler import FlowResult, FlowScheduler, report, run_flow
from proa.runtime.retry import worth_another_try
from proa.states import FlowStatus
from proa.times import duration_setting

INTERVAL = "pipelines.trigger.interval"
STREAM_SECONDS = 5.0
VIEW_SECONDS = 60.0
"""Materialized views are recomputed at most this often."""
FLUSH_SECONDS = 5.0


class Continuous:
    """Lets flows follow their sources, each in a thread of its own."""

    def __init__(
        self,
        flows: FlowScheduler,
        context: Context,
        retries: Retries,
        configuration: Mapping[str, str],
    ) -> None:
        """`retries` are of the whole update: when a flow has used up its own."""
        self._flows = flows
        self._context = context
        self._retries = retries
        self._configuration = configuration
        self._runners = runners = flows.runners
        self._stop = flows.retrier.stop
        self._wakes = {id(runner): threading.Event() for runner in runners}
        self._running = len(runners)
        self._lock = threading.Lock()

    def run(self) -> None:
        """Return when `stop` is set and all flows have ended, or when all flows have failed."""
        with ThreadPoolExecutor(len(self._runners), thread_name_prefix="proa-flow") as pool:
            futures = [pool.submit(self._follow, runner) for runner in self._runners]
            try:
                while not self._context.clock.wait(FLUSH_SECONDS, self._stop):
                    self._context.events.flush()
            finally:
                self._stop.set()
                for wake in self._wakes.values():
                    wake.set()
            for future in futures:
                future.result()

    def _follow(self, runner: FlowRunner) -> None:
        result = self._flows.results[id(runner)]
        wake = self._wakes[id(runner)]
        interval = interval_of(runner, self._configuration)
        pauses = self._retries.pauses(self._context.ids)
        report(self._context, result, "follows its sources")
        while not self._stop.is_set():
            wake.clear()
            before = result.progress.batches
            run_flow(runner, result, self._context, self._flows.retrier, quiet=True)
            pause = interval
            if result.status is FlowStatus.FAILED:
                again = self._pause_after(result, next(pauses, None))
                if again is None:
                    break
                pause = again
            else:
                pauses = self._retries.pauses(self._context.ids)
                if result.progress.batches > before:
                    report(self._context, result, "has new rows")
                    self._wake_readers(runner.node.target)
                result.status = FlowStatus.IDLE
            waits_long = runner.is_view and result.progress.waiting_for is None
            self._context.clock.wait(pause, self._stop if waits_long else wake)
        if result.status is not FlowStatus.FAILED:
            result.status = FlowStatus.STOPPED
            report(self._context, result, "is stopped")
        with self._lock:
            self._running -= 1
            if not self._running:
                self._stop.set()

    def _pause_after(self, result: FlowResult, pause: float | None) -> float | None:
        error = result.error
        if error is None or pause is None or not worth_another_try(error):
            return None
        report(self._context, result, f"failed and is started again in {pause:.0f} s", "WARN")
        return pause

    def _wake_readers(self, dataset: str) -> None:
        for runner in self._runners:
            if dataset in runner.node.upstream:
                self._wakes[id(runner)].set()


def interval_of(runner: FlowRunner, configuration: Mapping[str, str]) -> float:
    """Seconds between two looks of a flow: its own setting, its table's, the pipeline's."""
    for settings in (
        runner.node.flow.spark_conf,
        runner.dataset.spark_conf,
        runner.dataset.properties,
        configuration,
    ):
        if INTERVAL in settings:
            return duration_setting(settings[INTERVAL], INTERVAL)
    return VIEW_SECONDS if runner.is_view else STREAM_SECONDS
