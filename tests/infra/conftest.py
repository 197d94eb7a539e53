"""Two regions that serve, and a Terraform that knows its provider."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
import uvicorn
from terraform import install_provider

from proa.clock import RandomIds, SystemClock
from proa.region.app import create_app
from proa.region.service import Region
from proa.region.store import Database
from proa.region.testing import FakeWorkers
from proa.settings import RegionSettings


class LiveRegion:
    """A region's server on a port of this machine, with workers that do what they are told."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self._port = 0
        self.start()
        _, self.token = self.region.tokens.create()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        settings = RegionSettings(
            landing_zone=str(self.folder / "landing"), storage=str(self.folder / "storage")
        )
        self.workers = FakeWorkers(obedient=True)
        self.region = Region.open(
            self.name,
            settings,
            Database.open(f"sqlite:///{self.folder / 'state.db'}"),
            self.workers,
            SystemClock(),
            RandomIds(),
        )
        self.region.start()
        listener = socket.create_server(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        self._server = uvicorn.Server(
            uvicorn.Config(create_app(self.region), log_config=None, lifespan="off")
        )
        self._thread = threading.Thread(target=self._server.run, args=([listener],), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """The region is lost: nothing answers at its address."""
        self._server.should_exit = True
        self._thread.join()
        self.region.stop(1)


@pytest.fixture(scope="session")
def provider(tmp_path_factory):
    return install_provider(tmp_path_factory.mktemp("provider"))


@pytest.fixture
def regions(tmp_path):
    """Two regions, by name."""
    made = {}
    for name in ("us-east", "us-west"):
        folder = tmp_path / name
        folder.mkdir()
        made[name] = LiveRegion(name, folder)
    yield made
    for region in made.values():
        region.stop()
