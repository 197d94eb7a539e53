"""Rounding as Spark does it: of the shortest decimal text of a double, and of exact decimals.

Whole arrays at once where the answer is beyond doubt; rows near a tie, or too large for 53 bits, are
computed one by one with exact decimals.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from proa.engine.parity.kernels import Array, SparkError, each, kernel, patch
from proa.engine.parity.kernels_casts import double_text
from proa.lazy import compute as pc

_WIDE = Context(prec=120)
_MODES = {ROUND_HALF_UP: "half_towards_infinity", ROUND_HALF_EVEN: "half_to_even", ROUND_CEILING: "up",
          ROUND_FLOOR: "down"}  # fmt: skip
_SURE = 2.0**51
_NEAR = 1e-4
"""How far from a tie, in units of the last place, a scaled double must be to be sure."""


def _rounder(name: str, mode: str) -> Callable[..., Array]:
    def rounded(type_: Any, array: Array, scales: Array) -> Array:
        scale = scales[0].as_py() if len(scales) else 0
        if pa.types.is_float64(array.type):
            return _round_doubles(type_, array, scale, mode)
        if pa.types.is_floating(array.type):
            return _round_floats_exactly(type_, array, scale, mode)
        if pa.types.is_decimal(array.type):
            return _round_decimals(type_, array, scale, mode)
        return _round_integers(type_, array, scale, mode)

    rounded.__name__ = name
    return rounded


def _round_integers(type_: Any, array: Array, scale: int, mode: str) -> Array:
    unit = Decimal(1).scaleb(-scale)
    most = 1 << (type_.bit_width - 1)

    def one(value: int) -> int:
        number = int(
            _WIDE.multiply(_WIDE.divide(Decimal(value), unit).quantize(Decimal(1), mode), unit)
        )
        if not -most <= number < most:
            raise SparkError("ARITHMETIC_OVERFLOW", f"{type_} overflow")
        return number

    return array if scale >= 0 else each(one, type_, array)


def _round_decimals(type_: Any, array: Array, scale: int, mode: str) -> Array:
    wide = array.cast(pa.decimal256(min(76, array.type.precision + 38), array.type.scale))
    if scale < array.type.scale:
        wide = pc.round(wide, ndigits=scale, round_mode=_MODES[mode])
    try:
        return wide.cast(type_)
    except pa.ArrowInvalid as error:
        raise SparkError(
            "NUMERIC_VALUE_OUT_OF_RANGE", f"a value cannot be represented as {type_}"
        ) from error


def scale_up(array: Array, scale: int, mode: str) -> tuple[Any, Any, Any]:
    """(rounded value times 10**scale, which rows are not sure, which are NULL) of doubles."""
    missing = array.is_null().to_numpy(zero_copy_only=False)
    values = pc.fill_null(array, 0.0).to_numpy(zero_copy_only=False)
    with np.errstate(all="ignore"):
        scaled = values * 10.0**scale
        size = np.abs(scaled)
        part = size - np.floor(size)
        unsure = ~(size < _SURE)
        if mode in {ROUND_CEILING, ROUND_FLOOR}:
            unsure |= (np.minimum(part, 1 - part) < _NEAR) & (scale != 0)
            whole = np.ceil(scaled) if mode == ROUND_CEILING else np.floor(scaled)
        else:
            unsure |= np.abs(part - 0.5) < _NEAR
            whole = np.sign(scaled) * np.floor(size + 0.5)
        unsure |= (size * 2.0**-50 > _NEAR) & (
            scale != 0 or mode in {ROUND_HALF_UP, ROUND_HALF_EVEN}
        )
    return whole, unsure & ~missing, missing


def _round_doubles(type_: Any, array: Array, scale: int, mode: str) -> Array:
    def slow(rows: Array) -> Array:
        return _round_floats_exactly(type_, rows, scale, mode)

    if not 0 <= scale <= 15:
        return slow(array)
    whole, unsure, missing = scale_up(array, scale, mode)
    if pa.types.is_integer(type_):
        quick = pa.array(np.where(unsure, 0, whole).astype(np.int64), type_, mask=missing)
    else:
        quick = pa.array(whole / 10.0**scale + 0.0, type_, mask=missing, from_pandas=False)
    return patch(quick, unsure, slow, array)


def _round_floats_exactly(type_: Any, array: Array, scale: int, mode: str) -> Array:
    whole = pa.types.is_integer(type_)
    single = pa.types.is_float32(array.type)
    unit = Decimal(1).scaleb(-scale)

    def one(value: float) -> Any:
        if not math.isfinite(value):
            if whole:
                return 0 if math.isnan(value) else (1 << 63) - 1 if value > 0 else -(1 << 63)
            return value
        exact = Decimal(double_text(value))
        if whole:
            exact = Decimal(value)
        found = (
            exact.quantize(unit, mode, Context(prec=800))
            if scale >= 0
            else _WIDE.multiply(
                _WIDE.divide(exact, unit).quantize(Decimal(1), mode, Context(prec=800)), unit
            )
        )
        if whole:
            return max(-(1 << 63), min((1 << 63) - 1, int(found)))
        answer = float(found)
        return answer or 0.0

    if single and not whole:
        wide = each(one, pa.float64(), array).to_pylist()
        return pa.array([None if v is None else np.float32(v) for v in wide], type_)
    return each(one, type_, array)


for _name, _mode in (("rounded", ROUND_HALF_UP), ("brounded", ROUND_HALF_EVEN), ("ceiled", ROUND_CEILING),
                     ("floored", ROUND_FLOOR)):  # fmt: skip
    kernel(_rounder(_name, _mode))
