"""A region that takes connections and answers none: no verb waits for it more often than it must."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner, Result

from proa.cli.main import app
from proa.cli.project import load_regions
from proa.clock import SystemClock
from proa.storage import QUICK_ANSWERS
from two_region_project import Project
from wires import Wire, WireState

pytestmark = pytest.mark.slow

SETTINGS = """
regions:
  east: {{landing_zone: "{bucket}/east/landing", storage: "{bucket}/east/storage", options: {options}}}
  west: {{landing_zone: west/landing, storage: west/storage}}
sources:
  orders: {{path: source}}
recovery:
  group: shop
  driver: command
  commands: {{drain: "true"}}
"""
WAITS = {
    ("failover", "--to", "west", "--explain"): 1,
    ("failover", "--to", "west", "--yes"): 1,
    ("history",): 1,
    ("status",): 3,
    ("validate",): 4,
}
"""How often each command may wait for a silent region's storage. One wait is `read_timeout`."""


@pytest.fixture(params=["third place", "no third place"])
def silent(
    request: pytest.FixtureRequest, tmp_path: Path, new_bucket: Callable[[], tuple[str, dict]]
) -> Iterator[tuple[Project, Wire]]:
    """East lies in a bucket that has gone silent; both regions have processed everything."""
    bucket, options = new_bucket()
    place = urlsplit(options["aws_endpoint_url"])
    wire = Wire((place.hostname, place.port))
    # What a user says of timeouts counts; the test has no five seconds for each.
    short = dict.fromkeys(QUICK_ANSWERS, "0.2s")
    reached = {**options, **short, "aws_endpoint_url": wire.address}
    (tmp_path / "source").mkdir()
    text = SETTINGS.format(bucket=bucket, options=json.dumps(reached))
    control = "  control: {path: third}\n" if request.param == "third place" else ""
    (tmp_path / "proa.yml").write_text(text + control)
    project = Project(str(tmp_path), {}, SystemClock(), load_regions(tmp_path))
    project.arrive(1, 2)
    patient = {**options, "aws_endpoint_url": wire.address}
    regions = project.settings.regions
    east = regions["east"].model_copy(update={"options": patient})
    project.settings = project.settings.model_copy(update={"regions": {**regions, "east": east}})
    project.ship()
    for region, how in (("east", patient), ("west", {})):
        project.options = how
        project.process(region, 1, 2)
    wire.set(WireState.SWALLOWS)
    yield project, wire
    wire.close()


def proa(project: Project, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--project", project.base])


def test_no_verb_waits_long_for_a_silent_region(silent: tuple[Project, Wire]):
    project, wire = silent
    for command, most in WAITS.items():
        before = wire.calls
        done = proa(project, *command)
        assert done.exit_code == (1 if command[0] in {"status", "validate"} else 0), done.output
        assert wire.calls - before <= most, command
    assert json.loads(proa(project, "history", "--json").stdout)["entries"][-1]["active"] == "west"
