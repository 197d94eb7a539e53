"""`proa tables`: the pipeline's tables and how far they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from proa.cli.output import new_table, print_json, print_table
from proa.cli.project import JsonOption, ProjectOption, find_project
from proa.cli.region_option import RegionOption, chosen_region

if TYPE_CHECKING:
    from proa.runtime import Runner


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

    folder = find_project(project)
    with Runner.from_project(folder, chosen_region(folder, region)) as runner:
        found = overview(runner, _event_time(folder))
    if as_json:
        print_json(found)
        return
    table = new_table(
        "table",
        "kind",
        "rows",
        "version",
        "latest event",
        "files",
        right=("rows", "version", "files"),
    )
    for row in found:
        table.add_row(
            row["name"],
            row["kind"].lower().replace("_", " "),
            _number(row["rows"]),
            _number(row["version"]),
            row["latest_event_time"] or "-",
            _number(row["files"]),
        )
    print_table(table)


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:,}"


def _event_time(folder: Any) -> str | None:
    from proa import settings

    path = folder / settings.FILE_NAME
    if not path.is_file():
        return None
    event_time = settings.load(path).event_time
    return None if event_time is None else event_time.column


def overview(runner: Runner, event_time: str | None = None) -> list[dict[str, Any]]:
    """One object per table: `name`, `kind`, `rows`, `version`, `latest_event_time`, `files`.

    All but the first two are None while the table is not there. `event_time` is the column whose
    newest value is `latest_event_time`, in tables that have it.
    """
    from proa.lake.largest import largest
    from proa.runtime.lineage import Lineage

    graph = runner.graph()
    context, pipeline = runner.context, runner.pipeline
    lineage = Lineage(pipeline.storage, pipeline.options, context.paths)
    found = []
    for name in graph.tables:
        table = context.table(name)
        row: dict[str, Any] = {
            "name": name,
            "kind": str(graph.datasets[name].dataset.kind),
            "rows": None,
            "version": table.refresh(),
            "latest_event_time": None,
            "files": None,
        }
        if row["version"] is not None:
            row["rows"] = table.count()
            row["files"] = len(lineage.files(name))
            columns = {field.name.lower(): field.name for field in table.schema.fields}
            column = columns.get((event_time or "").lower())
            if column is not None:
                row["latest_event_time"] = _text_of_value(largest(table, column))
        found.append(row)
    return found


def _text_of_value(value: Any) -> str | None:
    if value is None:
        return None
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return str(text).replace("+00:00", "Z")
