"""What a worker is told: a pipeline's files, where its tables lie, and its configuration."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proa.http.api_errors import InvalidParameterError, MissingError
from proa.layout import dataset_of
from proa.pipelines.identifiers import parts
from proa.region.jobs.runs import Run
from proa.region.pipelines.pipelines import Pipelines
from proa.region.pipelines.updates import Update
from proa.region.workspace.files import FOLDER
from proa.region.workspace.secrets import Secrets
from proa.region.workspace.workspace import ObjectKind, Workspace, WorkspaceObject, canonical
from proa.settings import ProjectSettings, RegionSettings
from proa.storage import Store, absolute, is_url

_SOURCES = (".py", ".sql")
_SECRET = re.compile(r"\{\{secrets/([\w@.\-]+)/([\w@.\-]+)\}\}")
TABLES = "tables"
"""The folder of a pipeline's storage that has a folder for each table."""


@dataclass(frozen=True)
class SourceFile:
    """A source file of a pipeline."""

    path: str
    """As in the workspace, with the suffix of its language."""
    content: str

    @classmethod
    def of(cls, item: WorkspaceObject) -> SourceFile:
        try:
            text = item.content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InvalidParameterError(f"{item.path!r} is not text in UTF-8") from error
        return cls(f"{posixpath.dirname(item.path).rstrip('/')}/{item.file_name}", text)


