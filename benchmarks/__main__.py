"""`python -m benchmarks`: measure, print ratios, say which goals are met.

python -m benchmarks                    everything that needs Python only
python -m benchmarks pipeline shipping  these parts
python -m benchmarks many_changes       1,000,000 changes into 10,000,000 rows; only where it is named
python -m benchmarks --peer spark       against Apache Spark (needs Java 17; installs pyspark)
python -m benchmarks --peer dbt         against dbt on DuckDB (installs dbt-duckdb)
python -m benchmarks --json             one JSON document
python -m benchmarks --quick            small data, for a first look
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import Result

Part = Callable[[Path, bool], list[Result]]


def _pipeline(folder: Path, quick: bool) -> list[Result]:  # noqa: FBT001
    from benchmarks import pipeline

    return pipeline.measure(folder, megabytes=40 if quick else 500, runs=2 if quick else 5)


def _flights(folder: Path, quick: bool) -> list[Result]:  # noqa: FBT001
    from benchmarks import pipeline

    return pipeline.measure_flights(folder, runs=1 if quick else 5)


def _shipping(folder: Path, quick: bool) -> list[Result]:  # noqa: FBT001
    from benchmarks import shipping

    return shipping.measure(folder, megabytes=40 if quick else 500, runs=3 if quick else 5)


def _discovery(folder: Path, quick: bool) -> list[Result]:  # noqa: FBT001
    from benchmarks import discovery

    sizes = (10_000,) if quick else (100_000, 1_000_000)
    return [result for size in sizes for result in discovery.measure(folder, files=size, runs=3)]


def _region(folder: Path, quick: bool) -> list[Result]:  # noqa: FBT001
    from benchmarks import region

    return region.measure(folder, clients=1000, seconds=10 if quick else 30, runs=2 if quick else 5)


def _querying(folder: Path, _quick: bool) -> list[Result]:  # noqa: FBT001
    from benchmarks import querying

    return querying.measure(folder)


def _growing(folder: Path, quick: bool) -> list[Result]:  # noqa: FBT001
    from benchmarks import growing

    return growing.measure(folder, few=50, many=200 if quick else 2_000)


def _verifying(folder: Path, quick: bool) -> list[Result]:  # noqa: FBT001
    from benchmarks import verifying

    sizes = (20_000,) if quick else (20_000, 100_000)
    return [result for size in sizes for result in verifying.measure(folder, files=size)]


def _proving(folder: Path, quick: bool) -> list[Result]:  # noqa: FBT001
    from benchmarks import proving

    return proving.measure(folder, megabytes=40 if quick else 500, runs=3 if quick else 5)


def _region_costs(folder: Path, quick: bool) -> list[Result]:  # noqa: FBT001
    from benchmarks import region_costs

    return region_costs.measure(
        folder / "region-costs",
        jobs=1000 if quick else 5000,
        pipelines=30 if quick else 100,
        answers=500 if quick else 1500,
        burst=4 if quick else 8,
    )


def _sharing(folder: Path, quick: bool) -> list[Result]:  # noqa: FBT001
    from benchmarks import sharing

    return sharing.measure(
        folder, megabytes=50 if quick else 500, runs=3 if quick else 5, clients=100
    )


def _failing_over(folder: Path, quick: bool) -> list[Result]:  # noqa: FBT001
    from benchmarks import failing_over

    return failing_over.measure(folder, megabytes=40 if quick else 500, runs=1 if quick else 3)


def _changes(folder: Path, quick: bool) -> list[Result]:  # noqa: FBT001
    from benchmarks import changes

    rows, count = (100_000, 10_000) if quick else (1_000_000, 100_000)
    return changes.measure(folder, rows=rows, changes=count, runs=2 if quick else 5)


def _views(folder: Path, quick: bool) -> list[Result]:  # noqa: FBT001
    from benchmarks import views

    rows = 100_000 if quick else 1_000_000
    return views.measure(folder, rows=rows, changes=1000, runs=3 if quick else 5)


def _many_changes(folder: Path, _quick: bool) -> list[Result]:  # noqa: FBT001
    from benchmarks import changes

    return changes.measure(folder, rows=10_000_000, changes=1_000_000, runs=2)


def _numbered(folder: Path, quick: bool) -> list[Result]:  # noqa: ARG001, FBT001
    from benchmarks import numbered

    sizes = (100_000,) if quick else (100_000, 1_000_000)
    return [result for size in sizes for result in numbered.measure(files=size, runs=11)]


def _kernels(folder: Path, quick: bool) -> list[Result]:  # noqa: FBT001
    from benchmarks import kernels

    return kernels.measure(folder, rows=100_000 if quick else 1_000_000)


def _stateful(folder: Path, quick: bool) -> list[Result]:  # noqa: FBT001
    from benchmarks import stateful

    return stateful.measure(folder, batches=10 if quick else 100, runs=1 if quick else 3)


def _folding(folder: Path, quick: bool) -> list[Result]:  # noqa: FBT001
    from benchmarks import folding

    sizes = (1_000,) if quick else (1_000, 10_000)
    return [r for size in sizes for r in folding.measure(folder, shipments=size, runs=5)]


def _spark(folder: Path, quick: bool) -> list[Result]:  # noqa: FBT001
    from benchmarks import spark

    return spark.measure(folder, megabytes=40 if quick else 500, runs=1 if quick else 3)


def _dbt(folder: Path, quick: bool) -> list[Result]:  # noqa: FBT001
    from benchmarks import dbt

    return dbt.measure(folder, megabytes=40 if quick else 500, runs=1 if quick else 3)


PARTS: dict[str, Part] = {
    "pipeline": _pipeline,
    "flights": _flights,
    "shipping": _shipping,
    "discovery": _discovery,
    "region": _region,
    "region_costs": _region_costs,
    "querying": _querying,
    "growing": _growing,
    "verifying": _verifying,
    "proving": _proving,
    "changes": _changes,
    "views": _views,
    "sharing": _sharing,
    "failing_over": _failing_over,
    "kernels": _kernels,
    "numbered": _numbered,
    "stateful": _stateful,
    "folding": _folding,
}
LARGE: dict[str, Part] = {"many_changes": _many_changes}
"""Parts that run only where they are named."""
PEERS: dict[str, Part] = {"spark": _spark, "dbt": _dbt}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.splitlines()[0]
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS | LARGE))
    parser.add_argument("--peer", action="append", default=[], choices=PEERS)
    parser.add_argument("--folder", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    parts = PARTS | LARGE
    unknown = set(options.parts) - set(parts)
    if unknown:
        parser.error(f"there is no part {min(unknown)!r}; there are {', '.join(parts)}")
    chosen = {name: parts[name] for name in options.parts or ([] if options.peer else PARTS)}
    chosen |= {name: PEERS[name] for name in options.peer}
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    for part in chosen.values():
        for result in part(folder, options.quick):
            results.append(result)
            if not options.json:
                print(_line(result), flush=True)
    if options.json:
        json.dump([result.as_json() for result in results], sys.stdout, indent=2)
        print()
    return 0


def _line(result: Result) -> str:
    mark = "met   " if result.met else "MISSED"
    detail = ", ".join(f"{key} {_figure(value)}" for key, value in result.detail.items())
    line = f"{mark} {result.name}: {_figure(result.figure)} {result.unit} ({result.goal}) {detail}"
    return f"{line}\n       why: {result.why}" if result.why else line


def _figure(value: object) -> str:
    return f"{value:,.3g}" if isinstance(value, float) else f"{value:,}"


if __name__ == "__main__":
    sys.exit(main())
