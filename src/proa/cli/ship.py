"""`proa ship`: new source files into every landing zone."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from proa.cli.exit_codes import ANSWER_IS_NO, UNAVAILABLE
from proa.cli.output import console, print_json, report_error, stderr
from proa.cli.project import JsonOption, ProjectOption, load_regions
from proa.cli.signals import stop_on_signals
from proa.errors import SettingsError, UnavailableError

if TYPE_CHECKING:
    from proa.landing import Shipment, Shipper, ShipReport, ShipSource
    from proa.settings import ProjectSettings


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("ship")(ship)


def ship(
    once: Annotated[
        bool, typer.Option("--once", help="Ship what is there, then stop. Default: keep watching.")
    ] = False,
    interval: Annotated[
        float, typer.Option("--interval", min=0.1, help="Seconds between two looks when watching.")
    ] = 5.0,
    source: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="NAME", help="Only this source; may be repeated."),
    ] = None,
    left_out: Annotated[
        bool,
        typer.Option(
            "--left-out", help="List the files whose names keep them from being shipped, and stop."
        ),
    ] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy new source files to every landing zone, each with its place in the manifest.

    A zone that is down delays nobody and receives later, in order, what it missed.

    Exit codes: 0 every zone has everything; 1 a file was refused, or a zone holds other bytes;
    3 a zone or the source did not answer, run it again.

    Example: proa ship --once
    """
    from proa.clock import SystemClock
    from proa.landing import Shipper, open_source, open_zones

    settings = load_regions(project)
    wanted = _wanted_sources(source, settings)
    if left_out:
        _print_left_out(
            {name: open_source(name, settings.sources[name]) for name in wanted}, as_json
        )
        return
    stop, clock, code = threading.Event(), SystemClock(), 0
    reports: list[ShipReport] = []
    with ExitStack() as stack:
        show = stack.enter_context(_progress(quiet=as_json or not once))
        shippers = [
            Shipper(
                open_source(name, settings.sources[name]),
                open_zones(settings),
                clock,
                delivered=show(name),
                stop=stop,
            )
            for name in wanted
        ]
        for shipper in shippers:
            stack.callback(shipper.close)
        stack.callback(stop.set)
        if once:
            reports += [shipper.ship() for shipper in shippers]
        else:
            stack.enter_context(stop_on_signals(stop))
            _watch(shippers, interval, stop, as_json=as_json)
    if once:
        _print(reports, as_json=as_json)
        code = max(_exit_code(report) for report in reports)
    if code:
        raise typer.Exit(code)


def _wanted_sources(given: list[str] | None, settings: ProjectSettings) -> list[str]:
    """The names of the sources to ship; SettingsError for one that proa.yml lacks."""
    wanted = given or list(settings.sources)
    for name in wanted:
        if name not in settings.sources:
            raise SettingsError(
                f"there is no source {name!r} in proa.yml; it names {', '.join(settings.sources)}"
            )
    if not wanted:
        raise SettingsError("proa.yml names no sources; add one under 'sources'")
    return wanted


def _watch(
    shippers: list[Shipper], interval: float, stop: threading.Event, *, as_json: bool
) -> None:
    """Ship until `stop` is set; one line for every change."""
    from proa.clock import SystemClock

    clock = SystemClock()
    last: dict[str, tuple[Any, ...]] = {}
    while not stop.is_set():
        for shipper in shippers:
            try:
                report = shipper.ship(patience=min(interval, 1.0))
            except UnavailableError as error:
                # The source is away for now; the next look will find what it missed.
                report_error(error)
                continue
            state = _state(report)
            if (
                report.files
                or any(zone.files or zone.restored for zone in report.zones)
                or state != last.get(shipper.source.name)
            ):
                _print([report], as_json=as_json, lines=True)
            last[shipper.source.name] = state
        clock.wait(interval, stop)


def _state(report: ShipReport) -> tuple[Any, ...]:
    """What is worth a line when it changes."""
    errors = tuple((zone.zone, str(zone.error)) for zone in report.zones if zone.error)
    return errors, report.refused, tuple(report.left_out.items())


