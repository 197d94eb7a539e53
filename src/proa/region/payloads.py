"""What a worker is told: a pipeline's files, where its tables lie, and its configuration."""

from __future__ import annotations

import base64
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from proa.http.api_errors import InvalidParameterError, MissingError
from proa.pipelines.identifiers import name_parts
from proa.recovery.control_record import ControlAddress
from proa.region.jobs.job_tasks import type_of
from proa.region.jobs.parameters import of_run
from proa.region.jobs.runs import Run
from proa.region.jobs.triggers import FilesSeen
from proa.region.pipelines.pipelines import Pipelines
from proa.region.pipelines.updates import Update
from proa.region.state.database import stable_number
from proa.region.statements.guard import guard_statement, split_statements
from proa.region.workers.port import Work
from proa.region.workers.update_order import UpdateOrder
from proa.region.workspace.files import FOLDER, Files
from proa.region.workspace.secrets import Secrets
from proa.region.workspace.workspace import ObjectKind, Workspace, WorkspaceObject, canonical
from proa.runtime.declared import read_declared, table_urls
from proa.settings import ProjectSettings, RegionSettings
from proa.storage import Store, absolute, is_url
from proa.storage.visible import is_hidden
from proa.times import millis

_SOURCES = (".py", ".sql")
_SECRET = re.compile(r"\{\{secrets/([\w@.\-]+)/([\w@.\-]+)\}\}")


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
        files: Files,
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
        self._files = files

    def update(self, found: Update) -> dict[str, Any]:
        """The payload of an update. ApiError when a library is not in the workspace."""
        spec = found.spec
        libraries = self.libraries(spec)
        root = self._root(spec, libraries)
        order = UpdateOrder(
            region=self._region,
            pipeline_id=found.pipeline_id,
            update_id=found.update_id,
            name=str(spec.get("name") or found.pipeline_id),
            storage=self.storage(spec, found.pipeline_id),
            options=self._options,
            engine=self._settings.engine.remote,
            catalog=spec.get("catalog"),
            schema=spec.get("schema") or spec.get("target"),
            files={item.path: item.content for item in libraries},
            root=root,
            modules=self._modules(root),
            configuration={**self.configuration(spec), **found.parameters},
            continuous=found.continuous,
            development=bool(spec.get("development")),
            cause=found.cause,
            request=found.request,
        )
        project = self._project
        if project is not None:
            event_time = project.event_time
            order = replace(
                order,
                dr_safety=project.dr_safety or "warn",
                accept=project.accept,
                regional_keys=project.regional_keys,
                control=ControlAddress.of(project) if self._region in project.regions else None,
                event_time=None if event_time is None else event_time.column,
            )
        return order.to_json()

    def task_work(self, run: Run, task: Mapping[str, Any]) -> Work:
        """What a worker is given for a task of `run`. ApiError if what it runs is not there."""
        kind = type_of(task)
        body = task[kind]
        given = {**of_run(run), **(run.parameters.get("notebook_params") or {})}
        if kind == "notebook_task":
            item = self._text_of(str(body["notebook_path"]))
            if item.kind is not ObjectKind.NOTEBOOK or item.language not in {"PYTHON", "SQL"}:
                raise InvalidParameterError(f"{item.path!r} is not a notebook in Python or SQL")
            values = {**of_run(run), **(body.get("base_parameters") or {})}
            values |= run.parameters.get("notebook_params") or {}
            return self._work("notebook", item, parameters=_texts(values))
        if kind == "sql_task":
            item = self._text_of(str(body["file"]["path"]))
            statements = self._read_only(
                SourceFile.of(item).content, {**given, **body.get("parameters", {})}
            )
            return self._work("notebook", item, language="SQL", source=";\n".join(statements))
        if kind == "spark_python_task":
            item = self._text_of(str(body["python_file"]))
            arguments = run.parameters.get("python_params") or body.get("parameters") or ()
            return self._work("script", item, arguments=[str(value) for value in arguments])
        named = run.parameters.get("python_named_params") or body.get("named_parameters") or {}
        arguments = run.parameters.get("python_params") or body.get("parameters") or ()
        return self._work(
            "script",
            None,
            arguments=[*map(str, arguments), *(f"--{key}={value}" for key, value in named.items())],
            package=str(body["package_name"]),
            entry_point=str(body["entry_point"]),
            wheels=self._wheels(run, task),
        )

    def _work(self, kind: str, item: WorkspaceObject | None, **more: Any) -> Work:
        payload: dict[str, Any] = {
            "region": self._region,
            "path": "/" if item is None else item.path,
            "language": None if item is None else item.language,
            "source": None if item is None else SourceFile.of(item).content,
            "parameters": {},
            "secrets": self._secrets.every(),
            "storage": absolute(self._settings.storage),
            "options": self._options,
            "engine": self._settings.engine.remote,
            "tables": self.tables(),
            **more,
        }
        return Work("", kind, payload)

    def _text_of(self, path: str) -> WorkspaceObject:
        """The notebook or file at `path`, of the workspace or of DBFS, with its content."""
        if path.startswith("dbfs:"):
            data = b"".join(self._files.read(path, 0, self._files.stat(path).size))
            return WorkspaceObject(0, path, ObjectKind.FILE, None, len(data), 0, 0, data)
        item = self._workspace.get(path, content=True)
        if item.kind is ObjectKind.DIRECTORY:
            raise InvalidParameterError(f"{path!r} is a folder, not a notebook or file")
        return item

    def _wheels(self, run: Run, task: Mapping[str, Any]) -> list[dict[str, str]]:
        """The wheels that a task names, in its libraries or its environment, base64."""
        environments = {
            str(item.get("environment_key")): item.get("spec") or {}
            for item in run.settings.get("environments") or ()
        }
        spec = environments.get(str(task.get("environment_key")), {})
        paths = [str(item["whl"]) for item in task.get("libraries") or () if item.get("whl")]
        paths += [
            str(name) for name in spec.get("dependencies") or () if str(name).endswith(".whl")
        ]
        return [
            {
                "name": posixpath.basename(path),
                "content": base64.b64encode(self._text_of(path).content).decode(),
            }
            for path in paths
        ]

    def _read_only(self, text: str, values: Mapping[str, Any]) -> list[str]:
        """The statements of a SQL file, held to what statements from outside may do."""
        tables = self.tables()
        parameters = [{"name": key, "value": str(value)} for key, value in values.items()]
        return [
            guard_statement(statement, parameters, tables).sql
            for statement in split_statements(text)
        ]

    def files_at(self, url: str) -> FilesSeen:
        """What lies at the URL that a file arrival trigger names.

        In a landing zone the manifest says it: a shipment is there once its files all are.
        """
        if url.startswith(("dbfs:", "/Volumes/")):
            location = (
                f"{absolute(self._settings.storage)}/{FOLDER}{canonical(url.removeprefix('dbfs:'))}"
            )
        elif is_url(url) or url.startswith("/"):
            location = absolute(url)
        else:
            raise InvalidParameterError(f"the url {url!r} is neither a URL nor an absolute path")
        zone = absolute(self._settings.landing_zone).rstrip("/")
        source = location.rstrip("/").removeprefix(zone).strip("/")
        if location.startswith(f"{zone}/") and source:
            # Loaded for jobs that wait for files only: it brings Arrow along.
            from proa.landing import Manifest

            manifest = Manifest(Store.open(zone, self._options), source.partition("/")[0])
            manifest.refresh()
            if manifest.head:
                return FilesSeen(manifest.head, manifest.head, f"manifest {manifest.head}")
        store = Store.open(location, self._options)
        count = newest = total = 0
        for info in store.walk():
            if not is_hidden(info.path):
                count += 1
                newest = max(newest, millis(info.modified))
                total ^= stable_number(info.path, str(info.size), str(millis(info.modified)))
        return FilesSeen(count, newest, f"{total:x}")

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
            storage = self.storage(pipeline.spec, pipeline.pipeline_id)
            target = pipeline.spec.get("schema") or pipeline.spec.get("target")
            declared = read_declared(storage, self._options)
            for table, url in table_urls(storage, self._options, declared).items():
                *schema, name = name_parts(table)
                found.append(
                    {
                        "catalog": pipeline.spec.get("catalog"),
                        "schema": schema[-1] if schema else target,
                        "name": name,
                        "url": url,
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
            **{str(key): self._reveal(str(value)) for key, value in own.items()},
            **self._settings.configuration,
            **self._settings.table_keys,
        }

    def _reveal(self, text: str) -> str:
        return _SECRET.sub(lambda m: self._secrets.get(m[1], m[2]).decode(), text)

    def libraries(self, spec: Mapping[str, Any]) -> list[SourceFile]:
        """The source files of a pipeline, in order, each once."""
        found: dict[str, SourceFile] = {}
        for library in spec.get("libraries") or ():
            for item in self._items(library):
                source = SourceFile.of(item)
                found.setdefault(source.path, source)
        return list(found.values())

    def _root(self, spec: Mapping[str, Any], libraries: Sequence[SourceFile]) -> str:
        """The folder from which a pipeline's sources import one another: its `root_path`.

        The whole workspace if it names none, or one that does not hold all of its sources.
        """
        root = canonical(str(spec["root_path"])) if spec.get("root_path") else "/"
        inside = f"{root.rstrip('/')}/"
        return root if all(item.path.startswith(inside) for item in libraries) else "/"

    def _modules(self, root: str) -> dict[str, str]:
        """The Python files below `root`; none for a pipeline without a root of its own."""
        if root == "/":
            return {}
        items = self._workspace.below(root)
        return {
            item.path: SourceFile.of(item).content
            for item in items
            if item.kind is ObjectKind.FILE and item.path.endswith(".py")
        }

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


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in values.items()}
