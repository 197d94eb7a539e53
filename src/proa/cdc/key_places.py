"""Keys that are found in columns of any rows, by hashing and without SQL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from proa.lazy import compute as pc

_COMPARED = (
    pa.types.is_integer,
    pa.types.is_boolean,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_date32,
    pa.types.is_timestamp,
    pa.types.is_decimal,
)

_WIDEST = 16 << 20
"""Between the least and the greatest of whole numbers that are looked up in a table."""


def is_plain(kind: pa.DataType) -> bool:
    """Whether values of a type are equal exactly where their bytes are, and have one order."""
    return any(check(kind) for check in _COMPARED)


class KeyPlaces:
    """Distinct keys of one or more columns without NULL, each known by its row."""

    def __init__(self, columns: Sequence[Any]) -> None:
        """`columns` are arrays of plain types; together their rows differ."""
        self._rows = len(columns[0])
        self._values: list[_Places] = []
        """For each column the values that occur in it."""
        self._pairs: list[_Places] = []
        """For each column but the first the codes of what the columns up to it hold."""
        if len(columns) == 1:
            self._values.append(_Places(columns[0]))
            return
        codes = np.zeros(0)
        for number, column in enumerate(columns):
            values = _Places(pc.unique(column))
            self._values.append(values)
            own = values.find(column)
            if number:
                pairs = _pairs(codes, own, len(values))
                last = number == len(columns) - 1
                self._pairs.append(_Places(pairs if last else pc.unique(pairs)))
                codes = self._pairs[-1].find(pairs)
            else:
                codes = own

    def __len__(self) -> int:
        return self._rows

    def find(self, columns: Sequence[Any]) -> np.ndarray:
        """For each row of `columns` the number of the key that it has; -1 for none of these keys."""
        codes = self._values[0].find(columns[0])
        for column, values, pairs in zip(columns[1:], self._values[1:], self._pairs, strict=True):
            codes = pairs.find(_pairs(codes, values.find(column), len(values)))
        return codes


class _Places:
    """Distinct values and where each stands."""

    def __init__(self, values: Any) -> None:
        self._values = values
        self._least = 0
        self._table: np.ndarray | None = None
        """For whole numbers that lie near each other: the place of each from `_least` on."""
        if len(values) and pa.types.is_integer(values.type):
            bounds = pc.min_max(values).as_py()
            least, most = bounds["min"], bounds["max"]
            if most - least <= _WIDEST and most < 1 << 63:
                self._least = least
                self._table = np.full(most - least + 2, -1, dtype=np.int32)
                self._table[_numbers(values) - least] = np.arange(len(values), dtype=np.int32)

    def __len__(self) -> int:
        return len(self._values)

    def find(self, column: Any) -> np.ndarray:
        """For each row the place of its value, or -1."""
        if self._table is None or column.null_count or column.type != self._values.type:
            found = pc.fill_null(pc.index_in(column, value_set=self._values), -1)
            return np.asarray(found)
        numbers = _numbers(column)
        # One entry more than there are numbers stands for all that lie outside.
        outside = (numbers < self._least) | (numbers > self._least + len(self._table) - 2)
        return self._table[np.where(outside, len(self._table) - 1, numbers - self._least)]


def _pairs(left: np.ndarray, right: np.ndarray, count: int) -> Any:
    """One number for each two, of which the second is less than `count`; -1 where one of them is."""
    return pa.array(np.where((left >= 0) & (right >= 0), left.astype(np.int64) * count + right, -1))


def _numbers(column: Any) -> np.ndarray:
    return np.asarray(column.cast(pa.int64()))
