"""A region's server: many clients polling while an update runs, how fast updates start, memory."""

from __future__ import annotations

import asyncio
import base64
import json
import multiprocessing
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measure import Result

POLL_S = 5.0
"""A client looks at its pipeline and its events this often."""

NOTEBOOK = """# Databricks notebook source
import dlt

@dlt.table
def bronze():
    return (
        spark.readStream.format("cloudFiles")
        .option("cloudFiles.format", "json")
        .load(spark.conf.get("landing_zone"))
    )

@dlt.table
def gold():
    return spark.sql("select count(*) as n from bronze")
"""


class Region:
    """A server process in a folder of its own."""

    def __init__(self, folder: Path, warm: int) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "zone").mkdir(parents=True)
        (folder / "zone" / "a.json").write_text('{"id": 1}\n')
        (folder / "proa.yml").write_text(
            "regions:\n  bench:\n    landing_zone: zone\n    storage: storage\n"
            f"    server: {{port: 0, warm_workers: {warm}, grace_seconds: 1}}\n"
        )
        self.folder = folder
        self.token = self._proa("token", "create").strip()
        self.process = subprocess.Popen(
            self._command("serve", "--json"), stdout=subprocess.PIPE, text=True
        )
        text = ""
        while not text.rstrip().endswith("}"):
            text += self.process.stdout.readline()
        self.address = json.loads(text)["address"]

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        self.process.stdout.close()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            f"{self.address}/api/2.0{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def pipeline(self, name: str, *, continuous: bool) -> str:
        source = base64.b64encode(NOTEBOOK.encode()).decode()
        self.call(
            "POST",
            "/workspace/import",
            {"path": "/Shared/nb", "language": "PYTHON", "content": source, "overwrite": True},
        )
        made = self.call(
            "POST",
            "/pipelines",
            {
                "name": name,
                "continuous": continuous,
                "configuration": {"pipelines.trigger.interval": "1 second"},
                "libraries": [{"notebook": {"path": "/Shared/nb"}}],
            },
        )
        return str(made["pipeline_id"])

    def update(self, pipeline: str) -> tuple[float, float]:
        """Run one update; (seconds until it was RUNNING, seconds until its end)."""
        began = time.perf_counter()
        update = self.call("POST", f"/pipelines/{pipeline}/updates", {})["update_id"]
        path = f"/pipelines/{pipeline}/updates/{update}"
        running = None
        while True:
            state = self.call("GET", path)["update"]["state"]
            if state in {"RUNNING", "COMPLETED"} and running is None:
                running = time.perf_counter() - began
            if state in {"COMPLETED", "FAILED", "CANCELED"}:
                assert state == "COMPLETED", state
                return running, time.perf_counter() - began
            threading.Event().wait(0.005)

    def memory(self) -> int:
        """Resident bytes of the server and its idle workers."""
        return sum(_resident(pid) for pid in [self.process.pid, *_children(self.process.pid)])

    def _proa(self, *arguments: str) -> str:
        done = subprocess.run(self._command(*arguments), capture_output=True, text=True, check=True)
        return done.stdout

    def _command(self, *arguments: str) -> list[str]:
        code = "import sys; from proa.cli.main import main; sys.argv[0] = 'proa'; main()"
        where = ["--region", "bench", "--project", str(self.folder)]
        return [sys.executable, "-c", code, *arguments, *where]


@contextmanager
def serving(folder: Path, *, warm: int) -> Iterator[Region]:
    region = Region(folder, warm)
    try:
        yield region
    finally:
        region.close()


def measure(folder: Path, *, clients: int, seconds: float, runs: int) -> list[Result]:
    """The four figures."""
    with serving(folder / "region", warm=1) as region:
        threading.Event().wait(8)
        idle = region.memory() / 2**20
        pipeline = region.pipeline("triggered", continuous=False)
        region.update(pipeline)
        warm = []
        for _ in range(runs):
            threading.Event().wait(6)
            warm.append(region.update(pipeline))
        busy = region.pipeline("busy", continuous=True)
        while region.call("GET", f"/pipelines/{busy}")["state"] != "RUNNING":
            threading.Event().wait(0.1)
        latencies = _polled(region, busy, clients, seconds)
    with serving(folder / "cold", warm=0) as region:
        pipeline = region.pipeline("triggered", continuous=False)
        cold = [region.update(pipeline) for _ in range(runs)]
    half = latencies[len(latencies) // 2] * 1000
    return [
        Result(
            name=f"{clients} clients poll pipelines and events while an update runs",
            figure=half,
            unit="ms, median",
            goal="under 20 ms",
            met=half < 20,
            detail={
                "requests_per_second": len(latencies) / seconds,
                "p95_ms": latencies[int(len(latencies) * 0.95)] * 1000,
                "p99_ms": latencies[int(len(latencies) * 0.99)] * 1000,
            },
        ),
        _started("an update starts on a warm worker", warm, 0.5),
        _started("an update starts on a cold worker", cold, 10.0),
        Result(
            name="memory of an idle region",
            figure=idle,
            unit="MB",
            goal="under 600 MB with one warm worker",
            met=idle < 600,
        ),
    ]


def _started(name: str, times: list[tuple[float, float]], goal: float) -> Result:
    running = sorted(first for first, _ in times)[len(times) // 2]
    ended = sorted(last for _, last in times)[len(times) // 2]
    return Result(
        name=name,
        figure=running,
        unit="s until RUNNING, median",
        goal=f"under {goal} s",
        met=running < goal,
        detail={"until_completed_s": ended},
    )


def _polled(region: Region, pipeline: str, clients: int, seconds: float) -> list[float]:
    """How long each answer took, in seconds, sorted; the clients are in another process."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_clients, args=(theirs, region.address, region.token, pipeline, clients, seconds)
    )
    process.start()
    theirs.close()
    latencies: list[float] = ours.recv()
    process.join()
    return sorted(latencies)


def _clients(  # noqa: PLR0913, PLR0917 - what a process is started with
    reply: Any, address: str, token: str, pipeline: str, clients: int, seconds: float
) -> None:
    paths = (
        f"/api/2.0/pipelines/{pipeline}",
        f"/api/2.0/pipelines/{pipeline}/events?max_results=25",
    )
    host, port = address.removeprefix("http://").split(":")

    async def client(number: int, latencies: list[float], end: float) -> None:
        await asyncio.sleep(POLL_S * number / clients)
        reader, writer = await asyncio.open_connection(host, int(port))
        while time.perf_counter() < end:
            for path in paths:
                began = time.perf_counter()
                writer.write(
                    f"GET {path} HTTP/1.1\r\nHost: {host}\r\n"
                    f"Authorization: Bearer {token}\r\n\r\n".encode()
                )
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200"), head
                length = head.lower().split(b"content-length:")[1].split(b"\r\n")[0]
                await reader.readexactly(int(length))
                latencies.append(time.perf_counter() - began)
            await asyncio.sleep(POLL_S)
        writer.close()

    async def all_of_them() -> list[float]:
        latencies: list[float] = []
        end = time.perf_counter() + seconds
        await asyncio.gather(*(client(number, latencies, end) for number in range(clients)))
        return latencies

    reply.send(asyncio.run(all_of_them()))


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
