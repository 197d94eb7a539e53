"""Aggregates over the list of a group's values."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from proa.engine.parity.kernels import Array, SparkError, kernel
from proa.engine.parity.kernels_numeric import _WIDE, _fit_or_raise, quick_quotient


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


def _sort_keys(values: Array) -> list[Any]:
    """What sorts as Spark sorts the values: NULL first, NaN last, structs field by field.

    Fields are taken by their place: two may have one name.
    """
    kind = values.type
    valid = values.is_valid().to_pylist()
    if pa.types.is_struct(kind):
        fields = [_sort_keys(values.field(number)) for number in range(kind.num_fields)]
        rows = zip(*fields, strict=True) if fields else iter([()] * len(values))
        return [(1, row) if ok else (0,) for ok, row in zip(valid, rows, strict=True)]
    if pa.types.is_list(kind):
        inner = iter(_sort_keys(values.flatten()))
        lengths = pc.fill_null(pc.list_value_length(values), 0).to_pylist()
        lists = [tuple(itertools.islice(inner, length)) for length in lengths]
        return [(1, items) if ok else (0,) for ok, items in zip(valid, lists, strict=True)]
    return [_sort_key(value) for value in values.to_pylist()]


def _sort_key(value: Any) -> Any:
    if value is None:
        return (0,)
    if isinstance(value, float) and value != value:  # noqa: PLR0124 - NaN is not itself
        return (2,)
    return (1, value)


def _chosen_rows(lists: Array, keys: list[Any], better: Callable[[Any, Any], bool]) -> Array:
    """The place, among the rows of all lists, of each list's best row that has a key; else NULL."""
    places: list[int | None] = []
    start = 0
    for length in pc.fill_null(pc.list_value_length(lists), 0).to_pylist():
        best: int | None = None
        for place in range(start, start + length):
            if keys[place] != (0,) and (best is None or better(keys[place], keys[best])):
                best = place
        places.append(best)
        start += length
    return pa.array(places, pa.int64())


def _extreme(name: str, better: Callable[[Any, Any], bool]) -> None:
    def extreme(_type: Any, lists: Array) -> Array:
        rows = lists.flatten()
        return rows.take(_chosen_rows(lists, _sort_keys(rows), better))

    extreme.__name__ = name
    kernel(extreme)


_extreme("max_nested", operator.gt)
_extreme("min_nested", operator.lt)


def _by(name: str, better: Callable[[Any, Any], bool]) -> Callable[..., Array]:
    def by(_type: Any, lists: Array) -> Array:
        pairs = lists.flatten()
        return pairs.field(0).take(_chosen_rows(lists, _sort_keys(pairs.field(1)), better))

    by.__name__ = name
    return by


kernel(_by("max_by", operator.ge))
kernel(_by("min_by", operator.le))


@kernel
def without_nulls(type_: Any, lists: Array) -> Array:
    """Each list without its NULLs."""
    members = lists.flatten()
    kept = members.is_valid()
    parents = pc.list_parent_indices(lists).filter(kept).to_numpy(zero_copy_only=False)
    counts = np.bincount(parents, minlength=len(lists)) if len(lists) else np.zeros(0, np.int64)
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
    return pa.ListArray.from_arrays(offsets, members.filter(kept)).cast(type_)


def _sums(lists: Array, values: Any) -> tuple[Any, Any, Any]:
    """(sum, number of values, list of each value) of the lists of doubles, of which none is NULL."""
    parents = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
    sums = np.zeros(len(lists))
    with np.errstate(invalid="ignore", over="ignore"):
        np.add.at(sums, parents, values)
    return sums, np.bincount(parents, minlength=len(lists)), parents


def _over_lists(name: str, function: Callable[[Any, Any, Any, Any], tuple[Any, Any]]) -> None:
    """A kernel over lists of doubles; `function` gives the answers and which of them are NULL."""

    def over(type_: Any, lists: Array) -> Array:
        values = lists.flatten().to_numpy(zero_copy_only=False)
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            answers, missing = function(lists, values, *_sums(lists, values)[:2])
        return pa.array(answers, type_, mask=missing, from_pandas=False)

    over.__name__ = name
    kernel(over)


def _spread(  # noqa: PLR0913 - what all of these take, and what they differ in
    lists: Array, values: Any, sums: Any, counts: Any, *, less: int, root: bool
) -> Any:
    parents = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
    away = values - (sums / np.maximum(counts, 1))[parents]
    squares, _, _ = _sums(lists, away * away)
    spread = squares / np.maximum(counts - less, 1)
    return (np.sqrt(spread) if root else spread), counts <= less


_over_lists("list_sum", lambda _l, _v, sums, counts: (sums, counts == 0))
_over_lists("list_mean", lambda _l, _v, sums, counts: (sums / np.maximum(counts, 1), counts == 0))
for _name, _less, _root in (
    ("list_stddev", 1, True),
    ("list_variance", 1, False),
    ("list_stddev_pop", 0, True),
    ("list_variance_pop", 0, False),
):
    _over_lists(_name, functools.partial(_spread, less=_less, root=_root))


@kernel
def isnan_null(type_: Any, array: Array) -> Array:
    return pc.is_nan(array)


@kernel
def decimal_average(type_: Any, total: Array, count: Array) -> Array:
    counts = pc.if_else(pc.equal(count, 0), pa.scalar(None, count.type), count)
    quick = quick_quotient(type_, total, counts.cast(pa.decimal128(19, 0)))
    if quick is not None:
        return quick
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
