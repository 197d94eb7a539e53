"""What the consumers' guide shows is what consumers see, through a gateway that runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "consumers.md"
PROA = [sys.executable, "-m", "proa"]


def programs() -> dict[str, str]:
    """The programs of the guide, by their names."""
    blocks = re.findall(
        r"^```python\n(# (\S+)\n.*?)^```$", GUIDE.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    return {name: code for code, name in blocks}


@pytest.mark.slow
def test_every_program_of_the_guide_reads_the_shop(tmp_path):
    subprocess.run([*PROA, "init", "shop"], cwd=tmp_path, check=True)
    project = tmp_path / "shop"
    subprocess.run([*PROA, "ship", "--once"], cwd=project, check=True)
    subprocess.run([*PROA, "run", "--region", "east"], cwd=project, check=True)
    command = [*PROA, "gateway", "--port", "0"]
    with subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, text=True) as process:
        try:
            address = re.search(r"http://\S+", process.stdout.readline()).group()
            add = ["gateway", "recipient", "add", "ada", "--profile", "ada.share"]
            subprocess.run([*PROA, *add, "--address", address], cwd=project, check=True)
            printed = {name: output(project, name, code) for name, code in programs().items()}
        finally:
            process.terminate()
            process.communicate(timeout=60)
    assert process.returncode == 0
    assert set(printed) == {"load_sales.py", "sum_sales.py", "ask_sales.py"}
    orders, customers = printed["sum_sales.py"].split()
    assert int(orders) >= int(customers) > 0
    assert printed["ask_sales.py"] == f"[['{orders}']]\n"
    assert printed["load_sales.py"].splitlines()[-1].endswith(" 2")


def output(project: Path, name: str, code: str) -> str:
    (project / name).write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, name], cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
