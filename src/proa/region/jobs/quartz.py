"""Quartz cron expressions: when a scheduled job starts next.

Six or seven fields: seconds, minutes, hours, day-of-month, month, day-of-week and, if wanted, year.
Exactly one of day-of-month and day-of-week is `?`. What Quartz would silently ignore (a step after
a name, letters behind a number, what follows a name of more than three letters), and what it misreads
(`L` and `W` in a list), is refused here, because it never does what its author meant.

Daylight saving follows Quartz: a wall-clock time that the clock skips does not fire that day, and
one that the clock shows twice fires once, the second time.
"""

from __future__ import annotations

import calendar
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import NoReturn
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from proa.errors import UserError

FIRST_YEAR = 1970
LAST_YEAR = 2199

_MONTHS = [
    "JANUARY",
    "FEBRUARY",
    "MARCH",
    "APRIL",
    "MAY",
    "JUNE",
    "JULY",
    "AUGUST",
    "SEPTEMBER",
    "OCTOBER",
    "NOVEMBER",
    "DECEMBER",
]
_WEEKDAYS = ["SUNDAY", "MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY"]
_SUNDAY, _SATURDAY = 1, 7


@dataclass(frozen=True)
class _Field:
    """What one field of an expression may hold."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    """What the numbers from 1 on are called."""

    def value_of(self, word: str) -> int | None:
        """The number that a name (`MON`, `MONDAY`) stands for; None for any other word."""
        for number, name in enumerate(self.names, start=1):
            if word in (name, name[:3]):
                return number
        return None


_SECONDS = _Field("seconds", 0, 59)
_MINUTES = _Field("minutes", 0, 59)
_HOURS = _Field("hours", 0, 23)
_DAY_OF_MONTH = _Field("day-of-month", 1, 31)
_MONTH = _Field("month", 1, 12, tuple(_MONTHS))
_DAY_OF_WEEK = _Field("day-of-week", 1, 7, tuple(_WEEKDAYS))
_YEAR = _Field("year", FIRST_YEAR, LAST_YEAR)


@dataclass(frozen=True)
class _Days:
    """The days that an expression allows, in the terms it was written in; all of them together."""

    of_month: frozenset[int] = frozenset()
    """Days by their number."""
    nearest_weekday: frozenset[int] = frozenset()
    """`15W`: the weekday nearest to a number, within the month."""
    before_last: frozenset[int] = frozenset()
    """`L`, `L-3`: so many days before the month's last."""
    weekday_before_last: frozenset[int] = frozenset()
    """`LW`, `L-3W`: the weekday nearest to that, within the month."""
    of_week: frozenset[int] = frozenset()
    """1 is Sunday."""
    nth_of_week: tuple[int, int] | None = None
    """`6#3`: (day of the week, which one of the month)."""
    last_of_week: int | None = None
    """`6L`: the last such day of the month."""

    def of(self, year: int, month: int) -> list[int]:
        """The allowed days of one month, in order."""
        first, length = calendar.monthrange(year, month)

        def weekday(day: int) -> int:
            return (first + day) % 7 + 1

        def nearest(day: int) -> int:
            if weekday(day) == _SATURDAY:
                return day - 1 if day > 1 else day + 2
            if weekday(day) == _SUNDAY:
                return day + 1 if day < length else day - 2
            return day

        days = set(self.of_month)
        days |= {nearest(day) for day in self.nearest_weekday if day <= length}
        days |= {length - back for back in self.before_last}
        days |= {nearest(length - back) for back in self.weekday_before_last if back < length}
        days |= {day for day in range(1, length + 1) if weekday(day) in self.of_week}
        if self.nth_of_week is not None:
            wanted, nth = self.nth_of_week
            days.add((wanted - weekday(1)) % 7 + 7 * nth - 6)
        if self.last_of_week is not None:
            days.add(length - (weekday(length) - self.last_of_week) % 7)
        return sorted(day for day in days if 1 <= day <= length)


