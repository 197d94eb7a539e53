"""`proa failover` by the Terraform driver: a real Terraform core, running regions, and one of them dead."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from deltalake import DeltaTable
from terraform import FOREIGN, Terraform, install_program, variables
from two_regions import LiveRegion
from typer.testing import CliRunner

from proa.cli.main import app
from proa.cli.project import load_regions
from proa.clock import SystemClock
from proa.infra import RegionRoot, Tree, write
from proa.recovery.control_record import ControlRecord, ControlStore, first_record
from wires import Wire, WireState

pytestmark = pytest.mark.slow

REGIONS = ("us-east", "us-west")
CONFIRMED = ("--yes", "--wait", "2m")
SETTINGS = """
regions:
{regions}
sources:
  events: {{path: source}}
recovery:
  control: {{path: third}}
  driver: terraform
  pipelines: [shop]
"""
REGION = """\
  {name}:
    landing_zone: {name}/landing
    storage: {name}/storage
    api: {{host: "{host}", token: "{token}"}}
"""
NOTEBOOK = """# Databricks notebook source
import dlt

@dlt.table
def events():
    return (
        spark.readStream.format("cloudFiles")
        .option("cloudFiles.format", "json")
        .option("cloudFiles.schemaHints", "n long")
        .load(spark.conf.get("landing_zone") + "/events")
    )
"""


class TerraformGroup:
    """Two regions that compute, each behind a wire and with a root module of its own."""

    def __init__(self, folder: Path, provider: Path) -> None:
        self.folder = folder
        self.lives: dict[str, LiveRegion] = {}
        self.wires: dict[str, Wire] = {}
        self.roots: dict[str, Terraform] = {}
        self.files = 0
        for name in (*REGIONS, "source", "third"):
            (folder / name).mkdir()
        (folder / "shop.py").write_text(NOTEBOOK)
        for name in REGIONS:
            live = self.lives[name] = LiveRegion(name, folder / name, workers=None)
            port = int(live.url.rsplit(":", 1)[1])
            self.wires[name] = Wire(("127.0.0.1", port))
        parts = [
            REGION.format(name=name, host=self.wires[name].address, token=live.token)
            for name, live in self.lives.items()
        ]
        (folder / "proa.yml").write_text(SETTINGS.format(regions="".join(parts)))
        roots = tuple(
            RegionRoot(
                name,
                self.wires[name].address,
                live.settings.landing_zone,
                live.settings.storage,
            )
            for name, live in self.lives.items()
        )
        infra = folder / "infra"
        write(
            Tree(
                pipeline="shop",
                source="../../..",
                notebooks=("shop.py",),
                regions=roots,
                active="us-east",
                configuration={"pipelines.trigger.interval": "0.1 seconds"},
            ),
            infra,
        )
        for name, live in self.lives.items():
            root = self.roots[name] = Terraform(infra / "regions" / name, provider, live.token)
            root.init()
            root.apply()

    def close(self) -> None:
        for live in self.lives.values():
            live.stop()
        for wire in self.wires.values():
            wire.close()

    def ship(self, files: int) -> None:
        """New files of one row each, in both landing zones."""
        for _ in range(files):
            self.files += 1
            (self.folder / "source" / f"{self.files}.json").write_text(f'{{"n": {self.files}}}')
        self.proa("ship", "--once")

    def proa(self, *arguments: str) -> ControlRecord:
        """Run a command; what the control record says then."""
        done = CliRunner().invoke(app, [*arguments, "--project", str(self.folder)])
        assert done.exit_code == 0, done.output
        settings = load_regions(self.folder)
        now = SystemClock().now()
        return self.record().read() or first_record(settings, now, "test")

    def record(self) -> ControlStore:
        return ControlStore.of(load_regions(self.folder))

    def runs(self, region: str) -> tuple[bool, str]:
        """Whether a region's pipeline is continuous, and its job's pause status."""
        root, live = self.roots[region], self.lives[region]
        job = live.region.jobs.get(int(root.output("job_id")))
        pipeline = live.region.pipelines.get(root.output("pipeline_id"))
        return pipeline.continuous, job.settings["schedule"]["pause_status"]

    def rows(self, region: str) -> list[int]:
        table = DeltaTable(f"{self.lives[region].settings.storage}/tables/events")
        return sorted(table.to_pyarrow_table(columns=["n"])["n"].to_pylist())


@pytest.fixture
def group(
    tmp_path: Path, provider: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TerraformGroup]:
    for name in [name for name in os.environ if name.startswith(FOREIGN)]:
        monkeypatch.delenv(name)
    programs = install_program(tmp_path / "programs")
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    for name, value in variables(provider).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "group").mkdir()
    found = TerraformGroup(tmp_path / "group", provider)
    yield found
    found.close()


def test_a_failover_by_terraform_never_calls_the_dead_region(group: TerraformGroup):
    assert [group.runs(name) for name in REGIONS] == [(True, "PAUSED"), (False, "UNPAUSED")]
    group.ship(3)
    east, west = (group.wires[name] for name in REGIONS)
    # Its address takes connections and answers none, and another apply of its root was killed.
    east.set(WireState.SWALLOWS)
    lock = group.roots["us-east"].root / ".terraform.tfstate.lock.info"
    lock.write_text("{}")
    west.set(WireState.PASSES)
    record = group.proa("failover", "--to", "us-west", *CONFIRMED)
    assert (record.active, record.epoch, record.owed) == ("us-west", 2, ("us-east",))
    assert (east.calls, west.calls > 0) == (0, True)
    assert group.runs("us-west") == (True, "PAUSED")
    assert group.rows("us-west") == [1, 2, 3]
    # No later apply undoes it.
    assert group.roots["us-west"].changes() == []

    lock.unlink()
    east.set(WireState.PASSES)
    group.ship(2)
    group.proa("resume")
    assert group.runs("us-east") == (False, "UNPAUSED")
    assert group.roots["us-east"].changes() == []
    record = group.proa("failback", *CONFIRMED)
    assert (record.active, record.epoch, record.owed) == ("us-east", 3, ())
    *_, proof = group.record().reports().values()
    assert json.loads(proof)["equal"] is True
    assert [group.runs(name) for name in REGIONS] == [(True, "PAUSED"), (False, "UNPAUSED")]
    assert group.rows("us-east") == group.rows("us-west") == [1, 2, 3, 4, 5]