class Payloads:
    """Turns what the API stored into plain data for a worker."""

    def __init__(  # noqa: PLR0913, PLR0917 - its parts
        self,
        region: str,
        settings: RegionSettings,
        workspace: Workspace,
        pipelines: Pipelines,
        secrets: Secrets,
        project: ProjectSettings | None = None,
    ) -> None:
        """`project`: what the team has agreed on for all pipelines; nothing when None."""
        self._region = region
        self._project = project
        self._settings = settings
        self._options = dict(settings.options)
        self._workspace = workspace
        self._pipelines = pipelines
        self._secrets = secrets

    def update(self, found: Update) -> dict[str, Any]:
        """The payload of an update. ApiError when a library is not in the workspace."""
        spec = found.spec
        return {
            "region": self._region,
            "pipeline_id": found.pipeline_id,
            "update_id": found.update_id,
            "name": str(spec.get("name") or found.pipeline_id),
            "storage": self.storage(spec, found.pipeline_id),
            "options": self._options,
            "engine": self._settings.engine.remote,
            "catalog": spec.get("catalog"),
            "schema": spec.get("schema") or spec.get("target"),
            "files": {item.path: item.content for item in self.libraries(spec)},
            "configuration": self.configuration(spec),
            "continuous": found.continuous,
            "development": bool(spec.get("development")),
            "cause": found.cause,
            "request": dict(found.request),
            **self._agreed(),
        }

    def _agreed(self) -> dict[str, Any]:
        """What the team has agreed on."""
        project = self._project
        if project is None:
            return {"dr_safety": "off", "accept": [], "regional_keys": [], "event_time": None}
        event_time = project.event_time
        return {
            "dr_safety": project.dr_safety or "warn",
            "accept": [entry.model_dump() for entry in project.accept],
            "regional_keys": sorted(project.regional_keys),
            "event_time": None if event_time is None else event_time.column,
        }

    def notebook(self, _attempt: Run, task: Mapping[str, Any]) -> dict[str, Any]:
        """The payload of a notebook task. MissingError when the notebook is not there."""
        path = str(task["notebook_path"])
        item = self._workspace.get(path, content=True)
        if item.kind is not ObjectKind.NOTEBOOK or item.language not in {"PYTHON", "SQL"}:
            raise InvalidParameterError(f"{path!r} is no notebook in Python or SQL")
        return {
            "region": self._region,
            "path": item.path,
            "language": item.language,
            "source": SourceFile.of(item).content,
            "parameters": {
                str(key): str(value) for key, value in (task.get("base_parameters") or {}).items()
            },
            "secrets": self._secrets.every(),
            "storage": absolute(self._settings.storage),
            "options": self._options,
            "engine": self._settings.engine.remote,
            "tables": self.tables(),
        }

    def source(self, path: str) -> dict[str, Any]:
        """A notebook or file that a running notebook asks for; `source` is None for no such text."""
        try:
            item = self._workspace.get(path, content=True)
            text = SourceFile.of(item).content if item.kind is not ObjectKind.DIRECTORY else None
        except (MissingError, InvalidParameterError):
            return {"path": path, "language": None, "source": None}
        return {"path": path, "language": item.language, "source": text}

    def tables(self) -> list[dict[str, Any]]:
        """Every table of every pipeline: `{"catalog", "schema", "name", "url"}`, schema None by default.

        A table of several parts (`sales.orders`) is in the schema it names.
        """
        found = []
        for pipeline in self._pipelines.every():
            store = Store.open(self.storage(pipeline.spec, pipeline.pipeline_id), self._options)
            target = pipeline.spec.get("schema") or pipeline.spec.get("target")
            for folder in store.folders(TABLES):
                *schema, name = parts(dataset_of(folder))
                found.append(
                    {
                        "catalog": pipeline.spec.get("catalog"),
                        "schema": schema[-1] if schema else target,
                        "name": name,
                        "url": store.url_of(f"{TABLES}/{folder}"),
                    }
                )
        return found

    def session(self) -> dict[str, Any]:
        """What the warehouse is told: which engine."""
        return {"options": self._options, "engine": self._settings.engine.remote}

    def storage(self, spec: Mapping[str, Any], pipeline_id: str) -> str:
        """The absolute path or URL of the pipeline's storage."""
        text = str(spec.get("storage") or f"dbfs:/pipelines/{pipeline_id}")
        if text.startswith("dbfs:"):
            inside = canonical(text.removeprefix("dbfs:"))
            return f"{absolute(self._settings.storage)}/{FOLDER}{inside}"
        if is_url(text) or text.startswith(("/", "file://")):
            return absolute(text)
        raise InvalidParameterError(f"the storage {text!r} is neither a URL nor an absolute path")

    def configuration(self, spec: Mapping[str, Any]) -> dict[str, str]:
        """The pipeline's configuration with what the region adds, secrets filled in.

        The region's landing zone is there unless the pipeline names one itself.
        """
        own = spec.get("configuration") or {}
        return {
            "landing_zone": self._settings.landing_zone,
            **{str(key): self._revealed(str(value)) for key, value in own.items()},
            **self._settings.configuration,
            **self._settings.table_keys,
        }

    def _revealed(self, text: str) -> str:
        return _SECRET.sub(lambda m: self._secrets.get(m[1], m[2]).decode(), text)

    def libraries(self, spec: Mapping[str, Any]) -> list[SourceFile]:
        """The source files of a pipeline, in order, each once."""
        found: dict[str, SourceFile] = {}
        for library in spec.get("libraries") or ():
            for item in self._items(library):
                source = SourceFile.of(item)
                found.setdefault(source.path, source)
        return list(found.values())

    def _items(self, library: Mapping[str, Any]) -> list[WorkspaceObject]:
        if library.get("notebook"):
            return [self._one(str(library["notebook"]["path"]), "notebook")]
        if library.get("file"):
            return [self._one(str(library["file"]["path"]), "file")]
        pattern = str(library["glob"]["include"])
        folder = pattern.removesuffix("/**")
        if folder == pattern:
            return [self._one(pattern, "file or notebook")]
        items = [
            item for item in self._workspace.below(folder) if item.file_name.endswith(_SOURCES)
        ]
        if not items:
            raise InvalidParameterError(f"no source file lies below {pattern!r} in the workspace")
        return items

    def _one(self, path: str, what: str) -> WorkspaceObject:
        item = self._workspace.get(path, content=True)
        if item.kind is ObjectKind.DIRECTORY:
            raise InvalidParameterError(f"{path!r} is a folder, not a {what}")
        if not item.file_name.endswith(_SOURCES):
            raise InvalidParameterError(
                f"{path!r} is neither Python nor SQL; a pipeline is made of those"
            )
        return item
