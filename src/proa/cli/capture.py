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
from proa.extras import needs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from proa.capture import Capture, CaptureReport, CaptureStatus
    from proa.settings import CaptureSettings, ProjectSettings


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
    metrics_port: Annotated[
        int | None,
        typer.Option(
            "--metrics-port", metavar="PORT", help="Answer Prometheus on this port of 127.0.0.1."
        ),
    ] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read a PostgreSQL database's tables and their changes into a source that `proa ship` ships.

    The publication and the replication slot are made where they are missing. The slot moves only
    after the files are in the source, so nothing is lost or repeated whenever it is stopped.

    With --metrics-port it tells proa_capture_last_look_timestamp_seconds, ..._slot_lag_bytes,
    ..._slot_kept_bytes, ..._files_total and ..._changes_total.

    Exit codes: 0 done; 1 with --status: changes are or may soon be missing; 2 the database is not
    prepared or the slot lost changes, the message says what to do; 3 it did not answer, run it again.

    Example: proa capture --once
    """
    from proa.capture import Capture
    from proa.clock import SystemClock
    from proa.landing import open_source

    settings = load_regions(project)
    name, chosen = _choose_source(settings, source)
    if metrics_port is not None and (once or only_status):
        raise SettingsError("--metrics-port is for a capture that goes on; leave it out here")
    task = Capture(open_source(name, settings.sources[name]).store, chosen, SystemClock())
    if only_status:
        _print_status(name, task.status(), as_json=as_json)
    elif once:
        _print(name, task.run(reload=reload), as_json=as_json)
    else:
        metrics = _Metrics(name, metrics_port) if metrics_port is not None else None
        for report in _reports(task, interval, reload=reload):
            if metrics is not None:
                metrics.tell(report, SystemClock().now())
            if report.files:
                _print(name, report, as_json=as_json)


def _choose_source(settings: ProjectSettings, source: str | None) -> tuple[str, CaptureSettings]:
    """The source to capture: the one that was named, or the only one."""
    captured = {name: s.capture for name, s in settings.sources.items() if s.capture is not None}
    name = source or (next(iter(captured)) if len(captured) == 1 else "")
    chosen = captured.get(name)
    if chosen is None:
        known = ", ".join(captured) or "no source with 'capture'"
        raise SettingsError(f"name the source to capture; proa.yml has {known}")
    return name, chosen


def _reports(task: Capture, interval: float, *, reload: bool) -> Iterator[CaptureReport]:
    """Capture until a signal stops it; what each look has found."""
    from proa.clock import SystemClock

    stop = threading.Event()
    with stop_on_signals(stop):
        while not stop.is_set():
            try:
                report = task.run(reload=reload)
            except UnavailableError as error:
                report_error(error)
            else:
                reload = False
                yield report
            SystemClock().wait(interval, stop)


class _Metrics:
    """A capture's numbers, as Prometheus reads them from a port of this machine."""

    def __init__(self, source: str, port: int) -> None:
        with needs("server"):
            from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

        registry = CollectorRegistry()
        gauges = {
            "last_look_timestamp_seconds": "When everything was captured that had happened",
            "slot_lag_bytes": "Log behind the slot's position, not captured",
            "slot_kept_bytes": "Log that the database keeps for the slot",
        }
        counters = {"files": "Files made", "changes": "Changes captured"}
        self._gauges = {
            key: Gauge(f"proa_capture_{key}", what, ("source",), registry=registry).labels(source)
            for key, what in gauges.items()
        }
        self._counters = {
            key: Counter(f"proa_capture_{key}", what, ("source",), registry=registry).labels(source)
            for key, what in counters.items()
        }
        try:
            start_http_server(port, "127.0.0.1", registry)
        except OSError as error:
            raise SettingsError(
                f"port {port} cannot be used for metrics: {error.strerror}; choose another one with"
                " --metrics-port"
            ) from error

    def tell(self, report: CaptureReport, at: datetime) -> None:
        """Count what one look has captured, and keep how far it came."""
        self._gauges["last_look_timestamp_seconds"].set(at.timestamp())
        self._gauges["slot_lag_bytes"].set(report.lag_bytes)
        self._gauges["slot_kept_bytes"].set(report.kept_bytes)
        self._counters["files"].inc(report.files)
        self._counters["changes"].inc(report.changes)


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
