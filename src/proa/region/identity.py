"""Who this region is: the numeric workspace id and the account that clients ask for first."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import insert, select

from proa.errors import SettingsError
from proa.region.state import Database
from proa.region.state.database import stable_number
from proa.region.state.state_tables import meta


@dataclass(frozen=True)
class Identity:
    """What a region answers when asked who it is. Fixed at the first start, for ever."""

    region: str
    workspace_id: str
    """Digits only: Databricks' clients refuse anything else, and a change makes Terraform
    replace every resource."""
    account_id: str
    """A UUID."""

    @classmethod
    def load(
        cls, database: Database, region: str, storage: str, configured: int | None = None
    ) -> Identity:
        """The identity kept in `database`, made at the first call from region and storage.

        SettingsError when `configured`, the workspace id of the settings, is not the kept one.
        """
        with database.write() as connection:
            rows = connection.execute(select(meta.c.key, meta.c.value))
            kept: dict[str, str] = {row.key: row.value for row in rows}
            if "workspace_id" not in kept:
                kept = {
                    "region": region,
                    "workspace_id": str(configured or stable_number(region, storage)),
                    "account_id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"proa:{storage}")),
                }
                connection.execute(
                    insert(meta), [{"key": key, "value": value} for key, value in kept.items()]
                )
        if kept["region"] != region:
            raise SettingsError(
                f"this state belongs to region {kept['region']!r}, not to {region!r};"
                " give each region a state of its own"
            )
        if configured is not None and str(configured) != kept["workspace_id"]:
            raise SettingsError(
                f"the workspace id of region {region!r} is {kept['workspace_id']} and cannot"
                f" become {configured}: clients would take it for another workspace"
            )
        return cls(region, kept["workspace_id"], kept["account_id"])

    def well_known(self, origin: str) -> dict[str, str]:
        """The answer to `/.well-known/databricks-config`; `origin` is scheme, host and port."""
        return {
            "oidc_endpoint": f"{origin}/oidc",
            "account_id": self.account_id,
            "workspace_id": self.workspace_id,
            "cloud": "AWS",
            "host_type": "workspace",
        }


def scim_user(user: str) -> dict[str, object]:
    """The SCIM object of a user."""
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "id": str(stable_number(user)),
        "userName": user,
        "displayName": user,
        "active": True,
        "emails": [{"type": "work", "value": user, "primary": True}],
        "groups": [{"display": "admins", "type": "direct", "value": "1"}],
    }


def scim_group(name: str) -> dict[str, object]:
    """The SCIM object of a group; everybody is in each."""
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"],
        "id": "1" if name == "admins" else str(stable_number("group", name)),
        "displayName": name,
        "meta": {"resourceType": "WorkspaceGroup"},
    }


def scim_list(
    items: list[dict[str, object]], start: int = 1, count: int | None = None
) -> dict[str, object]:
    """The SCIM answer with `count` of the items from the `start`-th on, counted from 1.

    Clients ask for what comes after the last page, until nothing does.
    """
    begin = max(0, start - 1)
    page = items[begin:] if count is None else items[begin : begin + max(0, count)]
    return {
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": len(items),
        "startIndex": start,
        "itemsPerPage": len(page),
        "Resources": page,
    }
