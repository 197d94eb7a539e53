"""`proa port`: what of a folder of pipelines would run here."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from proa.cli.exit_codes import ANSWER_IS_NO
from proa.cli.output import console, print_json, print_text
from proa.cli.project import JsonOption
from proa.errors import SettingsError

if TYPE_CHECKING:
    from proa.runtime.porting import FileReport

_COLOURS = {"runs": "green", "needs": "yellow", "refused": "magenta", "fails": "red"}


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("port")(port)


def port(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder of pipelines.")],
    as_json: JsonOption = False,
) -> None:
    """Say what of a folder of pipelines runs here, what does not, and what to do.

    The folder may hold Python and SQL files, notebooks (source files and .ipynb) and Databricks bundles, in
    any layout. All files are loaded and planned; nothing is computed and nothing is written.

    Each file that declares datasets `runs`, `needs` something that the folder does not hold (a configuration key, a
    table from elsewhere, a package), is `refused` because of something that is not supported by decision, or
    `fails`.

    Exit codes: 0 every file runs or needs something; 1 some do not; 2 there is no such folder.

    Example: proa port ../my-databricks-repository
    """
    from proa.engine import Engine
    from proa.runtime import porting

    if not folder.is_dir():
        raise SettingsError(f"there is no folder {str(folder)!r}")
    with Engine.start() as engine:
        reports = porting.port(folder, engine)
    counts = Counter(str(report.verdict) for report in reports)
    if as_json:
        print_json(
            {
                "files": [_as_object(report) for report in reports],
                "counts": {verdict: counts[verdict] for verdict in _COLOURS},
            }
        )
    else:
        _print(reports, counts)
    if counts["refused"] or counts["fails"]:
        raise typer.Exit(ANSWER_IS_NO)


def _print(reports: list[FileReport], counts: Counter[str]) -> None:
    for report in reports:
        console.print(f"{report.verdict:<8}", style=_COLOURS[report.verdict], end="")
        count = len(report.datasets)
        print_text(f"{report.file} ({count} dataset{'' if count == 1 else 's'})")
        for obstacle in report.obstacles:
            print_text(f"        {obstacle.line}: [{obstacle.condition}] {obstacle.message}")
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in _COLOURS)
    print_text(
        f"{len(reports)} files that declare datasets: {told}"
        if reports
        else "no file declares a dataset"
    )


def _as_object(report: FileReport) -> dict[str, Any]:
    return {
        "file": report.file,
        "pipeline": report.pipeline,
        "verdict": str(report.verdict),
        "datasets": report.datasets,
        "obstacles": [
            {
                "verdict": str(obstacle.verdict),
                "condition": obstacle.condition,
                "message": obstacle.message,
                "line": obstacle.line,
            }
            for obstacle in report.obstacles
        ],
    }
