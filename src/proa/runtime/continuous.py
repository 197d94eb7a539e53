"""A continuous update: every flow follows its sources until somebody says stop.

It begins with one pass in the order of a triggered update, so what was there is in all tables as
soon as they can be computed. Then a flow looks for something new once per trigger interval, and at
once when a table that it reads got new rows; a view only when its last rows are an interval old.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from proa.backoff import Retries
from proa.errors import UnavailableError
from proa.runtime.context import Context
from proa.runtime.flow import FlowRunner
from proa.runtime.flow_scheduler import FlowResult, FlowScheduler, report, run_flow
from proa.runtime.retry import worth_another_try
from proa.states import FlowStatus
from proa.times import duration_setting

INTERVAL = "pipelines.trigger.interval"
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
        with ThreadPoolExecutor(len(self._runners) + 1, thread_name_prefix="proa-flow") as pool:
            try:
                passed = threading.Event()
                futures = [pool.submit(self._pass, passed)]
                self._flush_until(passed)
                futures += [pool.submit(self._follow, runner) for runner in self._runners]
                self._flush_until(self._stop)
            finally:
                self._stop.set()
                for wake in self._wakes.values():
                    wake.set()
            for future in futures:
                future.result()

    def _pass(self, passed: threading.Event) -> None:
        """Run every flow once, in order."""
        try:
            self._flows.run()
        finally:
            passed.set()

    def _flush_until(self, over: threading.Event) -> None:
        """Write the event log now and then; what cannot be written now goes with the next."""
        while not self._context.clock.wait(FLUSH_SECONDS, over):
            with suppress(UnavailableError):
                self._context.events.flush()

    def _follow(self, runner: FlowRunner) -> None:
        result = self._flows.results[id(runner)]
        wake = self._wakes[id(runner)]
        interval = interval_of(runner, self._configuration)
        pauses = self._retries.pauses(self._context.ids)
        has_new_rows = result.progress.batches > 0
        going = self._await_predecessors(runner, interval)
        while going and not self._stop.is_set():
            pause = interval
            if result.status in {FlowStatus.FAILED, FlowStatus.SKIPPED}:
                again = self._pause_after(result, next(pauses, None))
                if again is None:
                    break
                pause = again
            else:
                pauses = self._retries.pauses(self._context.ids)
                result.status = FlowStatus.IDLE
            rests = has_new_rows and runner.kind.rests
            self._context.clock.wait(pause, self._stop if rests else wake)
            if self._stop.is_set():
                break
            wake.clear()
            batches = result.progress.batches
            run_flow(runner, result, self._context, self._flows.retrier)
            has_new_rows = result.progress.batches > batches
            if has_new_rows and result.status is not FlowStatus.FAILED:
                report(self._context, result, "has new rows")
            if has_new_rows:
                self._wake_readers(runner.node.target)
        if result.status not in {FlowStatus.FAILED, FlowStatus.STOPPED}:
            result.status = FlowStatus.STOPPED
            report(self._context, result, "is stopped")
        with self._lock:
            self._running -= 1
            if not self._running:
                self._stop.set()

    def _await_predecessors(self, runner: FlowRunner, pause: float) -> bool:
        """Wait until all that a flow depends on is completed; False when that will never be."""
        while not self._stop.is_set():
            before = self._flows.unmet(runner)
            if before is None:
                return True
            if before.error is not None and not worth_another_try(before.error):
                return False
            self._context.clock.wait(pause, self._stop)
        return False

    def _pause_after(self, result: FlowResult, pause: float | None) -> float | None:
        """Seconds until a failed flow is started again, None for never; one that was skipped is."""
        error = result.error
        if error is None:
            return 0.0
        if pause is None or not worth_another_try(error):
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
    return runner.kind.interval
