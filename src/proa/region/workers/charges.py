"""What workers have said and nobody has dealt with yet."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import structlog

from proa.clock import Clock
from proa.errors import ConflictError
from proa.region.state import StateUnavailableError
from proa.region.workers.port import Report

_log = structlog.get_logger("proa.region")


class Reports:
    """Reports in the order in which they came. One is gone only once it was dealt with."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._waiting: deque[Report] = deque()
        self._came = threading.Event()
        self._wake = wake

    def put(self, report: Report) -> None:
        """Called from the workers' threads."""
        self._waiting.append(report)
        self._came.set()
        self._wake()

    def deal(self, with_one: Callable[[Report], None]) -> None:
        """Give every report that has come to `with_one`, in order.

        When the state cannot be written just now, what `with_one` raises of it is raised, and the
        report waits for the next time: an end that is forgotten would leave its work "running"
        for ever. A report that makes no sense is logged and dropped.
        """
        self._came.clear()
        while self._waiting:
            report = self._waiting[0]
            try:
                with_one(report)
            except (StateUnavailableError, ConflictError):
                raise
            except Exception:  # noqa: BLE001 - one report must not keep back all others
                _log.exception("a worker's report was dropped", work=report.work_id)
            self._waiting.popleft()

    def wait(self, clock: Clock, seconds: float) -> None:
        """Wait until a report comes, at most so long."""
        clock.wait(seconds, self._came)
