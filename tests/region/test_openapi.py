"""Whatever the OpenAPI description allows to be sent, the answer is never a 5xx."""

from __future__ import annotations

import contextlib

import pytest
import schemathesis
from hypothesis import HealthCheck, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

pytestmark = pytest.mark.slow

EXAMPLES = {GenerationMode.POSITIVE: 4, GenerationMode.NEGATIVE: 2}


@pytest.fixture(scope="module")
def operations(server):
    schema = schemathesis.openapi.from_url(
        f"{server.address}/openapi.json", headers={"Authorization": f"Bearer {server.token}"}
    )
    return [found.ok() for found in schema.get_all_operations()]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_request_makes_the_server_stumble(operations, server, mode):
    stumbled = []
    for operation in operations:

        @seed(0)
        @settings(
            max_examples=EXAMPLES[mode],
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def send(case):
            answer = case.call(
                headers={"Authorization": f"Bearer {server.token}"},
                timeout=20,
            )
            if answer.status_code >= 500:
                stumbled.append((answer.status_code, case.as_curl_command(), answer.text[:300]))

        with contextlib.suppress(Unsatisfiable):  # nothing can be wrong about no parameters
            send()
    assert stumbled == []
    assert len(operations) > 60
