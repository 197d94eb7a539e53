"""`proa ship`, as it is typed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from proa.cli.main import app
from proa.errors import SettingsError

SETTINGS = """
regions:
  east: {landing_zone: east/landing, storage: east/storage}
  west: {landing_zone: west/landing, storage: west/storage}
sources:
  orders: {path: source/orders}
  returns: {path: source/returns}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "proa.yml").write_text(SETTINGS)
    for source in ("orders", "returns"):
        (tmp_path / "source" / source).mkdir(parents=True)
    (tmp_path / "source/orders/1.json").write_text("1")
    return tmp_path


def publish(path: Path, content: str) -> None:
    """Put a file there at once: a shipper that watches must not see it half written."""
    draft = path.with_name(f".{path.name}")
    draft.write_text(content)
    draft.rename(path)


def proa(project: Path, *args: str) -> Result:
    return CliRunner().invoke(app, [*args, "--project", str(project)])


def test_ship_once_delivers_and_says_so(project: Path):
    result = proa(project, "ship", "--once")
    assert result.exit_code == 0
    assert "orders: 1 new files (1 bytes), shipped through 1" in result.output
    assert "west: 1 files delivered, landed through 1" in result.output
    assert (project / "west/landing/orders/1.json").read_text() == "1"


def test_json_is_one_document(project: Path):
    result = proa(project, "ship", "--once", "--json", "--source", "orders")
    assert json.loads(result.stdout) == {
        "sources": [
            {
                "source": "orders",
                "shipped_through": 1,
                "files": 1,
                "bytes": 1,
                "zones": [
                    {
                        "zone": zone,
                        "landed_through": 1,
                        "files": 1,
                        "bytes": 1,
                        "restored": [],
                        "error": None,
                    }
                    for zone in ("east", "west")
                ],
                "catching_up": [],
                "refused": [],
                "waiting": [],
                "left_out": {},
            }
        ]
    }


def test_a_refused_file_is_an_answer_of_no(project: Path):
    proa(project, "ship", "--once")
    (project / "source/orders/1.json").write_text("changed")
    result = proa(project, "ship", "--once")
    assert result.exit_code == 1
    assert "refused 1.json" in result.stderr


def test_a_zone_that_is_down_is_worth_another_try(project: Path):
    (project / "west").write_text("in the way")
    result = proa(project, "ship", "--once")
    assert result.exit_code == 3
    assert "east: 1 files delivered" in result.output


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--source", "nosuch"], "no source 'nosuch'"),
        ([], "the source 'returns' has no folder"),
    ],
)
def test_mistakes_are_named(project: Path, args: list[str], message: str):
    (project / "source/returns").rmdir()
    result = proa(project, "ship", "--once", *args)
    assert isinstance(result.exception, SettingsError)
    assert message in str(result.exception)


@pytest.mark.slow
def test_a_killed_shipper_is_finished_by_running_it_again(project: Path):
    files = {f"{number:04d}.json": f"{number}" * 1000 for number in range(400)}
    for name, content in files.items():
        (project / "source/orders" / name).write_text(content)
    command = [sys.executable, "-m", "proa", "ship", "--interval", "0.1"]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.DEVNULL) as process:
        while not list(project.glob("*/landing/orders/*")):
            assert process.poll() is None
        process.kill()
    result = proa(project, "ship", "--once", "--source", "orders")
    assert result.exit_code == 0
    (project / "source/orders/1.json").unlink()
    for zone in ("east", "west"):
        landed = {
            path.name: path.read_text()
            for path in (project / zone / "landing/orders").iterdir()
            if "#" not in path.name
        }
        assert landed.pop("1.json") == "1"
        assert landed == files


@pytest.mark.slow
def test_a_watching_shipper_stops_cleanly_when_told_to(project: Path):
    command = [sys.executable, "-m", "proa", "ship", "--interval", "0.2", "--json"]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert (first["source"], first["files"]) == ("orders", 1)
        publish(project / "source/returns/2.json", "2")
        landed: dict[str, int] = {}
        while landed != {"east": 1, "west": 1}:
            line = json.loads(process.stdout.readline())
            if line["source"] == "returns":
                landed |= {zone["zone"]: zone["landed_through"] for zone in line["zones"]}
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    assert (project / "east/landing/returns/2.json").exists()


@pytest.mark.slow
def test_files_that_no_manifest_names_are_told_also_in_adopted_folders(project: Path):
    proa(project, "ship", "--once")
    for region in ("east", "west"):
        (project / region / "landing/clicks").mkdir(parents=True)
        (project / region / "landing/clicks/1.json").write_text("1")
    assert proa(project, "adopt", "clicks").exit_code == 0
    assert proa(project, "check-zone").exit_code == 0
    for name in ("clicks/2.json", "orders/stray.json", "orders/_hidden"):
        (project / "east/landing" / name).write_text("1")

    result = proa(project, "check-zone", "--json")
    assert result.exit_code == 1
    checks = json.loads(result.stdout)["zones"]
    unknown = {(each["zone"], each["source"]): each["unknown"] for each in checks}
    assert unknown["east", "clicks"] == ["2.json"]
    assert unknown["east", "orders"] == ["stray.json"]
    assert unknown["west", "clicks"] == []

    told = json.loads(proa(project, "status", "--json").stdout)["regions"]
    numbers = {
        (one["region"], s["source"]): s["unnamed_files"] for one in told for s in one["sources"]
    }
    assert (numbers["east", "orders"], numbers["east", "clicks"]) == (1, 1)
    assert (numbers["west", "orders"], numbers["west", "clicks"]) == (0, 0)
    assert "1 files of orders are not in its manifest" in proa(project, "status").output

    (project / "east/landing/orders/stray.json").unlink()
    assert proa(project, "adopt", "clicks").exit_code == 1
    proa(project, "check-zone")
    assert "files of orders" not in proa(project, "status").output
