"""What the region asks of its workers, and what they report. `pool` has the real ones."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

DEFAULT_SCHEMA = "default"
"""The schema of a table that names none."""


@dataclass(frozen=True)
class Work:
    """One thing to do in a process of its own. Plain data: it travels as JSON."""

    work_id: str
    kind: str
    """`update`, `notebook`, `script` or `warehouse`."""
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


class Shape(StrEnum):
    """What of a statement's result is the answer."""

    ROWS = "rows"
    SCHEMA = "schema"
    """The columns' names, types and comments: DESCRIBE TABLE."""
    COLUMNS = "columns"
    """The columns' names: SHOW COLUMNS."""


class WorkHandle(Protocol):
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

    def start(self, work: Work, report: Callable[[Report], None]) -> WorkHandle:
        """Begin. `report` is called from other threads, and must be quick."""

    def close(self) -> None:
        """End all processes."""


class Inbox:
    """What a worker hears from the server: whether to stop, and messages for work that takes some."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.messages: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        """None when the work is to stop."""

    def hear(self, message: Mapping[str, Any]) -> None:
        """Take one message of the server's."""
        if message["type"] == "stop":
            self.stop.set()
            self.messages.put(None)
        else:
            self.messages.put(message)
