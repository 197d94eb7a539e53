"""`dbutils`: what a pipeline's code may ask it while it declares. It looks and never changes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from proa.errors import PipelineError
from proa.pipelines.declaring_session import user_location

CONDITION = "UNSUPPORTED_FEATURE"


class Widgets:
    """Parameters by name, and the defaults that code declares for when there are none."""

    def __init__(self, values: Mapping[str, str], remedy: str) -> None:
        """`remedy` says where a value can be given."""
        self._values = dict(values)
        self._remedy = remedy
        self._defaults: dict[str, str] = {}

    def text(self, name: str, defaultValue: str = "", label: str | None = None) -> None:  # noqa: N803, ARG002 - Databricks' own names
        self._defaults[name] = str(defaultValue)

    def dropdown(
        self,
        name: str,
        defaultValue: str,  # noqa: N803
        choices: Any = (),  # noqa: ARG002
        label: str | None = None,  # noqa: ARG002
    ) -> None:
        self._defaults[name] = str(defaultValue)

    combobox = dropdown
    multiselect = dropdown

    def get(self, name: str, default: str | None = None) -> str:
        """Return the parameter, else the widget's default. Raises UserError if there is neither."""
        value = self._values.get(name, self._defaults.get(name, default))
        if value is None:
            raise PipelineError(
                f"there is no parameter {name!r}; {self._remedy}, or declare the widget with a"
                " default",
                condition="WIDGET_NOT_FOUND",
                location=user_location(),
            )
        return value

    getArgument = get  # noqa: N815 - Databricks' own name

    def getAll(self) -> dict[str, str]:  # noqa: N802 - Databricks' own name
        return {**self._defaults, **self._values}

    def give(self, values: Mapping[str, str]) -> None:
        """Set parameters, as `%run path $name=value` does."""
        self._values.update(values)

    def remove(self, name: str) -> None:
        self._defaults.pop(name, None)

    def removeAll(self) -> None:  # noqa: N802 - Databricks' own name
        self._defaults.clear()


class SecretsUtility:
    """Secrets by scope and key."""

    def __init__(self, find: Callable[[str, str], str | None], remedy: str = "") -> None:
        """`find` returns the text of a scope's key, None if there is none."""
        self._find = find
        self._remedy = remedy

    def get(self, scope: str, key: str) -> str:
        """Return the secret's text. Raises UserError if there is none."""
        text = self._find(scope, key)
        if text is None:
            raise PipelineError(
                f"there is no secret {key!r} in the scope {scope!r}{self._remedy}",
                condition="SECRET_NOT_FOUND",
                location=user_location(),
            )
        return text

    def getBytes(self, scope: str, key: str) -> bytes:  # noqa: N802 - Databricks' own name
        return self.get(scope, key).encode()


class LibraryUtility:
    """Packages are installed next to Proa; what notebooks do after installing some does nothing."""

    def restartPython(self) -> None:  # noqa: N802 - Databricks' own name
        pass


class FileInfo(NamedTuple):
    """A file or folder, as `dbutils.fs.ls` shows it."""

    path: str
    name: str
    size: int
    modificationTime: int  # noqa: N815 - Databricks' own names

    def isDir(self) -> bool:  # noqa: N802
        return self.name.endswith("/")

    def isFile(self) -> bool:  # noqa: N802
        return not self.isDir()


class NotebookContext:
    """Databricks' inner door (`entry_point`): it leads to the notebook's path and to its tags."""

    def __init__(self, path: str, configuration: Mapping[str, str] | None = None) -> None:
        self._path = path
        self._tags = _Tags(configuration or {})

    def getDbutils(self) -> NotebookContext:  # noqa: N802 - Databricks' own names
        return self

    def notebook(self) -> NotebookContext:
        return self

    def getContext(self) -> NotebookContext:  # noqa: N802
        return self

    def notebookPath(self) -> NotebookContext:  # noqa: N802
        return self

    def get(self) -> str:
        return self._path

    def tags(self) -> _Tags:
        return self._tags

    def userName(self) -> _Tag:  # noqa: N802
        return self._tags.get("user")

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"the notebook's context has no {name!r}; it knows notebookPath(), tags() and userName()"
        )


class _Tags:
    """What is said of a notebook's run: who runs it is the same in all regions, if it is given."""

    def __init__(self, configuration: Mapping[str, str]) -> None:
        self._configuration = configuration

    def apply(self, name: str) -> str:
        """Return a tag. Raises PipelineError if the configuration does not hold it."""
        key = f"notebook.tags.{name}"
        if key not in self._configuration:
            raise PipelineError(
                f"the tag {key!r} of the notebook is not known; add it under 'configuration' in the"
                " pipeline's specification, the same for all regions",
                condition="SQL_CONF_NOT_FOUND",
                location=user_location(),
            )
        return self._configuration[key]

    def get(self, name: str) -> _Tag:
        return _Tag(lambda: self.apply(name))


