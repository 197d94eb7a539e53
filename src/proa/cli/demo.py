"""`proa demo`: the whole story in two minutes."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from proa.cli.exit_codes import ANSWER_IS_NO
from proa.cli.output import console, print_json
from proa.cli.project import JsonOption
from proa.errors import SettingsError

if TYPE_CHECKING:
    from proa.demo import DemoReport


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("demo")(demo)


def demo(
    folder: Annotated[
        Path | None,
        typer.Option(
            "--keep", metavar="PATH", help="Tell it in this new folder and leave everything there."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Real flights in two regions; one dies in mid-batch; proof that nothing was lost.

    Needs the libraries of the extra 'demo'.

    Exit codes: 0 everything was proven; 1 a proof failed; 2 the records are not installed, or the
    folder is not empty; 3 this machine did not answer in time.

    Example: proa demo --keep flights
    """
    from tempfile import TemporaryDirectory

    from proa.clock import SystemClock
    from proa.demo import Demo

    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise SettingsError(f"the folder {str(folder)!r} is not empty; name a new one")
    clock = SystemClock()
    begun = clock.monotonic()

    def tell(title: str, sentence: str) -> None:
        if not as_json:
            seconds = clock.monotonic() - begun
            console.print(f"[dim]{seconds:6.1f} s[/dim]  [bold]{title:<12}[/bold]  {sentence}")

    place = nullcontext(folder) if folder else TemporaryDirectory(prefix="proa-demo-")
    with place as path, Demo(Path(path).absolute(), clock, tell) as story:
        report = story.run()
    if as_json:
        print_json({**asdict(report), "seconds": round(clock.monotonic() - begun, 1)})
    else:
        _print_report(report, folder)
    if not report.proven:
        raise typer.Exit(ANSWER_IS_NO)


def _print_report(report: DemoReport, folder: Path | None) -> None:
    table = Table(title="What was proven", title_justify="left", show_header=False)
    table.add_row("flights published", f"{report.rows:,} events in {report.files} files")
    table.add_row("killed in mid-batch", "yes" if report.killed_in_batch else "no: try again")
    table.add_row("from outage to caught up", f"{report.outage_to_caught_up_s:.1f} s")
    table.add_row("lost", f"{report.lost:,}")
    table.add_row("duplicated", f"{report.duplicated:,}")
    table.add_row(
        "both regions equal", f"{'yes' if report.equal else 'NO'}: {len(report.tables)} tables"
    )
    console.print(table)
    if not report.equal:
        for sentence in report.tables.values():
            console.print(sentence, markup=False)
    if folder is None:
        console.print("Look around in it: proa demo --keep flights")
    else:
        console.print(f"Look around: cd {folder} && proa status && proa events --region us-east")
    console.print("Write your own: proa init shop")
