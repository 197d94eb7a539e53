"""Which Proa this is."""

from __future__ import annotations

from importlib.metadata import version

from typer.testing import CliRunner

from proa.cli.main import app


def test_the_version_is_that_of_the_installed_package():
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"proa {version('proa')}\n")
