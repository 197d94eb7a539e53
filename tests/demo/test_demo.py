"""The demo's story is true, and its proof can fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from deltalake import DeltaTable
from typer.testing import CliRunner

from proa.cli.main import app
from proa.demo import flights
from proa.demo.proof import Timeline, prove
from proa.settings import load

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """The story, told once; its folder and what it says of itself."""
    folder = tmp_path_factory.mktemp("demo") / "flights"
    done = CliRunner().invoke(app, ["demo", "--json", "--keep", str(folder)])
    assert done.exit_code == 0, done.output
    return folder, json.loads(done.stdout)


def test_the_story_ends_with_nothing_lost_and_both_regions_equal(told):
    _, report = told
    facts = {key: report[key] for key in ("equal", "lost", "duplicated", "killed_in_batch", "rows")}
    assert facts == {
        "equal": True,
        "lost": 0,
        "duplicated": 0,
        "killed_in_batch": True,
        "rows": 336_776,
    }
    assert report["files"] == 365 + len(flights.DIMENSIONS)
    assert 0 < report["outage_to_caught_up_s"] < report["seconds"]


def test_the_proof_notices_rows_that_are_gone(told):
    folder, _ = told
    settings = load(folder / "proa.yml")
    storage = Path(settings.region("us-west").storage)
    DeltaTable(storage / "tables" / "flights_bronze").delete()
    report = prove(settings, folder, Timeline(killed_in_batch=True))
    assert (report.proven, report.equal, report.lost) == (False, False, 336_776)


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine").write_text("mine")
    done = CliRunner().invoke(app, ["demo", "--keep", str(tmp_path)])
    assert "is not empty" in str(done.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_every_flight_of_the_year_is_published_once():
    lines = [line for file in flights.flight_files() for line in file.content.splitlines()]
    ids = [json.loads(line)["event_id"] for line in lines if line.endswith(b"}")]
    assert len(lines) == 336_776
    assert len(set(ids)) == len(ids)
