"""Functions over arrays as Spark computes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from proa.engine.parity.kernels import Array, SparkError, kernel
from proa.lazy import compute as pc


def _hits(array: Array, item: Array) -> tuple[Any, Any, Any]:
    """(list of each member, whether it is the item, whether it is NULL); NULL items hit nothing."""
    parents = pc.list_parent_indices(array)
    members = array.flatten()
    wanted = item.take(parents)
    if pa.types.is_nested(members.type):
        both = zip(members.to_pylist(), wanted.to_pylist(), strict=True)
        equal = pa.array([a is not None and (a == b or repr(a) == repr(b)) for a, b in both])
    else:
        equal = pc.equal(members, wanted)
    if pa.types.is_floating(members.type):
        equal = pc.or_kleene(equal, pc.and_(pc.is_nan(members), pc.is_nan(wanted)))
    return (
        parents.to_numpy(zero_copy_only=False),
        pc.fill_null(equal, fill_value=False).to_numpy(zero_copy_only=False),
        members.is_null().to_numpy(zero_copy_only=False),
    )


@kernel
def array_contains(type_: Any, array: Array, item: Array) -> Array:
    parents, equal, nulls = _hits(array, item)
    some, unknown = np.zeros(len(array), bool), np.zeros(len(array), bool)
    np.logical_or.at(some, parents, equal)
    np.logical_or.at(unknown, parents, nulls)
    missing = ~(
        array.is_valid().to_numpy(zero_copy_only=False)
        & item.is_valid().to_numpy(zero_copy_only=False)
    )
    return pa.array(some, type_, mask=missing | (~some & unknown))


@kernel
def array_position(type_: Any, array: Array, item: Array) -> Array:
    parents, equal, _ = _hits(array, item)
    starts = np.searchsorted(parents, parents, side="left")
    places = np.arange(len(parents)) - starts + 1
    found = np.full(len(array), np.iinfo(np.int64).max)
    np.minimum.at(found, parents[equal], places[equal])
    missing = ~(
        array.is_valid().to_numpy(zero_copy_only=False)
        & item.is_valid().to_numpy(zero_copy_only=False)
    )
    return pa.array(np.where(found == np.iinfo(np.int64).max, 0, found), type_, mask=missing)


@kernel
def array_remove(type_: Any, array: Array, item: Array) -> Array:
    parents, equal, _ = _hits(array, item)
    counts = np.bincount(parents[~equal], minlength=len(array))
    valid = _valid(array) & _valid(item)
    kept = array.flatten().filter(pa.array(~equal & valid[parents]))
    return _lists(type_, np.where(valid, counts, 0), kept, ~valid)


def _lists(type_: Any, counts: Any, members: Array, missing: Any) -> Array:
    """Lists of so many members each, which stand one after another; NULL where one is missing."""
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))
    mask = pa.array(missing) if missing.any() else None
    return pa.ListArray.from_arrays(offsets, members, mask=mask).cast(type_)


@kernel
def array_compact(type_: Any, array: Array) -> Array:
    """The members that are not NULL. The engine's own looks at the wrong rows behind the first batch."""
    members = array.flatten()
    parents = pc.list_parent_indices(array).filter(members.is_valid())
    counts = np.bincount(parents.to_numpy(zero_copy_only=False), minlength=len(array))
    return _lists(type_, counts, members.drop_null(), ~_valid(array))


_MOST_MEMBERS = 1 << 27
"""Members that are made of one batch of rows at most: more would not fit in memory."""


@kernel
def array_repeat(type_: Any, item: Array, times: Array) -> Array:
    counts, valid = _numbers(times)
    counts = np.maximum(counts, 0)
    if counts.sum() > _MOST_MEMBERS:
        raise SparkError(
            "COLLECTION_SIZE_LIMIT_EXCEEDED",
            f"array_repeat() of {counts.max()} elements; {_MOST_MEMBERS} in a batch are the most",
        )
    members = item.take(pa.array(np.repeat(np.arange(len(item)), counts)))
    return _lists(type_, counts, members, ~valid)


@kernel
def pairs(type_: Any, left: Array, right: Array) -> Array:
    """The members of two arrays side by side; NULL where one is shorter."""
    answers: list[Any] = []
    for a, b in zip(left.to_pylist(), right.to_pylist(), strict=True):
        if a is None or b is None:
            answers.append(None)
            continue
        size = max(len(a), len(b))
        answers.append(
            [
                {"l": a[k] if k < len(a) else None, "r": b[k] if k < len(b) else None}
                for k in range(size)
            ]
        )
    return pa.array(answers, type_)


@kernel
def map_pairs(type_: Any, left: Array, right: Array) -> Array:
    """The values of two maps by key; NULL where a map lacks a key of the other."""
    answers: list[Any] = []
    for a, b in zip(left.to_pylist(), right.to_pylist(), strict=True):
        if a is None or b is None:
            answers.append(None)
            continue
        rows: list[dict[str, Any]] = [{"key": k, "l": v, "r": None} for k, v in a]
        places = {repr(row["key"]): row for row in rows}
        for k, v in b:
            row = places.get(repr(k))
            if row is None:
                rows.append({"key": k, "l": None, "r": v})
            else:
                row["r"] = v
        answers.append(rows)
    return pa.array(answers, type_)


