"""One update of a pipeline, run in a worker process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from proa.errors import UserError
from proa.pipelines.spec import PipelineSpec
from proa.recovery.sink_turns import SinkTurns
from proa.region.workers.failures import failure_object
from proa.region.workers.port import Inbox
from proa.region.workers.update_order import UpdateOrder
from proa.runtime import Event, Pipeline, Runner, UpdateRequest, UpdateState
from proa.runtime.context import Turn
from proa.runtime.dr_policy import DrPolicy
from proa.runtime.event import as_json
from proa.settings import THROUGH, EngineSettings, file_numbers
from proa.times import millis

_OWN = ("create_update", "update_progress")
"""Events that the region's server tells itself."""


def run(work: Mapping[str, Any], say: Callable[..., None], inbox: Inbox) -> dict[str, Any]:
    """Run the update `work` describes, telling its events as they happen."""

    def hear(event: Event) -> None:
        if event.event_type == "update_progress" and event.level == "INFO":
            state = str(event.details["update_progress"]["state"])
            if not UpdateState(state).over:
                say("state", state=state, timestamp=millis(event.timestamp))
        elif event.event_type not in _OWN or event.level == "WARN":
            say("event", event=as_json(event))

    order = UpdateOrder.from_json(work)
    asked = order.request
    through = (asked.get("parameters") or {}).get(THROUGH)
    folder = Path(work["scratch"]).resolve()
    request = UpdateRequest(
        update_id=order.update_id,
        continuous=order.continuous,
        refresh=tuple(asked.get("refresh_selection") or ()),
        full_refresh=tuple(asked.get("full_refresh_selection") or ()),
        full_refresh_all=bool(asked.get("full_refresh")),
        validate_only=bool(asked.get("validate_only")),
        through=file_numbers(through, THROUGH) if through is not None else {},
        cause="USER_ACTION" if order.development else order.cause,
        stop=inbox.stop,
    )
    try:
        _refuse_resets(asked)
        gate = Turn if order.control is None else SinkTurns(order.region, order.control)
        with Runner(_pipeline(order, folder), listener=hear, gate=gate) as runner:
            result = runner.update(request)
    except BaseException as error:  # noqa: BLE001 - SystemExit of user code included
        return failure_object(error, folder=str(folder))
    if result.error is not None:
        return failure_object(result.error, folder=str(folder))
    return {"outcome": str(result.state)}


def _refuse_resets(asked: Mapping[str, Any]) -> None:
    if asked.get("reset_checkpoint_selection"):
        raise UserError(
            "a flow's checkpoint is not reset alone: that would repeat its rows;"
            " use full_refresh_selection with the table's name"
        )


def _pipeline(order: UpdateOrder, folder: Path) -> Pipeline:
    """The pipeline, its sources written below `folder` under their paths in the workspace."""
    for path, text in {**order.modules, **order.files}.items():
        file = folder / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    root = folder / order.root.lstrip("/")
    names = [(folder / path.lstrip("/")).relative_to(root).as_posix() for path in order.files]
    configuration = dict(order.configuration)
    spec = PipelineSpec(
        order.name, order.storage, order.catalog, order.schema, configuration, tuple(names)
    )
    return Pipeline(
        id=order.pipeline_id,
        name=order.name,
        spec=spec,
        root=root,
        storage=order.storage,
        options=order.options,
        engine=EngineSettings(remote=order.engine),
        configuration=configuration,
        region=order.region,
        agreed=DrPolicy(order.dr_safety, order.accept, order.regional_keys),
        event_time=order.event_time,
    )
