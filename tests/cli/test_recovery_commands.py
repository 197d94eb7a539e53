"""`proa status`, `proa caught-up` and `proa verify`, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from typer.testing import CliRunner, Result

from proa.cli.main import app
from proa.errors import SettingsError, UnavailableError
from two_region_project import PROJECT_SETTINGS

SETTINGS = (
    PROJECT_SETTINGS
    + """\
verify:
  ignore: {"*": [at]}
"""
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "proa.yml").write_text(SETTINGS)
    (tmp_path / "source").mkdir()
    (tmp_path / "source/1.json").write_text("1")
    proa(tmp_path, "ship", "--once")
    for number, region in enumerate(("east", "west")):
        rows = pa.table({"id": [1, 2], "x": [1.0, 2.0 + 1e-12 * number], "at": [number, number]})
        write_deltalake(tmp_path / region / "storage/tables/sales", rows)
    return tmp_path


def proa(project: Path, *args: str) -> Result:
    return CliRunner().invoke(app, [*args, "--project", str(project)])


def test_status_has_a_line_for_each_region_and_source(project: Path):
    result = proa(project, "status")
    assert result.exit_code == 0
    lines = [line.split() for line in result.output.splitlines()]
    assert lines[0][:5] == ["region", "source", "shipped", "landed", "processed"]
    assert [line[:6] for line in lines[1:]] == [
        ["east", "orders", "1", "1", "0", "1"],
        ["west", "orders", "1", "1", "0", "1"],
    ]


def test_status_tells_what_does_not_answer(project: Path):
    (project / "west").rename(project / "lost")
    result = proa(project, "status", "--json")
    assert result.exit_code == 1
    east, west = json.loads(result.stdout)["regions"]
    assert (east["error"], east["sources"][0]["backlog_files"]) == (None, 1)
    assert "region 'west' is not there" in west["error"]


def test_caught_up_answers_by_exit_code_and_sentence(project: Path):
    result = proa(project, "caught-up", "--region", "west", "--as-of", "2020-01-01")
    assert result.exit_code == 0
    assert result.output.startswith("west is caught up as of 2020-01-01T00:00:00+00:00")
    result = proa(project, "caught-up", "--region", "west", "--json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert (answer["caught_up"], answer["sources"][0]["needed_through"]) == (False, 1)


def test_a_time_that_is_none_is_a_mistake(project: Path):
    result = proa(project, "caught-up", "--region", "west", "--as-of", "noon")
    assert isinstance(result.exception, SettingsError)


def test_verify_shows_the_rows_that_differ(project: Path):
    result = proa(project, "verify", "--key", "id")
    assert result.exit_code == 1
    assert "id=2: x is 2.0 in east and 2.000000000001 in west" in result.output
    assert "east and west are not equal" in result.output


def test_verify_takes_a_tolerance_and_ignored_columns(project: Path):
    result = proa(project, "verify", "--tolerance", "1e-9", "--json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    (table,) = found["tables"]
    assert (found["equal"], table["verdict"], table["tolerated"]) == (True, "equal", 1)
    assert table["ignored"] == ["at"]
    assert proa(project, "verify", "--ignore", "sales=x").exit_code == 0
    assert proa(project, "verify", "--ignore", "other=x").exit_code == 1


def test_verify_needs_two_regions(project: Path):
    result = proa(project, "verify", "--region", "east")
    assert isinstance(result.exception, SettingsError)
    (project / "west").rename(project / "lost")
    assert isinstance(proa(project, "verify").exception, UnavailableError)


def test_json_stays_json_when_a_value_is_no_number(project: Path):
    rows = pa.table({"id": [1, 2], "x": [float("nan"), 2.0], "at": [0, 0]})
    write_deltalake(project / "west/storage/tables/sales", rows, mode="overwrite")
    result = proa(project, "verify", "--json")

    def refuse(word: str) -> None:
        raise AssertionError(word)

    found = json.loads(result.stdout, parse_constant=refuse)
    assert found["tables"][0]["changes"][0]["columns"] == {"x": [1.0, "nan"]}


def test_a_project_without_regions_says_so(tmp_path: Path):
    (tmp_path / "spark-pipeline.yml").write_text("name: p\nstorage: s\n")
    result = proa(tmp_path, "status")
    assert isinstance(result.exception, SettingsError)
    assert "there is no proa.yml in" in str(result.exception)


@pytest.mark.slow
def test_a_report_tells_an_auditor_everything(project: Path):
    page, facts = project / "proof.html", project / "proof.json"
    for path in (page, facts):
        result = proa(project, "verify", "--report", str(path))
        assert result.exit_code == 1
    found = json.loads(facts.read_text())
    assert (found["regions"], found["equal"]) == (["east", "west"], False)
    (table,) = found["tables"]
    assert (table["versions"], table["rules"]["ignore"]) == ([0, 0], ["at"])
    assert table["differences"][0]["changed"]["x"][0] == "2.0"
    assert {"proa", "deltalake", "duckdb"} <= set(found["software"])
    text = page.read_text()
    assert "<title>east and west are not equal</title>" in text
    assert "x is &#x27;2.0&#x27; in east" in text
    assert proa(project, "verify", "--tolerance", "1e-9", "--report", str(page)).exit_code == 0
    assert "east and west are equal" in page.read_text()
    with pytest.raises(SettingsError, match=r"must end with \.html or \.json"):
        raise proa(project, "verify", "--report", "proof.txt").exception


def test_a_report_shows_values_as_they_are_and_runs_none_of_them(project: Path):
    for region, name in (("east", "<script>alert(1)</script>"), ("west", "b")):
        write_deltalake(
            project / region / "storage/tables/names", pa.table({"id": [1], "<b>": [name]})
        )
    proa(project, "verify", "--tables", "names", "--report", str(project / "proof.html"))
    text = (project / "proof.html").read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)" in text
