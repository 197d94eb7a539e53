"""What the guides show is what happens."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from transcript import Command, File, read

from proa.cli.main import run
from proa.clock import SystemClock

ROOT = Path(__file__).parents[2]
GUIDES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]
ELSEWHERE = {"pip", "make"}
"""Programs that a guide names and a test does not start."""


@pytest.mark.slow
@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_guide_does_what_it_says(guide, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    variables: dict[str, str] = {}
    for step in read(guide):
        if isinstance(step, File):
            Path(step.path).parent.mkdir(parents=True, exist_ok=True)
            Path(step.path).write_text(step.content, encoding="utf-8")
            continue
        code, printed = play(step, variables, capfd)
        assert code == step.exit_code, f"{step.line} ended with {code}:\n{printed}"
        assert step.matches(printed), f"{step.line} printed:\n{printed}"


def play(command: Command, variables: dict[str, str], capfd) -> tuple[int, str]:  # noqa: PLR0911 - a return per program
    """The command's exit code and everything it printed."""
    if assignment := re.fullmatch(r"(\w+)=\$\(date -u \S+\)", command.line):
        # To the microsecond: this test types several commands in a second.
        variables[assignment.group(1)] = SystemClock().now().isoformat()
        return 0, ""
    program, *arguments = (replaced(word, variables) for word in command.words)
    if program == "cd":
        os.chdir(arguments[0])
        return 0, ""
    if program == "cat":
        paths = [path for name in arguments for path in sorted(Path().glob(name))]
        return 0, "".join(path.read_text(encoding="utf-8") for path in paths)
    if program in ELSEWHERE:
        return 0, ""
    capfd.readouterr()
    if program == "python":
        runpy.run_path(arguments[0])
        return 0, capfd.readouterr().out
    if program == "pytest":
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout
    assert program == "proa", f"a guide may use cd, cat, python, pytest and proa, not {program!r}"
    code = run(arguments)
    printed = capfd.readouterr()
    return code, printed.out + printed.err


def replaced(word: str, variables: dict[str, str]) -> str:
    for name, value in variables.items():
        word = word.replace(f"${name}", value)
    return word
