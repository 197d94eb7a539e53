"""`proa run`: one update of the pipeline, or a continuous one."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proa.cli.exit_codes import ANSWER_IS_NO, MISUSED, SIGNALLED, UNAVAILABLE
from proa.cli.live_view import COLOURS, update_listener
from proa.cli.output import console, print_json, report_error
from proa.cli.project import JsonOption, ProjectOption, RegionOption, chosen_region, find_project
from proa.cli.signals import stop_on_signals
from proa.errors import ProaError, SettingsError, UnavailableError, UserError

if TYPE_CHECKING:
    from pathlib import Path

    from proa.runtime import UpdateResult
    from proa.runtime.context import SinkGate


_ThroughOption = Annotated[
    str | None,
    typer.Option(
        "--through",
        metavar="SOURCE=N,...",
        envvar="PROA_THROUGH",
        help="Leave out files that were shipped after these numbers, as `proa status` shows them.",
    ),
]


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
        typer.Option("--full-refresh", metavar="A,B", help="Compute these anew, from all files."),
    ] = None,
    full_refresh_all: Annotated[
        bool, typer.Option("--full-refresh-all", help="Compute all tables anew.")
    ] = False,
    continuous: Annotated[
        bool, typer.Option("--continuous", help="Go on until interrupted.")
    ] = False,
    through: _ThroughOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the pipeline's tables up to date.

    Reads everything that is new, each file exactly once, and stops; running it again is always
    safe. A project without regions runs in the storage of spark-pipeline.yml. Ctrl-C stops after the
    batch that is being computed, a second one at once.

    Exit codes: 0 all is up to date; 1 a flow failed; 2 the pipeline or a setting is wrong;
    3 a store or the engine did not answer, run it again; 130 it was interrupted, 143 it was told to
    end.

    Example: proa run --region east
    """
    from proa.settings import file_numbers

    if continuous and through:
        raise SettingsError(
            "--continuous goes on and on, and --through ends; leave one of them out"
        )
    numbers = file_numbers(through, "--through") if through else {}
    folder = find_project(project)
    region_name = chosen_region(folder, region)
    from proa.runtime import Runner, UpdateRequest

    gate = None if region_name is None else _sink_gate(folder, region_name)
    stop = threading.Event()
    with (
        update_listener(quiet=as_json) as listener,
        stop_on_signals(stop) as signals,
        Runner.from_project(folder, region_name, listener=listener, gate=gate) as runner,
    ):
        result = runner.update(
            UpdateRequest(
                continuous=continuous,
                through=numbers,
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
    if not code and signals:
        code = SIGNALLED + signals[0]
    if code:
        raise typer.Exit(code)


def _sink_gate(folder: Path, region: str) -> SinkGate:
    """What tells, at each batch, whether the region is the one that writes to sinks."""
    from proa import settings
    from proa.recovery.control_record import ControlAddress
    from proa.recovery.sink_turns import SinkTurns

    return SinkTurns(region, ControlAddress.of(settings.load(folder / settings.FILE_NAME)))


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
                "held_back": flow.progress.held_back,
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
        if flow.progress.held_back is not None:
            console.print(f"  {flow.flow}: held back: {flow.progress.held_back}", markup=False)
        if flow.error is not None:
            console.print(f"  {flow.flow}: {flow.error}", style="red", markup=False)
    if result.error is not None and not result.flows:
        error = result.error
        report_error(error if isinstance(error, ProaError) else ProaError(str(error)))
    files = sum(flow.progress.files for flow in result.flows)
    console.print(
        f"{result.state}: {result.rows} rows from {files} new files in {result.seconds:.1f} s",
        style="bold " + COLOURS.get(result.state, "yellow"),
    )


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())
