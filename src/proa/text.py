"""Words for people, and names for SQL."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def suggestion(word: str, known: Iterable[str]) -> str:
    """The clause " (did you mean 'x'?)" when a known word is near, else nothing."""
    by_folded = {name.casefold(): name for name in known}
    close = get_close_matches(word.casefold(), by_folded, n=1)
    return f" (did you mean {by_folded[close[0]]!r}?)" if close else ""


def quote_identifier(name: str) -> str:
    """Write a name in backticks, as Spark SQL reads any name."""
    return f"`{name.replace('`', '``')}`"
