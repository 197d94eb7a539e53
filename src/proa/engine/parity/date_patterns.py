"""Patterns of dates as Java's `DateTimeFormatter` reads them, over whole Arrow arrays, in UTC.

A pattern is cut into pieces once. Writing takes each piece's column of texts and joins them; reading
is one regular expression over the array, then arithmetic on its groups. What both do not know, and what
Spark refuses, raises PatternError when the pattern is read.
"""

from __future__ import annotations

import calendar
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from proa.lazy import compute as pc

Array = Any

MICROS = 1_000_000
_MONTHS = list(calendar.month_name)[1:]
_DAYS = list(calendar.day_name)
_WIDTHS = {"S": 9, "D": 3, "G": 3, "E": 4, "a": 1, "M": 4, "L": 4, "Q": 4, "q": 4, "F": 1, "z": 4,
           "X": 3, "x": 3, "Z": 3, "O": 1, "V": 2, "y": 6}  # fmt: skip
_CLOCK_WIDTH = 2
_WEEKS = frozenset("YWwu")
"""Letters that Spark 3 and later do not read, because they meant another thing before."""
_LAST_YEAR = 294_000
"""A timestamp of microseconds reaches a little further."""


class DatePatternError(ValueError):
    """A pattern that is not read here. `spark_too`: Spark raises an error over every value."""

    def __init__(self, sentence: str, *, spark_too: bool = False) -> None:
        super().__init__(sentence)
        self.spark_too = spark_too


@dataclass(frozen=True, slots=True)
class PatternPiece:
    """A run of one letter, or a text as it stands (`letter` is "")."""

    letter: str
    count: int
    text: str = ""
    optional: int = 0
    """How many optional sections it is in."""


@functools.lru_cache(256)
def pieces_of(pattern: str) -> tuple[PatternPiece, ...]:
    """The pieces of a pattern. Raises DatePatternError."""
    found: list[PatternPiece] = []
    depth = at = 0
    closed = False
    while at < len(pattern):
        sign = pattern[at]
        if sign in "[]":
            closed = closed or sign == "]"
            if closed and sign == "[":
                raise DatePatternError("something behind an optional section")
            depth += 1 if sign == "[" else -1
            if depth < 0:
                raise DatePatternError("a bracket that closes nothing", spark_too=True)
            at += 1
            continue
        if closed:
            raise DatePatternError("something behind an optional section")
        if sign == "'":
            text, at = _quoted_text(pattern, at)
            found.append(PatternPiece("", 0, text, depth))
            continue
        if sign in "{}#":
            raise DatePatternError(f"the sign {sign}", spark_too=True)
        if not (sign.isascii() and sign.isalpha()):
            found.append(PatternPiece("", 0, sign, depth))
            at += 1
            continue
        end = at
        while end < len(pattern) and pattern[end] == sign:
            end += 1
        found.append(_letter_piece(sign, end - at, depth))
        at = end
    return tuple(found)


def _quoted_text(pattern: str, at: int) -> tuple[str, int]:
    end = pattern.find("'", at + 1)
    if end == at + 1:
        return "'", at + 2
    text = ""
    while end >= 0:
        text += pattern[at + 1 : end]
        if pattern[end + 1 : end + 2] != "'":
            return text, end + 1
        text += "'"
        at, end = end + 1, pattern.find("'", end + 2)
    raise DatePatternError("a quote that does not end", spark_too=True)


def _letter_piece(letter: str, count: int, depth: int) -> PatternPiece:
    if letter in _WEEKS:
        raise DatePatternError(f"the letter {letter}", spark_too=True)
    most = _CLOCK_WIDTH if letter in "dHhKkms" else _WIDTHS.get(letter, 0)
    if count > most or (letter == "V" and count != most):
        raise DatePatternError(f"{letter * count}")
    return PatternPiece(letter, count, optional=depth)


# -- writing ------------------------------------------------------------------------------------------


def format_moments(moments: Array, pattern: str) -> Array:
    """Texts of timestamps in UTC. Raises DatePatternError."""
    columns = [_column(piece, moments) for piece in pieces_of(pattern)]
    if not columns:
        return pc.if_else(pc.is_valid(moments), "", pa.scalar(None, pa.string()))
    joined = pc.binary_join_element_wise(*columns, "")
    return pc.if_else(pc.is_valid(moments), joined, pa.scalar(None, pa.string()))


