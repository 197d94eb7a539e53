"""From declarations to a checked graph: everything that can be wrong is found here, before any
engine, store or server is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql.connect import proto
from pyspark.sql.connect.dataframe import DataFrame
from pyspark.sql.types import StructType

from proa.engine.relations import delta_relation, empty_relation
from proa.errors import PipelineError, ProaError, SourceLocation, UserError, raised_at
from proa.graph import checks, plan_proto, sql_text
from proa.graph.change_target import target_schema
from proa.graph.dataset_names import DatasetNames
from proa.graph.external_tables import ExternalTables
from proa.graph.flow_places import FlowPlaces
from proa.graph.leaves import DatasetLeaf, FilesLeaf, Leaf, TableLeaf
from proa.graph.local_paths import check_paths
from proa.graph.mistakes import Mistakes
from proa.graph.name_places import place_of
from proa.graph.nodes import DatasetNode, FlowNode, Graph
from proa.graph.plan import FlowPlan, Locate, read_plan
from proa.graph.plan_proto import Relation
from proa.graph.query_origin import QueryOrigin
from proa.graph.row_places import add_column
from proa.graph.snapshot_query import (
    Targets,
    columns_without_snapshot,
    joined_snapshots,
    next_snapshots,
)
from proa.graph.table_options import FEED_PROPERTY, options_of
from proa.pipelines.ddl import parse_schema, schema_of_text
from proa.pipelines.declaring_session import DeclaringSession, pyspark_sentence, relation_of
from proa.pipelines.definitions import (
    Dataset,
    DatasetKind,
    Declarations,
    Flow,
    SnapshotCdc,
    SqlQuery,
)
from proa.pipelines.identifiers import Namespace
from proa.pipelines.unsupported import unsupported_error

Analyze = Callable[[Relation], StructType]
"""The schema of a plan whose leaves are bound."""
Infer = Callable[[Flow, FilesLeaf], StructType]
"""What the Auto Loader would yield for a leaf."""


def build(  # noqa: PLR0913 - what a graph is made of
    declarations: Declarations,
    *,
    catalog: str | None = None,
    database: str | None = None,
    analyze: Analyze | None = None,
    infer: Infer | None = None,
    targets: Targets | None = None,
    mistakes: Mistakes | None = None,
    assumed: dict[str, SourceLocation] | None = None,
) -> Graph:
    """Call the query functions, connect what they read and check everything.

    With `analyze` (and `infer` for files without a schema), query functions may ask for the schema
    and the columns of what they have read; without, that is refused as Apache refuses it. `targets`
    says what tables are fed by snapshots now; without, a snapshot function is asked once.

    With `mistakes`, they are collected there, and the graph has the datasets that none of them
    touches. With `assumed`, tables that nobody declares are taken to be somewhere; it is told their
    names and where they are read.

    Raises PipelineError, with Apache's condition and the user's file and line, at the first mistake.
    """
    builder = _Builder(declarations, Namespace(catalog, database), analyze, infer, targets)
    builder.mistakes, builder.assumed = mistakes, assumed
    return builder.build()


_ASSUMED = "assumed:"
"""Begins the path of a table that is taken to be elsewhere, when nothing is to be read."""


class _Builder:
    def __init__(
        self,
        declarations: Declarations,
        namespace: Namespace,
        analyze: Analyze | None,
        infer: Infer | None,
        targets: Targets | None,
    ) -> None:
        self.declarations = declarations
        self.analyze = analyze
        self.infer = infer
        self.targets = targets
        self.session = declarations.session or DeclaringSession(declarations.configuration)
        self.names = DatasetNames((dataset.name for dataset in declarations.datasets), namespace)
        self.datasets = {dataset.name: dataset for dataset in declarations.datasets}
        self.flows = checks.flows_by_target(declarations, self.names)
        self.nodes: dict[int, FlowNode] = {}
        """By the flow's identity."""
        self.tables = ExternalTables(declarations.configuration, namespace)
        self.mistakes: Mistakes | None = None
        self.assumed: dict[str, SourceLocation] | None = None
        self.failed: dict[str, PipelineError] = {}
        """Datasets with a mistake, or below one that has."""
        self.open: list[str] = []
        """The datasets whose queries are being read: a view met twice here is a cycle."""

    def build(self) -> Graph:
        with self.session.install():
            for name in self.datasets:
                with self.collecting(name):
                    self.read_dataset(name)
        nodes = {
            name: tuple(self.nodes[id(flow)] for flow in self.flows[name])
            for name in self.datasets
            if name not in self.failed
        }
        while broken := [name for name, flows in nodes.items() if self.reads_failed(flows)]:
            for name in broken:
                self.failed[name] = self.failed[self.reads_failed(nodes.pop(name))[0]]
        order = checks.topological(nodes, self.datasets)
        nodes = self.with_places(nodes)
        decided = {
            name: DatasetNode(checks.decide_kind(self.datasets[name], nodes[name]), nodes[name])
            for name in order
        }
        for name, node in decided.items():
            if node.is_sink:
                with self.collecting(name):
                    decided[name] = replace(node, dataset=self.tables.of_sink(node.dataset))
        for name, node in decided.items():
            with self.collecting(name):
                checks.dataset(node, decided)
        if not self.failed:
            checks.predecessors(decided)
        decided = _recording({name: _over_all_rows(node) for name, node in decided.items()})
        return Graph(decided, checks.stages(decided), self.names)

    def with_places(
        self, nodes: dict[str, tuple[FlowNode, ...]]
    ) -> dict[str, tuple[FlowNode, ...]]:
        """The flows, with what operators with state need; flows as they are after a mistake."""
        views = {n for n in nodes if self.datasets[n].kind is DatasetKind.TEMPORARY_VIEW}
        sinks = {n for n in nodes if self.datasets[n].kind is DatasetKind.SINK}
        places = FlowPlaces(nodes, views, sinks)
        with self.collecting(""):
            places.settle()
        return places.flows

    @contextmanager
    def collecting(self, name: str) -> Iterator[None]:
        """Note a dataset's mistake and go on, when mistakes are collected."""
        try:
            yield
        except PipelineError as error:
            if self.mistakes is None:
                raise
            self.open.clear()
            self.failed[name] = error
            self.mistakes.add(error)

    def reads_failed(self, flows: Sequence[FlowNode]) -> list[str]:
        return [name for flow in flows for name in flow.reads if name in self.failed]

    def read_dataset(self, name: str) -> None:
        if name in self.open:
            raise checks.cycle_error([*self.open[self.open.index(name) :], name], self.datasets)
        self.open.append(name)
        for flow in self.flows[name]:
            if id(flow) not in self.nodes:
                self.nodes[id(flow)] = self.read_flow(name, flow)
        self.open.pop()

    def read_flow(self, target: str, flow: Flow) -> FlowNode:
        resolver = _Names(self, flow)
        if isinstance(flow.cdc, SnapshotCdc) and flow.cdc.next_snapshot is not None:
            flow, relation = self.snapshots(flow, flow.cdc)
        elif isinstance(flow.query, SqlQuery):
            relation = proto.Relation()
            relation.common.plan_id = plan_proto.fresh_plan_id()
            relation.sql.query = flow.query.text
        else:
            relation = self.call(flow, flow.query)
        relation = _with_generated(relation, self.datasets[target], flow)
        plan = read_plan(relation, resolver, resolver.origin)
        if _reads_all(flow):
            plan = plan.complete()
        upstream = dict.fromkeys(
            leaf.dataset for leaf in plan.leaves if isinstance(leaf, DatasetLeaf)
        )
        return FlowNode(flow, target, plan, tuple(resolver.reads), tuple(upstream))

    def snapshots(self, flow: Flow, cdc: SnapshotCdc) -> tuple[Flow, Relation]:
        """The flow with the versions that its function has now, and a plan that yields them."""
        known = None if self.targets is None else self.targets(flow)
        found: list[tuple[Any, Any]] = []

        def query() -> Any:
            found.extend(next_snapshots(flow, cdc, known))
            return joined_snapshots(found) if found else self.session.range(0)

        relation = self.call(flow, query)
        if not found:
            relation = empty_relation(columns_without_snapshot(cdc, known))
        versions = tuple(version for _, version in found)
        return replace(flow, cdc=replace(cdc, versions=versions)), relation

    def call(self, flow: Flow, function: Callable[[], Any]) -> Relation:
        """The plan that the query function returns."""
        with self.analysing(flow):
            try:
                result = function()
                if isinstance(result, DataFrame):
                    return relation_of(result)
            except ProaError:
                raise
            except PySparkException as error:
                said, condition = pyspark_sentence(error)
                raise PipelineError(
                    f"the query of {flow.name!r} cannot be declared: {said}",
                    condition=condition or "PIPELINE_ERROR",
                    location=raised_at(error, flow.location),
                ) from error
            except Exception as error:
                raise PipelineError(
                    f"the query function of {flow.name!r} raised {type(error).__name__}: {error}",
                    condition="QUERY_FUNCTION_FAILED",
                    location=raised_at(error, flow.location),
                ) from error
        raise PipelineError(
            f"the query function of {flow.name!r} returned {type(result).__name__},"
            " not a DataFrame; return what the dataset is to hold",
            condition="NOT_EXPECTED_TYPE",
            location=flow.location,
        )

    # -- schemas, for query functions that ask for them ---------------------------------------------

    @contextmanager
    def analysing(self, flow: Flow) -> Any:
        previous = self.session.analyzer
        self.session.analyzer = None if self.analyze is None else lambda r: self.schema_of(r, flow)
        try:
            yield
        finally:
            self.session.analyzer = previous

    def schema_of(self, relation: Relation, flow: Flow) -> StructType:
        """The schema of a plan that is still being built."""
        return self.plan_schema(read_plan(relation, _Names(self, flow), QueryOrigin.of(flow)), flow)

    def plan_schema(self, plan: FlowPlan, flow: Flow) -> StructType:
        assert self.analyze is not None
        bound = {leaf.key: empty_relation(self.leaf_schema(leaf, flow)) for leaf in plan.leaves}
        check_paths(plan, QueryOrigin.of(flow))
        try:
            return self.analyze(plan.bind(bound))
        except PipelineError:
            raise
        except UserError as error:
            raise PipelineError(
                f"the query of {flow.name!r} is wrong: {error.args[0]}",
                condition=error.condition,
                location=place_of(
                    error, plan.texts, QueryOrigin.of(flow), plan.bind(bound), self.analyze
                ),
            ) from error

    def leaf_schema(self, leaf: Leaf, flow: Flow) -> StructType:
        if isinstance(leaf, DatasetLeaf):
            return options_of(leaf).columns(self.dataset_schema(leaf.dataset))
        if isinstance(leaf, TableLeaf):
            return options_of(leaf).columns(self.table_schema(leaf, flow))
        if self.infer is not None:
            return self.infer(flow, leaf)
        if leaf.schema is not None:
            return schema_of_text(leaf.schema)
        raise PipelineError(
            f"the columns of the files in {leaf.path!r} are not known while the pipeline is"
            " declared; give the source a schema, or do not ask for its columns",
            condition="ATTEMPT_ANALYSIS_IN_PIPELINE_QUERY_FUNCTION",
            location=flow.location,
        )

    def table_schema(self, leaf: TableLeaf, flow: Flow) -> StructType:
        assert self.analyze is not None
        if leaf.path.startswith(_ASSUMED):
            raise PipelineError(
                f"the code asks for the columns of the table {leaf.path.removeprefix(_ASSUMED)!r},"
                " which is made elsewhere; name it under 'tables' in proa.yml",
                condition="TABLE_OR_VIEW_NOT_FOUND",
                location=flow.location,
            )
        try:
            return self.analyze(delta_relation(leaf.path))
        except UserError as error:
            raise PipelineError(
                f"the columns of the table {leaf.path!r} are not known: {error.args[0]}",
                condition="TABLE_OR_VIEW_NOT_FOUND",
                location=flow.location,
            ) from error

    def dataset_schema(self, name: str) -> StructType:
        schema = self.datasets[name].schema
        if isinstance(schema, str):
            return parse_schema(schema)
        if schema is not None:
            known: StructType = schema
            return known
        self.read_dataset(name)
        flow = self.flows[name][0]
        return target_schema(flow, self.plan_schema(self.nodes[id(flow)].plan, flow))


