"""Fail when a file is over 700 lines or a function over 70: the centre of the world starts small."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

FILE_LINES = 700
FUNCTION_LINES = 70


def findings(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    found = []
    if (lines := len(text.splitlines())) > FILE_LINES:
        found.append(f"{path}: {lines} lines, {FILE_LINES} are allowed")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                found.append(
                    f"{path}:{node.lineno}: {node.name} has {length} lines,"
                    f" {FUNCTION_LINES} are allowed"
                )
    return found


def main() -> int:
    root = Path(__file__).parent.parent
    files = [
        path
        for folder in ("src", "tests", "tools", "benchmarks", "examples")
        for path in (root / folder).rglob("*.py")
    ]
    found = [line for path in sorted(files) for line in findings(path)]
    print("\n".join(found) or f"{len(files)} files, none too long")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