@dataclass(frozen=True)
class CronExpression:
    """A schedule as Quartz writes it, read and checked."""

    text: str
    """The expression as its author wrote it."""
    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: _Days
    months: tuple[int, ...]
    years: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> CronExpression:
        """Read an expression.

        Raises UserError (condition INVALID_CRON_EXPRESSION) that names the field and its value.
        """
        fields = text.upper().split()
        if not 6 <= len(fields) <= 7:
            raise _error(
                text,
                f"has {len(fields)} fields, not 6 or 7: seconds minutes hours day-of-month month "
                "day-of-week [year]",
            )
        read = _Reader(text)
        of_month, of_week = fields[3], fields[5]
        if of_month == of_week == "?":
            raise _error(
                text,
                "'?' can only be specified for Day-of-Month -OR- Day-of-Week; write '*' or the days "
                "that you mean in one of them",
            )
        if "?" not in (of_month, of_week):
            raise _error(
                text,
                f"Support for specifying both a day-of-week ({of_week!r}) AND a day-of-month "
                f"({of_month!r}) parameter is not implemented; write '?' for the one that does not "
                "matter",
            )
        return cls(
            text,
            seconds=read.numbers(_SECONDS, fields[0]),
            minutes=read.numbers(_MINUTES, fields[1]),
            hours=read.numbers(_HOURS, fields[2]),
            days=read.days_of_month(of_month) if of_week == "?" else read.days_of_week(of_week),
            months=read.numbers(_MONTH, fields[4]),
            years=read.numbers(_YEAR, fields[6] if len(fields) == 7 else "*"),
        )

    def next_after(self, instant: datetime, zone: str) -> datetime | None:
        """The first time, in UTC, at which the schedule fires later than `instant`; None when never.

        `zone` is a time zone's name as Java knows it. Raises UserError when there is none such.
        """
        clock = time_zone(zone)
        second = instant.astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
        start = second.astimezone(clock).replace(tzinfo=None, fold=0)
        for wall in self._walls_from(start):
            fires = wall.replace(tzinfo=clock, fold=1).astimezone(UTC)
            if fires.astimezone(clock).replace(tzinfo=None, fold=0) == wall:
                return fires
        return None

    def _walls_from(self, start: datetime) -> Iterator[datetime]:
        """Every wall-clock time that fits the fields, `start` included, in order."""
        for day in self._dates_from(start.date()):
            at = start.time() if day == start.date() else time.min
            for of_day in self._times_from(at):
                yield datetime.combine(day, of_day)

    def _dates_from(self, start: date) -> Iterator[date]:
        for year in self.years[bisect_left(self.years, start.year) :]:
            for month in self.months:
                if (year, month) < (start.year, start.month):
                    continue
                for day in self.days.of(year, month):
                    if date(year, month, day) >= start:
                        yield date(year, month, day)

    def _times_from(self, start: time) -> Iterator[time]:
        for hour in self.hours[bisect_left(self.hours, start.hour) :]:
            for minute in self.minutes:
                if (hour, minute) < (start.hour, start.minute):
                    continue
                for second in self.seconds:
                    if time(hour, minute, second) >= start:
                        yield time(hour, minute, second)


class _Reader:
    """Reads the fields of one expression; every error names the field and its value."""

    def __init__(self, text: str) -> None:
        self._text = text

    def numbers(self, field: _Field, value: str) -> tuple[int, ...]:
        """A field of numbers or names: `*`, lists, ranges and steps."""
        found: set[int] = set()
        for item in value.split(","):
            found |= self._item(field, item, value)
        return tuple(sorted(found))

    def days_of_month(self, value: str) -> _Days:
        plain: set[int] = set()
        nearest: set[int] = set()
        back: set[int] = set()
        weekday_back: set[int] = set()
        if "," in value and re.search("[LW]", value):
            self._refuse(
                _DAY_OF_MONTH,
                value,
                "Quartz misreads 'L' and 'W' in a list; write one schedule for each",
            )
        for item in value.split(","):
            if match := re.fullmatch(r"L(?:-(\d+))?(W?)", item):
                offset = int(match[1] or 0)
                if offset > 30:
                    self._refuse(_DAY_OF_MONTH, value, "an offset from the last day is at most 30")
                (weekday_back if match[2] else back).add(offset)
            elif match := re.fullmatch(r"(\d+)W", item):
                nearest.add(self._number(_DAY_OF_MONTH, match[1], value))
            else:
                plain |= self._item(_DAY_OF_MONTH, item, value)
        return _Days(
            of_month=frozenset(plain),
            nearest_weekday=frozenset(nearest),
            before_last=frozenset(back),
            weekday_before_last=frozenset(weekday_back),
        )

    def days_of_week(self, value: str) -> _Days:
        if match := re.fullmatch(r"([A-Z]+|\d+)#(\d*)", value):
            if match[2] not in {"1", "2", "3", "4", "5"}:
                self._refuse(_DAY_OF_WEEK, value, "a number from 1 to 5 must follow '#'")
            self._need_short_name(_DAY_OF_WEEK, match[1], value)
            return _Days(nth_of_week=(self._number(_DAY_OF_WEEK, match[1], value), int(match[2])))
        if value == "L":
            return _Days(of_week=frozenset({_SATURDAY}))
        if match := re.fullmatch(r"([A-Z]+|\d+)L", value):
            self._need_short_name(_DAY_OF_WEEK, match[1], value)
            return _Days(last_of_week=self._number(_DAY_OF_WEEK, match[1], value))
        if "," in value and re.search(r"#|\dL|\bL\b", value):
            self._refuse(_DAY_OF_WEEK, value, "'#' and 'L' must stand alone, not in a list")
        return _Days(of_week=frozenset(self.numbers(_DAY_OF_WEEK, value)))

    def _item(self, field: _Field, item: str, value: str) -> set[int]:
        """One item of a list: `*`, `5`, `MON`, `2-6`, `FRI-MON`, each but names with a `/step`."""
        match = re.fullmatch(r"(\*|[A-Z]+|\d+)?(?:-([A-Z]+|\d+))?(?:/(\d+))?", item)
        if match is None or not item or (match[2] and not (match[1] or "*").isalnum()):
            self._refuse(field, value, f"{item!r} is not understood")
        first, last, step_text = match[1], match[2], match[3]
        named = bool(first and first.isalpha()), bool(last and last.isalpha())
        if any(named) and (step_text or (last and not all(named))):
            self._refuse(
                field, value, "a name takes no step and no number beside it; use numbers for both"
            )
        step = int(step_text or 0)
        if last is not None:
            self._need_short_name(field, first, value)
            low, high = self._number(field, first, value), self._number(field, last, value)
            if high < low and field is _YEAR:
                self._refuse(field, value, "the first year must not be later than the last")
            return self._span(field, low, high, step or 1)
        if step > field.high:
            self._refuse(field, value, f"a step is at most {field.high}")
        if first in (None, "*"):
            return self._span(field, field.low, field.high, step or 1)
        low = self._number(field, first, value)
        return self._span(field, low, field.high if step else low, step or 1)

    def _need_short_name(self, field: _Field, word: str | None, value: str) -> None:
        """Refuse a long name before `-`, `#` or `L`: Quartz reads three letters and nothing after."""
        if word and word.isalpha() and len(word) > 3 and field.value_of(word) is not None:
            self._refuse(
                field, value, f"Quartz reads {word!r} and ignores what follows; write {word[:3]!r}"
            )

    @staticmethod
    def _span(field: _Field, low: int, high: int, step: int) -> set[int]:
        """From `low` to `high`, over the field's end and on from its beginning when `high` < `low`."""
        size = field.high - field.low + 1
        length = (high - low) % size if high < low else high - low
        return {(low - field.low + gone) % size + field.low for gone in range(0, length + 1, step)}

    def _number(self, field: _Field, word: str | None, value: str) -> int:
        number = int(word) if word and word.isdigit() else field.value_of(word or "")
        if number is None:
            self._refuse(field, value, f"{word!r} is not one of its values")
        if not field.low <= number <= field.high:
            self._refuse(field, value, f"{number} is not between {field.low} and {field.high}")
        return number

    def _refuse(self, field: _Field, value: str, why: str) -> NoReturn:
        raise _error(self._text, f"{field.name} {value!r}: {why}")


