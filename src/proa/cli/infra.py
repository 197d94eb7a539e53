"""`proa infra`: the project's regions in Terraform."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from proa.cli.output import console, print_json
from proa.cli.project import JsonOption, ProjectOption, find_project, load_regions
from proa.errors import SettingsError

if TYPE_CHECKING:
    from proa.infra import Tree

FIRST_PORT = 8101
"""Where the first region without a `server.port` answers; the others follow."""


def register(app: typer.Typer) -> None:
    """Add the group of commands to `app`."""
    group = typer.Typer(help="The project's regions in Terraform.", no_args_is_help=True)
    group.callback()(lambda: None)
    group.command("init")(init)
    app.add_typer(group, name="infra")


def init(
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            metavar="FOLDER",
            help="Where to write; default: infra in the project.",
            show_default=False,
        ),
    ] = None,
    active: Annotated[
        str | None,
        typer.Option(
            "--active",
            metavar="REGION",
            help="The region that is active at first; default: the first in proa.yml.",
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            metavar="REGION=URL",
            help="A region's server or Databricks workspace; may be repeated.",
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Overwrite .tf files that were changed.")
    ] = False,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the project's Terraform tree: a module, a root for each region, one for consumers.

    A terraform.tfvars that is there already is kept, so the command can be run again.

    Example: proa infra init --host us-east=https://east.cloud.databricks.com
    """
    from proa.infra import write

    folder = find_project(project)
    target = (to or folder / "infra").absolute()
    done = write(_tree(folder, target, active, host or []), target, replace=replace)
    if as_json:
        print_json({"folder": target, "written": done.written, "kept": done.kept})
        return
    for path in done.written:
        console.print(f"wrote {path}", markup=False)
    if done.kept:
        console.print(f"kept {len(done.kept)} files that were there already", markup=False)
    console.print(f"next: {target / 'README.md'}", markup=False)


def _tree(folder: Path, target: Path, active: str | None, hosts: list[str]) -> Tree:
    from proa.infra import RegionRoot, Tree
    from proa.pipelines import spec as specs
    from proa.pipelines.spec import source_files

    regions = load_regions(folder).regions
    spec = specs.load_spec(specs.find_spec(folder))
    addresses = {
        name: f"http://{region.server.host}:"
        f"{region.server.port if 'port' in region.server.model_fields_set else port}"
        for port, (name, region) in enumerate(regions.items(), start=FIRST_PORT)
    } | _hosts(hosts, list(regions))
    return Tree(
        pipeline=spec.name,
        source=Path(os.path.relpath(folder, target / "regions" / "any")).as_posix(),
        notebooks=tuple(file.relative_to(folder).as_posix() for file in source_files(spec, folder)),
        regions=tuple(
            RegionRoot(name, addresses[name], region.landing_zone, region.storage)
            for name, region in regions.items()
        ),
        active=active or next(iter(regions)),
        target=spec.database,
        configuration={k: v for k, v in spec.configuration.items() if k != "landing_zone"},
    )


def _hosts(options: list[str], regions: list[str]) -> dict[str, str]:
    hosts = dict(option.partition("=")[::2] for option in options)
    for name, address in hosts.items():
        if name not in regions or not address.startswith(("http://", "https://")):
            raise SettingsError(
                f"--host {name}={address}: write REGION=URL, as in us-east=https://...; "
                f"the regions are {', '.join(regions)}"
            )
    return hosts
