"""A pipeline as somebody set it up: what declares it, where it keeps its tables, who computes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from proa import settings as project_settings
from proa.errors import SettingsError
from proa.pipelines import spec as specs
from proa.pipelines.spec import PipelineSpec
from proa.runtime.dr_policy import DrPolicy
from proa.settings import LANDING_ZONE, TABLE_KEY, EngineSettings, ProjectSettings
from proa.storage import absolute


@dataclass(frozen=True)
class Pipeline:
    """Everything that a runner needs to know."""

    id: str
    name: str
    spec: PipelineSpec
    root: Path
    """The folder that the specification's globs start from."""
    storage: str
    """Absolute path or URL."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Object-store settings."""
    engine: EngineSettings = field(default_factory=EngineSettings)
    configuration: Mapping[str, str] = field(default_factory=dict)
    """The whole of it: the specification's, the region's, `landing_zone`."""
    region: str | None = None
    agreed: DrPolicy = field(default_factory=DrPolicy)
    """What findings mean."""
    event_time: str | None = None
    """The column that carries the time at which events happened, in tables that have it."""
    sources: frozenset[str] | None = None
    """The folders of the landing zone that something is shipped to; None when that is not known."""

    def may_come(self, folder: str) -> bool:
        """Whether `folder`, absolute and not there, may be made by a shipment later."""
        zone = self.configuration.get(LANDING_ZONE)
        base = f"{absolute(zone, self.root)}/" if zone else None
        if base is None or not f"{folder}/".startswith(base):
            return False
        inside = f"{folder}/".removeprefix(base)
        return self.sources is None or any(
            not inside or inside.startswith(f"{name}/") for name in self.sources
        )


def from_project(folder: Path, region: str | None = None) -> Pipeline:
    """The pipeline of a project folder, in one of its regions.

    Without `region` the project runs as Apache's `spark-pipeline.yml` says, in the storage named
    there. SettingsError for a region that `proa.yml` does not name, and when both files are missing.
    """
    path = specs.find_spec(folder)
    spec = specs.load_spec(path)
    root = path.parent.absolute()
    if region is None:
        return Pipeline(
            id=spec.name,
            name=spec.name,
            spec=spec,
            root=root,
            storage=absolute(spec.storage, root),
            configuration=_locate(spec.configuration, root),
            sources=frozenset(),
        )
    settings = _regions(root, region)
    found = settings.region(region)
    return Pipeline(
        id=spec.name,
        name=spec.name,
        spec=spec,
        root=root,
        storage=found.storage,
        options=found.options,
        engine=found.engine,
        configuration={
            **spec.configuration,
            **found.configuration,
            **found.table_keys,
            LANDING_ZONE: found.landing_zone,
        },
        region=region,
        agreed=DrPolicy.of(settings),
        sources=frozenset(settings.sources),
        event_time=None if settings.event_time is None else settings.event_time.column,
    )


def from_settings(  # noqa: PLR0913 - what Databricks' settings say, and where
    name: str,
    storage: str,
    files: Sequence[Path],
    configuration: Mapping[str, str],
    *,
    pipeline_id: str | None = None,
    catalog: str | None = None,
    database: str | None = None,
    storage_options: Mapping[str, str] | None = None,
    engine_settings: EngineSettings | None = None,
    region: str | None = None,
) -> Pipeline:
    """A pipeline set up the Databricks way: source files named one by one, no specification.

    `files` are absolute paths of .py and .sql files, notebooks exported as source included.
    """
    root = Path(os.path.commonpath([file.parent for file in files])) if files else Path.cwd()
    libraries = tuple(file.relative_to(root).as_posix() for file in files)
    spec = PipelineSpec(name, storage, catalog, database, dict(configuration), libraries)
    return Pipeline(
        id=pipeline_id or name,
        name=name,
        spec=spec,
        root=root,
        storage=absolute(storage, root),
        options=dict(storage_options or {}),
        engine=engine_settings or EngineSettings(),
        configuration=dict(configuration),
        region=region,
    )


def _regions(root: Path, region: str) -> ProjectSettings:
    path = root / project_settings.FILE_NAME
    if not path.is_file():
        raise SettingsError(
            f"the region {region!r} needs a {project_settings.FILE_NAME} in {str(root)!r} that"
            " names it; leave --region out to run in the storage of spark-pipeline.yml"
        )
    return project_settings.load(path)


def _locate(configuration: Mapping[str, str], root: Path) -> dict[str, str]:
    """Relative landing zones and tables start from the project's folder, not from where one types."""
    found = {
        key: absolute(value, root) if key.startswith(TABLE_KEY) else value
        for key, value in configuration.items()
    }
    if found.get(LANDING_ZONE):
        found[LANDING_ZONE] = absolute(found[LANDING_ZONE], root)
    return found
