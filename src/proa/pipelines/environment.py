"""The surroundings a pipeline's Python code is written for, in which it is loaded and called.

Inside: `spark` is the declaring session, `from pyspark import pipelines` has Databricks' names too,
the project's modules can be imported, relative paths start at the project, and what the code
prints goes to standard error. Outside: nothing of it is left behind.
"""

from __future__ import annotations

import builtins
import functools
import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, chdir, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from proa.errors import PipelineError, SourceLocation
from proa.pipelines.declaring_session import DeclaringSession, install_session, user_location
from proa.pipelines.notebook_utilities import DeclaringUtilities
from proa.pipelines.spec import seen_from


@dataclass(frozen=True)
class RunningPipeline:
    """Where a pipeline's code runs: the project's folder and the session it sees as `spark`."""

    root: Path
    session: DeclaringSession

    def shown_location(self, location: SourceLocation | None) -> SourceLocation | None:
        """`location` with its file as seen from the root, when it lies below."""
        if location is None:
            return None
        return SourceLocation(seen_from(self.root, location.file), location.line)


running: list[RunningPipeline] = []
"""The innermost last. Only `Environment.entered` changes it, one thread at a time."""


def current_session() -> DeclaringSession:
    """The session of the pipeline whose code is running; PipelineError when none is."""
    if not running:
        raise PipelineError(
            "a dataset can only be read while a pipeline is loaded, in its query functions",
            condition="GRAPH_ELEMENT_DEFINED_OUTSIDE_OF_DECLARATIVE_PIPELINE",
            location=caller(),
        )
    return running[-1].session


def caller() -> SourceLocation | None:
    """The line of the user's code that is calling, its file as seen from the pipeline's root."""
    location = user_location()
    return running[-1].shown_location(location) if running else location


_entering = threading.RLock()
"""One pipeline at a time: modules, paths and the working folder belong to the whole process."""

_OURS = frozenset({"proa", "pyspark", "dlt"})


class Environment:
    """The surroundings of one pipeline. Modules it imports stay its own, and only its own."""

    def __init__(
        self,
        root: Path,
        session: DeclaringSession,
        folders: tuple[Path, ...],
        names: ModuleType,
    ) -> None:
        """`folders` are those of the pipeline's files: they may import their neighbours.

        The names in `names` stand beside Apache's under `pyspark.pipelines`.
        """
        self.root = root
        self.session = session
        self._names = names
        self.place = RunningPipeline(root, session)
        self._folders = tuple(folder for folder in dict.fromkeys(folders) if folder != root)
        self._modules: dict[str, ModuleType] = {}

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Be inside for a while. May be entered again from inside."""
        from pyspark.pipelines.block_session_mutations import block_session_mutations

        with _entering, ExitStack() as stack:
            if not (running and running[-1] is self.place):
                stack.enter_context(chdir(self.root))
                stack.enter_context(redirect_stdout(sys.stderr))
                stack.enter_context(self._importing())
                stack.enter_context(_pipelines_module(self._names))
                stack.enter_context(_older_functions())
                stack.enter_context(_runtime_modules(self._runtime_names("pipeline.py")))
                stack.enter_context(self.session.install())
                stack.enter_context(block_session_mutations())
                running.append(self.place)
                stack.callback(running.pop)
            yield

    def bind(self, query: Callable[..., Any]) -> Callable[..., Any]:
        """`query`, callable from outside. Its PipelineErrors name files as seen from the root."""

        @functools.wraps(query)
        def call(*arguments: Any) -> Any:
            with self.enter():
                try:
                    return query(*arguments)
                except PipelineError as error:
                    error.location = self.place.shown_location(error.location)
                    raise

        return call

    def bind_sink(self, deliver: Callable[[Any, int], Any]) -> Callable[[Any, int], Any]:
        """`deliver`, callable from outside with a batch. It declares nothing: it finds the session
        of its DataFrame, in which it may do what it likes. One such function runs at a time.
        """

        @functools.wraps(deliver)
        def call(frame: Any, batch: int) -> Any:
            session = frame.sparkSession
            with (
                _entering,
                redirect_stdout(sys.stderr),
                self._importing(),
                install_session(session),
            ):
                return deliver(frame, batch)

        return call

    def source_module(self, file: Path, *, is_main: bool) -> ModuleType:
        """Return a new module for one of the pipeline's files, with the names that it may use.

        A notebook is `__main__`, as on Databricks; another file has a name that no import finds. It
        is the same in every region: it travels with pickled functions.
        """
        shown = seen_from(self.root, file)
        module = ModuleType("pipeline:" + str(Path(shown).with_suffix("")))
        module.__file__ = str(file)
        module.__dict__.update(
            self._runtime_names(shown),
            __name__="__main__" if is_main else module.__name__,
            __builtins__=builtins,
        )
        if not is_main:
            sys.modules[module.__name__] = self._modules[module.__name__] = module
            _pickle_by_value(module)
        return module

    def _runtime_names(self, shown: str) -> dict[str, Any]:
        """Return the names that Databricks puts into every notebook."""
        utilities = DeclaringUtilities(self.session.configuration, shown)
        return {
            "spark": self.session,
            "dbutils": utilities,
            "display": _show_nothing,
            "displayHTML": _show_nothing,
            "getArgument": utilities.widgets.get,
            "sql": self.session.sql,
            "table": self.session.table,
        }

    @contextmanager
    def _importing(self) -> Iterator[None]:
        path, no_bytecode = list(sys.path), sys.dont_write_bytecode
        own = self._importable()
        hidden = {name: sys.modules[name] for name in list(sys.modules) if _top(name) in own}
        for name in hidden:
            del sys.modules[name]
        before = set(sys.modules)
        sys.modules.update(self._modules)
        # The root first, as for a script; the files' folders last, lest `calendar.py` among them
        # hides Python's own.
        sys.path[:0] = [str(self.root)]
        sys.path += [str(folder) for folder in self._folders]
        # Python compares a cached module with its source by the second: an edit could be missed.
        sys.dont_write_bytecode = True
        importlib.invalidate_caches()
        try:
            yield
        finally:
            foreign = _environments_below(self.root, path)
            for name in set(sys.modules) - before:
                if name in self._modules or self._owns(sys.modules[name], foreign):
                    self._modules[name] = sys.modules[name]
                    _pickle_by_value(sys.modules.pop(name))
            sys.modules.update(hidden)
            sys.path[:] = path
            sys.dont_write_bytecode = no_bytecode

    def _importable(self) -> frozenset[str]:
        """The names of the project's own modules, which may hide others of the process."""
        names = {
            path.stem
            for path in self.root.iterdir()
            if path.suffix == ".py" or (path / "__init__.py").is_file()
        }
        return frozenset(names - sys.stdlib_module_names - _OURS)

    def _owns(self, module: ModuleType, foreign: tuple[Path, ...]) -> bool:
        places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
        roots = (self.root, *self._folders)
        return any(
            any(Path(place).is_relative_to(root) for root in roots)
            and not any(Path(place).is_relative_to(folder) for folder in foreign)
            for place in places
            if place
        )


