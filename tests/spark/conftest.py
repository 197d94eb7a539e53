"""An Apache Spark Connect server in a process of its own. `make test-spark` says where Spark is."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ENVIRONMENT = Path(os.environ["PROA_SPARK_ENVIRONMENT"])
"""A Python environment in which `pyspark[connect]` is installed, and not Proa."""
_STARTED = "Spark Connect server started"


class SparkServer:
    """One server on a port of loopback; it can be killed and started again."""

    def __init__(self, folder: Path, port: int) -> None:
        self.address = f"sc://127.0.0.1:{port}"
        self._folder, self._port = folder, port
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> None:
        """Start the server and return when it answers."""
        python = ENVIRONMENT / "bin" / "python"
        home = next((ENVIRONMENT / "lib").glob("python3*/site-packages/pyspark"))
        answers = threading.Event()
        command = [
            str(home / "bin" / "spark-submit"),
            *("--class", "org.apache.spark.sql.connect.service.SparkConnectServer"),
            *("--master", "local[2]", "--driver-memory", "1g"),
            *("--conf", f"spark.connect.grpc.binding.port={self._port}"),
            *("--conf", "spark.ui.enabled=false"),
            *("--conf", "spark.sql.shuffle.partitions=2"),
            "spark-internal",
        ]
        self._process = subprocess.Popen(
            command,
            cwd=self._folder,
            env={
                **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
                "SPARK_HOME": str(home),
                "SPARK_LOCAL_IP": "127.0.0.1",
                "PYSPARK_PYTHON": str(python),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        lines: list[str] = []

        def read(stream: Iterator[str]) -> None:
            for line in stream:
                lines.append(line)
                if _STARTED in line:
                    answers.set()
            answers.set()

        assert self._process.stderr is not None
        self._reader = threading.Thread(target=read, args=(self._process.stderr,))
        self._reader.start()
        assert answers.wait(300), "Spark did not start in time:\n" + "".join(lines[-20:])
        assert self._process.poll() is None, "Spark ended:\n" + "".join(lines[-40:])

    def kill(self) -> None:
        """End the server's processes at once, as a machine that dies."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(60)
            assert self._reader is not None
            self._reader.join(60)
            assert self._process.stderr is not None
            self._process.stderr.close()
            self._process = None


@contextmanager
def running_server(folder: Path) -> Iterator[SparkServer]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = SparkServer(folder, port)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkServer]:
    """A server that all tests share."""
    with running_server(tmp_path_factory.mktemp("spark")) as server:
        yield server


@pytest.fixture(scope="session")
def spark_version() -> str:
    done = subprocess.run(
        [ENVIRONMENT / "bin" / "python", "-c", "import pyspark; print(pyspark.__version__)"],
        check=True,
        capture_output=True,
        text=True,
    )
    version = done.stdout.strip()
    assert re.match(r"4\.[23]\.", version), version
    return version


@pytest.fixture
def own_spark(tmp_path: Path) -> Iterator[SparkServer]:
    """A server for one test, which may kill it."""
    folder = tmp_path / "server"
    folder.mkdir()
    with running_server(folder) as server:
        yield server
