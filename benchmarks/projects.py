"""The pipelines that are measured, and the same work done by the bare engine."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.data import DDL

_SPEC = """\
name: orders
storage: {storage}
configuration:
  landing_zone: {landing}
libraries:
  - glob:
      include: transformations/**
"""

AUTO_LOADER = f"""\
from pyspark import pipelines as dp

@dp.table
def bronze():
    return (
        spark.readStream.format("cloudFiles")
        .option("cloudFiles.format", "json")
        .option("cloudFiles.maxFilesPerTrigger", "100000")
        .option("cloudFiles.rescuedDataColumn", "_rescued_data")
        .schema("{DDL}")
        .load(spark.conf.get("landing_zone"))
    )
"""

APACHE = f"""\
from pyspark import pipelines as dp

@dp.table
def bronze():
    return spark.readStream.format("json").schema("{DDL}").load("{{landing}}")
"""

SILVER_AND_GOLD = """
from pyspark.sql import functions as F

@dp.table
def silver():
    return (
        spark.readStream.table("bronze")
        .filter("amount > 5")
        .select("id", "event_timestamp", F.col("customer.name").alias("customer"), "amount", "paid")
    )

@dp.materialized_view
def gold():
    return (
        spark.read.table("silver")
        .groupBy("customer")
        .agg(F.count("*").alias("orders"), F.max("event_timestamp").alias("latest"))
    )
"""


def write_project(folder: Path, landing: Path, bronze: str) -> Path:
    """A project folder; its storage is `folder/storage`."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "transformations").mkdir(parents=True)
    storage = f"file://{folder / 'storage'}"
    (folder / "spark-pipeline.yml").write_text(_SPEC.format(storage=storage, landing=landing))
    code = bronze.replace("{landing}", str(landing)) + SILVER_AND_GOLD
    (folder / "transformations" / "orders.py").write_text(code)
    return folder


class Bare:
    """The same three tables, by the engine alone: it reads and writes, and that is all."""

    def __init__(self, spark: Any, folder: Path) -> None:
        self._spark = spark
        self._folder = folder
        self._number = 0

    def reset(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._number = 0

    def run(self, files: Sequence[Path]) -> None:
        """Bronze and silver from these files, gold from all of silver."""
        from pyspark.sql import functions

        spark, number = self._spark, self._number
        bronze = f"{self._folder}/bronze/{number}"
        spark.read.schema(DDL).json([str(path) for path in files]).write.parquet(bronze)
        (
            spark.read.parquet(bronze)
            .filter("amount > 5")
            .select(
                "id",
                "event_timestamp",
                functions.col("customer.name").alias("customer"),
                "amount",
                "paid",
            )
            .write.parquet(f"{self._folder}/silver/{number}")
        )
        self._number += 1
        silver = [f"{self._folder}/silver/{n}" for n in range(self._number)]
        (
            spark.read.parquet(*silver)
            .groupBy("customer")
            .agg(
                functions.count("*").alias("orders"),
                functions.max("event_timestamp").alias("latest"),
            )
            .write.parquet(f"{self._folder}/gold/{number}")
        )


def bare_flights(spark: Any, project: Path, landing: Path, out: Path) -> None:
    """The flights example's tables, by the engine alone: its own SQL over files with known schemas."""
    from proa.pipelines import load_spec
    from proa.pipelines.definitions import SqlQuery
    from proa.pipelines.load import load_declarations

    def keep(name: str, frame: Any) -> None:
        frame.write.parquet(f"{out}/{name}")
        spark.read.parquet(f"{out}/{name}").createOrReplaceTempView(name)

    declarations = load_declarations(load_spec(project / "spark-pipeline.yml"), project)
    names = sorted(str(path) for path in (landing / "flights").glob("*.json"))
    keep("flights_bronze", spark.read.schema(_FLIGHT).json(names))
    for name, columns in _DIMENSIONS.items():
        text = spark.read.option("header", "true").csv(str(landing / name / f"{name}.csv"))
        keep(f"{name}_bronze", text.selectExpr(*columns))
    for flow in declarations.flows:
        if isinstance(flow.query, SqlQuery):
            keep(flow.target, spark.sql(re.sub(r"STREAM\((\w+)\)", r"\1", flow.query.text)))


_FLIGHT = """
    event_id string, event_timestamp timestamp, carrier string, flight int, tailnum string,
    origin string, dest string, distance int, scheduled struct<departure: int, arrival: int>,
    actual struct<departure: int, arrival: int, dep_delay: int, arr_delay: int, air_time: int>,
    diverted boolean
"""


_DIMENSIONS = {
    "airlines": ("carrier", "name"),
    "airports": ("faa", "name"),
    "planes": ("tailnum", "manufacturer", "try_cast(seats AS int) AS seats"),
    "weather": (
        "origin",
        "cast(time_hour AS timestamp) AS time_hour",
        "try_cast(temp AS decimal(6,2)) AS temp",
        "try_cast(wind_speed AS decimal(9,5)) AS wind_speed",
        "try_cast(precip AS decimal(6,3)) AS precip",
    ),
}
