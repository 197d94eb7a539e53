"""approx_count_distinct() by HyperLogLog++, as Apache Spark counts: the same error over the same values.

Heule, Nunkesser, Hall: HyperLogLog in Practice (2013). A value's hash names one of 2**precision
registers, which keeps the longest run of leading zeros of what is left of the hash. What a group has seen
is a set of small numbers, (register, run), however many rows it has. `hyperloglog.json` holds what was
measured for each precision from 4 to 18: by how much a raw estimate is too high, and up to which count the
empty registers tell more.
"""

from __future__ import annotations

import functools
import json
import math
from importlib import resources
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from proa.engine.parity.kernels import Array, kernel

_MOST_MEASURED = 18
_RUNS = 64
"""A run of leading zeros is shorter than this."""
_NEIGHBOURS = 6
"""Measured estimates whose errors are averaged."""


@kernel
def hyperloglog_register(type_: Any, hashes: Array, precision: Array) -> Array:
    """Register * 64 + run of zeros plus one, of each hash; NULL of NULL."""
    bits = precision[0].as_py()
    values = pc.fill_null(hashes, 0).to_numpy(zero_copy_only=False).astype(np.int64).view(np.uint64)
    registers = values >> np.uint64(64 - bits)
    rest = (values << np.uint64(bits)) | np.uint64(1 << (bits - 1))
    found = (registers * np.uint64(_RUNS)).astype(np.int64) + _leading_zeros(rest) + 1
    valid = hashes.is_valid().to_numpy(zero_copy_only=False)
    return pa.array(found, mask=~valid).cast(type_)


def _leading_zeros(values: Any) -> Any:
    zeros = np.zeros(len(values), np.int64)
    for width in (32, 16, 8, 4, 2, 1):
        empty = values < (np.uint64(1) << np.uint64(64 - width))
        zeros[empty] += width
        values = np.where(empty, values << np.uint64(width), values)
    return zeros


@kernel
def hyperloglog_count(type_: Any, lists: Array, precision: Array) -> Array:
    """How many distinct values each list of registers and runs stands for."""
    answers: list[int] = []
    for place, seen in enumerate(lists):
        bits = precision[place].as_py()
        registers = np.zeros(1 << bits, np.int64)
        if seen.is_valid:
            codes = seen.values.drop_null().to_numpy(zero_copy_only=False)
            np.maximum.at(registers, codes // _RUNS, codes % _RUNS)
        answers.append(math.floor(_estimate(registers, bits) + 0.5))
    return pa.array(answers, type_)


def _estimate(registers: Any, bits: int) -> float:
    size = len(registers)
    empty = int(np.count_nonzero(registers == 0))
    raw = _alpha(bits) * size * size / float(np.sum(np.ldexp(1.0, -registers)))
    measured = bits <= _MOST_MEASURED
    if empty:
        by_empty = size * math.log(size / empty)
        if raw <= 2.5 * size or (measured and by_empty <= _measurements()["thresholds"][bits - 4]):
            return by_empty
    return raw - _bias(raw, bits) if measured and raw < 5.0 * size else raw


def _alpha(bits: int) -> float:
    return {4: 0.673, 5: 0.697, 6: 0.709}.get(bits, 0.7213 / (1.0 + 1.079 / (1 << bits)))


def _bias(raw: float, bits: int) -> float:
    """The mean error of the measured estimates next to `raw`."""
    known = _measurements()["estimates"][bits - 4]
    nearest = int(np.searchsorted(known, raw))
    low = max(nearest - _NEIGHBOURS + 1, 0)
    high = min(low + _NEIGHBOURS, len(known))
    while high < len(known) and (raw - known[high]) ** 2 < (raw - known[low]) ** 2:
        low, high = low + 1, high + 1
    errors = _measurements()["biases"][bits - 4][low:high]
    return float(sum(errors) / len(errors))


@functools.cache
def _measurements() -> dict[str, list[Any]]:
    text = resources.files("proa.engine.parity").joinpath("hyperloglog.json").read_text()
    found: dict[str, list[Any]] = json.loads(text)
    return found
