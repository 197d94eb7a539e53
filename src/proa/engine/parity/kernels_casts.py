"""Casts as Spark does them, from text and to text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pyarrow as pa

from proa.engine.parity.kernels import Array, SparkError, each, kernel, patch
from proa.lazy import compute as pc

_BLANK = "".join(map(chr, range(33))) + "\x7f"


# -- to text ------------------------------------------------------------------------------------------


def double_text(value: float) -> str:
    """A double as Java 17 writes it."""
    return _java(value, repr(value) if abs(value) < 1 << 53 else _java_digits(value, 53))


def float_text(value: float) -> str:
    """A single-precision float as Java 17 writes it."""
    return _java(value, str(np.float32(value)) if abs(value) < 1 << 24 else _java_digits(value, 24))


def _java_digits(value: float, bits: int) -> str:
    """A large float of so many bits as Java 17 writes it: not always with as few digits as would do."""
    if not abs(value) < float("inf"):
        return repr(value)
    whole = int(abs(value))
    sign, size = "-" if value < 0 else "", whole.bit_length() - 1
    if size <= 62:  # a long: its digits but for those that are beyond the float's own
        cut = int((size - bits - 1) * 0.30102999566398) if size - bits - 1 > 1 else 0
        return f"{sign}{(whole + 10**cut // 2) // 10**cut}E{cut}"
    return sign + _steele_white(whole, size, bits)


def _steele_white(whole: int, size: int, bits: int) -> str:
    """Digits one by one, until they tell the float from its neighbours.

    Java computes in 64 bits where it can, which then may overflow, and stops one digit later at a tie.
    """
    tail = (whole & -whole).bit_length() - 1
    own = size + 1 - tail  # bits that are not zeros at the end
    lead = whole / (1 << size)
    power = math.floor((lead - 1.5) * 0.289529654 + 0.176091259 + size * 0.301029995663981)
    common = min(tail, power)
    up, near_up, down = tail - common, size - bits - common - (own == 1), power - common
    lift = max(0, -near_up)
    up, near_up, down = up + lift, near_up + lift, down + lift
    short = own + up < 64 and down + 1 + _bits_of_five(power + 1) < 64
    left, near, unit = whole >> tail << up, 1 << near_up, 5**power << down

    def beyond(number: int) -> bool:
        return bool(_as_long(number) > unit * 10 if short else number >= unit * 10)

    digits: list[int] = []
    low = high = False
    steps = 0
    while steps < 2 or not (low or high):  # two at least: Java writes 1.0E23
        steps += 1
        digit, rest = divmod(left, unit)
        left, near = rest * 10, near * 10
        low, high = left < near, beyond(left + near)
        if short and near >= 1 << 63:
            low = high = True
        if digits or digit or high:
            digits.append(digit)
        else:
            power -= 1
    more = 2 * left - unit * 10
    more = _as_long(more) if short else more
    number = int("".join(map(str, digits)))
    if high and (not low or more > 0 or (more == 0 and number % 2)):
        number += 1
    return f"{number}E{power + 1 - len(digits)}"


def _bits_of_five(power: int) -> int:
    return (5**power).bit_length() if power < 27 else 3 * power


def _as_long(number: int) -> int:
    """A number cut to 64 bits, as Java computes."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


def _java(value: float, shortest: str) -> str:
    if value != value:  # noqa: PLR0124 - NaN is the value that is not itself
        return "NaN"
    if value in {float("inf"), float("-inf")}:
        return "Infinity" if value > 0 else "-Infinity"
    if abs(value) == 5e-324:
        return "4.9E-324" if value > 0 else "-4.9E-324"
    sign, digits, exponent = Decimal(shortest).as_tuple()
    text = "".join(map(str, digits)).rstrip("0") or "0"
    point = len(digits) + int(exponent)
    minus = "-" if sign else ""
    if text == "0":
        return f"{minus}0.0"
    if 1e-3 <= abs(value) < 1e7:
        if point <= 0:
            return f"{minus}0.{'0' * -point}{text}"
        whole, rest = text[:point].ljust(point, "0"), text[point:]
        return f"{minus}{whole}.{rest or '0'}"
    return f"{minus}{text[0]}.{text[1:] or '0'}E{point - 1}"


