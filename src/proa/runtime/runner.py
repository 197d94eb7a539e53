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

from proa.autoloader.options import check_options
from proa.clock import Clock, Ids, RandomIds, SystemClock
from proa.engine import Engine
from proa.graph import FilesLeaf, Graph
from proa.graph.build import build
from proa.graph.findings import Verdicts, findings
from proa.graph.static_plan import StaticQueries
from proa.layout import Layout
from proa.pipelines.definitions import Flow
from proa.pipelines.identifiers import Namespace
from proa.pipelines.load import load
from proa.pipelines.session_settings import engine_settings
from proa.pipelines.spec import source_files
from proa.runtime import pipeline as pipelines
from proa.runtime.checkpoint import Checkpoint, FilesInput
from proa.runtime.context import Context
from proa.runtime.declared import declared_by, write_declared
from proa.runtime.dr_policy import refusal, sentence, volatile
from proa.runtime.event import Origin
from proa.runtime.event_log import EventLog, Listener
from proa.runtime.flow import FlowRunner
from proa.runtime.flow_kinds import kind_of
from proa.runtime.pipeline import Pipeline
from proa.runtime.sources import FilesSource
from proa.runtime.update import UpdateRequest, UpdateResult, UpdateRun
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
            event_time=pipeline.event_time,
        )
        self._graph: Graph | None = None
        self._noted: Graph | None = None
        """The graph whose tables are written down in the storage."""
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

    def _build(self) -> None:
        self._asked = False
        spec = self.pipeline.spec
        static = StaticQueries(
            self._compute,
            self._analyze,
            self.pipeline.configuration,
            Namespace(spec.catalog, spec.database),
        )
        declarations = load(spec, self.pipeline.root, self.pipeline.configuration, static)
        self._engine.register(declarations.session.functions)
        graph = build(
            declarations,
            catalog=spec.catalog,
            database=spec.database,
            analyze=self._analyze,
            infer=self._infer,
        )
        self._engine.register(declarations.session.functions)
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
                    flow,
                    dataset,
                    self._context,
                    kind_of(flow.flow, dataset, volatile=name in changing),
                )
                for dataset in [graph.datasets[name].dataset]
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

    def note_declared(self) -> None:
        """Write down which tables the pipeline declares, once for each graph."""
        graph, pipeline = self._graph, self.pipeline
        if graph is None or graph is self._noted:
            return
        files = source_files(pipeline.spec, pipeline.root)
        declared = declared_by(graph, pipeline.spec, files)
        write_declared(pipeline.storage, pipeline.options, declared)
        self._noted = graph

    def _compute(self, relation: Any) -> Any:
        """The rows of a static plan, for code that asks while it is loaded."""
        self._asked = True
        return self._engine.arrow(self._engine.dataframe(relation))

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
        source.refresh()
        return source.schema(self._engine, FilesInput(()))


_OWN = ("engine", "clock", "ids", "listener")
