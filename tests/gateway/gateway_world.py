"""Two regions whose tables are written as an update leaves them, without an engine, and a gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
from deltalake import write_deltalake
from starlette.types import ASGIApp

from proa.gateway.gateway import Gateway
from proa.gateway.gateway_app import create_gateway_app
from proa.gateway.shared_statements import SharedStatements
from proa.recovery.control_record import ControlStore, first_record
from proa.region.workers.fake_workers import FakeWorkers
from proa.runtime.declared import DeclaredPipeline, DeclaredTable, write_declared
from proa.settings import (
    ControlSettings,
    GatewaySettings,
    ProjectSettings,
    RecoverySettings,
    RegionSettings,
)
from proa.storage import Store, is_url
from proa.testing import FakeClock, FixedIds

TABLES = "/delta-sharing/shares/shop/schemas/default/tables"


@dataclass
class GatewayWorld:
    """The regions, the record and one gateway, which looks when it is told to."""

    base: Path
    clock: FakeClock
    settings: ProjectSettings
    ids: FixedIds
    gateway: Gateway = field(init=False)
    token: str = field(init=False)

    def __post_init__(self) -> None:
        for region in self.settings.regions.values():
            Path(region.storage).mkdir(parents=True, exist_ok=True)
        self.control = ControlStore.of(self.settings)
        self.restart()
        _, self.token = self.gateway.recipients.add("ada")

    def restart(self) -> None:
        """A new process of the gateway, on the same state."""
        state = Store.open(str(self.base / "state"))
        self.gateway = Gateway(self.settings, state, self.clock, self.ids)
        self.statements = SharedStatements(self.gateway, FakeWorkers())
        self.look()

    def look(self) -> None:
        """Let the gateway look at everything."""
        for place in self.gateway.active.places:
            self.gateway.active.look(place)
        self.gateway.look_at_region()

    def declare(
        self, *names: str, private: tuple[str, ...] = (), schema: str | None = None
    ) -> None:
        """Let the pipeline of every region declare tables."""
        tables = {name: DeclaredTable((), private=name in private) for name in names}
        declared = DeclaredPipeline(tables, ("shop", None, schema))
        for region in self.settings.regions.values():
            if is_url(region.storage) or Path(region.storage).is_dir():
                write_declared(region.storage, region.options, declared)

    def write(self, region: str, table: str, rows: pa.Table, **how: Any) -> None:
        """Commit rows to a table of a region."""
        place = f"{self.settings.region(region).storage}/tables/{table}"
        write_deltalake(place, rows, mode=how.pop("mode", "append"), **how)

    def promote(self, region: str) -> None:
        """Make a region the active one, as the controller writes it down."""
        record = self.control.read()
        if record is None:
            record = self.control.append(first_record(self.settings, self.clock.now(), "test"))
        now = {"number": record.number + 1, "epoch": record.epoch + 1, "active": region}
        self.control.append(record.model_copy(update=now))

    def lose(self, region: str) -> None:
        """Take a region's storage away."""
        place = Path(self.settings.region(region).storage)
        place.rename(place.with_name("storage-lost"))

    def give_back(self, region: str) -> None:
        """Let a lost region return as it was."""
        place = Path(self.settings.region(region).storage)
        place.with_name("storage-lost").rename(place)

    def client(self, token: str | None = None) -> Client:
        """A client of the gateway, in this process."""
        return Client(create_gateway_app(self.gateway, self.statements), token or self.token)


@dataclass(frozen=True)
class Client:
    """Sends requests to an application, without a network."""

    app: ASGIApp
    token: str

    def request(self, method: str, url: str, **how: Any) -> httpx.Response:
        return asyncio.run(self._send(method, url, **how))

    def get(self, url: str, **how: Any) -> httpx.Response:
        return self.request("GET", url, **how)

    def head(self, url: str, **how: Any) -> httpx.Response:
        return self.request("HEAD", url, **how)

    def post(self, url: str, **how: Any) -> httpx.Response:
        return self.request("POST", url, **how)

    def delete(self, url: str, **how: Any) -> httpx.Response:
        return self.request("DELETE", url, **how)

    async def _send(self, method: str, url: str, **how: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        headers = {"Authorization": f"Bearer {self.token}"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://gateway.test", headers=headers
        ) as client:
            return await client.request(method, url, **how)


def new_world(
    base: Path,
    clock: FakeClock,
    *,
    third_place: bool = True,
    ids: FixedIds | None = None,
    **gateway: Any,
) -> GatewayWorld:
    control = ControlSettings(path=str(base / "control")) if third_place else None
    (base / "control").mkdir(parents=True, exist_ok=True)
    settings = ProjectSettings(
        regions={
            name: RegionSettings(
                landing_zone=str(base / name / "landing"), storage=str(base / name / "storage")
            )
            for name in ("east", "west")
        },
        recovery=RecoverySettings(control=control),
        gateway=GatewaySettings(**gateway),
    )
    return GatewayWorld(base, clock, settings, ids or FixedIds())


def numbers(first: int, last: int) -> pa.Table:
    """Rows with an id, a word and a half of the id."""
    ids = list(range(first, last + 1))
    return pa.table(
        {"id": ids, "word": [f"w{number:03}" for number in ids], "half": [n / 2 for n in ids]}
    )


def lines_of(answer: httpx.Response) -> list[Mapping[str, Any]]:
    """The JSON objects of an answer, one a line."""
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]
