"""(c) The same Apache project, cold, end to end: `proa run` against `spark-pipelines run`."""

from __future__ import annotations

from pathlib import Path

from benchmarks.data import orders
from benchmarks.measure import Result, alternate
from benchmarks.peers import compare_idle, install, run_in, run_ours, speed_result
from benchmarks.projects import APACHE, write_project

GOAL, SMALL_GOAL, IDLE_GOAL = 10, 15, 15
_PROFILE = (
    "of our seconds, about one is the process itself (Python, pyspark, grpc, the engine's start), and"
    " most of the rest is parsing JSON, which this much data makes the peer's main work too; the less"
    " data there is, the larger the ratio"
)
_IDLE_PROFILE = "of our time nine tenths are imports: pyspark, numpy and pyarrow, sqlglot, pydantic"
VERSION = "4.3.0"
_COMMAND = ["spark-pipelines", "run"]


def measure(folder: Path, *, megabytes: int, runs: int) -> list[Result]:
    """Needs Java 17; pyspark is installed into an environment of its own."""
    environment = install(
        folder / "spark-env", "spark-pipelines", [f"pyspark[pipelines]=={VERSION}"]
    )
    home = next((folder / "spark-env").glob("lib/python*/site-packages/pyspark"))
    environment["SPARK_HOME"] = str(home)
    return [
        *_cold(folder, environment, 10, SMALL_GOAL, runs=runs),
        *_cold(folder, environment, megabytes, GOAL, runs=runs),
    ]


def _cold(
    folder: Path, environment: dict[str, str], megabytes: int, goal: int, *, runs: int
) -> list[Result]:
    """The whole of it, and once more with nothing to do."""
    landing = folder / f"orders-{megabytes}"
    files = orders(landing, megabytes=megabytes)
    ours, theirs = folder / "apache-ours", folder / "apache-theirs"

    def clear(_run: int) -> None:
        for project in (ours, theirs):
            write_project(project, landing, APACHE)

    times = alternate(
        lambda _run: run_ours(ours),
        lambda _run: run_in(theirs, _COMMAND, environment),
        runs=runs,
        prepare=clear,
    )
    idle = compare_idle(ours, theirs, _COMMAND, environment, runs=runs)
    size = sum(path.stat().st_size for path in files)
    peer = f"speed against Apache Spark SDP {VERSION}"
    return [
        speed_result(f"{size / 1e6:,.0f} MB cold, {peer}", times, goal, _PROFILE),
        speed_result(
            f"nothing to do after {size / 1e6:,.0f} MB, {peer}", idle, IDLE_GOAL, _IDLE_PROFILE
        ),
    ]
