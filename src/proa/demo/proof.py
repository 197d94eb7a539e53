"""What the demo has proven: nothing lost, nothing twice, and both regions the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from proa.recovery import Region, Verdict, rules_of, verify
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
    regions = [Region(name, region) for name, region in settings.regions.items()]
    reports = list(verify(*regions, lambda table: rules_of(settings.verify, table)))
    source = folder / "data" / "source" / "flights" / "*.json"
    lost = duplicated = rows = 0
    for region in regions:
        missing, extra, rows = _against_source(region, source)
        lost, duplicated = lost + missing, duplicated + extra
    return DemoReport(
        equal=bool(reports) and all(report.verdict is Verdict.EQUAL for report in reports),
        lost=lost,
        duplicated=duplicated,
        rows=rows,
        files=timeline.files,
        outage_to_caught_up_s=round(timeline.outage_to_caught_up, 3),
        killed_in_batch=timeline.killed_in_batch,
        tables={report.table: report.sentence for report in reports},
    )


def _against_source(region: Region, source: Path) -> tuple[int, int, int]:
    """How many source events the region lacks, how many it has too often, how many there are."""
    import duckdb

    bronze: Any = region.rows(BRONZE, region.lineage.version(BRONZE))
    with duckdb.connect() as connection:
        connection.register("landed", bronze)
        # Lines are read as text, so that nothing of the Auto Loader judges its own work.
        connection.execute(
            "CREATE TABLE published AS SELECT CASE WHEN json_valid(line)"
            " THEN line::JSON ->> 'event_id' END AS event_id"
            " FROM (SELECT unnest(string_split(trim(content, chr(10)), chr(10))) AS line"
            f" FROM read_text('{source}'))"
        )
        connection.execute("CREATE TABLE bronze AS SELECT event_id FROM landed")

        def number(query: str) -> int:
            row = connection.execute(query).fetchone()
            return int(row[0]) if row else 0

        return (
            number(_MISSING.format(left="published", right="bronze")),
            number(_MISSING.format(left="bronze", right="published")),
            number("SELECT count(*) FROM published"),
        )
