"""Sinks are written from the region that the control record calls active."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from deltalake import DeltaTable

from proa import settings
from proa.cli.main import run as cli
from proa.errors import UnavailableError
from proa.recovery.control_record import ControlAddress, ControlStore, first_record
from proa.recovery.sink_turns import SinkTurns
from proa.runtime.context import Turn
from proa.testing import FakeClock

REGIONS = """
regions:
  east: {landing_zone: landing, storage: east, configuration: {out: east-out}}
  west: {landing_zone: landing, storage: west, configuration: {out: west-out}}
recovery: {active: west}
"""
PIPELINE = """
from pyspark import pipelines as dp

@dp.table
def t():
    return (
        spark.readStream.format("cloudFiles").option("cloudFiles.format", "json")
        .option("cloudFiles.schemaHints", "id bigint").load(spark.conf.get("landing_zone"))
    )

dp.create_sink("s", "delta", {"path": spark.conf.get("out")})

@dp.append_flow(target="s")
def f():
    return spark.readStream.table("t").select("id")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "proa.yml").write_text(REGIONS)
    (tmp_path / "spark-pipeline.yml").write_text(
        "name: p\nstorage: s\nlibraries: [{glob: {include: p.py}}]\n"
    )
    (tmp_path / "p.py").write_text(PIPELINE)
    for name in ("landing", "east", "west"):
        (tmp_path / name).mkdir()
    (tmp_path / "landing/1.json").write_text('{"id": 1}\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def turn(region: str) -> Turn:
    project = settings.load(Path("proa.yml"))
    return SinkTurns(region, ControlAddress.of(project))()


def test_the_record_says_who_writes_and_the_settings_before_its_first_entry(folder: Path) -> None:
    assert turn("west") == Turn(1)
    assert turn("east").refusal == "the region 'west' is active in epoch 1, and 'east' is a standby"
    project = settings.load(Path("proa.yml"))
    control, now = ControlStore.of(project), FakeClock().now()
    first = control.append(first_record(project, now, "somebody"))
    control.append(first.model_copy(update={"number": 2, "epoch": 2, "active": "east"}))
    assert turn("east") == Turn(2)
    assert turn("west").refusal is not None


def test_a_record_that_does_not_answer_lets_nobody_write(folder: Path) -> None:
    for name in ("east", "west"):
        (folder / name).rmdir()
    with pytest.raises(UnavailableError):
        turn("west")


def test_a_command_of_the_standby_fills_tables_and_no_sinks(folder: Path, capsys) -> None:
    assert cli(["run", "--region", "east", "--json"]) == 0
    flows = {flow["flow"]: flow for flow in json.loads(capsys.readouterr().out)["flows"]}
    assert (flows["f"]["status"], flows["t"]["rows"]) == ("EXCLUDED", 1)
    assert "'east' is a standby" in flows["f"]["held_back"]
    assert not (folder / "east-out").exists()
    assert cli(["run", "--region", "west", "--json"]) == 0
    assert DeltaTable("west-out").to_pyarrow_table().to_pylist() == [{"id": 1}]
