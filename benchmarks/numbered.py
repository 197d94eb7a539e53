"""Finding ten new files after many that a manifest numbers: nothing is listed, so it costs the same."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.measure import Result, peak_memory_mb, seconds

GOAL_MS, MEMORY_GOAL_MB = 50, 300
_TEN = 10


def measure(*, files: int, runs: int) -> list[Result]:
    """In a process of its own, so that its memory is its own too; the manifest is made by another."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.numbered", folder, str(files)]
        subprocess.run(command, check=True)
        command.append(str(runs))
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
    warm, cold, memory = (float(part) for part in answer.stdout.split())
    what = f"ten new files after {files:,} in a manifest"
    return [
        Result(f"{what}: warm", warm, "ms", f"under {GOAL_MS}", warm < GOAL_MS),
        Result(f"{what}: by a new reader", cold, "ms", f"under {GOAL_MS}", cold < GOAL_MS),
        Result(
            f"{what}: memory of the process",
            memory,
            "MB",
            f"under {MEMORY_GOAL_MB}",
            memory < MEMORY_GOAL_MB,
        ),
    ]


def _numbered_rows(files: int) -> pa.Table:
    """The manifest's rows for `files` files, each a shipment of its own; none of them exists."""
    from proa.landing.manifest import SCHEMA

    numbers = pa.array(range(1, files + 1), pa.int64())
    moment = pa.repeat(
        pa.scalar(datetime(2026, 1, 1, tzinfo=UTC), SCHEMA.field("modified").type), files
    )
    names = pc.binary_join_element_wise(pc.cast(numbers, pa.string()), ".json", "")
    none = pa.nulls(files, SCHEMA.field("event_min").type)
    digests = pa.repeat(pa.scalar("0" * 64), files)
    columns = [numbers, numbers, names, pa.repeat(pa.scalar(1, pa.int64()), files), digests]
    return pa.Table.from_arrays([*columns, moment, moment, none, none], schema=SCHEMA)


def _number_files(folder: str, files: int) -> None:
    """Write the manifest of so many files, as the shipper has folded it."""
    from proa.landing.manifest import Manifest, _FileFolds
    from proa.storage import Store

    zone = Store.open(f"{folder}/landing")
    folds = _FileFolds(Manifest(zone, "events")._entries)  # noqa: SLF001 - made without 1,000,000 shipments
    path = f"_proa/manifest/events/segments/{1:020d}-{files:020d}.parquet"
    zone.put(path, folds.encode(_numbered_rows(files)))


def _measure_here(folder: str, files: int, runs: int) -> tuple[float, float, float]:
    from proa.autoloader import AutoLoader
    from proa.clock import SystemClock
    from proa.graph.leaves import FilesLeaf
    from proa.landing import Manifest, Shipment, ShippedFile
    from proa.storage import Store

    zone, clock = Store.open(f"{folder}/landing"), SystemClock()
    manifest = Manifest(zone, "events")
    manifest.refresh()
    assert manifest.head == files, manifest.head
    leaf = FilesLeaf(
        "files:0",
        f"{folder}/landing/events",
        {"cloudFiles.format": "json"},
        schema="id bigint",
    )

    def loader() -> AutoLoader:
        return AutoLoader(
            leaf, state=Store.open(f"{folder}/state"), storage_options={}, clock=clock
        )

    def ship() -> None:
        named = tuple(
            ShippedFile(
                path=f"{manifest.head + n + 1}.json",
                size=1,
                sha256="0" * 64,
                modified=clock.now(),
            )
            for n in range(_TEN)
        )
        manifest.append(Shipment(first=manifest.head + 1, shipped_at=clock.now(), files=named))

    def find(it: AutoLoader, after: int) -> None:
        assert it.discover(None, after={"events": after}).files == _TEN

    warm = loader()
    warm.discover(None, after={"events": files})
    found, new = [], []
    for _ in range(runs):
        head = manifest.head
        ship()
        found.append(seconds(lambda head=head: find(warm, head)))
        new.append(seconds(lambda head=head: find(loader(), head)))
    return 1000 * sorted(found)[runs // 2], 1000 * sorted(new)[runs // 2], peak_memory_mb()


if __name__ == "__main__":
    if len(sys.argv) > 3:
        print(*_measure_here(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
    else:
        _number_files(sys.argv[1], int(sys.argv[2]))
