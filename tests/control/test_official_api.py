"""Databricks' own client lists the group, looks at it and fails it over."""

from __future__ import annotations

import threading

import pytest
from databricks.sdk import AccountClient
from databricks.sdk.errors import DatabricksError, NotFound
from databricks.sdk.service.disasterrecovery import (
    FailoverFailoverGroupRequestFailoverType,
    FailoverGroup,
    FailoverGroupState,
)

from proa.control.access import AccessRole
from proa.control.official_routes import account_id
from proa.http.serving import HttpServer, Listen

FORCED = FailoverFailoverGroupRequestFailoverType.FORCED


@pytest.fixture
def account(control):
    """An account client of the SDK, against a real server."""
    listen = Listen()
    server = HttpServer(control.client.app, listen)
    started = threading.Event()
    address: list[str] = []

    def on_start(text: str) -> None:
        address.append(text)
        started.set()

    thread = threading.Thread(target=server.run, args=(listen.sockets(), on_start))
    thread.start()
    try:
        assert started.wait(30)
        _, token = control.access.create("ada", AccessRole.OPERATOR)
        yield AccountClient(host=address[0], account_id=account_id(control.witness), token=token)
    finally:
        server.stop()
        thread.join()


@pytest.mark.slow
def test_the_sdk_lists_looks_and_fails_over(control, account):
    parent = f"accounts/{account_id(control.witness)}"
    (listed,) = account.disaster_recovery.list_failover_groups(parent)
    assert (listed.regions, listed.state) == (["east", "west"], None)
    group = account.disaster_recovery.get_failover_group(listed.name)
    assert group.state is FailoverGroupState.ACTIVE
    assert group.replication_point is not None
    (url,) = account.disaster_recovery.list_stable_urls(parent)
    assert (url.url, url.effective_workspace_id) == ("https://data", "east")
    with pytest.raises(DatabricksError, match="etag"):
        account.disaster_recovery.failover_failover_group(group.name, "west", FORCED, etag="99")
    control.group.world.missing_s = 9000
    after = account.disaster_recovery.failover_failover_group(
        group.name, "west", FORCED, etag=group.etag
    )
    assert (after.effective_primary_region, after.state) == ("west", FailoverGroupState.ACTIVE)
    assert control.group.world.roles["west"] == "active"
    with pytest.raises(DatabricksError, match="already"):
        account.disaster_recovery.failover_failover_group(group.name, "west", FORCED)
    with pytest.raises(NotFound):
        account.disaster_recovery.get_failover_group(f"{parent}/failover-groups/other")
    with pytest.raises(DatabricksError, match=r"defined in proa\.yml"):
        account.disaster_recovery.create_failover_group(
            parent, FailoverGroup(["a"], [], "a"), "another"
        )


def test_the_official_api_obeys_roles(control):
    path = f"/api/disaster-recovery/v1/accounts/{account_id(control.witness)}/failover-groups"
    reader = control.headers(AccessRole.READER)
    assert control.client.get(f"{path}/shop", headers=reader).json()["state"] == "ACTIVE"
    body = {"target_primary_region": "west", "failover_type": "FORCED"}
    refused = control.client.post(f"{path}/shop/failover", json=body, headers=reader)
    assert refused.json()["error_code"] == "PERMISSION_DENIED"
    other = control.client.get(path.replace("accounts/", "accounts/0"), headers=reader)
    assert other.status_code == 404
