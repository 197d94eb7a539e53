"""Dates and times as text: as Spark casts them, or in a pattern of the user's."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from proa.errors import PipelineError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DATE = re.compile(r"([+-]?\d{4,6})(?:-(\d{1,2})(?:-(\d{1,2}))?)?")
_TIME = re.compile(
    r"(\d{1,2})(?::(\d{1,2}))?(?::(\d{1,2})(?:[.,](\d{1,9})\d*)?)?\s*(Z|z|UTC|GMT|[+-][\d:]+"
    r"|[A-Za-z]+/[A-Za-z_/+-]+\d*)?"
)


def parse_date(text: str, pattern: str | None) -> date:
    """The day that `text` names; ValueError when it is not one."""
    if pattern is not None:
        return _by_pattern(text, pattern).date()
    text = text.strip()
    match = _DATE.match(text)
    if not match or not match.group(3) or (text[match.end() :][:1] not in {"", "T", " "}):
        raise ValueError(text)
    return _date(match)


def parse_timestamp(text: str, pattern: str | None) -> int:
    """Microseconds since 1970; a time without an offset is UTC; ValueError when it is not a time."""
    if pattern is not None:
        found = _by_pattern(text, pattern)
    else:
        text = text.strip()
        match = _DATE.match(text)
        if not match:
            raise ValueError(text)
        day = datetime.combine(_date(match), datetime.min.time())
        rest = text[match.end() :]
        found = _add_time(day, rest[1:]) if rest[:1] in {"T", " "} and rest[1:] else day
        if rest and rest[:1] not in {"T", " "}:
            raise ValueError(text)
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return (found - _EPOCH) // timedelta(microseconds=1)


def _date(match: re.Match[str]) -> date:
    return date(int(match.group(1)), int(match.group(2) or 1), int(match.group(3) or 1))


def _add_time(day: datetime, text: str) -> datetime:
    match = _TIME.fullmatch(text.strip())
    if not match:
        raise ValueError(text)
    hour, minute, second, fraction, zone = match.groups()
    micros = int((fraction or "0")[:6].ljust(6, "0"))
    found = day.replace(
        hour=int(hour), minute=int(minute or 0), second=int(second or 0), microsecond=micros
    )
    return found.replace(tzinfo=_zone(zone)) if zone else found


def _zone(text: str) -> timezone | ZoneInfo:
    if text.upper() in {"Z", "UTC", "GMT"}:
        return UTC
    match = re.fullmatch(r"([+-])(\d{1,2})(?::?(\d{2}))?(?::?\d{2})?", text)
    if match:
        offset = timedelta(hours=int(match.group(2)), minutes=int(match.group(3) or 0))
        return timezone(-offset if match.group(1) == "-" else offset)
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, OSError) as error:
        raise ValueError(text) from error


_LETTERS = {
    "yyyy": "%Y",
    "uuuu": "%Y",
    "yy": "%y",
    "MM": "%m",
    "M": "%m",
    "MMM": "%b",
    "MMMM": "%B",
    "dd": "%d",
    "d": "%d",
    "HH": "%H",
    "H": "%H",
    "hh": "%I",
    "h": "%I",
    "mm": "%M",
    "m": "%M",
    "ss": "%S",
    "s": "%S",
    "a": "%p",
    "E": "%a",
    "EEE": "%a",
    "EEEE": "%A",
    "D": "%j",
    "DDD": "%j",
    "X": "%z",
    "XX": "%z",
    "XXX": "%z",
    "Z": "%z",
    "xxx": "%z",
    "VV": "%z",
}


_TOKEN = re.compile(r"'((?:[^']|'')*)'|(([A-Za-z])\3*)|(.)", re.DOTALL)


@lru_cache(maxsize=64)
def to_strptime(pattern: str) -> str:
    """Spark's date pattern as Python's. PipelineError names a letter that is not supported."""
    out = []
    for match in _TOKEN.finditer(pattern):
        quoted, letters, _, other = match.groups()
        if letters and set(letters) == {"S"}:
            out.append("%f")
        elif letters and letters in _LETTERS:
            out.append(_LETTERS[letters])
        elif letters:
            raise PipelineError(
                f"{letters!r} in the date pattern {pattern!r} is not supported; read the column"
                " as string and convert it in the query",
                condition="INVALID_DATETIME_PATTERN",
            )
        elif quoted is not None:
            out.append(quoted.replace("''", "'").replace("%", "%%") or "'")
        else:
            out.append(other.replace("%", "%%"))
    return "".join(out)


def _by_pattern(text: str, pattern: str) -> datetime:
    return datetime.strptime(text, to_strptime(pattern))  # noqa: DTZ007 - a zone may be absent
