"""What the guides show is what happens."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from transcript import Command, File, read

from proa.cli.main import run

GUIDES = sorted((Path(__file__).parents[2] / "docs" / "guide").glob("*.md"))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_guide_does_what_it_says(guide, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    for step in read(guide):
        if isinstance(step, File):
            Path(step.path).parent.mkdir(parents=True, exist_ok=True)
            Path(step.path).write_text(step.content, encoding="utf-8")
            continue
        code, printed = play(step, capfd)
        assert code == step.exit_code, f"{step.arguments} ended with {code}:\n{printed}"
        assert step.matches(printed), f"{step.arguments} printed:\n{printed}"


def play(command: Command, capfd) -> tuple[int, str]:
    program, *arguments = command.arguments
    if program == "cd":
        os.chdir(arguments[0])
        return 0, ""
    if program == "cat":
        return 0, "".join(Path(name).read_text(encoding="utf-8") for name in arguments)
    assert program == "proa", f"a guide may use cd, cat and proa, not {program!r}"
    capfd.readouterr()
    code = run(arguments)
    printed = capfd.readouterr()
    return code, printed.out + printed.err
