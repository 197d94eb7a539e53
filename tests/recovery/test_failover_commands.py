"""`proa switchover`, `failover`, `failback`, `drill`, `resume`, `history` and `validate`, as typed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from proa.cli.main import app
from proa.control.page import report_page
from proa.errors import ProaError, UserError
from proa.recovery.driver import run_command
from proa.recovery.proof_report import filed_html
from proa.testing import FakeClock
from two_region_project import PROJECT_SETTINGS, Project, new_project

SETTINGS = (
    PROJECT_SETTINGS
    + """\
recovery:
  group: shop
  control: {path: third}
  driver: command
  commands:
    drain: "{drain}"
    activate: echo {region} >> active
    demote: echo {region} >> demoted
  repoint: echo {region} > consumers
"""
)


@pytest.fixture
def shop(tmp_path: Path, clock: FakeClock) -> Project:
    """Both regions have processed what was shipped."""
    (tmp_path / "source").mkdir()
    (tmp_path / "proa.yml").write_text(SETTINGS.replace("{drain}", "true"))
    project = new_project(str(tmp_path), {}, clock)
    project.arrive(1, 2)
    project.ship()
    for region in ("east", "west"):
        project.process(region, 1, 2)
    return project


def proa(project: Project, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--project", project.base])


def read(project: Project, name: str) -> str:
    return Path(project.base, name).read_text().strip()


def test_there_and_back_again(shop: Project):
    explained = proa(shop, "switchover", "--to", "west", "--explain")
    assert explained.exit_code == 0
    assert explained.output.splitlines()[0] == "1. east is stopped, so that west can overtake it"
    assert not list(Path(shop.base, "third").rglob("*.json"))
    done = proa(shop, "switchover", "--to", "west", "--yes", "--reason", "upgrade")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == "west is active in epoch 2"
    assert (read(shop, "consumers"), read(shop, "demoted")) == ("west", "east")
    back = proa(shop, "failback", "--yes", "--json")
    assert back.exit_code == 0, back.output
    facts = json.loads(back.stdout)
    assert (facts["active"], facts["epoch"], facts["equal"]) == ("east", 3, True)
    told = proa(shop, "history").output.splitlines()
    assert "upgrade" in told[1]
    assert told[-1].endswith("east is active in epoch 3")


@pytest.mark.slow
def test_a_lost_region_and_files_that_nobody_else_has(shop: Project):
    Path(shop.base, "west/landing").rename(f"{shop.base}/hidden")
    Path(shop.base, "west/landing").write_text("")
    shop.arrive(3)
    shop.ship()
    Path(shop.base, "west/landing").unlink()
    Path(shop.base, "hidden").rename(f"{shop.base}/west/landing")
    Path(shop.base, "east").rename(f"{shop.base}/lost")
    refused = proa(shop, "failover", "--to", "west", "--yes")
    assert isinstance(refused.exception, ProaError)
    assert not isinstance(refused.exception, UserError)
    assert "1 shipped files (1 bytes) have not landed in west" in str(refused.exception)
    done = proa(shop, "failover", "--to", "west", "--yes", "--force")
    assert done.exit_code == 0, done.output
    status = json.loads(proa(shop, "status", "--json").stdout)
    assert (status["control"]["active"], status["control"]["owed"]) == ("west", ["east"])
    Path(shop.base, "lost").rename(f"{shop.base}/east")
    assert proa(shop, "resume").exit_code == 0
    assert read(shop, "demoted") == "east"


PIPELINE = """\
name: shop
storage: data
configuration: {landing_zone: landing}
libraries: [{glob: {include: transformations/**}}]
"""
BRONZE = """\
CREATE OR REFRESH STREAMING TABLE bronze AS
SELECT * FROM STREAM read_files('${landing_zone}/orders', format => 'json', schema => 'id long')
"""
ARRIVE = """\
count=$(ls source | wc -l)
echo '{"id": '$count'}' > source/$count.json
proa ship --once > /dev/null
"""


@pytest.mark.slow
def test_files_that_arrive_at_every_step_do_not_keep_a_region_from_returning(tmp_path: Path):
    """Real updates: a triggered region is left in one batch, and the other one catches up in one."""
    (tmp_path / "source").mkdir()
    (tmp_path / "transformations").mkdir()
    (tmp_path / "transformations" / "bronze.sql").write_text(BRONZE)
    (tmp_path / "spark-pipeline.yml").write_text(PIPELINE)
    (tmp_path / "arrive.sh").write_text(ARRIVE)
    drain = "sh arrive.sh && proa run --region {region} && sh arrive.sh"
    (tmp_path / "proa.yml").write_text(SETTINGS.replace("{drain}", drain))
    base = ("--project", str(tmp_path))
    run_command(drain, "east", tmp_path)
    for number, target in enumerate(("west", "east"), 2):
        done = CliRunner().invoke(app, ["switchover", "--to", target, "--yes", *base])
        assert done.exit_code == 0, (done.output, done.exception)
        assert f"{target} is active in epoch {number}" in done.output
        # West began with one batch of more files than east; since then versions are there to compare.
        assert ("both must have processed orders=" in done.output) == (target == "west")


def test_nothing_begins_unless_somebody_confirms(shop: Project):
    asked = proa(shop, "switchover", "--to", "west")
    assert isinstance(asked.exception, UserError)
    assert "add --yes" in str(asked.exception)
    assert not list(Path(shop.base, "third").rglob("*.json"))


@pytest.mark.slow
def test_a_drill_is_filed_and_validate_knows_of_it(shop: Project):
    before = json.loads(proa(shop, "validate", "--json").stdout)
    assert before["ready"]
    assert {check["check"]: check["level"] for check in before["checks"]}["drill"] == "warning"
    done = proa(shop, "drill", "--yes", "--json")
    found = json.loads(done.stdout)
    assert (done.exit_code, found["equal"], found["report"]["operation"]) == (0, True, "drill")
    assert (found["report"]["loss"]["files"], found["report"]["seconds"] >= 0) == (0, True)
    after = json.loads(proa(shop, "validate", "--json").stdout)
    assert {check["check"]: check["level"] for check in after["checks"]}["drill"] == "ok"
    assert not Path(shop.base, "consumers").exists()


@pytest.mark.slow
def test_regions_that_differ_end_a_drill_with_no(shop: Project):
    shop.process("west", 3)
    shop.process("east", 3, changed={3: "x"})
    assert proa(shop, "drill", "--yes").exit_code == 1
    assert isinstance(proa(shop, "switchover", "--to", "west", "--yes").exception, ProaError)
    assert proa(shop, "resume", "--cancel").exit_code == 0
    assert json.loads(proa(shop, "status", "--json").stdout)["control"]["active"] == "east"
    # What was found is kept for auditors, from the first entry to the last difference.
    assert proa(shop, "history", "--reports", f"{shop.base}/filed").exit_code == 0
    drill, *_ = sorted(Path(shop.base, "filed").glob("*.json"))
    facts = json.loads(drill.read_text())
    assert facts["software"]["proa"]
    assert facts["tables"]["gold"]["rules"]["tolerance"] == 0
    assert {"only_left": {"id": "x", "at": "2023-02-28 12:03:00+00:00"}} in (
        facts["tables"]["gold"]["differences"]
    )
    for page in (drill.with_suffix(".html").read_text(), report_page(facts, None)):
        assert "only in east: {&#x27;id&#x27;: &#x27;x&#x27;" in page.replace("&#39;", "&#x27;")
        assert "deltalake" in page
    # A report of the release before has neither rules nor software.
    old = {name: one for name, one in facts.items() if name != "software"}
    old["tables"] = {
        name: {key: one[key] for key in ("verdict", "sentence", "versions", "files", "rows")}
        for name, one in facts["tables"].items()
    }
    assert "gold is different" in filed_html(old)
    assert "gold is different" in report_page(old, None)


@pytest.mark.parametrize(
    ("lost", "code", "sentence"),
    [
        ("west", 1, "a failover would not work now"),
        ("east", 0, "a failover does not ask the active region for anything, a switchover would"),
    ],
)
def test_validate_says_no_without_a_standby_and_yes_without_the_active_region(
    shop: Project, lost, code, sentence
):
    Path(shop.base, lost).rename(f"{shop.base}/lost")
    told = proa(shop, "validate")
    assert told.exit_code == code
    assert sentence in told.output
    assert ("a failover would work now" in told.output) == (code == 0)


@pytest.mark.slow
def test_a_command_that_is_killed_is_finished_by_resume(shop: Project):
    """A real process, and SIGKILL while the region drains."""
    folder = Path(shop.base)
    os.mkfifo(folder / "draining")
    drain = "test -f go || (echo yes > draining; sleep 60)"
    (folder / "proa.yml").write_text(SETTINGS.replace("{drain}", drain))
    command = [sys.executable, "-m", "proa", "failover", "--to", "west", "--yes"]
    process = subprocess.Popen([*command, "--project", shop.base], start_new_session=True)
    alarm = threading.Timer(60.0, process.kill)
    alarm.start()
    (folder / "draining").read_text()
    alarm.cancel()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert json.loads(proa(shop, "status", "--json").stdout)["control"]["phase"] == "draining"
    (folder / "go").write_text("")
    done = proa(shop, "resume")
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-1] == "west is active in epoch 2"
    assert read(shop, "consumers") == "west"
