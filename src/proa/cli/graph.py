"""`proa graph`: which dataset reads which."""

from __future__ import annotations

from typing import Annotated

import typer

from proa.cli.output import print_json, print_text
from proa.cli.project import JsonOption, ProjectOption, RegionOption, chosen_region, find_project


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("graph")(graph)


def graph(
    as_mermaid: Annotated[
        bool, typer.Option("--mermaid", help="Print a Mermaid flowchart, for Markdown.")
    ] = False,
    region: RegionOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show which dataset reads which, upstream ones first, and how materialized views are refreshed.

    Nothing is computed. Exit code 2 when the pipeline is wrong.

    Example: proa graph --mermaid
    """
    from proa.graph import render
    from proa.runtime.compile import compile_project

    folder = find_project(project)
    region_name = chosen_region(folder, region, needed=False)
    compiled = compile_project(folder, region_name, columns=not as_mermaid)
    if as_json:
        print_json(render.as_object(compiled.graph, compiled.refreshes))
    else:
        graph = compiled.graph
        print_text(render.mermaid(graph) if as_mermaid else render.text(graph, compiled.refreshes))
