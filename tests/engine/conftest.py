"""An engine in this process and a Spark Connect server in another one."""

from collections.abc import Iterator

import pytest

from proa.engine import Engine
from proa.settings import EngineSettings


@pytest.fixture(params=["embedded", "remote"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    remote = request.getfixturevalue("remote_address") if request.param == "remote" else None
    with Engine.start(EngineSettings(remote=remote)) as found:
        yield found


@pytest.fixture
def embedded() -> Iterator[Engine]:
    with Engine.start() as found:
        yield found
