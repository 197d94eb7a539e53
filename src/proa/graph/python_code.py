"""What Python functions visibly use: the clock, chance, the network, the environment.

A function is judged by its code: the global names it loads, the modules it imports and the
attributes it asks of them, in itself, in the functions inside it, and in the functions of the same
module that it calls. What a library does inside is not looked into.
"""

from __future__ import annotations

import ast
import dis
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from types import CodeType, FunctionType, ModuleType
from typing import Any


class Use(StrEnum):
    """What makes a function's answer depend on where and when it runs."""

    CLOCK = "the clock"
    CHANCE = "chance"
    NETWORK = "something outside of the pipeline"
    MACHINE = "the machine's environment"


@dataclass(frozen=True)
class Visible:
    """A use that a function's code shows."""

    use: Use
    name: str
    """As it is written: "time.time", "random"."""


_MODULES = {
    **dict.fromkeys(("random", "secrets"), Use.CHANCE),
    **dict.fromkeys(
        (
            *("requests", "httpx", "urllib3", "aiohttp", "socket", "boto3", "psycopg", "pymysql"),
            *(
                "redis",
                "smtplib",
                "ftplib",
                "urllib.request",
                "http.client",
                "sqlalchemy",
                "openai",
            ),
            *("pymongo", "mysql", "grpc"),
        ),
        Use.NETWORK,
    ),
}
"""Modules of which any use counts."""

_ATTRIBUTES = {
    "time": (Use.CLOCK, {"time", "time_ns", "monotonic", "localtime", "gmtime", "perf_counter"}),
    "datetime": (Use.CLOCK, {"now", "utcnow", "today"}),
    "date": (Use.CLOCK, {"today"}),
    "pandas": (Use.CLOCK, {"now", "today", "utcnow"}),
    "uuid": (Use.CHANCE, {"uuid1", "uuid4", "getnode"}),
    "numpy": (Use.CHANCE, {"random"}),
    "os": (Use.MACHINE, {"environ", "getenv", "urandom", "getpid"}),
    "platform": (Use.MACHINE, {"node", "platform", "machine"}),
}
"""Modules of which only these attributes count."""


def uses(function: Callable[..., Any]) -> tuple[Visible, ...]:
    """What the function visibly uses, each once."""
    found: dict[Visible, None] = {}
    _collect(inspect.unwrap(function), found, set())
    return tuple(found)


def declared_with(function: Callable[..., Any]) -> Iterator[tuple[Visible, int]]:
    """Clock and chance that a query function calls while it is declared, with line numbers.

    What it hands to a user-defined function inside it runs elsewhere and is not counted.
    """
    function = inspect.unwrap(function)
    try:
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return
    scope = getattr(function, "__globals__", {})
    for node in _outside_functions(tree):
        if isinstance(node, ast.Call):
            visible = _called_value(node.func, scope)
            if visible is not None and visible.use in (Use.CLOCK, Use.CHANCE):
                yield visible, first + node.lineno - 1


def line_in_source(function: Callable[..., Any], text: str) -> int | None:
    """The first line of the function's source that holds the text; None when there is none."""
    found = place_in_source(function, text)
    return None if found is None else found[0]


def place_in_source(
    function: Callable[..., Any], text: str, near: int = 0
) -> tuple[int, int] | None:
    """The first line of the function's source, not before `near`, that holds the text, and its column.

    Returns None when there is none.
    """
    try:
        lines, first = inspect.getsourcelines(inspect.unwrap(function))
    except (OSError, TypeError):
        return None
    found = (
        (number, line.index(text) + 1)
        for number, line in enumerate(lines, first)
        if text and text in line and number >= near
    )
    return next(found, None)


def _outside_functions(tree: ast.Module) -> Iterator[ast.AST]:
    """The nodes of the outermost function's own body."""
    pending: list[ast.AST] = []
    for outer in ast.walk(tree):
        if isinstance(outer, ast.FunctionDef | ast.Lambda):
            body = outer.body if isinstance(outer.body, list) else [outer.body]
            pending = list(body)
            break
    while pending:
        node = pending.pop()
        yield node
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.FunctionDef | ast.Lambda):
                pending.append(child)


def _called_value(node: ast.expr, scope: dict[str, Any]) -> Visible | None:
    path: list[str] = []
    while isinstance(node, ast.Attribute):
        path.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    written = ".".join([node.id, *path])
    return _judge(scope.get(node.id), node.id, set(path), written)


def _judge(value: Any, name: str, attributes: set[str], written: str) -> Visible | None:
    """What it means to ask `attributes` of the global `value` that is called `name`."""
    if isinstance(value, ModuleType):
        module = value.__name__
    elif isinstance(value, type):
        module = value.__name__ if value.__module__ == "datetime" else ""
    elif callable(value) and not isinstance(value, FunctionType | CodeType):
        owner = getattr(value, "__self__", None)
        module = getattr(value, "__module__", None) or type(owner).__module__
        attributes = {getattr(value, "__name__", name)}
    elif isinstance(value, FunctionType):
        module, attributes = value.__module__, {value.__name__}
    else:
        return None
    return _of_module(module, attributes, written)


def _of_module(module: str, attributes: set[str], written: str) -> Visible | None:
    """What it means to ask `attributes` of a module."""
    for known in (module, module.partition(".")[0]):
        if known in _MODULES:
            return Visible(_MODULES[known], written)
        if known in _ATTRIBUTES:
            use, counted = _ATTRIBUTES[known]
            asked = sorted(attributes & counted)
            if asked:
                named = "." in written or written == asked[0]
                return Visible(use, written if named else f"{written}.{asked[0]}")
    return None


def _collect(function: Any, found: dict[Visible, None], seen: set[int]) -> None:
    if not isinstance(function, FunctionType):
        function = vars(type(function)).get("__call__")  # an instance that can be called
    if not isinstance(function, FunctionType) or id(function.__code__) in seen:
        return
    seen.add(id(function.__code__))
    values = inspect.getclosurevars(function)
    scope = function.__globals__ | dict(values.nonlocals)
    for inner in values.nonlocals.values():
        if isinstance(inner, FunctionType):
            _collect(inner, found, seen)
    for code in _codes(function.__code__):
        names, attributes, imported = _names(code)
        judged = [_of_module(module, attributes, module) for module in imported]
        for name in names:
            value = scope.get(name)
            if isinstance(value, FunctionType) and value.__module__ == function.__module__:
                _collect(value, found, seen)
            else:
                judged.append(_judge(value, name, attributes, name))
        found.update(dict.fromkeys(visible for visible in judged if visible is not None))


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _names(code: CodeType) -> tuple[list[str], set[str], list[str]]:
    """The globals that the code loads, the attributes it asks for, the modules it imports."""
    loaded, attributes, imported = [], set(), []
    for instruction in dis.get_instructions(code):
        name = str(instruction.argval)
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            loaded.append(name)
        elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD", "IMPORT_FROM"):
            attributes.add(name)
        elif instruction.opname == "IMPORT_NAME":
            imported.append(name)
    return loaded, attributes, imported
