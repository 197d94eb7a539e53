"""(e) Finding ten new files among many known ones, against a bare listing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from benchmarks.measure import Result, alternate, peak_memory_mb

TIME_GOAL, MEMORY_GOAL_MB = 1.5, 300
_FOLDERS = 100


def measure(folder: Path, *, files: int, runs: int) -> list[Result]:
    """In a process of its own, so that its memory is its own too."""
    make(folder / f"landing-{files}", files)
    command = [sys.executable, "-m", "benchmarks.discovery", str(folder), str(files), str(runs)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    ratio, ours, bare, memory = (float(part) for part in answer.stdout.split())
    return [
        Result(
            f"ten new files among {files:,}: time against a bare listing",
            ratio,
            "x",
            f"at most {TIME_GOAL}",
            ratio <= TIME_GOAL,
            {"ours_s": ours, "peer_s": bare},
        ),
        Result(
            f"ten new files among {files:,}: memory of the process",
            memory,
            "MB",
            f"under {MEMORY_GOAL_MB}",
            memory < MEMORY_GOAL_MB,
        ),
    ]


def make(landing: Path, files: int) -> None:
    """Empty files in a hundred folders; made once."""
    if (landing / "_made").exists():
        return
    for number in range(_FOLDERS):
        (landing / f"{number:03}").mkdir(parents=True, exist_ok=True)
    for number in range(files):
        path = landing / f"{number % _FOLDERS:03}" / f"{number:08}.json"
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    (landing / "_made").touch()


def _measure_here(folder: Path, files: int, runs: int) -> tuple[float, float, float, float]:
    import tempfile

    import obstore
    from obstore.store import LocalStore

    from proa.autoloader import AutoLoader, FileRef, KnownFiles
    from proa.clock import SystemClock
    from proa.graph.leaves import FilesLeaf
    from proa.storage import Store

    landing = folder / f"landing-{files}"
    leaf = FilesLeaf("files:0", str(landing), {"cloudFiles.format": "json"}, schema="id bigint")
    with tempfile.TemporaryDirectory(dir=folder) as state:
        store = Store.open(state)
        loader = AutoLoader(leaf, state=store, storage_options={}, clock=SystemClock())
        known = KnownFiles(store)
        for number in range(0, files - 10, 100_000):
            known.record(
                number // 100_000,
                [
                    FileRef(f"{landing}/{n % _FOLDERS:03}/{n:08}.json", 0, 0)
                    for n in range(number, min(number + 100_000, files - 10))
                ],
            )
            known.compact()
        del known
        warm = KnownFiles(store)
        base = peak_memory_mb()

        def ours(_run: int) -> None:
            assert loader.discover(warm).files == 10

        def bare(_run: int) -> None:
            total = sum(
                page.num_rows for page in obstore.list(LocalStore(str(landing)), return_arrow=True)
            )
            assert total == files + 1

        ours_s, bare_s, ratio = alternate(ours, bare, runs=runs)
    assert base > 0
    return ratio, ours_s, bare_s, peak_memory_mb()


if __name__ == "__main__":
    figures = _measure_here(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    print(*figures)
