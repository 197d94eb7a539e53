"""`proa schema`: how the columns of a table's files came about."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from proa.cli.output import new_table, print_json, print_table
from proa.cli.project import JsonOption, ProjectOption, RegionOption, chosen_region, find_project


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("schema")(schema)


def schema(
    table: Annotated[
        str, typer.Argument(metavar="TABLE", help="A streaming table that reads files.")
    ],
    region: RegionOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show since which shipment each column of a table's files is there, and which file decided it.

    The types are those that the files gave, before hints.

    Exit codes: 0 shown; 2 the pipeline has no such table, or none that reads files.

    Example: proa schema orders_bronze --region east
    """
    folder = find_project(project)
    region_name = chosen_region(folder, region)
    from proa.errors import PipelineError, UserError
    from proa.graph import FilesLeaf
    from proa.runtime import Runner
    from proa.runtime.schema_history import schema_changes

    with Runner.from_project(folder, region_name) as runner:
        graph = runner.graph()
        name = graph.names.find(table)
        if name is None:
            raise PipelineError(
                f"the pipeline has no dataset {table!r}{graph.names.suggestion(table)}",
                condition="TABLE_OR_VIEW_NOT_FOUND",
            )
        flows = graph.datasets[name].flows
        leaves = [leaf for flow in flows for leaf in flow.plan.leaves]
        if not any(isinstance(leaf, FilesLeaf) and leaf.streaming for leaf in leaves):
            raise UserError(
                f"{name!r} reads no stream of files, so its columns are those of its query; name"
                " a table that does (proa graph shows which)"
            )
        changes = list(schema_changes(flows, runner.context))
    if as_json:
        print_json({"table": name, "changes": [asdict(change) for change in changes]})
        return
    shown = new_table("column", "type", "since shipment", "because of", right=("since shipment",))
    for change in changes:
        shown.add_row(
            change.column,
            change.type if change.before is None else f"{change.before} -> {change.type}",
            "-" if change.shipment is None else str(change.shipment),
            change.file or "-",
        )
    print_table(shown)
