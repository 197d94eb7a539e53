"""What the demo has proven: nothing lost, nothing twice, and both regions the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from proa.demo.stage import compare_regions
from proa.recovery import StoredRegion
from proa.settings import ProjectSettings

BRONZE = "flights_bronze"

_MISSING = """
    SELECT coalesce(sum(a.n - least(a.n, coalesce(b.n, 0))), 0)::BIGINT
    FROM (SELECT event_id, count(*) AS n FROM {left} GROUP BY ALL) a
    LEFT JOIN (SELECT event_id, count(*) AS n FROM {right} GROUP BY ALL) b
      ON a.event_id IS NOT DISTINCT FROM b.event_id
"""
"""Rows of `left` that `right` lacks, duplicates counted. A damaged line has no event_id, so damaged
lines are one group."""


_PUBLISHED = """
    CREATE TABLE published AS
    SELECT CASE WHEN json_valid(line) THEN json_extract_string(line, '$.event_id') END AS event_id
    FROM read_csv(?, columns = {line: 'VARCHAR'}, delim = '\x01', quote = '', escape = '',
                  header = false, auto_detect = false)
"""


@dataclass
class Timeline:
    """What happened when, on a clock that only runs forwards."""

    outage: float = 0.0
    outage_at: datetime | None = None
    caught_up: float = 0.0
    killed_in_batch: bool = False
    """Whether the region died after planning a batch and before committing it."""
    files: int = 0
    """Files shipped in all."""

    @property
    def outage_to_caught_up(self) -> float:
        """Seconds."""
        return self.caught_up - self.outage


@dataclass(frozen=True)
class DemoReport:
    """The facts at the end of the demo."""

    equal: bool
    """Every table of one region has the rows of the other's."""
    lost: int
    """Source events that a region's bronze table lacks, over both regions."""
    duplicated: int
    """Rows of a region's bronze table that the source has less often, over both regions."""
    rows: int
    """Source events, damaged lines included."""
    files: int
    """Files shipped to each region."""
    outage_to_caught_up_s: float
    killed_in_batch: bool
    tables: dict[str, str] = field(default_factory=dict)
    """Each table's verdict, in words."""

    @property
    def proven(self) -> bool:
        return self.equal and not self.lost and not self.duplicated and self.killed_in_batch


def prove(settings: ProjectSettings, folder: Path, timeline: Timeline) -> DemoReport:
    """Look at both regions' tables and at the source, and compare."""
    equal, tables = compare_regions(settings)
    with duckdb.connect() as connection:
        rows = _publish(connection, folder / "data" / "source" / "flights")
        found = [
            _against_source(connection, StoredRegion(name, region))
            for name, region in settings.regions.items()
        ]
    return DemoReport(
        equal=equal,
        lost=sum(lost for lost, _ in found),
        duplicated=sum(extra for _, extra in found),
        rows=rows,
        files=timeline.files,
        outage_to_caught_up_s=round(timeline.outage_to_caught_up, 3),
        killed_in_batch=timeline.killed_in_batch,
        tables=tables,
    )


def _publish(connection: Any, source: Path) -> int:
    """Make the table of what the source has published; returns its number of events.

    Lines are read as text, so that nothing of the Auto Loader judges its own work.
    """
    connection.execute(_PUBLISHED, [f"{source}/*.json"])
    return _number(connection, "SELECT count(*) FROM published")


def _against_source(connection: Any, region: StoredRegion) -> tuple[int, int]:
    """How many source events the region lacks, and how many rows it has too often."""
    connection.register("landed", region.rows(BRONZE, region.lineage.version(BRONZE)))
    connection.execute("CREATE OR REPLACE TABLE bronze AS SELECT event_id FROM landed")
    return (
        _number(connection, _MISSING.format(left="published", right="bronze")),
        _number(connection, _MISSING.format(left="bronze", right="published")),
    )


def _number(connection: Any, query: str) -> int:
    (number,) = connection.execute(query).fetchone()
    return int(number)
