"""Packages that import their parts when they are first asked for.

A worker of an engine needs the write stage of `proa.lake` and not what commits to a table; a command
that reads settings needs no engine. What is exported stays the same.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
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
