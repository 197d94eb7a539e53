"""Which region of a project a command works on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from proa.errors import SettingsError

RegionOption = Annotated[
    list[str] | None,
    typer.Option("--region", metavar="R", help="A region of proa.yml.", show_default=False),
]


def chosen_region(folder: Path, named: list[str] | None, *, needed: bool = True) -> str | None:
    """The region that was named. Returns None for a project without regions.

    SettingsError when several were named, and when one is `needed`, none was named and the project
    has some: a place that is neither would be a third one, which nobody ships to.
    """
    from proa import settings

    if named and len(named) > 1:
        raise SettingsError(
            f"--region names {' and '.join(map(repr, named))}, and a command works on one region;"
            " run it once for each"
        )
    if named:
        return named[0]
    path = folder / settings.FILE_NAME
    regions = list(settings.load(path).regions) if needed and path.is_file() else []
    if not regions:
        return None
    raise SettingsError(
        f"the project has the region{'s' * (len(regions) != 1)} {', '.join(regions)};"
        f" say which with --region, for example --region {regions[0]}"
    )
