"""(a) Bronze, silver and gold; (b) one more small file, and nothing new: against the bare engine."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks.data import orders, write_orders
from benchmarks.measure import Result, alternate, seconds
from benchmarks.projects import AUTO_LOADER, Bare, bare_flights, write_project

RATIO_GOAL, SMALL_GOAL_MS, IDLE_GOAL_MS = 1.3, 150, 50

_JSON_PROFILE = (
    "Arrow's JSON parser, in two Python tasks, takes half of the time and is slower than the engine's"
    " own; the write stage takes a fifth, reading a twelfth, and a look at each line, so that nothing"
    " is dropped silently, less than a twentieth"
)
_FLIGHTS_PROFILE = (
    "a quarter goes into reading every file once more to find fields that the hints do not name, which"
    " the bare engine, told the schema, does not; six tenths into reading, computing and writing,"
    " and the rest into planning and the commits of 11 small tables"
)


def measure(folder: Path, *, megabytes: int, runs: int) -> list[Result]:
    """Both in this process, on one engine, storage emptied before each run."""
    from proa.engine import Engine
    from proa.runtime import Runner, UpdateState, from_project
    from proa.settings import EngineSettings

    landing = folder / f"orders-{megabytes}"
    files = orders(landing, megabytes=megabytes)
    size = sum(path.stat().st_size for path in files)
    engine = Engine.start(EngineSettings(), {})
    project = folder / "project"
    bare = Bare(engine.spark, folder / "bare")

    def clear(_run: int) -> None:
        write_project(project, landing, AUTO_LOADER)
        bare.reset()

    def ours(_run: int) -> None:
        result = Runner(from_project(project), engine=engine).update()
        assert result.state is UpdateState.COMPLETED, result.error

    ours_s, bare_s, ratio = alternate(ours, lambda _run: bare.run(files), runs=runs, prepare=clear)
    found = [
        Result(
            f"bronze, silver and gold of {size / 1e6:,.0f} MB of JSON, time against the bare engine",
            ratio,
            "x",
            f"at most {RATIO_GOAL}",
            ratio <= RATIO_GOAL,
            {"ours_s": ours_s, "peer_s": bare_s, "files": len(files)},
            _JSON_PROFILE if ratio > RATIO_GOAL else "",
        )
    ]
    clear(0)
    runner = Runner(from_project(project), engine=engine)
    runner.update()
    bare.run(files)
    found += _small(runner, bare, landing, runs=max(5, runs))
    engine.close()
    return found


def _small(runner: object, bare: Bare, landing: Path, *, runs: int) -> list[Result]:
    """One more file of a hundred rows at a time, then nothing."""
    import duckdb

    added: list[Path] = []

    def arrive(run: int) -> None:
        path = landing / f"small-{run:05}.json"
        write_orders(duckdb, path, 10**9 + run * 100, 100)
        added.append(path)

    def ours(_run: int) -> None:
        runner.update()  # type: ignore[attr-defined]

    try:
        ours_s, bare_s, _ = alternate(
            ours, lambda _run: bare.run(added[-1:]), runs=runs, prepare=arrive
        )
        over = (ours_s - bare_s) * 1000
        idle = sorted(seconds(lambda: ours(0)) for _ in range(runs))[runs // 2] * 1000
    finally:
        for path in added:
            path.unlink()
    return [
        Result(
            "one more file of 100 rows, warm: time over the bare engine's",
            over,
            "ms",
            f"at most {SMALL_GOAL_MS}",
            over <= SMALL_GOAL_MS,
            {"ours_s": ours_s, "peer_s": bare_s},
        ),
        Result(
            "an update with nothing to do, warm",
            idle,
            "ms",
            f"under {IDLE_GOAL_MS}",
            idle < IDLE_GOAL_MS,
        ),
    ]


def measure_flights(folder: Path, *, runs: int) -> list[Result]:
    """The example's eleven tables over the whole year, against reading and writing the same files."""
    from proa.demo import flights
    from proa.demo.stage import project
    from proa.engine import Engine
    from proa.runtime import Runner, UpdateState, from_project
    from proa.settings import EngineSettings

    landing = folder / "flights-landing"
    if not landing.exists():
        flights.publish(landing, flights.dimension_files())
        flights.publish(landing, flights.flight_files(damaged=False))
    target = folder / "flights"
    engine = Engine.start(EngineSettings(), {})

    def clear(_run: int) -> None:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(project("flights"), target)
        (target / "proa.yml").unlink()
        spec = target / "spark-pipeline.yml"
        spec.write_text(spec.read_text().replace("data/landing", str(landing)))
        shutil.rmtree(folder / "bare-flights", ignore_errors=True)

    def ours(_run: int) -> None:
        result = Runner(from_project(target), engine=engine).update()
        assert result.state is UpdateState.COMPLETED, result.error

    def bare(_run: int) -> None:
        bare_flights(engine.spark, target, landing, folder / "bare-flights")

    ours_s, bare_s, ratio = alternate(ours, bare, runs=runs, prepare=clear)
    engine.close()
    return [
        Result(
            "the flights of a year in eleven tables, time against the bare engine",
            ratio,
            "x",
            f"at most {RATIO_GOAL}",
            ratio <= RATIO_GOAL,
            {"ours_s": ours_s, "peer_s": bare_s},
            _FLIGHTS_PROFILE if ratio > RATIO_GOAL else "",
        )
    ]
