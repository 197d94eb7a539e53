"""From a database to two regions: while capture dies at random, tables end up as the database is."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import psycopg
import pytest
from deltalake import DeltaTable

from proa.capture import Capture
from proa.clock import SystemClock
from proa.engine import Engine
from proa.landing import Shipper, open_source, open_zones
from proa.runtime import Runner, UpdateRequest
from proa.settings import load
from proa.steps import Step, probing
from proa.testing import FaultProbe, Killed, every_fault

STEPS = [Step.CAPTURE_PUT_STATE, Step.CAPTURE_PUT_FILE, Step.CAPTURE_ADVANCE]

SETTINGS = """
regions:
  east: {{landing_zone: zones/east, storage: stores/east}}
  west: {{landing_zone: zones/west, storage: stores/west}}
sources:
  shop:
    path: source
    capture: {{connection: "{url}", slot: "to_{name}", tables: [customer]}}
"""
PIPELINE = """
from pyspark import pipelines as dp

zone = spark.conf.get("landing_zone")

@dp.table
def customer_cdc():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "csv")
        .option("header", "true").option("multiLine", "true")
        .option("cloudFiles.schemaHints", "id int, since timestamp, credit decimal(12,2)")
        .load(f"{zone}/shop/public/customer")
    )

for kind in (1, 2):
    dp.create_streaming_table(f"customer_{kind}")
    dp.create_auto_cdc_flow(
        f"customer_{kind}", "customer_cdc", ["id"], "change_seq",
        apply_as_deletes="Op = 'D'",
        except_column_list=["Op", "commit_timestamp", "change_seq", "_rescued_data"],
        stored_as_scd_type=kind,
    )
"""


def change(database: psycopg.Connection, luck: np.random.Generator) -> None:
    for _ in range(int(luck.integers(1, 6))):
        with database.transaction():
            for _ in range(int(luck.integers(1, 4))):
                key = int(luck.integers(1, 12))
                text = ["plain", 'a "quoted", text', "two\nlines", "ünicode"][int(luck.integers(4))]
                statement = [
                    "INSERT INTO customer VALUES (%(key)s, %(text)s) ON CONFLICT (id) DO NOTHING",
                    "UPDATE customer SET name = %(text)s, credit = credit + 1 WHERE id = %(key)s",
                    "DELETE FROM customer WHERE id = %(key)s",
                    "UPDATE customer SET id = id + 100, name = NULL WHERE id = %(key)s",
                ][int(luck.choice(4, p=[0.4, 0.4, 0.15, 0.05]))]
                with contextlib.suppress(psycopg.errors.UniqueViolation), database.transaction():
                    database.execute(statement, {"key": key, "text": text})


@pytest.mark.slow
def test_tables_in_both_regions_are_the_databases_although_capture_dies(
    tmp_path: Path, database: psycopg.Connection
) -> None:
    database.execute(
        "CREATE TABLE customer (id int PRIMARY KEY, name text,"
        " since timestamptz DEFAULT '2026-01-02 03:04:05.678+02', credit numeric(12,2) DEFAULT 0.5)"
    )
    database.execute("INSERT INTO customer SELECT i, 'name ' || i FROM generate_series(1, 6) i")
    info = database.info
    url = f"postgresql://proa@127.0.0.1:{info.port}/{info.dbname}"
    (tmp_path / "proa.yml").write_text(SETTINGS.format(url=url, name=info.dbname))
    for folder in ("source", "zones/east", "zones/west", "transformations"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "transformations" / "shop.py").write_text(PIPELINE)
    (tmp_path / "spark-pipeline.yml").write_text(
        "name: shop\nstorage: stores/none\nlibraries:\n  - glob: {include: transformations/**}\n"
    )
    settings = load(tmp_path / "proa.yml")
    source = open_source("shop", settings.sources["shop"])
    luck = np.random.default_rng(7)
    faults = every_fault(STEPS)

    def capture() -> None:
        capture_settings = settings.sources["shop"].capture
        assert capture_settings is not None
        Capture(source.store, capture_settings, SystemClock()).run()

    def ship() -> None:
        shipper = Shipper(source, open_zones(settings), SystemClock())
        shipper.ship()
        shipper.close()

    with Engine.start() as engine:

        def update(region: str) -> None:
            with Runner.from_project(tmp_path, region, engine=engine) as runner:
                result = runner.update(UpdateRequest())
                assert result.error is None, result.error

        for turn in range(8):
            change(database, luck)
            fault = faults[int(luck.integers(len(faults)))]
            with contextlib.suppress(Killed, Exception), probing(FaultProbe(fault)):
                capture()
            ship()
            if turn % 3 == 2:
                update("east")
        capture()
        ship()
        update("east")
        update("west")

    query = "SELECT id, name, since, credit FROM customer ORDER BY id"
    expected = database.execute(query).fetchall()
    for region in ("east", "west"):
        assert rows(tmp_path, region, "customer_1") == expected
    history = [
        rows(tmp_path, region, "customer_2", all_columns=True) for region in ("east", "west")
    ]
    assert history[0] == history[1]
    assert len(history[0]) > len(expected)


def rows(folder: Path, region: str, table: str, *, all_columns: bool = False) -> list[tuple]:
    found = DeltaTable(str(folder / "stores" / region / "tables" / table)).to_pyarrow_table()
    if not all_columns:
        found = found.select(["id", "name", "since", "credit"])
    return sorted(
        (tuple(row.values()) for row in found.to_pylist()), key=str if all_columns else None
    )
