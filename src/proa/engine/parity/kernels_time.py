"""Dates and times as Spark computes them."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from proa.engine.parity.date_patterns import (
    MICROS,
    DatePatternError,
    format_moments,
    read_moments,
)
from proa.engine.parity.kernels import KERNELS, Array, SparkError, each, kernel
from proa.lazy import compute as pc


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
def milliseconds(type_: Any, array: Array) -> Array:
    """Milliseconds since 1970, rounded down."""
    micros = pc.fill_null(array.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    return pa.array(micros // 1000, type_, mask=array.is_null().to_numpy(zero_copy_only=False))


@kernel
def time_between(type_: Any, left: Array, right: Array) -> Array:
    return pc.subtract(left.cast(pa.int64()), right.cast(pa.int64())).cast(type_)


def _seconds(type_: Any, array: Array, *, tries: bool) -> Array:
    micros = array.cast(pa.int64())
    if pa.types.is_floating(type_):
        return pc.divide(micros.cast(pa.float64(), safe=False), 1e6).cast(type_)
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


def _first_text(array: Array) -> str:
    return str(array[0].as_py()) if len(array) else ""


def _patterned(pattern: Array, work: Callable[[str], Any]) -> Any:
    """What `work` makes of the pattern, with Spark's errors."""
    text = _first_text(pattern)
    try:
        return work(text)
    except DatePatternError as error:
        condition = "INCONSISTENT_BEHAVIOR_CROSS_VERSION.DATETIME_PATTERN_RECOGNITION"
        raise SparkError(
            condition if error.spark_too else "UNSUPPORTED_FEATURE",
            f"the pattern {text!r} of dates: {error}",
        ) from error


@kernel
def date_format(type_: Any, array: Array, pattern: Array) -> Array:
    if array.null_count == len(array):
        return pa.nulls(len(array), type_)
    return _patterned(pattern, lambda text: format_moments(array, text))


@kernel
def moments_of_seconds(type_: Any, array: Array) -> Array:
    """Timestamps of seconds since 1970; too large a number wraps around, as Spark's does."""
    return pc.multiply(array.cast(pa.int64()), MICROS).cast(pa.timestamp("us")).cast(type_)


def _to_moment(type_: Any, array: Array, pattern: Array, *, tries: bool) -> Array:
    if array.null_count == len(array):
        return pa.nulls(len(array), type_)
    moments, unread = _patterned(pattern, lambda text: read_moments(array, text))
    if not tries and pc.any(unread).as_py():
        text = array.filter(unread)[0].as_py()
        raise SparkError(
            "CANNOT_PARSE_TIMESTAMP",
            f"the text {text!r} is not {_first_text(pattern)!r}; use try_to_timestamp",
        )
    return pc.cast(moments, type_, safe=False)


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


_LENGTHS = {"week": 604_800_000_000, "day": 86_400_000_000, "hour": 3_600_000_000,
          "minute": 60_000_000, "second": 1_000_000, "millisecond": 1_000, "microsecond": 1}  # fmt: skip
_MONDAY = 4 * 86_400_000_000
"""1970-01-05, the first Monday behind the epoch, in microseconds."""


def _micros(array: Array) -> Any:
    return pc.fill_null(array.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)


