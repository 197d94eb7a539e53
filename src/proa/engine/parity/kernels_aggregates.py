"""Aggregates over the list of a group's values."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from proa.engine.parity.kernels import Array, SparkError, kernel
from proa.engine.parity.kernels_numeric import _WIDE, _fit_or_raise


def _sort_values(values: list[Any]) -> list[Any]:
    """Sorted as Spark sorts: NaN is the largest."""
    return sorted(values, key=lambda v: (v != v, 0 if v != v else v))  # noqa: PLR0124


def _each_share(shares: Any, one: Callable[[float], Any]) -> Any:
    return [one(p) for p in shares] if isinstance(shares, list) else one(shares)


@kernel
def percentile_approx(type_: Any, lists: Array, shares: Array) -> Array:
    answers: list[Any] = []
    for values, share in zip(lists.to_pylist(), shares.to_pylist(), strict=True):
        if not values or share is None:
            answers.append(None)
            continue
        answers.append(_each_share(share, functools.partial(_rank_value, _sort_values(values))))
    return pa.array(answers, type_)


def _rank_value(ranked: list[Any], share: float) -> Any:
    return _zero(ranked[max(0, math.ceil(share * len(ranked)) - 1)])


def _zero(value: Any) -> Any:
    """The value; 0.0 for -0.0."""
    return value + 0.0 if isinstance(value, float) else value


def _between(ranked: list[float], share: float) -> float:
    place = (len(ranked) - 1) * share
    low, high = math.floor(place), math.ceil(place)
    if low == high or ranked[low] == ranked[high]:
        return ranked[low]
    return (high - place) * ranked[low] + (place - low) * ranked[high]


@kernel
def percentile(type_: Any, lists: Array, shares: Array, down: Array) -> Array:
    return _percentiles(type_, lists, shares, down, _between)


@kernel
def percentile_disc(type_: Any, lists: Array, shares: Array, down: Array) -> Array:
    return _percentiles(
        type_, lists, shares, down, lambda r, p: r[max(0, math.ceil(p * len(r)) - 1)]
    )


def _percentiles(
    type_: Any, lists: Array, shares: Array, down: Array, one: Callable[..., float]
) -> Array:
    answers: list[Any] = []
    for values, share, reverse in zip(
        lists.to_pylist(), shares.to_pylist(), down.to_pylist(), strict=True
    ):
        if not values or share is None:
            answers.append(None)
            continue
        ranked = _sort_values(values)
        if reverse:
            ranked.reverse()
        answers.append(_each_share(share, functools.partial(one, ranked)))
    return pa.array(answers, type_)


@kernel
def mode(type_: Any, lists: Array) -> Array:
    answers: list[Any] = []
    for values in lists.to_pylist():
        counts = Counter(values or ())
        most = max(counts.values(), default=0)
        answers.append(min((v for v, n in counts.items() if n == most), default=None))
    return pa.array(answers, type_)


def _key(value: Any) -> Any:
    """What sorts as Spark sorts the value: NULL first, NaN last, structs field by field."""
    if value is None:
        return (0,)
    if isinstance(value, dict):
        return (1, tuple(map(_key, value.values())))
    if isinstance(value, list):
        return (1, tuple(map(_key, value)))
    if isinstance(value, float) and value != value:  # noqa: PLR0124 - NaN is not itself
        return (2,)
    return (1, value)


def _extreme(name: str, choose: Callable[..., Any]) -> None:
    def extreme(type_: Any, lists: Array) -> Array:
        answers = [choose(v, key=_key) if v else None for v in lists.to_pylist()]
        return pa.array(answers, type_)

    extreme.__name__ = name
    kernel(extreme)


_extreme("max_nested", max)
_extreme("min_nested", min)


def _by(name: str, *, largest: bool) -> Callable[..., Array]:
    def by(type_: Any, lists: Array) -> Array:
        answers: list[Any] = []
        for rows in lists.to_pylist():
            best = None
            for row in rows or ():
                if row["k"] is None:
                    continue
                key = _key(row["k"])
                if best is None or (key >= best[0] if largest else key <= best[0]):
                    best = (key, row["v"])
            answers.append(None if best is None else best[1])
        return pa.array(answers, type_)

    by.__name__ = name
    return by


kernel(_by("max_by", largest=True))
kernel(_by("min_by", largest=False))


@kernel
def isnan_null(type_: Any, array: Array) -> Array:
    return pc.is_nan(array)


@kernel
def decimal_average(type_: Any, total: Array, count: Array) -> Array:
    return pa.array(
        [
            None if a is None or not n else _fit_or_raise(_WIDE.divide(a, Decimal(n)), type_)
            for a, n in zip(total.to_pylist(), count.to_pylist(), strict=True)
        ],
        type_,
    )


class _Moments:
    """Means, squares and products of pairs, updated row by row as Spark does it."""

    __slots__ = ("n", "sums", "x", "xy", "y")

    def __init__(self, pairs: list[tuple[float, float]]) -> None:
        self.n = 0.0
        self.x = [0.0, 0.0]
        self.y = [0.0, 0.0]
        self.xy = 0.0
        self.sums = [0.0, 0.0]
        for y, x in pairs:
            self.n += 1
            self.sums[0] += y
            self.sums[1] += x
            dx, dy = x - self.x[0], y - self.y[0]
            self.x[0] += dx / self.n
            self.y[0] += dy / self.n
            self.xy += dx * (y - self.y[0])
            self.x[1] += dx * (dx - dx / self.n)
            self.y[1] += dy * (dy - dy / self.n)


def _over_pairs(name: str, function: Callable[[_Moments], float | None]) -> None:
    def over(type_: Any, lists: Array) -> Array:
        answers: list[Any] = []
        for rows in lists.to_pylist():
            pairs = [
                (r["y"], r["x"]) for r in rows or () if r["y"] is not None and r["x"] is not None
            ]
            answers.append(function(_Moments(pairs)) if pairs else None)
        return pa.array(answers, type_)

    over.__name__ = name
    kernel(over)


def _correlation(m: _Moments) -> float | None:
    product = m.x[1] * m.y[1]
    if m.n == 1:
        return None
    if product == 0:
        raise SparkError("DIVIDE_BY_ZERO", "corr() of values that do not vary")
    return m.xy / math.sqrt(product) if product >= 0 else math.nan


def _slope(m: _Moments) -> float | None:
    return None if m.x[1] == 0 else m.xy / m.x[1]


def _intercept(m: _Moments) -> float | None:
    slope = _slope(m)
    return None if slope is None else m.y[0] - slope * m.x[0]


def _square(m: _Moments) -> float | None:
    if m.x[1] == 0:
        return None
    return 1.0 if m.y[1] == 0 else m.xy * m.xy / (m.x[1] * m.y[1])


_over_pairs("corr", _correlation)
_over_pairs("covar_pop", lambda m: m.xy / m.n)
_over_pairs("covar_samp", lambda m: None if m.n == 1 else m.xy / (m.n - 1))
_over_pairs("regr_avgx", lambda m: m.sums[1] / m.n)
_over_pairs("regr_avgy", lambda m: m.sums[0] / m.n)
_over_pairs("regr_sxx", lambda m: m.x[1])
_over_pairs("regr_syy", lambda m: m.y[1])
_over_pairs("regr_sxy", lambda m: m.xy)
_over_pairs("regr_slope", _slope)
_over_pairs("regr_intercept", _intercept)
_over_pairs("regr_r2", _square)
