"""Aggregates over the list of a group's values."""

from __future__ import annotations

import functools
import itertools
import math
import operator
import struct
from collections import Counter
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from proa.engine.parity.kernels import Array, SparkError, kernel
from proa.engine.parity.kernels_casts import to_decimal
from proa.engine.parity.kernels_numeric import _WIDE, _fit_or_raise, quick_quotient
from proa.lazy import compute as pc


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
    if pa.types.is_timestamp(kind):  # numbers are quick to make and to compare
        values = values.view(pa.int64())
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


def _ranks(values: Array) -> Any:
    """The place of each value among all that differ, as Spark sorts them; -1 for NULL."""
    if pa.types.is_floating(values.type):
        values = pc.add(values, pa.scalar(0.0, values.type))  # -0.0 is 0.0
    encoded = values.dictionary_encode()
    ranks = np.empty(len(encoded.dictionary) + 1, np.int64)
    ranks[pc.sort_indices(encoded.dictionary).to_numpy()] = np.arange(len(encoded.dictionary))
    ranks[-1] = -1
    return ranks[pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)]


def _last_best_rows(lists: Array, keys: Array, *, largest: bool) -> Array:
    """The place, among the rows of all lists, of each list's last row with the best key; else NULL."""
    ranks = _ranks(keys)
    rows = np.flatnonzero(ranks >= 0)
    parents = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)[rows]
    order = np.lexsort((rows, ranks[rows] if largest else -ranks[rows], parents))
    best = np.full(len(lists), -1)
    best[parents[order]] = rows[order]  # the last one of each list stays
    return pa.array(best, mask=best < 0)


def _by(name: str, better: Callable[[Any, Any], bool], *, largest: bool) -> None:
    def by(_type: Any, lists: Array) -> Array:
        pairs = lists.flatten()
        keys = pairs.field(1)
        if pa.types.is_nested(keys.type):
            return pairs.field(0).take(_chosen_rows(lists, _sort_keys(keys), better))
        return pairs.field(0).take(_last_best_rows(lists, keys, largest=largest))

    by.__name__ = name
    kernel(by)


_by("max_by", operator.ge, largest=True)
_by("min_by", operator.le, largest=False)


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


_DIGITS_OF_DOUBLES = 15
_MORE_DIGITS = 4
"""Digits that an average of decimals has more than they have."""


@kernel
def decimal_average(type_: Any, total: Array, count: Array) -> Array:
    """Totals by counts. Spark computes those of few digits with doubles, and rounds what comes out."""
    counts = pc.if_else(pc.equal(count, 0), pa.scalar(None, count.type), count)
    if type_.precision <= _DIGITS_OF_DOUBLES:
        places = 10.0 ** (type_.scale - _MORE_DIGITS)
        whole = pa.decimal128(38, 0)
        digits = pa.Array.from_buffers(whole, len(total), total.buffers(), offset=total.offset)
        means = pc.divide(digits.cast(pa.float64()), counts.cast(pa.float64()))
        return to_decimal(type_, pc.divide(means, places))
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


@kernel
def first_ones(type_: Any, array: Array) -> Array:
    """Lists without what was there before."""
    values = array.flatten()
    lists = pc.list_parent_indices(array).to_numpy(zero_copy_only=False)
    codes = (
        values.dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
        if not pa.types.is_nested(values.type)
        else np.array(_places(map(repr, values.to_pylist())), np.int64)
    )
    _, first = np.unique(lists.astype(np.int64) << 32 | codes, return_index=True)
    kept = np.sort(first)
    sizes = (
        np.bincount(lists[kept], minlength=len(array)) if len(kept) else np.zeros(len(array), int)
    )
    offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]), pa.int32())
    found = pa.ListArray.from_arrays(offsets, values.take(pa.array(kept))).cast(type_)
    return pc.if_else(array.is_valid(), found, pa.scalar(None, type_))


def _places(keys: Iterable[str]) -> list[int]:
    """A number for each key, the same for the same."""
    known: dict[str, int] = {}
    return [known.setdefault(key, len(known)) for key in keys]


@kernel
def joined(type_: Any, array: Array, separator: Array) -> Array:
    """The texts of each list with a separator between them; NULL for a list of none."""
    found = pc.binary_join(array, separator)
    return pc.if_else(pc.equal(pc.list_value_length(array), 0), pa.scalar(None, type_), found)