class _Names:
    """Resolves the names in one flow's query, and remembers them."""

    def __init__(self, builder: _Builder, flow: Flow) -> None:
        self.builder = builder
        self.flow = flow
        self.origin = QueryOrigin.of(flow)
        self.reads: dict[str, None] = {}
        self.schema = flow.query.schema if isinstance(flow.query, SqlQuery) else ()
        """Where names of one part are looked for first."""

    def dataset(
        self,
        parts: tuple[str, ...],
        *,
        streaming: bool,
        options: Mapping[str, str],
        at: Locate | None,
    ) -> FlowPlan | DatasetLeaf | TableLeaf | None:
        name = self.name(parts)
        if name is None:
            path = self.builder.tables.path((*self.schema, *parts) if len(parts) == 1 else parts)
            path = path or self.builder.tables.path(parts)
            if path is not None:
                return TableLeaf("", path, streaming and not _reads_all(self.flow), dict(options))
            if sql_text.is_path(parts):
                return None
            if sql_text.is_path((*parts[:-1], parts[-1] or "/")) and not parts[-1]:
                raise PipelineError(
                    f"the path of {parts[0]}.`` is empty; write the folder or file between the"
                    " backticks",
                    condition="INVALID_EMPTY_LOCATION",
                    location=self.location(parts[0], at),
                )
            spelled = ".".join(parts)
            if self.builder.assumed is not None:
                self.builder.assumed.setdefault(spelled, self.location(parts[-1], at))
                return TableLeaf("", f"{_ASSUMED}{spelled}", streaming, dict(options))
            raise PipelineError(
                f"{self.flow.name!r} reads {spelled!r}, which the pipeline does not"
                f" declare{self.builder.names.suggestion(parts)}{self.builder.tables.remedy(parts)}",
                condition="TABLE_OR_VIEW_NOT_FOUND",
                location=self.location(parts[-1], at),
            )
        if name in self.builder.failed:
            raise self.builder.failed[name]
        self.reads[name] = None
        dataset = self.builder.datasets[name]
        if dataset.kind is DatasetKind.SINK:
            raise checks.sink_read(dataset, self.flow.name, self.location(parts[-1], at))
        if dataset.kind is not DatasetKind.TEMPORARY_VIEW:
            return DatasetLeaf("", name, streaming and not _reads_all(self.flow), dict(options))
        self.builder.read_dataset(name)
        checks.single_query(dataset, self.builder.flows[name])
        plan = self.builder.nodes[id(self.builder.flows[name][0])].plan
        if _reads_all(self.flow):
            return plan.complete()
        checks.view_read(dataset, plan, self.location(parts[-1], at), streaming=streaming)
        return plan

    def name(self, parts: tuple[str, ...]) -> str | None:
        names = self.builder.names
        qualified = (*self.schema, *parts) if len(parts) == 1 and self.schema else parts
        return names.find(qualified) or names.find(parts)

    def location(self, name: str, at: Locate | None) -> SourceLocation:
        """Where the query names `name`; `at` is what the reader of its SQL says."""
        told = None if at is None else at()
        if told is not None and (told.column is not None or self.origin.sql is not None):
            return told
        return self.origin.of_words(name) or self.origin.location


