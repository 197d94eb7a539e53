"""A pipeline in one region, ready to run again and again.

A runner keeps warm what an update needs: the engine, the graph, the tables' states, the files that
are known. An update with nothing to do looks at the landing zone and at the logs, and that is all.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from proa import graph as graphs
from proa.autoloader.options import check_options
from proa.clock import Clock, Ids, RandomIds, SystemClock
from proa.engine import Engine
from proa.errors import ProaError
from proa.graph import FilesLeaf, Graph, Selection
from proa.graph.findings import Verdicts, findings
from proa.layout import Layout
from proa.pipelines import load
from proa.pipelines.definitions import Flow
from proa.pipelines.spec import source_files
from proa.runtime import pipeline as pipelines
from proa.runtime.checkpoint import Checkpoint, FilesInput
from proa.runtime.context import Context
from proa.runtime.continuous import Continuous
from proa.runtime.event import Origin
from proa.runtime.events import EventLog, Listener
from proa.runtime.flow import FlowRunner
from proa.runtime.pipeline import Pipeline
from proa.runtime.retry import NO_RETRIES, Patience, flow_retries, update_retries
from proa.runtime.safety import refusal, sentence, volatile
from proa.runtime.sources import FilesSource
from proa.runtime.update import (
    FlowResult,
    Flows,
    State,
    UpdateRequest,
    UpdateResult,
    first_error,
    reset,
    retryable,
)
from proa.storage import Store


class Runner:
    """Runs the updates of one pipeline, one at a time. Close it when done."""

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        engine: Engine | None = None,
        clock: Clock | None = None,
        ids: Ids | None = None,
        listener: Listener | None = None,
    ) -> None:
        """`engine` is shared, not owned, when it is given. `listener` hears of every event."""
        self.pipeline = pipeline
        self._clock = clock or SystemClock()
        self._ids = ids or RandomIds()
        self._owns_engine = engine is None
        self._engine = engine or Engine.start(pipeline.engine, pipeline.options)
        layout = Layout(pipeline.storage)
        self._events = EventLog(
            layout.events,
            pipeline.options,
            origin=Origin(pipeline.id, pipeline.name, region=pipeline.region),
            clock=self._clock,
            ids=self._ids,
            listener=listener,
        )
        self._context = Context(
            layout,
            pipeline.options,
            self._engine,
            self._clock,
            self._ids,
            self._events,
            event_time=pipeline.event_time,
        )
        self._graph: Graph | None = None
        self._sources: object = None
        self._asked = False
        """Whether a query function has asked for a schema: then the graph depends on the data."""
        self._runners: dict[str, list[FlowRunner]] = {}
        self._judged: Verdicts | None = None
        self._told: Verdicts | None = None
        """The judgement that the event log knows of."""
        self._busy = threading.Lock()

    @classmethod
    def from_project(cls, folder: Path, region: str | None = None, **options: Any) -> Runner:
        """The runner of a project folder; see `pipeline.from_project`."""
        return cls(pipelines.from_project(folder, region), **options)

    @classmethod
    def from_settings(
        cls,
        name: str,
        storage: str,
        files: Sequence[Path],
        configuration: Mapping[str, str],
        **options: Any,
    ) -> Runner:
        """The runner of a pipeline that has no project folder; see `pipeline.from_settings`.

        `options` are that function's and the constructor's.
        """
        own = {key: options.pop(key) for key in _OWN if key in options}
        return cls(pipelines.from_settings(name, storage, files, configuration, **options), **own)

    @property
    def engine(self) -> Engine:
        return self._engine

    @property
    def context(self) -> Context:
        """The pipeline's tables and places."""
        return self._context

    def graph(self) -> Graph:
        """The pipeline's graph, built again when its files have changed.

        Raises PipelineError for the first mistake in them.
        """
        files = source_files(self.pipeline.spec, self.pipeline.root)
        seen = tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in files)
        if self._graph is None or seen != self._sources or self._asked:
            self._build()
            self._sources = seen
        assert self._graph is not None
        return self._graph

    def update(self, request: UpdateRequest | None = None) -> UpdateResult:
        """Run one update to its end.

        What goes wrong in the pipeline or its data is in the result. Raises UnavailableError when
        the event log cannot be written.
        """
        request = request or UpdateRequest()
        with self._busy:
            return _Update(self, request).run()

    def close(self) -> None:
        """Stop the engine, when it is the runner's own."""
        if self._owns_engine:
            self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- for updates --------------------------------------------------------------------------------

    def runners(self) -> Mapping[str, Sequence[FlowRunner]]:
        """The flows' runners by dataset, for the graph that was built last."""
        return self._runners

    def _build(self) -> None:
        self._asked = False
        spec = self.pipeline.spec
        declarations = load(spec, self.pipeline.root, self.pipeline.configuration)
        graph = graphs.build(
            declarations,
            catalog=spec.catalog,
            database=spec.database,
            analyze=self._analyze,
            infer=self._infer,
        )
        check_options(graph)
        self._context.paths = {
            name: node.dataset.path for name, node in graph.datasets.items() if node.dataset.path
        }
        self._graph = graph
        found = findings(
            graph, region_values=self.pipeline.agreed.regional(self.pipeline.configuration)
        )
        self._judged = self.pipeline.agreed.judge(found)
        changing = volatile(graph, found)
        self._runners = {
            name: [
                FlowRunner(
                    flow, graph.datasets[name].dataset, self._context, volatile=name in changing
                )
                for flow in graph.datasets[name].flows
            ]
            for name in graph.tables
        }

    def allow(self) -> None:
        """Tell the event log of the findings, once; PipelineError when one forbids to run."""
        judged = self._judged
        if judged is None:
            return
        if judged != self._told:
            for level, found in (("ERROR", judged.errors), ("WARN", judged.warnings)):
                for finding in found:
                    self._events.add(
                        "planning_information",
                        f"{finding.code}: {sentence(finding)} ({finding.location}).",
                        level=level,
                        details={"finding": {**vars(finding), "location": str(finding.location)}},
                        origin=replace(self._events.origin, dataset_name=finding.dataset),
                    )
            self._told = judged
        if judged.errors:
            raise refusal(judged)

    def _analyze(self, relation: Any) -> Any:
        self._asked = True
        return self._engine.schema(relation)

    def _infer(self, flow: Flow, leaf: FilesLeaf) -> Any:
        """The columns of a leaf, for a query function that asks while the graph is built."""
        self._asked = True
        table = self._context.table(flow.target)
        table.refresh()
        url = self._context.layout.checkpoint(flow.target, flow.name, table.generation)
        state = Checkpoint(Store.open(url, self.pipeline.options)).leaf(leaf.key)
        source = FilesSource(leaf, state, self.pipeline.options, self._clock)
        source.look()
        return source.schema(self._engine, FilesInput(()))


