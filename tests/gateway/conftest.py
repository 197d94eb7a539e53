"""Two regions with tables, a gateway over them, and clients without a network."""

from __future__ import annotations

import pytest
from gateway_world import GatewayWorld, new_world

from proa.testing import FakeClock


@pytest.fixture
def world(tmp_path, clock: FakeClock) -> GatewayWorld:
    """Two regions on disk; east is active and has tables."""
    return new_world(tmp_path, clock)
