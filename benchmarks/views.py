"""(n) Materialized views refreshed from what changed: the cost follows the changes, not the table."""

from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import Result

RATIO_GOAL = 2.0
_PIPELINE = """\
from pyspark import pipelines as dp

@dp.table
def changes():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "parquet")
        .schema("id long, city string, amount long, n long").load(spark.conf.get("landing_zone"))
    )

dp.create_streaming_table("orders")
dp.create_auto_cdc_flow("orders", "changes", ["id"], "n", except_column_list=["n"])
"""
_VIEWS = {
    "sums of groups": "SELECT city, count(*) AS n, sum(amount) AS s FROM orders GROUP BY city",
    "groups computed anew": "SELECT id DIV 1000 AS part, avg(amount) AS mean FROM orders GROUP BY id DIV 1000",
    "rows by key": "SELECT id, upper(city) AS city, amount FROM orders WHERE amount % 2 = 0",
}
"""The second has no column that a key can be made of, so it is computed whole: what the others spare."""


def measure(folder: Path, *, rows: int, changes: int, runs: int) -> list[Result]:
    small = _times(folder, rows, changes, runs)
    large = _times(folder, 10 * rows, changes, runs)
    results = []
    for name in _VIEWS:
        (few, technique), (many, _) = small[name], large[name]
        whole = technique == "COMPLETE_RECOMPUTE"
        results.append(
            Result(
                f"{changes:,} changes, {name} ({technique}): CPU time with {10 * rows:,} rows against {rows:,}",
                many / few,
                "x",
                "none: it is computed whole" if whole else f"at most {RATIO_GOAL}",
                whole or many <= RATIO_GOAL * few,
                {f"{rows} rows": few, f"{10 * rows} rows": many},
            )
        )
    return results


def _times(folder: Path, rows: int, changes: int, runs: int) -> dict[str, tuple[float, str]]:
    """For each view the CPU seconds of a refresh (median) and how it was made."""
    from proa.runtime import Runner, UpdateRequest

    place = folder / "views"
    shutil.rmtree(place, ignore_errors=True)
    landing = place / "landing"
    landing.mkdir(parents=True)
    sources = [place / "pipeline.py", place / "views.sql"]
    sources[0].write_text(_PIPELINE)
    names = {name: f"view_{number}" for number, name in enumerate(_VIEWS)}
    sources[1].write_text(
        "\n".join(
            f"CREATE OR REFRESH MATERIALIZED VIEW {names[name]} AS {text};"
            for name, text in _VIEWS.items()
        )
    )
    luck = np.random.default_rng(1)
    seconds: dict[str, list[float]] = {name: [] for name in _VIEWS}
    how: dict[str, str] = {}
    heard: list[object] = []
    options = {"landing_zone": str(landing)}
    storage = str(place / "storage")
    with Runner.from_settings("views", storage, sources, options, listener=heard.append) as runner:
        for run in range(runs + 2):
            first = int(luck.integers(0, rows - changes))
            keys = np.arange(rows) if run == 0 else np.arange(first, first + changes)
            _land(landing / f"{run}.parquet", luck, keys, run)
            _update(runner, UpdateRequest(refresh=["changes", "orders"]))
            for name, view in names.items():
                heard.clear()
                began = time.process_time()
                _update(runner, UpdateRequest(refresh=[view]))
                if run > 1:
                    seconds[name].append(time.process_time() - began)
                for event in heard:
                    details = getattr(event, "details", {}).get("planning_information", {})
                    how[name] = details.get("refresh", {}).get("technique", how.get(name, ""))
    return {name: (statistics.median(seconds[name]), str(how[name])) for name in _VIEWS}


def _update(runner: object, request: object) -> None:
    error = runner.update(request).error  # type: ignore[attr-defined]
    if error is not None:
        raise error


def _land(path: Path, luck: np.random.Generator, keys: np.ndarray, run: int) -> None:
    count = len(keys)
    cities = np.array([f"city {number}" for number in range(50)])
    rows = pa.table(
        {
            "id": pa.array(keys, pa.int64()),
            "city": pa.array(cities[luck.integers(0, 50, count)]),
            "amount": pa.array(luck.integers(0, 1000, count)),
            "n": pa.array(np.full(count, run)),
        }
    )
    pq.write_table(rows, path)