_OWN = ("engine", "clock", "ids", "listener")


class _Update:
    """One update of a runner."""

    def __init__(self, runner: Runner, request: UpdateRequest) -> None:
        self._runner = runner
        self._request = request
        self._context = runner.context
        self._events = runner._events  # noqa: SLF001 - the runner's other half
        self._clock = runner._clock  # noqa: SLF001
        self._ids = runner._ids  # noqa: SLF001
        self.id = request.update_id or self._ids.new()
        self._graph: Graph
        self._schemas: dict[str, Any] = {}
        """The columns of the datasets that the event log was told of."""

    def run(self) -> UpdateResult:
        started, since = self._clock.now(), self._clock.monotonic()
        self._context.update_id = self.id
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
            self._state(State.INITIALIZING)
            flows = self._prepared()
            if flows is not None:
                self._state(State.RUNNING)
                self._work(flows)
                for name in [n for n, before in self._schemas.items() if self._schema(n) != before]:
                    self._defined(self._graph, name)
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

    def _prepared(self) -> Flows | None:
        """The flows to run, tables emptied where asked for; None when it is only a check."""
        request, runner = self._request, self._runner
        self._graph = graph = runner.graph()
        selection: Selection = graph.select(
            request.refresh, request.full_refresh, full_refresh_all=request.full_refresh_all
        )
        runner.allow()
        if request.validate_only:
            return None
        if selection.full_refresh:
            self._state(State.RESETTING)
            for name in sorted(selection.full_refresh):
                reset(self._context, name, self.id)
        self._state(State.SETTING_UP_TABLES)
        self._define(graph, selection)
        return Flows(
            graph,
            runner.runners(),
            selection,
            self._context,
            self._patience(request.stop),
        )

    def _define(self, graph: Graph, selection: Selection) -> None:
        """Make the tables whose columns are declared; tell the event log of all."""
        for name, runners in self._runner.runners().items():
            if name not in selection.tables:
                continue
            for runner in runners:
                runner.set_up()
            self._defined(graph, name)
            for runner in runners:
                self._events.add(
                    "flow_definition",
                    f"Flow {runner.name!r} feeds {name!r}.",
                    details={
                        "flow_name": runner.name,
                        "output_dataset": name,
                        "input_datasets": list(runner.node.upstream),
                        "flow_type": "ONCE"
                        if runner.node.flow.once
                        else "COMPLETE"
                        if runner.is_view
                        else "APPEND",
                    },
                    origin=self._events.origin_of(runner.name, name),
                )

    def _defined(self, graph: Graph, name: str) -> None:
        """Tell the event log what a dataset is, with the columns that its table has."""
        dataset, runners = graph.datasets[name].dataset, self._runner.runners()[name]
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

    def _work(self, flows: Flows) -> None:
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
                details={"state": State.RUNNING},
            )
            if self._clock.wait(pause, request.stop):
                return

    def _flush(self) -> None:
        """Write the event log; it is worth as many tries as a flow."""
        self._patience(threading.Event()).call(self._events.flush, lambda *_: None)

    def _patience(self, stop: threading.Event) -> Patience:
        retries = flow_retries(self._runner.pipeline.configuration)
        return Patience(retries, self._clock, self._ids, stop)

    def _end_state(self, error: Exception | None) -> State:
        if error is not None:
            return State.FAILED
        return State.CANCELED if self._request.stop.is_set() else State.COMPLETED

    def _state(self, state: State, error: Exception | None = None) -> None:
        self._events.add(
            "update_progress",
            f"Update {self.id[:8]} is {state}."
            if error is None
            else f"Update {self.id[:8]} is {state}: {error}",
            level="INFO" if error is None else "ERROR",
            details={"state": state},
            error=error,
        )