def _exit_code(report: ShipReport) -> int:
    errors = [zone.error for zone in report.zones if zone.error]
    if report.refused or any(not isinstance(error, UnavailableError) for error in errors):
        return ANSWER_IS_NO
    return UNAVAILABLE if errors else 0


def _facts(report: ShipReport) -> dict[str, Any]:
    return {
        "source": report.source,
        "shipped_through": report.head,
        "files": report.files,
        "bytes": report.bytes,
        "zones": [
            {
                "zone": zone.zone,
                "landed_through": zone.through,
                "files": zone.files,
                "bytes": zone.bytes,
                "restored": list(zone.restored),
                "error": str(zone.error) if zone.error else None,
            }
            for zone in report.zones
        ],
        "catching_up": list(report.busy),
        "refused": [{"path": one.path, "reason": one.reason} for one in report.refused],
        "waiting": list(report.waiting),
        "left_out": {str(reason): count for reason, count in report.left_out.items() if count},
    }


def _print_left_out(sources: dict[str, ShipSource], as_json: bool) -> None:
    """Print each file that is left out because of its name, and why."""
    from proa.storage.visible import is_own, left_out

    facts = [
        {"source": name, "path": info.path, "reason": str(reason)}
        for name, source in sources.items()
        for info in sorted(source.store.walk(), key=lambda info: info.path)
        if (reason := left_out(info.path)) is not None and not is_own(info.path)
    ]
    if as_json:
        print_json({"left_out": facts})
        return
    for fact in facts:
        console.print(f"{fact['source']}: {fact['reason']}: {fact['path']}", markup=False)


def _print(reports: list[ShipReport], *, as_json: bool, lines: bool = False) -> None:
    if as_json:
        facts = [_facts(report) for report in reports]
        if lines:
            import json

            for fact in facts:
                sys.stdout.write(json.dumps(fact) + "\n")
            sys.stdout.flush()
        else:
            print_json({"sources": facts})
        return
    for report in reports:
        _print_report(report)


def _print_report(report: ShipReport) -> None:
    console.print(
        f"{report.source}: {report.files} new files ({report.bytes:,} bytes),"
        f" shipped through {report.head}",
        markup=False,
    )
    for zone in report.zones:
        for path in zone.restored:
            console.print(f"  {zone.zone}: was lost, sent again: {path}", markup=False)
        if zone.error is None:
            console.print(
                f"  {zone.zone}: {zone.files} files delivered, landed through {zone.through}",
                markup=False,
            )
        else:
            stderr.print(f"  {zone.zone}: {zone.error}", markup=False)
    for name in report.busy:
        console.print(f"  {name}: catching up", markup=False)
    for path in report.waiting:
        console.print(f"  waits, still being written: {path}", markup=False)
    counts = [f"{count} {reason}" for reason, count in report.left_out.items() if count]
    if counts:
        console.print(
            f"  left out because of their names: {', '.join(counts)}"
            " (proa ship --left-out lists them)",
            markup=False,
        )
    for refusal in report.refused:
        stderr.print(f"  refused {refusal.path}: {refusal.reason}", markup=False)


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Any]:
    """A line for each source and zone on a terminal; nothing elsewhere."""
    if quiet or not stderr.is_terminal:
        yield lambda _source: lambda _zone, _shipment: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TextColumn("{task.fields[files]} files, {task.fields[size]:,} bytes"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=stderr, transient=True) as progress:
        tasks: dict[tuple[str, str], Any] = {}
        sums: dict[tuple[str, str], list[int]] = {}

        def show(source: str) -> Any:
            def on_delivery(zone: str, shipment: Shipment) -> None:
                key = (source, zone)
                if key not in tasks:
                    tasks[key] = progress.add_task(
                        f"{source} to {zone}", total=None, files=0, size=0
                    )
                    sums[key] = [0, 0]
                sums[key][0] += len(shipment.files)
                sums[key][1] += shipment.size
                progress.update(tasks[key], files=sums[key][0], size=sums[key][1])

            return on_delivery

        yield show
