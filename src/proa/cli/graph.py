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
    """Show which dataset reads which, upstream ones first.

    Nothing is computed. Exit code 2 when the pipeline is wrong.

    Example: proa graph --mermaid
    """
    from proa.graph import render
    from proa.runtime.compile import compile_project

    folder = find_project(project)
    region_name = chosen_region(folder, region, needed=False)
    found = compile_project(folder, region_name).graph
    if as_json:
        print_json(render.as_object(found))
    else:
        print_text(render.mermaid(found) if as_mermaid else render.text(found))
