"""A pipeline in one region, ready to run again and again.

A runner keeps warm what an update needs: the engine, the graph, the tables' states, the files that
are known. An update with nothing to do looks at the landing zone and at the logs, and that is all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from proa.clock import Clock, Ids, RandomIds, SystemClock
from proa.engine import Engine
from proa.errors import DataError
from proa.graph import FilesLeaf, Graph
from proa.graph.findings import Verdicts
from proa.layout import Layout
from proa.pipelines.definitions import Dataset, Flow, SinkPlace
from proa.pipelines.session_settings import engine_settings
from proa.pipelines.sink_declarations import DELTA, FOREACH_BATCH, KAFKA
from proa.pipelines.spec import source_files
from proa.runtime import pipeline as pipelines
from proa.runtime.change_kinds import known_target
from proa.runtime.checkpoint import Checkpoint, FilesInput
from proa.runtime.compile import Compiled, compile_pipeline
from proa.runtime.context import Context, SinkGate, Turn
from proa.runtime.declared import declared_by, write_declared
from proa.runtime.dr_policy import finding_sentence, refusal_of_findings
from proa.runtime.event import Origin
from proa.runtime.event_log import EventLog, Listener
from proa.runtime.flow import FlowRunner
from proa.runtime.flow_kinds import kind_of
from proa.runtime.kafka_sink import KafkaSink
from proa.runtime.kept_columns import KeptColumns
from proa.runtime.pipeline import Pipeline
from proa.runtime.sinks import DeltaSink, FunctionSink, SinkState
from proa.runtime.sources import FilesSource
from proa.runtime.target import TableTarget, Target
from proa.runtime.update import UpdateRequest, UpdateResult, UpdateRun
from proa.storage import Store


class Runner:
    """Runs the updates of one pipeline, one at a time. Close it when done."""

    def __init__(  # noqa: PLR0913 - its parts
        self,
        pipeline: Pipeline,
        *,
        engine: Engine | None = None,
        clock: Clock | None = None,
        ids: Ids | None = None,
        listener: Listener | None = None,
        gate: SinkGate | None = None,
    ) -> None:
        """`engine` is shared, not owned, when it is given. `listener` hears of every event. `gate`
        says whether the region may write to sinks; without it one that has a name may not.
        """
        self.pipeline = pipeline
        self._clock = clock or SystemClock()
        self._ids = ids or RandomIds()
        self._owns_engine = engine is None
        engine = engine or Engine.start(pipeline.engine, pipeline.options)
        self._server = engine
        self._engine = engine.using(engine_settings(pipeline.configuration))
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
            may_come=pipeline.may_come,
            event_time=pipeline.event_time,
            accepts=lambda finding: bool(pipeline.agreed.judge([finding]).accepted),
            gate=gate or _gate_of(pipeline.region),
        )
        self._columns = KeptColumns(pipeline.storage, pipeline.options, self._engine)
        self._compiled: Compiled | None = None
        self._files_seen: object = None
        """The source files that were compiled, with their times and sizes."""
        self._noted: Graph | None = None
        """The graph whose tables are written down in the storage."""
        self._runners: dict[str, list[FlowRunner]] = {}
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
        compiled = self._compiled
        if compiled is None or seen != self._files_seen or compiled.depends_on_data:
            compiled = self._build()
            self._files_seen = seen
        return compiled.graph

    def update(self, request: UpdateRequest | None = None) -> UpdateResult:
        """Run one update to its end.

        What goes wrong in the pipeline or its data is in the result. Raises UnavailableError when
        the event log cannot be written.
        """
        request = request or UpdateRequest()
        with self._busy:
            return UpdateRun(self, request).run()

    def close(self) -> None:
        """Stop the engine, when it is the runner's own."""
        if self._owns_engine:
            self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- for updates --------------------------------------------------------------------------------

    def runners(self) -> Mapping[str, Sequence[FlowRunner]]:
        """The flows' runners by dataset, for the graph that was built last."""
        return self._runners

    def _build(self) -> Compiled:
        self._columns.begin()
        compiled = compile_pipeline(
            self.pipeline,
            self._engine,
            self._file_columns,
            targets=lambda flow: known_target(self._context.table(flow.target)),
            schema_of=self._columns.schema,
        )
        graph = compiled.graph
        self._context.paths = {
            name: node.dataset.path
            for name, node in graph.datasets.items()
            if node.dataset.path and not node.is_sink
        }
        self._context.keys = {
            name: flow.flow.cdc.keys
            for name, node in graph.datasets.items()
            for flow in node.flows
            if flow.flow.cdc is not None
        }
        runners = {
            name: [
                FlowRunner(
                    flow,
                    dataset,
                    self._context,
                    kind_of(flow, dataset, volatile=name in compiled.volatile),
                    self._target(name, dataset),
                )
                for dataset in [graph.datasets[name].dataset]
                for flow in graph.datasets[name].flows
            ]
            for name in graph.targets
        }
        self._runners, self._compiled = runners, compiled
        return compiled

    def _target(self, name: str, dataset: Dataset) -> Target:
        if dataset.sink is None:
            return TableTarget(name, dataset, self._context)
        return _SINKS[dataset.sink.format](name, dataset, dataset.sink, self._context)

    def allow(self) -> None:
        """Tell the event log of the findings, once; PipelineError when one forbids to run."""
        if self._compiled is None:
            return
        judged = self._compiled.verdicts
        if judged != self._told:
            for level, found in (("ERROR", judged.errors), ("WARN", judged.warnings)):
                for finding in found:
                    self._events.add(
                        "planning_information",
                        f"{finding.code}: {finding_sentence(finding)} ({finding.location}).",
                        level=level,
                        details={"finding": {**vars(finding), "location": str(finding.location)}},
                        origin=replace(self._events.origin, dataset_name=finding.dataset),
                    )
            self._told = judged
        if judged.errors:
            raise refusal_of_findings(judged)

    def note_declared(self) -> None:
        """Write down which tables the pipeline declares, once for each graph."""
        compiled, pipeline = self._compiled, self.pipeline
        if compiled is None or compiled.graph is self._noted:
            return
        graph = compiled.graph
        files = source_files(pipeline.spec, pipeline.root)
        declared = declared_by(graph, pipeline.spec, files)
        if pipeline.agreed.dr_safety != "off":
            declared = replace(declared, findings=compiled.verdicts.names)
        write_declared(pipeline.storage, pipeline.options, declared)
        self._columns.keep()
        self._noted = graph

    def _file_columns(self, flow: Flow, leaf: FilesLeaf, certain: bool) -> Any:  # noqa: FBT001
        """The columns of a leaf as the flow's checkpoint has them, or as its first files do."""
        table = self._context.table(flow.target)
        there = table.refresh() is not None
        sink = SinkState(self._context, flow.target)
        generation = table.wanted_generation if there else sink.generation()
        url = self._context.layout.checkpoint(flow.target, flow.name, generation)
        state = Checkpoint(Store.open(url, self.pipeline.options)).leaf(leaf.key)
        source = FilesSource(leaf, state, self.pipeline.options, self._clock)
        if not source.is_decided:
            source.refresh()
            if certain and leaf.schema is None and not source.has_files:
                raise DataError("there are none yet")
        return source.schema(self._engine, FilesInput(()))


_SINKS: dict[str, Callable[[str, Dataset, SinkPlace, Context], Target]] = {
    DELTA: DeltaSink,
    KAFKA: KafkaSink,
    FOREACH_BATCH: FunctionSink,
}


def _gate_of(region: str | None) -> SinkGate:
    if region is None:
        return Turn
    turn = Turn(refusal=f"it is not known whether the region {region!r} is the active one")
    return lambda: turn


_OWN = ("engine", "clock", "ids", "listener", "gate")
