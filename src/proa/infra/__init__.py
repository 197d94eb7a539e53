"""The Terraform tree of a project: one module, one root per region, one for the consumers.

The `.tf` files beside this module are what users apply; they are written unchanged. What differs
between regions and projects stands in each root's `terraform.tfvars` and in nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from proa.errors import ConflictError, SettingsError

TFVARS = "terraform.tfvars"


@dataclass(frozen=True)
class RegionRoot:
    """What one region's `terraform.tfvars` says."""

    name: str
    host: str
    """Address of the region's server or Databricks workspace."""
    landing_zone: str
    storage: str


@dataclass(frozen=True)
class Tree:
    """A project's Terraform tree, before it is written."""

    pipeline: str
    """The pipeline's name."""
    source: str | None
    """The folder of the source files, relative to a region's root; None: `module/notebooks`."""
    notebooks: tuple[str, ...]
    """The source files, relative to `source`."""
    regions: tuple[RegionRoot, ...]
    active: str
    """The region that is active at first."""
    target: str | None = None
    """The schema that the tables belong to."""
    configuration: Mapping[str, str] | None = None
    """The pipeline's configuration, but for the landing zone."""

    def __post_init__(self) -> None:
        names = [region.name for region in self.regions]
        if self.active not in names:
            raise SettingsError(
                f"there is no region {self.active!r} to be active; the project has "
                f"{', '.join(names)}"
            )


@dataclass(frozen=True)
class Written:
    """What `write` did."""

    written: tuple[Path, ...]
    kept: tuple[Path, ...]
    """Files that were there already and were left as they are."""


def write(tree: Tree, folder: Path, *, replace: bool = False) -> Written:
    """Write the tree into `folder`; once more changes nothing.

    A `terraform.tfvars` that is there already is the user's and stays. Another file that is there
    with other contents is replaced only when `replace` says so: else ConflictError, and nothing is
    written.
    """
    wanted = dict(_files(tree))
    differing = [
        path
        for path, text in wanted.items()
        if path.name != TFVARS
        and (folder / path).exists()
        and (folder / path).read_text(encoding="utf-8") != text
    ]
    if differing and not replace:
        raise ConflictError(
            f"{folder} has changed files: {', '.join(str(path) for path in differing)}; "
            "add --replace to overwrite them, or write into another folder"
        )
    written, kept = [], []
    for path, text in wanted.items():
        target = folder / path
        if target.exists() and path not in differing:
            kept.append(target)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        written.append(target)
    return Written(tuple(written), tuple(kept))


def _files(tree: Tree) -> Iterator[tuple[Path, str]]:
    """Every file of the tree, as its path in the folder and its text."""
    shipped = files(__name__)
    yield Path("README.md"), shipped.joinpath("README.md").read_text(encoding="utf-8")
    for name in ("module", "consumers"):
        yield from _shipped_files(shipped.joinpath(name), Path(name))
    for region in tree.regions:
        root = Path("regions") / region.name
        yield from _shipped_files(shipped.joinpath("region"), root)
        yield root / TFVARS, _region_values(tree, region)
    yield Path("consumers") / TFVARS, _consumer_values(tree)


def _shipped_files(folder: Traversable, into: Path) -> Iterator[tuple[Path, str]]:
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".tf"):
            yield into / file.name, file.read_text(encoding="utf-8")


def _region_values(tree: Tree, region: RegionRoot) -> str:
    values: dict[str, object] = {
        "pipeline_name": tree.pipeline,
        "pipeline_storage": region.storage,
        "pipeline_target": tree.target,
        "landing_zone": region.landing_zone,
        "configuration": dict(tree.configuration or {}),
        "notebooks_directory": f"/Pipelines/{tree.pipeline}",
        "notebooks_source": tree.source,
        "notebooks": list(tree.notebooks),
    }
    return (
        "\n\n".join(
            (
                f"# Region {region.name}. The token is not a value of a file: export TF_VAR_token.",
                _assignments({"host": region.host, "address": region.host}),
                "# Whether this region is the active one: failover sets it to true, failback to false.\n"
                + _assignments({"active_region": region.name == tree.active}),
                _assignments(
                    {name: value for name, value in values.items() if value not in (None, {})}
                ),
            )
        )
        + "\n"
    )


def _consumer_values(tree: Tree) -> str:
    return (
        "\n\n".join(
            (
                "# Where consumers are sent: failover names the other region here.\n"
                + _assignments({"active_region": tree.active}),
                _assignments({"addresses": {region.name: region.host for region in tree.regions}}),
            )
        )
        + "\n"
    )


def _assignments(values: Mapping[str, object]) -> str:
    """`name = value` lines as `terraform fmt` lays them out; maps and lists after the rest."""
    short = {name: value for name, value in values.items() if not _is_long(value)}
    width = max((len(name) for name in short), default=0)
    lines = "\n".join(f"{name.ljust(width)} = {_hcl(value)}" for name, value in short.items())
    long = [f"{name} = {_hcl(value)}" for name, value in values.items() if _is_long(value)]
    return "\n\n".join([lines, *long] if lines else long)


def _is_long(value: object) -> bool:
    return isinstance(value, dict | list) and bool(value)


def _hcl(value: object) -> str:
    """A value as HCL writes it; in strings `${` and `%{` are only text."""
    if isinstance(value, dict):
        width = max(len(_hcl(key)) for key in value)
        lines = [f"  {_hcl(key).ljust(width)} = {_hcl(item)}\n" for key, item in value.items()]
        return "{\n" + "".join(lines) + "}"
    if isinstance(value, list):
        return "[\n" + "".join(f"  {_hcl(item)},\n" for item in value) + "]"
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("${", "$${").replace("%{", "%%{")
