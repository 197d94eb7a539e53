"""A region whose server is a process that can be killed at any moment, for tests."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from databricks.sdk import WorkspaceClient
from databricks.sdk.clock import RealClock
from databricks.sdk.core import Config
from databricks.sdk.service import jobs, workspace

SETTINGS = """
regions:
  us-east:
    landing_zone: zone
    storage: storage
    server: {{port: 0, warm_workers: {warm}, workers: 3, grace_seconds: {grace}}}
"""
PROA = (sys.executable, "-c", "from proa.cli.main import main; main()")
NOTEBOOK = """# Databricks notebook source
import dlt, json, os, threading
from pathlib import Path

folder = Path(spark.conf.get("folder"))
pause = threading.Event()

def gate(name):
    # Waits while the test holds this gate, and says so.
    while (folder / name).exists():
        try:
            (folder / f"{name}.{(folder / name).read_text()}").touch()
        except FileNotFoundError:
            return
        pause.wait(0.02)

gate("loading")
if (folder / "broken").exists():
    raise ValueError("broken on purpose")

@dlt.table
def bronze():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.schemaHints", "n long")
        .load(spark.conf.get("landing_zone") + "/n")
    )

@dlt.table
def gold():
    return spark.sql("select count(*) as rows, sum(n) as total from bronze")
"""


def pause_until(true: Callable[[], object], what: str, seconds: float = 120) -> None:
    """Wait for a fact; `what` is the complaint when it does not come."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if true():
            return
        pause.wait(0.05)
    raise AssertionError(what)


def alive(pid: int) -> bool:
    """Whether the process is there and not only waiting to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Impatient(RealClock):
    """A clock for Databricks' client: its pauses between tries pass at once."""

    def __init__(self) -> None:
        self._skipped = 0.0

    def time(self) -> float:
        return super().time() + self._skipped

    def sleep(self, seconds: float) -> None:
        self._skipped += seconds


class Lives:
    """Starts servers as processes: one that has imported everything forks each of them."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "region" / "killed_serve.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, **what: object) -> int:
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate(timeout=30)


class Server:
    """One life of the region's server. It may not get as far as an address."""

    def __init__(self, lives: Lives, site: Site) -> None:
        self._lives = lives
        self.code: int | None = None
        self._out = site.folder / "out"
        self._out.unlink(missing_ok=True)
        self.pid = lives.ask(
            do="start",
            moment=str(site.moment),
            arguments=["serve", "--region", site.name, "--json", *site.where],
            out=str(self._out),
            log=str(site.folder / "log"),
        )

    def answers(self) -> str:
        """Wait until it answers; its address."""

        def said() -> bool:
            return self._out.exists() and self._out.read_text().rstrip().endswith("}")

        pause_until(lambda: said() or not alive(self.pid), "the server does not begin")
        assert said(), self._out.with_name("log").read_text()
        return str(json.loads(self._out.read_text())["address"])

    def end(self, number: int) -> int:
        os.kill(self.pid, number)
        return self.ended()

    def ended(self) -> int:
        """Wait for its end; its exit code, below zero the signal's."""
        if self.code is None:
            self.code = self._lives.ask(do="wait", pid=self.pid)
        return self.code

    def workers(self) -> list[int]:
        found: set[int] = set()
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            try:
                found |= {int(pid) for pid in (task / "children").read_text().split()}
            except OSError:
                continue
        return sorted(found)


