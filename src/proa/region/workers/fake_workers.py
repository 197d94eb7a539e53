"""Workers that do what a test says, for tests of what a region does with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proa.region.workers.port import Report, Work


class FakeWork:
    """Work that was begun; the test decides how it goes on."""

    def __init__(self, work: Work, report: Callable[[Report], None]) -> None:
        self.work = work
        self.stopped = False
        self.killed = False
        self.over = False
        self.heard: list[dict[str, Any]] = []
        """The messages that it was sent."""
        self._report = report

    def stop(self) -> None:
        self.stopped = True

    def send(self, **message: Any) -> None:
        self.heard.append(message)

    def kill(self) -> None:
        if not self.over:
            self.killed = True
            self.end("CRASHED", error="killed")

    def say(self, kind: str, **data: Any) -> None:
        """Report something."""
        self._report(Report(self.work.work_id, kind, data))

    def state(self, state: str) -> None:
        """Report the update's state."""
        self.say("state", state=state)

    def end(self, outcome: str = "COMPLETED", **data: Any) -> None:
        """Report the end."""
        if not self.over:
            self.over = True
            self.say("end", outcome=outcome, **data)


class FakeWorkers:
    """Begins whatever it is given and waits for the test."""

    def __init__(self, limit: int = 100, *, obedient: bool = False) -> None:
        self.limit = limit
        self.begun: list[FakeWork] = []
        """All work, in the order in which it began."""
        self.obedient = obedient
        """Whether work reports RUNNING by itself and ends when it is asked to stop."""

    @property
    def running(self) -> list[FakeWork]:
        """The work that is not over."""
        return [work for work in self.begun if not work.over]

    def open(self) -> None:
        pass

    def free(self) -> int:
        return self.limit - len(self.running)

    def start(self, work: Work, report: Callable[[Report], None]) -> FakeWork:
        made = _Obedient(work, report) if self.obedient else FakeWork(work, report)
        self.begun.append(made)
        if self.obedient:
            made.state("RUNNING")
        return made

    def close(self) -> None:
        for work in self.running:
            work.kill()


class _Obedient(FakeWork):
    def stop(self) -> None:
        super().stop()
        self.end("CANCELED")
