"""Timing two things side by side: machines are noisy, so what counts is the ratio within one run."""

from __future__ import annotations

import gc
import os
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any


@dataclass
class Result:
    """One row of the report."""

    name: str
    figure: float
    unit: str
    """"x" for a ratio, "ms", "MB", "1/s"."""
    goal: str
    met: bool
    detail: dict[str, Any] = field(default_factory=dict)
    why: str = ""
    """Where the goal is missed: what the profile says."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def seconds(action: Callable[[], object], timer: Callable[[], float] = time.perf_counter) -> float:
    gc.collect()
    start = timer()
    action()
    return timer() - start


def alternate(
    ours: Callable[[int], object],
    theirs: Callable[[int], object],
    *,
    runs: int,
    prepare: Callable[[int], object] = lambda _run: None,
    timer: Callable[[], float] = time.perf_counter,
) -> tuple[float, float, float]:
    """Run A B A B ...: the median of each in seconds, and the median of the pairwise ratios.

    Every action is told the number of its run; run 0 warms both up and is not counted. `timer` may be
    `time.process_time`, where the machine has other work.
    """
    pairs = []
    for run in range(runs + 1):
        prepare(run)
        pair = (
            seconds(lambda run=run: ours(run), timer),
            seconds(lambda run=run: theirs(run), timer),
        )
        if run:
            pairs.append(pair)
    return (
        median(a for a, _ in pairs),
        median(b for _, b in pairs),
        median(a / b for a, b in pairs),
    )


def peak_memory_mb() -> float:
    """This process's largest resident size so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def processor_s(process: int) -> float:
    """The seconds of processor time that a process and its children have taken so far."""
    parents: dict[int, list[int]] = {}
    taken: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:  # it has ended meanwhile; its parent has its time
            continue
        number, fields = int(stat.parent.name), text.rpartition(")")[2].split()
        parents.setdefault(int(fields[1]), []).append(number)
        taken[number] = sum(map(int, fields[11:15]))
    total, family = 0, [process]
    while family:
        number = family.pop()
        total += taken.get(number, 0)
        family += parents.get(number, ())
    return total / os.sysconf("SC_CLK_TCK")
