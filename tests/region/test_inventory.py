"""What modules and bundles ask for before they make anything; tokens; access lists of secrets."""

from __future__ import annotations

import pytest
from databricks.sdk.errors import NotFound, PermissionDenied, ResourceDoesNotExist, Unauthenticated
from databricks.sdk.service import workspace

from proa.layout import Layout
from proa.storage import Store


def test_a_runtime_and_a_machine_can_be_selected_as_modules_do(w):
    assert w.clusters.select_spark_version(long_term_support=True)
    assert w.clusters.select_node_type(local_disk=True)
    assert list(w.clusters.list()) == []
    assert w.clusters.list_zones().default_zone == "us-east"
    assert list(w.instance_pools.list()) == []
    assert list(w.cluster_policies.list()) == []
    with pytest.raises(NotFound):
        w.clusters.get("0000-none")


@pytest.fixture(scope="module")
def shop(server, w):
    made = w.pipelines.create(name="shop", catalog="main", schema="shop", libraries=[])
    w.pipelines.create(name="legacy", target="old", libraries=[])
    storage = server.region.payloads.storage({"catalog": "main"}, made.pipeline_id)
    table = Layout(storage).table("orders").removeprefix(storage).strip("/")
    Store.open(storage).put(f"{table}/_delta_log/00000000000000000000.json", b"{}")
    return storage


def test_catalogs_schemas_and_tables_are_those_that_pipelines_write(w, shop):
    assert {catalog.name for catalog in w.catalogs.list()} == {"main", "hive_metastore"}
    assert [schema.full_name for schema in w.schemas.list("main")] == ["main.shop"]
    assert list(w.schemas.list("hive_metastore")) == []
    tables = list(w.tables.list("main", "shop"))
    assert [table.full_name for table in tables] == ["main.shop.orders"]
    assert tables[0].storage_location.startswith(shop)
    assert w.tables.get("main.shop.orders").name == "orders"
    assert w.tables.exists("main.shop.orders").table_exists
    assert not w.tables.exists("main.shop.nothing").table_exists
    for call in (
        lambda: w.catalogs.get("nothing"),
        lambda: list(w.schemas.list("nothing")),
        lambda: w.schemas.get("main.nothing"),
        lambda: w.tables.get("main.shop.nothing"),
    ):
        with pytest.raises(NotFound):
            call()
    assert w.metastores.current().default_catalog_name == "hive_metastore"
    assert w.metastores.summary().name == "us-east"


def test_groups_and_users_are_found_by_name(w):
    assert [item.display_name for item in w.groups.list(filter="displayName eq 'admins'")] == [
        "admins"
    ]
    assert [item.user_name for item in w.users.list(filter='userName eq "admin@proa"')] == [
        "admin@proa"
    ]
    assert list(w.users.list(filter='userName eq "nobody"')) == []


def test_a_user_makes_lists_and_revokes_own_tokens(server, w):
    made = w.tokens.create(comment="ci", lifetime_seconds=3600)
    other = server.client(made.token_value)
    assert other.current_user.me().user_name == "admin@proa"
    listed = {item.token_id: item for item in w.tokens.list()}
    assert listed[made.token_info.token_id].comment == "ci"
    info = made.token_info
    assert info.expiry_time - info.creation_time == 3_600_000
    w.tokens.delete(info.token_id)
    assert info.token_id not in {item.token_id for item in w.tokens.list()}
    with pytest.raises(ResourceDoesNotExist):
        w.tokens.delete("nothing")
    assert server.region.tokens.user_of(made.token_value) is None
    for_ever = w.tokens.create()
    assert for_ever.token_info.expiry_time == -1
    _, text = server.region.tokens.create("somebody@else")
    stranger = server.client(text)
    with pytest.raises(ResourceDoesNotExist):
        stranger.tokens.delete(for_ever.token_info.token_id)
    with pytest.raises((Unauthenticated, PermissionDenied)):
        server.client("proanothing").tokens.create()


def test_access_lists_of_scopes_are_kept(w):
    w.secrets.create_scope("acl")
    assert [(item.principal, item.permission.value) for item in w.secrets.list_acls("acl")] == [
        ("admin@proa", "MANAGE")
    ]
    w.secrets.put_acl("acl", "readers", workspace.AclPermission.READ)
    w.secrets.put_acl("acl", "readers", workspace.AclPermission.WRITE)
    assert w.secrets.get_acl("acl", "readers").permission is workspace.AclPermission.WRITE
    w.secrets.delete_acl("acl", "readers")
    for call in (w.secrets.get_acl, w.secrets.delete_acl):
        with pytest.raises(ResourceDoesNotExist):
            call("acl", "readers")
    with pytest.raises(ResourceDoesNotExist):
        list(w.secrets.list_acls("nothing"))
    w.secrets.create_scope("owned", initial_manage_principal="users")
    assert [item.principal for item in w.secrets.list_acls("owned")] == ["users"]
    w.secrets.delete_scope("owned")
    w.secrets.create_scope("owned")
    assert [item.principal for item in w.secrets.list_acls("owned")] == ["admin@proa"]
