"""An update: one run of a pipeline over a selection of its tables, until there is nothing new."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from proa.errors import ConflictError, PipelineError, ProaError
from proa.graph import Graph, Selection
from proa.lake.commit import begin_generation
from proa.lake.log import REFRESH
from proa.runtime.context import Context
from proa.runtime.continuous import Continuous
from proa.runtime.flow_scheduler import FlowResult, FlowScheduler
from proa.runtime.retry import NO_RETRIES, Retrier, flow_retries, update_retries, worth_another_try
from proa.runtime.sinks import SinkState
from proa.states import FlowStatus, UpdateState
from proa.storage import NotFoundError

if TYPE_CHECKING:
    from proa.runtime.runner import Runner


@dataclass(frozen=True)
class UpdateRequest:
    """What an update is to do."""

    update_id: str | None = None
    """Given by who asked; None makes one up. Asking again with one id resets nothing twice."""
    continuous: bool = False
    """Go on until `stop` is set."""
    through: Mapping[str, int] = field(default_factory=dict)
    """By source: the number of a file; leave out raw files that were shipped after it."""
    refresh: Sequence[str] = ()
    full_refresh: Sequence[str] = ()
    full_refresh_all: bool = False
    validate_only: bool = False
    cause: str = "API_CALL"
    """USER_ACTION is not retried as a whole: somebody is there to see what went wrong."""
    stop: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class UpdateResult:
    """How an update ended."""

    update_id: str
    state: UpdateState
    flows: tuple[FlowResult, ...]
    started: datetime
    ended: datetime
    seconds: float
    error: Exception | None = None
    """The first flow's error, or what kept the update from beginning."""

    @property
    def rows(self) -> int:
        return sum(flow.progress.rows for flow in self.flows)


class UpdateRun:
    """One update of a runner."""

    def __init__(self, runner: Runner, request: UpdateRequest) -> None:
        self._runner = runner
        self._request = request
        self._context = runner.context
        self._events = runner.context.events
        self._clock = runner.context.clock
        self._ids = runner.context.ids
        self.id = request.update_id or self._ids.new()
        self._graph: Graph
        self._schemas: dict[str, Any] = {}
        """The columns of the datasets that the event log was told of."""

    def run(self) -> UpdateResult:
        started, since = self._clock.now(), self._clock.monotonic()
        self._context.update_id = self.id
        self._context.through = self._request.through
        self._events.begin(self.id)
        request = self._request
        self._events.add(
            "create_update",
            f"Update {self.id[:8]} is started by {request.cause}.",
            details={
                "cause": request.cause,
                "full_refresh": request.full_refresh_all,
                "full_refresh_selection": list(request.full_refresh),
                "refresh_selection": list(request.refresh),
                "validate_only": request.validate_only,
                "continuous": request.continuous,
            },
        )
        results: tuple[FlowResult, ...] = ()
        error: Exception | None = None
        try:
            self._state(UpdateState.INITIALIZING)
            flows = self._prepare_flows()
            if flows is not None:
                self._state(UpdateState.RUNNING)
                self._work(flows)
                for name in [n for n, before in self._schemas.items() if self._schema(n) != before]:
                    self._define_dataset(self._graph, name)
                results = tuple(flows.results.values())
                error = first_error(flows.failed)
        except ProaError as found:
            error = found
        state = self._end_state(error)
        self._state(state, error)
        self._flush()
        ended = self._clock.now()
        return UpdateResult(
            self.id, state, results, started, ended, self._clock.monotonic() - since, error
        )

    def _prepare_flows(self) -> FlowScheduler | None:
        """The flows to run, full refreshes begun where asked for; None when it is only a check."""
        request, runner = self._request, self._runner
        self._graph = graph = runner.graph()
        selection: Selection = graph.select(
            request.refresh, request.full_refresh, full_refresh_all=request.full_refresh_all
        )
        runner.allow()
        if request.continuous:
            _check_predecessors(graph)
        if request.validate_only:
            return None
        self._retrier(request.stop).call(runner.note_declared, lambda *_: None)
        if selection.full_refresh:
            self._state(UpdateState.RESETTING)
            for name in sorted(selection.full_refresh):
                if graph.datasets[name].is_sink:
                    SinkState(self._context, name).begin_generation(self.id)
                else:
                    reset(self._context, name, self.id)
            # What depends on the data, as snapshots do, begins anew with the table.
            self._graph = graph = runner.graph()
        self._state(UpdateState.SETTING_UP_TABLES)
        self._define(graph, selection)
        return FlowScheduler(
            graph,
            runner.runners(),
            selection,
            self._context,
            self._retrier(request.stop),
            done=FlowStatus.IDLE if request.continuous else FlowStatus.COMPLETED,
        )

    def _define(self, graph: Graph, selection: Selection) -> None:
        """Make the tables whose columns are declared; tell the event log of all."""
        for name, runners in self._runner.runners().items():
            if name not in selection.tables:
                continue
            for runner in runners:
                runner.target.set_up()
            self._define_dataset(graph, name)
            for runner in runners:
                self._events.add(
                    "flow_definition",
                    f"Flow {runner.name!r} feeds {name!r}.",
                    details={
                        "flow_name": runner.name,
                        "output_dataset": name,
                        "input_datasets": list(runner.node.upstream),
                        "flow_type": runner.kind.name,
                    },
                    origin=self._events.origin_of(runner.name, name),
                )

    def _define_dataset(self, graph: Graph, name: str) -> None:
        """Tell the event log what a dataset is, with the columns that its table has."""
        dataset, runners = graph.datasets[name].dataset, self._runner.runners()[name]
        if dataset.sink is not None:
            self._events.add(
                "sink_definition",
                f"{name!r} is a sink of format {dataset.sink.format!r}.",
                details={"name": name, "format": dataset.sink.format},
                origin=replace(self._events.origin, dataset_name=name),
            )
            return
        again = name in self._schemas
        schema = self._schemas[name] = self._schema(name)
        details: dict[str, Any] = {
            "dataset_type": dataset.kind,
            "num_flows": len(runners),
            "expectations": [rule.name for rule in dataset.expectations],
            "input_datasets": sorted({up for r in runners for up in r.node.upstream}),
        }
        if schema is not None:
            details["schema_json"] = schema.json()
            details["schema"] = [
                {
                    "name": column.name,
                    "path": column.name,
                    "data_type": column.dataType.simpleString(),
                    "comment": (column.metadata or {}).get("comment"),
                }
                for column in schema.fields
            ]
        self._events.add(
            "dataset_definition",
            f"{name!r} has the columns {', '.join(schema.names)} now."
            if again and schema is not None
            else f"{name!r} is a {dataset.kind.lower().replace('_', ' ')}.",
            details=details,
            origin=replace(self._events.origin, dataset_name=name),
        )

    def _schema(self, name: str) -> Any:
        """The columns of a table as it was looked at last; None while it is not there."""
        table = self._context.table(name)
        return table.schema if table.version >= 0 else None

    def _work(self, flows: FlowScheduler) -> None:
        request, configuration = self._request, self._runner.pipeline.configuration
        retries = update_retries(configuration, continuous=request.continuous)
        if request.continuous:
            Continuous(flows, self._context, retries, configuration).run()
            return
        if request.cause == "USER_ACTION":
            retries = NO_RETRIES
        pauses = retries.pauses(self._ids)
        while True:
            flows.run()
            failed = flows.failed
            pause = next(pauses, None) if retryable(failed) else None
            if pause is None:
                return
            self._events.add(
                "update_progress",
                f"Update {self.id[:8]} runs its failed flows again in {pause:.0f} s:"
                f" {first_error(failed)}",
                level="WARN",
                details={"state": UpdateState.RUNNING},
            )
            if self._clock.wait(pause, request.stop):
                return

    def _flush(self) -> None:
        """Write the event log; it is worth as many tries as a flow."""
        self._retrier(threading.Event()).call(self._events.flush, lambda *_: None)

    def _retrier(self, stop: threading.Event) -> Retrier:
        retries = flow_retries(self._runner.pipeline.configuration)
        return Retrier(retries, self._clock, self._ids, stop)

    def _end_state(self, error: Exception | None) -> UpdateState:
        if error is not None:
            return UpdateState.FAILED
        return UpdateState.CANCELED if self._request.stop.is_set() else UpdateState.COMPLETED

    def _state(self, state: UpdateState, error: Exception | None = None) -> None:
        self._events.add(
            "update_progress",
            f"Update {self.id[:8]} is {state}."
            if error is None
            else f"Update {self.id[:8]} is {state}: {error}",
            level="INFO" if error is None else "ERROR",
            details={"state": state},
            error=error,
        )


