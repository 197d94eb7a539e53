"""Which project and region a command works on, and options that several commands have.

A project is a folder with `proa.yml` or `spark-pipeline.yml`.
"""

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


RegionOption = Annotated[
    list[str] | None,
    typer.Option("--region", metavar="R", help="A region of proa.yml.", show_default=False),
]


def chosen_region(folder: Path, named: list[str] | None, *, needed: bool = True) -> str | None:
    """The region that was named. Returns None for a project without regions.

    SettingsError when several were named or one that `proa.yml` lacks, and when one is `needed`,
    none was named and the project has some: a place that is neither would be a third one, which
    nobody ships to. Ask before importing what runs a pipeline, which takes a second.
    """
    from proa import settings

    if named and len(named) > 1:
        raise SettingsError(
            f"--region names {' and '.join(map(repr, named))}, and a command works on one region;"
            " run it once for each"
        )
    path = folder / settings.FILE_NAME
    if named:
        if path.is_file():
            settings.load(path).region(named[0])
        return named[0]
    regions = list(settings.load(path).regions) if needed and path.is_file() else []
    if not regions:
        return None
    raise SettingsError(
        f"the project has the region{'s' * (len(regions) != 1)} {', '.join(regions)};"
        f" say which with --region, for example --region {regions[0]}"
    )


TlsCertOption = Annotated[
    Path | None, typer.Option("--tls-cert", metavar="FILE", help="Certificate chain, PEM.")
]
TlsKeyOption = Annotated[
    Path | None, typer.Option("--tls-key", metavar="FILE", help="The certificate's key, PEM.")
]
LogJsonOption = Annotated[
    bool, typer.Option("--log-json", help="Logs as JSON lines; default when not a terminal.")
]
