"""(g) One more file after few and after many batches: the cost follows what is new, not what was."""

from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path

from benchmarks.measure import Result

RATIO_GOAL = 1.5
_LAST = 15
"""Updates whose median is taken."""
_PIPELINE = """\
from pyspark import pipelines as dp

@dp.table
def bronze():
    return (
        spark.readStream.format("cloudFiles")
        .option("cloudFiles.format", "json")
        .schema("id long, text string")
        .load(spark.conf.get("landing_zone"))
    )

@dp.table
def silver():
    return spark.readStream.table("bronze").select("id")
"""


def measure(folder: Path, *, few: int, many: int) -> list[Result]:
    """One runner that stays warm, an update for each file."""
    from proa.runtime import Runner

    place = folder / "growing"
    shutil.rmtree(place, ignore_errors=True)
    landing = place / "landing"
    landing.mkdir(parents=True)
    source = place / "pipeline.py"
    source.write_text(_PIPELINE)
    seconds: list[float] = []
    options = {"landing_zone": str(landing)}
    with Runner.from_settings("growing", str(place / "storage"), [source], options) as runner:
        for number in range(many):
            (landing / f"{number}.json").write_text(f'{{"id": {number}, "text": "a"}}\n' * 100)
            began = time.process_time()
            error = runner.update().error
            if error is not None:
                raise error
            seconds.append(time.process_time() - began)
    at_few = statistics.median(seconds[few - _LAST : few])
    at_many = statistics.median(seconds[-_LAST:])
    return [
        Result(
            f"one more file after {many:,} batches: CPU time against after {few}",
            at_many / at_few,
            "x",
            f"at most {RATIO_GOAL}",
            at_many <= RATIO_GOAL * at_few,
            {f"after {few}": at_few, f"after {many}": at_many},
        )
    ]
