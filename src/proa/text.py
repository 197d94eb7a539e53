"""Words for people, and names and strings for SQL: Spark's and DuckDB's."""

from __future__ import annotations

import re
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


_ESCAPE = re.compile(
    r"""\\(u[0-9a-fA-F]{4}|U00(?:10|0[0-9a-fA-F])[0-9a-fA-F]{4}|[0-3][0-7]{2}|.)|''|\"\"""",
    re.DOTALL,
)
_LETTERS = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "b": "\b",
    "0": "\0",
    "Z": "\x1a",
    # Spark keeps the backslash before the wildcards of LIKE.
    "%": "\\%",
    "_": "\\_",
}


def literal_value(text: str) -> str:
    """Read a string literal of Spark SQL, with its quotes; returns the string that it means."""
    if text[0] in "rR":
        return text[2:-1]
    quote = text[0]

    def plain(match: re.Match[str]) -> str:
        code = match.group(1)
        if code is None:
            return quote if match.group() == quote * 2 else match.group()
        if code[0] in "uU" and len(code) > 1:
            return chr(int(code[1:], 16))
        if len(code) == 3:
            return chr(int(code, 8))
        return _LETTERS.get(code, code)

    pieces = _ESCAPE.sub(plain, text[1:-1])
    return pieces.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def string_literal(value: str) -> str:
    """Write `value` as a string literal, as Spark SQL reads any string."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    for character, code in (("\n", "\\n"), ("\r", "\\r"), ("\0", "\\u0000")):
        escaped = escaped.replace(character, code)
    return f"'{escaped}'"


def duckdb_identifier(name: str) -> str:
    """Write a name in double quotes, as DuckDB reads any name."""
    return '"' + name.replace('"', '""') + '"'


def duckdb_literal(value: str) -> str:
    """Write `value` as a string literal, as DuckDB reads any string without NUL."""
    return "'" + value.replace("'", "''") + "'"


_MISSING = re.compile(r"required keyword: '(\w+)' missing for <class '.*?(\w+)'>")


def syntax_reason(description: str) -> str:
    """What a SQL parser says is wrong with a text, without the names that only its developers read."""
    reason = description.strip().rstrip(".").lower().partition(" but got <token")[0]
    if _MISSING.match(reason):
        return "something is missing here"
    if reason == "expecting )":
        return "it does not belong here, or a ')' is missing before it"
    if reason.startswith("invalid expression / unexpected token"):
        return "it does not belong here"
    return reason or "it cannot be read"
