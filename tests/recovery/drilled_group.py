"""Two regions, a gateway and a controller as real processes, and a consumer who reads through it all.

What is struck is the active region, the region that is to be active, the controller or the gateway, before a
change of roles or in the middle of one: at a moment that a seeded random number names by what has happened,
not by a clock. The consumer's thread reads the whole table through the gateway again
and again, and keeps what it ever saw that cannot be: a row twice, a row that nobody wrote, an older version.
"""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

import httpx
import numpy as np
import pyarrow.parquet as pq
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.service import jobs, workspace
from databricks.sdk.service.pipelines import NotebookLibrary, PipelineLibrary

from killing import NOTEBOOK, PROA, Lives, Server, alive, pause_until
from proa.cli.project import load_regions
from proa.clock import SystemClock
from proa.errors import ProaError
from proa.landing import Shipper, open_source, open_zones
from proa.recovery.control_record import ControlRecord, ControlStore, first_record
from proa.recovery.driver import Role, role_of
from proa.recovery.driver_api import ApiDriver
from wires import Wire, WireState

REGIONS = ("east", "west")
SETTINGS = """
regions:
  east: {{landing_zone: east/zone, storage: east/shop, server: {server}, api: {{host: "{east.address}", token: "{tokens[0]}"}}}}
  west: {{landing_zone: west/zone, storage: west/shop, server: {server}, api: {{host: "{west.address}", token: "{tokens[1]}"}}}}
sources:
  n: {{path: source}}
recovery:
  group: shop
  control: {{path: third}}
  pipelines: [shop]
gateway:
  port: 0
"""
CONFIRMED = ("--yes", "--wait", "2m")
_TABLE = "shares/shop/schemas/default/tables/bronze/query"


class Blow(Enum):
    """What happens to the active region, or to who changes roles."""

    KILLED = auto()
    FROZEN = auto()
    """SIGSTOP, and SIGCONT after the failover."""
    BLACK_HOLE = auto()
    """Its address takes connections and answers none."""
    FULL_DISK = auto()
    CONTROLLER_KILLED = auto()
    GATEWAY_KILLED = auto()


REGIONAL = (Blow.KILLED, Blow.FROZEN, Blow.BLACK_HOLE, Blow.FULL_DISK)
"""Blows that hit a region's server and its workers."""


class Scene(Enum):
    """When it happens, and what the operator is about."""

    LOST = auto()
    """The active region is struck, and a failover begins."""
    IN_A_CHANGE = auto()
    """The active region is struck in the middle of a switchover or failback."""
    BOTH = auto()
    """The active region is killed, and the other one is struck in the middle of the failover to it."""


class DrilledRegion:
    """One region: its server of the moment behind a wire, whose address never changes."""

    def __init__(self, lives: Lives, group: Path, name: str) -> None:
        self.name = name
        self.folder = group / name
        self.moment = self.folder / "moment"
        self.where = ("--project", str(group))
        self.wire = Wire()
        self.lives = lives
        self.token = ""
        self.server: Server | None = None
        (self.folder / "zone" / "n").mkdir(parents=True)

    def start(self) -> None:
        self.server = Server(self.lives, self)
        self.wire.target = ("127.0.0.1", int(self.server.answers().rsplit(":", 1)[1]))

    def declare(self, *, continuous: bool) -> None:
        """Give the region the pipeline."""
        w = WorkspaceClient(
            config=Config(host=self.wire.address, token=self.token, auth_type="pat")
        )
        w.workspace.mkdirs("/Shared")
        w.workspace.upload(
            "/Shared/shop", io.BytesIO(NOTEBOOK.encode()), language=workspace.Language.PYTHON
        )
        created = w.pipelines.create(
            name="shop",
            storage=str(self.folder / "shop"),
            continuous=continuous,
            configuration={
                "folder": str(self.folder),
                "pipelines.trigger.interval": "0.1 seconds",
            },
            libraries=[PipelineLibrary(notebook=NotebookLibrary("/Shared/shop"))],
        )
        task = jobs.Task("run", pipeline_task=jobs.PipelineTask(created.pipeline_id))
        paused = jobs.PauseStatus.PAUSED if continuous else jobs.PauseStatus.UNPAUSED
        yearly = jobs.CronSchedule("0 0 0 1 1 ?", "UTC", pause_status=paused)
        w.jobs.create(name="shop", tasks=[task], schedule=yearly)

    def processes(self) -> list[int]:
        assert self.server is not None
        return [self.server.pid, *self.server.workers()]

    def signal(self, number: int) -> None:
        """Send a signal to the server and its workers, the server first."""
        for pid in self.processes():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue  # it has just ended

    def limit_files(self, size: int) -> None:
        """Let no file of the region grow beyond a size: what a full disk is to a writer."""
        for pid in self.processes():
            try:
                _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
            except ProcessLookupError:
                continue


