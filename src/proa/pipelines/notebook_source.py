"""Notebooks: Databricks' source files and Jupyter's JSON, as cells with their lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

COMMENT = {"PYTHON": "#", "SQL": "--", "SCALA": "//", "R": "#"}
"""What begins a comment in each language of a notebook."""

_HEADER = "Databricks notebook source"
_IS_NOTEBOOK = re.compile(rf"\s*(#|--) {_HEADER}\s*$")
_MAGICS = {
    "%python": "PYTHON",
    "%py": "PYTHON",
    "%sql": "SQL",
    "%md": "MARKDOWN",
    "%md-sandbox": "MARKDOWN",
}
_CELL_MAGIC = re.compile(r"%%?[a-z][\w-]*(?=\s|$)")
_LINE_MAGIC = re.compile(
    r"%(?:pip|conda|env|config|matplotlib|load_ext|reload_ext|autoreload|restart_python|skip|uv"
    r"|cd|pwd|ls|run)\b|!\s*\w"
)
_DECLARES = re.compile(r"\bimport\s+dlt\b|\bimport\s+pipelines\b|@\s*d(?:lt|p)\.")


@dataclass(frozen=True)
class Cell:
    """One cell of a notebook, or the part of one that is in one language."""

    language: str
    """PYTHON, SQL, MARKDOWN, or the magic as written (`%run`, `%sh`, ...)."""
    source: str
    line: int
    """The line of the notebook on which `source` begins; lines count from 1."""

    @property
    def declares(self) -> bool:
        """Whether the text looks like Python or Scala that declares datasets."""
        return _DECLARES.search(self.source) is not None


def header(language: str) -> str:
    """The first line of a notebook's source file."""
    return f"{COMMENT[language]} {_HEADER}"


def is_notebook(text: str) -> bool:
    """Whether a source file is a notebook's export."""
    first, _, _ = text.lstrip("\ufeff").partition("\n")
    return _IS_NOTEBOOK.match(first) is not None


def cells(language: str, text: str) -> list[Cell]:
    """The cells of a notebook's export in order, the empty ones left out."""
    comment = re.escape(COMMENT[language])
    separator = re.compile(rf"^{comment}\s?COMMAND\s*-+\s*$")
    reader = _CellReader(language)
    found: list[Cell] = []
    lines: list[str] = []
    begin = 1
    for number, line in enumerate([*text.splitlines(), f"{COMMENT[language]} COMMAND ---"], 1):
        if separator.match(line):
            found.extend(reader.read(lines, begin))
            lines, begin = [], number + 1
        else:
            lines.append(line)
    return found


def jupyter_cells(text: str) -> list[Cell]:
    """The cells of a Jupyter notebook; their lines are those of its JSON, as far as they can be told.

    Raises ValueError if the text is not a Jupyter notebook.
    """
    document = json.loads(text)
    blocks = document.get("cells") if isinstance(document, dict) else None
    if not isinstance(blocks, list):
        raise ValueError("it has no list of cells")  # noqa: TRY004 - one kind for one mistake
    reader = _CellReader(_jupyter_language(document))
    written = _WrittenLines(text)
    found: list[Cell] = []
    for block in blocks:
        if not isinstance(block, dict) or block.get("cell_type") != "code":
            continue
        value = block.get("source", "")
        lines = "".join(value).splitlines() if isinstance(value, list) else str(value).splitlines()
        found.extend(reader.read(lines, written.line_of(value)))
    return found


def _jupyter_language(document: Any) -> str:
    metadata = document.get("metadata", {})
    databricks = metadata.get("application/vnd.databricks.v1+notebook", {})
    name = databricks.get("language") or metadata.get("language_info", {}).get("name") or "python"
    return name.upper() if name.upper() in COMMENT else "PYTHON"


class _WrittenLines:
    """Finds where the lines of cells stand in a notebook's JSON, from top to bottom."""

    def __init__(self, text: str) -> None:
        self._lines = [line.strip().rstrip(",") for line in text.splitlines()]
        self._next = 0

    def line_of(self, source: Any) -> int:
        """The line on which a cell's source begins; the last one found if it is written otherwise."""
        first = source[0] if isinstance(source, list) and source else None
        if first is not None:
            for number in range(self._next, len(self._lines)):
                if self._lines[number].startswith('"') and _json_text(self._lines[number]) == first:
                    self._next = number + len(source)
                    return number + 1
        return self._next + 1


def _json_text(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


class _CellReader:
    """Tells the languages within one cell apart."""

    def __init__(self, language: str) -> None:
        comment = re.escape(COMMENT[language])
        self._language = language
        self._magic = re.compile(rf"^{comment}\s?MAGIC(?: |$)")
        self._title = re.compile(rf"^{comment} (?:DBTITLE |{_HEADER}\s*$)")

    def read(self, lines: list[str], begin: int) -> Iterator[Cell]:
        numbered = [
            (number, line)
            for number, line in enumerate(lines, begin)
            if not self._title.match(line)
        ]
        for is_magic, run in groupby(numbered, key=lambda item: bool(self._magic.match(item[1]))):
            part = [(number, self._magic.sub("", line)) for number, line in run]
            yield from self._part(part, is_magic=is_magic)

    def _part(self, part: list[tuple[int, str]], *, is_magic: bool) -> Iterator[Cell]:
        while part and not part[0][1].strip():
            part = part[1:]
        if not part:
            return
        begin, first = part[0]
        if _LINE_MAGIC.match(first):
            word, _, rest = first.partition(" ")
            yield Cell("%sh" if word.startswith("!") else word, rest, begin)
            while first.rstrip().endswith("\\") and len(part) > 1:
                part = part[1:]
                first = part[0][1]
            yield from self._part(part[1:], is_magic=is_magic)
            return
        texts = [line for _, line in part]
        magic = _CELL_MAGIC.match(first)
        if magic is not None:
            name = "%" + magic.group().lstrip("%")
            text = "\n".join([first[magic.end() :].removeprefix(" "), *texts[1:]])
            yield Cell(_MAGICS.get(name, name), text, begin)
        else:
            if self._language == "PYTHON":
                texts = ["" if _LINE_MAGIC.match(line) else line for line in texts]
            yield Cell(self._language, "\n".join(texts), begin)
