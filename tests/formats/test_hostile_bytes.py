"""No bytes end a process: each becomes rows, is rescued, or is refused as a file of its name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FEEDER = Path(__file__).with_name("hostile_bytes.py")


@pytest.mark.slow
def test_readers_and_the_shipper_survive_hostile_files():
    fed = subprocess.run(
        [sys.executable, FEEDER, "0", "250"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert fed.stdout.endswith("done\n"), (fed.returncode, fed.stdout[-40:], fed.stderr[-2000:])