class _Tag(NamedTuple):
    """A tag that may not be there, as Scala's Option."""

    get: Callable[[], str]


class DeclaringUtilities:
    """What the files of a pipeline call `dbutils`."""

    library = LibraryUtility()

    def __init__(self, configuration: Mapping[str, str], path: str) -> None:
        """`path` is the file's as seen from the pipeline's root."""
        self._configuration = configuration
        self.widgets = Widgets(
            configuration, "add it under 'configuration' in the pipeline's specification"
        )
        self.secrets = SecretsUtility(
            self._secret,
            "; add 'secrets/<scope>/<key>' to the configuration of the region in proa.yml"
            " (its value may be ${VARIABLE}), or set PROA_SECRET_<SCOPE>_<KEY>",
        )
        self.notebook = _DeclaringNotebook(path, configuration)
        self.entry_point = self.notebook.entry_point
        self.jobs = _DeclaringJobs()
        self.fs = _DeclaringFiles()

    def _secret(self, scope: str, key: str) -> str | None:
        variable = re.sub(r"\W", "_", f"PROA_SECRET_{scope}_{key}").upper()
        return self._configuration.get(f"secrets/{scope}/{key}", os.environ.get(variable))


class _DeclaringNotebook:
    def __init__(self, path: str, configuration: Mapping[str, str]) -> None:
        self.entry_point = NotebookContext("/" + path.rsplit(".", 1)[0], configuration)

    def getContext(self) -> NotebookContext:  # noqa: N802 - Databricks' own name
        return self.entry_point

    def run(self, path: str, *_: Any, **__: Any) -> NoReturn:
        raise _refusal(f"dbutils.notebook.run({path!r})", "use %run, or a task of a job")

    def exit(self, *_: Any) -> NoReturn:
        raise _refusal("dbutils.notebook.exit()", "leave it out: all datasets are declared")


class _DeclaringJobs:
    """A pipeline is not a task: values that tasks tell one another are their debug values."""

    @property
    def taskValues(self) -> _DeclaringJobs:  # noqa: N802 - Databricks' own name
        return self

    def get(
        self,
        taskKey: str,  # noqa: N803 - Databricks' own names
        key: str,
        default: Any = None,
        debugValue: Any = None,  # noqa: N803
    ) -> Any:
        value = default if debugValue is None else debugValue
        if value is None:
            raise _refusal(
                f"the value {key!r} of the task {taskKey!r}",
                "give a debugValue, or pass it in the pipeline's configuration",
            )
        return value

    def set(self, *_: Any, **__: Any) -> NoReturn:
        raise _refusal("dbutils.jobs.taskValues.set()", "set it in a notebook task")


class _DeclaringFiles:
    """Files of this machine, to look at. DBFS and workspace paths are paths of this machine."""

    def ls(self, dir: str) -> list[FileInfo]:  # noqa: A002 - Databricks' own name
        """Return what lies in a folder, by name. Raises PipelineError if it is not there."""
        folder = _local(dir)
        try:
            entries = sorted(folder.iterdir())
        except OSError as error:
            raise PipelineError(
                f"dbutils.fs.ls({dir!r}): {error.strerror or error}",
                condition="PATH_NOT_FOUND",
                location=user_location(),
            ) from error
        return [_file_info(dir, entry) for entry in entries]

    def head(self, file: str, maxBytes: int = 65536) -> str:  # noqa: N803 - Databricks' own name
        """Return the first bytes of a file as text."""
        try:
            with _local(file).open("rb") as content:
                return content.read(maxBytes).decode("utf-8", "replace")
        except OSError as error:
            raise PipelineError(
                f"dbutils.fs.head({file!r}): {error.strerror or error}",
                condition="PATH_NOT_FOUND",
                location=user_location(),
            ) from error

    def _change(self, *_: Any, **__: Any) -> NoReturn:
        raise _refusal(
            "changing files (dbutils.fs)", "do it in a task of a job before the pipeline runs"
        )

    put = mkdirs = rm = mv = cp = mount = unmount = _change


def _local(path: str) -> Path:
    text = re.sub(r"^(dbfs:|file:)(?=/)", "", path)
    if "://" in text:
        raise _refusal(
            f"listing {path!r} while declaring",
            "read it with the Auto Loader (format 'cloudFiles')",
        )
    return Path(text)


def _file_info(folder: str, entry: Path) -> FileInfo:
    status = entry.stat()
    end = "/" if entry.is_dir() else ""
    size = 0 if end else status.st_size
    path = f"{folder.rstrip('/')}/{entry.name}{end}"
    return FileInfo(path, entry.name + end, size, int(status.st_mtime * 1000))


def _refusal(what: str, remedy: str) -> PipelineError:
    return PipelineError(
        f"{what}: declaring a pipeline runs nothing; {remedy}",
        condition=CONDITION,
        location=user_location(),
    )
