"""(k) A backlog of tiny shipments whose schema is a fold over them, against the same bytes with a fixed schema."""

from __future__ import annotations

import json
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.measure import Result, alternate

RATIO_GOAL = 1.3
_CHANGES = ("note", "score", "place")
"""Fields that come with a quarter, with a half and with three quarters of the shipments."""
_PIPELINE = """\
from pyspark import pipelines as dp

@dp.table
def bronze():
    return (
        spark.readStream.format("cloudFiles")
        .option("cloudFiles.format", "json")
        .option("cloudFiles.inferColumnTypes", "true")%s
        .load(spark.conf.get("landing_zone") + "/events")
    )
"""
_FIXED = """
        .schema("id bigint, name string, note string, score double, place struct<city: string>,"
                " _rescued_data string")
        .option("rescuedDataColumn", "_rescued_data")"""


def measure(folder: Path, *, shipments: int, runs: int) -> list[Result]:
    """In processor time, on one engine, storage emptied before each run."""
    from proa.engine import Engine
    from proa.settings import EngineSettings

    landing = folder / f"folded-{shipments}"
    if not (landing / "made").exists():
        shutil.rmtree(landing, ignore_errors=True)
        _ship(landing, shipments)
        (landing / "made").touch()
    engine = Engine.start(EngineSettings(), {})
    place = folder / "folding"

    def load(schema: str) -> None:
        _load(engine, place, landing, schema)

    ours, fixed, ratio = alternate(
        lambda _run: load(""), lambda _run: load(_FIXED), runs=runs, timer=time.process_time
    )
    engine.close()
    return [
        Result(
            f"{shipments:,} shipments of 10 rows with {len(_CHANGES)} changes of their schema:"
            " processor time against a fixed schema",
            ratio,
            "x",
            f"at most {RATIO_GOAL}",
            ratio <= RATIO_GOAL,
            {"folded_s": ours, "fixed_s": fixed},
        )
    ]


def _ship(landing: Path, shipments: int) -> None:
    """Write the files, and name each in the zone's manifest, a shipment each."""
    from proa.landing import Manifest, Shipment, ShippedFile
    from proa.storage import Store

    source = landing / "events"
    source.mkdir(parents=True)
    manifest = Manifest(Store.open(str(landing)), "events")
    at = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(shipments):
        path = source / f"{number:08}.json"
        path.write_text("".join(_line(number, row, shipments) for row in range(10)))
        named = ShippedFile(path=path.name, size=path.stat().st_size, sha256="0" * 64, modified=at)
        manifest.append(Shipment(first=number + 1, shipped_at=at, files=(named,)))


def _line(number: int, row: int, shipments: int) -> str:
    values: dict[str, Any] = {"id": 10 * number + row, "name": f"name {row}"}
    late = {"note": "a note", "score": row / 4, "place": {"city": f"city {row}"}}
    quarters = 4 * number // shipments
    return json.dumps(values | {name: late[name] for name in _CHANGES[:quarters]}) + "\n"


def _load(engine: Any, place: Path, landing: Path, schema: str) -> None:
    from proa.runtime import Runner, UpdateState

    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    source = place / "pipeline.py"
    source.write_text(_PIPELINE % schema)
    options = {"landing_zone": str(landing)}
    with Runner.from_settings(
        "folding", str(place / "storage"), [source], options, engine=engine
    ) as runner:
        result = runner.update()
    assert result.state is UpdateState.COMPLETED, result.error
