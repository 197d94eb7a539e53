"""Files that expand take bounded memory: they are read, or refused by name, and nothing dies."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from swollen_files import FILES

FEEDER = Path(__file__).with_name("swollen_files.py")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory")
def test_files_that_expand_are_read_or_refused_in_bounded_memory():
    fed = subprocess.run(
        [sys.executable, FEEDER], capture_output=True, text=True, timeout=600, check=False
    )
    lines = [json.loads(line) for line in fed.stdout.splitlines()]
    outcomes = {name: read.split(":")[0] for name, read, _ in lines}
    assert outcomes == {name: outcome for name, (*_, outcome) in FILES.items()}, fed.stderr[-2000:]
    told = [text for _, *texts in lines for text in texts]
    # What ends for want of memory is refused too; but the limit is not to be met.
    assert not [text for text in told if "alloc" in text or "raised" in text or "died" in text]
