"""Statistics of a data file as Delta readers expect them: bounds and counts per column.

Every bound is a true bound: a reader that skips a file because of it loses no row. Where a bound
cannot be said exactly (a long string, a NaN, a time beyond the calendar) it is widened or left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from proa.lazy import compute as pc

INDEXED_COLUMNS = 32
"""Leaf columns that get statistics, counted from the first: Delta's own default."""
STRING_PREFIX = 32
"""Characters of a string that a bound keeps."""

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - for times without a zone, too
_MILLISECOND = timedelta(milliseconds=1)
_LAST = "\U0010ffff"


def of_file(footer: Any, schema: pa.Schema, floats: FloatBounds, skip: Iterable[str]) -> str:
    """The `stats` of an add action, as JSON.

    `footer` is the Parquet file's metadata. `floats` has seen all of the file's rows, `skip` are
    the columns that need no statistics (partition columns).
    """
    left_out = set(skip)
    low: dict[str, Any] = {}
    high: dict[str, Any] = {}
    nulls: dict[str, Any] = {}
    leaves = [path for path, _ in _leaf_types(schema) if path[0] not in left_out][:INDEXED_COLUMNS]
    where = {footer.schema.column(index).path: index for index in range(footer.num_columns)}
    for path in leaves:
        index = where.get(".".join(path))
        if index is None:
            continue
        bounds = floats.columns.get(path)
        if bounds is None:
            bounds = _Bounds()
            for group in range(footer.num_row_groups):
                bounds.add(footer.row_group(group).column(index))
        if bounds.nulls is not None:
            _put(nulls, path, bounds.nulls)
        _put(low, path, _lower(bounds.low))
        _put(high, path, _upper(bounds.high))
    return _dump(
        {"numRecords": footer.num_rows, "minValues": low, "maxValues": high, "nullCount": nulls}
    )


def of_action(rows: int | None, low: Any, high: Any, nulls: Any) -> str | None:
    """The `stats` of an add action as JSON again, from bounds and counts as delta-rs reads them.

    Returns None when not even the number of rows is known.
    """
    if rows is None:
        return None
    return _dump(
        {
            "numRecords": rows,
            "minValues": _again(low, _lower),
            "maxValues": _again(high, _upper),
            "nullCount": _again(nulls, _plain),
        }
    )


def _again(values: Any, bound: Callable[[Any], Any]) -> dict[str, Any]:
    """Bounds that were bounds before: texts are as long as they may be."""
    tree: dict[str, Any] = {}
    for name, value in (values or {}).items():
        if isinstance(value, dict):
            _put(tree, (name,), _again(value, bound) or None)
        else:
            _put(tree, (name,), value if isinstance(value, str) else bound(value))
    return tree


class _Bounds:
    """The bounds of one column over all row groups; None where they are not known."""

    def __init__(self) -> None:
        self.low: Any = None
        self.high: Any = None
        self.nulls: int | None = 0
        self._known = True

    def add(self, chunk: Any) -> None:
        stats = chunk.statistics
        if stats is None or not stats.has_null_count:
            self.nulls = None
        elif self.nulls is not None:
            self.nulls += stats.null_count
        if stats is not None and stats.has_null_count and stats.null_count == chunk.num_values:
            return
        try:
            low, high = _ends(stats) if stats and stats.has_min_max else (None, None)
        except (OverflowError, ValueError):
            low = high = None
        if low is None or high is None or not self._known:
            self._known, self.low, self.high = False, None, None
            return
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)

    def add_values(self, values: pa.ChunkedArray) -> None:
        """Take in floats; a NaN leaves them without bounds."""
        assert self.nulls is not None
        self.nulls += values.null_count
        if pc.any(pc.is_nan(values)).as_py():
            self._known, self.low, self.high = False, None, None
        ends = pc.min_max(values)
        low, high = ends["min"].as_py(), ends["max"].as_py()
        if low is None or not self._known:
            return
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)


def _ends(stats: Any) -> tuple[Any, Any]:
    """A chunk's lowest and highest value; OverflowError for moments that Python has not.

    Moments are not asked of Arrow, which imports pandas to make them.
    """
    kind = json.loads(stats.logical_type.to_json())
    if kind["Type"] != "Timestamp" or kind["timeUnit"] != "microseconds":
        return stats.min, stats.max
    epoch = _EPOCH.replace(tzinfo=UTC) if kind["isAdjustedToUTC"] else _EPOCH
    low, high = timedelta(microseconds=stats.min_raw), timedelta(microseconds=stats.max_raw)
    return epoch + low, epoch + high


class FloatBounds:
    """The bounds of a file's columns of floats, which its footer does not have.

    A footer's bounds leave NaN out, and readers that trust them lose such rows. So a file has none
    for floats, as Spark's have none where there is a NaN.
    """

    def __init__(self, schema: pa.Schema) -> None:
        floats = [path for path, type_ in _leaf_types(schema) if pa.types.is_floating(type_)]
        self.columns = {path: _Bounds() for path in floats}

    def add(self, table: pa.Table) -> None:
        """Take in some rows of the file."""
        for path, bounds in self.columns.items():
            column = table.column(path[0])
            for name in path[1:]:
                column = pc.struct_field(column, name)
            bounds.add_values(column)


def ordered_leaves(schema: pa.Schema) -> list[str]:
    """The leaves, as Parquet names them, whose bounds tell of every value: all but floats."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, store_schema=False) as writer:
        pass
    columns = writer.writer.metadata.schema
    leaves = [columns.column(i) for i in range(len(columns))]
    return [leaf.path for leaf in leaves if leaf.physical_type not in {"FLOAT", "DOUBLE"}]


def _leaf_types(
    schema: Any, prefix: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], pa.DataType]]:
    """Paths and types of all columns that are not lists, maps or structs, in order."""
    for field in schema:
        if pa.types.is_struct(field.type):
            yield from _leaf_types(field.type, (*prefix, field.name))
        elif not pa.types.is_nested(field.type):
            yield (*prefix, field.name), field.type


def _lower(value: Any) -> Any:
    if isinstance(value, datetime):
        return _instant(value)
    if isinstance(value, str):
        return value[:STRING_PREFIX]
    return _plain(value)


def _upper(value: Any) -> Any:
    if isinstance(value, datetime):
        try:
            whole = value.microsecond % 1000 == 0
            return _instant(value if whole else value + _MILLISECOND)
        except OverflowError:
            return None
    if isinstance(value, str) and len(value) > STRING_PREFIX:
        return None if value[STRING_PREFIX] == _LAST else value[:STRING_PREFIX] + _LAST
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (bool, bytes)):
        return None
    if isinstance(value, (int, float, str, Decimal)):
        return value
    return value.isoformat() if isinstance(value, date) else None


def _instant(value: datetime) -> str:
    """To the millisecond below, with a Z when it has a time zone."""
    zoned = value.tzinfo is not None
    plain = value.astimezone(UTC).replace(tzinfo=None) if zoned else value
    return plain.isoformat(timespec="milliseconds") + ("Z" if zoned else "")


def _put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    if value is None:
        return
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value


def _dump(value: Any) -> str:
    """JSON in which decimals keep all their digits."""
    if isinstance(value, dict):
        return (
            "{"
            + ",".join(f"{json.dumps(k, ensure_ascii=False)}:{_dump(v)}" for k, v in value.items())
            + "}"
        )
    if isinstance(value, Decimal):
        return format(value, "f")
    return json.dumps(value, ensure_ascii=False)