def decimal_text(value: Decimal) -> str:
    """A decimal as Spark writes it: plain."""
    return f"{value:f}"


def timestamp_text(value: datetime) -> str:
    text = f"{value.year:04d}-{value.month:02d}-{value.day:02d} {value:%H:%M:%S}"
    return text + (f".{value.microsecond:06d}".rstrip("0") if value.microsecond else "")


def texts(array: Array) -> list[str | None]:
    """Each value as Spark casts it to text; None for NULL."""
    kind = array.type
    if pa.types.is_list(kind):
        return _spans(array, texts(array.flatten()), "[", "]")
    if pa.types.is_map(kind):
        entries = array.flatten()  # keys and items alone are those of all rows, cut off or not
        keys, items = texts(entries.field(0)), texts(entries.field(1))
        pairs = [f"{_shown_text(k)} -> {_shown_text(v)}" for k, v in zip(keys, items, strict=True)]
        return _spans(array, pairs, "{", "}")
    if pa.types.is_struct(kind):
        columns = [texts(array.field(k)) for k in range(kind.num_fields)]
        rows = zip(*columns, strict=True) if columns else [() for _ in range(len(array))]
        valid = array.is_valid().to_pylist()
        return [
            "{" + ", ".join(map(_shown_text, row)) + "}" if ok else None
            for row, ok in zip(rows, valid, strict=True)
        ]
    return [None if v is None else _writer(kind)(v) for v in array.to_pylist()]


def _shown_text(text: str | None) -> str:
    return "null" if text is None else text


def _spans(
    array: Array, items: Sequence[str | None], opening: str, closing: str
) -> list[str | None]:
    """The items of each list, joined. `items` are those of all valid lists, one after another."""
    lengths = pc.list_value_length(array) if not pa.types.is_map(array.type) else _lengths(array)
    found: list[str | None] = []
    at = 0
    for length in lengths.to_pylist():
        if length is None:
            found.append(None)
            continue
        found.append(opening + ", ".join(map(_shown_text, items[at : at + length])) + closing)
        at += length
    return found


def _lengths(array: Array) -> Array:
    return pa.array([None if v is None else len(v) for v in array.to_pylist()], pa.int32())


def _writer(kind: Any) -> Callable[[Any], str]:
    if pa.types.is_boolean(kind):
        return lambda v: "true" if v else "false"
    if pa.types.is_float64(kind):
        return double_text
    if pa.types.is_float32(kind):
        return float_text
    if pa.types.is_decimal(kind):
        return decimal_text
    if pa.types.is_timestamp(kind):
        return timestamp_text
    if pa.types.is_binary(kind):
        return lambda v: v.decode("utf-8", "replace")
    if pa.types.is_date(kind):
        return lambda v: f"{v.year:04d}-{v.month:02d}-{v.day:02d}"
    if pa.types.is_duration(kind):
        return interval_text
    return str


