"""Lists that modules and bundles ask for before they make anything: what there is, to read only."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query

from proa.http.api_errors import MissingError
from proa.region.api.route_parts import RegionOf, UserOf
from proa.region.identity import scim_group, scim_list, scim_user
from proa.region.region import RegionServices
from proa.region.state.database import stable_number
from proa.region.workers.port import DEFAULT_SCHEMA

router = APIRouter(tags=["inventory"])

DEFAULT_CATALOG = "hive_metastore"
"""The catalog of tables whose pipeline names none."""

_UNITY = "/api/2.1/unity-catalog"
_VERSIONS = {
    "17.3.x-scala2.13": "17.3 LTS (includes Apache Spark 4.0.0, Scala 2.13)",
    "16.4.x-scala2.12": "16.4 LTS (includes Apache Spark 3.5.2, Scala 2.12)",
}
"""Runtimes that can be named where a job names one. What runs is the region's engine."""

_FILTER = re.compile(r"""\s*(\w+)\s+eq\s+["']?(.*?)["']?\s*""", re.IGNORECASE)
ScimIndex = Annotated[int, Query(ge=0, lt=2**31)]

_GROUPS = ("admins", "users")


def _of_clusters(path: str) -> Callable[..., Any]:
    """Register a GET of the clusters API under 2.1 and 2.0, shown as 2.1."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for version in ("2.1", "2.0"):
            router.get(
                f"/api/{version}/clusters{path}",
                operation_id=f"{function.__name__}_{version}",
                include_in_schema=version == "2.1",
            )(function)
        return function

    return decorate


@_of_clusters("/spark-versions")
async def list_spark_versions() -> dict[str, Any]:
    """Runtimes that a job may name; a region runs all of them with its own engine."""
    return {"versions": [{"key": key, "name": name} for key, name in _VERSIONS.items()]}


@_of_clusters("/list-node-types")
async def list_node_types() -> dict[str, Any]:
    """The one kind of machine: the server's own."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    node = {
        "node_type_id": "proa.server",
        "instance_type_id": "proa.server",
        "description": "The machine of the region's server",
        "category": "General Purpose",
        "memory_mb": memory,
        "num_cores": float(os.cpu_count() or 1),
        "num_gpus": 0,
        "is_deprecated": False,
        "is_hidden": False,
        "support_cluster_tags": True,
        "support_ebs_volumes": True,
        "node_instance_type": {"instance_type_id": "proa.server", "local_disks": 1},
    }
    return {"node_types": [node]}


@_of_clusters("/list")
async def list_clusters() -> dict[str, Any]:
    """No cluster: work runs in the server's own processes."""
    return {}


@_of_clusters("/get")
async def get_cluster(cluster_id: str) -> dict[str, Any]:
    """No cluster: work runs in the server's own processes."""
    raise MissingError(f"Cluster {cluster_id[:80]} does not exist")


@_of_clusters("/list-zones")
async def list_zones(region: RegionOf) -> dict[str, Any]:
    """The region itself."""
    return {"zones": [region.name], "default_zone": region.name}


@router.get("/api/2.0/instance-pools/list")
async def list_instance_pools() -> dict[str, Any]:
    """No pool."""
    return {}


@router.get("/api/2.0/policies/clusters/list")
async def list_cluster_policies() -> dict[str, Any]:
    """No policy."""
    return {}


@router.get(f"{_UNITY}/catalogs")
def list_catalogs(region: RegionOf) -> dict[str, Any]:
    """The catalogs that pipelines write to."""
    names = {table["catalog_name"] for table in _tables(region)} | {DEFAULT_CATALOG}
    return {"catalogs": [_catalog(name) for name in sorted(names)]}


@router.get(_UNITY + "/catalogs/{name}")
def get_catalog(name: str, region: RegionOf) -> dict[str, Any]:
    """One catalog."""
    return _find_named(name, list_catalogs(region)["catalogs"], "catalog", "name")


@router.get(f"{_UNITY}/schemas")
def list_schemas(region: RegionOf, catalog_name: str) -> dict[str, Any]:
    """The schemas of a catalog that have tables."""
    get_catalog(catalog_name, region)
    names = {
        table["schema_name"]
        for table in _tables(region)
        if table["catalog_name"].lower() == catalog_name.lower()
    }
    return {"schemas": [_schema(catalog_name, name) for name in sorted(names)]} if names else {}


@router.get(_UNITY + "/schemas/{full_name}")
def get_schema(full_name: str, region: RegionOf) -> dict[str, Any]:
    """One schema."""
    schemas = list_schemas(region, full_name.partition(".")[0]).get("schemas", [])
    return _find_named(full_name, schemas, "schema", "full_name")


