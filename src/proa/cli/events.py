"""`proa events`: what happened to the pipeline."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from proa.cli.output import console, print_json
from proa.cli.project import JsonOption, ProjectOption, RegionOption, chosen_region, find_project


class EventLevel(StrEnum):
    """How much an event matters, least first."""

    METRICS = "METRICS"
    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"


_COLOURS = {"ERROR": "red", "WARN": "yellow"}


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("events")(events)


def events(
    region: RegionOption = None,
    update: Annotated[
        str | None,
        typer.Option("--update", metavar="ID", help="Only this update; a prefix will do."),
    ] = None,
    event_type: Annotated[
        str | None, typer.Option("--type", metavar="T", help="Only events of this type.")
    ] = None,
    level: Annotated[
        EventLevel,
        typer.Option("--level", help="Only events of this level and those above it."),
    ] = EventLevel.METRICS,
    last: Annotated[int, typer.Option("--last", min=1, help="How many, counted back.")] = 50,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the event log, oldest first.

    --json prints an array of events with the columns and details of Databricks' event log.

    Example: proa events --region east --type flow_progress
    """
    folder = find_project(project)
    region_name = chosen_region(folder, region)
    from proa.layout import Layout
    from proa.runtime import from_project
    from proa.runtime.event_rows import EventFilter, read_events

    pipeline = from_project(folder, region_name)
    log = Layout(pipeline.storage).events
    levels = [*EventLevel]
    chosen = EventFilter(update or "", event_type, levels[levels.index(level) :])
    found = list(read_events(log, pipeline.options, chosen=chosen, last=last))
    if as_json:
        print_json(found)
        return
    for event in found:
        console.print(
            f"{event['timestamp'][:19].replace('T', ' ')}  {event['level']:<5} "
            f" {event['event_type']:<16} {event['message']}",
            style=_COLOURS.get(event["level"]),
            markup=False,
        )
    if not found:
        console.print("no events")
