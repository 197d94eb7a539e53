"""(v) `verify` when a region lags: its cost must not be that of files times versions."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Result, peak_memory_mb

if TYPE_CHECKING:
    import pyarrow as pa

    from proa.layout import Layout
    from proa.recovery import StoredRegion
    from proa.runtime.checkpoint import Plan

RATIO_GOAL, MEMORY_GOAL_MB = 2.5, 600
_FILES, _BATCHES = 20_000, 200


def measure(folder: Path, *, files: int = _FILES) -> list[Result]:
    """Each case in a process of its own, so that its memory is its own too."""
    figures = {}
    for case in ("equal", "behind"):
        place = folder / f"verifying-{files}-{case}"
        if not (place / "made").exists():
            shutil.rmtree(place, ignore_errors=True)
            _make(place, files, behind=case == "behind")
            (place / "made").touch()
        command = [sys.executable, "-m", "benchmarks.verifying", str(place)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
        figures[case] = json.loads(answer.stdout)
    ratio = figures["behind"]["cpu_s"] / figures["equal"]["cpu_s"]
    memory = figures["behind"]["memory_mb"]
    return [
        Result(
            f"verify over {files:,} files, a region one file behind: time against equal regions",
            ratio,
            "x",
            f"at most {RATIO_GOAL}",
            ratio <= RATIO_GOAL,
            {case: found["cpu_s"] for case, found in figures.items()},
        ),
        Result(
            f"verify over {files:,} files, a region one file behind: memory of the process",
            memory,
            "MB",
            f"under {MEMORY_GOAL_MB}",
            memory < MEMORY_GOAL_MB,
        ),
    ]


def _make(folder: Path, files: int, *, behind: bool) -> None:
    """Two regions of bronze and gold, as the runtime writes them, without an engine."""
    import pyarrow as pa

    from proa.autoloader import FileRef
    from proa.layout import Layout
    from proa.runtime.checkpoint import FilesInput, Plan, TableInput

    size = files // _BATCHES
    for region in ("east", "west"):
        layout = Layout(str(folder / region / "storage"))
        (folder / region / "landing").mkdir(parents=True)
        for batch in range(_BATCHES):
            last = batch == _BATCHES - 1 and behind and region == "west"
            numbers = range(batch * size, (batch + 1) * size - last)
            refs = tuple(
                FileRef(f"{folder}/{region}/landing/orders/{n:08}.json", 1, n) for n in numbers
            )
            rows = pa.table({"id": pa.array([batch], pa.int64())})
            commit_batch(
                layout, "bronze", Plan(batch, {"files:orders:0": FilesInput(refs)}, "d"), rows
            )
            read = {"table:bronze:0": TableInput("bronze", batch, 0)}
            commit_batch(layout, "gold", Plan(batch, read, "d", replaces=True), rows)


def commit_batch(layout: Layout, table: str, plan: Plan, rows: pa.Table) -> None:
    """Make a batch part of a table, as the runtime does it."""
    from deltalake import CommitProperties, Transaction, write_deltalake

    from proa.layout import app_id
    from proa.runtime.checkpoint import Checkpoint
    from proa.storage import Store

    checkpoint = Checkpoint(Store.open(layout.checkpoint(table, table, 0)))
    checkpoint.put(plan)
    write_deltalake(
        layout.table(table),
        rows,
        mode="overwrite" if plan.replaces else "append",
        commit_properties=CommitProperties(
            app_transactions=[Transaction(app_id(table, 0), plan.batch)]
        ),
    )
    checkpoint.mark_committed(plan.batch)


def region_of(folder: Path, name: str) -> StoredRegion:
    """A region below a folder."""
    from proa.recovery import StoredRegion
    from proa.settings import RegionSettings

    place = folder / name
    return StoredRegion(
        name,
        RegionSettings(landing_zone=str(place / "landing"), storage=str(place / "storage")),
    )


def _measure_here(folder: Path) -> dict[str, float]:
    from proa.recovery import Rules, verify

    regions = [region_of(folder, name) for name in ("east", "west")]
    begun = time.process_time()
    reports = list(verify(regions[0], regions[1], lambda _table: Rules()))
    assert all(report.comparison is not None for report in reports), reports
    return {"cpu_s": time.process_time() - begun, "memory_mb": peak_memory_mb()}


if __name__ == "__main__":
    json.dump(_measure_here(Path(sys.argv[1])), sys.stdout)
