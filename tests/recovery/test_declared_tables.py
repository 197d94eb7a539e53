"""What counts are the tables that the pipeline declares now, as commands see them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from proa.cli.main import app
from proa.engine import Engine
from proa.runtime import Runner, UpdateState

SETTINGS = """
regions:
  east: {landing_zone: east/landing, storage: east/storage}
  west: {landing_zone: west/landing, storage: west/storage}
sources:
  s: {path: source}
"""
SPEC = """
name: shop
storage: storage
libraries:
  - glob: {include: transformations/**}
"""
BRONZE = """
from pyspark import pipelines as dp
zone = spark.conf.get("landing_zone")

@dp.table
@dp.expect_or_drop("positive", "id > 0")
def bronze():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.schemaHints", "id int").load(f"{zone}/s/*.json")
    )

@dp.table
def silver():
    return spark.readStream.table("bronze")
"""
GOLD = """
@dp.materialized_view
def gold():
    return spark.read.table("silver").groupBy("id").count()
"""
ONCE = """
dp.create_streaming_table("snap")

@dp.append_flow(target="snap", once=True)
def copied():
    return spark.read.table("bronze")
"""


class Shop:
    def __init__(self, folder: Path, engine: Engine) -> None:
        self.folder = folder
        self.engine = engine
        (folder / "source").mkdir()
        (folder / "transformations").mkdir()
        (folder / "proa.yml").write_text(SETTINGS)
        (folder / "spark-pipeline.yml").write_text(SPEC)

    def declare(self, *parts: str) -> None:
        (self.folder / "transformations/tables.py").write_text("".join(parts))

    def ship(self, name: str, *ids: int) -> None:
        text = "".join(json.dumps({"id": number}) + "\n" for number in ids)
        (self.folder / "source" / name).write_text(text)
        assert self.proa("ship", "--once").exit_code == 0

    def run(self, region: str = "west") -> UpdateState:
        with Runner.from_project(self.folder, region, engine=self.engine) as runner:
            return runner.update().state

    def proa(self, *arguments: str):
        return CliRunner().invoke(app, [*arguments, "--project", str(self.folder)])

    def caught_up(self) -> bool:
        result = self.proa("caught-up", "--region", "west", "--json")
        assert json.loads(result.stdout)["caught_up"] == (result.exit_code == 0), result.output
        return result.exit_code == 0


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine.start() as started:
        yield started


@pytest.fixture
def shop(tmp_path: Path, engine: Engine) -> Shop:
    return Shop(tmp_path, engine)


@pytest.mark.slow
def test_files_without_rows_move_every_table(shop: Shop):
    shop.declare(BRONZE, GOLD)
    shop.ship("1.json", 1)
    shop.run()
    shop.ship("2.json")
    shop.ship("3.json", -1)
    assert not shop.caught_up()
    shop.run()
    assert shop.caught_up()
    shop.run("east")
    assert shop.proa("verify").exit_code == 0


@pytest.mark.slow
def test_a_table_that_was_declared_and_never_computed_is_missing(shop: Shop):
    shop.declare(BRONZE, GOLD.replace("@dp.mat", '@dp.expect_or_fail("never", "id > 9")\n@dp.mat'))
    shop.ship("1.json", 1)
    assert shop.run() is UpdateState.FAILED
    assert not shop.caught_up()
    shop.declare(BRONZE)
    assert shop.caught_up()
    shop.declare(BRONZE, GOLD)
    assert not shop.caught_up()
    assert shop.run() is UpdateState.COMPLETED
    assert shop.caught_up()


@pytest.mark.slow
def test_a_table_that_was_renamed_or_removed_does_not_count(shop: Shop):
    shop.declare(BRONZE, GOLD)
    shop.ship("1.json", 1)
    shop.run()
    shop.declare(BRONZE, GOLD.replace("def gold", "def totals"))
    shop.ship("2.json", 2)
    shop.run()
    assert shop.caught_up()
    status = json.loads(shop.proa("status", "--region", "west", "--json").stdout)
    (source,) = status["regions"][0]["sources"]
    assert (source["processed_through"], source["backlog_files"]) == (2, 0)


@pytest.mark.slow
def test_a_once_flow_is_done_when_it_has_run(shop: Shop):
    shop.declare(BRONZE)
    shop.ship("1.json", 1)
    shop.run()
    shop.declare(BRONZE, ONCE)
    assert not shop.caught_up()
    shop.run()
    shop.ship("2.json", 2)
    shop.run()
    assert shop.caught_up()


@pytest.mark.slow
def test_files_that_no_declared_table_reads_are_not_waited_for(shop: Shop):
    shop.declare(BRONZE, GOLD)
    shop.ship("1.json", 1)
    shop.ship("notes.txt")
    shop.run()
    assert shop.caught_up()