def _top(name: str) -> str:
    return name.partition(".")[0]


def _environments_below(root: Path, path: list[str]) -> tuple[Path, ...]:
    """Import paths below the project that are not the project's: a `.venv` kept inside it."""
    folders = (Path(entry) for entry in path if entry)
    return tuple(folder for folder in folders if folder != root and folder.is_relative_to(root))


def _pickle_by_value(module: ModuleType) -> None:
    """Ship functions of the module with a UDF: the engine's workers cannot import it."""
    from pyspark.cloudpickle import cloudpickle

    # The public register_pickle_by_value wants the module to stay in sys.modules.
    cloudpickle._PICKLE_BY_VALUE_MODULES.add(module.__name__)  # noqa: SLF001


@contextmanager
def _pipelines_module(names: ModuleType) -> Iterator[None]:
    """Put `names` beside Apache's under `pyspark.pipelines`."""
    import pyspark
    import pyspark.pipelines

    original = pyspark.pipelines
    together = _merged_module(original, names)
    sys.modules["pyspark.pipelines"] = pyspark.pipelines = together
    try:
        yield
    finally:
        sys.modules["pyspark.pipelines"] = pyspark.pipelines = original


def install_pipelines_module(names: ModuleType) -> None:
    """Let `pyspark.pipelines` have `names` beside Apache's, from now on."""
    import pyspark
    import pyspark.pipelines

    sys.modules["pyspark.pipelines"] = pyspark.pipelines = _merged_module(pyspark.pipelines, names)


@contextmanager
def _runtime_modules(names: dict[str, Any]) -> Iterator[None]:
    """Let `databricks.sdk.runtime` and `pyspark.dbutils` be imported, with a notebook's names."""
    runtime = ModuleType("databricks.sdk.runtime")
    runtime.__dict__.update(names, __all__=sorted(names))
    utilities = ModuleType("pyspark.dbutils")
    utilities.__dict__["DBUtils"] = lambda *_session: names["dbutils"]
    modules = {"databricks.sdk.runtime": runtime, "pyspark.dbutils": utilities}
    if importlib.util.find_spec("databricks") is None:
        for name in ("databricks", "databricks.sdk"):
            modules[name] = ModuleType(name)
            modules[name].__path__ = []
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


_OLDER_FUNCTIONS = (
    "approxCountDistinct",
    "bitwiseNOT",
    "countDistinct",
    "shiftLeft",
    "shiftRight",
    "shiftRightUnsigned",
    "sumDistinct",
    "toDegrees",
    "toRadians",
)


@contextmanager
def _older_functions() -> Iterator[None]:
    """Let `from pyspark.sql.functions import *` bring the names that it brought before Spark 4."""
    from pyspark.sql import functions

    listed = functions.__all__
    functions.__all__ = sorted({*listed, *_OLDER_FUNCTIONS})
    try:
        yield
    finally:
        functions.__all__ = listed


def _show_nothing(*_args: Any, **_options: Any) -> None:
    """`display(...)` of a notebook: there is nobody to look."""


@functools.cache
def _merged_module(original: ModuleType, names: ModuleType) -> ModuleType:
    module = ModuleType(original.__name__, original.__doc__)
    module.__dict__.update(vars(original))
    module.__dict__.update({name: getattr(names, name) for name in names.__all__})
    module.__dict__["__all__"] = sorted({*original.__all__, *names.__all__})
    return module
