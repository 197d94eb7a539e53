"""`proa maintain`: few large files, and nothing that nobody needs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from proa.cli.output import console, print_json, stderr
from proa.cli.project import JsonOption, ProjectOption, RegionOption, chosen_region, find_project

if TYPE_CHECKING:
    from proa.runtime.maintenance import Upkeep


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("maintain")(maintain)


def maintain(
    region: RegionOption = None,
    retention: Annotated[
        str,
        typer.Option(
            "--retention", metavar="TIME", help="How long older versions stay; at least a day."
        ),
    ] = "7 days",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compact small files and remove what no version within the retention needs.

    Safe beside updates, continuous ones included, and to be interrupted and run again. No row changes.
    Raw files are not touched, nor what a flow has not read yet.

    Exit codes: 0 done; 2 the pipeline or a setting is wrong; 3 the storage or the engine did not
    answer, run it again.

    Example: proa maintain --region east --retention "30 days"
    """
    from datetime import timedelta

    from proa.times import duration_setting

    folder = find_project(project)
    region_name = chosen_region(folder, region)
    age = timedelta(seconds=duration_setting(retention, "--retention"))
    from proa.runtime import Runner, maintenance

    found = []
    with (
        Runner.from_project(folder, region_name) as runner,
        stderr.status("maintaining") as spinner,
    ):
        for done in maintenance.maintain(runner, age, dry_run=dry_run):
            found.append(done)
            if not as_json:
                spinner.stop()
                console.print(_summary(done, dry_run=dry_run), markup=False)
                spinner.start()
    if as_json:
        print_json({"dry_run": dry_run, "tables": [asdict(one) for one in found]})


def _summary(done: Upkeep, *, dry_run: bool) -> str:
    parts = []
    if done.compacted.before:
        parts.append(f"{done.compacted.before} small files made {done.compacted.after}")
    for what, removed in (
        ("data files", done.files),
        ("log entries", done.log),
        ("plans", done.plans),
    ):
        if removed.files:
            parts.append(f"{removed.files} {what} removed ({removed.bytes:,} bytes)")
    if done.postponed is not None:
        parts.append(f"the rest next time: {done.postponed}")
    would = "would be: " if dry_run and parts else ""
    return f"{done.table}: {would}{'; '.join(parts) or 'nothing to do'}"
