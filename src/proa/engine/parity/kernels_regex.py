"""Functions of regular expressions: whole arrays by Arrow where both engines agree, else value by value.

Arrow's own (RE2) takes what `java_regex` has translated, when the pattern is the same in all rows, has
neither look-around nor references, and matches no empty text. Java finds empty matches also between the
two halves of a character beyond U+FFFF; `matches_of` steps as it does.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from proa.engine.parity.java_regex import PatternError, compile_pattern, replacement_parts
from proa.engine.parity.kernels import Array, SparkError, each, kernel
from proa.lazy import compute as pc

_WIDE = re.compile("[\U00010000-\U0010ffff]")
_LONE = re.compile("[\ud800-\udfff]")
_FOLDED_ELSEWHERE = "[\u017f\u212a]"
"""Characters that only Unicode folds to s and k."""


def pattern_of(text: str) -> re.Pattern[str]:
    try:
        return compile_pattern(text)
    except PatternError as error:
        raise SparkError("INVALID_PARAMETER_VALUE.PATTERN", str(error)) from error


@functools.lru_cache(512)
def arrow_pattern(text: str) -> str | None:
    """The pattern as Arrow's own functions take it; None where they might match something else."""
    pattern = pattern_of(text)
    translated = pattern.pattern
    if re.search(r"\(\?(?:[=!>]|<[=!]|P=)|\\[1-9BU]|[*+?}]\+|\{0*\}", translated):
        return None
    without_edges = re.sub(r"(\\\\)|\\[bB]", r"\1", translated)
    if re.compile(without_edges, pattern.flags).fullmatch("") is not None:
        return None
    if pattern.flags & re.IGNORECASE and not translated.isascii():
        return None
    found = re.sub(r"\\u([0-9a-fA-F]{4})", r"\\x{\1}", translated).replace("\\Z", "\\z")
    flags = ("i" if pattern.flags & re.IGNORECASE else "") + (
        "s" if pattern.flags & re.DOTALL else ""
    )
    found = f"(?{flags}){found}" if flags else found
    try:
        pc.match_substring_regex(pa.array(["x"]), found)
    except pa.ArrowInvalid:
        return None
    return found


def _one(array: Array) -> Any:
    """The value that all rows have; None where they differ."""
    if len(array) and array.null_count == 0 and (len(array) == 1 or len(pc.unique(array)) == 1):
        return array[0].as_py()
    return None


def _whole(values: Array, patterns: Array, *, stepping: bool = False) -> str | None:
    """The pattern by which Arrow does the whole array; None where it cannot.

    `stepping`: Arrow looks for the next match in the rest of a text, without what stood before.
    """
    text = _one(patterns)
    if stepping and text is not None and re.search(r"\^|\\[AbBG]", text):
        return None
    if text is None or values.null_count == len(values):
        return None
    found = arrow_pattern(text)
    folds = found is not None and found.startswith("(?i")
    if folds and pc.any(pc.match_substring_regex(values, _FOLDED_ELSEWHERE)).as_py():
        return None
    return found


# -- matches as Java steps through them ---------------------------------------------------------------


def matches_of(pattern: re.Pattern[str], value: str) -> Iterator[tuple[int, int, re.Match[str]]]:
    """(start, end, match) of each match, in Java's units: halves of characters beyond U+FFFF count."""
    if not _WIDE.search(value):
        yield from ((m.start(), m.end(), m) for m in pattern.finditer(value))
        return
    units = [0]
    for sign in value:
        units.append(units[-1] + (2 if ord(sign) > 0xFFFF else 1))
    at, half = 0, False
    while at <= len(value):
        match: re.Match[str] | None = None
        if half:
            halved = _halved(value, at)
            match = pattern.match(halved, at + 1)
            shift = 1
            half = False
            at += match is None
        if match is None:
            match = pattern.search(value, at)
            shift = 0
        if match is None:
            return
        start, end = match.start() - shift, match.end() - shift
        begin = units[start] + shift if shift else units[start]
        stop = begin if match.start() == match.end() else units[end]
        yield begin, stop, match
        if begin != stop:
            at = end
        elif shift or end >= len(value) or ord(value[end]) <= 0xFFFF:
            at = end + 1
        else:
            at, half = end, True


def _halved(value: str, at: int) -> str:
    code = ord(value[at]) - 0x10000
    return (
        f"{value[:at]}{chr(0xD800 + (code >> 10))}{chr(0xDC00 + (code & 0x3FF))}{value[at + 1 :]}"
    )


def _units(value: str) -> str:
    """The text with each character beyond U+FFFF as its two halves."""
    return _WIDE.sub(lambda match: _halved(match.group(), 0), value)


def _text(units: str) -> str:
    """The text of units; a lone half becomes a question mark, as in Java."""
    if not _LONE.search(units):
        return units
    joined = units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return _LONE.sub("?", joined)


def replace_text(value: str, pattern: str, by: str, position: int = 1) -> str:
    found = pattern_of(pattern)
    try:
        parts = replacement_parts(by, found.groups)
    except PatternError as error:
        raise SparkError("INVALID_REGEXP_REPLACE", str(error)) from error
    head, value = value[: position - 1], value[position - 1 :]
    units, pieces, at = _units(value), [], 0
    for start, end, match in matches_of(found, value):
        pieces.append(units[at:start])
        pieces += [_units(match.group(p) or "") if isinstance(p, int) else p for p in parts]
        at = end
    return head + _text("".join([*pieces, units[at:]]))