def _digits(values: Array, width: int) -> Array:
    return pc.utf8_lpad(pc.cast(values, pa.string()), width, "0")


def _names_at(names: list[str], places: Array) -> Array:
    return pa.array(names).take(places)


def _year(moments: Array, count: int) -> Array:
    years = pc.year(moments)
    if count == 2:
        return _digits(_remainder(years, 100), 2)
    text = _digits(years, count)
    if count < 4:
        return text
    return pc.if_else(
        pc.greater(years, 10**count - 1), pc.binary_join_element_wise("+", text, ""), text
    )


def _remainder(values: Array, by: int) -> Array:
    return pc.subtract(values, pc.multiply(pc.divide(values, by), by))


def _month(moments: Array, count: int) -> Array:
    if count <= 2:
        return _digits(pc.month(moments), count)
    names = _MONTHS if count == 4 else [name[:3] for name in _MONTHS]
    return _names_at(names, pc.subtract(pc.month(moments), 1))


def _quarter(moments: Array, count: int) -> Array:
    if count <= 2:
        return _digits(pc.quarter(moments), count)
    ends = ["1st", "2nd", "3rd", "4th"]
    names = [f"{end} quarter" for end in ends] if count == 4 else [f"Q{k}" for k in range(1, 5)]
    return _names_at(names, pc.subtract(pc.quarter(moments), 1))


def _weekday(moments: Array, count: int) -> Array:
    names = _DAYS if count == 4 else [name[:3] for name in _DAYS]
    return _names_at(names, pc.day_of_week(moments))


def _fraction(moments: Array, count: int) -> Array:
    micros = pc.add(pc.multiply(pc.millisecond(moments), 1000), pc.microsecond(moments))
    text = pc.utf8_rpad(_digits(micros, 6), 9, "0")
    return pc.utf8_slice_codeunits(text, 0, count)


def _clock(moments: Array, letter: str, count: int) -> Array:
    hours = pc.hour(moments)
    if letter in "hK":
        hours = _remainder(hours, 12)
    if letter in "hk":
        hours = pc.if_else(pc.equal(hours, 0), 12 if letter == "h" else 24, hours)
    return _digits(hours, count)


_CONSTANT = {"X": ["Z"] * 3, "x": ["+00", "+0000", "+00:00"], "Z": ["+0000"] * 3, "O": ["GMT"],
             "VV": ["UTC", "UTC"], "G": ["AD"] * 3,
             "z": ["UTC", "UTC", "UTC", "Coordinated Universal Time"]}  # fmt: skip

_WRITERS: dict[str, Callable[[Array, int], Array]] = {
    "y": _year,
    "M": _month,
    "L": _month,
    "Q": _quarter,
    "q": _quarter,
    "E": _weekday,
    "S": _fraction,
    "d": lambda v, n: _digits(pc.day(v), n),
    "D": lambda v, n: _digits(pc.day_of_year(v), n),
    "F": lambda v, _: pc.cast(pc.add(_remainder(pc.subtract(pc.day(v), 1), 7), 1), pa.string()),
    "a": lambda v, _: _names_at(["AM", "PM"], pc.divide(pc.hour(v), 12)),
    "m": lambda v, n: _digits(pc.minute(v), n),
    "s": lambda v, n: _digits(pc.second(v), n),
    **{
        letter: functools.partial(lambda v, n, letter: _clock(v, letter, n), letter=letter)
        for letter in "HhKk"
    },
}


def _column(piece: PatternPiece, moments: Array) -> Any:
    if not piece.letter:
        return piece.text
    constant = _CONSTANT.get("VV" if piece.letter == "V" else piece.letter)
    if constant is not None:
        return constant[piece.count - 1]
    return _WRITERS[piece.letter](moments, piece.count)


# -- reading ------------------------------------------------------------------------------------------

_OFFSETS = {
    "X": ["Z|[+-]\\d{2}(?:\\d{2})?", "Z|[+-]\\d{4}", "Z|[+-]\\d{2}:\\d{2}"],
    "x": ["[+-]\\d{2}(?:\\d{2})?", "[+-]\\d{4}", "[+-]\\d{2}:\\d{2}"],
    "Z": ["[+-]\\d{4}"] * 3,
}
_FIELDS = {"y": "year", "M": "month", "L": "month", "d": "day", "D": "yearday", "H": "hour", "k": "hour24",
           "h": "hour12", "K": "hour11", "m": "minute", "s": "second"}  # fmt: skip