def _error(text: str, why: str) -> UserError:
    return UserError(
        f"invalid quartz cron expression {text!r}: {why}", condition="INVALID_CRON_EXPRESSION"
    )


# What java.time.ZoneId.SHORT_IDS says the old three-letter names mean.
_SHORT = {
    "ACT": "Australia/Darwin",
    "AET": "Australia/Sydney",
    "AGT": "America/Argentina/Buenos_Aires",
    "ART": "Africa/Cairo",
    "AST": "America/Anchorage",
    "BET": "America/Sao_Paulo",
    "BST": "Asia/Dhaka",
    "CAT": "Africa/Harare",
    "CNT": "America/St_Johns",
    "CST": "America/Chicago",
    "CTT": "Asia/Shanghai",
    "EAT": "Africa/Addis_Ababa",
    "ECT": "Europe/Paris",
    "IET": "America/Indiana/Indianapolis",
    "IST": "Asia/Kolkata",
    "JST": "Asia/Tokyo",
    "MIT": "Pacific/Apia",
    "NET": "Asia/Yerevan",
    "NST": "Pacific/Auckland",
    "PLT": "Asia/Karachi",
    "PNT": "America/Phoenix",
    "PRT": "America/Puerto_Rico",
    "PST": "America/Los_Angeles",
    "SST": "Pacific/Guadalcanal",
    "VST": "Asia/Ho_Chi_Minh",
}


@lru_cache(maxsize=256)
def time_zone(name: str) -> tzinfo:
    """The time zone that Java calls `name`: a region (`Europe/Oslo`), `GMT+5:30`, or `PST`.

    Raises UserError; Java would quietly take an unknown name for GMT.
    """
    if match := re.fullmatch(r"GMT([+-])(\d{1,2})(?::?([0-5]\d))?", name):
        offset = timedelta(hours=int(match[2]), minutes=int(match[3] or 0))
        if offset < timedelta(hours=24):
            return timezone(-offset if match[1] == "-" else offset)
    if re.fullmatch(r"[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*", name):
        try:
            return ZoneInfo(_SHORT.get(name, name))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass
    raise UserError(
        f"there is no time zone {name!r}; name one like 'UTC' or 'America/New_York'",
        condition="INVALID_TIME_ZONE",
    )
