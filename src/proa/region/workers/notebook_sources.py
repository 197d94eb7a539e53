"""Sources of the workspace in a worker: other notebooks, and modules that notebooks import."""

from __future__ import annotations

import posixpath
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any

from proa.errors import UserError
from proa.region.workers.port import Inbox

_PLACE = "workspace:"
"""Begins the entry of a package's path that lies in the workspace."""


class Sources:
    """Asks the region's server for what lies in its workspace, once for each path."""

    def __init__(self, say: Callable[..., None], inbox: Inbox) -> None:
        self._say = say
        self._inbox = inbox
        self._known: dict[str, Mapping[str, Any] | None] = {}
        self._lock = threading.Lock()

    def find(self, path: str) -> Mapping[str, Any] | None:
        """`{"path", "language", "source"}`; the language is None for a file. None: nothing there."""
        with self._lock:
            if path not in self._known:
                self._say("ask", path=path)
                answer = self._inbox.messages.get()
                if answer is None:
                    raise UserError("the notebook was asked to stop")
                self._known[path] = answer if answer.get("source") is not None else None
            return self._known[path]

    def notebook(self, path: str, near: str) -> Mapping[str, Any]:
        """The notebook at `path`, which may be relative to the one at `near`. UserError for none."""
        absolute = posixpath.normpath(posixpath.join(posixpath.dirname(near), path))
        found = self.find(absolute)
        if found is None or found["language"] not in {"PYTHON", "SQL"}:
            raise UserError(f"there is no notebook {absolute!r} in Python or SQL")
        return found


class Modules(MetaPathFinder):
    """Finds modules next to the notebook, and below `/Workspace` where `sys.path` says so."""

    def __init__(self, sources: Sources, folder: str) -> None:
        self._sources = sources
        self._folder = folder

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,  # noqa: ARG002 - the port's shape
    ) -> ModuleSpec | None:
        if path is None:
            folders = [self._folder, *(item for item in sys.path if item.startswith("/Workspace/"))]
        else:
            folders = [item.removeprefix(_PLACE) for item in path if item.startswith(_PLACE)]
        name = fullname.rpartition(".")[2]
        for folder in folders:
            for file, is_package in ((f"{name}.py", False), (f"{name}/__init__.py", True)):
                found = self._sources.find(posixpath.join(folder, file))
                if found is not None and found["language"] is None:
                    spec = ModuleSpec(fullname, _Loader(found), is_package=is_package)
                    spec.origin = str(found["path"])
                    if is_package:
                        spec.submodule_search_locations = [_PLACE + posixpath.join(folder, name)]
                    return spec
        return None


class _Loader(InspectLoader):
    def __init__(self, found: Mapping[str, Any]) -> None:
        self._found = found

    def get_source(self, fullname: str) -> str:  # noqa: ARG002 - the port's shape
        return str(self._found["source"])

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.get_source(fullname), str(self._found["path"]), "exec")

    def is_package(self, fullname: str) -> bool:  # noqa: ARG002
        return str(self._found["path"]).endswith("/__init__.py")
