"""Arithmetic as Spark does it under ANSI: exact decimals, no silent overflow, Java's doubles."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from proa.engine.parity.kernels import Array, SparkError, each, kernel
from proa.engine.parity.kernels_casts import decimals_of, unscaled_digits
from proa.lazy import compute as pc

_WIDE = Context(prec=120)


def _checking_kernel(name: str) -> Callable[..., Array]:
    function = getattr(pc, f"{name}_checked")

    def checked(type_: Any, left: Array, right: Array) -> Array:
        try:
            return function(left, right).cast(type_)
        except pa.ArrowInvalid as error:
            raise SparkError("ARITHMETIC_OVERFLOW", f"{type_} overflow") from error

    checked.__name__ = name
    return checked


for _name in ("add", "subtract", "multiply"):
    kernel(_checking_kernel(_name))


@kernel
def same(type_: Any, array: Array) -> Array:
    return array.cast(type_)


@kernel
def negated(type_: Any, array: Array) -> Array:
    if pa.types.is_decimal(type_) and type_.precision == 38:
        most = pa.scalar(Decimal(10) ** (37 - type_.scale), type_)
        if pc.any(pc.greater_equal(pc.abs(array), most)).as_py():
            raise SparkError("NUMERIC_VALUE_OUT_OF_RANGE", "the negative of a decimal of 38 digits")
    if pa.types.is_floating(type_):
        return pc.multiply(array, pa.scalar(-1.0, type_))  # a NaN gets no sign
    if pa.types.is_decimal(type_):
        return pc.negate(array)
    try:
        return pc.negate_checked(array)
    except pa.ArrowInvalid as error:
        raise SparkError("ARITHMETIC_OVERFLOW", f"{type_} overflow") from error


@kernel
def absolute(type_: Any, array: Array) -> Array:
    if pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return pc.abs(array)
    try:
        return pc.abs_checked(array)
    except pa.ArrowInvalid as error:
        raise SparkError("ARITHMETIC_OVERFLOW", f"{type_} overflow") from error


@kernel
def bits_not(type_: Any, array: Array) -> Array:
    return pc.bit_wise_not(array).cast(type_)


@kernel
def shifted_unsigned(type_: Any, array: Array, places: Array) -> Array:
    wide = pa.types.is_int64(type_)
    valid = pc.and_(pc.is_valid(array), pc.is_valid(places))
    bits = pc.fill_null(array, 0).to_numpy(zero_copy_only=False)
    bits = bits.astype("int64" if wide else "int32").view("uint64" if wide else "uint32")
    shift = pc.fill_null(places, 0).to_numpy(zero_copy_only=False) & (63 if wide else 31)
    found = (bits >> shift.astype(bits.dtype)).view("int64" if wide else "int32")
    return pc.if_else(valid, pa.array(found, type_), pa.scalar(None, type_))


@kernel
def finite(type_: Any, array: Array) -> Array:
    """The numbers; NULL for NaN and the infinities."""
    return pc.if_else(pc.is_finite(array), array, pa.scalar(None, type_))


@kernel
def bits_xor(type_: Any, left: Array, right: Array) -> Array:
    return pc.bit_wise_xor(left.cast(type_), right.cast(type_))


def _number(value: int, type_: Any) -> Any:
    return pa.scalar(Decimal(value) if pa.types.is_decimal(type_) else value, type_)


def _zeros(left: Array, right: Array, condition: str) -> None:
    """Raise when a valid pair has a zero on the right."""
    zero = pc.and_(pc.equal(right, _number(0, right.type)), pc.is_valid(left))
    if pc.any(zero).as_py():
        raise SparkError(condition, "division by zero; use try_divide or nullif")


@kernel
def divided(type_: Any, left: Array, right: Array) -> Array:
    _zeros(left, right, "DIVIDE_BY_ZERO")
    return pc.divide(left, right)


@kernel
def div(type_: Any, left: Array, right: Array) -> Array:
    _zeros(left, right, "DIVIDE_BY_ZERO")
    if pa.types.is_integer(left.type):
        try:
            return pc.divide_checked(left, right)
        except pa.ArrowInvalid as error:
            raise SparkError("ARITHMETIC_OVERFLOW", "bigint overflow") from error

    def one(a: Decimal, b: Decimal) -> int:
        found = int(_WIDE.divide_int(a, b))
        return (found + (1 << 63)) % (1 << 64) - (1 << 63)

    return each(one, type_, left, right)


def _int_mod(a: int, b: int) -> int:
    found = abs(a) % abs(b)
    return -found if a < 0 else found


def _remainders(left: Array, right: Array, type_: Any) -> Array:
    valid = pc.and_(left.is_valid(), right.is_valid())
    a = pc.fill_null(left, pa.scalar(0).cast(left.type)).to_numpy(zero_copy_only=False)
    b = pc.fill_null(right, pa.scalar(1).cast(right.type)).to_numpy(zero_copy_only=False)
    with np.errstate(all="ignore"):
        found = np.fmod(a, np.where(b == 0, 1, b) if b.dtype.kind == "i" else b)
    return pa.array(found, type_, mask=~valid.to_numpy(zero_copy_only=False))


@kernel
def remainder(type_: Any, left: Array, right: Array) -> Array:
    _zeros(left, right, "REMAINDER_BY_ZERO")
    return _remainders(left, right, type_)


@kernel
def pmod(type_: Any, left: Array, right: Array) -> Array:
    _zeros(left, right, "REMAINDER_BY_ZERO")
    first = _remainders(left, right, type_)
    negative = pc.less(first, pa.scalar(0).cast(type_))
    again = _remainders(
        pc.add(first, right),
        pc.if_else(pc.equal(right, pa.scalar(0).cast(type_)), pa.scalar(1).cast(type_), right),
        type_,
    )
    return pc.if_else(pc.fill_null(negative, fill_value=False), again, first)


# -- decimals -----------------------------------------------------------------------------------------

_SIGNS: dict[str, Callable[[Decimal, Decimal], Decimal]] = {
    "add": _WIDE.add, "subtract": _WIDE.subtract, "multiply": _WIDE.multiply,
}  # fmt: skip


def fitted(value: Decimal, type_: Any) -> Decimal | None:
    cut = value.quantize(Decimal(1).scaleb(-type_.scale), ROUND_HALF_UP, _WIDE)
    return cut if not cut or cut.adjusted() + 1 + type_.scale <= type_.precision else None


def _fit_or_raise(value: Decimal, type_: Any) -> Decimal:
    found = fitted(value, type_)
    if found is None:
        raise SparkError(
            "NUMERIC_VALUE_OUT_OF_RANGE",
            f"{value} cannot be represented as decimal({type_.precision},{type_.scale})",
        )
    return found


def _halves_up(array: Array, type_: Any) -> Array:
    """A 256-bit decimal rounded to the scale of `type_`, as its type."""
    if array.type.scale > type_.scale:
        array = pc.round(array, ndigits=type_.scale, round_mode="half_towards_infinity")
    try:
        return array.cast(type_)
    except pa.ArrowInvalid as error:
        raise SparkError(
            "NUMERIC_VALUE_OUT_OF_RANGE",
            f"a value cannot be represented as decimal({type_.precision},{type_.scale})",
        ) from error


def _wide(array: Array) -> Array:
    return array.cast(pa.decimal256(array.type.precision, array.type.scale))


def _decimal(name: str) -> Callable[..., Array]:
    def computed(type_: Any, left: Array, right: Array) -> Array:
        if left.type.precision + right.type.precision + 1 <= 76:
            return _halves_up(getattr(pc, name)(_wide(left), _wide(right)), type_)
        return each(lambda a, b: _fit_or_raise(_SIGNS[name](a, b), type_), type_, left, right)

    computed.__name__ = f"decimal_{name}"
    return computed


for _name in _SIGNS:
    kernel(_decimal(_name))


def _quotient(a: Decimal, b: Decimal) -> Decimal:
    return _WIDE.divide(a, b)


def quick_quotient(type_: Any, left: Array, right: Array) -> Array | None:
    """The quotients by whole numbers of 64 bits; None where those are too small for them."""
    power = type_.scale - left.type.scale + right.type.scale
    a, b = unscaled_digits(left), unscaled_digits(right)
    if a is None or b is None or not 0 <= power <= 18 or not len(left):
        return None
    most = (1 << 62) // 10**power
    if np.abs(a).max() >= most or np.abs(b).max() >= 1 << 61:
        return None
    divisor = np.where(b == 0, 1, np.abs(b))
    whole, rest = np.divmod(np.abs(a) * 10**power, divisor)
    whole += 2 * rest >= divisor
    digits = np.where((a < 0) != (b < 0), -whole, whole)
    if type_.precision < 19 and np.abs(digits).max() >= 10**type_.precision:
        return None
    missing = pc.or_(left.is_null(), right.is_null()).to_numpy(zero_copy_only=False)
    return decimals_of(digits, missing, type_)


def _wide_quotient(type_: Any, left: Array, right: Array) -> Array | None:
    """The quotients by decimals of 256 bits; None where those are too small for them.

    Arrow cuts, so one digit more than is asked for tells how to round.
    """
    a, b = left.type, right.type
    digits = b.precision - b.scale + 1  # Arrow's answer has as many more than the dividend
    own = max(a.scale, type_.scale + 1 - digits)
    scale = max(4, own + digits)
    whole = a.precision - a.scale
    if whole + b.scale + scale > 76 or whole + own > 76:
        return None
    target = pa.decimal256(b.precision, b.scale)
    valid = pc.and_(left.is_valid(), right.is_valid())
    divisor = pc.if_else(valid, right.cast(target), pa.scalar(None, target))
    found = pc.divide(left.cast(pa.decimal256(whole + own, own)), divisor)
    return _halves_up(found, type_) if found.type.scale > type_.scale else None


@kernel
def decimal_divide(type_: Any, left: Array, right: Array) -> Array:
    _zeros(left, right, "DIVIDE_BY_ZERO")
    quick = quick_quotient(type_, left, right)
    if quick is None:
        quick = _wide_quotient(type_, left, right)
    if quick is not None:
        return quick
    return each(lambda a, b: _fit_or_raise(_quotient(a, b), type_), type_, left, right)


def _decimal_mod(a: Decimal, b: Decimal) -> Decimal:
    return _WIDE.remainder(a, b)


@kernel
def decimal_remainder(type_: Any, left: Array, right: Array) -> Array:
    _zeros(left, right, "REMAINDER_BY_ZERO")
    return each(lambda a, b: _fit_or_raise(_decimal_mod(a, b), type_), type_, left, right)


@kernel
def decimal_pmod(type_: Any, left: Array, right: Array) -> Array:
    _zeros(left, right, "REMAINDER_BY_ZERO")

    def one(a: Decimal, b: Decimal) -> Decimal:
        found = _decimal_mod(a, b)
        return _fit_or_raise(_decimal_mod(_WIDE.add(found, b), b) if found < 0 else found, type_)

    return each(one, type_, left, right)


# -- try_ ---------------------------------------------------------------------------------------------


def _trying_kernel(name: str, function: Callable[[Any, Any], Any]) -> Callable[..., Array]:
    def tried(type_: Any, left: Array, right: Array) -> Array:
        def one(a: Any, b: Any) -> Any:
            if name in {"divide", "mod"} and b == 0:
                return None
            found = function(a, b)
            if pa.types.is_decimal(type_):
                return fitted(found, type_)
            if pa.types.is_integer(type_):
                bits = type_.bit_width - 1
                return found if -(1 << bits) <= found < 1 << bits else None
            return found

        if pa.types.is_float32(type_):
            with np.errstate(all="ignore"):
                function32 = {"add": np.add, "subtract": np.subtract, "multiply": np.multiply,
                              "divide": np.divide, "mod": np.fmod}[name]  # fmt: skip
                return each(
                    lambda a, b: (
                        None
                        if name in {"divide", "mod"} and b == 0
                        else function32(np.float32(a), np.float32(b))
                    ),
                    type_,
                    left,
                    right,
                )
        return each(one, type_, left, right)

    tried.__name__ = f"try_{name}"
    return tried


def _any_add(a: Any, b: Any) -> Any:
    return _WIDE.add(a, b) if isinstance(a, Decimal) else a + b


def _any_subtract(a: Any, b: Any) -> Any:
    return _WIDE.subtract(a, b) if isinstance(a, Decimal) else a - b


def _any_multiply(a: Any, b: Any) -> Any:
    return _WIDE.multiply(a, b) if isinstance(a, Decimal) else a * b


def _any_divide(a: Any, b: Any) -> Any:
    return _WIDE.divide(a, b) if isinstance(a, Decimal) else a / b


def _any_mod(a: Any, b: Any) -> Any:
    if isinstance(a, Decimal):
        return _decimal_mod(a, b)
    if isinstance(a, float):
        return math.fmod(a, b) if math.isfinite(a) else math.nan
    return _int_mod(a, b)


for _name, _function in (("add", _any_add), ("subtract", _any_subtract), ("multiply", _any_multiply),
                         ("divide", _any_divide), ("mod", _any_mod)):  # fmt: skip
    kernel(_trying_kernel(_name, _function))


# -- comparisons of floating point: NaN is equal to itself and larger than all -----------------------


def _order_keys(array: Array) -> tuple[Any, Any]:
    values = pc.fill_null(array, float("nan")).to_numpy(zero_copy_only=False)
    return values, np.isnan(values)


def _comparison(name: str) -> Callable[..., Array]:
    def compared(type_: Any, left: Array, right: Array) -> Array:
        a, a_nan = _order_keys(left)
        b, b_nan = _order_keys(right)
        equal = (a == b) | (a_nan & b_nan)
        less = np.where(a_nan | b_nan, ~a_nan & b_nan, a < b)
        found = {"eq": equal, "ne": ~equal, "lt": less, "le": less | equal, "gt": ~(less | equal),
                 "ge": ~less, "null_safe": equal}[name]  # fmt: skip
        a_valid = left.is_valid().to_numpy(zero_copy_only=False)
        b_valid = right.is_valid().to_numpy(zero_copy_only=False)
        if name == "null_safe":
            return pa.array((a_valid & b_valid & equal) | (~a_valid & ~b_valid))
        return pa.array(found, mask=~(a_valid & b_valid))

    compared.__name__ = f"compare_{name}"
    return compared


for _name in ("eq", "ne", "lt", "le", "gt", "ge", "null_safe"):
    kernel(_comparison(_name))


@kernel
def nanvl(type_: Any, left: Array, right: Array) -> Array:
    return pc.if_else(pc.fill_null(pc.is_nan(left), fill_value=False), right, left)


def _extreme(name: str, *, largest: bool) -> Callable[..., Array]:
    def extreme(type_: Any, *arrays: Array) -> Array:
        best = arrays[0]
        for other in arrays[1:]:
            a, a_nan = _order_keys(best)
            b, b_nan = _order_keys(other)
            less = np.where(a_nan | b_nan, ~a_nan & b_nan, a < b)
            greater = np.where(a_nan | b_nan, a_nan & ~b_nan, a > b)
            better = less if largest else greater
            take = pc.or_(pc.is_null(best), pc.and_(pa.array(better), pc.is_valid(other)))
            best = pc.if_else(take, other, best)
        return best

    extreme.__name__ = name
    return extreme


kernel(_extreme("greatest", largest=True))
kernel(_extreme("least", largest=False))


# -- mathematics ------------------------------------------------------------------------------------


def _values(array: Array) -> tuple[Any, Any]:
    return pc.fill_null(array, float("nan")).to_numpy(
        zero_copy_only=False
    ), array.is_null().to_numpy(zero_copy_only=False)


def _logarithm(name: str, function: Callable[[Any], Any], least: float) -> Callable[..., Array]:
    def logarithm(type_: Any, array: Array) -> Array:
        """NULL where the logarithm is not defined, as in Spark."""
        values, nulls = _values(array)
        with np.errstate(all="ignore"):
            return pa.array(function(values), type_, mask=nulls | (values <= least))

    logarithm.__name__ = name
    return logarithm


for _name, _np, _least in (("ln", np.log, 0.0), ("log10", np.log10, 0.0), ("log2", np.log2, 0.0),
                           ("log1p", np.log1p, -1.0)):  # fmt: skip
    kernel(_logarithm(_name, _np, _least))


@kernel
def log_of(type_: Any, base: Array, array: Array) -> Array:
    bases, no_base = _values(base)
    values, nulls = _values(array)
    with np.errstate(all="ignore"):
        found = np.log(values) / np.log(bases)
        return pa.array(found, type_, mask=nulls | no_base | (values <= 0) | (bases <= 0))


@kernel
def rint(type_: Any, array: Array) -> Array:
    values, nulls = _values(array)
    return pa.array(np.rint(values), type_, mask=nulls)


@kernel
def isnan(type_: Any, array: Array) -> Array:
    return pc.fill_null(pc.is_nan(array), fill_value=False)


def _power(a: float, b: float) -> float:
    if math.isnan(b) or (abs(a) == 1 and math.isinf(b)):
        return math.nan
    with np.errstate(all="ignore"):
        return float(np.power(np.float64(a), np.float64(b)))


@kernel
def power(type_: Any, left: Array, right: Array) -> Array:
    return each(_power, type_, left, right)


@kernel
def atan2(type_: Any, left: Array, right: Array) -> Array:
    return each(lambda a, b: math.atan2(a + 0.0, b + 0.0), type_, left, right)


@kernel
def hypot(type_: Any, left: Array, right: Array) -> Array:
    return each(math.hypot, type_, left, right)


@kernel
def factorial(type_: Any, array: Array) -> Array:
    return each(lambda n: math.factorial(n) if 0 <= n <= 20 else None, type_, array)


@kernel
def sign(type_: Any, array: Array) -> Array:
    values, nulls = _values(array)
    return pa.array(np.where(values == 0, values, np.sign(values)), type_, mask=nulls)
