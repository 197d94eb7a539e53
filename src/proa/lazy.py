"""Packages that import their parts when they are first asked for.

A worker of an engine needs the write stage of `proa.lake` and not what commits to a table; a command
that reads settings needs no engine. What is exported stays the same. And pandas, which Spark Connect's
client imports although no row of Proa passes it, is imported when somebody uses it; Arrow's functions too.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any


def exports(package: str, modules: dict[str, str]) -> Callable[[str], Any]:
    """Make the `__getattr__` of a package: `modules` says in which of its modules a name stands.

    A name that is a module's name too cannot be exported: whoever imports the module would hide it.
    """

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)

    return get


class _Later(ModuleType):
    """A module that is imported when something in it is first asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        value = getattr(importlib.import_module(self.__name__), name)
        setattr(self, name, value)
        return value

    def __reduce__(self) -> Any:
        return importlib.import_module, (self.__name__,)


compute: Any = _Later("pyarrow.compute")
"""Arrow's functions: making all of them takes longer than most commands use them."""


def spare_pandas() -> None:
    """Let Spark Connect's client be imported without pandas, for this process's life.

    Whoever imports pandas gets it, and the client gets it where it uses it. Does nothing if pandas or
    the client is imported already, or pandas is not installed.
    """
    if not sys.modules.keys().isdisjoint(("pandas", "pyspark.sql.connect")):
        return
    try:
        release = version("pandas")
    except PackageNotFoundError:
        return
    sys.meta_path.insert(0, _ClientFinder(release))


_STAND_INS = ("pandas", "pandas.api", "pandas.api.types")
_IMPORTS_PANDAS = {
    "pyspark.sql.connect",
    "pyspark.sql.connect.client.core",
    "pyspark.sql.connect.session",
    "pyspark.testing.utils",
}


class _ClientFinder(MetaPathFinder):
    """Finds the modules of the client that import pandas."""

    def __init__(self, release: str) -> None:
        self._release = release

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _IMPORTS_PANDAS:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _ClientLoader(spec.loader, self._release)
        return spec


class _ClientLoader(Loader):
    """A module's own loader; while it executes the module, stand-ins are imported for pandas."""

    def __init__(self, loader: Loader, release: str) -> None:
        self._loader = loader
        self._release = release

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__loader__ = module.__spec__.loader = self._loader
        with _stand_ins(self._release):
            self._loader.exec_module(module)


@contextmanager
def _stand_ins(release: str) -> Iterator[None]:
    if "pandas" in sys.modules:
        yield
        return
    modules = {name: _StandIn(name) for name in _STAND_INS}
    modules["pandas"].__version__ = release  # type: ignore[attr-defined]
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]


class _StandIn(ModuleType):
    """What the client holds in the place of pandas: each use of it is a use of pandas."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def attribute() -> Any:
            return getattr(importlib.import_module(self.__name__), name)

        def call(*arguments: Any, **named: Any) -> Any:
            return attribute()(*arguments, **named)

        # While the client is imported it names functions, and types in its annotations.
        return call if sys.modules.get(self.__name__) is self else attribute()
