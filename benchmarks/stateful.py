"""(j) Windows and duplicates in a hundred batches, against the bare engine doing the batch query once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.data import DDL, orders
from benchmarks.measure import Result, alternate

RATIO_GOAL = 2.0
_PROFILE = (
    "of some 190 ms of processor time a batch, 65 go into our reader, which is not the engine's own, and into files"
    " for the operator, 70 into reading and writing these, 50 into the plan, the sum and the commit; the bare engine"
    " parses a batch and adds it up in 30 ms, and finds its duplicates in 100"
)
_PIPELINE = f"""\
from pyspark import pipelines as dp
from pyspark.sql import functions as F

@dp.table
def result():
    rows = (
        spark.readStream.format("cloudFiles")
        .option("cloudFiles.format", "json")
        .option("cloudFiles.maxFilesPerTrigger", "1")
        .schema("{DDL}")
        .load(spark.conf.get("landing_zone") + "/orders")
        .withWatermark("event_timestamp", "10 minutes")
    )
    return %s
"""
_QUERIES = {
    "counts and sums in windows": (
        'rows.groupBy(F.window("event_timestamp", "10 minutes"), "customer.address.city")'
        '.agg(F.count("*").alias("orders"), F.max("amount").alias("largest"))'
    ),
    "duplicates within a watermark": 'rows.dropDuplicatesWithinWatermark(["id"]).select("id", "amount")',
}


def measure(folder: Path, *, batches: int, runs: int) -> list[Result]:
    """A shipment is a batch. Both in this process, on one engine, storage emptied before each run."""
    from proa.engine import Engine
    from proa.settings import EngineSettings

    landing = folder / f"shipped-{batches}"
    one_file = [
        orders(landing / "orders", megabytes=1, first_file=number) for number in range(batches)
    ]
    files = [path for paths in one_file for path in paths]
    _ship(landing, files)
    engine = Engine.start(EngineSettings(), {})
    place = folder / "stateful"
    results = [
        _measure(engine, place, landing, files, name=name, query=query, runs=runs)
        for name, query in _QUERIES.items()
    ]
    engine.close()
    return results


def _ship(landing: Path, files: Sequence[Path]) -> None:
    """Name each file in the zone's manifest, a shipment each; those that are named already stay."""
    from proa.landing import Manifest, Shipment, ShippedFile
    from proa.storage import Store

    manifest = Manifest(Store.open(str(landing)), "orders")
    manifest.refresh()
    at = datetime(2026, 1, 1, tzinfo=UTC)
    for path in files[manifest.head :]:
        named = ShippedFile(path=path.name, size=path.stat().st_size, sha256="0" * 64, modified=at)
        manifest.append(Shipment(first=manifest.head + 1, shipped_at=at, files=(named,)))


def _measure(  # noqa: PLR0913 - what is measured, and where
    engine: Any,
    place: Path,
    landing: Path,
    files: Sequence[Path],
    *,
    name: str,
    query: str,
    runs: int,
) -> Result:
    from proa.runtime import Runner, UpdateState

    source = place / "pipeline.py"
    options = {"landing_zone": str(landing)}

    def clear(_run: int) -> None:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        source.write_text(_PIPELINE % query)

    def ours(_run: int) -> None:
        storage = str(place / "storage")
        with Runner.from_settings("stateful", storage, [source], options, engine=engine) as runner:
            result = runner.update()
        assert result.state is UpdateState.COMPLETED, result.error

    bare = _bare(engine.spark, query, files, place / "bare")
    ours_s, bare_s, ratio = alternate(ours, bare, runs=runs, prepare=clear)
    size = sum(path.stat().st_size for path in files)
    return Result(
        f"{name}, {size / 1e6:,.0f} MB in {len(files)} batches: time against one query of the bare engine",
        ratio,
        "x",
        f"at most {RATIO_GOAL}",
        ratio <= RATIO_GOAL,
        {"ours_s": ours_s, "peer_s": bare_s},
        _PROFILE if ratio > RATIO_GOAL else "",
    )


def _bare(spark: Any, query: str, files: Sequence[Path], out: Path) -> Callable[[int], None]:
    """A function that computes the query over all files at once."""
    from pyspark.sql import functions

    batch = query.replace("dropDuplicatesWithinWatermark", "dropDuplicates")

    def run(_run: int) -> None:
        rows = spark.read.schema(DDL).json([str(path) for path in files])
        frame = eval(batch, {"rows": rows, "F": functions})
        frame.write.parquet(str(out))

    return run
