"""Two regions that serve, and a Terraform that knows its provider."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from terraform import Terraform, install_provider

from proa.clock import SystemClock
from proa.infra import RegionRoot, Tree, write
from proa.region.server import Listen, Server
from proa.region.testing import FakeWorkers
from proa.settings import RegionSettings


class ShiftedClock(SystemClock):
    """The machine's clock, as late as a test wants it to be."""

    def __init__(self) -> None:
        self.shift = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.shift


class LiveRegion:
    """A region's server on a port of this machine. It can be lost, and come back."""

    def __init__(self, name: str, folder: Path, workers=None) -> None:
        self.name = name
        self.folder = folder
        self.clock = ShiftedClock()
        self.settings = RegionSettings(
            landing_zone=str(folder / "landing"), storage=str(folder / "storage")
        )
        self._make_workers = workers or (lambda: FakeWorkers(obedient=True))
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
        self.workers = self._make_workers()
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


@pytest.fixture(scope="session")
def provider(tmp_path_factory):
    return install_provider(tmp_path_factory.mktemp("provider"))


@pytest.fixture
def regions(tmp_path):
    """Two regions whose workers do at once what they are asked, by name."""
    made = {}
    try:
        for name in ("us-east", "us-west"):
            (tmp_path / name).mkdir()
            made[name] = LiveRegion(name, tmp_path / name)
        yield made
    finally:
        for region in made.values():
            region.stop()


@pytest.fixture
def tree(tmp_path, regions):
    """A project's Terraform tree for the two regions, us-east active."""
    sources = tmp_path / "project"
    (sources / "sub").mkdir(parents=True)
    (sources / "notebook1.py").write_text("# Databricks notebook source\nprint(1)\n")
    (sources / "sub" / "notebook2.sql").write_text("-- Databricks notebook source\nselect 1\n")
    folder = tmp_path / "infra"
    write(
        Tree(
            pipeline="pipeline",
            source="../../../project",
            notebooks=("notebook1.py", "sub/notebook2.sql"),
            regions=tuple(
                RegionRoot(name, live.url, live.settings.landing_zone, live.settings.storage)
                for name, live in regions.items()
            ),
            active="us-east",
            target="flights",
            configuration={"threshold": "${5}"},
        ),
        folder,
    )
    return folder


@pytest.fixture
def roots(tree, provider, regions):
    """The regions' root modules, ready to be applied, by region."""
    made = {}
    for name, live in regions.items():
        made[name] = Terraform(tree / "regions" / name, provider, live.token)
        made[name].init()
    return made
