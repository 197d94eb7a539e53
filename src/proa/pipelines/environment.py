"""The surroundings a pipeline's Python code is written for, in which it is loaded and called.

Inside: `spark` is the declaring session, `from pyspark import pipelines` has Databricks' names too,
the project's modules can be imported, relative paths start at the project, and what the code
prints goes to standard error. Outside: nothing of it is left behind.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from proa.errors import PipelineError

_entering = threading.RLock()
"""One pipeline at a time: modules, paths and the working folder belong to the whole process."""

_current: list[Environment] = []


class Environment:
    """The surroundings of one pipeline. Modules it imported stay its own, and only its own."""

    def __init__(self, root: Path, session: Any) -> None:
        self.root = root
        self.session = session
        self._modules: dict[str, ModuleType] = {}

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Be inside for a while. May be entered again from inside."""
        from pyspark.pipelines.block_session_mutations import block_session_mutations

        with _entering:
            if _current and _current[-1] is self:
                yield
                return
            with contextlib.ExitStack() as stack:
                stack.enter_context(contextlib.chdir(self.root))
                stack.enter_context(contextlib.redirect_stdout(sys.stderr))
                stack.enter_context(self._importing())
                stack.enter_context(_pipelines_module())
                stack.enter_context(self.session.installed())
                stack.enter_context(block_session_mutations())
                _current.append(self)
                stack.callback(_current.pop)
                yield

    def bind(self, query: Callable[[], Any]) -> Callable[[], Any]:
        """`query`, callable from outside."""

        @functools.wraps(query)
        def call() -> Any:
            with self.entered():
                return query()

        return call

    def add(self, module: ModuleType) -> None:
        """Take in a module made from one of the pipeline's files."""
        sys.modules[module.__name__] = module

    @contextlib.contextmanager
    def _importing(self) -> Iterator[None]:
        path, no_bytecode = list(sys.path), sys.dont_write_bytecode
        hidden = {name: module for name, module in sys.modules.items() if self._is_shadowed(name)}
        before = {name for name in sys.modules if name not in hidden}
        for name in hidden:
            del sys.modules[name]
        sys.modules.update(self._modules)
        sys.path.insert(0, str(self.root))
        sys.dont_write_bytecode = True
        importlib.invalidate_caches()
        try:
            yield
        finally:
            foreign = _entries_below(self.root, path)
            for name, module in list(sys.modules.items()):
                if name not in before and self._owns(module, foreign):
                    self._modules[name] = sys.modules.pop(name)
            sys.modules.update(hidden)
            sys.path[:] = path
            sys.dont_write_bytecode = no_bytecode

    def _is_shadowed(self, name: str) -> bool:
        """Whether a module of the process hides one that the project brings along."""
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in {"proa", "pyspark", "dlt"}:
            return False
        return (self.root / f"{top}.py").is_file() or (self.root / top / "__init__.py").is_file()

    def _owns(self, module: ModuleType, foreign: tuple[Path, ...]) -> bool:
        places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
        return any(
            Path(place).is_relative_to(self.root)
            and not any(Path(place).is_relative_to(folder) for folder in foreign)
            for place in places
            if place
        )


def _entries_below(root: Path, path: list[str]) -> tuple[Path, ...]:
    """Import paths below the project that are not the project's: an environment kept inside it."""
    folders = (Path(entry) for entry in path if entry)
    return tuple(folder for folder in folders if folder != root and folder.is_relative_to(root))


def current_session() -> Any:
    """The session of the pipeline whose code is running."""
    if not _current:
        raise PipelineError(
            "a dataset can only be read inside a pipeline's query function",
            condition="GRAPH_ELEMENT_DEFINED_OUTSIDE_OF_DECLARATIVE_PIPELINE",
        )
    return _current[-1].session


@contextlib.contextmanager
def _pipelines_module() -> Iterator[None]:
    """Put Databricks' names beside Apache's under `pyspark.pipelines`."""
    import pyspark
    import pyspark.pipelines

    original = pyspark.pipelines
    together = _together(original)
    sys.modules["pyspark.pipelines"] = pyspark.pipelines = together
    try:
        yield
    finally:
        sys.modules["pyspark.pipelines"] = pyspark.pipelines = original


@functools.cache
def _together(original: ModuleType) -> ModuleType:
    from proa.pipelines import dlt

    module = ModuleType(original.__name__, original.__doc__)
    module.__dict__.update(vars(original))
    module.__dict__.update({name: getattr(dlt, name) for name in dlt.__all__})
    module.__dict__["__all__"] = sorted({*original.__all__, *dlt.__all__})
    return module
