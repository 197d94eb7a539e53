"""From `proa failover` to the moment at which a consumer reads everything that had landed in the other region."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import data
from benchmarks.measure import Result

GOAL_CONTROL_S, GOAL_DRAIN = 2.0, 100.0
_SETTINGS = """\
regions:
  east: {landing_zone: east/zone, storage: east/storage}
  west:
    landing_zone: west/zone
    storage: west/storage
    server: {port: 0, warm_workers: 1}
    api: {host: "HOST", token: "TOKEN"}
sources:
  orders: {path: source}
recovery:
  control: {path: third}
  pipelines: [shop]
gateway: {port: 0}
"""
_NOTEBOOK = f"""# Databricks notebook source
import dlt

@dlt.table
def orders():
    return (
        spark.readStream.format("cloudFiles")
        .option("cloudFiles.format", "json")
        .schema({data.DDL!r})
        .load(spark.conf.get("landing_zone") + "/orders")
    )
"""


def measure(folder: Path, *, megabytes: int, runs: int) -> list[Result]:
    """The region that is active is lost: the time of the controller's own, and the speed of the drain."""
    spans = [_fail_over(folder / "failing-over", megabytes) for _ in range(runs)]
    # The best of the runs: what else the machine does only adds.
    control = min(total - drain for total, drain, _ in spans)
    drain = min(drain for _, drain, _ in spans)
    size = spans[0][2] / 1e6
    return [
        Result(
            "failover to consumers served, without the drain",
            control,
            "s",
            f"under {GOAL_CONTROL_S} s",
            control < GOAL_CONTROL_S,
            {"whole s": min(total for total, _, _ in spans)},
        ),
        Result(
            "drain of what had landed",
            size / drain,
            "MB/s",
            f"at least {GOAL_DRAIN:.0f} MB/s of JSON",
            size / drain >= GOAL_DRAIN,
            {"MB": size, "s": drain},
        ),
    ]


def _fail_over(folder: Path, megabytes: int) -> tuple[float, float, int]:
    """(seconds until consumers read everything, those of them that the drain took, bytes of raw files)."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("east/zone", "east/storage", "west/zone", "source", "third"):
        (folder / name).mkdir(parents=True)
    (folder / "proa.yml").write_text(_SETTINGS)
    token = _proa(folder, "token", "create", "--region", "west").strip()
    with _server(folder, "serve", "--region", "west") as address:
        text = _SETTINGS.replace("HOST", address).replace("TOKEN", token)
        (folder / "proa.yml").write_text(text)
        files = data.orders(folder.parent / "orders", megabytes=megabytes)
        _land(folder, files[:1], "warm")
        _update(address, token, _declare(folder, address, token))
        _land(folder, files, "cold")
        shutil.rmtree(folder / "east")
        (folder / "east").touch()
        profile = folder / "bench.share"
        _proa(folder, "gateway", "recipient", "add", "bench", "--profile", str(profile))
        rows = data.ROWS_PER_FILE * (len(files) + 1)
        with _server(folder, "gateway") as gateway:
            bearer = json.loads(profile.read_text())["bearerToken"]
            began = time.perf_counter()
            failover = ("failover", "--to", "west", "--force", "--yes", "--json")
            command = threading.Thread(target=_proa, args=(folder, *failover))
            command.start()
            while _rows_at(gateway, bearer) < rows:
                threading.Event().wait(0.02)
            total = time.perf_counter() - began
            command.join()
    return total, _drain_seconds(folder), sum(file.stat().st_size for file in files)


def _land(folder: Path, files: list[Path], prefix: str) -> None:
    for file in files:
        (folder / "source" / f"{prefix}-{file.name}").hardlink_to(file)
    _proa(folder, "ship", "--once")


def _drain_seconds(folder: Path) -> float:
    """How long the record says that the last failover drained."""
    entries = json.loads(_proa(folder, "history", "--json"))["entries"]
    drains = [number for number, one in enumerate(entries) if one["phase"] == "draining"]
    begin, end = (datetime.fromisoformat(entries[drains[-1] + n]["at"]) for n in (0, 1))
    return (end - begin).total_seconds()


def _declare(folder: Path, address: str, token: str) -> str:
    """Give the region the pipeline; returns its id."""
    source = base64.b64encode(_NOTEBOOK.encode()).decode()
    notebook = {"path": "/nb", "language": "PYTHON", "content": source, "overwrite": True}
    _call(f"{address}/api/2.0/workspace/import", token, notebook)
    libraries = [{"notebook": {"path": "/nb"}}]
    pipeline = {"name": "shop", "storage": str(folder / "west/storage"), "libraries": libraries}
    return str(_call(f"{address}/api/2.0/pipelines", token, pipeline)[0]["pipeline_id"])


def _update(address: str, token: str, pipeline: str) -> None:
    path = f"{address}/api/2.0/pipelines/{pipeline}/updates"
    update = _call(path, token, {})[0]["update_id"]
    while (state := _call(f"{path}/{update}", token)[0]["update"]["state"]) != "COMPLETED":
        assert state not in {"FAILED", "CANCELED"}, state
        threading.Event().wait(0.05)


def _rows_at(gateway: str, token: str) -> int:
    """How many rows a consumer would read now; -1 while nothing is served."""
    path = f"{gateway}/delta-sharing/shares/shop/schemas/default/tables/orders/query"
    try:
        lines = _call(path, token, {})
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return -1
    stats = (json.loads(line["file"]["stats"]) for line in lines if "file" in line)
    return sum(int(one["numRecords"]) for one in stats)


def _call(url: str, token: str, body: dict[str, Any] | None = None) -> list[Any]:
    """Ask an API; returns the lines of its answer."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as answer:
        return [json.loads(line) for line in answer if line.strip()]


@contextmanager
def _server(folder: Path, *command: str) -> Iterator[str]:
    """A server of ours, in a process of its own; yields its address."""
    process = subprocess.Popen(
        _command(folder, *command, "--json"), stdout=subprocess.PIPE, text=True
    )
    try:
        text = ""
        while not text.endswith("}\n"):
            line = process.stdout.readline()
            assert line, f"{command} ended without a word"
            text += line
        yield json.loads(text)["address"]
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


def _proa(folder: Path, *arguments: str) -> str:
    command = _command(folder, *arguments)
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def _command(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "proa", *arguments, "--project", str(folder)]
