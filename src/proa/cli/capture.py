"""`proa capture`: a database's changes as files of a source."""

from __future__ import annotations

import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from proa.cli.exit_codes import ANSWER_IS_NO
from proa.cli.output import console, print_json, report_error, stderr
from proa.cli.project import JsonOption, ProjectOption, load_regions
from proa.cli.signals import stop_on_signals
from proa.errors import SettingsError, UnavailableError

if TYPE_CHECKING:
    from proa.capture import CaptureReport, CaptureStatus


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("capture")(capture)


def capture(
    source: Annotated[
        str | None,
        typer.Argument(metavar="[SOURCE]", help="The source; may be left out if one is captured."),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Capture what has happened, then stop. Default: go on.")
    ] = False,
    interval: Annotated[
        float, typer.Option("--interval", min=0.1, help="Seconds between two looks.")
    ] = 5.0,
    reload: Annotated[
        bool,
        typer.Option(
            "--reload",
            help="Load all tables again, each behind a row with Op = 'T'; needed when the slot lost"
            " changes.",
        ),
    ] = False,
    only_status: Annotated[
        bool,
        typer.Option(
            "--status", help="Capture nothing; say how far it is and what the slot keeps."
        ),
    ] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read a PostgreSQL database's tables and their changes into a source that `proa ship` ships.

    The publication and the replication slot are made where they are missing. The slot moves only
    after the files are in the source, so nothing is lost or repeated whenever it is stopped.

    Exit codes: 0 done; 1 with --status: changes are or may soon be missing; 2 the database is not
    prepared or the slot lost changes, the message says what to do; 3 it did not answer, run it again.

    Example: proa capture --once
    """
    from proa.capture import Capture
    from proa.clock import SystemClock
    from proa.landing import open_source

    settings = load_regions(project)
    captured = {name: s.capture for name, s in settings.sources.items() if s.capture is not None}
    name = source or (next(iter(captured)) if len(captured) == 1 else "")
    chosen = captured.get(name)
    if chosen is None:
        known = ", ".join(captured) or "no source with 'capture'"
        raise SettingsError(f"name the source to capture; proa.yml has {known}")
    clock, stop = SystemClock(), threading.Event()
    task = Capture(open_source(name, settings.sources[name]).store, chosen, clock)
    if only_status:
        _print_status(name, task.status(), as_json=as_json)
        return
    if once:
        _print(name, task.run(reload=reload), as_json=as_json)
        return
    with stop_on_signals(stop):
        while not stop.is_set():
            try:
                report = task.run(reload=reload)
            except UnavailableError as error:
                report_error(error)
            else:
                reload = False
                if report.files:
                    _print(name, report, as_json=as_json)
            clock.wait(interval, stop)


def _print_status(name: str, status: CaptureStatus, *, as_json: bool) -> None:
    if as_json:
        last = None if status.last_look is None else status.last_look.isoformat()
        print_json({"source": name, **asdict(status), "last_look": last})
    else:
        age = "not captured yet" if status.age_s is None else f"{status.age_s:.0f} s behind"
        to_load = f", to load: {', '.join(status.to_load)}" if status.to_load else ""
        console.print(f"{name}: {age}; {len(status.loaded)} tables loaded{to_load}", markup=False)
        if status.slot is not None:
            console.print(
                f"  the slot's log: {status.slot.lag_bytes:,} bytes not captured,"
                f" {status.slot.kept_bytes:,} bytes kept, {status.slot.wal_status}",
                markup=False,
            )
    if status.problem is not None:
        stderr.print(status.problem, markup=False)
        raise typer.Exit(ANSWER_IS_NO)


def _print(name: str, report: CaptureReport, *, as_json: bool) -> None:
    if as_json:
        print_json({"source": name, **vars(report)})
        return
    loaded = f", {', '.join(report.loaded)} loaded" if report.loaded else ""
    console.print(
        f"{name}: {report.changes} changes in {report.files} files{loaded};"
        f" the slot keeps {report.lag_bytes} bytes"
    )
