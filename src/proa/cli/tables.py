"""`proa tables`: the pipeline's tables and how far they are."""

from __future__ import annotations

from typing import Any

import typer
from rich.table import Table

from proa.cli.output import console, print_json
from proa.cli.project import JsonOption, ProjectOption, find_project
from proa.cli.run import RegionOption


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("tables")(tables)


def tables(
    region: RegionOption = None, project: ProjectOption = None, as_json: JsonOption = False
) -> None:
    """List the tables: kind, rows, version, latest event time, raw files that went in.

    The latest event time is that of the column which `event_time` in proa.yml names, in every
    table that has it.

    Example: proa tables --region east
    """
    from proa.runtime import Runner
    from proa.runtime.overview import overview

    folder = find_project(project)
    with Runner.from_project(folder, region) as runner:
        found = overview(runner, _event_time(folder))
    if as_json:
        print_json(found)
        return
    table = Table(box=None, pad_edge=False)
    for title in ("table", "kind", "rows", "version", "latest event", "files"):
        right = title in {"rows", "version", "files"}
        table.add_column(title, justify="right" if right else "left")
    for row in found:
        table.add_row(
            row["name"],
            row["kind"].lower().replace("_", " "),
            _number(row["rows"]),
            _number(row["version"]),
            row["latest_event_time"] or "-",
            _number(row["files"]),
        )
    console.print(table)


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:,}"


def _event_time(folder: Any) -> str | None:
    from proa import settings

    path = folder / settings.FILE_NAME
    if not path.is_file():
        return None
    event_time = settings.load(path).event_time
    return None if event_time is None else event_time.column
