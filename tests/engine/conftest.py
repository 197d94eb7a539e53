"""An engine in this process and a Spark Connect server in another one."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from proa.engine import Engine
from proa.settings import EngineSettings

SERVER = """
import sys
from pysail.spark import SparkConnectServer

server = SparkConnectServer()
server.start(background=True)
print(server.listening_address[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="session")
def remote_address() -> Iterator[str]:
    """The address of a Sail server that runs in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield f"sc://127.0.0.1:{process.stdout.readline().strip()}"
        process.communicate("", timeout=20)


@pytest.fixture(params=["embedded", "remote"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    remote = request.getfixturevalue("remote_address") if request.param == "remote" else None
    with Engine.start(EngineSettings(remote=remote)) as found:
        yield found
