"""A table loaded through `proa gateway`, against reading the same files directly, and 100 clients at once.

As the official client makes a frame of it, and the files alone; each against reading the files, and against the
same client at a server that answers the same protocol and does nothing else, which leaves the gateway's own part.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake

from benchmarks.measure import Result, alternate, processor_s
from proa.runtime.declared import DeclaredPipeline, DeclaredTable, write_declared

_ROW_BYTES = 24
_FILES = 8
_CLIENT = (
    "the client opens each link three times, reads it whole through fsspec, and copies the frame once more"
    " to order its columns; the row before has the same client, and no gateway"
)
_LOOPBACK = (
    "bytes that pass a socket are copied twice; the row before has a server that does nothing else"
)
_STATIC = "a server that does nothing else"
_DIRECT = "reading the same files directly"
MEMORY_GOAL_MB = 150
_SETTINGS = """\
regions:
  bench: {landing_zone: zone, storage: storage}
"""


@dataclass(frozen=True)
class ServedTable:
    """A table behind a gateway, and where its files are."""

    profile: Path
    files: list[Path]
    process: int
    """The id of the server's process."""

    @property
    def megabytes(self) -> float:
        return sum(file.stat().st_size for file in self.files) / 2**20

    @property
    def url(self) -> str:
        return f"{self.profile}#bench.default.events"


def measure(folder: Path, *, megabytes: int, runs: int, clients: int) -> list[Result]:
    """Loads as frames, the bytes alone, and many clients at once."""
    with served_table(folder / "sharing", megabytes) as table, _static_server(table) as static:
        results = [*_frames(table, static, runs), *_bytes(table, static, runs)]
    with served_table(folder / "sharing-many", min(megabytes, 32)) as table:
        latencies = _asked_at_once(table, clients)
        results += [_asked(latencies), *_loaded(table, clients)]
    return results


def _frames(table: ServedTable, static: ServedTable, runs: int) -> list[Result]:
    import delta_sharing

    def through(served: ServedTable) -> Callable[[int], object]:
        return lambda _run: delta_sharing.load_as_pandas(served.url)

    what = "a table is loaded by the official client"
    return [
        _speed(what, _STATIC, table, alternate(through(table), through(static), runs=runs)),
        _speed(
            what,
            _DIRECT,
            table,
            alternate(through(table), lambda _run: _load_directly(table), runs=runs),
            _CLIENT,
        ),
    ]


def _bytes(table: ServedTable, static: ServedTable, runs: int) -> list[Result]:
    def through(served: ServedTable) -> Callable[[int], object]:
        links = _links(served)
        return lambda _run: [_parquet(_fetch(link)) for link in links]

    def directly(_run: int) -> None:
        for file in table.files:
            _parquet(file.read_bytes())

    what = "its files are read through the gateway"
    return [
        _speed(what, _STATIC, table, alternate(through(table), through(static), runs=runs)),
        _speed(what, _DIRECT, table, alternate(through(table), directly, runs=runs), _LOOPBACK),
    ]


def _parquet(data: bytes) -> pa.Table:
    return pq.read_table(pa.BufferReader(data))


