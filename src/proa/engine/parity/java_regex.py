"""Regular expressions in Java's dialect, for Python's `re`.

Java's classes are ASCII unless a flag says otherwise, its dot stops at five line ends, and its `$` stands
before any of them. What cannot be translated is refused, so that no pattern means something else.
"""

from __future__ import annotations

import functools
import re

from proa.engine.parity.char_ranges import (
    Ranges,
    all_but,
    class_text,
    common_ranges,
    ranges_in,
    ranges_of_property,
)

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
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "e": "\x1b", "a": "\x07"}


class PatternError(ValueError):
    """A pattern that is wrong, or that Python cannot match as Java does.

    `spark_too`: Java refuses it as well, so it is an error over values only.
    """

    def __init__(self, sentence: str, *, spark_too: bool = False) -> None:
        super().__init__(sentence)
        self.spark_too = spark_too


_WRONG_ANYWHERE = (
    "missing ), unterminated",
    "nothing to repeat",
    "unbalanced parenthesis",
    "multiple repeat",
)


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
        raise PatternError(
            f"the regular expression {pattern!r} is wrong: {error}",
            spark_too=str(error).startswith(_WRONG_ANYWHERE),
        ) from error


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


_COUNT = re.compile(r"\{\d+(?:,\d*)?\}")


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
        if sign == "{" and not _COUNT.match(pattern, at):
            raise PatternError(
                f"a repetition in {pattern!r} that has no number; write \\{{ for the sign",
                spark_too=True,
            )
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
        raise PatternError(
            f"the regular expression {pattern!r} ends in a backslash", spark_too=True
        )
    if letter in "pP":
        text, end = _property(pattern, at)
        return f"[{text}]", end
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


def _property(pattern: str, at: int) -> tuple[str, int]:
    """The inside of a class by property, such as p{Lu}, and the place behind it."""
    match = re.match(r"\\[pP](?:\{(?:Is|general_category=|gc=)?(\w+)\}|(\w))", pattern[at:])
    name = (match.group(1) or match.group(2)) if match is not None else ""
    ranges = ranges_of_property(name)
    if match is None or ranges is None:
        raise PatternError(
            f"the class {pattern[at : at + 12]!r} of the regular expression {pattern!r}"
        )
    if pattern[at + 1] == "P":
        ranges = all_but(ranges)
    return class_text(ranges), at + match.end()


def _class(pattern: str, at: int) -> tuple[str, int]:
    """A class in brackets, as Python writes it, and the place behind it."""
    reader = ClassReader(pattern, at + 1)
    ranges = reader.members()
    if reader.simple is not None:
        return f"[{reader.simple}]", reader.at
    return f"[{class_text(ranges)}]", reader.at


class ClassReader:
    """Reads what stands in the brackets of a class: ranges, classes inside of it, and `&&`."""

    def __init__(self, pattern: str, at: int) -> None:
        self.pattern = pattern
        self.at = at
        self.simple: str | None = ""
        """The class as Python writes it; None where it is too much for that."""

    def members(self) -> Ranges:
        """The characters up to the closing bracket. Raises PatternError."""
        start = self.at
        negated = self._takes("^")
        if negated and self.simple is not None:
            self.simple += "^"
        found: Ranges = []
        sides: list[Ranges] = []
        first = True
        while self.at < len(self.pattern) and (self.pattern[self.at] != "]" or first):
            if self.pattern.startswith("&&", self.at):
                self.at += 2
                self.simple = None
                sides.append(found)
                found = []
            else:
                found = found + self._member()
            first = False
        if self.at >= len(self.pattern):
            raise PatternError(
                f"the class at {self.pattern[start - 1 :]!r} is not closed", spark_too=True
            )
        self.at += 1
        for side in reversed(sides):
            found = common_ranges(side, found)
        if negated and self.simple is None:
            if sides:
                raise PatternError(f"^ and && in one class of {self.pattern!r}")
            return all_but(found)
        return found

    def _takes(self, sign: str) -> bool:
        found = self.pattern.startswith(sign, self.at)
        self.at += len(sign) * found
        return found

    def _member(self) -> Ranges:
        pattern, at = self.pattern, self.at
        if pattern[at] == "[":
            self.at += 1
            self.simple = None
            inner = ClassReader(pattern, self.at)
            inner.simple = None
            found = inner.members()
            self.at = inner.at
            return found
        if pattern[at] == "\\":
            letter = pattern[at + 1 : at + 2]
            if letter in _IN_CLASS:
                self.at += 2
                self._write(_IN_CLASS[letter])
                return ranges_in(_IN_CLASS[letter])
            if letter in "DWSH" and letter:
                self.at += 2
                self.simple = None
                return all_but(ranges_in(_IN_CLASS[letter.lower()]))
            if letter in "pP" and letter:
                text, self.at = _property(pattern, at)
                self._write(text)
                return ranges_in(text)
        low = self._sign()
        if self.at + 1 < len(pattern) and pattern[self.at] == "-" and pattern[self.at + 1] != "]":
            if pattern[self.at + 1] == "[" or pattern.startswith("&&", self.at + 1):
                self._write(class_text([(low, low)]))
                return [(low, low)]
            self.at += 1
            high = self._sign()
            if high < low:
                raise PatternError(
                    f"a range of {pattern!r} that ends before it begins", spark_too=True
                )
            self._write(class_text([(low, high)]))
            return [(low, high)]
        self._write(class_text([(low, low)]))
        return [(low, low)]

    def _write(self, text: str) -> None:
        if self.simple is not None:
            self.simple += text

    def _sign(self) -> int:
        """The code of one character, escaped or not."""
        pattern, at = self.pattern, self.at
        if pattern[at] != "\\":
            self.at += 1
            return ord(pattern[at])
        letter = pattern[at + 1 : at + 2]
        if letter in _CONTROLS:
            self.at += 2
            return ord(_CONTROLS[letter])
        match = re.compile(r"\\(?:x([0-9a-fA-F]{2})|x\{([0-9a-fA-F]+)\}|u([0-9a-fA-F]{4}))").match(
            pattern, at
        )
        if match is not None:
            self.at = match.end()
            return int(next(group for group in match.groups() if group), 16)
        if not letter or letter.isalnum():
            raise PatternError(
                f"\\{letter} inside of a class in the regular expression {pattern!r}",
                spark_too=not letter,
            )
        self.at += 2
        return ord(letter)


_REFERENCE = re.compile(r"\\(.)|\$(\d+)|\$\{(\w+)\}|([\\$])", re.DOTALL)


def replacement_parts(text: str, groups: int) -> list[str | int]:
    """What Java puts in the place of a match: texts, and numbers of groups.

    Raises PatternError for a group that is not there.
    """
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
    return [piece for piece in pieces if piece != ""]