@kernel
def in_hash_order(type_: Any, array: Array) -> Array:
    """The members of sets in the order in which Scala's mutable sets have them, as Spark collects them."""
    kind = type_.value_type
    values = array.flatten()
    if pa.types.is_decimal(kind):
        hashes = np.array([_decimal_hash(v) for v in values.to_pylist()], np.int64).astype(
            np.uint32
        )
    elif not pa.types.is_string(kind) and kind.bit_width == 64:
        plain = values if pa.types.is_floating(kind) else values.cast(pa.int64())
        words = np.asarray(plain.to_numpy(zero_copy_only=False)).view(np.uint64)
        hashes = (words ^ (words >> np.uint64(32))).astype(np.uint32)
    elif pa.types.is_string(kind):
        codes = values.dictionary_encode()
        known = np.array([_murmur(v.encode()) for v in codes.dictionary.to_pylist()], np.uint32)
        hashes = known[codes.indices.to_numpy(zero_copy_only=False)] if len(known) else known
    elif pa.types.is_boolean(kind):
        hashes = np.where(values.to_numpy(zero_copy_only=False), 1231, 1237).astype(np.uint32)
    elif pa.types.is_float32(kind):
        hashes = np.asarray(values.to_numpy(zero_copy_only=False)).view(np.uint32)
    else:
        whole = values.cast(pa.int32()).to_numpy(zero_copy_only=False)
        hashes = whole.view(np.uint32)
    spread = hashes ^ (hashes >> np.uint32(16))
    lists = pc.list_parent_indices(array).to_numpy(zero_copy_only=False)
    sizes = np.bincount(lists, minlength=len(array))
    tables = np.maximum(16, 2 ** np.ceil(np.log2((sizes + 1) / 0.75)).astype(np.int64))
    buckets = spread & (tables[lists] - 1) if len(lists) else spread
    ties = pc.rank(values, sort_keys="ascending").to_numpy()
    order = np.lexsort((ties, spread.view(np.int32), buckets, lists))
    offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]), pa.int32())
    sets = pa.ListArray.from_arrays(offsets, values.take(pa.array(order)), mask=None)
    return pc.if_else(array.is_valid(), sets.cast(type_), pa.scalar(None, type_))


def _long_hash(number: int) -> int:
    return number if -(1 << 31) <= number < 1 << 31 else (number ^ (number >> 32)) & 0xFFFFFFFF


def _decimal_hash(value: Decimal) -> int:
    """The hash of a decimal in Scala: that of the number, whatever type it has."""
    if value == value.to_integral_value():
        whole = int(value)
        if -(1 << 63) <= whole < 1 << 63:
            return _long_hash(whole)
        return _big_hash(whole)
    near = float(value)
    if Decimal(repr(near)) == value:
        single = struct.pack(">f", near)
        if struct.unpack(">f", single)[0] == near:
            return int.from_bytes(single, "big")
        bits = int.from_bytes(struct.pack(">d", near), "big")
        return (bits ^ bits >> 32) & 0xFFFFFFFF
    plain = value.normalize(_WIDE)
    scale = -int(plain.as_tuple().exponent)
    return _mixed_last(_big_hash(int(_WIDE.scaleb(plain, scale))), scale)


def _big_hash(number: int) -> int:
    """The hash of Java's BigInteger."""
    words = abs(number).to_bytes((number.bit_length() + 31) // 32 * 4, "big")
    found = 0
    for k in range(0, len(words), 4):
        found = (31 * found + int.from_bytes(words[k : k + 4], "big")) & 0xFFFFFFFF
    return found if number > 0 else -found & 0xFFFFFFFF


def _mixed_last(state: int, word: int) -> int:
    """One step of Murmur3."""
    mask = 0xFFFFFFFF
    word = (word & mask) * 0xCC9E2D51 & mask
    word = (word << 15 | word >> 17) & mask
    return (state & mask) ^ (word * 0x1B873593 & mask)


def _murmur(data: bytes) -> int:
    """The hash of a text in Spark: Murmur3 with the seed 42, the last bytes one by one."""
    mask, state = 0xFFFFFFFF, 42
    end = len(data) - len(data) % 4
    words = [int.from_bytes(data[k : k + 4], "little") for k in range(0, end, 4)]
    words += [(byte - 256 if byte > 127 else byte) & mask for byte in data[end:]]
    for word in words:
        state = _mixed_last(state, word)
        state = ((state << 13 | state >> 19) & mask) * 5 + 0xE6546B64 & mask
    state ^= len(data)
    state = (state ^ state >> 16) * 0x85EBCA6B & mask
    state = (state ^ state >> 13) * 0xC2B2AE35 & mask
    return state ^ state >> 16


def _half(array: Array, place: int) -> Array:
    """The low (0) or the high (1) 64 bits of decimals, as decimals."""
    words = np.frombuffer(array.buffers()[1], np.int64).reshape(-1, 2)
    words = words[array.offset : array.offset + len(array)]
    both = np.zeros((len(array), 2), np.int64)
    both[:, 0] = words[:, place]
    if place:
        both[:, 1] = both[:, 0] >> 63
    type_ = pa.decimal128(20, 0)
    whole = pa.Array.from_buffers(type_, len(array), [None, pa.py_buffer(both.tobytes())])
    return pc.if_else(array.is_valid(), whole, pa.scalar(None, type_))


@kernel
def high_half(type_: Any, array: Array) -> Array:
    return _half(array, 1)


@kernel
def low_half(type_: Any, array: Array) -> Array:
    return _half(array, 0)


@kernel
def sum_of_halves(type_: Any, high: Array, low: Array, tries: Array) -> Array:
    """The sum of decimals from those of their halves; NULL or an error for one that does not fit."""
    most = 10**type_.precision
    answers: list[Decimal | None] = []
    for a, b in zip(high.to_pylist(), low.to_pylist(), strict=True):
        total = None if a is None else (int(a) << 64) + int(b)
        if total is not None and abs(total) >= most:
            if not tries[0].as_py():
                raise SparkError(
                    "ARITHMETIC_OVERFLOW", f"a sum has more than {type_.precision} digits"
                )
            total = None
        answers.append(None if total is None else _WIDE.scaleb(Decimal(total), -type_.scale))
    return pa.array(answers, type_)


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
