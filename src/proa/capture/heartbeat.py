"""What a running capture tells of itself, in a file beside what it captures.

Whoever has the source can look at it: no database is asked, which may be the thing that is lost.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from proa.capture.postgres import SlotStatus
from proa.storage import NotFoundError, Store
from proa.storage.folded import check_format

_PATH = "_proa_capture/{slot}.heartbeat.json"
_FORMAT = 1
HEARTBEAT_FACTS = ("last_look", "age_s", "lag_bytes", "kept_bytes", "wal_status")
"""The keys of `Heartbeat.facts`."""


@dataclass(frozen=True)
class Heartbeat:
    """A moment at which everything was captured that had happened."""

    at: datetime
    slot: SlotStatus | None
    """The slot then. None where an older version wrote it."""

    def facts(self, now: datetime) -> dict[str, Any]:
        """The heartbeat for programs: when, seconds since then, and bytes of the slot's log."""
        return {
            "last_look": self.at.isoformat(),
            "age_s": max(0.0, (now - self.at).total_seconds()),
            "lag_bytes": None if self.slot is None else self.slot.lag_bytes,
            "kept_bytes": None if self.slot is None else self.slot.kept_bytes,
            "wal_status": None if self.slot is None else self.slot.wal_status,
        }


def read_heartbeat(store: Store, slot: str) -> Heartbeat | None:
    """The last heartbeat of the capture with a slot. None before its first.

    Raises UnavailableError where the source does not answer, DataError for a newer format.
    """
    path = _PATH.format(slot=slot)
    try:
        data = json.loads(store.get(path))
    except NotFoundError:
        return None
    check_format(data["format"], _FORMAT, f"the heartbeat {store.url_of(path)!r}")
    found = data.get("slot")
    return Heartbeat(
        datetime.fromisoformat(data["at"]), None if found is None else SlotStatus(**found)
    )


def write_heartbeat(store: Store, slot: str, heartbeat: Heartbeat) -> None:
    """Put a heartbeat in the place of the one before."""
    status = None if heartbeat.slot is None else asdict(heartbeat.slot)
    content = {"format": _FORMAT, "at": heartbeat.at.isoformat(), "slot": status}
    store.put(_PATH.format(slot=slot), json.dumps(content).encode())