@dataclass
class Reader:
    """A consumer who loads the whole table again and again, and believes nothing."""

    wire: Wire
    token: str
    written: Callable[[], int]
    """How many rows were ever written: numbers from 1."""
    rows: frozenset[int] = frozenset()
    loads: int = 0
    refusals: int = 0
    wrong: list[str] = field(default_factory=list)
    _version: int = -1
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        with httpx.Client(
            base_url=f"{self.wire.address}/delta-sharing/",
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=20,
        ) as client:
            while not self._stop.wait(0.05):
                try:
                    self._load(client)
                except (httpx.HTTPError, OSError):
                    self.refusals += 1

    def _load(self, client: httpx.Client) -> None:
        answer = client.post(_TABLE, json={})
        if answer.status_code != 200:
            self.refusals += 1
            return
        version = int(answer.headers["delta-table-version"])
        rows: list[int] = []
        for line in answer.text.splitlines():
            file = json.loads(line).get("file")
            if file is None:
                continue
            data = client.get(file["url"], headers={"Authorization": ""})
            data.raise_for_status()
            rows += pq.read_table(io.BytesIO(data.content), columns=["n"])["n"].to_pylist()
        seen = frozenset(rows)
        if len(seen) != len(rows):
            self.wrong.append(f"rows twice in version {version}")
        if seen and (min(seen) < 1 or max(seen) > self.written()):
            self.wrong.append(f"rows that nobody wrote in version {version}: {max(seen)}")
        if version < self._version:
            self.wrong.append(f"version {version} after {self._version}")
        self.rows, self._version, self.loads = seen, version, self.loads + 1

    def stop(self) -> None:
        self._stop.set()


