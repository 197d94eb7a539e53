"""What commands print: tables and sentences for people, JSON for programs."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from proa.cli.exit_codes import OUTPUT_CLOSED
from proa.errors import ProaError, SeveralMistakesError

_UNCUT = 100_000
"""Characters; a pipe or a file has no edge at which a table must be cut."""

console = Console(
    highlight=False, soft_wrap=True, emoji=False, width=None if sys.stdout.isatty() else _UNCUT
)
stderr = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def new_table(*titles: str, right: Iterable[str] = ()) -> Table:
    """Make an empty table without lines, whose `right` columns are aligned there.

    What does not fit a narrow terminal goes on in the next line of its cell; nothing is cut.
    """
    table = Table(box=None, pad_edge=False)
    numbers = frozenset(right)
    for title in titles:
        table.add_column(
            title, justify="right" if title in numbers else "left", overflow="fold", header_style=""
        )
    return table


def print_table(table: Table) -> None:
    """Print a table on standard output."""
    console.print(table, soft_wrap=False)


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """End the command quietly, with its own exit code, when the output's reader stops reading."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # what is still buffered has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(OUTPUT_CLOSED) from None


def print_json(value: Any) -> None:
    """One JSON document on standard output and nothing else."""
    try:
        text = json.dumps(value, indent=2, default=str, allow_nan=False)
    except ValueError:
        text = json.dumps(_speakable(value), indent=2, default=str)
    sys.stdout.write(f"{text}\n")


def _speakable(value: Any) -> Any:
    """NaN and the infinities as strings: JSON has no word for them."""
    if isinstance(value, dict):
        return {key: _speakable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_speakable(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def print_text(text: str) -> None:
    """Text as it is, whatever brackets it holds."""
    console.print(text, markup=False)


def _each(error: ProaError) -> Sequence[str]:
    errors = error.errors if isinstance(error, SeveralMistakesError) else (error,)
    return [str(each) for each in errors]


def report_error(error: ProaError) -> None:
    """The error's sentence on standard error."""
    for text in _each(error):
        stderr.print("error:", style="bold red", end=" ")
        stderr.print(text, markup=False)
