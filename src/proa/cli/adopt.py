"""`proa adopt`: a manifest for a folder that somebody else fills."""

from __future__ import annotations

from typing import Annotated

import typer

from proa.cli.exit_codes import ANSWER_IS_NO
from proa.cli.output import console, print_json
from proa.cli.project import JsonOption, ProjectOption, load_regions


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("adopt")(adopt)


def adopt(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="The folder's name in every landing zone.")
    ],
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a folder that somebody else fills a manifest: number its files, in all zones alike.

    Flows then read the folder in that order, and what they have read is not read again. Run it again
    for files that came since. A file that is not in every zone with the same bytes waits.

    Exit codes: 0 every file has a number; 1 some wait; 3 a zone did not answer, run it again.

    Example: proa adopt clicks
    """
    from proa.clock import SystemClock
    from proa.errors import UserError
    from proa.landing import open_zones
    from proa.landing.adoption import adopt_files as number_files

    settings = load_regions(project)
    if source in settings.sources:
        raise UserError(
            f"{source!r} is shipped by 'proa ship', which numbers its files; adopting is for folders"
            " that are not under 'sources'"
        )
    done = number_files(source, open_zones(settings), SystemClock())
    if as_json:
        print_json(
            {
                "source": done.source,
                "files": done.files,
                "through": done.through,
                "waiting": dict(done.waiting),
            }
        )
    else:
        console.print(
            f"{source}: {done.files} files numbered, through {done.through}", markup=False
        )
        for path, reason in done.waiting.items():
            console.print(f"  waits: {path}: {reason}", markup=False)
    if done.waiting:
        raise typer.Exit(ANSWER_IS_NO)
