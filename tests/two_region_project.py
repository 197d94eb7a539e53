"""Two regions whose tables are written as the runtime writes them, without an engine."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from deltalake import CommitProperties, Transaction, write_deltalake

from proa.autoloader.file_ref import FileRef
from proa.landing import Shipper, ShipReport, open_source, open_zones
from proa.layout import Layout, app_id
from proa.recovery import StoredRegion
from proa.runtime.checkpoint import Checkpoint, FilesInput, Plan, TableInput
from proa.settings import (
    EventTimeSettings,
    ProjectSettings,
    RegionSettings,
    SourceSettings,
)
from proa.storage import Store
from proa.testing import FakeClock

PROJECT_SETTINGS = """\
regions:
  east: {landing_zone: east/landing, storage: east/storage}
  west: {landing_zone: west/landing, storage: west/storage}
sources:
  orders: {path: source}
"""
"""What the `proa.yml` of a project with these regions begins with."""

SCHEMA = pa.schema([("id", pa.string()), ("at", pa.timestamp("us", "UTC"))])


def event(number: int) -> datetime:
    """When the event in file `number` happened."""
    return datetime(2023, 2, 28, 12, tzinfo=UTC) + timedelta(minutes=number)


@dataclass
class Project:
    """Source 'orders', regions 'east' and 'west', tables bronze -> gold."""

    base: str
    options: dict[str, str]
    clock: FakeClock
    settings: ProjectSettings
    batches: dict[tuple[str, str], int] = field(default_factory=dict)

    def region(self, name: str) -> StoredRegion:
        """A fresh look at a region."""
        return StoredRegion(name, self.settings.region(name))

    def arrive(self, *numbers: int) -> None:
        source = Store.open(self.settings.sources["orders"].path, self.options)
        for number in numbers:
            source.put(f"{number}.json", f"{number}".encode())

    def ship(self) -> ShipReport:
        source = open_source("orders", self.settings.sources["orders"])
        shipper = Shipper(source, open_zones(self.settings), self.clock)
        try:
            return shipper.ship()
        finally:
            shipper.close()

    def process(self, region: str, *numbers: int, changed: dict[int, str] | None = None) -> None:
        """One bronze batch of these files, then gold over everything."""
        zone = self.settings.region(region).landing_zone
        files = tuple(FileRef(f"{zone}/orders/{n}.json", len(str(n)), 0) for n in numbers)
        rows = pa.Table.from_pylist(
            [{"id": (changed or {}).get(n, str(n)), "at": event(n)} for n in numbers], SCHEMA
        )
        self.commit(region, "bronze", {"files:0": FilesInput(files)}, rows)
        bronze = self.region(region).rows("bronze", self.batches[region, "bronze"] - 1).to_table()
        inputs = {"table:0": TableInput("bronze", self.batches[region, "bronze"] - 1, 0)}
        self.commit(region, "gold", inputs, bronze.sort_by("id"), replaces=True)

    def commit(
        self,
        region: str,
        table: str,
        inputs,
        rows: pa.Table,
        *,
        replaces: bool = False,
        flow: str | None = None,
    ):
        layout, flow = Layout(self.settings.region(region).storage), flow or table
        batch = self.batches.get((region, flow), 0)
        self.batches[region, flow] = batch + 1
        checkpoint = Checkpoint(Store.open(layout.checkpoint(table, flow, 0), self.options))
        checkpoint.put(Plan(batch, inputs, "d", replaces))
        write_deltalake(
            layout.table(table),
            rows,
            mode="overwrite" if replaces else "append",
            storage_options=self.options,
            commit_properties=CommitProperties(
                app_transactions=[Transaction(app_id(flow, 0), batch)]
            ),
        )


def new_project(base: str, options: dict[str, str], clock: FakeClock) -> Project:
    regions = {
        name: RegionSettings(
            landing_zone=f"{base}/{name}/landing", storage=f"{base}/{name}/storage", options=options
        )
        for name in ("east", "west")
    }
    settings = ProjectSettings(
        regions=regions,
        sources={"orders": SourceSettings(path=f"{base}/source", options=options)},
        event_time=EventTimeSettings(table="gold", column="at"),
    )
    return Project(base, options, clock, settings)
