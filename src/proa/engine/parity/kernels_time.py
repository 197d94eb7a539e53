"""Dates and times as Spark computes them."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from proa.engine.parity.kernels import KERNELS, Array, SparkError, each, kernel


@kernel
def date_plus(type_: Any, array: Array, days: Array, sign: Array) -> Array:
    by = pc.multiply(days.cast(pa.int64()), sign.cast(pa.int64()))
    return pc.add(array.cast(pa.int32()).cast(pa.int64()), by).cast(pa.int32()).cast(type_)


@kernel
def days_between(type_: Any, left: Array, right: Array) -> Array:
    days = pc.subtract(
        left.cast(pa.int32()).cast(pa.int64()), right.cast(pa.int32()).cast(pa.int64())
    )
    return pc.multiply(days, 86_400_000_000).cast(type_)


@kernel
def days_apart(type_: Any, left: Array, right: Array) -> Array:
    return pc.subtract(left.cast(pa.int32()), right.cast(pa.int32()))


@kernel
def time_between(type_: Any, left: Array, right: Array) -> Array:
    return pc.subtract(left.cast(pa.int64()), right.cast(pa.int64())).cast(type_)


def _seconds(type_: Any, array: Array, *, tries: bool) -> Array:
    micros = array.cast(pa.int64())
    if pa.types.is_floating(type_):
        return pc.divide(micros.cast(pa.float64()), 1e6).cast(type_)
    if pa.types.is_decimal(type_):
        exact = [None if v is None else Decimal(v).scaleb(-6) for v in micros.to_pylist()]
        wide = pa.array(exact, pa.decimal128(38, 6))
        return KERNELS["try_to_decimal" if tries else "to_decimal"](type_, wide)

    def one(value: int) -> int | None:
        number, bits = value // 1_000_000, type_.bit_width - 1
        if -(1 << bits) <= number < 1 << bits:
            return number
        if tries:
            return None
        raise SparkError("CAST_OVERFLOW", f"the value {number} does not fit in {type_}")

    return each(one, type_, micros)


@kernel
def seconds(type_: Any, array: Array) -> Array:
    return _seconds(type_, array, tries=False)


@kernel
def try_seconds(type_: Any, array: Array) -> Array:
    return _seconds(type_, array, tries=True)


def _field(name: str, function: Any) -> None:
    def field(type_: Any, array: Array) -> Array:
        return function(array).cast(type_)

    field.__name__ = name
    kernel(field)


_field("year", pc.year)
_field("quarter", pc.quarter)
_field("month", pc.month)
_field("dayofmonth", pc.day)
_field("dayofyear", pc.day_of_year)
_field("weekofyear", pc.iso_week)
_field("yearofweek", pc.iso_year)
_field("weekday", pc.day_of_week)
_field("dayofweek_iso", lambda a: pc.add(pc.day_of_week(a), 1))
_field("dayofweek", lambda a: pc.add(pc.day_of_week(a, week_start=7), 1))


@kernel
def second_part(type_: Any, array: Array) -> Array:
    micros = array.cast(pa.int64())
    return pa.array(
        [None if v is None else Decimal(v % 60_000_000).scaleb(-6) for v in micros.to_pylist()],
        type_,
    )


_PARTS = {"yyyy": r"(?P<year>\d{4})", "MM": r"(?P<month>\d{2})", "dd": r"(?P<day>\d{2})",
          "HH": r"(?P<hour>\d{2})", "mm": r"(?P<minute>\d{2})", "ss": r"(?P<second>\d{2})",
          "SSS": r"(?P<milli>\d{3})", "'T'": "T"}  # fmt: skip


@lru_cache(256)
def _reader(pattern: str) -> re.Pattern[str]:
    pieces = re.findall(r"yyyy|MM|dd|HH|mm|SSS|ss|'T'|.", pattern)
    return re.compile("".join(_PARTS.get(piece, re.escape(piece)) for piece in pieces), re.ASCII)


def _parse_time(text: str, pattern: str) -> datetime | None:
    match = _reader(pattern).fullmatch(text)
    if match is None:
        return None
    parts = {name: int(value) for name, value in match.groupdict().items()}
    try:
        return datetime(  # noqa: DTZ001 - text without a zone is UTC here
            parts.get("year", 1970), parts.get("month", 1), parts.get("day", 1), parts.get("hour", 0),
            parts.get("minute", 0), parts.get("second", 0), parts.get("milli", 0) * 1000,
        )  # fmt: skip
    except ValueError:
        return None


def _to_moment(type_: Any, array: Array, pattern: Array, *, tries: bool) -> Array:
    def one(text: str, by: str) -> Any:
        found = _parse_time(text, by)
        if found is None and not tries:
            raise SparkError(
                "CANNOT_PARSE_TIMESTAMP", f"the text {text!r} is not {by!r}; use try_to_timestamp"
            )
        return found.date() if found is not None and pa.types.is_date(type_) else found

    return each(one, type_, array, pattern)


@kernel
def to_moment(type_: Any, array: Array, pattern: Array) -> Array:
    return _to_moment(type_, array, pattern, tries=False)


@kernel
def try_to_moment(type_: Any, array: Array, pattern: Array) -> Array:
    return _to_moment(type_, array, pattern, tries=True)


@kernel
def date_trunc_of(type_: Any, array: Array, unit: Array) -> Array:
    name = unit[0].as_py() if len(unit) else "year"
    days = array.cast(pa.int32()).cast(pa.int64())
    if name == "week":
        back = pc.day_of_week(array)
    elif name in {"month", "mon", "mm"}:
        back = pc.subtract(pc.day(array), 1)
    elif name == "quarter":
        back = pc.subtract(array.cast(pa.int32()).cast(pa.int64()), _starts(array, quarters=True))
    else:
        back = pc.subtract(pc.day_of_year(array), 1)
    return pc.subtract(days, back).cast(pa.int32()).cast(type_)


def _starts(array: Array, *, quarters: bool) -> Array:
    """The day on which each date's quarter begins."""
    found = [
        None
        if v is None
        else v.replace(month=(v.month - 1) // 3 * 3 + 1 if quarters else 1, day=1).toordinal()
        for v in array.to_pylist()
    ]
    return pc.subtract(pa.array(found, pa.int64()), 719163)


def _from_number(name: str, unit: int) -> None:
    def made(type_: Any, array: Array) -> Array:
        try:
            return pc.multiply_checked(array, unit).cast(type_)
        except pa.ArrowInvalid as error:
            raise SparkError("ARITHMETIC_OVERFLOW", "a number too large for a timestamp") from error

    made.__name__ = name
    kernel(made)


_from_number("timestamp_seconds", 1_000_000)
_from_number("timestamp_millis", 1_000)
_from_number("timestamp_micros", 1)
