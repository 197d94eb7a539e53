"""`proa status` and `proa caught-up`: how far each region is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proa.cli.declared import declared_now
from proa.cli.exit_codes import ANSWER_IS_NO
from proa.cli.output import console, print_json, stderr
from proa.cli.project import JsonOption, ProjectOption, find_project, load_regions
from proa.errors import ProaError
from proa.times import moment_option

if TYPE_CHECKING:
    from proa.recovery import RegionStatus, SourceStatus
    from proa.settings import ProjectSettings


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("status")(status)
    app.command("caught-up")(caught_up)


def status(
    region: Annotated[
        list[str] | None, typer.Option("--region", metavar="R", help="Only this; may be repeated.")
    ] = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show how far each region is, source by source.

    Shipped, landed through and processed through are numbers in the order of shipments. Lag is the age
    of the newest shipment in the tables that consumers read; 0 when nothing is missing.

    Exit codes: 0 every region answered; 1 a region did not, or it is not known which one is active; a line
    says why.

    Example: proa status --json
    """
    from proa.clock import SystemClock
    from proa.recovery import read_status
    from proa.recovery.region_status import status_facts

    settings = load_regions(project)
    names = region or list(settings.regions)
    declared = {
        name: tables
        for name in names
        if (tables := declared_now(find_project(project), settings, name)) is not None
    }
    clock = SystemClock()
    found = read_status(settings, clock, names, declared)
    roles = _roles(settings)
    captures = _captures(settings, clock.now())
    if as_json:
        regions = [status_facts(one) for one in found]
        print_json({"regions": regions, "captures": captures, "control": roles})
    else:
        _print_status(found)
        _print_captures(captures)
        _print_roles(roles)
    if any(one.error for one in found) or (roles is not None and "error" in roles):
        raise typer.Exit(ANSWER_IS_NO)


