"""Text into typed columns, a column at a time, with the values that do not fit."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from proa.formats.date_texts import parse_date, parse_timestamp, to_strptime
from proa.formats.reader_options import ReaderOptions
from proa.formats.scalars import decimal

_WHITE = "".join(map(chr, range(33)))


def cast(texts: pa.Array, type_: pa.DataType, options: ReaderOptions) -> tuple[pa.Array, Any]:
    """(the values, a mask of texts that are none, or None when all are).

    Texts that are no value of the type become null.
    """
    kinds = pa.types
    if kinds.is_string(type_):
        return texts, None
    if kinds.is_boolean(type_):
        return _booleans(texts)
    found = _at_once(texts, type_, options)
    if found is not None:
        return found, None
    return _one_by_one(texts, type_, options)


def _booleans(texts: pa.Array) -> tuple[pa.Array, Any]:
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
            return _times(texts, type_, options.timestamp_format)
        if kinds.is_date(type_) and options.date_format is not None:
            return pc.strptime(texts, to_strptime(options.date_format), "us").cast(type_)
        if kinds.is_decimal(type_):
            return _decimals(texts, type_)
        return texts.cast(type_)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def _times(texts: pa.Array, type_: pa.DataType, pattern: str | None) -> pa.Array | None:
    if pattern is not None:
        # Arrow's strptime knows no fractions and no offsets.
        if "%f" in to_strptime(pattern) or "%z" in to_strptime(pattern):
            return None
        return pc.strptime(texts, to_strptime(pattern), "us").cast(type_)
    try:
        return texts.cast(pa.timestamp("us")).cast(type_)
    except pa.ArrowInvalid:
        return texts.cast(pa.timestamp("us", "UTC")).cast(type_)


def _decimals(texts: pa.Array, type_: pa.DataType) -> pa.Array:
    try:
        return texts.cast(type_)
    except pa.ArrowInvalid:
        wide = texts.cast(pa.decimal256(76, 38))
        rounded = pc.round(wide, ndigits=type_.scale, round_mode="half_towards_infinity")
        return rounded.cast(type_)


def _one_by_one(
    texts: pa.Array, type_: pa.DataType, options: ReaderOptions
) -> tuple[pa.Array, Any]:
    """Each different text once."""
    encoded = texts.dictionary_encode()
    values: list[Any] = []
    bad: list[bool] = []
    for text in encoded.dictionary.to_pylist():
        try:
            values.append(_value(text, type_, options))
            bad.append(False)
        except (ValueError, OverflowError):
            values.append(None)
            bad.append(True)
    mask = pc.fill_null(pa.array(bad, pa.bool_()).take(encoded.indices), fill_value=False)
    return pa.array(values, type_).take(encoded.indices), mask if any(bad) else None


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
        pa.float64(),
        pa.date32(),
        pa.timestamp("us", "UTC"),
        pa.bool_(),
    )
    for kind in kinds:
        own = options.date_format if pa.types.is_date(kind) else options.timestamp_format
        shape = _SHAPES.get(kind) if own is None else None
        if shape is not None and not pc.all(pc.match_substring_regex(texts, shape)).as_py():
            continue
        if cast(texts, kind, options)[1] is None:
            return kind
    return pa.string()


_SHAPES = {
    pa.date32(): r"^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}$",
    pa.timestamp("us", "UTC"): r"^[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}[T ][0-9]",
}
"""What a text must look like before its column is taken for dates or times."""
