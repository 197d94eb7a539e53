"""An Apache Spark Connect server in a process of its own. `make test-spark` says where Spark is."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

ENVIRONMENT = Path(os.environ["PROA_SPARK_ENVIRONMENT"])
"""A Python environment in which `pyspark[connect]` is installed, and not Proa."""


class SparkProcess:
    """One of Spark's programs: a Connect server, a master, a worker."""

    def __init__(self, folder: Path, program: str, ready: str, *arguments: str) -> None:
        self._folder, self._ready = folder, ready
        self._command = [f"bin/{program}", *arguments]
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self.lines: list[str] = []
        """What the program has logged since it was started."""

    def start(self) -> None:
        """Start the program and return when it says that it is ready."""
        home = next((ENVIRONMENT / "lib").glob("python3*/site-packages/pyspark"))
        answers = threading.Event()
        program, *arguments = self._command
        self._process = subprocess.Popen(
            [str(home / program), *arguments],
            cwd=self._folder,
            env={
                **{key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
                "SPARK_HOME": str(home),
                "SPARK_LOCAL_IP": "127.0.0.1",
                "PYSPARK_PYTHON": str(ENVIRONMENT / "bin" / "python"),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        lines = self.lines = []

        def read(stream: Iterator[str]) -> None:
            for line in stream:
                lines.append(line)
                if self._ready in line:
                    answers.set()
            answers.set()

        assert self._process.stderr is not None
        self._reader = threading.Thread(target=read, args=(self._process.stderr,))
        self._reader.start()
        assert answers.wait(300), "Spark did not start in time:\n" + "".join(lines[-20:])
        assert self._process.poll() is None, "Spark ended:\n" + "".join(lines[-40:])

    def kill(self) -> None:
        """End the program's processes at once, as a machine that dies."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(60)
            assert self._reader is not None
            self._reader.join(60)
            assert self._process.stderr is not None
            self._process.stderr.close()
            self._process = None


class SparkServer(SparkProcess):
    """A Connect server on a port of loopback; it can be killed and started again."""

    def __init__(self, folder: Path, master: str = "local[2]", *options: str) -> None:
        port = free_port()
        self.address = f"sc://127.0.0.1:{port}"
        settings = {
            "spark.connect.grpc.binding.port": str(port),
            "spark.ui.enabled": "false",
            "spark.sql.shuffle.partitions": "2",
            "spark.executor.memory": "1g",
        }
        super().__init__(
            folder,
            "spark-submit",
            "Spark Connect server started",
            *("--class", "org.apache.spark.sql.connect.service.SparkConnectServer"),
            *("--master", master, "--driver-memory", "1g"),
            *(part for name, value in settings.items() for part in ("--conf", f"{name}={value}")),
            *options,
            "spark-internal",
        )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextmanager
def running_server(folder: Path) -> Iterator[SparkServer]:
    server = SparkServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="session")
def s3_secret() -> str:
    """A key that opens the S3 endpoint, which is in no log."""
    return "a-secret-that-no-log-has"


def s3_client(endpoint: str, secret: str) -> list[str]:
    """What `spark-submit` is told, so that Spark reads files at `s3://`.

    Of Amazon's SDK only what Hadoop's client needs: its whole bundle has 690 MB.
    """
    [hadoop] = next((ENVIRONMENT / "lib").glob("python3*/site-packages/pyspark/jars")).glob(
        "hadoop-client-api-*.jar"
    )
    version = hadoop.stem.removeprefix("hadoop-client-api-")
    sdk = [f"software.amazon.awssdk:{part}:2.35.4" for part in ("s3", "s3-transfer-manager", "sts")]
    settings = {
        "s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
        "s3a.endpoint": endpoint,
        "s3a.endpoint.region": "us-east-1",
        "s3a.access.key": "testing",
        "s3a.secret.key": secret,
        "s3a.path.style.access": "true",
    }
    return [
        *("--packages", ",".join([f"org.apache.hadoop:hadoop-aws:{version}", *sdk])),
        *("--exclude-packages", "software.amazon.awssdk:bundle,org.apache.hadoop:hadoop-common"),
        *(
            part
            for name, value in settings.items()
            for part in ("--conf", f"spark.hadoop.fs.{name}={value}")
        ),
    ]


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[SparkServer, list[Path]]]:
    """A standalone master, two workers of one core each, and a Connect server that uses them.

    With the folders in which the workers keep what their programs said.
    """
    with running_cluster(tmp_path_factory) as found:
        yield found


@pytest.fixture
def cluster_with_s3(
    tmp_path_factory: pytest.TempPathFactory, s3_server: str, s3_secret: str
) -> Iterator[tuple[SparkServer, list[Path]]]:
    """A cluster that reads files at `s3://`. Needs a Maven repository."""
    with running_cluster(tmp_path_factory, *s3_client(s3_server, s3_secret)) as found:
        yield found


@contextmanager
def running_cluster(
    tmp_path_factory: pytest.TempPathFactory, *options: str
) -> Iterator[tuple[SparkServer, list[Path]]]:
    folder = tmp_path_factory.mktemp("cluster")
    folders = [folder / "worker1", folder / "worker2"]
    port = free_port()
    master = f"spark://127.0.0.1:{port}"
    deploy = "org.apache.spark.deploy"
    here = ("--host", "127.0.0.1", "--webui-port", "0")
    programs = [
        SparkProcess(
            folder,
            "spark-class",
            "New state: ALIVE",
            *(f"{deploy}.master.Master", *here, "--port", str(port)),
        ),
        *(
            SparkProcess(
                folder,
                "spark-class",
                "Successfully registered with master",
                *(f"{deploy}.worker.Worker", *here, "--cores", "1", "--memory", "1g"),
                *("--work-dir", str(place), master),
            )
            for place in folders
        ),
    ]
    server = SparkServer(folder, master, *options)
    with ExitStack() as running:
        for program in (*programs, server):
            running.callback(program.kill)
            program.start()
        yield server, folders


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
