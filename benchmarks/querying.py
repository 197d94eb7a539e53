"""Reading the first rows of a large answer: time and memory must not grow with the answer."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

from benchmarks.measure import Result, seconds

TIME_GOAL, MEMORY_GOAL_MB = 2.0, 500
_SMALL, _LARGE = 100_000, 20_000_000


def measure(folder: Path) -> list[Result]:
    """`proa query | head -3` over a small and a large answer, as whole processes."""
    project = folder / "querying"
    if not project.exists():
        subprocess.run(
            [_proa(), "init", "querying"], check=True, stdout=subprocess.DEVNULL, cwd=folder
        )
    small = min(seconds(lambda: _first_rows(project, _SMALL)) for _ in range(3))
    large = min(seconds(lambda: _first_rows(project, _LARGE)) for _ in range(3))
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return [
        Result(
            f"first rows of {_LARGE:,} against first rows of {_SMALL:,}: time",
            large / small,
            "x",
            f"at most {TIME_GOAL}",
            large / small <= TIME_GOAL,
            {"large_s": large, "small_s": small},
        ),
        Result(
            f"first rows of {_LARGE:,}: memory of the process",
            memory,
            "MB",
            f"under {MEMORY_GOAL_MB}",
            memory < MEMORY_GOAL_MB,
        ),
    ]


def _first_rows(project: Path, rows: int) -> None:
    sql = f"SELECT id, id * 2 AS twice, cast(id AS string) AS text FROM range({rows})"
    with subprocess.Popen(
        [_proa(), "query", "--region", "east", sql],
        cwd=project,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        process.stdout.close()
        process.wait(timeout=120)


def _proa() -> str:
    return str(Path(sys.executable).parent / "proa")
