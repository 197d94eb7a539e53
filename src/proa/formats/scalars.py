"""One JSON value, or one text, as a value of a simple type: what fits, and what does not."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation, localcontext
from typing import Any

import pyarrow as pa

from proa.formats.date_texts import parse_date, parse_timestamp
from proa.formats.json_values import Number, dump
from proa.formats.reader_options import ReaderOptions

_RANGES = {
    pa.int8(): 2**7,
    pa.int16(): 2**15,
    pa.int32(): 2**31,
    pa.int64(): 2**63,
}
_NOT_FINITE = {
    "NaN": math.nan,
    "Infinity": math.inf,
    "+Infinity": math.inf,
    "-Infinity": -math.inf,
    "INF": math.inf,
    "+INF": math.inf,
    "-INF": -math.inf,
}


Convert = Callable[[Any], Any]
"""Takes a JSON value that is not null; ValueError or OverflowError when it does not fit."""

_WHOLE = re.compile(r"-?[0-9]{1,30}")


def scalar(type_: pa.DataType, options: ReaderOptions) -> Convert:
    """What converts JSON values to the type."""
    kinds = pa.types
    if kinds.is_string(type_):
        return lambda value: value if isinstance(value, str) else dump(value)
    if kinds.is_boolean(type_):
        return _boolean
    if kinds.is_integer(type_):
        bound = _RANGES[type_]
        return lambda value: _integer(value, bound)
    if kinds.is_floating(type_):
        return _float
    return _from_text(type_, options)


def _from_text(type_: pa.DataType, options: ReaderOptions) -> Convert:
    kinds = pa.types
    if kinds.is_decimal(type_):
        return lambda value: decimal(_text(value), type_)
    if kinds.is_date(type_):
        return lambda value: parse_date(_plain_text(value), options.date_format)
    if kinds.is_timestamp(type_):
        pattern = options.timestamp_format
        return lambda value: (
            _integer(value, 2**63 // 1_000_000) * 1_000_000
            if isinstance(value, Number)
            else parse_timestamp(_text(value), pattern)
        )
    return lambda value: _binary(_plain_text(value))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(repr(value))  # noqa: TRY004 - a mismatch of the data, not of the program
    return value


def _plain_text(value: Any) -> str:
    if isinstance(value, Number):
        raise ValueError(value)  # noqa: TRY004 - a mismatch of the data, not of the program
    return _text(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(repr(value))  # noqa: TRY004 - a mismatch of the data, not of the program
    return value


def _integer(value: Any, bound: int) -> int:
    if not isinstance(value, Number) or not _WHOLE.fullmatch(value):
        raise ValueError(repr(value))
    number = int(value)
    if not -bound <= number < bound:
        raise ValueError(value)
    return number


def _float(value: Any) -> float:
    if isinstance(value, str) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    if not isinstance(value, Number):
        raise ValueError(repr(value))  # noqa: TRY004 - a mismatch of the data, not of the program
    return float(value)


def decimal(text: str, type_: pa.DataType) -> Decimal:
    """The text as a decimal of the type, rounded half up; ValueError when it does not fit."""
    with localcontext() as context:
        context.prec = 80
        try:
            if "_" in text:
                raise ValueError(text)
            # As Spark in its default locale: commas part thousands.
            found = Decimal(text.strip().replace(",", ""))
            if not found.is_finite() or found.adjusted() > 40:
                raise ValueError(text)
            found = found.quantize(Decimal(1).scaleb(-type_.scale), rounding=ROUND_HALF_UP)
        except InvalidOperation:
            raise ValueError(text) from None
        if found and found.adjusted() + 1 > type_.precision - type_.scale:
            raise ValueError(text)
        return found


def _binary(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(text) from error