def interval_text(value: timedelta) -> str:
    micros = (value.days * 86400 + value.seconds) * 1_000_000 + value.microseconds
    minus, micros = ("-", -micros) if micros < 0 else ("", micros)
    seconds, rest = divmod(micros, 1_000_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    fraction = f".{rest:06d}".rstrip("0") if rest else ""
    return (
        f"INTERVAL '{minus}{days} {hours:02d}:{minutes:02d}:{seconds:02d}{fraction}' DAY TO SECOND"
    )


@kernel
def text(type_: Any, array: Array) -> Array:
    kind = array.type
    if pa.types.is_float64(kind):
        return _double_texts(array)
    if pa.types.is_floating(kind):
        return each(_writer(kind), type_, array)
    if pa.types.is_timestamp(kind):
        return _moment_texts(array)
    return pa.array(texts(array), type_)


def _double_texts(array: Array) -> Array:
    """Doubles as Java writes them; Arrow writes the same digits for those that need no exponent."""
    size = pc.fill_null(pc.abs(array), 1.0).to_numpy(zero_copy_only=False)
    plain = pc.cast(array, pa.string())
    plain = pc.if_else(
        pc.match_substring(plain, "."), plain, pc.binary_join_element_wise(plain, ".0", "")
    )
    unsure = ~((size >= 1e-3) & (size < 1e7))
    return patch(plain, unsure, lambda rows: each(double_text, pa.string(), rows), array)


def _moment_texts(array: Array) -> Array:
    """Timestamps as Spark casts them: a fraction only where there is one, without zeros at its end."""
    from proa.engine.parity.date_patterns import format_moments

    body = format_moments(array, "yyyy-MM-dd HH:mm:ss")
    fraction = pc.utf8_rtrim(format_moments(array, "SSSSSS"), "0")
    dot = pc.if_else(pc.equal(fraction, ""), "", ".")
    found = pc.binary_join_element_wise(body, dot, fraction, "")
    years = pc.fill_null(pc.year(array), 1).to_numpy(zero_copy_only=False)
    unsure = (years < 1) | (years > 9999)
    return patch(found, unsure, lambda rows: pa.array(texts(rows), pa.string()), array)


# -- from text ----------------------------------------------------------------------------------------


def _invalid(value: Any, type_: str) -> SparkError:
    return SparkError(
        "CAST_INVALID_INPUT", f"the value '{value}' of the type STRING cannot be cast to {type_}"
    )


_WHOLE = re.compile(r"[+-]?\d+")
_WHOLE_CUT = re.compile(r"([+-]?\d*)(?:\.\d*)?")
_BITS = {"int8": 7, "int16": 15, "int32": 31, "int64": 63}


def whole_of(value: str, type_: Any, *, cut: bool) -> int | None:
    """The integer that a text is; None where it is not one. `cut` takes "1.9" for 1, as try_cast does not."""
    stripped = value.strip(_BLANK)
    if _WHOLE.fullmatch(stripped) and stripped.isascii():
        number = int(stripped)
    elif cut and (match := _WHOLE_CUT.fullmatch(stripped)) and any(map(str.isdigit, stripped)):
        number = int(match.group(1)) if match.group(1).strip("+-") else 0
    else:
        return None
    bits = _BITS[str(type_)]
    return number if -(1 << bits) <= number < 1 << bits else None


_DOUBLE = re.compile(
    r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[dDfF]?|[+-]?0[xX][0-9a-fA-F.]+[pP][+-]?\d+"
)
_NAMED = {"nan": "nan", "inf": "inf", "+inf": "inf", "infinity": "inf", "+infinity": "inf",
          "-inf": "-inf", "-infinity": "-inf"}  # fmt: skip


def double_of(value: str) -> float | None:
    stripped = value.strip(_BLANK)
    if stripped.lower() in _NAMED:
        return float(_NAMED[stripped.lower()])
    if not _DOUBLE.fullmatch(stripped) or not stripped.isascii():
        return None
    if "x" in stripped.lower():
        return float.fromhex(stripped)
    return float(stripped.rstrip("dDfF"))


_WIDE = Context(prec=100)


def decimal_of(value: str, precision: int, scale: int) -> Decimal | None:
    """The decimal that a text is, rounded half up; None where it is not one, or is too large."""
    stripped = value.strip(_BLANK)
    if not re.fullmatch(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", stripped):
        return None
    return _fit(Decimal(stripped), precision, scale)


def _fit(number: Decimal, precision: int, scale: int) -> Decimal | None:
    try:
        cut = number.quantize(Decimal(1).scaleb(-scale), ROUND_HALF_UP, _WIDE)
    except InvalidOperation:
        return None
    return cut if len(cut.as_tuple().digits) <= precision or not cut else None


_TRUE, _FALSE = {"t", "true", "y", "yes", "1"}, {"f", "false", "n", "no", "0"}


def boolean_of(value: str) -> bool | None:
    word = value.strip(_BLANK).lower()
    return True if word in _TRUE else False if word in _FALSE else None


_DATE = re.compile(r"([+-]?)(\d{4,7})(?:-(\d{1,2})(?:-(\d{1,2})(?:[ T].*)?)?)?", re.DOTALL)
_STAMP = re.compile(
    r"(?:([+-]?)(\d{4,7})(?:-(\d{1,2})(?:-(\d{1,2})(?:[ T](.*))?)?)?|T?(\d{1,2}:.*))", re.DOTALL
)
_CLOCK = re.compile(
    r"(\d{1,2})(?::(\d{1,2})(?::(\d{1,2})(?:\.(\d{0,9}))?)?)?\s*(Z|[+-].*|[A-Za-z].*)?", re.DOTALL
)


def date_of(value: str) -> date | None:
    match = _DATE.fullmatch(value.strip(_BLANK))
    if match is None or not match.group(2).isascii():
        return None
    return _date(match.group(1), match.group(2), match.group(3), match.group(4))


def _date(sign: str, year: str, month: str | None, day: str | None) -> date | None:
    if sign == "-":
        return None
    try:
        return date(int(year), int(month or 1), int(day or 1))
    except ValueError:
        return None


def timestamp_of(value: str, *, zoned: bool = True) -> datetime | None:
    """The moment in UTC, without a zone, that a text is; None where it is not one."""
    match = _STAMP.fullmatch(value.strip(_BLANK))
    if match is not None and match.group(6) is not None:
        raise SparkError(
            "UNSUPPORTED_FEATURE",
            f"{value!r} has no date, for which Spark takes today's; write a date",
        )
    if match is None:
        return None
    day = _date(match.group(1), match.group(2), match.group(3), match.group(4))
    if day is None:
        return None
    if match.group(5) is None:
        return datetime.combine(day, time())
    clock = _CLOCK.fullmatch(match.group(5))
    if clock is None:
        return None
    hour, minute, second, fraction, zone = clock.groups()
    if minute is None and zone is not None:
        return None
    try:
        micros = int((fraction or "").ljust(6, "0")[:6])
        found = datetime.combine(day, time(int(hour), int(minute or 0), int(second or 0), micros))
    except ValueError:
        return None
    if zone is None or not zoned:
        return found if zone is None or zone_of(zone) is not None else None
    known = zone_of(zone)
    if known is None:
        return None
    try:
        return found.replace(tzinfo=known).astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        return None


_OFFSET = re.compile(r"(?:UTC|GMT|UT)?([+-])(\d{1,2})(?::?(\d{2})(?::?(\d{2}))?)?")
_SHORT = {"PST": "America/Los_Angeles", "EST": "-05:00", "CST": "America/Chicago", "MST": "-07:00",
          "JST": "Asia/Tokyo", "IST": "Asia/Kolkata", "CET": "CET", "HST": "-10:00", "AST": "America/Anchorage",
          "ECT": "Europe/Paris", "CTT": "Asia/Shanghai"}  # fmt: skip


def zone_of(name: str) -> Any:
    """The zone that Spark means by a name or an offset; None where there is none."""
    stripped = name.strip()
    if stripped in {"Z", "UTC", "GMT", "UT"}:
        return UTC
    stripped = _SHORT.get(stripped, stripped)
    if match := _OFFSET.fullmatch(stripped):
        sign = -1 if match.group(1) == "-" else 1
        hours, minutes, seconds = (int(g or 0) for g in match.groups()[1:])
        if hours > 18 or minutes > 59:
            return None
        return timezone(sign * timedelta(hours=hours, minutes=minutes, seconds=seconds))
    try:
        return ZoneInfo(stripped)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _reader(type_: Any, *, tries: bool) -> tuple[Callable[[str], Any], str]:
    if pa.types.is_integer(type_):
        name = {"int8": "TINYINT", "int16": "SMALLINT", "int32": "INT", "int64": "BIGINT"}[
            str(type_)
        ]
        return (lambda v: whole_of(v, type_, cut=False)), name
    if pa.types.is_floating(type_):
        return double_of, "FLOAT" if pa.types.is_float32(type_) else "DOUBLE"
    if pa.types.is_decimal(type_):
        return (lambda v: decimal_of(v, type_.precision, type_.scale)), str(type_).upper()
    if pa.types.is_boolean(type_):
        return boolean_of, "BOOLEAN"
    if pa.types.is_date(type_):
        return date_of, "DATE"
    if pa.types.is_timestamp(type_):
        return (lambda v: timestamp_of(v, zoned=type_.tz is not None)), "TIMESTAMP"
    raise AssertionError(type_)


def _read(type_: Any, array: Array, *, tries: bool) -> Array:
    reader, name = _reader(type_, tries=tries)

    def one(value: str) -> Any:
        found = reader(value)
        if found is None and not tries:
            raise _invalid(value, name)
        return found

    quick = _quick(type_, array)
    if quick is not None:
        return quick
    if pa.types.is_float32(type_):
        wide = each(one, pa.float64(), array).to_pylist()
        with np.errstate(over="ignore"):
            return pa.array([None if v is None else np.float32(v) for v in wide], type_)
    return each(one, type_, array)


_USUAL_MOMENT = (
    r"^[0-9]{4}-[01][0-9]-[0-3][0-9][ T][0-2][0-9]:[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?$"
)


def _usual_form(type_: Any) -> str | None:
    """What texts of a type look like that Arrow reads as Spark does; None where it reads none."""
    if pa.types.is_integer(type_):
        return r"^-?[0-9]{1,18}$"
    if pa.types.is_float64(type_):
        return r"^-?[0-9]+(\.[0-9]+)?$"
    if pa.types.is_decimal(type_):
        digits = min(type_.precision - type_.scale, 30)
        if digits < 1:
            return None
        fraction = rf"(\.[0-9]{{1,{type_.scale}}})?" if type_.scale else ""
        return rf"^-?[0-9]{{1,{digits}}}{fraction}$"
    if pa.types.is_date(type_):
        return r"^[0-9]{4}-[01][0-9]-[0-3][0-9]$"
    return _USUAL_MOMENT if pa.types.is_timestamp(type_) else None


def _quick(type_: Any, array: Array) -> Array | None:
    """The whole array at once, when all texts are in the usual form; None when one is not."""
    form = _usual_form(type_)
    if pa.types.is_timestamp(type_) and type_.tz is not None:
        array = pc.replace_substring_regex(array, "Z$", "")
    if (
        form is None
        or pc.all(pc.match_substring_regex(array, form), skip_nulls=True).as_py() is False
    ):
        return None
    try:
        if pa.types.is_timestamp(type_):
            return pc.cast(array, pa.timestamp("us")).cast(type_)
        return pc.cast(array, type_)
    except pa.ArrowInvalid:
        return None


@kernel
def from_text(type_: Any, array: Array, guard: Array | None = None) -> Array:
    """Text as another type. Where `guard` is NULL, the text is not looked at."""
    if guard is not None:
        array = pc.if_else(pc.is_valid(guard), array, pa.scalar(None, array.type))
    return _read(type_, array, tries=False)


@kernel
def try_from_text(type_: Any, array: Array) -> Array:
    return _read(type_, array, tries=True)


@kernel
def whole(type_: Any, array: Array) -> Array:
    """Doubles and decimals as integers: cut towards zero; an error where they do not fit."""
    return _whole(type_, array, tries=False)


@kernel
def try_whole(type_: Any, array: Array) -> Array:
    return _whole(type_, array, tries=True)


def _whole(type_: Any, array: Array, *, tries: bool) -> Array:
    bits = _BITS[str(type_)]

    def one(value: Any) -> int | None:
        number = None if value != value or value in {float("inf"), float("-inf")} else int(value)  # noqa: PLR0124
        if number is not None and -(1 << bits) <= number < 1 << bits:
            return number
        if tries:
            return None
        raise SparkError("CAST_OVERFLOW", f"the value {value} does not fit in {type_}")

    if pa.types.is_float64(array.type):
        values = pc.fill_null(array, 0.0).to_numpy(zero_copy_only=False)
        unsure = ~(np.abs(values) < 2.0 ** min(bits, 52))
        whole = np.where(unsure, 0, values).astype(np.int64)
        missing = array.is_null().to_numpy(zero_copy_only=False)
        quick = pa.array(whole, pa.int64(), mask=missing).cast(type_)
        return patch(quick, unsure, lambda rows: each(one, type_, rows), array)
    return each(one, type_, array)


@kernel
def nearest_double(type_: Any, array: Array) -> Array:
    """Decimals as the floating numbers that are nearest to them."""
    return array.cast(pa.string()).cast(type_)


@kernel
def to_decimal(type_: Any, array: Array) -> Array:
    """Numbers as a decimal, rounded half up; an error where one does not fit."""
    return _decimals(type_, array, tries=False)


@kernel
def try_to_decimal(type_: Any, array: Array) -> Array:
    return _decimals(type_, array, tries=True)


def _decimals(type_: Any, array: Array, *, tries: bool) -> Array:
    exact: Any = double_text if pa.types.is_floating(array.type) else None

    def one(value: Any) -> Decimal | None:
        if isinstance(value, float) and not abs(value) < float("inf"):
            return None
        number = Decimal(exact(value)) if exact is not None else Decimal(value)
        fits = _fit(number, type_.precision, type_.scale)
        if fits is None and not tries:
            raise SparkError(
                "NUMERIC_VALUE_OUT_OF_RANGE",
                f"{value} cannot be represented as decimal({type_.precision},{type_.scale})",
            )
        return fits

    def slow(rows: Array) -> Array:
        return each(one, type_, rows)

    if pa.types.is_decimal128(array.type):
        digits = unscaled_digits(array)
        found = None if digits is None else _rescaled(digits, array.type.scale, type_)
        if found is not None:
            missing = array.is_null().to_numpy(zero_copy_only=False)
            whole, unsure = found
            return patch(decimals_of(whole, missing, type_), unsure, slow, array)
    if pa.types.is_float64(array.type) and type_.precision - type_.scale >= 1 and type_.scale <= 15:
        from proa.engine.parity.kernels_rounding import scale_up

        whole, unsure, missing = scale_up(array, type_.scale, ROUND_HALF_UP)
        unsure |= ~missing & ~(np.abs(whole) < 10.0 ** min(type_.precision, 15))
        return patch(decimals_of(np.where(unsure, 0, whole), missing, type_), unsure, slow, array)
    return slow(array)


def unscaled_digits(array: Array) -> Any | None:
    """The digits of a decimal array as int64, 0 for NULL; None where they do not fit."""
    halves = np.frombuffer(array.buffers()[1], np.int64).reshape(-1, 2)
    halves = halves[array.offset : array.offset + len(array)]
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    low = np.where(valid, halves[:, 0], 0)
    high = np.where(valid, halves[:, 1], 0)
    return low if np.array_equal(high, low >> 63) else None


def _rescaled(digits: Any, scale: int, type_: Any) -> tuple[Any, Any] | None:
    """Digits at another scale, rounded half up, and which of them do not fit in the type or in 64 bits.

    None where the scales are too far apart.
    """
    power = type_.scale - scale
    if not -18 <= power <= 18:
        return None
    sizes = np.abs(np.where(digits == np.iinfo(np.int64).min, 0, digits))
    unsure = (digits != 0) & (sizes == 0)
    if power >= 0:
        unsure |= sizes > np.iinfo(np.int64).max // 10**power
        sizes = np.where(unsure, 0, sizes) * 10**power
    else:
        sizes, rest = np.divmod(sizes, 10**-power)
        sizes += 2 * rest >= 10**-power
    if type_.precision < 19:
        unsure |= sizes >= 10**type_.precision
    return np.where(unsure, 0, np.where(digits < 0, -sizes, sizes)), unsure


def decimals_of(digits: Any, missing: Any, type_: Any) -> Array:
    """Decimals of 128 bits from their digits as whole numbers that fit in 64 bits."""
    both = np.empty((len(digits), 2), np.int64)
    both[:, 0] = digits
    both[:, 1] = both[:, 0] >> 63
    valid = pa.array(~missing).buffers()[1] if missing.any() else None
    return pa.Array.from_buffers(type_, len(digits), [valid, pa.py_buffer(both.tobytes())])
