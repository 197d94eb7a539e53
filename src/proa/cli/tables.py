"""`proa tables`: the pipeline's tables and how far they are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from proa.cli.output import new_table, print_json, print_table
from proa.cli.project import JsonOption, ProjectOption, RegionOption, chosen_region, find_project
from proa.layout import SERVED
from proa.times import utc_text

if TYPE_CHECKING:
    from proa.lake import Table as DeltaTable
    from proa.runtime import Runner
    from proa.runtime.lineage import Lineage


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("tables")(tables)


def tables(
    region: RegionOption = None, project: ProjectOption = None, as_json: JsonOption = False
) -> None:
    """List the tables: kind, rows, version, latest event time, raw files that went in.

    The latest event time is that of the column which `event_time` in proa.yml names, in every
    table that has it. Tables of pipelines that the region's server keeps by itself stand below, with
    the pipeline's name.

    Example: proa tables --region east
    """
    folder = find_project(project)
    region_name = chosen_region(folder, region)
    from proa.runtime import Runner

    event_time = _event_time(folder)
    with Runner.from_project(folder, region_name) as runner:
        found = overview(runner, event_time)
        pipeline = runner.pipeline
    found += served_tables(pipeline.storage, pipeline.options, event_time)
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
            f"{row['pipeline']}: {row['name']}" if "pipeline" in row else row["name"],
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
    from proa.runtime.lineage import Lineage

    graph = runner.graph()
    context, pipeline = runner.context, runner.pipeline
    lineage = Lineage(pipeline.storage, pipeline.options, context.paths)
    return [
        _row(name, str(graph.datasets[name].dataset.kind), context.table(name), lineage, event_time)
        for name in graph.tables
    ]


def served_tables(
    storage: str, options: Mapping[str, str], event_time: str | None = None
) -> list[dict[str, Any]]:
    """The tables of pipelines that a region's server keeps below the region's storage.

    Objects as in `overview`, and `pipeline` (its name) and `storage` (where the tables are).
    """
    from proa.pipelines.definitions import DatasetKind
    from proa.runtime.declared import read_declared
    from proa.runtime.lineage import Lineage
    from proa.storage import Store, is_url

    if not is_url(storage) and not Path(storage).is_dir():
        return []
    found = []
    for folder in Store.open(storage, options).folders(SERVED):
        place = f"{storage}/{SERVED}/{folder}"
        declared = read_declared(place, options)
        if declared is None:
            continue
        lineage = Lineage(place, options, declared.paths)
        for name, table in declared.tables.items():
            kind = DatasetKind.MATERIALIZED_VIEW if table.view else DatasetKind.STREAMING_TABLE
            row = _row(name, str(kind), lineage.table(name), lineage, event_time)
            found.append({**row, "pipeline": declared.identity[0], "storage": place})
    return found


def _row(
    name: str, kind: str, table: DeltaTable, lineage: Lineage, event_time: str | None
) -> dict[str, Any]:
    from proa.lake.largest import largest_value

    row: dict[str, Any] = {
        "name": name,
        "kind": kind,
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
            row["latest_event_time"] = _text_of_value(largest_value(table, column))
    return row


def _text_of_value(value: Any) -> str | None:
    if value is None:
        return None
    return utc_text(value) if isinstance(value, date) else str(value)
