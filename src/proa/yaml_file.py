"""YAML files that people write: read once, with the line of every mistake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from proa.errors import SettingsError, one_line


@dataclass(frozen=True)
class YamlFile:
    """A file's data, and where in the text each part of it stands."""

    path: Path
    text: str
    data: Any

    def mistake(self, problem: str, keys: Sequence[str | int] = ()) -> str:
        """Word a mistake below `keys`, with file, line, the line itself and a caret below the key.

        Where the key is missing, the line is that of the nearest part above it.
        """
        mark = self._mark(keys)
        if mark is None:
            return f"{self.path}: {problem}"
        return f"{self.path}:{mark[0] + 1}: {problem}\n{_excerpt(self.text, *mark)}"

    def _mark(self, keys: Sequence[str | int]) -> tuple[int, int] | None:
        """The line and column, from 0, of the deepest part of `keys` that the file has."""
        node = yaml.compose(self.text, Loader=yaml.SafeLoader)
        mark = None
        for key in keys:
            if isinstance(node, yaml.MappingNode):
                pair = next((pair for pair in node.value if pair[0].value == str(key)), None)
                if pair is None:
                    break
                mark, node = pair[0].start_mark, pair[1]
            elif isinstance(node, yaml.SequenceNode) and str(key).isdigit():
                items = node.value
                if int(key) >= len(items):
                    break
                node = items[int(key)]
                mark = node.start_mark
            else:
                break
        return None if mark is None else (mark.line, mark.column)


def read_yaml(path: Path) -> YamlFile:
    """Read a YAML file; its data is None if the file is empty.

    Raises FileNotFoundError if the file does not exist, and SettingsError, with line and caret, if
    it cannot be read or is not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not valid YAML: {one_line(error)}") from error
    try:
        return YamlFile(path, text, yaml.safe_load(text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = one_line(error.problem or error.context or "it cannot be read")
        if mark is None:
            raise SettingsError(f"{path} is not valid YAML: {problem}") from error
        raise SettingsError(
            f"{path}:{mark.line + 1}: this is not valid YAML: {problem}\n"
            f"{_excerpt(text, mark.line, mark.column)}"
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        raise SettingsError(f"{path} is not valid YAML: {one_line(error)}") from error


def _excerpt(text: str, line: int, column: int) -> str:
    """A line of the text, tabs as blanks, with its number and a caret below the column."""
    lines = text.splitlines() or [""]
    line = min(line, len(lines) - 1)
    shown = lines[line].replace("\t", " ")
    return (
        f"  {line + 1} | {shown}\n  {' ' * len(str(line + 1))} | {' ' * min(column, len(shown))}^"
    )
