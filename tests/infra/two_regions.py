"""Regions that serve, can be lost, and come back."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from pathlib import Path

from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config

from proa.clock import SystemClock
from proa.http.serving import Listen
from proa.region.server import Server
from proa.region.workers.fake_workers import FakeWorkers
from proa.settings import RegionSettings

SHIPPED = Path(__file__).parents[2] / "infra"


class ShiftedClock(SystemClock):
    """The machine's clock, as late as a test wants it to be."""

    def __init__(self) -> None:
        self.shift = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.shift


def obedient():
    """Workers that do at once what they are asked, but compute nothing."""
    return FakeWorkers(obedient=True)


class LiveRegion:
    """A region's server on a port of this machine. It can be lost, and come back.

    `workers` makes its workers; None takes those that compute.
    """

    def __init__(self, name: str, folder: Path, workers=obedient) -> None:
        self.name = name
        self.folder = folder
        self.clock = ShiftedClock()
        self.settings = RegionSettings(
            landing_zone=str(folder / "landing"), storage=str(folder / "storage")
        )
        self._make_workers = workers
        self._port = 0
        self._thread: threading.Thread | None = None
        self.start()
        _, self.token = self.region.tokens.create("admin@proa")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def client(self) -> WorkspaceClient:
        config = Config(host=self.url, token=self.token, auth_type="pat", retry_timeout_seconds=5)
        return WorkspaceClient(config=config)

    def start(self) -> None:
        self.workers = self._make_workers and self._make_workers()
        self._server = Server(
            self.name,
            self.settings,
            f"sqlite:///{self.folder / 'state.db'}",
            Listen(port=self._port),
            clock=self.clock,
            workers=self.workers,
        )
        self.region = self._server.region
        answers = threading.Event()

        def started(address: str) -> None:
            self._port = int(address.rpartition(":")[2])
            answers.set()

        self._thread = threading.Thread(target=self._server.run, args=(started,))
        self._thread.start()
        assert answers.wait(30)

    def stop(self) -> None:
        """The region is lost: nothing answers at its address."""
        if self._thread is not None:
            self._server.stop()
            self._thread.join(30)
            self._thread = None
