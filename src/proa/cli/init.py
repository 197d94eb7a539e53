"""`proa init`: a new project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proa.cli.output import console, print_json
from proa.cli.project import JsonOption


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("init")(init)


def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The project, and its new folder.")],
    to: Annotated[
        Path,
        typer.Option("--to", metavar="FOLDER", help="Where to make the folder."),
    ] = Path(),
    as_json: JsonOption = False,
) -> None:
    """Write a small project, ready for two regions: tables in Python and SQL, and sample files.

    Example: proa init orders
    """
    from proa.pipelines.scaffold import create_project

    files = create_project(name, to)
    folder = files[0].parent
    if as_json:
        print_json({"folder": folder, "files": files})
        return
    for file in files:
        console.print(f"wrote {file.relative_to(folder.parent)}", markup=False)
    console.print("\nnext:", style="bold")
    console.print(f"  cd {folder}", markup=False)
    console.print("  proa ship --once", markup=False)
    console.print("  proa run --region east", markup=False)