class DrilledGroup:
    """The whole: regions, the gateway, the shipper in this process, the consumer in a thread."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = np.random.default_rng(seed)
        self.files = 0
        self.lives = Lives()
        self.regions = {name: DrilledRegion(self.lives, folder, name) for name in REGIONS}
        (folder / "source").mkdir()
        (folder / "third").mkdir()
        self._write_settings()
        for name, region in self.regions.items():
            made = [*PROA, "token", "create", "--region", name, "--project", str(folder)]
            region.token = subprocess.run(
                made, capture_output=True, text=True, check=True
            ).stdout.strip()
        self._write_settings()
        self.settings = load_regions(folder)
        self.driver = ApiDriver(self.settings)
        self.record = ControlStore.of(self.settings)
        source = open_source("n", self.settings.sources["n"])
        self.shipper = Shipper(source, open_zones(self.settings), SystemClock())
        for name, region in self.regions.items():
            region.start()
            region.declare(continuous=name == "east")
        profile = folder / "ada.share"
        added = ["gateway", "recipient", "add", "ada", "--profile", str(profile)]
        self.ask(*added)
        self.gateway_wire = Wire()
        self.gateway = 0
        self.start_gateway()
        token = json.loads(profile.read_text())["bearerToken"]
        self.reader = Reader(self.gateway_wire, token, lambda: self.files)
        self._reading = threading.Thread(target=self.reader.run)
        self._reading.start()

    def _write_settings(self) -> None:
        east, west = self.regions.values()
        server = "{port: 0, warm_workers: 1, workers: 2, grace_seconds: 3}"
        text = SETTINGS.format(
            east=east.wire, west=west.wire, tokens=(east.token, west.token), server=server
        )
        (self.folder / "proa.yml").write_text(text)

    # -- processes ------------------------------------------------------------------------------------

    def begin(self, *arguments: str) -> int:
        """Start a command as a process; returns its number."""
        return self.lives.ask(
            do="start",
            moment=str(self.folder / "moment"),
            arguments=[*arguments, "--project", str(self.folder)],
            out=str(self.folder / f"{arguments[0]}.out"),
            log=str(self.folder / f"{arguments[0]}.log"),
        )

    def ask(self, *arguments: str) -> int:
        """Run a command to its end; returns its exit code."""
        return self.lives.ask(do="wait", pid=self.begin(*arguments))

    def start_gateway(self) -> None:
        out = self.folder / "gateway.out"
        out.unlink(missing_ok=True)
        self.gateway = self.begin("gateway", "--json")

        def has_said() -> bool:
            return out.exists() and out.read_text().rstrip().endswith("}")

        pause_until(lambda: has_said() or not alive(self.gateway), "the gateway does not begin")
        address = json.loads(out.read_text())["address"]
        self.gateway_wire.target = ("127.0.0.1", int(address.rsplit(":", 1)[1]))

    def close(self) -> None:
        self.reader.stop()
        self._reading.join()
        self.shipper.close()
        self.lives.ask(do="kill", pid=self.gateway)
        for region in self.regions.values():
            if region.server is not None and region.server.code is None:
                region.signal(signal.SIGCONT)
                region.server.end(signal.SIGKILL)
            region.wire.close()
        self.gateway_wire.close()
        self.lives.close()

    # -- what is known --------------------------------------------------------------------------------

    def now(self) -> ControlRecord:
        """The control record's last entry."""
        return self.record.read() or first_record(self.settings, SystemClock().now(), "test")

    def role(self, region: str) -> Role | ProaError:
        return role_of(self.driver, region)

    # -- what happens ---------------------------------------------------------------------------------

    def ship(self, files: int) -> None:
        """New files of one row each, acknowledged by the shipper."""
        for _ in range(files):
            self.files += 1
            hidden = self.folder / "source" / f".{self.files}"
            hidden.write_text(json.dumps({"n": self.files}) + "\n")
            hidden.rename(hidden.with_name(f"{self.files}.json"))
        assert self.shipper.ship().head == self.files

    @contextmanager
    def steady_load(self) -> Iterator[None]:
        """New files all the time."""
        stop = threading.Event()

        def ship() -> None:
            while not stop.wait(0.2):
                self.ship(1)

        shipping = threading.Thread(target=ship)
        shipping.start()
        try:
            yield
        finally:
            stop.set()
            shipping.join()

    def strike(self, blow: Blow, region: DrilledRegion) -> None:
        if blow is Blow.KILLED:
            region.server.end(signal.SIGKILL)
        elif blow is Blow.FROZEN:
            region.signal(signal.SIGSTOP)
        elif blow is Blow.BLACK_HOLE:
            region.wire.set(WireState.SWALLOWS)
        elif blow is Blow.FULL_DISK:
            region.limit_files(1)
        elif blow is Blow.GATEWAY_KILLED:
            self.lives.ask(do="kill", pid=self.gateway)

    def heal(self, blow: Blow, region: DrilledRegion) -> None:
        if blow is Blow.KILLED:
            region.start()
        elif blow is Blow.FROZEN:
            region.signal(signal.SIGCONT)
        elif blow is Blow.BLACK_HOLE:
            region.wire.set(WireState.PASSES)
        elif blow is Blow.FULL_DISK:
            region.limit_files(resource.RLIM_INFINITY)
        elif blow is Blow.GATEWAY_KILLED:
            self.start_gateway()

    def fail_over(self, target: str, *, kill: bool) -> None:
        """Make a region active; with `kill` the command dies after some entry, and another one goes on."""
        command = ("failover", "--to", target)
        before = self.now().number
        process = self.begin(*command, *CONFIRMED)
        if kill:
            self.await_entries(process, before, int(self.random.integers(1, 4)))
            self.lives.ask(do="kill", pid=process)
            self.go_on(before, command)
        else:
            assert self.lives.ask(do="wait", pid=process) == 0, self.log("failover")

    def await_entries(self, process: int, before: int, entries: int) -> None:
        """Wait until a command has written so many entries, or has ended."""
        pause_until(
            lambda: self.now().number >= before + entries or not alive(process),
            "the change of roles does not get on",
        )

    def go_on(self, before: int, command: tuple[str, ...]) -> None:
        """What an operator does whose command has died: `resume`, or the command again if nothing was begun."""
        again = ("resume", "--wait", "2m") if self.now().number > before else (*command, *CONFIRMED)
        assert self.ask(*again) == 0, self.log(again[0])

    def lose(self, blow: Blow, old: str, new: str) -> None:
        """Strike the active region, and fail over."""
        self.strike(blow, self.regions[old])
        self.ship(self.random.integers(3))
        self.fail_over(new, kill=blow is Blow.CONTROLLER_KILLED)

    def lose_in_a_change(self, blow: Blow, old: str, new: str) -> None:
        """Strike the active region in the middle of a switchover or failback; a failover takes it over."""
        command = (("switchover", "failback")[self.random.integers(2)], "--to", new)
        before = self.now().number
        process = self.begin(*command, *CONFIRMED)
        self.await_entries(process, before, int(self.random.integers(6)))
        if blow is Blow.CONTROLLER_KILLED:
            self.lives.ask(do="kill", pid=process)
            self.go_on(before, command)
            return
        self.strike(blow, self.regions[old])
        self.ship(self.random.integers(3))
        code = self.lives.ask(do="wait", pid=process)
        if self.now().active == new:
            assert self.ask("resume", "--wait", "2m") == 0, self.log("resume")
            return
        assert code in {1, 3}, self.log(command[0])
        assert blow in REGIONAL, self.log(command[0])
        assert self.ask("failover", "--to", new, *CONFIRMED) == 0, self.log("failover")

    def lose_both(self, blow: Blow, old: str, new: str) -> None:
        """Kill the active region, and strike the other one in the middle of the failover to it."""
        self.regions[old].server.end(signal.SIGKILL)
        command = ("failover", "--to", new)
        before = self.now().number
        process = self.begin(*command, *CONFIRMED)
        self.await_entries(process, before, int(self.random.integers(4)))
        target = self.regions[new]
        self.strike(blow, target)
        if self.random.integers(2):
            self.lives.ask(do="wait", pid=process)
            self.heal(blow, target)
        else:  # it is only a moment: the command may not even notice
            self.ship(self.random.integers(3))
            self.heal(blow, target)
            self.lives.ask(do="wait", pid=process)
        self.go_on(before, command)

    def drill(self, scene: Scene, blow: Blow) -> None:
        """Strike, let the roles change, heal: nothing is lost, doubled or invented."""
        old = self.now().active
        new = next(name for name in REGIONS if name != old)
        self.ship(self.random.integers(1, 4))
        enough = self.reader.loads + self.random.integers(4)
        pause_until(lambda: self.reader.loads >= enough, "the consumer reads no more")
        epoch = self.now().epoch
        play = {
            Scene.LOST: self.lose,
            Scene.IN_A_CHANGE: self.lose_in_a_change,
            Scene.BOTH: self.lose_both,
        }
        play[scene](blow, old, new)
        now = self.now()
        assert (now.active, now.epoch, now.is_steady) == (new, epoch + 1, True)
        self.ship(self.random.integers(3))
        self.heal(Blow.KILLED if scene is Scene.BOTH else blow, self.regions[old])
        # It demotes itself: nobody has told it to.
        what = f"after {scene.name} {blow.name}"
        pause_until(
            lambda: self.role(old) is Role.STANDBY, f"{old} did not demote itself {what}", 60
        )
        assert self.ask("resume") == 0, self.log("resume")
        assert self.now().owed == ()
        pause_until(lambda: self.role(new) is Role.ACTIVE, f"{new} is not active {what}")
        everything = frozenset(range(1, self.files + 1))
        pause_until(
            lambda: self.reader.rows == everything or self.reader.wrong,
            f"rows are missing {what}: {sorted(everything - self.reader.rows)}",
            300,
        )
        assert self.reader.wrong == []

    def log(self, command: str) -> str:
        return (self.folder / f"{command}.log").read_text()[-3000:]
