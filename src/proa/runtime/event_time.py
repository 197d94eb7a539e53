"""When events happened: a column's values as moments, and the span that a batch covers.

Apart because it alone reads statistics for times.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime

from proa.lake import DataFile
from proa.times import as_moment

Span = tuple[datetime, datetime]
"""The earliest and the latest event."""


def span(files: Iterable[DataFile], column: str | None) -> Span | None:
    """The event times of a batch, to the millisecond, from the statistics of its files.

    None when no file says anything about the column, or what it says is not a time.
    """
    if column is None:
        return None
    try:
        bounds = [moment for file in files for moment in _bounds(file, column.lower())]
    except (ValueError, OverflowError, OSError):
        return None
    return (min(bounds), max(bounds)) if bounds else None


def join_spans(one: Span | None, other: Span | None) -> Span | None:
    """The span over both."""
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), max(one[1], other[1])


def _bounds(file: DataFile, column: str) -> Iterable[datetime]:
    stats = json.loads(file.stats)
    for values in (stats["minValues"], stats["maxValues"], file.partition):
        for name, value in values.items():
            moment = as_moment(value) if name.lower() == column else None
            if moment is not None:
                yield moment