def _part(piece: PatternPiece) -> tuple[str, str]:
    """(name of the group, regular expression) of a piece that is read; no name for plain text."""
    letter, count = piece.letter, piece.count
    if not letter:
        return "", re.escape(piece.text)
    if letter in "ML" and count > 2:
        names = [name if count == 4 else name[:3] for name in _MONTHS]
        return "monthname", "|".join(names)
    if letter == "a":
        return "half", "AM|PM"
    if letter == "S":
        return "fraction", f"\\d{{1,{count}}}"
    if letter in _OFFSETS:
        return "offset", _OFFSETS[letter][count - 1]
    if letter == "y":
        if count == 2:
            return "shortyear", "\\d{2}"
        return "year", f"\\d{{{count},6}}" if count < 4 else f"\\d{{{count}}}"
    if letter == "D":
        return "yearday", f"\\d{{{count},3}}"
    if letter in _FIELDS:
        return _FIELDS[letter], "\\d{1,18}" if count == 1 else f"\\d{{{count}}}"
    raise DatePatternError(f"{letter * count} of a text that is read")


@functools.lru_cache(256)
def _expression(pattern: str) -> tuple[str, tuple[str, ...]]:
    """(regular expression, names of its groups) that reads a pattern. Raises DatePatternError."""
    text, names, depth = "", [], 0
    fractions = 0
    for piece in pieces_of(pattern):
        text += "(?:" * (piece.optional - depth)
        depth = piece.optional
        name, part = _part(piece)
        fractions += name == "fraction"
        if not name:
            text += part
            continue
        if name in names or fractions > 1:
            raise DatePatternError(f"the field {name} twice")
        names.append(name)
        text += f"(?P<{name}>{part})"
    text += ")?" * depth
    if {"month", "monthname"} <= set(names) or {"year", "shortyear"} <= set(names):
        raise DatePatternError("one field twice")
    if len({"hour", "hour24", "hour12", "hour11"} & set(names)) > 1:
        raise DatePatternError("the hour twice")
    if "yearday" in names and {"month", "monthname", "day"} & set(names):
        raise DatePatternError("the day twice")
    return f"(?is)^(?P<whole>{text})$", tuple(names)


_YEAR_FIRST = "(?is)^(?P<whole>(?P<year>"


def check_reading(pattern: str) -> None:
    """Raise DatePatternError for a pattern by which texts cannot be read."""
    _expression(pattern)


def read_moments(texts: Array, pattern: str) -> tuple[Array, Array]:
    """(timestamps in UTC, whether the text could not be read) of texts. Raises DatePatternError."""
    expression, names = _expression(pattern)
    groups = pc.extract_regex(texts, expression)
    matched = groups.is_valid().to_numpy(zero_copy_only=False)
    there = texts.is_valid().to_numpy(zero_copy_only=False)
    fields = _Fields(groups, names, matched)
    micros, good = _moments(fields)
    good &= matched
    unread = texts.filter(pa.array(there & ~matched))
    if (
        expression.startswith(_YEAR_FIRST)
        and pc.any(pc.match_substring_regex(unread, "^[+-]\\d{4}")).as_py()
    ):
        raise DatePatternError("a year with a sign")
    moments = pa.array(np.where(good, micros, 0), pa.int64(), mask=~good).cast(
        pa.timestamp("us", "UTC")
    )
    return moments, pa.array(there & ~good)


class _Fields:
    """The numbers that stand in the groups of a match, a column for each field."""

    def __init__(self, groups: Array, names: tuple[str, ...], matched: Any) -> None:
        self._columns = {name: pc.struct_field(groups, name) for name in names}
        self._rows = len(groups)
        self._matched = matched

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def text(self, name: str) -> Array:
        """The texts of a group; "" where it is in an optional section that is not there."""
        return pc.fill_null(self._columns[name], "")

    def number(self, name: str, default: int) -> Any:
        """The numbers of a group, `default` where it is not there."""
        if name not in self._columns:
            return np.full(self._rows, default, np.int64)
        text = self.text(name)
        text = pc.if_else(pc.equal(text, ""), str(default), text)
        return pc.cast(text, pa.int64()).to_numpy(zero_copy_only=False)


