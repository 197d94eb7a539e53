"""`proa demo`: the whole story in two minutes."""

from __future__ import annotations

from collections.abc import Mapping
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
    from proa.demo import DemoReport, ShopReport


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
    cdc: Annotated[
        bool,
        typer.Option("--cdc", help="The second act: a busy PostgreSQL database, no flights."),
    ] = False,
    database: Annotated[
        str | None,
        typer.Option(
            "--database",
            metavar="URL",
            help="With --cdc: a PostgreSQL database of yours that plays the shop, in a schema"
            " proa_shop that is gone afterwards. Default: a server that is started for it.",
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            "--seconds",
            min=1,
            help="With --cdc: for how long the shop writes at least; default 30.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Real flights in two regions; one dies in mid-batch; proof that nothing was lost.

    With --cdc a shop writes to PostgreSQL, `proa capture` and both regions follow, one is lost and
    returns; customers, orders and revenue are then compared with the database. Needs the extra 'demo'.

    Exit codes: 0 everything was proven; 1 a proof failed; 2 the records or PostgreSQL are not
    installed, the database is not prepared, or the folder is not empty; 3 the database or this
    machine did not answer in time.

    Example: proa demo --keep flights
    """
    from tempfile import TemporaryDirectory

    from proa.clock import SystemClock
    from proa.demo import Demo, ShopDemo

    _check_options(folder, is_shop=cdc, has_shop_options=bool(database or seconds))
    clock = SystemClock()
    begun = clock.monotonic()

    def tell(title: str, sentence: str) -> None:
        if not as_json:
            time = clock.monotonic() - begun
            console.print(f"[dim]{time:6.1f} s[/dim]  [bold]{title:<12}[/bold]  {sentence}")

    with nullcontext(folder) if folder else TemporaryDirectory(prefix="proa-demo-") as path:
        place = Path(path).absolute()
        act: Demo | ShopDemo = Demo(place, clock, tell)
        if cdc:
            act = ShopDemo(place, clock, tell, database=database, seconds=seconds or 30.0)
        with act:
            report = act.run()
    taken = round(clock.monotonic() - begun, 1)
    if as_json:
        print_json({"proven": report.proven, **asdict(report), "seconds": taken})
    else:
        _print_report(report, folder)
    if not report.proven:
        raise typer.Exit(ANSWER_IS_NO)


def _check_options(folder: Path | None, *, is_shop: bool, has_shop_options: bool) -> None:
    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise SettingsError(f"the folder {str(folder)!r} is not empty; name a new one")
    if has_shop_options and not is_shop:
        raise SettingsError("--database and --seconds are about the shop; add --cdc")


def _print_report(report: DemoReport | ShopReport, folder: Path | None) -> None:
    from proa.demo import DemoReport

    table = Table(title="What was proven", title_justify="left", show_header=False)
    verdicts: Mapping[str, str]
    if isinstance(report, DemoReport):
        name, verdicts = "flights", report.tables
        _add_flights(table, report)
    else:
        name, verdicts = "shop", report.verdicts
        _add_shop(table, report)
    table.add_row(
        "both regions equal", f"{'yes' if report.equal else 'NO'}: {len(verdicts)} tables"
    )
    console.print(table)
    if not report.equal:
        for sentence in verdicts.values():
            console.print(sentence, markup=False)
    if folder is None:
        console.print(
            f"Look around in it: proa demo {'' if name == 'flights' else '--cdc '}--keep {name}"
        )
    else:
        console.print(f"Look around: cd {folder} && proa status && proa events --region us-east")
    console.print("Write your own: proa init shop")


def _add_flights(table: Table, report: DemoReport) -> None:
    table.add_row("flights published", f"{report.rows:,} events in {report.files} files")
    table.add_row("killed in mid-batch", "yes" if report.killed_in_batch else "no: try again")
    table.add_row("from outage to caught up", f"{report.outage_to_caught_up_s:.1f} s")
    table.add_row("lost", f"{report.lost:,}")
    table.add_row("duplicated", f"{report.duplicated:,}")


def _add_shop(table: Table, report: ShopReport) -> None:
    table.add_row(
        "the shop wrote",
        f"{report.transactions:,} transactions in {report.shop_seconds:.0f} s, captured in {report.files} files",
    )
    table.add_row(
        "killed in mid-batch", "yes" if report.killed_in_batch else "no, between two batches"
    )
    table.add_row("from outage to caught up", f"{report.outage_to_caught_up_s:.1f} s")
    for name, proof in report.tables.items():
        told = ", ".join(
            f"{region} equal" if not number else f"{region} DIFFERS in {number:,} rows"
            for region, number in proof.different.items()
        )
        table.add_row(f"{name} as in the database", f"{told}: {proof.rows:,} rows")
