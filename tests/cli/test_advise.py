"""`proa advise`, as typed: what is measured, what is advised, and a clear no."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from proa.cli.main import app
from proa.errors import UserError
from proa.landing import Shipper, open_source, open_zones
from proa.recovery.measured_rates import MeasuredUpdate, fit_processing, measured_updates
from proa.settings import load
from proa.testing import FakeClock
from two_region_project import PROJECT_SETTINGS

SETTINGS = (
    PROJECT_SETTINGS
    + """\
recovery: {control: {path: third}, rpo: 10m, rto: 5m}
"""
)


@pytest.fixture
def shop(tmp_path: Path, clock: FakeClock) -> Path:
    """Ten shipments of 1000 bytes, an hour apart."""
    (tmp_path / "source").mkdir()
    (tmp_path / "proa.yml").write_text(SETTINGS)
    settings = load(tmp_path / "proa.yml")
    for number in range(10):
        (tmp_path / "source" / f"{number}.json").write_bytes(b"x" * 1000)
        shipper = Shipper(
            open_source("orders", settings.sources["orders"]), open_zones(settings), clock
        )
        shipper.ship()
        shipper.close()
        clock.advance(3600)
    return tmp_path


def proa(project: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["advise", *arguments, "--project", str(project)])


def test_the_cheapest_schedule_is_advised_as_a_quartz_expression(shop: Path):
    plot = shop / "a.svg"
    done = proa(shop, "--rate", "0.0001", "--startup", "30 s", "--price", "2", "--plot", str(plot))
    assert done.exit_code == 0, done.output
    last = done.output.splitlines()[-1]
    assert last == "advice: run west every 5 min, schedule '0 0/5 * * * ?' in UTC"
    assert plot.read_text().startswith("<svg")
    facts = json.loads(proa(shop, "--rate", "0.0001", "--startup", "30 s", "--json").stdout)
    assert (facts["advice"], facts["rpo_s"], facts["measured"]["files"]) == ("every 5 min", 600, 10)
    by_name = {choice["schedule"]: choice for choice in facts["choices"]}
    assert by_name["every 5 min"]["missing_s"] == 300 + 30 + 10
    assert by_name["every 1 h"]["why_not"] == ["up to 1 h 40 s would be missing, rpo is 10 min"]


def test_a_clear_no_when_no_schedule_meets_the_objectives(shop: Path):
    done = proa(shop, "--rate", "0.0001", "--rto", "5s")
    assert done.exit_code == 1
    assert "no: none of these schedules of west meets the objectives" in done.output
    slow = proa(shop, "--rate", "0.0000001")
    assert slow.exit_code == 1
    assert "more arrives than it can process" in slow.output


def test_what_is_not_known_is_said_with_the_way_out(shop: Path):
    with pytest.raises(UserError, match=r"--rate and --startup"):
        CliRunner().invoke(
            app, ["advise", "--project", str(shop)], catch_exceptions=False, standalone_mode=False
        )
    assert "must end with" in str(proa(shop, "--plot", "a.png").exception)


def test_updates_are_measured_by_their_events():
    def event(second: int, kind: str, update: str = "u", flow: str = "", **details):
        return {
            "timestamp": f"2026-01-01T00:00:{second:02}.000Z",
            "event_type": kind,
            "origin": {"update_id": update, "flow_name": flow},
            "details": {kind: details},
        }

    events = [
        event(0, "create_update", continuous=False),
        event(3, "update_progress", state="RUNNING"),
        event(4, "flow_progress", flow="bronze", metrics={"num_input_files": 2}),
        event(5, "flow_progress", flow="bronze", metrics={"num_input_files": 5}),
        event(9, "update_progress", state="COMPLETED"),
        event(10, "create_update", "live", continuous=True),
        event(11, "update_progress", "live", state="RUNNING"),
        event(12, "update_progress", "live", state="COMPLETED"),
        event(13, "create_update", "failed", continuous=False),
        event(14, "update_progress", "failed", state="RUNNING"),
        event(15, "update_progress", "failed", state="FAILED"),
    ]
    assert list(measured_updates(events)) == [MeasuredUpdate(3, 6, 5)]


def test_the_cost_of_an_update_is_told_from_the_cost_of_its_bytes():
    updates = [MeasuredUpdate(2, 1 + files * 0.5, files) for files in (0, 4, 10)]
    speed = fit_processing(updates, bytes_per_file=100)
    assert (speed.startup, speed.overhead, speed.rate) == (2, pytest.approx(1), pytest.approx(200))
    one = fit_processing([MeasuredUpdate(2, 5, 10)], bytes_per_file=100)
    assert (one.overhead, one.rate) == (0, 200)
