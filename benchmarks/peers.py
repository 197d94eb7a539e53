"""What peers need: an environment of their own, and commands that run in a folder, cold."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.measure import Result, alternate


def install(folder: Path, program: str, requirements: Sequence[str]) -> dict[str, str]:
    """Make an environment in `folder` unless its `program` is there; returns processes' variables."""
    if not (folder / "bin" / program).exists():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, *requirements], check=True)
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**as_installed(), "PATH": path}


def as_installed() -> dict[str, str]:
    """The variables of this process, for programs as users have them: with compiled modules."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def run_in(folder: Path, command: Sequence[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def run_ours(folder: Path) -> None:
    """`proa run`, cold."""
    run_in(folder, [sys.executable, "-m", "proa", "run"], as_installed())


def compare_idle(
    ours: Path, theirs: Path, command: Sequence[str], environment: Mapping[str, str], *, runs: int
) -> tuple[float, float, float]:
    """Both with nothing to do; the projects have run before. As `alternate` returns it."""
    return alternate(
        lambda _run: run_ours(ours), lambda _run: run_in(theirs, command, environment), runs=runs
    )


def speed_result(name: str, times: tuple[float, float, float], goal: float, why: str) -> Result:
    """A line of the report for the speed against a peer."""
    ours_s, theirs_s, ratio = times
    met = 1 / ratio >= goal
    detail = {"ours_s": ours_s, "peer_s": theirs_s}
    return Result(name, 1 / ratio, "x", f"at least {goal}", met, detail, "" if met else why)
