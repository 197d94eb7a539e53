"""AUTO CDC in plain Python, over all events at once: what any cutting of them must come to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    """One change row: `values` are the columns that are not the key."""

    key: int
    sequence: int
    values: tuple[Any, ...] = ()
    kind: str = "upsert"
    """upsert, delete or truncate."""
    update: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Rules:
    columns: tuple[str, ...] = ("a", "b")
    tracked: frozenset[str] | None = None
    null_keeps: frozenset[str] = field(default=frozenset())
    names_updates: bool = False

    def says(self, event: Event, column: str) -> bool:
        value = event.values[self.columns.index(column)]
        if column in self.null_keeps:
            return value is not None
        if self.names_updates and event.update is not None:
            return column in event.update
        return True


def rank(value: Any) -> tuple[Any, ...]:
    """NULL is the greatest of values whose order does not matter."""
    if isinstance(value, tuple):
        return (False, tuple(map(rank, value)))
    return (value is None, value if value is not None else 0)


def by_key(events: list[Event]) -> dict[int, list[Event]]:
    last = max((e.sequence for e in events if e.kind == "truncate"), default=None)
    keys: dict[int, list[Event]] = {}
    for event in events:
        if event.kind != "truncate" and (last is None or event.sequence >= last):
            keys.setdefault(event.key, []).append(event)
    return keys


def scd1(events: list[Event], rules: Rules = Rules()) -> list[tuple[Any, ...]]:
    rows = []
    for key, own in by_key(events).items():
        gone = max((e.sequence for e in own if e.kind == "delete"), default=None)
        living = [e for e in own if e.kind == "upsert" and (gone is None or e.sequence > gone)]
        if not living:
            continue
        if not rules.null_keeps and not rules.names_updates:
            newest = max(living, key=lambda e: (e.sequence, rank(e.values)))
            rows.append((key, *newest.values))
            continue
        row = []
        for index, column in enumerate(rules.columns):
            said = [
                (e.sequence, rank(e.values[index]), e.values[index])
                for e in living
                if rules.says(e, column)
            ]
            row.append(max(said)[2] if said else None)
        rows.append((key, *row))
    return sorted(rows, key=rank)


def scd2(events: list[Event], rules: Rules = Rules()) -> list[tuple[Any, ...]]:
    rows = []
    tracked = [
        i for i, c in enumerate(rules.columns) if rules.tracked is None or c in rules.tracked
    ]
    for key, own in by_key(events).items():
        moments: dict[int, Event] = {}
        for event in sorted(
            own, key=lambda e: (e.kind == "delete", rank(e.values), rank(e.update))
        ):
            moments[event.sequence] = event
        open_row: list[Any] | None = None
        for sequence, event in sorted(moments.items()):
            values = list(event.values)
            if event.kind == "upsert" and open_row is not None:
                before = open_row[1 : 1 + len(values)]
                values = [
                    value if rules.says(event, column) else old
                    for value, old, column in zip(values, before, rules.columns, strict=True)
                ]
                if all(values[i] == before[i] for i in tracked):
                    open_row[1 : 1 + len(values)] = values
                    continue
            if event.kind == "upsert" and open_row is None:
                values = [
                    v if rules.says(event, c) else None
                    for v, c in zip(values, rules.columns, strict=True)
                ]
            if open_row is not None:
                rows.append((*open_row, sequence))
            open_row = None if event.kind == "delete" else [key, *values, sequence]
        if open_row is not None:
            rows.append((*open_row, None))
    return sorted(rows, key=rank)
