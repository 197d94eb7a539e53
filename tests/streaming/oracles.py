"""What each operator with state lets through, defined over all rows in the order of shipments."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple


class Row(NamedTuple):
    """A row of the tests; times are in seconds."""

    key: int
    at: int | None
    value: int


Shipments = Sequence[Sequence[Row]]


def marked(shipments: Shipments, delay: int) -> Iterator[tuple[Row, float]]:
    """Each row with the watermark of its shipment."""
    mark = float("-inf")
    for rows in shipments:
        yield from ((row, mark) for row in rows)
        mark = max([mark, *(row.at - delay for row in rows if row.at is not None)])


def last_mark(shipments: Shipments, delay: int) -> float:
    """The watermark after all shipments."""
    times = [row.at for rows in shipments for row in rows if row.at is not None]
    return max(times) - delay if times else float("-inf")


def in_time(shipments: Shipments, delay: int) -> list[tuple[Row, float]]:
    """The rows that are not late."""
    return [(r, mark) for r, mark in marked(shipments, delay) if r.at is None or r.at > mark]


def first_rows(shipments: Shipments, delay: int) -> list[Row]:
    """dropDuplicates: the first row of each key."""
    first: dict[int, Row] = {}
    for row, _ in in_time(shipments, delay):
        first.setdefault(row.key, row)
    return list(first.values())


def first_rows_within(shipments: Shipments, delay: int) -> list[Row]:
    """dropDuplicatesWithinWatermark: a key is new again once the watermark has passed it."""
    until: dict[int, float] = {}
    found = []
    for row, mark in in_time(shipments, delay):
        if row.key not in until or mark >= until[row.key]:
            until[row.key] = float("inf") if row.at is None else row.at + delay
            found.append(row)
    return found


def windows(shipments: Shipments, delay: int, length: int, slide: int) -> list[tuple[Any, ...]]:
    """The rows of windows that are over, each with its window's start."""
    over = last_mark(shipments, delay)
    return [
        (start, *row)
        for row, mark in marked(shipments, delay)
        if row.at is not None
        for start in range(row.at - row.at % slide, row.at - length, -slide)
        if mark < start + length <= over
    ]


def sessions(shipments: Shipments, delay: int, gap: int) -> list[tuple[Any, ...]]:
    """The rows of sessions that are over, each with its session's start and end."""
    over, found = last_mark(shipments, delay), []
    rows = [row for row, _ in in_time(shipments, delay) if row.at is not None]
    for _, group in itertools.groupby(sorted(rows), key=lambda row: row.key):
        open_rows: list[Row] = []
        for row in [*group, None]:
            if open_rows and (row is None or row.at > open_rows[-1].at + gap):
                start, end = open_rows[0].at, open_rows[-1].at + gap
                found += [(start, end, *each) for each in open_rows if end <= over]
                open_rows = []
            open_rows.append(row)
    return found


def joined(
    left: Shipments, right: Shipments, delays: tuple[int, int], low: int, high: int
) -> list[tuple[Row | None, Row | None]]:
    """A full outer join by key, of rows whose right time minus left time is from `low` to `high`."""
    rows = [row for row, _ in in_time(left, delays[0])]
    others = [row for row, _ in in_time(right, delays[1])]
    over, other_over = last_mark(left, delays[0]), last_mark(right, delays[1])

    def match(one: Row, other: Row) -> bool:
        if one.key != other.key or one.at is None or other.at is None:
            return False
        return low <= other.at - one.at <= high

    found = [(one, other) for one in rows for other in others if match(one, other)]
    for one in rows:
        is_over = one.at is None or one.at + high <= other_over
        if is_over and not any(match(one, other) for other in others):
            found.append((one, None))
    for other in others:
        is_over = other.at is None or other.at - low <= over
        if is_over and not any(match(one, other) for one in rows):
            found.append((None, other))
    return found
