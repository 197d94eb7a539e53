"""(c) The same Apache project, cold, end to end: `proa run` against `spark-pipelines run`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.data import orders
from benchmarks.measure import Result, alternate
from benchmarks.projects import APACHE, write_project

GOAL = 10
_PROFILE = (
    "of our seconds, about two are the process itself (Python, pyspark, pandas, grpc, the engine's"
    " start), and most of the rest is parsing JSON, which this much data makes the peer's main work"
    " too; the less data there is, the larger the ratio"
)
VERSION = "4.3.0"


def measure(folder: Path, *, megabytes: int, runs: int) -> list[Result]:
    """Needs Java 17; pyspark is installed into an environment of its own."""
    environment = _environment(folder / "spark-env")
    landing = folder / f"orders-{megabytes}"
    files = orders(landing, megabytes=megabytes)
    ours_folder, theirs_folder = folder / "apache-ours", folder / "apache-theirs"

    def clear(_run: int) -> None:
        for project in (ours_folder, theirs_folder):
            write_project(project, landing, APACHE)

    def ours(_run: int) -> None:
        _run_in(ours_folder, [sys.executable, "-m", "proa", "run"], dict(os.environ))

    def theirs(_run: int) -> None:
        _run_in(theirs_folder, ["spark-pipelines", "run"], environment)

    ours_s, theirs_s, ratio = alternate(ours, theirs, runs=runs, prepare=clear)
    size = sum(path.stat().st_size for path in files)
    return [
        Result(
            f"{size / 1e6:,.0f} MB cold, speed against Apache Spark SDP {VERSION}",
            1 / ratio,
            "x",
            f"at least {GOAL}",
            1 / ratio >= GOAL,
            {"ours_s": ours_s, "peer_s": theirs_s},
            _PROFILE if 1 / ratio < GOAL else "",
        )
    ]


def _environment(folder: Path) -> dict[str, str]:
    if not (folder / "bin" / "spark-pipelines").exists():
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, f"pyspark[pipelines]=={VERSION}"], check=True)
    home = next(folder.glob("lib/python*/site-packages/pyspark"))
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "SPARK_HOME": str(home)}


def _run_in(folder: Path, command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