@kernel
def moment_trunc(type_: Any, array: Array, unit: Array) -> Array:
    """Timestamps at the beginning of their unit, in UTC; of any year."""
    name = unit[0].as_py() if len(unit) else "day"
    micros = _micros(array)
    if name in _LENGTHS:
        origin = _MONDAY if name == "week" else 0
        found = (micros - origin) // _LENGTHS[name] * _LENGTHS[name] + origin
    else:
        months = _months_of(micros // _LENGTHS["day"])
        size = {"year": 12, "quarter": 3, "month": 1}[name]
        found = _days_of(months // size * size) * _LENGTHS["day"]
    return pa.array(found, mask=array.is_null().to_numpy(zero_copy_only=False)).cast(type_)


def _months_of(days: Any) -> Any:
    """Months since 1970 of days since 1970."""
    return days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def _days_of(months: Any) -> Any:
    """The first day of months, both since 1970."""
    return months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)


@kernel
def months_between(type_: Any, left: Array, right: Array, rounds: Array) -> Array:
    """Months and, where the days differ, thirty-firsts of one; in UTC, seconds at the finest."""
    sides = [_micros(left), _micros(right)]
    days = [side // _LENGTHS["day"] for side in sides]
    months = [_months_of(day) for day in days]
    places = [day - _days_of(month) for day, month in zip(days, months, strict=True)]
    last = [_days_of(m + 1) - 1 == d for m, d in zip(months, days, strict=True)]
    clock = [s // _LENGTHS["second"] - d * 86_400 for s, d in zip(sides, days, strict=True)]
    whole = (months[0] - months[1]).astype(np.float64)
    seconds = (places[0] - places[1]) * 86_400 + clock[0] - clock[1]
    exact = whole + seconds / (31 * 86_400.0)
    rounded = np.floor(exact * 1e8 + 0.5) / 1e8
    kept = pc.fill_null(rounds, fill_value=True).to_numpy(zero_copy_only=False)
    found = np.where(kept, rounded, exact)
    found = np.where((places[0] == places[1]) | (last[0] & last[1]), whole, found)
    missing = pc.or_(pc.or_(left.is_null(), right.is_null()), rounds.is_null())
    return pa.array(found, type_, mask=missing.to_numpy(zero_copy_only=False))


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


# -- intervals of days and seconds --------------------------------------------------------------------


@kernel
def micros_of(type_: Any, array: Array) -> Array:
    return array.cast(pa.int64())


def _interval(micros: int) -> int:
    if not -(1 << 63) <= micros < 1 << 63:
        raise SparkError("ARITHMETIC_OVERFLOW", "an interval that is too long")
    return micros


def _intervals(type_: Any, function: Callable[..., int | None], *arrays: Array) -> Array:
    return each(function, pa.int64(), *arrays).cast(type_)


@kernel
def interval_total(type_: Any, total: Array) -> Array:
    return _intervals(type_, lambda n: _interval(int(n)), total)


@kernel
def interval_average(type_: Any, total: Array, count: Array) -> Array:
    def one(number: Decimal, rows: int) -> int | None:
        return int((number / rows).quantize(Decimal(1), ROUND_HALF_UP)) if rows else None

    return _intervals(type_, one, total, count)


def _rounded(value: Any) -> int:
    if isinstance(value, float) and not abs(value) < 2.0**64:
        raise SparkError("ARITHMETIC_OVERFLOW", "an interval that is too long")
    exact = Context(prec=60).create_decimal(value)
    return _interval(int(exact.quantize(Decimal(1), ROUND_HALF_UP, Context(prec=60))))


@kernel
def interval_times(type_: Any, array: Array, factor: Array) -> Array:
    return _intervals(type_, lambda n, by: _rounded(n * by), array.cast(pa.int64()), factor)


@kernel
def interval_divided(type_: Any, array: Array, by: Array) -> Array:
    def one(micros: int, divisor: Any) -> int:
        if divisor == 0:
            raise SparkError("INTERVAL_DIVIDED_BY_ZERO", "an interval is divided by zero")
        if isinstance(divisor, float):
            return _rounded(micros / divisor)
        return _rounded(Context(prec=60).divide(Decimal(micros), Decimal(divisor)))

    return _intervals(type_, one, array.cast(pa.int64()), by)


@kernel
def interval_seconds(type_: Any, array: Array, tries: Array) -> Array:
    """Seconds as a number: whole ones cut towards zero."""
    micros = array.cast(pa.int64())
    lenient = bool(len(tries) and tries[0].as_py())
    name = "try_to_decimal" if lenient else "to_decimal"
    if pa.types.is_decimal(type_):
        wide = pa.array(
            [None if v is None else Decimal(v).scaleb(-6) for v in micros.to_pylist()],
            pa.decimal128(38, 6),
        )
        return KERNELS[name](type_, wide)
    seconds_ = pc.divide(micros, MICROS)
    if lenient:
        fits = pc.equal(seconds_.cast(type_, safe=False).cast(pa.int64()), seconds_)
        seconds_ = pc.if_else(fits, seconds_, pa.scalar(None, pa.int64()))
    try:
        return seconds_.cast(type_)
    except pa.ArrowInvalid as error:
        raise SparkError("CAST_OVERFLOW", f"an interval does not fit in {type_}") from error


_UNITS = {"day": (86_400, 1 << 40), "hour": (3_600, 24), "minute": (60, 60)}


@kernel
def interval_part(type_: Any, array: Array, unit: Array) -> Array:
    """A part of the interval; all parts have the interval's sign."""
    micros = array.cast(pa.int64())
    name = _first_text(unit)
    if name == "second":
        by = 60 * MICROS
        rest = pc.subtract(micros, pc.multiply(pc.divide(micros, by), by))
        return pa.array(
            [None if v is None else Decimal(v).scaleb(-6) for v in rest.to_pylist()], type_
        )
    seconds_, most = _UNITS.get(name, (1, 1))
    whole = pc.divide(micros, seconds_ * MICROS)
    return pc.subtract(whole, pc.multiply(pc.divide(whole, most), most)).cast(type_)


# -- moments some units apart -------------------------------------------------------------------------


def _numpy(array: Array) -> Any:
    """The microseconds of timestamps; 0 for NULL."""
    return pc.fill_null(array.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)


def _missing(*arrays: Array) -> Any:
    gone = np.zeros(len(arrays[0]), bool)
    for array in arrays:
        gone |= array.is_null().to_numpy(zero_copy_only=False)
    return gone


def _toward_zero(values: Any, by: Any) -> Any:
    return np.sign(values) * (np.abs(values) // by)


def _months_and_rest(micros: Any) -> tuple[Any, Any]:
    """(months since 1970, microseconds since the month's first)."""
    moments = micros.astype("datetime64[us]")
    months = moments.astype("datetime64[M]")
    return months.astype(np.int64), (moments - months.astype("datetime64[us]")).astype(np.int64)


@kernel
def micros_apart(type_: Any, start: Array, end: Array, size: Array) -> Array:
    by = size[0].as_py() if len(size) else 1
    apart = _toward_zero(_numpy(end) - _numpy(start), by)
    return pa.array(apart, type_, mask=_missing(start, end))


@kernel
def months_apart(type_: Any, start: Array, end: Array, size: Array) -> Array:
    by = size[0].as_py() if len(size) else 1
    (a, rest_a), (b, rest_b) = _months_and_rest(_numpy(start)), _months_and_rest(_numpy(end))
    months = b - a
    months = months - ((months > 0) & (rest_b < rest_a)) + ((months < 0) & (rest_b > rest_a))
    return pa.array(_toward_zero(months, by), type_, mask=_missing(start, end))


_LONGEST = 9_000_000_000_000_000_000


@kernel
def micros_later(type_: Any, array: Array, number: Array, size: Array) -> Array:
    by = size[0].as_py() if len(size) else 1
    missing = _missing(array, number)
    steps = pc.fill_null(number.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    moments = _numpy(array)
    if (np.abs(steps.astype(float) * by + moments)[~missing] > _LONGEST).any():
        raise SparkError("DATETIME_OVERFLOW", "a time that is too far away")
    return pa.array(moments + steps * by, pa.int64(), mask=missing).cast(type_)


@kernel
def months_later(type_: Any, array: Array, number: Array, size: Array) -> Array:
    by = size[0].as_py() if len(size) else 1
    missing = _missing(array, number)
    steps = pc.fill_null(number.cast(pa.int64()), 0).to_numpy(zero_copy_only=False) * by
    if (np.abs(steps)[~missing] > 12 * 290_000).any():
        raise SparkError("DATETIME_OVERFLOW", "a time that is too far away")
    months, rest = _months_and_rest(_numpy(array))
    target = (months + np.where(missing, 0, steps)).astype("datetime64[M]")
    first = target.astype("datetime64[us]").astype(np.int64)
    days = ((target + 1).astype("datetime64[D]") - target.astype("datetime64[D]")).astype(np.int64)
    day, clock = rest // 86_400_000_000, rest % 86_400_000_000
    moved = first + np.minimum(day, days - 1) * 86_400_000_000 + clock
    return pa.array(moved, pa.int64(), mask=missing).cast(type_)
