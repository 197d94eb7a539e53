"""Regions without server, threads or time of their own, and where regions of tests keep things."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from proa.clock import RandomIds
from proa.region.region import RegionServices
from proa.region.state import Database
from proa.region.workers.fake_workers import FakeWorkers
from proa.settings import RegionSettings, ServerSettings
from proa.testing import FakeClock


def region_settings(folder: Path, **server: object) -> RegionSettings:
    return RegionSettings(
        landing_zone=str(folder / "zone"),
        storage=str(folder / "storage"),
        server=ServerSettings(**server),
    )


def state_url(folder: Path) -> str:
    """The state of the region in `folder`: the same for every server that starts there.

    A SQLite file, or a new database of the PostgreSQL server that PROA_TEST_POSTGRESQL names.
    """
    server = os.environ.get("PROA_TEST_POSTGRESQL")
    if server is None:
        return f"sqlite:///{folder / 'state.db'}"
    kept = folder / "state.url"
    if not kept.exists():
        import psycopg

        name = f"proa_{RandomIds().new().replace('-', '')}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"create database {name}")
        kept.write_text(f"{server.rsplit('/', 1)[0]}/{name}")
    return kept.read_text()


class SteadyIds(RandomIds):
    """New ids for ever, across restarts, and pauses that do not vary."""

    def jitter(self) -> float:
        return 0.5


@dataclass
class Still:
    """A region without server, threads or time of its own: the test gives the turns."""

    region: RegionServices
    workers: FakeWorkers
    clock: FakeClock
    folder: Path
    regions: list[RegionServices]
    """All that were opened, this one the last."""

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.region.control.turn()

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.turn(2)

    def restarted(self) -> Still:
        """The next server on the same state, after this one was killed."""
        return still_region(self.folder, self.clock, self.regions)

    def close(self) -> None:
        for region in self.regions:
            region.database.close()


def still_region(
    folder: Path,
    clock: FakeClock,
    regions: list[RegionServices] | None = None,
    *,
    url: str | None = None,
) -> Still:
    workers = FakeWorkers()
    region = RegionServices.open(
        "us-east",
        region_settings(folder),
        Database.open(url or state_url(folder)),
        workers,
        clock,
        SteadyIds(),
        aside=lambda work: work(),
    )
    region.recover()
    opened = [] if regions is None else regions
    opened.append(region)
    return Still(region, workers, clock, folder, opened)
