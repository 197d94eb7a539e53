"""What commands print: tables and sentences for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console

from proa.errors import ProaError

_UNCUT = 100_000
"""Characters; a pipe or a file has no edge at which a table must be cut."""

console = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _UNCUT)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON document on standard output and nothing else."""
    json.dump(value, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")


def print_text(text: str) -> None:
    """Text as it is, whatever brackets it holds."""
    console.print(text, markup=False)


def report_error(error: ProaError) -> None:
    """The error's sentence on standard error."""
    stderr.print("error:", style="bold red", end=" ")
    stderr.print(str(error), markup=False)
