"""`dbutils` in a region's notebooks, as far as a region has what is behind it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from proa.clock import SystemClock
from proa.errors import UserError
from proa.http.api_errors import MissingError
from proa.pipelines.notebook_utilities import (
    FileInfo,
    LibraryUtility,
    NotebookContext,
    SecretsUtility,
    Widgets,
)
from proa.region.workspace.files import Entry, Files
from proa.storage import Store

_MAX_VALUE = 48 * 1024
"""Characters that one task value may have as JSON; Databricks' limit."""

Say = Callable[..., None]
RunNotebook = Callable[[str, Mapping[str, str]], str]
"""(path, arguments) -> what the notebook exited with."""


class NotebookExit(BaseException):
    """`dbutils.notebook.exit(value)`: the notebook ends here, and well."""

    def __init__(self, value: str) -> None:
        super().__init__(value)
        self.value = value


class Utilities:
    """What a notebook calls `dbutils`."""

    library = LibraryUtility()

    def __init__(
        self,
        work: Mapping[str, Any],
        path: str,
        parameters: Mapping[str, str],
        run: RunNotebook,
        say: Say,
    ) -> None:
        self.widgets = Widgets(parameters, "give the task one in base_parameters")
        secrets = dict(work.get("secrets") or {})
        self.secrets = SecretsUtility(lambda scope, key: secrets.get(f"{scope}/{key}"))
        self.notebook = NotebookUtility(path, run)
        self.jobs = JobsUtility(work.get("task_values") or {}, say)
        self._storage = work.get("storage"), work.get("options") or {}
        self._fs: FileSystemUtility | None = None

    @property
    def fs(self) -> FileSystemUtility:
        if self._fs is None:
            location, options = self._storage
            self._fs = FileSystemUtility(Files(Store.open(str(location), options), SystemClock()))
        return self._fs


class NotebookUtility:
    """Other notebooks, and this one's end."""

    def __init__(self, path: str, run: RunNotebook) -> None:
        self._path = path
        self._run = run

    def exit(self, value: Any = "") -> None:
        """End the notebook; `value` is the task's output."""
        raise NotebookExit(str(value))

    def run(
        self,
        path: str,
        timeout_seconds: int = 0,  # noqa: ARG002 - the task's own timeout holds
        arguments: Mapping[str, Any] | None = None,
    ) -> str:
        """Run another notebook with names of its own; what it exited with."""
        return self._run(path, {key: str(value) for key, value in (arguments or {}).items()})

    @property
    def entry_point(self) -> Any:
        """Databricks' inner door; it leads to the notebook's path and nowhere else."""
        return NotebookContext(self._path)


class JobsUtility:
    """What tasks of one run tell one another."""

    def __init__(self, values: Mapping[str, Mapping[str, Any]], say: Say) -> None:
        self.taskValues = TaskValues(values, say)


class TaskValues:
    """Values by task and key."""

    def __init__(self, values: Mapping[str, Mapping[str, Any]], say: Say) -> None:
        self._values = values
        self._say = say

    def set(self, key: str, value: Any) -> None:
        """Tell the tasks after this one. UserError for what JSON cannot say."""
        try:
            text = json.dumps(value)
        except (TypeError, ValueError) as error:
            raise UserError(f"the task value {key!r} cannot be written as JSON: {error}") from error
        if len(text) > _MAX_VALUE:
            raise UserError(f"the task value {key!r} has over {_MAX_VALUE} characters as JSON")
        self._say("value", key=key, value=value)

    def get(
        self,
        taskKey: str,  # noqa: N803 - Databricks' own names
        key: str,
        default: Any = None,
        debugValue: Any = None,  # noqa: N803, ARG002
    ) -> Any:
        """What the task told, else the default. UserError when there is neither."""
        found = self._values.get(taskKey, {}).get(key, default)
        if found is None:
            raise UserError(f"task {taskKey!r} set no value {key!r}, and there is no default")
        return found


class FileSystemUtility:
    """DBFS: the files that the region's API shows."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def ls(self, dir: str) -> list[FileInfo]:  # noqa: A002 - Databricks' own names
        return [_info(entry) for entry in self._files.children(_inside(dir))]

    def head(self, file: str, maxBytes: int = 65536) -> str:  # noqa: N803
        size = min(self._files.stat(_inside(file)).size, maxBytes)
        data = b"".join(self._files.read(_inside(file), 0, size)) if size else b""
        return data.decode("utf-8", "replace")

    def put(self, file: str, contents: str, overwrite: bool = False) -> bool:  # noqa: FBT001, FBT002
        self._files.write(_inside(file), contents.encode(), overwrite=overwrite)
        return True

    def mkdirs(self, dir: str) -> bool:  # noqa: A002
        self._files.mkdirs(_inside(dir))
        return True

    def rm(self, dir: str, recurse: bool = False) -> bool:  # noqa: A002, FBT001, FBT002
        try:
            self._files.delete(_inside(dir), recursive=recurse)
        except MissingError:
            return False
        return True

    def mv(self, source: str, to: str, recurse: bool = False) -> bool:  # noqa: ARG002, FBT001, FBT002
        self._files.move(_inside(source), _inside(to))
        return True

    def cp(self, source: str, to: str, recurse: bool = False) -> bool:  # noqa: FBT001, FBT002
        self._files.copy(_inside(source), _inside(to), recursive=recurse)
        return True


def _inside(path: str) -> str:
    """The path in the tree. UserError for one that lies elsewhere."""
    text = path.removeprefix("dbfs:").removeprefix("/dbfs")
    if not text.startswith("/"):
        raise UserError(f"{path!r} is not a path of DBFS; read other storage with spark.read")
    return text


def _info(entry: Entry) -> FileInfo:
    name = entry.path.rsplit("/", 1)[-1]
    end = "/" if entry.is_dir else ""
    return FileInfo(f"dbfs:{entry.path}{end}", name + end, entry.size, entry.modified)
