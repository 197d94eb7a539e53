"""`proa run`: one update of the pipeline, or a continuous one."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from proa.cli.exit_codes import ANSWER_IS_NO, MISUSED, UNAVAILABLE
from proa.cli.output import console, print_json, report_error, stderr
from proa.cli.project import JsonOption, ProjectOption, find_project
from proa.errors import ProaError, UnavailableError, UserError

if TYPE_CHECKING:
    from proa.runtime import Event, UpdateResult


RegionOption = Annotated[
    str | None,
    typer.Option("--region", metavar="R", help="A region of proa.yml.", show_default=False),
]

_COLOURS = {
    "COMPLETED": "green",
    "FAILED": "red",
    "SKIPPED": "yellow",
    "RUNNING": "cyan",
    "IDLE": "cyan",
}


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("run")(run)


def run(
    region: RegionOption = None,
    refresh: Annotated[
        str | None,
        typer.Option("--refresh", metavar="A,B", help="Bring only these tables up to date."),
    ] = None,
    full_refresh: Annotated[
        str | None,
        typer.Option("--full-refresh", metavar="A,B", help="Empty these and compute them anew."),
    ] = None,
    full_refresh_all: Annotated[
        bool, typer.Option("--full-refresh-all", help="Empty all tables and compute them anew.")
    ] = False,
    continuous: Annotated[
        bool, typer.Option("--continuous", help="Go on until interrupted.")
    ] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the pipeline's tables up to date.

    Reads everything that is new, each file exactly once, and stops; running it again is always
    safe. Without --region the project runs in the storage of spark-pipeline.yml.

    Exit codes: 0 all is up to date; 1 a flow failed; 2 the pipeline or a setting is wrong;
    3 a store or the engine did not answer, run it again.

    Example: proa run --region east
    """
    from proa.runtime import Runner, UpdateRequest

    stop = threading.Event()
    with (
        _progress(quiet=as_json) as listener,
        _stopping(stop),
        Runner.from_project(find_project(project), region, listener=listener) as runner,
    ):
        result = runner.update(
            UpdateRequest(
                continuous=continuous,
                refresh=_names(refresh),
                full_refresh=_names(full_refresh),
                full_refresh_all=full_refresh_all,
                cause="USER_ACTION",
                stop=stop,
            )
        )
    if as_json:
        print_json(as_object(result))
    else:
        _print(result)
    code = exit_code(result)
    if code:
        raise typer.Exit(code)


def as_object(result: UpdateResult) -> dict[str, Any]:
    """An update's result as one JSON object."""
    return {
        "update_id": result.update_id,
        "state": result.state,
        "seconds": round(result.seconds, 3),
        "rows": result.rows,
        "error": None if result.error is None else str(result.error),
        "flows": [
            {
                "flow": flow.flow,
                "dataset": flow.dataset,
                "status": flow.status,
                "batches": flow.progress.batches,
                "rows": flow.progress.rows,
                "files": flow.progress.files,
                "dropped": flow.progress.dropped,
                "expectations": [
                    {
                        "name": outcome.expectation,
                        "violation": outcome.violation,
                        "passed": outcome.passed,
                        "failed": outcome.failed,
                    }
                    for outcome in flow.progress.outcomes.values()
                ],
                "waiting_for": flow.progress.waiting_for,
                "error": None if flow.error is None else str(flow.error),
            }
            for flow in result.flows
        ],
    }


def exit_code(result: UpdateResult) -> int:
    """The command's exit code for an update's end."""
    if result.error is None:
        return 0
    if isinstance(result.error, UnavailableError):
        return UNAVAILABLE
    began = bool(result.flows)
    return MISUSED if isinstance(result.error, UserError) and not began else ANSWER_IS_NO


def _print(result: UpdateResult) -> None:
    for flow in result.flows:
        for outcome in flow.progress.outcomes.values():
            if outcome.failed:
                done = {"warn": "kept", "drop": "dropped"}.get(outcome.violation, "refused")
                console.print(
                    f"  {flow.dataset}: {outcome.failed} of {outcome.passed + outcome.failed} rows"
                    f" break {outcome.expectation!r} ({done})",
                    style="yellow",
                )
        if flow.error is not None:
            console.print(f"  {flow.flow}: {flow.error}", style="red", markup=False)
    if result.error is not None and not result.flows:
        error = result.error
        report_error(error if isinstance(error, ProaError) else ProaError(str(error)))
    files = sum(flow.progress.files for flow in result.flows)
    console.print(
        f"{result.state}: {result.rows} rows from {files} new files in {result.seconds:.1f} s",
        style="bold " + _COLOURS.get(result.state, "yellow"),
    )


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


@contextmanager
def _stopping(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask the update to stop after its batch; a second Ctrl-C interrupts."""

    def ask(number: int, _frame: object) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Any]:
    """What listens to the update's events: a live table, or plain lines without a terminal."""
    if quiet:
        yield None
    elif not sys.stderr.isatty():
        yield _say
    else:
        board = _Board()
        with Live(board, console=stderr, refresh_per_second=8, transient=True):
            yield board.hear


_SAID = frozenset({"flow_progress", "update_progress", "planning_information"})


def _say(event: Event) -> None:
    if event.event_type in _SAID:
        stderr.print(f"{event.timestamp:%H:%M:%S} {event.level:<5} {event.message}", markup=False)


class _Board:
    """The flows of an update, as they stand."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[str, dict[str, Any]]] = {}
        self._state = "starting"
        self._spinner = Spinner("dots")
        self._lock = threading.Lock()

    def hear(self, event: Event) -> None:
        details = dict(event.details.get(event.event_type, {}))
        if event.event_type == "planning_information":
            _say(event)
        with self._lock:
            if event.event_type == "update_progress":
                self._state = str(details.get("state", self._state))
            elif event.event_type == "flow_progress" and "metrics" in details:
                name = event.origin.flow_name or ""
                self._rows[name] = (event.origin.dataset_name or "", details)

    def __rich__(self) -> Group:
        table = Table(box=None, pad_edge=False)
        for title in ("flow", "status", "rows", "backlog"):
            table.add_column(title, justify="right" if title in {"rows", "backlog"} else "left")
        with self._lock:
            for flow, (_, details) in self._rows.items():
                status, metrics = str(details["status"]), details["metrics"]
                table.add_row(
                    flow,
                    Text(status, style=_COLOURS.get(status, "")),
                    f"{metrics['num_output_rows']:,}",
                    f"{metrics['backlog_files']:,} files",
                )
            self._spinner.update(text=self._state)
        return Group(self._spinner, table)
