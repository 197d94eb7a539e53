"""`proa check-zone`: landing zones against their manifests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from proa.cli.exit_codes import ANSWER_IS_NO
from proa.cli.output import console, print_json
from proa.cli.project import JsonOption, ProjectOption, load_regions

if TYPE_CHECKING:
    from proa.landing.zone_check import ZoneCheck


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("check-zone")(check_zone)


def check_zone(
    region: Annotated[
        str | None, typer.Option("--region", metavar="NAME", help="Only this region's zone.")
    ] = None,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Fetch lost files from the source or another zone."),
    ] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Compare the bytes' hashes too.")] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare each landing zone with its manifest: lost files, other bytes, unknown files.

    Folders that were adopted are compared too; for those --repair has no source to fetch from.
    Files whose names hide them are listed, and are no fault.

    Exit codes: 0 each zone holds what was shipped and nothing else; 1 one does not; 3 a zone did
    not answer, run it again.

    Example: proa check-zone --region east --repair
    """
    import threading
    from functools import partial

    from proa.landing import open_source, open_zones
    from proa.landing.delivery import Delivery
    from proa.landing.manifest import FOLDER as MANIFESTS
    from proa.landing.zone_check import check_zone as checked
    from proa.landing.zone_check import keep_check
    from proa.landing.zone_check import repair_zone as repaired

    settings = load_regions(project)
    chosen = settings.regions if region is None else [settings.region(region) and region]
    zones = open_zones(settings)
    checks: list[ZoneCheck] = []
    for name, source_settings in settings.sources.items():
        source = open_source(name, source_settings)
        delivery = Delivery(source, zones, lambda _zone, _shipment: None, threading.Event())
        try:
            for zone in (zone for zone in zones if zone.name in chosen):
                check = checked(zone, name, deep=deep)
                if repair:
                    check = repaired(check, partial(delivery.restore, zone))
                checks.append(check)
        finally:
            delivery.close()
    stores = {zone.name: zone.open() for zone in zones if zone.name in chosen}
    for zone in (zone for zone in zones if zone.name in chosen):
        adopted = set(stores[zone.name].folders(MANIFESTS)) - set(settings.sources)
        checks += [checked(zone, name, deep=deep) for name in sorted(adopted)]
    for check in checks:
        keep_check(stores[check.zone], check)
    if as_json:
        print_json({"zones": [_facts(check) for check in checks]})
    else:
        for check in checks:
            _print(check)
    if not all(check.is_right for check in checks):
        raise typer.Exit(ANSWER_IS_NO)


def _facts(check: ZoneCheck) -> dict[str, Any]:
    return {
        "zone": check.zone,
        "source": check.source,
        "files": check.files,
        "missing": [file.path for file in check.missing],
        "differing": list(check.differing),
        "unknown": list(check.unknown),
        "left_out": list(check.left_out),
        "repaired": list(check.repaired),
    }


def _print(check: ZoneCheck) -> None:
    console.print(f"{check.zone}: {check.source}: {check.files} files were shipped", markup=False)
    for path in check.repaired:
        console.print(f"  fetched again: {path}", markup=False)
    for file in check.missing:
        console.print(f"  lost: {file.path} (proa check-zone --repair fetches it)", markup=False)
    for path in check.differing:
        console.print(
            f"  other bytes than were shipped: {path}; remove it and run proa check-zone --repair",
            markup=False,
        )
    for path in check.left_out:
        console.print(f"  left out because of its name: {path}", markup=False)
    for path in check.unknown:
        console.print(
            f"  not in the manifest, so not read: {path}; put it into the source instead, or number"
            f" it with proa adopt {check.source} if others fill the folder",
            markup=False,
        )
