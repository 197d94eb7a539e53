"""Running pipelines: updates, flows, batches, and the log of what happened."""

from proa.runtime.event import Event
from proa.runtime.flow_scheduler import FlowResult
from proa.runtime.pipeline import Pipeline, from_project, from_settings
from proa.runtime.runner import Runner
from proa.runtime.update import UpdateRequest, UpdateResult
from proa.states import FlowStatus, UpdateState

__all__ = [
    "Event",
    "FlowResult",
    "FlowStatus",
    "Pipeline",
    "Runner",
    "UpdateRequest",
    "UpdateResult",
    "UpdateState",
    "from_project",
    "from_settings",
]
