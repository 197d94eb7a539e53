"""`proa serve` as a process: started, asked, killed, told to stop, started again."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SETTINGS = """
regions:
  us-east:
    landing_zone: zone
    storage: storage
    server: {port: 0, warm_workers: 1, grace_seconds: 0.5}
"""
SLOW = (
    "# Databricks notebook source\n"
    "import dlt, threading\n"
    "@dlt.table\n"
    "def t():\n"
    "    return spark.range(3)\n"
    "threading.Event().wait({seconds})\n"
)


def proa(*arguments: str) -> list[str]:
    code = "import sys; from proa.cli.main import main; sys.argv[0] = 'proa'; main()"
    return [sys.executable, "-c", code, *arguments]


class Server:
    """A server process of a project folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with (folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                proa("serve", "--region", "us-east", "--project", str(folder), "--json"),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        lines: queue.SimpleQueue[str] = queue.SimpleQueue()

        def read() -> None:
            for line in self.process.stdout:
                lines.put(line)
            lines.put("")

        self._reader = threading.Thread(target=read, daemon=True)
        self._reader.start()
        text = ""
        while not text.rstrip().endswith("}"):
            line = lines.get(timeout=120)
            assert line, f"the server ended: {(folder / 'log').read_text()}"
            text += line
        self.address = json.loads(text)["address"]

    def end(self, signal_: int) -> int:
        self.process.send_signal(signal_)
        code = self.process.wait(120)
        self._reader.join(5)
        self.process.stdout.close()
        return code


@pytest.fixture
def project(tmp_path):
    (tmp_path / "proa.yml").write_text(SETTINGS)
    return tmp_path


@pytest.fixture
def token(project):
    done = subprocess.run(
        proa("token", "create", "--region", "us-east", "--project", str(project)),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


class Client:
    def __init__(self, server: Server, token: str) -> None:
        self.server, self.token = server, token

    def __call__(self, method: str, path: str, body: object = None):
        request = urllib.request.Request(
            f"{self.server.address}/api/2.0{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)

    def notebook(self, source: str) -> None:
        import base64

        self(
            "POST",
            "/workspace/import",
            {
                "path": "/Shared/nb",
                "language": "PYTHON",
                "overwrite": True,
                "content": base64.b64encode(source.encode()).decode(),
            },
        )

    def state(self, pipeline: str, update: str) -> str:
        return self("GET", f"/pipelines/{pipeline}/updates/{update}")["update"]["state"]

    def until(self, pipeline: str, update: str, *states: str) -> str:
        pause = threading.Event()
        for _ in range(600):
            found = self.state(pipeline, update)
            if found in states:
                return found
            pause.wait(0.1)
        raise AssertionError(f"{found} never became one of {states}")


def workers_of(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    children = [int(child) for child in text.split()]
    for task in Path(f"/proc/{pid}/task").iterdir():
        children += [int(child) for child in (task / "children").read_text().split()]
    return sorted(set(children))


def gone(pids: list[int]) -> bool:
    pause = threading.Event()
    for _ in range(600):
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        pause.wait(0.1)
    return False


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_an_update_outlives_its_server(project, token, name):
    server = Server(project)
    client = Client(server, token)
    client.notebook(SLOW.format(seconds=60))
    pipeline = client(
        "POST",
        "/pipelines",
        {"name": "p", "libraries": [{"notebook": {"path": "/Shared/nb"}}]},
    )["pipeline_id"]
    update = client("POST", f"/pipelines/{pipeline}/updates", {})["update_id"]
    client.until(pipeline, update, "INITIALIZING", "RUNNING")
    workers = workers_of(server.process.pid)
    assert workers
    # The code that the next server runs is quick: what the update runs is what is there then.
    client.notebook(SLOW.format(seconds=0))
    code = server.end(getattr(signal, name))
    assert code == (-9 if name == "SIGKILL" else 0)
    assert gone(workers)
    later = Server(project)
    again = Client(later, token)
    assert again.until(pipeline, update, "COMPLETED", "FAILED") == "COMPLETED"
    found = again("GET", f"/pipelines/{pipeline}")
    assert [item["update_id"] for item in found["latest_updates"]] == [update]
    assert later.end(signal.SIGTERM) == 0


def test_a_killed_worker_fails_its_update_and_nothing_else(project, token):
    server = Server(project)
    client = Client(server, token)
    client.notebook(SLOW.format(seconds=60))
    pipeline = client(
        "POST", "/pipelines", {"name": "p", "libraries": [{"notebook": {"path": "/Shared/nb"}}]}
    )["pipeline_id"]
    update = client("POST", f"/pipelines/{pipeline}/updates", {})["update_id"]
    client.until(pipeline, update, "INITIALIZING", "RUNNING")
    for worker in workers_of(server.process.pid):
        os.kill(worker, signal.SIGKILL)
    client.until(pipeline, update, "FAILED")
    event = client("GET", f"/pipelines/{pipeline}/events?max_results=1")["events"][0]
    assert "killed by signal 9" in event["message"]
    client.notebook(SLOW.format(seconds=0))
    update = client("POST", f"/pipelines/{pipeline}/updates", {})["update_id"]
    client.until(pipeline, update, "COMPLETED")
    second = subprocess.run(
        proa("serve", "--region", "us-east", "--project", str(project)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (second.returncode, "another server" in second.stderr) == (1, True)
    assert server.end(signal.SIGTERM) == 0
    assert token not in (project / "log").read_text()