@router.get(f"{_UNITY}/tables")
def list_tables(region: RegionOf, catalog_name: str, schema_name: str) -> dict[str, Any]:
    """The tables of a schema: where they lie. Columns are for statements to describe."""
    wanted = (catalog_name.lower(), schema_name.lower())
    tables = [
        table
        for table in _tables(region)
        if (table["catalog_name"].lower(), table["schema_name"].lower()) == wanted
    ]
    return {"tables": tables} if tables else {}


@router.get(_UNITY + "/tables/{full_name}")
def get_table(full_name: str, region: RegionOf) -> dict[str, Any]:
    """One table: where it lies."""
    return _find_named(full_name, _tables(region), "table", "full_name")


@router.get(_UNITY + "/tables/{full_name}/exists")
def table_exists(full_name: str, region: RegionOf) -> dict[str, Any]:
    """Whether there is such a table."""
    names = {table["full_name"].lower() for table in _tables(region)}
    return {"table_exists": full_name.lower() in names}


@router.get(f"{_UNITY}/current-metastore-assignment")
async def current_metastore(region: RegionOf) -> dict[str, Any]:
    """The region's own catalog of tables."""
    return {
        "metastore_id": region.identity.account_id,
        "workspace_id": int(region.identity.workspace_id),
        "default_catalog_name": DEFAULT_CATALOG,
    }


@router.get(f"{_UNITY}/metastore_summary")
async def metastore_summary(region: RegionOf) -> dict[str, Any]:
    """The region's own catalog of tables."""
    return {
        "metastore_id": region.identity.account_id,
        "name": region.name,
        "cloud": "aws",
        "region": region.name,
    }


@router.get("/api/2.0/preview/scim/v2/Users")
def list_users(
    region: RegionOf,
    user: UserOf,
    filter: str = "",  # noqa: A002 - the API's own word
    startIndex: ScimIndex = 1,  # noqa: N803 - SCIM's own names
    count: ScimIndex | None = None,
) -> dict[str, Any]:
    """Everybody who has a token."""
    names = {token.user for token in region.tokens.list() if token.revoked_at is None} | {user}
    users = _filter_items([scim_user(name) for name in sorted(names)], filter)
    return scim_list(users, startIndex, count)


@router.get("/api/2.0/preview/scim/v2/Groups")
async def list_groups(
    filter: str = "",  # noqa: A002 - the API's own word
    startIndex: ScimIndex = 1,  # noqa: N803 - SCIM's own names
    count: ScimIndex | None = None,
) -> dict[str, Any]:
    """The groups that every workspace has."""
    return scim_list(
        _filter_items([scim_group(name) for name in _GROUPS], filter), startIndex, count
    )


def _tables(region: RegionServices) -> list[dict[str, Any]]:
    """Every table of every pipeline, as the catalog API shows one."""
    tables = []
    for table in region.payloads.tables():
        catalog = str(table["catalog"] or DEFAULT_CATALOG)
        schema = str(table["schema"] or DEFAULT_SCHEMA)
        tables.append(
            {
                "name": table["name"],
                "catalog_name": catalog,
                "schema_name": schema,
                "full_name": f"{catalog}.{schema}.{table['name']}",
                "table_type": "EXTERNAL",
                "data_source_format": "DELTA",
                "storage_location": table["url"],
                "table_id": str(stable_number(catalog, schema, str(table["name"]))),
            }
        )
    return sorted(tables, key=lambda table: str(table["full_name"]))


def _catalog(name: str) -> dict[str, Any]:
    return {"name": name, "full_name": name, "catalog_type": "MANAGED_CATALOG"}


def _schema(catalog: str, name: str) -> dict[str, Any]:
    return {"name": name, "catalog_name": catalog, "full_name": f"{catalog}.{name}"}


def _find_named(
    name: str, items: Sequence[Mapping[str, Any]], what: str, key: str
) -> dict[str, Any]:
    """The item with that name. Raises MissingError if there is none."""
    for item in items:
        if str(item[key]).lower() == name.lower():
            return dict(item)
    code = f"{what.upper()}_DOES_NOT_EXIST"
    raise MissingError(f"{what.capitalize()} '{name[:200]}' does not exist.", condition=code)


def _filter_items(items: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    """The items that an `attribute eq "value"` filter lets through; all without one."""
    match = _FILTER.fullmatch(text)
    if match is None:
        return items
    attribute, value = match.groups()
    return [item for item in items if str(item.get(attribute, "")).lower() == value.lower()]
