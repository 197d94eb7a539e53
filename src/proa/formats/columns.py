"""Text columns into typed ones, with the values that do not fit: CSV's texts, and JSON as written.

Whole columns at a time. For JSON, expressions tell for certain what fits and what does not; what
they leave open, and CSV columns that Arrow will not take whole, are asked of the exact converters,
each different text once. So whatever is not known here costs time, not truth.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa

from proa.formats.date_texts import parse_date, parse_timestamp, to_strptime
from proa.formats.json_record import ABSENT, Converter
from proa.formats.json_values import parse
from proa.formats.reader_options import ReaderOptions
from proa.formats.scalars import decimal
from proa.lazy import compute as pc

_WHITE = "".join(map(chr, range(33)))
_NO_TEXT = pa.scalar(None, pa.string())
Exact = Callable[[str], Any]
"""Takes one text; ValueError or OverflowError when it is not a value of the type."""


def by_distinct(texts: pa.Array, type_: pa.DataType, exact: Exact) -> tuple[pa.Array, pa.Array]:
    """(the values, a mask of the texts that do not fit), each different text looked at once."""
    encoded = texts.dictionary_encode()
    values: list[Any] = []
    bad: list[bool] = []
    for text in encoded.dictionary.to_pylist():
        try:
            values.append(exact(text))
            bad.append(False)
        except (ValueError, OverflowError):
            values.append(None)
            bad.append(True)
    mask = pc.fill_null(pa.array(bad, pa.bool_()).take(encoded.indices), fill_value=False)
    return pa.array(values, type_).take(encoded.indices), mask


def round_decimals(texts: pa.Array, scale: int) -> pa.Array:
    """Decimal texts as decimals of 76 digits, rounded half up to `scale` places."""
    wide = texts.cast(pa.decimal256(76, 38))
    return pc.round(wide, ndigits=scale, round_mode="half_towards_infinity")


# -- CSV ---------------------------------------------------------------------------------------


def cast(texts: pa.Array, type_: pa.DataType, options: ReaderOptions) -> tuple[pa.Array, Any]:
    """(the values, a mask of the texts that are not values, or None if all are).

    Texts that are not values of the type become null.
    """
    kinds = pa.types
    if kinds.is_string(type_):
        return texts, None
    if kinds.is_boolean(type_):
        return _csv_booleans(texts)
    found = _at_once(texts, type_, options)
    if found is not None:
        return found, None
    values, bad = by_distinct(texts, type_, lambda text: _value(text, type_, options))
    return values, bad if pc.any(bad).as_py() else None


def _csv_booleans(texts: pa.Array) -> tuple[pa.Array, Any]:
    folded = pc.utf8_lower(texts)
    yes, no = pc.equal(folded, "true"), pc.equal(folded, "false")
    values = pc.if_else(pc.or_(yes, no), yes, pa.scalar(None, pa.bool_()))
    bad = pc.and_(values.is_null(), texts.is_valid())
    return values, bad if pc.any(bad).as_py() else None


def _at_once(texts: pa.Array, type_: pa.DataType, options: ReaderOptions) -> pa.Array | None:
    """The whole column by Arrow; None when it will not take every value as Spark does."""
    kinds = pa.types
    try:
        if kinds.is_timestamp(type_):
            return _csv_times(texts, type_, options.timestamp_format)
        if kinds.is_date(type_) and options.date_format is not None:
            return pc.strptime(texts, to_strptime(options.date_format), "us").cast(type_)
        if kinds.is_decimal(type_):
            return _csv_decimals(texts, type_)
        return texts.cast(type_)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def _csv_times(texts: pa.Array, type_: pa.DataType, pattern: str | None) -> pa.Array | None:
    if pattern is not None:
        # Arrow's strptime knows no fractions and no offsets.
        if "%f" in to_strptime(pattern) or "%z" in to_strptime(pattern):
            return None
        return pc.strptime(texts, to_strptime(pattern), "us").cast(type_)
    try:
        return texts.cast(pa.timestamp("us")).cast(type_)
    except pa.ArrowInvalid:
        return texts.cast(pa.timestamp("us", "UTC")).cast(type_)


def _csv_decimals(texts: pa.Array, type_: pa.DataType) -> pa.Array:
    try:
        return texts.cast(type_)
    except pa.ArrowInvalid:
        # As Spark in its default locale: commas part thousands.
        return round_decimals(pc.replace_substring(texts, ",", ""), type_.scale).cast(type_)


_INTEGER = re.compile(r"[+-]?[0-9]{1,40}")
_FLOAT = re.compile(
    r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:nan|inf|infinity)",
    re.IGNORECASE,
)


def _value(text: str, type_: pa.DataType, options: ReaderOptions) -> Any:
    kinds = pa.types
    if kinds.is_integer(type_):
        if not _INTEGER.fullmatch(text):
            raise ValueError(text)
        number = int(text)
        if not -(2 ** (type_.bit_width - 1)) <= number < 2 ** (type_.bit_width - 1):
            raise ValueError(text)
        return number
    if kinds.is_floating(type_):
        text = text.strip(_WHITE)
        if not _FLOAT.fullmatch(text):
            raise ValueError(text)
        return float(text)
    if kinds.is_decimal(type_):
        return decimal(text, type_)
    if kinds.is_date(type_):
        return parse_date(text, options.date_format)
    if kinds.is_timestamp(type_):
        return parse_timestamp(text, options.timestamp_format)
    return text.encode()


def text_type(texts: pa.Array, options: ReaderOptions) -> pa.DataType:
    """The narrowest type that takes every text; null when there is no text."""
    if texts.null_count == len(texts):
        return pa.null()
    kinds = (
        pa.int32(),
        pa.int64(),
        pa.decimal128(38, 0),
        pa.float64(),
        pa.date32(),
        _TIMES,
        pa.bool_(),
    )
    for kind in kinds:
        patterns = {pa.date32(): options.date_format, _TIMES: options.timestamp_format}
        shape = _SHAPES.get(kind) if patterns.get(kind) is None else None
        if shape is not None and not pc.all(pc.match_substring_regex(texts, shape)).as_py():
            continue
        values, bad = cast(texts, kind, options)
        if bad is None:
            return _whole_decimal(texts, values) if pa.types.is_decimal(kind) else kind
    return pa.string()


def _whole_decimal(texts: pa.Array, numbers: pa.Array) -> pa.DataType:
    """The decimal that Spark takes for whole numbers of which one is not written as a bigint."""
    sizes = pc.abs(numbers)
    digits = len(str(pc.max(sizes).as_py()))
    plain = sizes.filter(pc.invert(pc.match_substring(texts, ",")))
    for below, bound, at_least in ((-1, 2**31, 10), (2**31, 2**63, 20)):
        bounds = [pa.scalar(Decimal(number), numbers.type) for number in (below, bound)]
        inside = pc.and_(pc.greater_equal(plain, bounds[0]), pc.less(plain, bounds[1]))
        if pc.any(inside).as_py():
            digits = max(digits, at_least)
    return pa.decimal128(min(digits, 38), 0)


_TIMES = pa.timestamp("us", "UTC")
_SHAPES = {
    pa.decimal128(38, 0): r"^[+-]?[0-9][0-9,]{0,60}$",
    pa.date32(): r"^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}$",
    _TIMES: r"^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}[T ][0-9]",
}
"""What a text must look like before its column is taken for large numbers, dates or times."""


# -- JSON --------------------------------------------------------------------------------------

Found = tuple[pa.Array, pa.Array, pa.Array]
"""(values, whether a text fits, whether it does not); a text that does neither is open."""


def separable(type_: pa.DataType) -> bool:
    """Whether `separate` takes columns of the type."""
    return any(is_kind(type_) for is_kind in _KINDS)


def separate(texts: pa.Array, column: pa.Field, convert: Converter) -> tuple[pa.Array, pa.Array]:
    """(the values of the column, a mask of the texts that do not fit, which are null there).

    `texts` are JSON, as written; null where the record lacks the member.
    """
    texts = pc.if_else(pc.equal(texts, "null"), _NO_TEXT, texts)
    find = next(find for is_kind, find in _KINDS.items() if is_kind(column.type))
    values, fits, misfits = find(texts, column.type, convert.options)
    fits, misfits = _sure(fits), _sure(misfits)
    left_open = pc.and_not(texts.is_valid(), pc.or_(fits, misfits))
    if not pc.any(left_open).as_py():
        return values, misfits

    def exact(text: str) -> Any:
        try:
            value, left = convert.value(parse(text), column)
        except ValueError:  # what no parser should be given
            value, left = None, text
        if left is not ABSENT:
            leftover.append((text, value))
        return value

    leftover: list[tuple[str, Any]] = []
    known, _ = by_distinct(texts.filter(left_open), column.type, exact)
    bad = pc.is_in(texts.filter(left_open), pa.array([text for text, _ in leftover], pa.string()))
    return (
        pc.replace_with_mask(values, left_open, known),
        pc.replace_with_mask(misfits, left_open, bad),
    )


def wrong_shape(texts: pa.Array, type_: pa.DataType) -> pa.Array:
    """Which texts are not an object, or not an array, where the nested type wants one."""
    bracket = "{" if pa.types.is_struct(type_) else "["
    other = pc.and_not(pc.not_equal(texts, "null"), pc.starts_with(texts, bracket))
    return _sure(other)


def _sure(mask: pa.Array) -> pa.Array:
    return pc.fill_null(mask, fill_value=False)


def _matches(texts: pa.Array, expression: str) -> pa.Array:
    return _sure(pc.match_substring_regex(texts, expression))


def _where(mask: pa.Array, values: pa.Array) -> pa.Array:
    return pc.if_else(mask, values, pa.scalar(None, values.type))


def _json_booleans(texts: pa.Array, type_: pa.DataType, options: ReaderOptions) -> Found:  # noqa: ARG001
    yes, no = pc.equal(texts, "true"), pc.equal(texts, "false")
    fits = _sure(pc.or_(yes, no))
    return _where(fits, yes), fits, pc.and_not(texts.is_valid(), fits)


def _json_integers(texts: pa.Array, type_: pa.DataType, options: ReaderOptions) -> Found:  # noqa: ARG001
    whole = _matches(texts, r"^-?[0-9]{1,30}$")
    bound = 2 ** (type_.bit_width - 1)
    numbers = _where(whole, texts)
    if pc.all(_matches(numbers.drop_null(), r"^-?[0-9]{1,18}$")).as_py():
        kind: pa.DataType = pa.int64()
        low, high = pa.scalar(-bound, kind), pa.scalar(bound - 1, kind)
    else:
        kind = pa.decimal128(30, 0)
        low, high = pa.scalar(Decimal(-bound), kind), pa.scalar(Decimal(bound - 1), kind)
    wide = numbers.cast(kind)
    fits = _sure(pc.and_(pc.greater_equal(wide, low), pc.less_equal(wide, high)))
    misfits = pc.or_(_matches(texts, r'^["tf{\[]|^-?[0-9]+[.eE]'), pc.and_not(whole, fits))
    return _where(fits, wide).cast(type_), fits, misfits


def _json_floats(texts: pa.Array, type_: pa.DataType, options: ReaderOptions) -> Found:  # noqa: ARG001
    fits = _matches(texts, r"^-?[0-9]{1,17}(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,2})?$")
    # A string with a capital N or I may be NaN or infinite, as may one with an escape.
    misfits = _matches(texts, r'^[tf{\[]|^"[^\\NI]*"$')
    return _where(fits, texts).cast(pa.float64()).cast(type_), fits, misfits


def _json_decimals(texts: pa.Array, type_: pa.DataType, options: ReaderOptions) -> Found:  # noqa: ARG001
    whole = type_.precision - type_.scale
    misfits = _matches(
        texts,
        r'^[tf{\[]|^"[^\\"]*[A-DF-Za-df-z][^\\"]*"$|^""$'
        rf'|^"?-?[1-9][0-9]{{{max(whole, 0)},}}(?:\.[0-9]+)?"?$',
    )
    plain = pc.replace_substring_regex(texts, r'^"([^"\\]*)"$', r"\1")
    fits = pc.and_not(
        _matches(plain, r"^[+-]?[0-9]{1,30}(?:\.[0-9]{1,38})?$"),
        misfits,
    )
    plain = pc.ascii_ltrim(_where(fits, plain), "+")
    narrow = rf"^-?[0-9]{{1,{whole}}}(?:\.[0-9]{{1,{type_.scale}}})?$"
    if whole > 0 and type_.scale > 0 and pc.all(_matches(plain.drop_null(), narrow)).as_py():
        return plain.cast(type_), fits, misfits
    wide = round_decimals(plain, type_.scale)
    largest = Decimal((0, (9,) * type_.precision, -type_.scale))
    small = _sure(pc.less_equal(pc.abs(wide), pa.scalar(largest, wide.type)))
    values = _where(small, wide).cast(type_)
    return values, small, pc.or_(misfits, pc.and_not(fits, small))


_DAY = (
    r"[1-9][0-9]{3}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
    r"|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
)
_NO_DAY = (
    r'^[tf{\[]|^"[A-Za-z#$%&()*,./:;<=>?@!_][^\\"]*"$|^"[0-9]{1,3}(?:[ -!/:-Z^-~-][^\\"]*)?"$|^""$'
)
"""Of what is not a string, or what begins with no year of four digits."""


def _json_dates(texts: pa.Array, type_: pa.DataType, options: ReaderOptions) -> Found:
    if options.date_format is not None:
        return _nothing(texts, type_, r"^[tf{\[]|^-?[0-9]")
    fits = _matches(texts, rf'^"{_DAY}"$')
    plain = pc.utf8_slice_codeunits(_where(fits, texts), 1, 11)
    return plain.cast(type_), fits, _matches(texts, _NO_DAY + "|^-?[0-9]")


def _json_times(texts: pa.Array, type_: pa.DataType, options: ReaderOptions) -> Found:
    if options.timestamp_format is not None:
        return _nothing(texts, type_, r"^[tf{\[]")
    clock = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
    fits = _matches(texts, rf'^"{_DAY}[T ]{clock}Z?"$')
    times = pc.ascii_trim(_where(fits, texts), '"Z').cast(pa.timestamp("us"))
    seconds = _matches(texts, r"^-?[0-9]{1,12}$")
    if pc.any(seconds).as_py():
        micros = pc.multiply(_where(seconds, texts).cast(pa.int64()), 1_000_000)
        times = pc.coalesce(times, micros.cast(pa.timestamp("us")))
        fits = pc.or_(fits, seconds)
    return times.cast(type_), fits, _matches(texts, _NO_DAY + "|^-?[0-9]+[.eE]")


def _nothing(texts: pa.Array, type_: pa.DataType, misfits: str) -> Found:
    fits = pa.repeat(pa.scalar(value=False), len(texts))
    return pa.nulls(len(texts), type_), fits, _matches(texts, misfits)


_KINDS: dict[
    Callable[[pa.DataType], bool], Callable[[pa.Array, pa.DataType, ReaderOptions], Found]
] = {
    pa.types.is_boolean: _json_booleans,
    pa.types.is_integer: _json_integers,
    pa.types.is_floating: _json_floats,
    pa.types.is_decimal: _json_decimals,
    pa.types.is_date: _json_dates,
    pa.types.is_timestamp: _json_times,
}
