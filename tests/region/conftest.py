"""One server a module, on loopback, driven by Databricks' own client."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from fastapi import FastAPI
from stills import Still, region_settings, state_url, still_region

from killing import Lives
from proa.http.serving import Listen
from proa.region.region import RegionServices
from proa.region.server import Server
from proa.region.workers.fake_workers import FakeWorkers
from proa.region.workers.port import Workers
from proa.settings import RegionSettings
from proa.testing import FakeClock


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    address: str
    token: str
    region: RegionServices
    workers: Workers | None
    region_app: FastAPI

    def client(self, token: str | None = None) -> WorkspaceClient:
        return client(self.address, token or self.token)


def client(address: str, token: str) -> WorkspaceClient:
    """Databricks' client, not patient."""
    return WorkspaceClient(
        config=Config(
            host=address,
            token=token,
            auth_type="pat",
            retry_timeout_seconds=5,
            http_timeout_seconds=20,
        )
    )


@contextmanager
def serving(
    folder: Path,
    fake: Workers | None = None,
    name: str = "us-east",
    *,
    listen: Listen | None = None,
    **server: object,
) -> Iterator[Running]:
    """A server in a thread of this process."""
    made = Server(
        name,
        region_settings(folder, **server),
        state_url(folder),
        listen or Listen(),
        workers=fake,
    )
    _, token = made.region.tokens.create("admin@proa")
    answers = threading.Event()
    address: list[str] = []

    def started(found: str) -> None:
        address.append(found)
        answers.set()

    thread = threading.Thread(target=made.run, args=(started,))
    thread.start()
    try:
        assert answers.wait(20)
        yield Running(address[0], token, made.region, fake, made.app)
    finally:
        made.stop()
        thread.join(30)


@pytest.fixture(scope="module")
def lives() -> Iterator[Lives]:
    """Starts servers as processes."""
    made = Lives()
    yield made
    made.close()


@pytest.fixture(scope="session")
def serve() -> Callable[..., object]:
    return serving


@pytest.fixture(scope="session")
def settings_of() -> Callable[..., RegionSettings]:
    return region_settings


@pytest.fixture
def fake_workers() -> FakeWorkers:
    return FakeWorkers(obedient=True)


@pytest.fixture
def still(tmp_path: Path, clock: FakeClock) -> Iterator[Still]:
    found = still_region(tmp_path, clock)
    yield found
    found.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A region whose workers do at once what they are asked, but compute nothing."""
    with serving(tmp_path_factory.mktemp("region"), FakeWorkers(obedient=True)) as running:
        yield running


@pytest.fixture(scope="module")
def w(server: Running) -> WorkspaceClient:
    return server.client()


@pytest.fixture(scope="module")
def until(server: Running) -> Callable[[Callable[[], bool]], None]:
    """Wait until something is true, looking again after every turn of the control loop."""
    pause = threading.Event()

    def wait(true: Callable[[], bool]) -> None:
        for _ in range(1000):
            if true():
                return
            pause.wait(0.01)
        raise AssertionError("it never became true")

    return wait
