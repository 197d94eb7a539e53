"""Events as rows of the event log's table, and back."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import pyarrow as pa
import pyarrow.json as arrow_json
from pyspark.sql.types import StringType, StructField, StructType, TimestampType

from proa.lake import Table
from proa.lake.table_schema import to_arrow
from proa.lazy import compute as pc
from proa.runtime.event import Event, Origin, compact_json
from proa.times import utc_text

_TEXT = StringType()
SCHEMA = StructType(
    [
        StructField("id", _TEXT),
        StructField("sequence", _TEXT),
        StructField("origin", StructType([StructField(f.name, _TEXT) for f in fields(Origin)])),
        StructField("timestamp", TimestampType()),
        StructField("message", _TEXT),
        StructField("level", _TEXT),
        StructField("maturity_level", _TEXT),
        StructField("error", _TEXT),
        StructField("details", _TEXT),
        StructField("event_type", _TEXT),
    ]
)
"""`sequence`, `error` and `details` are JSON."""


def event_rows(events: Sequence[Event], instance: str) -> pa.Table:
    """One row per event. `instance` tells the runner, within which the sequence counts."""
    lines = [
        json.dumps(
            {
                "id": event.id,
                "sequence": compact_json(
                    {"data_plane_id": {"instance": instance, "seq_no": event.sequence}}
                ),
                "origin": asdict(event.origin),
                "timestamp": utc_text(event.timestamp, "microseconds"),
                "message": event.message,
                "level": event.level,
                "maturity_level": event.maturity_level,
                "error": None if event.error is None else compact_json(event.error),
                "details": compact_json(event.details),
                "event_type": event.event_type,
            },
            ensure_ascii=False,
        )
        for event in events
    ]
    # Arrow reads them: made of Python's values they would have it import pandas.
    data = "\n".join(lines).encode(errors="replace")
    return arrow_json.read_json(
        pa.BufferReader(data),
        arrow_json.ReadOptions(use_threads=False, block_size=len(data) + 1),
        arrow_json.ParseOptions(to_arrow(SCHEMA), unexpected_field_behavior="error"),
    )


@dataclass(frozen=True)
class EventFilter:
    """Which events of a log to read."""

    update: str = ""
    """What the ids of their updates begin with."""
    event_type: str | None = None
    levels: Collection[str] | None = None

    def apply(self, events: pa.Table) -> pa.Table:
        """Those of the rows of an event log that are meant."""
        if self.update:
            ids = pc.struct_field(events["origin"], "update_id")
            events = events.filter(pc.fill_null(pc.starts_with(ids, self.update), fill_value=False))
        if self.event_type is not None:
            events = events.filter(pc.equal(events["event_type"], self.event_type))
        if self.levels is not None:
            events = events.filter(pc.is_in(events["level"], pa.array(self.levels, pa.string())))
        return events


def read_events(
    url: str,
    options: Mapping[str, str],
    *,
    chosen: EventFilter | None = None,
    last: int | None = None,
) -> Iterator[dict[str, Any]]:
    """The events of the log at `url`, oldest first, in the shape of `event.as_json`.

    Only those that are chosen, and the `last` of them.
    """
    table = Table.at(url, options)
    if table.refresh() is None:
        return
    found = table.to_arrow()
    if chosen is not None:
        found = chosen.apply(found)
    if last is not None and found.num_rows > last:
        # All of the oldest moment that counts, because its events are in an order as well.
        newest = pc.sort_indices(found, sort_keys=[("timestamp", "descending")])
        since = found["timestamp"][newest[last - 1].as_py()]
        found = found.filter(pc.greater_equal(found["timestamp"], since))
    rows = sorted(found.to_pylist(), key=_order)
    for row in rows[-last:] if last is not None else rows:
        yield {
            **row,
            "sequence": json.loads(row["sequence"]),
            "origin": {k: v for k, v in row["origin"].items() if v is not None},
            "timestamp": utc_text(row["timestamp"], "milliseconds"),
            "error": json.loads(row["error"]) if row["error"] else None,
            "details": json.loads(row["details"]),
        }


def _order(row: Mapping[str, Any]) -> tuple[Any, int]:
    return row["timestamp"], json.loads(row["sequence"])["data_plane_id"]["seq_no"]
