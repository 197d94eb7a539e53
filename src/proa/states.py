"""Where an update is, and where each of its flows is: Databricks' words for both."""

from __future__ import annotations

from enum import StrEnum


class UpdateState(StrEnum):
    """Where an update is."""

    QUEUED = "QUEUED"
    INITIALIZING = "INITIALIZING"
    RESETTING = "RESETTING"
    SETTING_UP_TABLES = "SETTING_UP_TABLES"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"

    @property
    def over(self) -> bool:
        """Whether the update has ended."""
        return self in {UpdateState.COMPLETED, UpdateState.FAILED, UpdateState.CANCELED}


class FlowStatus(StrEnum):
    """Where a flow is within an update."""

    QUEUED = "QUEUED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"
    STOPPED = "STOPPED"
    IDLE = "IDLE"
    EXCLUDED = "EXCLUDED"
