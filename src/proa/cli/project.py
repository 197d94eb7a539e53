"""Which project a command works on: a folder with `proa.yml` or `spark-pipeline.yml`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proa.errors import SettingsError

if TYPE_CHECKING:
    from proa.settings import ProjectSettings

PROJECT_FILES = ("proa.yml", "spark-pipeline.yml", "spark-pipeline.yaml")

ProjectOption = Annotated[
    Path | None,
    typer.Option(
        "--project",
        metavar="PATH",
        help="The project's folder; default: the nearest one upward from here.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document for programs.")]


def find_project(path: Path | None) -> Path:
    """The project's folder: `path`, or the nearest folder upward that holds a project file."""
    if path is not None:
        folder = path.absolute()
        if not any((folder / name).is_file() for name in PROJECT_FILES):
            raise SettingsError(
                f"there is no project in {str(folder)!r}; it would hold {' or '.join(PROJECT_FILES[:2])}"
            )
        return folder
    here = Path.cwd()
    for folder in (here, *here.parents):
        if any((folder / name).is_file() for name in PROJECT_FILES):
            return folder
    raise SettingsError(
        f"there is no project in {str(here)!r} or above; go to one, name it with --project,"
        " or write a new one with `proa init`"
    )


def load_regions(path: Path | None) -> ProjectSettings:
    """The project's `proa.yml`."""
    from proa import settings

    file = find_project(path) / settings.FILE_NAME
    if not file.exists():
        raise SettingsError(
            f"there is no {file.name} in {str(file.parent)!r}, which would name the regions;"
            " `proa init NAME` writes a project with one"
        )
    return settings.load(file)
