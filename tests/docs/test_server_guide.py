"""What the server's guide shows is what a server does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "region-server.md"
PROA = [sys.executable, "-m", "proa"]


def code_of(name: str) -> str:
    """The block of the guide that begins with the file's name."""
    blocks = re.findall(
        r"^```python\n(.*?)^```$", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    return next(block for block in blocks if block.startswith(f"# {name}\n"))


@contextmanager
def served_region(project: Path) -> Iterator[str]:
    """The address of a server of the region `east`, in a process of its own."""
    command = [*PROA, "serve", "--region", "east", "--port", "0"]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True) as process:
        try:
            for line in process.stdout:
                if address := re.search(r"http://\S+", line):
                    yield address.group().rstrip(".,;")
                    return
            pytest.fail("the server ended without a word")
        finally:
            process.terminate()
            process.communicate(timeout=60)


@pytest.mark.slow
def test_the_nightly_job_is_made_and_runs(tmp_path):
    subprocess.run([*PROA, "init", "shop"], cwd=tmp_path, check=True)
    project = tmp_path / "shop"
    subprocess.run([*PROA, "ship", "--once"], cwd=project, check=True)
    token = subprocess.run(
        [*PROA, "token", "create", "--region", "east", "--user", "ada@example.com", "--json"],
        cwd=project,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    (project / "nightly.py").write_text(code_of("nightly.py"), encoding="utf-8")
    with served_region(project) as address:
        done = subprocess.run(
            [sys.executable, "nightly.py"],
            cwd=project,
            env={**os.environ, "DATABRICKS_HOST": address, "DATABRICKS_TOKEN": secret(token)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("SUCCESS\n")


def secret(answer: str) -> str:
    return re.search(r'"token(?:_value)?": "([^"]+)"', answer).group(1)
