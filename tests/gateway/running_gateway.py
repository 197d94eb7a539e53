"""A gateway that answers on loopback, in a thread of the test's process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway_world import GatewayWorld

from proa.clock import RandomIds, SystemClock
from proa.gateway.gateway_app import GatewayServer, endpoint
from proa.gateway.recipients import profile_of
from proa.http.serving import Listen
from proa.region.workers.port import Workers
from proa.storage import Store


@contextmanager
def served_gateway(
    world: GatewayWorld, listen: Listen | None = None, workers: Workers | None = None
) -> Iterator[str]:
    """The path of a profile file of a gateway over the world's regions."""
    state = Store.open(str(world.base / "served-state"))
    clock, ids = SystemClock(), RandomIds()
    server = GatewayServer(world.settings, state, listen or Listen(), clock, ids, workers=workers)
    recipient, text = server.gateway.recipients.add("ada", lifetime_s=3600)
    answers = threading.Event()
    addresses: list[str] = []

    def on_start(address: str) -> None:
        addresses.append(address)
        answers.set()

    thread = threading.Thread(target=server.run, args=(on_start,))
    thread.start()
    try:
        assert answers.wait(20)
        address = addresses[0]
        profile = Path(world.base, "ada.share")
        profile.write_text(json.dumps(profile_of(recipient, text, endpoint(address))))
        yield str(profile)
    finally:
        server.stop()
        thread.join(30)
