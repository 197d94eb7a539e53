"""Checks the shape of the tree: sizes and names. `make check` runs it; each line it prints is a failure.

* A file has at most 700 lines, a function at most 70: the centre of the world starts small.
* A module's name is unique, so that a stranger's first guess is right. A public class's name too.
  An edge (a command, a route) is named after what it is the edge of.
* A function is not named by a participle alone: `kept` says neither what is done nor what is returned.
* A module under 60 lines that one module imports is part of that module, unless its header says
  "Apart because" and why.
* Each word in a public class's name is explained in the glossary, or everybody knows it (`words.py`).
* The tree in `docs/architecture.md` names every package, and no module that is not there.

With `--tree` it lists every module with the first sentence of its header instead.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from words import word_failures

FILE_LINES = 700
FUNCTION_LINES = 70
SMALL_MODULE_LINES = 60

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "proa"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
FOLDERS = ("src", "tests", "tools", "benchmarks", "examples")
SHARED_MODULE_NAMES = frozenset({"__init__", "__main__", "env"})
SHARED_FOLDERS = frozenset({"migrations"})
"""Folders whose file names a framework chooses."""
EDGE_FOLDERS = frozenset({"cli", "api"})
"""Folders of commands and of routes: one module each."""

UNJUDGED_DECORATORS = frozenset({"property", "cached_property"})
"""A property is a result."""
UNJUDGED_MODULES = "kernels"
"""Kernels have the names by which rules call them."""

_IRREGULAR = frozenset(
    re.findall(
        r"\w+",
        "begun bought brought built caught chosen done drawn driven given gone grown held hidden kept"
        " known laid left lent lost made meant met paid said seen sent shown sold spent spoken taken"
        " taught thought told thrown torn understood won worn woven written",
    )
)
"""Participles that are not also a verb or a noun in common use."""
_NOT_PARTICIPLES = frozenset(
    {"need", "feed", "seed", "embed", "exceed", "proceed", "speed", "shed"}
)


def size_failures(path: Path, tree: ast.Module, lines: int) -> Iterator[str]:
    """Yield a sentence for the file if it is too long, and for each function that is."""
    where = path.relative_to(ROOT)
    if lines > FILE_LINES:
        yield f"{where}: {lines} lines, {FILE_LINES} are allowed"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                yield (
                    f"{where}:{node.lineno}: {node.name} has {length} lines,"
                    f" {FUNCTION_LINES} are allowed"
                )


def is_lone_participle(name: str) -> bool:
    """Whether a function's name is one word, and that word a participle."""
    word = name.strip("_").lower()
    if "_" in word or word in _NOT_PARTICIPLES:
        return False
    return word in _IRREGULAR or bool(re.fullmatch(r"[a-z]{2,}ed", word))


def participle_failures(where: Path, tree: ast.Module) -> Iterator[str]:
    """Yield a sentence for each function, properties apart, that is named by a participle alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            decorators = {ast.unparse(one).split(".")[-1] for one in node.decorator_list}
            if not decorators & UNJUDGED_DECORATORS and is_lone_participle(node.name):
                yield (
                    f"{where}:{node.lineno}: {node.name} is a participle; name the act or its result"
                )


def name_failures(trees: dict[Path, ast.Module]) -> Iterator[str]:
    """Yield a sentence for each name in the package that has two meanings or none."""
    modules: dict[str, list[str]] = defaultdict(list)
    classes: dict[str, list[str]] = defaultdict(list)
    for path, tree in trees.items():
        where = path.relative_to(ROOT)
        if not path.stem.startswith(UNJUDGED_MODULES):
            yield from participle_failures(where, tree)
        folders = set(path.parts)
        if EDGE_FOLDERS & folders:
            continue
        if path.stem not in SHARED_MODULE_NAMES and not SHARED_FOLDERS & folders:
            modules[path.stem].append(str(where))
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].append(f"{where}:{node.lineno}")
    for kind, names in (("module", modules), ("class", classes)):
        for name, places in names.items():
            if len(places) > 1:
                yield f"the {kind} name {name!r} occurs {len(places)} times: {', '.join(places)}"


def imported_modules(tree: ast.Module) -> set[str]:
    """The dotted names that a module imports, with `from a import b` as `a` and `a.b`."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def small_module_failures(trees: dict[Path, ast.Module], texts: dict[Path, str]) -> Iterator[str]:
    """Yield a sentence for each small module that has a single importer and no reason to be apart."""
    importers: dict[str, set[Path]] = defaultdict(set)
    for path, tree in trees.items():
        for name in imported_modules(tree):
            importers[name].add(path)
    for path, text in texts.items():
        dotted = ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
        lines = len(text.splitlines())
        if path.stem in SHARED_MODULE_NAMES or (SHARED_FOLDERS | EDGE_FOLDERS) & set(path.parts):
            continue
        if (
            lines < SMALL_MODULE_LINES
            and len(importers[dotted]) == 1
            and "Apart because" not in (ast.get_docstring(trees[path]) or "")
        ):
            importer = next(iter(importers[dotted])).relative_to(ROOT)
            yield (
                f"{path.relative_to(ROOT)}: {lines} lines, and only {importer} imports it;"
                " fold it in, or say 'Apart because ...' in its header"
            )


def architecture_failures(modules: set[str]) -> Iterator[str]:
    """Yield a sentence for each package or module of which the tree in the documentation is wrong."""
    text = ARCHITECTURE.read_text(encoding="utf-8")
    tree = text.split("## Where to look", 1)[1].split("```")[1]
    packages = (
        {path.parent.name for path in SOURCE.glob("*/**/__init__.py")}
        - SHARED_FOLDERS
        - {"versions"}
    )
    where = ARCHITECTURE.relative_to(ROOT)
    for name in sorted(packages - set(re.findall(r"[a-z_]+", tree))):
        yield f"{where}: the tree lacks the package {name}"
    for name in sorted(set(re.findall(r"\b[a-z]+_[a-z_0-9]*[a-z0-9]\b", tree)) - modules):
        yield f"{where}: the tree names {name}, and there is no such module"


def module_tree() -> Iterator[str]:
    """Yield a line for each module: its path, its lines, the first line of its header."""
    for path in sorted(SOURCE.rglob("*.py"), key=lambda path: (path.parent, path.name)):
        text = path.read_text(encoding="utf-8")
        header = (ast.get_docstring(ast.parse(text)) or "").split("\n")[0]
        if header:
            name = path.relative_to(SOURCE).with_suffix("").as_posix().removesuffix("/__init__")
            yield f"{name:<44} {len(text.splitlines()):>4}  {header}"


def failures() -> Iterable[str]:
    """Yield every failure of the tree, files in order."""
    trees: dict[Path, ast.Module] = {}
    texts: dict[Path, str] = {}
    for path in sorted(one for folder in FOLDERS for one in (ROOT / folder).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        yield from size_failures(path, tree, len(text.splitlines()))
        if path.is_relative_to(SOURCE):
            trees[path], texts[path] = tree, text
    yield from name_failures(trees)
    yield from small_module_failures(trees, texts)
    yield from word_failures(trees)
    yield from architecture_failures({path.stem for path in trees})


def main() -> int:
    if "--tree" in sys.argv[1:]:
        print("\n".join(module_tree()))
        return 0
    lines = list(failures())
    print("\n".join(lines) or "sizes and names are as they should be")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
