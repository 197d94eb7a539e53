"""Notebook formats: Databricks' source files, Jupyter's JSON, and the cells in both."""

from __future__ import annotations

import json
from typing import Any

from proa.http.api_errors import InvalidParameterError
from proa.pipelines.notebook_source import COMMENT, cells, header

SUFFIXES = {".py": "PYTHON", ".sql": "SQL", ".scala": "SCALA", ".r": "R"}

_MAGICS = {"%python": "PYTHON", "%sql": "SQL", "%md": "MARKDOWN", "%md-sandbox": "MARKDOWN"}


def language_of_source(name: str, content: bytes) -> str | None:
    """The language of the notebook in `content`, going by suffix and first line; None for a file."""
    suffix = f".{name.rsplit('.', 1)[-1].lower()}" if "." in name else ""
    language = SUFFIXES.get(suffix)
    if language is None:
        return None
    first = content.lstrip(b"\xef\xbb\xbf").split(b"\n", 1)[0].rstrip()
    return language if first.decode("utf-8", "replace") == header(language) else None


def source(language: str, content: bytes) -> bytes:
    """The notebook as a source file: with the header that marks it."""
    first = header(language).encode()
    return content if content.startswith(first) else first + b"\n" + content


def from_jupyter(content: bytes) -> tuple[str, bytes]:
    """(language, source) of a Jupyter notebook. InvalidParameterError when it is not one."""
    try:
        document = json.loads(content)
        blocks = [(cell["cell_type"], _joined_text(cell["source"])) for cell in document["cells"]]
        name = str(document.get("metadata", {}).get("language_info", {}).get("name", "python"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidParameterError(
            "the content is not a Jupyter notebook; import it with format SOURCE or RAW"
        ) from error
    language = name.upper() if name.upper() in COMMENT else "PYTHON"
    parts = []
    for kind, text in blocks:
        if kind == "markdown":
            text = f"%md\n{text}"  # noqa: PLW2901 - a markdown cell is a magic cell
        parts.append(_magic(language, text) if text.startswith("%") else text)
    separator = f"\n\n{COMMENT[language]} COMMAND ----------\n\n"
    return language, f"{header(language)}\n{separator.join(parts)}\n".encode()


def to_jupyter(language: str, content: bytes) -> bytes:
    """The notebook as Jupyter's JSON."""
    blocks: list[dict[str, Any]] = []
    for cell in cells(language, content.decode("utf-8", "replace")):
        if cell.language == "MARKDOWN":
            blocks.append({"cell_type": "markdown", "metadata": {}, "source": cell.source.strip()})
            continue
        text = cell.source
        if cell.language != language:
            word = next((key for key, of in _MAGICS.items() if of == cell.language), cell.language)
            text = f"{word}{'' if text.startswith(chr(10)) else ' '}{text}"
        blocks.append(
            {
                "cell_type": "code",
                "execution_count": None,
                "metadata": {},
                "outputs": [],
                "source": text,
            }
        )
    document = {
        "cells": blocks,
        "metadata": {"language_info": {"name": language.lower()}},
        "nbformat": 4,
        "nbformat_minor": 0,
    }
    return json.dumps(document, indent=1).encode()


def _joined_text(value: Any) -> str:
    return "".join(value) if isinstance(value, list) else str(value)


def _magic(language: str, text: str) -> str:
    return "\n".join(f"{COMMENT[language]} MAGIC {line}".rstrip() for line in text.splitlines())
