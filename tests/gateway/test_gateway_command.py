"""`proa gateway` and `proa gateway recipient`, as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from proa.cli.main import run
from proa.runtime.declared import DeclaredPipeline, DeclaredTable, write_declared

SETTINGS = """\
regions:
  east: {landing_zone: east/landing, storage: east/storage}
gateway:
  address: https://data.example.com/
  shares:
    sales:
      - orders
      - ordesr
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch) -> Path:
    (tmp_path / "proa.yml").write_text(SETTINGS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def proa(capsys, *arguments: str) -> tuple[int, str, str]:
    """The exit code, what was printed, and what was complained about."""
    code = run(list(arguments))
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_a_recipient_is_added_shown_and_removed(project, capsys):
    recipient = ("gateway", "recipient")
    code, printed, said = proa(capsys, *recipient, "add", "ada", "--share", "sales", "--days", "30")
    assert code == 0
    profile = json.loads(printed)
    assert profile["endpoint"] == "https://data.example.com/delta-sharing/"
    assert profile["shareCredentialsVersion"] == 1
    assert profile["expirationTime"].endswith("Z")
    assert "not shown again" in said
    code, printed, _ = proa(capsys, *recipient, "list", "--json")
    (shown,) = json.loads(printed)
    assert (shown["recipient"], shown["shares"]) == ("ada", ["sales"])
    assert profile["bearerToken"] not in printed
    assert proa(capsys, *recipient, "remove", "ada")[:2] == (0, "1 token of ada: removed\n")
    code, _, said = proa(capsys, *recipient, "remove", "ada")
    assert code == 2
    assert "no recipient 'ada'" in said


def test_a_profile_file_is_for_its_owner_only(project, capsys):
    code, _, _ = proa(
        capsys,
        "gateway",
        "recipient",
        "add",
        "ada",
        "--profile",
        "ada.share",
        "--address",
        "http://x",
    )
    assert code == 0
    assert (project / "ada.share").stat().st_mode & 0o777 == 0o600
    assert json.loads((project / "ada.share").read_text())["endpoint"] == "http://x/delta-sharing/"


def test_a_share_that_is_not_in_the_settings_is_a_mistake(project, capsys):
    code, _, said = proa(capsys, "gateway", "recipient", "add", "ada", "--share", "sale")
    assert code == 2
    assert "no share 'sale'" in said


def test_a_table_that_is_not_published_is_shown_with_its_line(project, capsys):
    declared = DeclaredPipeline({"orders": DeclaredTable(())}, ("shop", None, None))
    write_declared(str(project / "east" / "storage"), {}, declared)
    code, _, said = proa(capsys, "gateway", "--port", "0")
    assert code == 2
    assert "proa.yml:8: the pipeline has no public table 'ordesr' (did you mean 'orders'?)" in said
    assert "^" in said


def test_a_certificate_needs_its_key(project, capsys):
    (project / "proa.yml").write_text(SETTINGS.replace("      - ordesr\n", ""))
    code, _, said = proa(capsys, "gateway", "--tls-cert", "chain.pem")
    assert code == 2
    assert "both a certificate and its key" in said
