"""A notebook's cells, run one after the other in a worker process.

Other notebooks, and modules that notebooks import, come from the region's workspace: its server is asked.
"""

from __future__ import annotations

import os
import posixpath
import shlex
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any

from proa.engine import Engine
from proa.errors import UserError
from proa.pipelines.notebook_source import Cell, cells
from proa.region.workers.catalog import register_tables
from proa.region.workers.dbutils import NotebookExit, Utilities
from proa.region.workers.failures import failure_object
from proa.region.workers.port import Inbox
from proa.settings import EngineSettings

_SHOWN_ROWS = 20
_RUNTIME_NAMES = ("spark", "dbutils", "sql", "table", "display", "displayHTML", "getArgument")
_NO_DISPLAY = ("%md", "%pip", "%conda", "%matplotlib", "%load_ext", "%autoreload", "%config")


def run(work: Mapping[str, Any], say: Callable[..., None], inbox: Inbox) -> dict[str, Any]:
    """Run the notebook `work` describes; its answer is what it exited with, if it did."""
    engine = Engine.start(EngineSettings(remote=work.get("engine")), work.get("options") or {})
    kernel = NotebookKernel(work, engine, say, inbox)
    try:
        output = kernel.run_notebook(work, dict(work.get("parameters") or {}))
    except _StoppedError:
        return {"outcome": "CANCELED"}
    except BaseException as error:  # noqa: BLE001 - the user's code may raise anything
        return failure_object(error, own=kernel.paths)
    finally:
        engine.close()
    return (
        {"outcome": "COMPLETED"} if output is None else {"outcome": "COMPLETED", "output": output}
    )


class _StoppedError(Exception):
    """The server has asked the notebook to stop."""


class NotebookKernel:
    """What all notebooks of one task share: the engine and the workspace's sources."""

    def __init__(
        self, work: Mapping[str, Any], engine: Engine, say: Callable[..., None], inbox: Inbox
    ) -> None:
        self.work = work
        self.engine = engine
        self.say = say
        self.inbox = inbox
        self.sources = Sources(say, inbox)
        self.paths = {str(work["path"])}
        """The notebooks that ran."""
        self._registered = False
        sys.meta_path.append(Modules(self.sources, posixpath.dirname(str(work["path"]))))

    def run_notebook(self, found: Mapping[str, Any], parameters: Mapping[str, str]) -> str | None:
        """Run a notebook with names of its own; what it exited with, None when it did not."""
        session = NotebookSession(self, str(found["path"]), parameters)
        try:
            session.run(found)
        except NotebookExit as left:
            return left.value
        return None

    def spark(self) -> Any:
        """The engine's session, the region's tables known."""
        if not self._registered:
            register_tables(self.engine, self.work.get("tables") or ())
            self._registered = True
        return self.engine.spark


class NotebookSession:
    """What the cells of a notebook share: the names, and `dbutils`."""

    def __init__(self, kernel: NotebookKernel, path: str, parameters: Mapping[str, str]) -> None:
        self._kernel = kernel
        self._path = path
        self._utilities = Utilities(kernel.work, path, parameters, self._run_other, kernel.say)
        self._names: dict[str, Any] = {
            "__name__": "__main__",
            "__file__": path,
            "dbutils": self._utilities,
            "display": self._display,
            "displayHTML": self._display,
            "getArgument": self._utilities.widgets.get,
            "spark": _Late(kernel.spark),
            "sql": lambda text: kernel.spark().sql(text),
            "table": lambda name: kernel.spark().table(name),
        }
        module = ModuleType("pyspark.dbutils")
        module.__dict__["DBUtils"] = lambda *_session: self._utilities
        sys.modules["pyspark.dbutils"] = module
        runtime = ModuleType("databricks.sdk.runtime")
        runtime.__dict__.update({key: self._names[key] for key in _RUNTIME_NAMES})
        sys.modules["databricks.sdk.runtime"] = runtime

    def run(self, found: Mapping[str, Any]) -> None:
        """Run a notebook's cells with this session's names."""
        path = str(found["path"])
        self._kernel.paths.add(path)
        for cell in cells(str(found["language"]), str(found["source"])):
            if self._kernel.inbox.stop.is_set():
                raise _StoppedError
            self._cell(path, cell)

    def run_script(self, path: str, source: str) -> None:
        """Run a Python file with this session's names."""
        self._kernel.paths.add(path)
        exec(compile(source, path, "exec"), self._names)  # noqa: S102 - it is the task

    def _cell(self, path: str, cell: Cell) -> None:
        """Run one cell. UserError for a kind of cell that a region does not run."""
        if cell.language == "PYTHON":
            self._python(path, cell)
        elif cell.language == "SQL":
            for statement in _statements(cell.source):
                frame = self._sql(statement)
                self._names["_sqldf"] = frame
                self._display(frame)
        elif cell.language == "%run":
            self._include(path, cell)
        elif cell.language != "MARKDOWN" and cell.language not in _NO_DISPLAY:
            raise UserError(
                f"{path}:{cell.line}: a cell of kind {cell.language} cannot be run in a"
                " region; use Python or SQL"
            )

    def _python(self, path: str, cell: Cell) -> None:
        # Empty lines in front: whatever is wrong, and wherever, has the notebook's own line.
        source = "\n" * (cell.line - 1) + cell.source
        exec(compile(source, path, "exec"), self._names)  # noqa: S102 - it is the notebook

    def _include(self, path: str, cell: Cell) -> None:
        """`%run path $name="value" ...`: the other notebook's cells, as if they stood here."""
        words = shlex.split(cell.source, comments=True)
        if not words:
            raise UserError(f"{path}:{cell.line}: %run needs the path of a notebook")
        given = (word.removeprefix("$").partition("=") for word in words[1:])
        self._utilities.widgets.give({name: value for name, _, value in given})
        self.run(self._kernel.sources.notebook(words[0], path))

    def _run_other(self, path: str, arguments: Mapping[str, str]) -> str:
        found = self._kernel.sources.notebook(path, self._path)
        return self._kernel.run_notebook(found, arguments) or ""

    def _sql(self, statement: str) -> Any:
        values = self._utilities.widgets.getAll()
        with self._kernel.engine.translating():
            return self._kernel.spark().sql(statement, args=values)

    def _display(self, value: Any, *_more: Any, **_options: Any) -> None:
        if hasattr(value, "show"):
            with self._kernel.engine.translating():
                value.show(_SHOWN_ROWS)
        elif value is not None:
            print(value)  # noqa: T201 - the notebook's own output


class _Late:
    """`spark`, which starts when it is first used."""

    def __init__(self, start: Callable[[], Any]) -> None:
        self._start = start

    def __getattr__(self, name: str) -> Any:
        return getattr(self._start(), name)


def _statements(text: str) -> list[str]:
    """The statements of a SQL cell, parted by semicolons that are not within text."""
    from sqlglot import tokenize
    from sqlglot.tokenizer_core import TokenType

    found, begin = [], 0
    for token in tokenize(text, dialect="databricks"):
        if token.token_type is TokenType.SEMICOLON:
            found.append(text[begin : token.start])
            begin = token.end + 1
    found.append(text[begin:])
    return [statement for statement in found if statement.strip()]


def warm() -> None:
    """Import what a notebook needs before it comes."""
    os.environ.setdefault("RUST_LOG", "error")
    import pysail.spark  # noqa: F401
    import pyspark.sql.connect.session  # noqa: F401


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