def _group(found: re.Pattern[str], number: int) -> int:
    if not 0 <= number <= found.groups:
        raise SparkError("INVALID_PARAMETER_VALUE.REGEX_GROUP_INDEX", f"there is no group {number}")
    return number


def _extract(value: str, pattern: str, number: int) -> str:
    found = pattern_of(pattern)
    match = found.search(value)
    if match is None:
        return ""
    return match.group(_group(found, number)) or ""


def _extracted_all(value: str, pattern: str, number: int) -> list[str]:
    found = pattern_of(pattern)
    return [m.group(_group(found, number)) or "" for _, _, m in matches_of(found, value)]


def _instr(value: str, pattern: str) -> int:
    match = pattern_of(pattern).search(value)
    return 0 if match is None else match.start() + 1


def _substr(value: str, pattern: str) -> str | None:
    match = pattern_of(pattern).search(value)
    return (match.group() or None) if match is not None else None


def split_text(value: str, pattern: str, limit: int) -> list[str]:
    """Java's String.split, with the empty pieces at the end kept as Spark does."""
    if pattern == "":
        pieces = list(value) or [""]
        if 0 < limit < len(pieces):
            pieces = [*pieces[: limit - 1], "".join(pieces[limit - 1 :])]
        return pieces
    units, pieces, at = _units(value), [], 0
    for start, end, _ in matches_of(pattern_of(pattern), value):
        if limit > 0 and len(pieces) == limit - 1:
            break
        if end == 0:
            continue
        pieces.append(_text(units[at:start]))
        at = end
    return [*pieces, _text(units[at:])]


# -- kernels ------------------------------------------------------------------------------------------


@kernel
def rlike(type_: Any, values: Array, patterns: Array) -> Array:
    whole = _whole(values, patterns)
    if whole is not None:
        return pc.match_substring_regex(values, whole)
    return each(lambda v, p: pattern_of(p).search(v) is not None, type_, values, patterns)


@kernel
def regexp_replace(type_: Any, values: Array, patterns: Array, by: Array, position: Array) -> Array:
    whole, text = _whole(values, patterns), _one(by)
    if whole is not None and text is not None and _one(position) == 1:
        try:
            parts = replacement_parts(text, pattern_of(_one(patterns)).groups)
        except PatternError:
            parts = [10]
        if all(isinstance(part, str) or part < 10 for part in parts):
            rewrite = "".join(
                f"\\{part}" if isinstance(part, int) else part.replace("\\", "\\\\")
                for part in parts
            )
            return pc.replace_substring_regex(values, whole, rewrite)
    return each(replace_text, type_, values, patterns, by, position)


@kernel
def regexp_extract(type_: Any, values: Array, patterns: Array, numbers: Array) -> Array:
    whole, number = _whole(values, patterns), _one(numbers)
    if whole is not None and isinstance(number, int):
        if not 0 <= number <= pattern_of(_one(patterns)).groups:
            number = None
        else:
            groups = pc.extract_regex(values, _only_group(whole, number))
            found = pc.fill_null(pc.struct_field(groups, "g"), "")
            return pc.if_else(pc.is_valid(values), found, pa.scalar(None, found.type))
    return each(_extract, type_, values, patterns, numbers)


def _only_group(pattern: str, number: int) -> str:
    """The pattern with one group that captures: that of the number, named g."""
    flags = re.match(r"\(\?[is]+\)", pattern)
    start = flags.end() if flags is not None else 0
    pieces, at, seen = [pattern[:start]], start, 0
    while at < len(pattern):
        sign = pattern[at]
        if sign == "\\":
            pieces.append(pattern[at : at + 2])
            at += 2
            continue
        if sign == "[":
            end = _class_end(pattern, at)
            pieces.append(pattern[at:end])
            at = end
            continue
        if sign == "(" and (named := re.match(r"\((?:\?P<\w+>|(?!\?))", pattern[at:])):
            seen += 1
            pieces.append("(?P<g>" if seen == number else "(?:")
            at += named.end()
            continue
        pieces.append(sign)
        at += 1
    text = "".join(pieces[1:])
    return pieces[0] + (f"(?P<g>{text})" if number == 0 else text)


def _class_end(pattern: str, at: int) -> int:
    """The place behind a class in brackets."""
    at += 1
    while pattern[at] != "]":
        at += 2 if pattern[at] == "\\" else 1
    return at + 1


@kernel
def regexp_count(type_: Any, values: Array, patterns: Array) -> Array:
    whole = _whole(values, patterns, stepping=True)
    if whole is not None:
        return pc.count_substring_regex(values, whole)
    return each(lambda v, p: sum(1 for _ in matches_of(pattern_of(p), v)), type_, values, patterns)


@kernel
def split(type_: Any, values: Array, patterns: Array, limits: Array) -> Array:
    whole, limit = _whole(values, patterns, stepping=True), _one(limits)
    if whole is not None and isinstance(limit, int):
        text = _one(patterns)
        plain = text if not re.search(r"[\\\[\](){}.*+?^$|]", text) else None
        most = limit - 1 if limit > 0 else None
        if plain is not None:
            return pc.split_pattern(values, plain, max_splits=most)
        return pc.split_pattern_regex(values, whole, max_splits=most)
    return each(split_text, type_, values, patterns, limits)


def _by_value(name: str, function: Callable[..., Any]) -> None:
    def run(type_: Any, *arrays: Array) -> Array:
        return each(function, type_, *arrays)

    run.__name__ = name
    kernel(run)


_by_value("regexp_extract_all", _extracted_all)
_by_value("regexp_instr", _instr)
_by_value("regexp_substr", _substr)