@kernel
def map_of(type_: Any, array: Array) -> Array:
    """Maps of arrays of (key, value); an error for a key that is NULL or there twice."""
    answers: list[Any] = []
    for rows in array.to_pylist():
        if rows is None:
            answers.append(None)
            continue
        keys = [row["key"] for row in rows]
        if None in keys:
            raise SparkError("NULL_MAP_KEY", "a map has no NULL for a key")
        if len({repr(k) for k in keys}) < len(keys):
            raise SparkError("DUPLICATED_MAP_KEY", "a key is in a map twice")
        answers.append([(row["key"], row["value"]) for row in rows])
    return pa.array(answers, type_)


@kernel
def slice_of(type_: Any, array: Array, starts: Array, lengths: Array) -> Array:
    answers: list[Any] = []
    for values, start, length in zip(
        array.to_pylist(), starts.to_pylist(), lengths.to_pylist(), strict=True
    ):
        if values is None or start is None or length is None:
            answers.append(None)
            continue
        if start == 0:
            raise SparkError(
                "INVALID_PARAMETER_VALUE.START", "slice() begins at 1, or at -1 from the end"
            )
        if length < 0:
            raise SparkError("INVALID_PARAMETER_VALUE.LENGTH", "slice() takes no negative length")
        at = start - 1 if start > 0 else len(values) + start
        answers.append(values[at : at + length] if 0 <= at < len(values) else [])
    return pa.array(answers, type_)


@kernel
def arrays_overlap(type_: Any, left: Array, right: Array) -> Array:
    answers: list[Any] = []
    for a, b in zip(left.to_pylist(), right.to_pylist(), strict=True):
        if a is None or b is None:
            answers.append(None)
            continue
        common = {repr(v) for v in a if v is not None} & {repr(v) for v in b if v is not None}
        unknown = bool(a and b) and (None in a or None in b)
        answers.append(True if common else None if unknown else False)
    return pa.array(answers, type_)


def _members(array: Array, places: Any, known: Any) -> tuple[Array, Any]:
    """The members at places from 0, and the rows that have none there; `known` are rows to look at."""
    offsets = array.offsets.to_numpy()
    starts, sizes = offsets[:-1].astype(np.int64), np.diff(offsets)
    there = known & (places >= 0) & (places < sizes)
    at = pa.array(np.where(there, starts + places, 0), mask=~there)
    return array.values.take(at), known & ~there


def _numbers(array: Array) -> tuple[Any, Any]:
    """The integers, 0 for NULL, and the rows that have one."""
    valid = array.is_valid().to_numpy(zero_copy_only=False)
    return pc.fill_null(array.cast(pa.int64()), 0).to_numpy(zero_copy_only=False), valid


@kernel
def item_at(type_: Any, array: Array, index: Array) -> Array:
    """The member at an index from 0; an error where there is none."""
    places, valid = _numbers(index)
    found, lacking = _members(array, places, valid & _valid(array))
    if lacking.any():
        row = int(np.flatnonzero(lacking)[0])
        raise SparkError(
            "INVALID_ARRAY_INDEX",
            f"the index {places[row]} is out of bounds: the array has {len(array[row])} elements;"
            " use get()",
        )
    return found


@kernel
def get_item(type_: Any, array: Array, index: Array) -> Array:
    """The member at an index from 0; NULL where there is none."""
    places, valid = _numbers(index)
    return _members(array, places, valid & _valid(array))[0]


@kernel
def try_element(type_: Any, array: Array, index: Array) -> Array:
    """The member at an index from 1, or from -1 at the end; NULL where there is none."""
    places, valid = _numbers(index)
    known = valid & _valid(array)
    if (known & ((places == 0) | (places == -(1 << 31)))).any():
        raise SparkError(
            "INVALID_INDEX_OF_ZERO", "try_element_at() begins at 1, or at -1 from the end"
        )
    sizes = np.diff(array.offsets.to_numpy())
    return _members(array, np.where(places > 0, places - 1, sizes + places), known)[0]


def _valid(array: Array) -> Any:
    return array.is_valid().to_numpy(zero_copy_only=False)


@kernel
def value_at(type_: Any, array: Array, key: Array) -> Array:
    """The value of a key in a map; NULL where there is none."""
    answers: list[Any] = []
    for entries, wanted in zip(array.to_pylist(), key.to_pylist(), strict=True):
        answers.append(
            None if entries is None or wanted is None
            else next((v for k, v in entries if k == wanted), None)
        )  # fmt: skip
    return pa.array(answers, type_)


def _kernel_of_sets(name: str, chosen: Callable[[list[Any], list[Any]], list[Any]]) -> None:
    def function(type_: Any, left: Array, right: Array) -> Array:
        pairs = zip(left.to_pylist(), right.to_pylist(), strict=True)
        rows = (
            None if a is None or b is None else list(dict.fromkeys(chosen(a, b))) for a, b in pairs
        )
        return pa.array(rows, type_)

    function.__name__ = name
    kernel(function)


_kernel_of_sets("array_union", lambda a, b: a + b)
_kernel_of_sets("array_intersect", lambda a, b: [item for item in a if item in b])
_kernel_of_sets("array_except", lambda a, b: [item for item in a if item not in b])
