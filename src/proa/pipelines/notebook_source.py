"""Notebooks as Databricks exports them to source files: cells, some of them magic."""

from __future__ import annotations

import re
from dataclasses import dataclass

from proa.errors import PipelineError, SourceLocation

_HEADER = re.compile(r"\s*(#|--) Databricks notebook source\s*$")
_CELL_MARK = re.compile(r"(#|--)\s*COMMAND\s*-{5,}\s*$")
_MAGIC = re.compile(r"(?:#|--)\s?MAGIC(?: |$)(.*)")
_COMMAND = re.compile(r"%(\w+)\s*(.*)")
_DECLARES = re.compile(r"\bimport\s+dlt\b|\bimport\s+pipelines\b|@\s*d(?:lt|p)\.")


@dataclass(frozen=True)
class SqlCell:
    """A `%sql` cell."""

    text: str
    line: int
    """The file's line on which `text` begins."""


def is_notebook(text: str) -> bool:
    """Whether a source file is a notebook's export."""
    first, _, _ = text.lstrip("\ufeff").partition("\n")
    return _HEADER.match(first) is not None


def sql_cells(text: str, file: str) -> tuple[SqlCell, ...]:
    """The `%sql` cells of a notebook's export; documentation and packages (`%md`, `%pip`) say
    nothing about the pipeline.

    Raises PipelineError for a cell that would be lost: `%run`, and declarations in another
    language than the file's.
    """
    cells = []
    for start, lines in _magic_cells(text):
        command = _COMMAND.match(lines[0].strip())
        name, argument = command.groups() if command else ("", "")
        location = SourceLocation(file, start)
        if name == "sql":
            cells.append(SqlCell("\n".join([argument, *lines[1:]]), start))
        elif name == "run":
            raise PipelineError(
                f"%run {argument} is not supported; make it a module next to the notebook and"
                " import it, or add the other notebook to the pipeline",
                condition="UNSUPPORTED_NOTEBOOK_MAGIC",
                location=location,
            )
        elif name in {"python", "r", "scala"} and _DECLARES.search("\n".join(lines)):
            raise PipelineError(
                f"a %{name} cell declares datasets, which only the notebook's own language may;"
                " move it to a Python file",
                condition="UNSUPPORTED_NOTEBOOK_MAGIC",
                location=location,
            )
    return tuple(cells)


def _magic_cells(text: str) -> list[tuple[int, list[str]]]:
    """Each run of MAGIC lines within a cell, with the line it begins on."""
    found: list[tuple[int, list[str]]] = []
    continues = False
    for number, line in enumerate(text.split("\n"), start=1):
        magic = _MAGIC.match(line)
        if magic is None:
            continues = False
            continue
        content = magic.group(1)
        if continues:
            found[-1][1].append(content)
        else:
            found.append((number, [content]))
        continues = True
    return found
