"""Regular expressions in Java's dialect, for Python's `re`.

Java's classes are ASCII unless a flag says otherwise, its dot stops at five line ends, and its `$` stands
before any of them. What cannot be translated is refused, so that no pattern means something else.
"""

from __future__ import annotations

import functools
import re
from typing import Any

_LINE_ENDS = "\\n\\r\\u0085\\u2028\\u2029"
_LAST = f"(?=(?:\\r\\n|[{_LINE_ENDS}])?\\Z)"
_ESCAPES = {
    "d": "[0-9]", "D": "[^0-9]", "w": "[a-zA-Z0-9_]", "W": "[^a-zA-Z0-9_]",
    "s": "[ \\t\\n\\x0b\\f\\r]", "S": "[^ \\t\\n\\x0b\\f\\r]",
    "h": "[ \\t\\xa0\\u1680\\u180e\\u2000-\\u200a\\u202f\\u205f\\u3000]",
    "v": f"[\\x0b\\f{_LINE_ENDS}]", "R": f"(?:\\r\\n|[\\x0b\\f{_LINE_ENDS}])",
    "z": "\\Z", "Z": _LAST, "A": "\\A", "e": "\\x1b", "a": "\\x07",
}  # fmt: skip
_IN_CLASS = {"d": "0-9", "w": "a-zA-Z0-9_", "s": " \\t\\n\\x0b\\f\\r", "h": _ESCAPES["h"][1:-1]}
_POSIX = {"Lower": "a-z", "Upper": "A-Z", "Alpha": "a-zA-Z", "Digit": "0-9", "Alnum": "a-zA-Z0-9",
          "Punct": "!-/:-@\\[-`{-~", "Space": " \\t\\n\\x0b\\f\\r", "XDigit": "0-9a-fA-F", "Blank": " \\t"}  # fmt: skip


class PatternError(ValueError):
    """A pattern that is wrong, or that Python cannot match as Java does."""


@functools.lru_cache(1024)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The pattern as Java matches it. Raises PatternError."""
    flags, rest = _flags(pattern)
    try:
        return re.compile(
            _translate(rest, dot_all=bool(flags & re.DOTALL), lines=bool(flags & re.MULTILINE)),
            flags & ~re.MULTILINE | re.ASCII,
        )
    except (re.error, OverflowError) as error:
        raise PatternError(f"the regular expression {pattern!r} is wrong: {error}") from error


def _flags(pattern: str) -> tuple[int, str]:
    match = re.match(r"\(\?([imsxu]+)\)", pattern)
    if match is None:
        if re.search(r"\(\?[a-zA-Z-]+[):]", pattern) and not re.search(r"\(\?<?[=!:>]", pattern):
            raise PatternError(f"flags inside of the regular expression {pattern!r}")
        return 0, pattern
    names = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}
    if set(match.group(1)) - set(names):
        raise PatternError(f"the flags of {pattern!r}")
    flags = 0
    for letter in match.group(1):
        flags |= names[letter]
    return flags, pattern[match.end() :]


def _translate(pattern: str, *, dot_all: bool, lines: bool) -> str:
    found: list[str] = []
    at = 0
    while at < len(pattern):
        sign = pattern[at]
        if sign == "\\":
            if pattern.startswith("\\Q", at):
                end = pattern.find("\\E", at)
                end = len(pattern) if end < 0 else end
                found.append(re.escape(pattern[at + 2 : end]))
                at = end + 2
                continue
            text, at = _escape(pattern, at)
            found.append(text)
            continue
        if sign == "[":
            text, at = _class(pattern, at)
            found.append(text)
            continue
        if sign == "." and not dot_all:
            found.append(f"[^{_LINE_ENDS}]")
        elif sign == "$":
            found.append(f"(?=[{_LINE_ENDS}]|\\Z)" if lines else _LAST)
        elif sign == "^" and lines:
            found.append(f"(?:(?<=[{_LINE_ENDS}])(?!\\Z)|\\A)")
        elif pattern.startswith("(?<", at) and pattern[at + 3 : at + 4] not in {"=", "!"}:
            found.append("(?P<")
            at += 3
            continue
        else:
            found.append(sign)
        at += 1
    return "".join(found)


def _escape(pattern: str, at: int) -> tuple[str, int]:
    letter = pattern[at + 1 : at + 2]
    if not letter:
        raise PatternError(f"the regular expression {pattern!r} ends in a backslash")
    if letter in "pP":
        match = re.match(r"\\[pP]\{(?:Is)?(\w+)\}", pattern[at:])
        if match is None or match.group(1) not in _POSIX:
            raise PatternError(f"the class \\{letter} of the regular expression {pattern!r}")
        return f"[{'^' if letter == 'P' else ''}{_POSIX[match.group(1)]}]", at + match.end()
    if letter == "k":
        match = re.match(r"\\k<(\w+)>", pattern[at:])
        if match is None:
            raise PatternError(f"\\k of {pattern!r}")
        return f"(?P={match.group(1)})", at + match.end()
    if letter == "x" and (match := re.match(r"\\x\{([0-9a-fA-F]+)\}", pattern[at:])):
        return re.escape(chr(int(match.group(1), 16))), at + match.end()
    if letter in "GXNc":
        raise PatternError(f"\\{letter} of the regular expression {pattern!r}")
    if letter in _ESCAPES:
        return _ESCAPES[letter], at + 2
    return pattern[at : at + 2], at + 2


def _class(pattern: str, at: int) -> tuple[str, int]:
    """A class in brackets. Raises PatternError for one inside of another, and for &&."""
    start = at
    at += 1
    text = "["
    if pattern[at : at + 1] == "^":
        text += "^"
        at += 1
    first = True
    while at < len(pattern) and (pattern[at] != "]" or first):
        sign = pattern[at]
        if sign == "[" or pattern.startswith("&&", at):
            raise PatternError(f"a class inside of a class in the regular expression {pattern!r}")
        if sign == "\\":
            letter = pattern[at + 1 : at + 2]
            if letter in _IN_CLASS:
                text += _IN_CLASS[letter]
            elif letter in "DWSHVpPbBQRX":
                raise PatternError(
                    f"\\{letter} inside of a class in the regular expression {pattern!r}"
                )
            else:
                text += pattern[at : at + 2]
            at += 2
        else:
            text += sign
            at += 1
        first = False
    if at >= len(pattern):
        raise PatternError(f"the class at {pattern[start:]!r} is not closed")
    return text + "]", at + 1


_REFERENCE = re.compile(r"\\(.)|\$(\d+)|\$\{(\w+)\}|([\\$])", re.DOTALL)


def replacement(text: str, groups: int) -> Any:
    """What Java puts in the place of a match. Raises PatternError for a group that is not there."""
    pieces: list[str | int] = []
    at = 0
    for match in _REFERENCE.finditer(text):
        pieces.append(text[at : match.start()])
        at = match.end()
        if match.group(4) or match.group(3):
            raise PatternError(f"the replacement {text!r} is wrong")
        if match.group(1) is not None:
            pieces.append(match.group(1))
            continue
        digits = match.group(2)
        number = int(digits[0])
        if number > groups:
            raise PatternError(
                f"the replacement {text!r} names group {number}, and there are {groups}"
            )
        used = 1
        while used < len(digits) and number * 10 + int(digits[used]) <= groups:
            number = number * 10 + int(digits[used])
            used += 1
        pieces += [number, digits[used:]]
    pieces.append(text[at:])

    def put(match: re.Match[str]) -> str:
        return "".join((match.group(p) or "") if isinstance(p, int) else p for p in pieces)

    return put
