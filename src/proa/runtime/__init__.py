"""Running pipelines: updates, flows, batches, and the log of what happened."""

from proa.runtime.event import Event
from proa.runtime.pipeline import Pipeline, from_project, from_settings
from proa.runtime.runner import Runner
from proa.runtime.update import (
    FlowResult,
    FlowStatus,
    State,
    UpdateRequest,
    UpdateResult,
)

__all__ = [
    "Event",
    "FlowResult",
    "FlowStatus",
    "Pipeline",
    "Runner",
    "State",
    "UpdateRequest",
    "UpdateResult",
    "from_project",
    "from_settings",
]
