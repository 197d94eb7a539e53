"""A table loaded through `proa gateway`, against reading the same files directly, and 100 clients at once.

Twice: as the official client makes a frame of it, and the files alone, which is the gateway's own part.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake

from benchmarks.measure import Result, alternate
from proa.runtime.declared import DeclaredPipeline, DeclaredTable, write_declared

_ROW_BYTES = 24
_FILES = 8
_CLIENT = (
    "the client opens each link three times, reads it whole through fsspec, and copies the frame once more"
    " to order its columns; the gateway's own part is the next row"
)
_SETTINGS = """\
regions:
  bench: {landing_zone: zone, storage: storage}
"""


@dataclass(frozen=True)
class ServedTable:
    """A table behind a gateway, and where its files are."""

    profile: Path
    files: list[Path]

    @property
    def url(self) -> str:
        return f"{self.profile}#bench.default.events"


def measure(folder: Path, *, megabytes: int, runs: int, clients: int) -> list[Result]:
    """Loads as frames, the bytes alone, and the time to an answer with many clients."""
    import delta_sharing

    with served_table(folder / "sharing", megabytes) as table:
        size = sum(file.stat().st_size for file in table.files) / 2**20
        ours, theirs, ratio = alternate(
            lambda _run: delta_sharing.load_as_pandas(table.url),
            lambda _run: _load_directly(table),
            runs=runs,
        )
        links = _links(table)
        through, direct, bytes_ratio = alternate(
            lambda _run: [pq.read_table(pa.BufferReader(_fetch(link))) for link in links],
            lambda _run: [
                pq.read_table(pa.BufferReader(file.read_bytes())) for file in table.files
            ],
            runs=runs,
        )
        latencies = _asked_at_once(table, clients)
    half = latencies[len(latencies) // 2] * 1000
    return [
        _speed("a table is loaded by the official client", ratio, ours, theirs, size, _CLIENT),
        _speed("its files are read through the gateway", bytes_ratio, through, direct, size),
        Result(
            name=f"{clients} clients ask for a table's files at once",
            figure=half,
            unit="ms, median",
            goal="under 500 ms",
            met=half < 500,
            detail={"p99_ms": latencies[int(len(latencies) * 0.99)] * 1000},
        ),
    ]


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
        yield ServedTable(profile, [Path(file) for file in DeltaTable(place).file_uris()])
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


def _speed(  # noqa: PLR0913, PLR0917 - a row's parts
    name: str, ratio: float, ours: float, theirs: float, size: float, why: str = ""
) -> Result:
    met = 1 / ratio >= 0.7
    return Result(
        name=name,
        figure=1 / ratio,
        unit="x the speed of reading the same files directly",
        goal="at least 0.7",
        met=met,
        detail={"gateway_s": ours, "direct_s": theirs, "megabytes": size},
        why="" if met else why,
    )
