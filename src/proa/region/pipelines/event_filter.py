"""The small filter language of the API: `level in ('WARN', 'ERROR') AND timestamp > '...'`."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from proa.http.api_errors import InvalidParameterError

_TOKEN = re.compile(
    r"\s*(?:(?P<string>'(?:[^']|'')*'|\"[^\"]*\")|(?P<op><=|>=|!=|<>|=|<|>|\(|\)|,)"
    r"|(?P<word>[A-Za-z_][\w.]*|[\d.:TZ+-]+))"
)
_COMPARISONS = {"=", "!=", "<>", "<", "<=", ">", ">="}


@dataclass(frozen=True)
class Condition:
    """One comparison. All conditions of a filter must hold."""

    field: str
    operator: str
    """`=`, `!=`, `<`, `<=`, `>`, `>=`, `in` or `like`."""
    values: tuple[str, ...]


def parse(text: str | None, fields: Collection[str]) -> tuple[Condition, ...]:
    """The conditions of `text`. InvalidParameterError for what the language cannot say."""
    if text is None or not text.strip():
        return ()
    tokens = _tokens(text)
    found = []
    while True:
        condition, tokens = _condition(tokens, text, fields)
        found.append(condition)
        if not tokens:
            return tuple(found)
        if tokens[0].lower() != "and":
            raise _wrong(text, f"expected AND before {tokens[0]!r}")
        tokens = tokens[1:]


def _tokens(text: str) -> list[str]:
    tokens, at = [], 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            raise _wrong(text, f"cannot read {text[at : at + 20].strip()!r}")
        tokens.append(match.group().strip())
        at = match.end()
    return tokens


def _condition(
    tokens: list[str], text: str, fields: Collection[str]
) -> tuple[Condition, list[str]]:
    if len(tokens) < 3:
        raise _wrong(text, "expected a field, an operator and a value")
    field, operator = tokens[0].lower(), tokens[1].lower()
    if field not in fields:
        raise _wrong(text, f"there is no field {tokens[0]!r}; use {', '.join(sorted(fields))}")
    if operator == "in":
        opening = tokens[2]
        if opening != "(" or ")" not in tokens:
            raise _wrong(text, "expected a list in parentheses after IN")
        end = tokens.index(")")
        values = tuple(_value(token, text) for token in tokens[3:end:2])
        if not values or any(part != "," for part in tokens[4:end:2]):
            raise _wrong(text, "expected values parted by commas after IN")
        return Condition(field, "in", values), tokens[end + 1 :]
    if operator not in _COMPARISONS and operator != "like":
        raise _wrong(text, f"there is no operator {tokens[1]!r}")
    operator = "!=" if operator == "<>" else operator
    return Condition(field, operator, (_value(tokens[2], text),)), tokens[3:]


def _value(token: str, text: str) -> str:
    if token[0] == "'":
        return token[1:-1].replace("''", "'")
    if token[0] == '"':
        return token[1:-1]
    if token in _COMPARISONS or token in {"(", ")", ","}:
        raise _wrong(text, f"expected a value, found {token!r}")
    return token


def _wrong(text: str, why: str) -> InvalidParameterError:
    return InvalidParameterError(
        f"cannot read the filter {text[:200]!r}: {why};"
        " an example is level in ('WARN', 'ERROR') AND timestamp > '2026-01-01T00:00:00Z'"
    )
