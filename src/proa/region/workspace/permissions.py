"""Permissions: stored and echoed. A region has one kind of user, who may do everything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select

from proa.region.state import Database
from proa.region.state.state_tables import permissions

_OF_OBJECTS = ("CAN_READ", "CAN_RUN", "CAN_EDIT", "CAN_MANAGE")
_OF_WAREHOUSES = ("CAN_USE", "CAN_MONITOR", "CAN_VIEW", "CAN_MANAGE", "IS_OWNER")


@dataclass(frozen=True)
class PermissionKind:
    """A kind of object that has an access list."""

    object_type: str
    """What answers call it: not always the singular of what addresses call it."""
    levels: tuple[str, ...]


KINDS = {
    "pipelines": PermissionKind("pipelines", ("CAN_VIEW", "CAN_RUN", "CAN_MANAGE", "IS_OWNER")),
    "jobs": PermissionKind("job", ("CAN_VIEW", "CAN_MANAGE_RUN", "CAN_MANAGE", "IS_OWNER")),
    "notebooks": PermissionKind("notebook", _OF_OBJECTS),
    "directories": PermissionKind("directory", _OF_OBJECTS),
    "files": PermissionKind("file", _OF_OBJECTS),
    "sql/warehouses": PermissionKind("warehouses", _OF_WAREHOUSES),
    "warehouses": PermissionKind("warehouses", _OF_WAREHOUSES),
    "authorization/tokens": PermissionKind("tokens", ("CAN_USE", "CAN_MANAGE")),
    "authorization/passwords": PermissionKind("passwords", ("CAN_USE",)),
}
"""The kinds of object that have access lists, by what addresses call them."""

KINDS_WITHOUT_OBJECTS = frozenset(
    {
        "alerts",
        "alertsv2",
        "apps",
        "cluster-policies",
        "clusters",
        "dashboards",
        "database-instances",
        "database-projects",
        "dbsql-dashboards",
        "experiments",
        "instance-pools",
        "queries",
        "registered-models",
        "repos",
        "serving-endpoints",
        "sql/alerts",
        "sql/dashboards",
        "sql/queries",
        "vector-search-endpoints",
    }
)
"""Kinds that clients know and of which a region has no object."""

_PRINCIPALS = ("user_name", "group_name", "service_principal_name")


class Permissions:
    """The access lists of one region."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, kind: str, object_id: str) -> list[dict[str, Any]]:
        """The list as it was sent, or an empty one."""
        with self._database.read() as connection:
            found = connection.scalar(
                select(permissions.c.acl).where(
                    permissions.c.object_type == kind, permissions.c.object_id == object_id
                )
            )
        return list(found or [])

    def set(self, kind: str, object_id: str, acl: list[dict[str, Any]]) -> None:
        """Replace the list."""
        with self._database.write() as connection:
            connection.execute(
                delete(permissions).where(
                    permissions.c.object_type == kind, permissions.c.object_id == object_id
                )
            )
            connection.execute(
                insert(permissions).values(object_type=kind, object_id=object_id, acl=acl)
            )

    def merge(self, kind: str, object_id: str, acl: list[dict[str, Any]]) -> None:
        """Replace the entries of the principals named in `acl`; keep the others."""
        named = {_principal(entry) for entry in acl}
        kept = [entry for entry in self.get(kind, object_id) if _principal(entry) not in named]
        self.set(kind, object_id, kept + acl)


def permissions_answer(
    kind: str, object_id: str, owner: str, acl: list[dict[str, Any]]
) -> dict[str, Any]:
    """The API's object: the owner, the admins, and the entries that were set."""
    entries = [*acl]
    if not any(entry.get("permission_level") == "IS_OWNER" for entry in acl) and (
        "IS_OWNER" in KINDS[kind].levels
    ):
        entries.insert(0, {"user_name": owner, "permission_level": "IS_OWNER"})
    shown = [
        {
            **{key: entry[key] for key in _PRINCIPALS if key in entry},
            "all_permissions": [
                {"permission_level": entry.get("permission_level"), "inherited": False}
            ],
        }
        for entry in entries
    ]
    shown.append(
        {
            "group_name": "admins",
            "all_permissions": [
                {
                    "permission_level": "CAN_MANAGE",
                    "inherited": True,
                    "inherited_from_object": [f"/{kind.partition('/')[0]}/"],
                }
            ],
        }
    )
    return {
        "object_id": f"/{kind}/{object_id}" if object_id else f"/{kind}",
        "object_type": KINDS[kind].object_type,
        "access_control_list": shown,
    }


def _principal(entry: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(entry.get(key) for key in _PRINCIPALS)