def caught_up(
    region: Annotated[str, typer.Option("--region", metavar="R", help="The region to ask about.")],
    as_of: Annotated[
        str,
        typer.Option(
            "--as-of", metavar="TIME", help="ISO 8601, UTC unless it says otherwise; or now."
        ),
    ] = "now",
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Has a region processed every event from up to TIME?

    Judged by the manifest: every file that was shipped by then is in every table that the pipeline
    declares and that reads it, without gaps. A landing zone without a manifest is judged by file names and event time, and the answer says so.

    Exit codes: 0 yes; 1 no; 3 the region does not answer.

    Example: proa caught-up --region us-west --as-of 2023-02-28T13:00:00Z
    """
    from proa.clock import SystemClock
    from proa.recovery import read_caught_up

    clock = SystemClock()
    moment = clock.now() if as_of == "now" else moment_option(as_of, "--as-of")
    settings = load_regions(project)
    declared = declared_now(find_project(project), settings, region)
    answer = read_caught_up(settings, region, moment, clock, declared)
    if as_json:
        print_json(
            {
                "region": answer.region,
                "as_of": _iso(answer.as_of),
                "caught_up": answer.caught_up,
                "sentence": answer.sentence,
                "latest_event": _iso(answer.latest_event),
                "sources": [
                    {
                        "source": one.source,
                        "caught_up": one.caught_up,
                        "shipped_through": one.shipped,
                        "needed_through": one.needed,
                        "processed_through": one.processed,
                        "sentence": one.sentence,
                    }
                    for one in answer.sources
                ],
            }
        )
    else:
        console.print(answer.sentence, markup=False)
    if not answer.caught_up:
        raise typer.Exit(ANSWER_IS_NO)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _captures(settings: ProjectSettings, now: datetime) -> list[dict[str, Any]]:
    """How far the captures of databases into sources are, for programs; see `Heartbeat.facts`."""
    from proa.capture.heartbeat import HEARTBEAT_FACTS, read_heartbeat
    from proa.landing import open_source

    captures = []
    for name, source in settings.sources.items():
        if source.capture is None:
            continue
        facts: dict[str, Any] = dict.fromkeys(HEARTBEAT_FACTS) | {"error": None}
        try:
            beat = read_heartbeat(open_source(name, source).store, source.capture.slot)
        except ProaError as error:
            facts["error"] = str(error)
        else:
            facts |= {} if beat is None else beat.facts(now)
        captures.append({"source": name, **facts})
    return captures


def _print_captures(captures: list[dict[str, Any]]) -> None:
    for one in captures:
        if one["error"] is not None:
            stderr.print(f"capture of {one['source']}: {one['error']}", markup=False)
        elif one["last_look"] is None:
            console.print(f"capture of {one['source']}: nothing captured yet", markup=False)
        else:
            kept = one["kept_bytes"]
            slot = "" if kept is None else f"; its slot kept {kept:,} bytes of log then"
            age = f"all that had happened {one['age_s']:,.0f} s ago"
            console.print(f"capture of {one['source']}: {age}{slot}", markup=False)


def _roles(settings: ProjectSettings) -> dict[str, Any] | None:
    """Who is active since when, for programs. None in a project whose regions change no roles."""
    from proa.recovery.control_record import ControlStore, first_active
    from proa.recovery.readiness import last_drill

    if settings.recovery is None:
        return None
    try:
        history = ControlStore.of(settings).history()
    except ProaError as error:
        return {"error": str(error)}
    drill = last_drill(history)
    if not history:
        active = first_active(settings)
        first = {"active": active, "epoch": 1, "phase": "steady", "last_drill": None}
        return {**first, "consumers": _consumers(settings, active)}
    record = history[-1]
    return {
        "active": record.active,
        "epoch": record.epoch,
        "phase": record.phase.value,
        "operation": None if record.is_steady else record.operation,
        "target": None if record.is_steady else record.target,
        "under_way": record.under_way or None,
        "since": _iso(record.at),
        "owed": list(record.owed),
        "last_drill": None if drill is None else _iso(drill.at),
        "consumers": _consumers(settings, record.active),
    }


def _consumers(settings: ProjectSettings, active: str) -> list[dict[str, Any]]:
    """Where what consumers read without a gateway leads to, for programs."""
    from proa.recovery.consumer_targets import Consumers

    return [
        {
            "target": state.title,
            "regions": sorted(state.regions),
            "drift": state.drift(active),
            "error": None if state.error is None else str(state.error),
        }
        for state in Consumers.of(settings).states()
    ]


def _print_roles(roles: dict[str, Any] | None) -> None:
    if roles is None:
        return
    if "error" in roles:
        stderr.print(f"control record: {roles['error']}", markup=False)
        return
    console.print(f"{roles['active']} is active in epoch {roles['epoch']}", markup=False)
    if roles.get("under_way"):
        console.print(roles["under_way"], markup=False)
    for consumer in roles.get("consumers", ()):
        wrong = consumer["error"] or consumer["drift"]
        text = wrong or f"{consumer['target']} leads to {' and '.join(consumer['regions'])}"
        (stderr if wrong else console).print(text, markup=False)
    for region in roles.get("owed", ()):
        console.print(f"{region} is to be demoted; `proa resume` does it", markup=False)


def _print_status(found: list[RegionStatus]) -> None:
    rows: list[tuple[str, ...]] = [_HEADINGS]
    for one in found:
        moment = one.latest_event.astimezone(UTC) if one.latest_event else None
        latest = f"{moment:%Y-%m-%d %H:%M:%S}" if moment else "-"
        rows += [(one.region, source.source, *_cells(source), latest) for source in one.sources]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows if len(rows) > 1 else ():
        texts = [text.ljust(width) for text, width in zip(row[:2], widths[:2], strict=True)]
        texts += [text.rjust(width) for text, width in zip(row[2:], widths[2:], strict=True)]
        console.print("  ".join(texts).rstrip(), markup=False)
    for one in found:
        if one.error:
            stderr.print(f"{one.region}: {one.error}", markup=False)
        for source in (source for source in one.sources if source.unnamed):
            stderr.print(
                f"{one.region}: {source.unnamed} files of {source.source} are not in its manifest, so"
                f" nobody reads them; proa check-zone --region {one.region} names them",
                markup=False,
            )
        if any(not source.manifest for source in one.sources):
            console.print(
                f"{one.region}: a dash stands where the landing zone has no manifest", markup=False
            )


_HEADINGS = (
    "region", "source", "shipped", "landed", "processed", "backlog", "bytes", "lag",
    "latest event (UTC)",
)  # fmt: skip


def _cells(source: SourceStatus) -> tuple[str, ...]:
    from proa.recovery.region_status import lag_text

    numbers = (source.shipped, source.landed, source.processed)
    return (
        *("-" if number is None else str(number) for number in numbers),
        f"{source.backlog_files} files",
        f"{source.backlog_bytes:,}",
        "-" if source.lag is None else lag_text(source.lag),
    )
