"""`proa token`: what has no effect on a kind of token is refused, never passed over."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from proa.cli.main import app
from proa.errors import SettingsError
from two_region_project import PROJECT_SETTINGS


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ("create --region east --role reader", "--role"),
        ("create --control --comment x", "--comment"),
        ("create --control --state x.db", "--state"),
        ("list --control --state x.db", "--state"),
        ("revoke abc --control --state x.db", "--state"),
    ],
)
def test_an_option_of_the_other_kind_of_token_is_refused(
    tmp_path: Path, words: str, option: str
) -> None:
    (tmp_path / "proa.yml").write_text(PROJECT_SETTINGS + "recovery: {control: {path: third}}\n")
    result = CliRunner().invoke(app, ["token", *words.split(), "--project", str(tmp_path)])
    assert isinstance(result.exception, SettingsError)
    assert f"{option} is an option of tokens of" in str(result.exception)


def test_a_token_of_the_witness_changes_roles_unless_it_is_a_readers(tmp_path: Path) -> None:
    (tmp_path / "proa.yml").write_text(PROJECT_SETTINGS + "recovery: {control: {path: third}}\n")
    (tmp_path / "third").mkdir()
    where = ["--control", "--project", str(tmp_path)]
    for role in ([], ["--role", "reader"]):
        assert CliRunner().invoke(app, ["token", "create", *role, *where]).exit_code == 0
    listed = CliRunner().invoke(app, ["token", "list", "--json", *where]).output
    assert ('"operator"' in listed, '"reader"' in listed) == (True, True)