def _asked(latencies: list[float]) -> Result:
    half = latencies[len(latencies) // 2] * 1000
    return Result(
        name=f"{len(latencies)} clients ask for a table's files at once",
        figure=half,
        unit="ms, median",
        goal="under 500 ms",
        met=half < 500,
        detail={"p99_ms": latencies[int(len(latencies) * 0.99)] * 1000},
    )


def _loaded(table: ServedTable, clients: int) -> list[Result]:
    """Every client asks for the table and reads all of its files, all at once."""
    before, idle = processor_s(table.process), _memory_mb(table.process, "VmRSS:")
    began = time.perf_counter()
    seconds, failures = _loaded_at_once(table, clients)
    whole = time.perf_counter() - began
    megabytes = clients * table.megabytes
    what = f"{clients} clients load a table of {table.megabytes:.0f} MB at once"
    peak = _memory_mb(table.process, "VmHWM:")
    return [
        Result(
            name=what,
            figure=megabytes / whole,
            unit="MB/s in all",
            goal="no errors",
            met=not failures,
            detail={
                "p50_s": seconds[len(seconds) // 2],
                "p99_s": seconds[int(len(seconds) * 0.99)],
                "errors": failures,
                "gateway's processor s": processor_s(table.process) - before,
                "whole_s": whole,
            },
        ),
        Result(
            name=f"{what}: memory that the gateway takes for it",
            figure=peak - idle,
            unit="MB",
            goal=f"under {MEMORY_GOAL_MB}",
            met=peak - idle < MEMORY_GOAL_MB,
            detail={"idle MB": idle, "most MB": peak},
        ),
    ]


def _loaded_at_once(table: ServedTable, clients: int) -> tuple[list[float], int]:
    """How long each client took, in seconds, sorted; and how many read anything but the whole table."""
    together = threading.Barrier(clients)
    size = sum(file.stat().st_size for file in table.files)

    def load(_number: int) -> tuple[float, bool]:
        together.wait()
        began = time.perf_counter()
        try:
            read = sum(_drained(link) for link in _links(table))
        except OSError:
            read = -1
        return time.perf_counter() - began, read == size

    with ThreadPoolExecutor(clients) as threads:
        found = list(threads.map(load, range(clients)))
    return sorted(seconds for seconds, _ in found), sum(not whole for _, whole in found)


def _drained(link: str) -> int:
    """Read what a link leads to and keep nothing; returns its bytes."""
    size = 0
    with urllib.request.urlopen(link, timeout=600) as answer:
        while data := answer.read(1 << 20):
            size += len(data)
    return size


def _memory_mb(process: int, what: str) -> float:
    """The resident size of a process, in MB: `VmRSS:` now, `VmHWM:` at most so far."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    return 0.0


@contextmanager
def _static_server(table: ServedTable) -> Iterator[ServedTable]:
    """The same table behind a server that does nothing but answer."""
    folder = table.profile.parent
    answer = folder / "answer.json"
    lines = _query(table)
    answer.write_text(json.dumps(lines))
    by_size = {file.stat().st_size: file for file in table.files}
    named = [str(by_size[line["file"]["size"]]) for line in lines[2:]]
    command = [sys.executable, "-m", "benchmarks.static_sharing", str(answer), *named]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        address = json.loads(process.stdout.readline())["address"]
        profile = folder / "static.share"
        known = json.loads(table.profile.read_text())
        profile.write_text(json.dumps({**known, "endpoint": f"{address}/delta-sharing/"}))
        yield ServedTable(profile, table.files, process.pid)
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


@contextmanager
def served_table(folder: Path, megabytes: int) -> Iterator[ServedTable]:
    """A gateway, in a process of its own, over a table of about so many bytes in memory."""
    storage = folder / "storage"
    storage.mkdir(parents=True, exist_ok=True)
    (folder / "proa.yml").write_text(_SETTINGS)
    declared = DeclaredPipeline({"events": DeclaredTable(())}, ("bench", None, None))
    write_declared(str(storage), {}, declared)
    place = storage / "tables" / "events"
    rows = (megabytes << 20) // _ROW_BYTES // _FILES
    for number in range(_FILES):
        random = np.random.default_rng(number)
        columns = {
            "id": np.arange(rows) + rows * number,
            "value": random.random(rows),
            "kind": pa.array(random.integers(0, 1000, rows)).cast(pa.string()),
        }
        write_deltalake(place, pa.table(columns), mode="append" if number else "overwrite")
    process = subprocess.Popen(
        _command(folder, "gateway", "--port", "0", "--json"), stdout=subprocess.PIPE, text=True
    )
    try:
        text = ""
        while not text.endswith("}\n"):
            line = process.stdout.readline()
            assert line, "the gateway ended without a word"
            text += line
        address = json.loads(text)["address"]
        profile = folder / "bench.share"
        add = ("gateway", "recipient", "add", "bench", "--profile", str(profile))
        subprocess.run(_command(folder, *add, "--address", address), check=True)
        yield ServedTable(
            profile, [Path(file) for file in DeltaTable(place).file_uris()], process.pid
        )
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def _command(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "proa", *arguments, "--project", str(folder)]


def _load_directly(table: ServedTable) -> Any:
    """The table as a frame, file by file as the client makes it from links."""
    import pandas as pd
    import pyarrow.dataset as ds

    tables = (ds.dataset(str(file), format="parquet").to_table() for file in table.files)
    return pd.concat(
        [
            one.to_pandas(
                date_as_object=True, use_threads=False, split_blocks=True, self_destruct=True
            )
            for one in tables
        ],
        ignore_index=True,
    )


def _query(table: ServedTable) -> list[Any]:
    known = json.loads(table.profile.read_text())
    request = urllib.request.Request(
        f"{known['endpoint']}shares/bench/schemas/default/tables/events/query",
        data=b"{}",
        headers={
            "Authorization": f"Bearer {known['bearerToken']}",
            "Content-Type": "application/json",
        },
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return [json.loads(line) for line in answer]


def _links(table: ServedTable) -> list[str]:
    return [line["file"]["url"] for line in _query(table)[2:]]


def _fetch(link: str) -> bytes:
    with urllib.request.urlopen(link, timeout=60) as answer:
        return answer.read()


def _asked_at_once(table: ServedTable, clients: int) -> list[float]:
    """How long each of many clients waited for the list of files, in seconds, sorted."""
    together = threading.Barrier(clients)

    def ask(_number: int) -> float:
        together.wait()
        began = time.perf_counter()
        _query(table)
        return time.perf_counter() - began

    with ThreadPoolExecutor(clients) as threads:
        return sorted(threads.map(ask, range(clients)))


def _speed(
    name: str, peer: str, table: ServedTable, times: tuple[float, float, float], why: str = ""
) -> Result:
    ours, theirs, ratio = times
    met = 1 / ratio >= 0.7
    return Result(
        name=name,
        figure=1 / ratio,
        unit=f"x the speed of {peer}",
        goal="at least 0.7",
        met=met,
        detail={"gateway_s": ours, "peer_s": theirs, "megabytes": table.megabytes},
        why="" if met else why,
    )
