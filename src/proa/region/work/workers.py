"""What the region asks of its workers, and what they report. `pool` has the real ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True)
class Work:
    """One thing to do in a process of its own. Plain data: it travels as JSON."""

    work_id: str
    kind: str
    """`update`, `notebook` or `warehouse`."""
    payload: Mapping[str, Any]


@dataclass(frozen=True)
class Report:
    """What a worker says while it works.

    Kinds: `state` {state}; `event` {event}; `output` {text}; `answer` {id, ...};
    `ask` {path}, of a notebook that needs a source; `value` {key, value}, for later tasks; and exactly one
    `end` {outcome, error, retryable, ...}, the last. Outcomes: COMPLETED, FAILED, CANCELED,
    CRASHED.
    """

    work_id: str
    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)


class Handle(Protocol):
    """Work that was begun."""

    def stop(self) -> None:
        """Ask it to stop when it next can."""

    def kill(self) -> None:
        """End it now."""

    def send(self, **message: Any) -> None:
        """Tell it something; for work that takes messages."""


class Workers(Protocol):
    """Where work is done."""

    def open(self) -> None:
        """Get ready for work."""

    def free(self) -> int:
        """How much more work can begin now."""

    def start(self, work: Work, report: Callable[[Report], None]) -> Handle:
        """Begin. `report` is called from other threads, and must be quick."""

    def close(self) -> None:
        """End all processes."""
