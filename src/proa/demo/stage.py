"""What every act of the demo is played on: a project in two regions, and what can befall them."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from proa.clock import Clock
from proa.errors import SettingsError, UnavailableError
from proa.lake import Table
from proa.landing import Shipper, open_source, open_zones
from proa.layout import Layout, app_id
from proa.recovery import StoredRegion, Verdict, rules_of, verify
from proa.runtime import Runner, UpdateState
from proa.runtime.checkpoint import Checkpoint
from proa.settings import FILE_NAME, ProjectSettings, load
from proa.storage import Store

ACTIVE, STANDBY = "us-east", "us-west"
_PATIENCE = 90.0
_MISUSED = 2
"""A command's exit code when settings, or what they name, are wrong."""

Tell = Callable[[str, str], None]
"""Told a chapter's title and a sentence about it."""


class Stage:
    """The regions of one example project, in a folder of its own. Close it when done."""

    def __init__(self, folder: Path, clock: Clock, tell: Tell) -> None:
        self.folder = folder
        self.stack = ExitStack()
        self.tell = tell
        self._clock = clock
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._runners: dict[str, Runner] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_all()
        self.stack.close()

    def open_project(self, example: str, replaced: Mapping[str, str] | None = None) -> None:
        """Copy an example project here, with texts of its proa.yml replaced, and read it."""
        shutil.copytree(project(example), self.folder, dirs_exist_ok=True)
        path = self.folder / FILE_NAME
        text = path.read_text(encoding="utf-8")
        for old, new in (replaced or {}).items():
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")
        self.settings: ProjectSettings = load(path)

    def open_shippers(self) -> list[Shipper]:
        """A shipper of each source."""
        shippers = [
            Shipper(open_source(name, source), open_zones(self.settings), self._clock)
            for name, source in self.settings.sources.items()
        ]
        for shipper in shippers:
            self.stack.callback(shipper.close)
        return shippers

    # -- processes --------------------------------------------------------------------------------

    def start(self, name: str, *arguments: str) -> None:
        """Start a command of Proa that goes on by itself; `name` is what it is killed by."""
        log = self.stack.enter_context((self.folder / f"{name}.log").open("wb"))
        self._processes[name] = subprocess.Popen(  # noqa: S603 - our own command
            self._command(*arguments), stdout=log, stderr=log
        )

    def start_region(self, region: str) -> None:
        """Let a region follow its landing zone all the time, in a process of its own."""
        self.start(region, "run", "--continuous", "--region", region)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End a process that was started, if it runs."""
        process = self._processes.pop(name, None)
        if process is not None:
            process.send_signal(number)
            process.wait()

    def kill_all(self) -> None:
        for name in list(self._processes):
            self.kill(name)

    def change(self, *arguments: str) -> str:
        """Change the regions' roles by the command line; the last sentence that it says."""
        command = self._command(*arguments, "--yes")
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            raise UnavailableError(f"`proa {arguments[0]}` failed: {done.stderr.strip()}")
        return done.stdout.strip().splitlines()[-1]

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "proa", *arguments, "--project", str(self.folder)]

    # -- regions ----------------------------------------------------------------------------------

    def lose_zone(self) -> None:
        """Take the active region's landing zone away; whoever opens it finds no folder."""
        zone = Path(self.settings.region(ACTIVE).landing_zone)
        zone.rename(zone.with_name("landing.lost"))
        zone.write_bytes(b"")

    def return_zone(self) -> None:
        zone = Path(self.settings.region(ACTIVE).landing_zone)
        zone.unlink()
        zone.with_name("landing.lost").rename(zone)

    def run_region(self, region: str, what: str) -> None:
        """Update a region once, and tell what that did."""
        if region not in self._runners:
            self._runners[region] = self.stack.enter_context(
                Runner.from_project(self.folder, region, clock=self._clock)
            )
        result = self._runners[region].update()
        if result.state is not UpdateState.COMPLETED:
            raise result.error or UnavailableError(f"the update of {region} is {result.state}")
        files = sum(flow.progress.files for flow in result.flows)
        self.tell(region, f"{what}: {files} files, {result.seconds:.1f} s")

    def kill_in_batch(self, table: str, batch: int) -> bool:
        """Kill the active region as soon as it has planned `batch` of a table's only flow.

        Returns whether it died before it committed the batch.
        """
        place = Layout(self.settings.region(ACTIVE).storage).checkpoint(table, table, 0)
        checkpoint = Checkpoint(Store.open(place))
        begun = f"{ACTIVE} to begin batch {batch}"
        self.wait(lambda: checkpoint.read(batch) is not None, begun, pause=0.002)
        self.kill(ACTIVE)
        return self.next_batch(table) == batch

    def next_batch(self, table: str) -> int:
        """The number of the batch that follows the active region's last committed one."""
        region = self.settings.region(ACTIVE)
        target = Table.at(Layout(region.storage).table(table), region.options)
        target.refresh()
        last = target.transaction(app_id(table, 0))
        return 0 if last is None else last + 1

    def check(self) -> None:
        """Raise what a process that ended by itself said last: SettingsError or UnavailableError."""
        for name, process in self._processes.items():
            if process.poll() is None:
                continue
            log = (self.folder / f"{name}.log").read_text(errors="replace")
            told = " ".join(log.rpartition("error: ")[2].split())[-500:] or "it said nothing"
            error = SettingsError if process.returncode == _MISUSED else UnavailableError
            raise error(f"{name} ended by itself with code {process.returncode}: {told}")

    def wait(self, happened: Callable[[], bool], what: str, pause: float = 0.05) -> None:
        """Wait until something happened, asking every `pause` seconds.

        Raises what `check` raises, and UnavailableError when it takes too long.
        """
        begun = self._clock.monotonic()
        while not happened():
            self.check()
            if self._clock.monotonic() - begun > _PATIENCE:
                raise UnavailableError(f"waited {_PATIENCE:.0f} s for {what}; this machine is busy")
            self._clock.wait(pause)


def compare_regions(settings: ProjectSettings) -> tuple[bool, dict[str, str]]:
    """Whether every table of one region has the rows of the other's, and each verdict in words."""
    left, right = (StoredRegion(name, region) for name, region in settings.regions.items())
    reports = list(verify(left, right, lambda table: rules_of(settings.verify, table)))
    equal = bool(reports) and all(
        report.verdict is Verdict.EQUAL and not any(report.behind) for report in reports
    )
    return equal, {report.table: report.sentence for report in reports}


def project(example: str) -> Path:
    """An example project: beside the package when it is installed, else in the source tree."""
    here = Path(__file__).parent
    shipped = here / "projects" / example
    return shipped if shipped.is_dir() else here.parents[2] / "examples" / example