def _moments(fields: _Fields) -> tuple[Any, Any]:
    days, good = _days(fields)
    hour, fine = _hours(fields)
    good &= fine
    minute, second = fields.number("minute", 0), fields.number("second", 0)
    good &= (minute < 60) & (second < 60)
    micros = ((days * 24 + hour) * 60 + minute) * 60 + second
    micros *= MICROS
    if "fraction" in fields:
        text = pc.utf8_slice_codeunits(pc.utf8_rpad(fields.text("fraction"), 6, "0"), 0, 6)
        micros += pc.cast(text, pa.int64()).to_numpy(zero_copy_only=False)
    if "offset" in fields:
        shift, fine = _shifts(fields.text("offset"))
        micros -= shift
        good &= fine
    return micros, good


def _days(fields: _Fields) -> tuple[Any, Any]:
    """(days since 1970, whether there is such a day)."""
    year = fields.number("year", 1970)
    if "shortyear" in fields:
        year = fields.number("shortyear", -30) + 2000
    if "monthname" in fields:
        short = pc.utf8_lower(pc.utf8_slice_codeunits(fields.text("monthname"), 0, 3))
        places = pc.index_in(short, pa.array([name[:3].lower() for name in _MONTHS]))
        month = pc.add(pc.fill_null(places, 0), 1).cast(pa.int64()).to_numpy(zero_copy_only=False)
    else:
        month = fields.number("month", 1)
    day = fields.number("day", 1)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    good = (month >= 1) & (month <= 12) & (year <= _LAST_YEAR)
    lengths = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
    length = lengths[np.where(good, month, 1) - 1] + (leap & (month == 2))
    good &= (day >= 1) & (day <= length)
    years, months = np.where(good, year, 1970), np.where(good, month, 1)
    start = (years - 1970).astype("datetime64[Y]").astype("datetime64[M]") + (months - 1)
    days = start.astype("datetime64[D]").astype(np.int64) + np.where(good, day, 1) - 1
    if "yearday" in fields:
        yearday = fields.number("yearday", 1)
        good &= (yearday >= 1) & (yearday <= 365 + leap)
        days += np.where(good, yearday, 1) - 1
    return days, good


def _hours(fields: _Fields) -> tuple[Any, Any]:
    late = np.zeros(1, np.int64)
    if "half" in fields:
        late = pc.equal(pc.utf8_upper(fields.text("half")), "PM").to_numpy(zero_copy_only=False)
    if "hour12" in fields or "hour11" in fields:
        name = "hour12" if "hour12" in fields else "hour11"
        hour = fields.number(name, 12 if name == "hour12" else 0)
        good = (hour >= 1) & (hour <= 12) if name == "hour12" else hour <= 11
        return hour % 12 + 12 * late, good
    if "hour24" in fields:
        hour = fields.number("hour24", 24)
        good = (hour >= 1) & (hour <= 24)
        hour = hour % 24
    else:
        hour = fields.number("hour", 0)
        good = hour <= 23
    if "half" not in fields:
        return hour, good
    if "hour" not in fields and "hour24" not in fields:
        return 12 * late + hour, good
    return hour, good & ((hour >= 12) == late)


def _shifts(offsets: Array) -> tuple[Any, Any]:
    """(microseconds to take off, whether the offset is one) of texts such as Z, +02:00 and -0730."""
    plain = pc.replace_substring(
        pc.utf8_rpad(pc.replace_substring(offsets, ":", ""), 5, "0"), "Z0000", "+0000"
    )
    plain = pc.if_else(
        pc.equal(offsets, ""),
        "+0000",
        pc.if_else(pc.equal(pc.utf8_upper(offsets), "Z"), "+0000", plain),
    )
    signs = pc.if_else(pc.equal(pc.utf8_slice_codeunits(plain, 0, 1), "-"), -1, 1)
    hours = pc.cast(pc.utf8_slice_codeunits(plain, 1, 3), pa.int64())
    minutes = pc.cast(pc.utf8_slice_codeunits(plain, 3, 5), pa.int64())
    total = pc.multiply(pc.cast(signs, pa.int64()), pc.add(pc.multiply(hours, 60), minutes))
    good = pc.and_(pc.less_equal(hours, 18), pc.less(minutes, 60))
    return (
        total.to_numpy(zero_copy_only=False) * 60 * MICROS,
        good.to_numpy(zero_copy_only=False),
    )
