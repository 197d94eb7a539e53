"""The story that `proa demo` tells: a year of flights, two regions, one of them lost in mid-batch.

Nothing here is staged but the order of events: files are shipped by the shipper, tables are updated
by the runtime, the active region is a process of its own and dies by SIGKILL, its landing zone is
taken away and given back.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from proa.clock import Clock
from proa.demo import flights
from proa.demo.proof import DemoReport, Timeline, prove
from proa.errors import UnavailableError
from proa.lake import Table
from proa.landing import Shipper, ShipReport, open_source, open_zones
from proa.layout import Layout, app_id
from proa.recovery import read_caught_up
from proa.runtime import Runner, UpdateState
from proa.runtime.checkpoint import Checkpoint
from proa.settings import FILE_NAME, ProjectSettings, load
from proa.storage import Store

ACTIVE, STANDBY = "us-east", "us-west"
BRONZE = "flights_bronze"
_WAVES = (90, 181, 273, 365)
"""Days whose files have arrived by the end of each chapter."""
_PATIENCE = 90.0

Tell = Callable[[str, str], None]
"""Told a chapter's title and a sentence about it."""


class Demo:
    """One telling of the story, in a folder of its own. Close it when done."""

    def __init__(self, folder: Path, clock: Clock, tell: Tell) -> None:
        self.folder = folder
        self._clock = clock
        self._tell = tell
        self._stack = ExitStack()
        self._active: subprocess.Popen[bytes] | None = None
        self._timeline = Timeline()
        self._runners: dict[str, Runner] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()
        self._stack.close()

    def run(self) -> DemoReport:
        """Tell the whole story. Raises UnavailableError when a chapter does not come to its end."""
        self._prepare()
        files = flights.flight_files()
        self._first_quarter(files[: _WAVES[0]])
        self._outage(files[_WAVES[0] : _WAVES[1]])
        self._fail_over(files[_WAVES[1] : _WAVES[2]])
        self._return()
        self._last_quarter(files[_WAVES[2] :])
        self._tell("Proof", "every table of both regions is compared, and bronze with the source")
        return prove(self._settings, self.folder, self._timeline)

    # -- the chapters -------------------------------------------------------------------------------

    def _prepare(self) -> None:
        shutil.copytree(project(), self.folder, dirs_exist_ok=True)
        self._source = self.folder / "data" / "source"
        flights.publish(self._source, flights.dimension_files())
        (self._source / "flights").mkdir(parents=True)
        self._settings: ProjectSettings = load(self.folder / FILE_NAME)
        self._shippers = [
            Shipper(open_source(name, source), open_zones(self._settings), self._clock)
            for name, source in self._settings.sources.items()
        ]
        for shipper in self._shippers:
            self._stack.callback(shipper.close)

    def _first_quarter(self, files: Sequence[flights.FlightFile]) -> None:
        self._arrive("January to March", files)
        self._start_active()
        self._tell("Normal days", f"{ACTIVE} follows its landing zone, all the time")
        self._wait(lambda: self._is_caught_up(ACTIVE), f"{ACTIVE} to read the first quarter")
        self._run(STANDBY, "is triggered, as its schedule does, and catches up")

    def _outage(self, files: Sequence[flights.FlightFile]) -> None:
        batch = self._next_batch()
        self._arrive("April to June", files)
        place = Layout(self._settings.region(ACTIVE).storage).checkpoint(BRONZE, BRONZE, 0)
        checkpoint = Checkpoint(Store.open(place))
        self._wait(lambda: checkpoint.read(batch) is not None, f"{ACTIVE} to begin batch {batch}")
        self._kill()
        self._timeline.outage = self._clock.monotonic()
        self._timeline.outage_at = self._clock.now()
        self._timeline.killed_in_batch = self._next_batch() == batch
        zone = Path(self._settings.region(ACTIVE).landing_zone)
        zone.rename(zone.with_name("landing.lost"))
        zone.write_bytes(b"")
        self._tell(
            "The outage",
            f"{ACTIVE} is killed (SIGKILL) in the middle of batch {batch}: planned, half computed,"
            " not committed; its landing zone is gone too",
        )

    def _fail_over(self, files: Sequence[flights.FlightFile]) -> None:
        told = self._change("failover", "--to", STANDBY, "--reason", f"{ACTIVE} is lost")
        if not self._is_caught_up(STANDBY):
            raise UnavailableError(f"{STANDBY} has not caught up; look at `proa status`")
        self._timeline.caught_up = self._clock.monotonic()
        self._tell(
            "Failover",
            f"`proa failover --to {STANDBY}`: {told}. It has every event from before the outage,"
            f" {self._timeline.outage_to_caught_up:.1f} s after it; consumers can be sent there",
        )
        self._arrive("July to September", files, "with a new field, `diverted`, from July on")
        self._run(STANDBY, "carries on alone")

    def _return(self) -> None:
        zone = Path(self._settings.region(ACTIVE).landing_zone)
        zone.unlink()
        zone.with_name("landing.lost").rename(zone)
        reports = [shipper.ship() for shipper in self._shippers]
        missed = sum(zone.files for report in reports for zone in report.zones)
        self._tell("The return", f"{ACTIVE} is back; {missed} files that it missed are delivered")
        told = self._change("failback", "--reason", f"{ACTIVE} is back")
        self._tell(
            "Failback",
            f"`proa failback`: {ACTIVE} finishes the batch that it died in, catches up, is proven equal"
            f" to {STANDBY}; {told}",
        )

    def _last_quarter(self, files: Sequence[flights.FlightFile]) -> None:
        self._arrive("October to December", files)
        for region in (ACTIVE, STANDBY):
            self._run(region, "reads the rest of the year")
        self._timeline.files = sum(shipper.ship().head for shipper in self._shippers)

    # -- what the chapters are made of --------------------------------------------------------------

    def _arrive(self, when: str, files: Sequence[flights.FlightFile], remark: str = "") -> None:
        flights.publish(self._source, files)
        reports = [shipper.ship() for shipper in self._shippers]
        reached = sorted({z.zone for r in reports for z in r.zones if z.error is None})
        self._tell(
            "Files arrive",
            f"{when}: {_files(reports)} files to {' and '.join(reached)}"
            + (f", {remark}" if remark else ""),
        )

    def _start_active(self) -> None:
        log = self._stack.enter_context((self.folder / f"{ACTIVE}.log").open("wb"))
        command = ["run", "--continuous", "--region", ACTIVE, "--project", str(self.folder)]
        self._active = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "proa", *command], stdout=log, stderr=log
        )

    def _kill(self) -> None:
        if self._active is not None:
            self._active.send_signal(signal.SIGKILL)
            self._active.wait()
            self._active = None

    def _run(self, region: str, what: str) -> None:
        runner = self._runner(region)
        result = runner.update()
        if result.state is not UpdateState.COMPLETED:
            raise result.error or UnavailableError(f"the update of {region} is {result.state}")
        files = sum(flow.progress.files for flow in result.flows)
        self._tell(region, f"{what}: {files} files, {result.seconds:.1f} s")

    def _runner(self, region: str) -> Runner:
        if region not in self._runners:
            self._runners[region] = self._stack.enter_context(
                Runner.from_project(self.folder, region, clock=self._clock)
            )
        return self._runners[region]

    def _change(self, *arguments: str) -> str:
        """Change the regions' roles by the command line; the last sentence that it says."""
        command = [sys.executable, "-m", "proa", *arguments, "--yes", "--project", str(self.folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise UnavailableError(f"`proa {arguments[0]}` failed: {done.stderr.strip()}")
        return done.stdout.strip().splitlines()[-1]

    def _is_caught_up(self, region: str) -> bool:
        return read_caught_up(
            self._settings, region, self._timeline.outage_at or self._clock.now(), self._clock
        ).caught_up

    def _next_batch(self) -> int:
        """The number of the batch that follows the last committed one."""
        region = self._settings.region(ACTIVE)
        table = Table.at(Layout(region.storage).table(BRONZE), region.options)
        table.refresh()
        last = table.transaction(app_id(BRONZE, 0))
        return 0 if last is None else last + 1

    def _wait(self, happened: Callable[[], bool], what: str) -> None:
        begun = self._clock.monotonic()
        while not happened():
            if self._active is not None and self._active.poll() is not None:
                raise UnavailableError(
                    f"{ACTIVE} ended by itself; see {self.folder / f'{ACTIVE}.log'}"
                )
            if self._clock.monotonic() - begun > _PATIENCE:
                raise UnavailableError(f"waited {_PATIENCE:.0f} s for {what}; this machine is busy")
            self._clock.wait(0.002)


def project() -> Path:
    """The flights project: beside the package when it is installed, else in the source tree."""
    here = Path(__file__).parent
    shipped = here / "project"
    return shipped if shipped.is_dir() else here.parents[2] / "examples" / "flights"


def _files(reports: Sequence[ShipReport]) -> int:
    return sum(report.files for report in reports)
