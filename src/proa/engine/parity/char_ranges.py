"""Sets of characters as ranges of their codes, for the classes of Java's regular expressions.

Apart because Python's `re` has neither classes by property nor intersections, and they are the same
arithmetic wherever a class stands.
"""

from __future__ import annotations

import functools
import sys
import unicodedata

Ranges = list[tuple[int, int]]
"""(first, last) codes; in any order, and they may overlap."""

_POSIX = {"Lower": "a-z", "Upper": "A-Z", "Alpha": "a-zA-Z", "Digit": "0-9", "Alnum": "a-zA-Z0-9",
          "Punct": "!-/:-@\\[-`{-~", "Space": " \\t\\n\\x0b\\f\\r", "XDigit": "0-9a-fA-F",
          "Blank": " \\t", "ASCII": "\\x00-\\x7f", "Cntrl": "\\x00-\\x1f\\x7f",
          "Graph": "!-~", "Print": " -~"}  # fmt: skip
_CATEGORIES = frozenset(
    [
        "C",
        "Cc",
        "Cf",
        "Co",
        "Cs",
        "L",
        "Ll",
        "Lm",
        "Lo",
        "Lt",
        "Lu",
        "M",
        "Mc",
        "Me",
        "Mn",
        "N",
        "Nd",
        "Nl",
        "No",
        "P",
        "Pc",
        "Pd",
        "Pe",
        "Pf",
        "Pi",
        "Po",
        "Ps",
        "S",
        "Sc",
        "Sk",
        "Sm",
        "So",
        "Z",
        "Zl",
        "Zp",
        "Zs",
    ]
)
_ESCAPED = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}


def ranges_in(text: str) -> Ranges:
    """The ranges that a class in Python's notation holds, without its brackets."""
    codes: list[int | None] = []
    at = 0
    while at < len(text):
        sign = text[at]
        if sign == "-":
            codes.append(None)
            at += 1
        elif sign != "\\":
            codes.append(ord(sign))
            at += 1
        elif text[at + 1] in "xuU":
            digits = {"x": 2, "u": 4, "U": 8}[text[at + 1]]
            codes.append(int(text[at + 2 : at + 2 + digits], 16))
            at += 2 + digits
        else:
            codes.append(ord(_ESCAPED.get(text[at + 1], text[at + 1])))
            at += 2
    found: Ranges = []
    place = 0
    while place < len(codes):
        low = codes[place]
        high = codes[place + 2] if codes[place + 1 : place + 2] == [None] else low
        assert low is not None
        assert high is not None
        found.append((low, high))
        place += 1 if high == low and codes[place + 1 : place + 2] != [None] else 3
    return found


def class_text(ranges: Ranges) -> str:
    """The ranges in Python's notation, without brackets; a class of nothing has the code that no text has."""
    if not ranges:
        return "\\ud800"
    return "".join(
        _sign(low) if low == high else f"{_sign(low)}-{_sign(high)}" for low, high in ranges
    )


def _sign(code: int) -> str:
    if chr(code).isascii() and chr(code).isalnum():
        return chr(code)
    return (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )


def merge_ranges(ranges: Ranges) -> Ranges:
    """The ranges sorted, none of which touches another."""
    found: Ranges = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return found


def all_but(ranges: Ranges) -> Ranges:
    """All characters but those of the ranges."""
    found: Ranges = []
    start = 0
    for low, high in merge_ranges(ranges):
        if low > start:
            found.append((start, low - 1))
        start = high + 1
    if start <= sys.maxunicode:
        found.append((start, sys.maxunicode))
    return found


def common_ranges(left: Ranges, right: Ranges) -> Ranges:
    """The characters that both have."""
    return all_but(all_but(left) + all_but(right))


@functools.cache
def _category(name: str) -> Ranges:
    codes = (
        code
        for code in range(sys.maxunicode + 1)
        if unicodedata.category(chr(code)).startswith(name)
        or (name == "LC" and unicodedata.category(chr(code)) in {"Lu", "Ll", "Lt"})
    )
    found: Ranges = []
    for code in codes:
        if found and found[-1][1] == code - 1:
            found[-1] = (found[-1][0], code)
        else:
            found.append((code, code))
    return found


def ranges_of_property(name: str) -> Ranges | None:
    """The characters of a general category, or of a POSIX class; None where there is none of the name."""
    if name in _POSIX:
        return ranges_in(_POSIX[name])
    return list(_category(name)) if name in _CATEGORIES else None
