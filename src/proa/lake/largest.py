"""A column's largest value, from the few files that can hold it."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from proa.lake.table import Table
from proa.lazy import compute as pc
from proa.storage import Store, is_url


def largest_value(table: Table, column: str) -> Any:
    """The largest value of a top-level column in the version looked at last; None without any.

    Files are read in the order of their upper bounds, until no other can hold a larger value; files
    without statistics are all read.
    """
    store = Store.open(table.url, table.options)
    best = None
    for path, bound in sorted(table.upper_bounds(column), key=_unknown_first):
        if best is not None and bound is not None and not _above(bound, best):
            continue
        table.check([store.url_of(path)])
        value = _largest_in(store, path, column)
        if value is not None and (best is None or value > best):
            best = value
    return best


def _unknown_first(entry: tuple[str, Any]) -> tuple[bool, Any]:
    return entry[1] is not None, _Descending(entry[1])


class _Descending:
    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: _Descending) -> bool:
        return self.value is not None and other.value is not None and self.value > other.value


def _above(bound: Any, value: Any) -> bool:
    try:
        return bool(bound > value)
    except TypeError:
        # Statistics and data spell the type in two ways: then the file decides.
        return True


def _largest_in(store: Store, path: str, column: str) -> Any:
    # Not a file of Python's: Arrow's threads would ask for Python while the process ends.
    place = store.url_of(path)
    opened = pa.BufferReader(store.get(path)) if is_url(place) else pa.OSFile(place)
    with pq.ParquetFile(opened) as file:
        if column not in file.schema_arrow.names:
            return None
        values = file.read(columns=[column]).column(0)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    return pc.max(values).as_py()
