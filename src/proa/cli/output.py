"""What commands print: tables and sentences for people, JSON for programs."""

from __future__ import annotations

import json
import math
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


def report_error(error: ProaError) -> None:
    """The error's sentence on standard error."""
    stderr.print("error:", style="bold red", end=" ")
    stderr.print(str(error), markup=False)
