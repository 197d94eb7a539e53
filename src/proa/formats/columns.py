"""JSON values of one column, as text, into the column's type, with those that do not fit.

Expressions tell for certain what fits and what does not; what they leave open is asked of
`exact`, each different text once. So whatever the expressions do not know costs time, not truth.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from proa.formats.json_record import ABSENT, Converter
from proa.formats.json_values import parse
from proa.formats.reader_options import ReaderOptions

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
    encoded = texts.filter(left_open).dictionary_encode()
    found = [convert.value(parse(text), column) for text in encoded.dictionary.to_pylist()]
    known = pa.array([value for value, _ in found], column.type).take(encoded.indices)
    bad = pa.array([left is not ABSENT for _, left in found]).take(encoded.indices)
    return (
        pc.replace_with_mask(values, left_open, known),
        pc.replace_with_mask(misfits, left_open, bad),
    )


def wrong_shape(texts: pa.Array, type_: pa.DataType) -> pa.Array:
    """Which texts are no object, or no array, where the nested type wants one."""
    bracket = "{" if pa.types.is_struct(type_) else "["
    other = pc.and_not(pc.not_equal(texts, "null"), pc.starts_with(texts, bracket))
    return _sure(other)


_NO_TEXT = pa.scalar(None, pa.string())


def _sure(mask: pa.Array) -> pa.Array:
    return pc.fill_null(mask, fill_value=False)


def _matches(texts: pa.Array, expression: str) -> pa.Array:
    return _sure(pc.match_substring_regex(texts, expression))


def _where(mask: pa.Array, values: pa.Array) -> pa.Array:
    return pc.if_else(mask, values, pa.scalar(None, values.type))


def _booleans(texts: pa.Array, type_: pa.DataType, options: ReaderOptions) -> Found:  # noqa: ARG001
    yes, no = pc.equal(texts, "true"), pc.equal(texts, "false")
    fits = _sure(pc.or_(yes, no))
    return _where(fits, yes), fits, pc.and_not(texts.is_valid(), fits)


def _integers(texts: pa.Array, type_: pa.DataType, options: ReaderOptions) -> Found:  # noqa: ARG001
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


def _floats(texts: pa.Array, type_: pa.DataType, options: ReaderOptions) -> Found:  # noqa: ARG001
    fits = _matches(texts, r"^-?[0-9]{1,17}(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,2})?$")
    # A string with a capital N or I may be NaN or infinite, as may one with an escape.
    misfits = _matches(texts, r'^[tf{\[]|^"[^\\NI]*"$')
    return _where(fits, texts).cast(pa.float64()).cast(type_), fits, misfits


def _decimals(texts: pa.Array, type_: pa.DataType, options: ReaderOptions) -> Found:  # noqa: ARG001
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
    wide = pc.round(
        plain.cast(pa.decimal256(76, 38)),
        ndigits=type_.scale,
        round_mode="half_towards_infinity",
    )
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
"""Of what is no string, or what begins with no year of four digits."""


def _dates(texts: pa.Array, type_: pa.DataType, options: ReaderOptions) -> Found:
    if options.date_format is not None:
        return _nothing(texts, type_, r"^[tf{\[]|^-?[0-9]")
    fits = _matches(texts, rf'^"{_DAY}"$')
    plain = pc.utf8_slice_codeunits(_where(fits, texts), 1, 11)
    return plain.cast(type_), fits, _matches(texts, _NO_DAY + "|^-?[0-9]")


def _times(texts: pa.Array, type_: pa.DataType, options: ReaderOptions) -> Found:
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
    pa.types.is_boolean: _booleans,
    pa.types.is_integer: _integers,
    pa.types.is_floating: _floats,
    pa.types.is_decimal: _decimals,
    pa.types.is_date: _dates,
    pa.types.is_timestamp: _times,
}
