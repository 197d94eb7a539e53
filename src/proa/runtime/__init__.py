"""Running pipelines: updates, flows, batches, and the log of what happened."""

from typing import TYPE_CHECKING

from proa.lazy import exports

if TYPE_CHECKING:
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

_exported = exports(
    __name__,
    {
        "Event": "event",
        "FlowResult": "flow_scheduler",
        "Pipeline": "pipeline",
        "Runner": "runner",
        "UpdateRequest": "update",
        "UpdateResult": "update",
        "from_project": "pipeline",
        "from_settings": "pipeline",
    },
)


def __getattr__(name: str) -> object:
    if name in {"FlowStatus", "UpdateState"}:
        from proa import states

        return getattr(states, name)
    return _exported(name)