def _recording(nodes: Mapping[str, DatasetNode]) -> dict[str, DatasetNode]:
    """The datasets; those that changes are applied to record what each changed, where a materialized
    view is to follow it, unless their own properties speak of that.
    """
    followed = {
        leaf.dataset
        for node in nodes.values()
        if not node.is_view and node.is_recomputed
        for flow in node.flows
        for leaf in flow.plan.leaves
        if isinstance(leaf, DatasetLeaf) and not leaf.options
    }

    def recording(name: str, node: DatasetNode) -> DatasetNode:
        properties = node.dataset.properties
        changes = any(flow.flow.cdc is not None for flow in node.flows)
        if name not in followed or not changes or FEED_PROPERTY in properties:
            return node
        dataset = replace(node.dataset, properties={FEED_PROPERTY: "true", **properties})
        return replace(node, dataset=dataset)

    return {name: recording(name, node) for name, node in nodes.items()}


def _over_all_rows(node: DatasetNode) -> DatasetNode:
    """The dataset, whose flows read all rows where they aggregate streams without an end."""
    if node.is_view:
        return node
    flows = tuple(
        replace(flow, plan=flow.plan.complete()) if flow.plan.recomputed else flow
        for flow in node.flows
    )
    return replace(node, flows=flows)


def _with_generated(relation: Relation, dataset: Dataset, flow: Flow) -> Relation:
    """Put the columns behind a flow's query that its table computes from the others."""
    if dataset.generated and flow.cdc is not None:
        raise unsupported_error(
            "generated columns of a table that changes are merged into", dataset.location
        )
    for column in dataset.generated:
        value = proto.Expression()
        value.expression_string.expression = f"CAST(({column.expression}) AS {column.type})"
        relation = add_column(relation, column.name, value)
    return relation


def _reads_all(flow: Flow) -> bool:
    """Whether a flow reads all that its source has, even where that is a stream: a snapshot, and
    changes that are applied once.
    """
    return isinstance(flow.cdc, SnapshotCdc) or (flow.once and flow.cdc is not None)
