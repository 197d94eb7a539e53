"""An update as it goes: a table of flows on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from proa.cli.output import new_table, stderr

if TYPE_CHECKING:
    from proa.runtime import Event

COLOURS = {
    "COMPLETED": "green",
    "FAILED": "red",
    "SKIPPED": "yellow",
    "RUNNING": "cyan",
    "IDLE": "cyan",
}
_PRINTED = frozenset({"flow_progress", "update_progress", "planning_information"})


@contextmanager
def update_listener(*, quiet: bool) -> Iterator[Callable[[Event], None] | None]:
    """Show an update while it runs: yields what its events are to be told, None if `quiet`.

    On a terminal the table stays when the update has ended: it is the summary.
    """
    if quiet:
        yield None
    elif not sys.stderr.isatty():
        yield print_event
    else:
        view = LiveView()
        with Live(view, console=stderr, refresh_per_second=8):
            try:
                yield view.hear
            finally:
                view.end()


def print_event(event: Event) -> None:
    """Print an event that people want to see as one line; measurements are not."""
    if event.event_type in _PRINTED and event.level != "METRICS":
        stderr.print(f"{event.timestamp:%H:%M:%S} {event.level:<5} {event.message}", markup=False)


_ROW_METRICS = ("num_output_rows", "num_upserted_rows", "num_deleted_rows")
"""Metrics of a flow that count rows; it has the first, or the others."""


class LiveView:
    """The flows of an update, as they stand: rows and files as they come."""

    def __init__(self) -> None:
        self._flows: dict[str, dict[str, Any]] = {}
        self._state = "starting"
        self._spinner: Spinner | None = Spinner("dots")
        self._lock = threading.Lock()

    def hear(self, event: Event) -> None:
        """Take an event of the update; any thread may call this."""
        if event.event_type == "planning_information" and event.level != "INFO":
            print_event(event)
        details = dict(event.details.get(event.event_type, {}))
        with self._lock:
            if event.event_type == "update_progress":
                self._state = str(details.get("state", self._state))
            elif event.event_type == "flow_progress" and "metrics" in details:
                self._flows[event.origin.flow_name or ""] = details

    def end(self) -> None:
        """Show no movement any more."""
        with self._lock:
            self._spinner = None

    def __rich_console__(self, _console: Console, _options: ConsoleOptions) -> RenderResult:
        with self._lock:
            if self._spinner is not None:
                self._spinner.update(text=self._state)
                yield self._spinner
            if not self._flows:
                return
            table = new_table("flow", "status", "rows", "files", right=("rows", "files"))
            for flow, details in self._flows.items():
                status = str(details["status"])
                table.add_row(
                    Text(flow),
                    Text(status, style=COLOURS.get(status, "")),
                    f"{sum(details['metrics'].get(name, 0) for name in _ROW_METRICS):,}",
                    _files(details["metrics"]),
                )
            yield table


def _files(metrics: dict[str, Any]) -> str:
    """Say how many raw files were read, and of how many if some are left."""
    read = metrics.get("num_input_files", 0)
    left = metrics["backlog_files"]
    return f"{read:,} of {read + left:,}" if left else f"{read:,}" if read else ""
