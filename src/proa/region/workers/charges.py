"""The work that a part of the control loop has begun, and what it hears of it.

A report is gone only once it was dealt with: an end that is forgotten would leave its work "running"
for ever. Reports of one piece of work that wait together are dealt with together, so that what a
talkative worker says costs one transaction a turn.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import structlog

from proa.clock import Clock
from proa.errors import ConflictError
from proa.region.state import StateUnavailableError
from proa.region.workers.port import Report, Work, Workers, WorkHandle
from proa.steps import Step, step

_MOST_TOGETHER = 500

_log = structlog.get_logger("proa.region")

Hear = Callable[[str, Sequence[Report]], None]
"""(work id, its reports in order): writes what they say, in one transaction or several."""


class Charges:
    """Begins work, keeps its handles until it has ended, and passes on what it reports."""

    def __init__(self, workers: Workers, clock: Clock, wake: Callable[[], None]) -> None:
        """`wake` is called, from the workers' threads, whenever a report has come."""
        self._workers = workers
        self._clock = clock
        self._wake = wake
        self._handles: dict[str, WorkHandle] = {}
        self._waiting: deque[Report] = deque()
        self._came = threading.Event()

    def __contains__(self, work_id: str) -> bool:
        return work_id in self._handles

    def __iter__(self) -> Iterator[str]:
        """The ids of all work that has not ended."""
        return iter(list(self._handles))

    def free_places(self) -> int:
        """How much more work can begin now."""
        return self._workers.free()

    def start(self, work: Work) -> None:
        """Begin `work`. Raises OSError if no process can be started for it."""
        with step(Step.WORK_BEGIN):
            self._handles[work.work_id] = self._workers.start(work, self._put)

    def stop(self, work_id: str) -> None:
        """Ask the work to stop when it next can."""
        self._handles[work_id].stop()

    def kill(self, work_id: str) -> None:
        """End the work now; nothing happens if it has ended."""
        if work_id in self._handles:
            self._handles[work_id].kill()

    def send(self, work_id: str, **message: object) -> None:
        """Tell the work something; nothing happens if it has ended."""
        if work_id in self._handles:
            self._handles[work_id].send(**message)

    def drain(self, hear: Hear) -> None:
        """Pass every report that has come to `hear`, in order.

        Raises StateUnavailableError and ConflictError of `hear`: the reports wait for the next
        time. A report that makes no sense is logged and dropped.
        """
        self._came.clear()
        while self._waiting:
            together = self._next_together()
            work_id = together[0].work_id
            try:
                hear(work_id, together)
            except (StateUnavailableError, ConflictError):
                raise
            except Exception:  # noqa: BLE001 - one report must not keep back all others
                if len(together) > 1:
                    self._drain_singly(hear, together)
                    continue
                _log.exception("a worker's report was dropped", work=work_id)
            self._forget(together)

    def finish(self, seconds: float, hear: Hear) -> None:
        """Pass on reports until all work has ended, at most for `seconds`; then end what is left."""
        end = self._clock.monotonic() + seconds
        self.drain(hear)
        while self._handles and (left := end - self._clock.monotonic()) > 0:
            self._clock.wait(left, self._came)
            self.drain(hear)
        for handle in self._handles.values():
            handle.kill()
        self.drain(hear)
        self._handles.clear()

    def _put(self, report: Report) -> None:
        self._waiting.append(report)
        self._came.set()
        self._wake()

    def _next_together(self) -> list[Report]:
        """The first waiting report, and those right after it of the same work."""
        together = [self._waiting[0]]
        # By index: other threads add reports meanwhile.
        for index in range(1, min(len(self._waiting), _MOST_TOGETHER)):
            report = self._waiting[index]
            if report.work_id != together[0].work_id:
                break
            together.append(report)
        return together

    def _drain_singly(self, hear: Hear, reports: Sequence[Report]) -> None:
        """Find the report that makes no sense: each in a transaction of its own."""
        for report in reports:
            try:
                hear(report.work_id, [report])
            except (StateUnavailableError, ConflictError):
                raise
            except Exception:  # noqa: BLE001 - one report must not keep back all others
                _log.exception("a worker's report was dropped", work=report.work_id)
            self._forget([report])

    def _forget(self, reports: Sequence[Report]) -> None:
        for report in reports:
            self._waiting.popleft()
            if report.kind == "end":
                self._handles.pop(report.work_id, None)
