"""A witness over a group of regions, asked without a socket."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import httpx
from fastapi import FastAPI

from fake_group import Group
from proa.control.access import AccessRole, ControlAccess
from proa.control.alerts import Notice
from proa.control.witness import Witness
from proa.errors import UnavailableError


@dataclass
class Pager:
    """A channel that remembers, or fails."""

    name: str = "pager"
    told: list[Notice] = field(default_factory=list)
    broken: bool = False

    def deliver(self, notice: Notice) -> None:
        if self.broken:
            raise UnavailableError("the pager is broken")
        self.told.append(notice)


@dataclass
class Caller:
    """Asks an application without a socket, and keeps its cookies."""

    app: FastAPI
    cookies: httpx.Cookies = field(default_factory=httpx.Cookies)

    def get(self, path: str, **options) -> httpx.Response:
        return asyncio.run(self._ask("GET", path, options))

    def post(self, path: str, **options) -> httpx.Response:
        return asyncio.run(self._ask("POST", path, options))

    async def _ask(self, method: str, path: str, options: dict) -> httpx.Response:
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://control", cookies=self.cookies
        ) as client:
            answer = await client.request(method, path, **options)
            self.cookies = client.cookies
            return answer


@dataclass
class Control:
    """A witness over a group of regions, and those who talk to it."""

    group: Group
    witness: Witness
    access: ControlAccess
    client: Caller
    pager: Pager

    def headers(self, role: AccessRole = AccessRole.OPERATOR) -> dict[str, str]:
        _, text = self.access.create("ada", role)
        return {"authorization": f"Bearer {text}"}

    def look(self) -> None:
        """Everything is seen as it is now."""
        self.witness.look_at_record()
        for region in self.witness.settings.regions:
            self.witness.look_at(region)
        self.witness.tell()