def _check_predecessors(graph: Graph) -> None:
    """PipelineError when a flow of a continuous update depends on one that never completes."""
    flows = {node.flow.name.casefold(): node.flow for node in graph.flows}
    for node in graph.flows:
        for name in node.flow.depends_on:
            if not flows[name.casefold()].once:
                raise PipelineError(
                    f"the flow {node.flow.name!r} depends on {name!r}, which goes on for ever in a"
                    " continuous update; let it depend on flows that run once, or run triggered"
                    " updates",
                    condition="INVALID_FLOW_DEPENDENCY",
                    location=node.flow.location,
                )


def reset(context: Context, dataset: str, update_id: str) -> bool:
    """Ask for a full refresh of a table, once per update; False when there is no table yet.

    Its rows stay until the first batch of the new generation takes their place.
    """
    table = context.table(dataset)
    for _ in range(_TRIES):
        if table.refresh() is None:
            return False
        if _reset_by(context, dataset) == update_id:
            return True
        try:
            begin_generation(table, {"update": update_id})
        except ConflictError:
            continue
        return True
    raise ConflictError(f"the table {table.url!r} is changed by others all the time; stop them")


def _reset_by(context: Context, dataset: str) -> str | None:
    """The update that last asked for a full refresh of the table."""
    table = context.table(dataset)
    if not table.wanted_generation:
        return None
    for version in range(table.version, -1, -1):
        try:
            commit = table.commit_info(version)
        except NotFoundError:
            return None
        if REFRESH in commit.transactions:
            found: str | None = commit.proa.get("update")
            return found
    return None


def retryable(failed: Sequence[FlowResult]) -> bool:
    """Whether running the failed flows again may help any of them."""
    return any(r.error is not None and worth_another_try(r.error) for r in failed)


def first_error(failed: Sequence[FlowResult]) -> Exception | None:
    """What an update is said to have failed of."""
    found = [r.error for r in failed if r.error is not None]
    return next((e for e in found if isinstance(e, ProaError)), found[0] if found else None)


_TRIES = 20
