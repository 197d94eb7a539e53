"""One server a module, on loopback, driven by Databricks' own client."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config

from proa.clock import RandomIds
from proa.region.server import Listen, Server
from proa.region.service import Region
from proa.region.store import Database
from proa.region.testing import FakeWorkers
from proa.region.workers import Workers
from proa.settings import RegionSettings, ServerSettings
from proa.testing import FakeClock


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    address: str
    token: str
    region: Region
    workers: Workers | None

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


def region_settings(folder: Path, **server: object) -> RegionSettings:
    return RegionSettings(
        landing_zone=str(folder / "zone"),
        storage=str(folder / "storage"),
        server=ServerSettings(**server),
    )


def state_url(folder: Path) -> str:
    """The state of the region in `folder`: the same for every server that starts there.

    A SQLite file, or a new database of the PostgreSQL server that PROA_TEST_POSTGRESQL names.
    """
    server = os.environ.get("PROA_TEST_POSTGRESQL")
    if server is None:
        return f"sqlite:///{folder / 'state.db'}"
    kept = folder / "state.url"
    if not kept.exists():
        import psycopg

        name = f"proa_{RandomIds().new().replace('-', '')}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"create database {name}")
        kept.write_text(f"{server.rsplit('/', 1)[0]}/{name}")
    return kept.read_text()


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
        yield Running(address[0], token, made.region, fake)
    finally:
        made.stop()
        thread.join(30)


@pytest.fixture(scope="session")
def serve() -> Callable[..., object]:
    return serving


@pytest.fixture(scope="session")
def settings_of() -> Callable[..., RegionSettings]:
    return region_settings


@pytest.fixture
def fake_workers() -> FakeWorkers:
    return FakeWorkers(obedient=True)


class SteadyIds(RandomIds):
    """New ids for ever, across restarts, and pauses that do not vary."""

    def jitter(self) -> float:
        return 0.5


@dataclass
class Still:
    """A region without server, threads or time of its own: the test gives the turns."""

    region: Region
    workers: FakeWorkers
    clock: FakeClock
    folder: Path
    regions: list[Region]
    """All that were opened, this one the last."""

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.region.control.turn()

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.turn(2)

    def restarted(self) -> Still:
        """The next server on the same state, after this one was killed."""
        return still_region(self.folder, self.clock, self.regions)

    def close(self) -> None:
        for region in self.regions:
            region.database.close()


def still_region(folder: Path, clock: FakeClock, regions: list[Region] | None = None) -> Still:
    workers = FakeWorkers()
    region = Region.open(
        "us-east",
        region_settings(folder),
        Database.open(state_url(folder)),
        workers,
        clock,
        SteadyIds(),
    )
    region.recover()
    opened = [] if regions is None else regions
    opened.append(region)
    return Still(region, workers, clock, folder, opened)


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