class Site:
    """The region's folder, its server of the moment, and a client."""

    name = "us-east"

    def __init__(
        self,
        lives: Lives,
        folder: Path,
        *,
        warm: int = 1,
        grace: float = 3,
        state: str | None = None,
    ) -> None:
        self.lives, self.folder = lives, folder
        self.moment = folder / "moment"
        self.where = ("--project", str(folder), *(("--state", state) if state else ()))
        self.files = 0
        self.held: dict[str, int] = {}
        (folder / "zone" / "n").mkdir(parents=True)
        (folder / "proa.yml").write_text(SETTINGS.format(warm=warm, grace=grace))
        self.servers: list[Server] = []
        self.w: WorkspaceClient | None = None
        made = subprocess.run(
            [*PROA, "token", "create", "--region", "us-east", *self.where],
            capture_output=True,
            text=True,
            check=True,
        )
        self.token = made.stdout.strip()

    @property
    def server(self) -> Server:
        return self.servers[-1]

    def start(self) -> Server:
        """The next life; waits until it answers."""
        self.servers.append(Server(self.lives, self))
        self.w = WorkspaceClient(
            config=Config(
                host=self.server.answers(),
                token=self.token,
                auth_type="pat",
                retry_timeout_seconds=1,
                clock=Impatient(),
                http_timeout_seconds=30,
            )
        )
        return self.server

    def close(self) -> None:
        for server in self.servers:
            if server.code is None:
                server.end(signal.SIGKILL)

    def put(self, path: str, text: str) -> None:
        self.w.workspace.mkdirs(path.rsplit("/", 1)[0])
        self.w.workspace.upload(
            path, io.BytesIO(text.encode()), language=workspace.Language.PYTHON, overwrite=True
        )

    def pipeline(self, name: str = "shop", **more: object) -> str:
        from databricks.sdk.service.pipelines import NotebookLibrary, PipelineLibrary

        self.put("/Shared/shop", NOTEBOOK)
        return self.w.pipelines.create(
            name=name,
            storage=str(self.folder / name),
            configuration={
                "folder": str(self.folder),
                "pipelines.trigger.interval": "0.1 seconds",
            },
            libraries=[PipelineLibrary(notebook=NotebookLibrary("/Shared/shop"))],
            **more,
        ).pipeline_id

    def land(self) -> None:
        """One more file of one row in the landing zone."""
        self.files += 1
        hidden = self.folder / "zone" / "n" / f"_{self.files}"
        hidden.write_text(json.dumps({"n": self.files}) + "\n")
        hidden.rename(hidden.with_name(f"{self.files}.json"))

    def exact(self, name: str = "shop") -> None:
        """Every file that landed is in the tables, once."""
        from deltalake import DeltaTable

        tables = self.folder / name / "tables"
        rows = DeltaTable(str(tables / "bronze")).to_pyarrow_table(columns=["n"])
        assert sorted(rows["n"].to_pylist()) == list(range(1, self.files + 1))
        gold = DeltaTable(str(tables / "gold")).to_pyarrow_table().to_pylist()
        assert gold == [{"rows": self.files, "total": self.files * (self.files + 1) // 2}]

    def hold(self, gate: str) -> None:
        """Keep the pipeline's code waiting at a gate of its own."""
        self.held[gate] = self.held.get(gate, 0) + 1
        hidden = self.folder / "gate.new"
        hidden.write_text(str(self.held[gate]))
        hidden.rename(self.folder / gate)

    def reached(self, gate: str) -> None:
        """Wait until it waits there."""
        reached = self.folder / f"{gate}.{self.held[gate]}"
        pause_until(reached.exists, f"nobody came to {gate}")

    def open(self, gate: str) -> None:
        (self.folder / gate).unlink()

    def over(self, run: int, *wanted: str) -> None:
        """Wait for the end of a run, which must be one of `wanted`."""

        def state() -> jobs.RunState:
            return self.w.jobs.get_run(run).state

        ends = {jobs.RunLifeCycleState.TERMINATED, jobs.RunLifeCycleState.SKIPPED}
        pause_until(lambda: state().life_cycle_state in ends, f"run {run} never ends")
        assert state().result_state.value in wanted, state().state_message

    def log(self) -> str:
        """What the servers have logged."""
        return (self.folder / "log").read_text()

    def arm(self, **moment: str) -> None:
        """Let the server, or its workers, be killed at this moment."""
        hidden = self.folder / "moment.new"
        hidden.write_text(json.dumps(moment))
        hidden.rename(self.moment)

    def struck(self) -> list[int]:
        """Wait for that moment; the workers of that moment."""
        found = self.folder / "moment.struck"
        pause_until(found.exists, "what was armed never came")
        workers = json.loads(found.read_text())
        found.unlink()
        return workers
