"""The story that `proa demo` tells: a year of flights, two regions, one of them lost in mid-batch.

Nothing here is staged but the order of events: files are shipped by the shipper, tables are updated
by the runtime, the active region is a process of its own and dies by SIGKILL, its landing zone is
taken away and given back.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from proa.clock import Clock
from proa.demo import flights
from proa.demo.proof import DemoReport, Timeline, prove
from proa.demo.stage import ACTIVE, STANDBY, Stage, Tell
from proa.errors import UnavailableError
from proa.landing import ShipReport
from proa.recovery import read_caught_up

BRONZE = "flights_bronze"
_WAVES = (90, 181, 273, 365)
"""Days whose files have arrived by the end of each chapter."""


class Demo(Stage):
    """One telling of the story of the flights."""

    def __init__(self, folder: Path, clock: Clock, tell: Tell) -> None:
        super().__init__(folder, clock, tell)
        self._timeline = Timeline()

    def run(self) -> DemoReport:
        """Tell the whole story. Raises UnavailableError when a chapter does not come to its end."""
        self._prepare()
        files = flights.flight_files()
        self._first_quarter(files[: _WAVES[0]])
        self._outage(files[_WAVES[0] : _WAVES[1]])
        self._fail_over(files[_WAVES[1] : _WAVES[2]])
        self._return()
        self._last_quarter(files[_WAVES[2] :])
        self.tell("Proof", "every table of both regions is compared, and bronze with the source")
        return prove(self.settings, self.folder, self._timeline)

    # -- the chapters -------------------------------------------------------------------------------

    def _prepare(self) -> None:
        self.open_project("flights")
        self._source = self.folder / "data" / "source"
        flights.publish(self._source, flights.dimension_files())
        (self._source / "flights").mkdir(parents=True)
        self._shippers = self.open_shippers()

    def _first_quarter(self, files: Sequence[flights.FlightFile]) -> None:
        self._arrive("January to March", files)
        self.start_region(ACTIVE)
        self.tell("Normal days", f"{ACTIVE} follows its landing zone, all the time")
        self.wait(lambda: self._is_caught_up(ACTIVE), f"{ACTIVE} to read the first quarter")
        self.run_region(STANDBY, "is triggered, as its schedule does, and catches up")

    def _outage(self, files: Sequence[flights.FlightFile]) -> None:
        batch = self.next_batch(BRONZE)
        self._arrive("April to June", files)
        self._timeline.killed_in_batch = self.kill_in_batch(BRONZE, batch)
        self._timeline.outage = self._clock.monotonic()
        self._timeline.outage_at = self._clock.now()
        self.lose_zone()
        self.tell(
            "The outage",
            f"{ACTIVE} is killed (SIGKILL) in the middle of batch {batch}: planned, half computed,"
            " not committed; its landing zone is gone too",
        )

    def _fail_over(self, files: Sequence[flights.FlightFile]) -> None:
        told = self.change("failover", "--to", STANDBY, "--reason", f"{ACTIVE} is lost")
        if not self._is_caught_up(STANDBY):
            raise UnavailableError(f"{STANDBY} has not caught up; look at `proa status`")
        self._timeline.caught_up = self._clock.monotonic()
        self.tell(
            "Failover",
            f"`proa failover --to {STANDBY}`: {told}. It has every event from before the outage,"
            f" {self._timeline.outage_to_caught_up:.1f} s after it; consumers can be sent there",
        )
        self._arrive("July to September", files, "with a new field, `diverted`, from July on")
        self.run_region(STANDBY, "carries on alone")

    def _return(self) -> None:
        self.return_zone()
        reports = [shipper.ship() for shipper in self._shippers]
        missed = sum(zone.files for report in reports for zone in report.zones)
        self.tell("The return", f"{ACTIVE} is back; {missed} files that it missed are delivered")
        told = self.change("failback", "--reason", f"{ACTIVE} is back")
        self.tell(
            "Failback",
            f"`proa failback`: {ACTIVE} finishes the batch that it died in, catches up, is proven equal"
            f" to {STANDBY}; {told}",
        )

    def _last_quarter(self, files: Sequence[flights.FlightFile]) -> None:
        self._arrive("October to December", files)
        for region in (ACTIVE, STANDBY):
            self.run_region(region, "reads the rest of the year")
        self._timeline.files = sum(shipper.ship().head for shipper in self._shippers)

    # -- what the chapters are made of --------------------------------------------------------------

    def _arrive(self, when: str, files: Sequence[flights.FlightFile], remark: str = "") -> None:
        flights.publish(self._source, files)
        reports = [shipper.ship() for shipper in self._shippers]
        reached = sorted({z.zone for r in reports for z in r.zones if z.error is None})
        self.tell(
            "Files arrive",
            f"{when}: {_files(reports)} files to {' and '.join(reached)}"
            + (f", {remark}" if remark else ""),
        )

    def _is_caught_up(self, region: str) -> bool:
        return read_caught_up(
            self.settings, region, self._timeline.outage_at or self._clock.now(), self._clock
        ).caught_up


def _files(reports: Sequence[ShipReport]) -> int:
    return sum(report.files for report in reports)
