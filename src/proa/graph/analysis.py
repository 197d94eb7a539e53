"""What the datasets' columns are, as far as an engine can say without data.

Every query is analysed over empty inputs, upstream ones first. That finds what the graph alone
cannot: columns that do not exist, functions that the engine does not know, expectations that are no
conditions of their dataset.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pyspark.sql.connect import proto
from pyspark.sql.types import StructType

from proa.engine.relations import delta_relation, empty_relation
from proa.errors import PipelineError, SourceLocation, UserError
from proa.graph import sql_text
from proa.graph.build import Analyze, Infer
from proa.graph.change_target import target_schema
from proa.graph.leaves import DatasetLeaf, FilesLeaf, Leaf, TableLeaf
from proa.graph.local_paths import check_paths
from proa.graph.mistakes import Mistakes
from proa.graph.name_places import place_of
from proa.graph.nodes import DatasetNode, FlowNode, Graph
from proa.graph.plan_proto import Relation
from proa.graph.query_origin import QueryOrigin
from proa.graph.table_options import options_of
from proa.pipelines.ddl import declared_schema
from proa.pipelines.definitions import Expectation, SqlQuery


@dataclass(frozen=True)
class Analysis:
    """What was learnt."""

    schemas: Mapping[str, StructType]
    """By dataset; views too."""
    unknown: Mapping[str, str] = field(default_factory=dict)
    """Datasets whose columns cannot be known yet, with the reason; nothing of them was checked."""


CheckColumns = Callable[[DatasetNode, StructType], object]
"""Raises UserError if a dataset cannot hold rows of these columns."""


def analyse(
    graph: Graph,
    analyze: Analyze,
    infer: Infer,
    mistakes: Mistakes | None = None,
    check: CheckColumns | None = None,
) -> Analysis:
    """Analyse all queries and expectations; `check` looks at the columns of each query.

    `infer` raises UserError for files whose columns cannot be told (there are none yet). Raises
    PipelineError, at the query's place and with the engine's words, for the first mistake; with
    `mistakes`, they are collected there.
    """
    analyst = _Analyst(graph, analyze, infer, check)
    for name, node in graph.datasets.items():
        try:
            analyst.dataset(name, node)
        except PipelineError as error:
            if mistakes is None:
                raise
            mistakes.add(error)
            analyst.unknown[name] = "its query is wrong"
    return Analysis(analyst.schemas, analyst.unknown)


class _UnknownError(Exception):
    """The argument says why the columns are not known."""


class _Analyst:
    def __init__(
        self, graph: Graph, analyze: Analyze, infer: Infer, check: CheckColumns | None
    ) -> None:
        self.check = check
        self.graph = graph
        self.analyze = analyze
        self.infer = infer
        self.schemas: dict[str, StructType] = {}
        self.unknown: dict[str, str] = {}

    def dataset(self, name: str, node: DatasetNode) -> None:
        found = None
        for flow in node.flows:
            try:
                plan = self.bound(flow)
            except _UnknownError as reason:
                self.unknown[name] = str(reason)
                continue
            origin = QueryOrigin.of(flow.flow)
            schema = self.schema(plan, f"the query of {flow.flow.name!r}", origin, flow.plan.texts)
            for rule in node.dataset.expectations:
                self.expectation(name, rule, plan, flow)
            found = found or target_schema(flow.flow, schema)
            if self.check is not None and flow.flow.cdc is None:
                self.fits(self.check, node, schema, flow.flow.location)
        declared = declared_schema(node.dataset)
        known = declared or found
        if known is not None:
            self.schemas[name] = known
            self.unknown.pop(name, None)

    def fits(
        self, check: CheckColumns, node: DatasetNode, schema: StructType, at: SourceLocation
    ) -> None:
        try:
            check(node, schema)
        except UserError as error:
            raise PipelineError(
                str(error.args[0]), condition=error.condition, location=at
            ) from error

    def bound(self, flow: FlowNode) -> Relation:
        try:
            check_paths(flow.plan, QueryOrigin.of(flow.flow))
        except PipelineError as error:
            raise _UnknownError(str(error.args[0])) from error
        return flow.plan.bind(
            {leaf.key: empty_relation(self.leaf(leaf, flow)) for leaf in flow.plan.leaves}
        )

    def leaf(self, leaf: Leaf, flow: FlowNode) -> StructType:
        if isinstance(leaf, DatasetLeaf):
            if leaf.dataset in self.schemas:
                return options_of(leaf).columns(self.schemas[leaf.dataset])
            raise _UnknownError(self.unknown.get(leaf.dataset, "it is not known"))
        if isinstance(leaf, TableLeaf):
            return self.table(leaf)
        return self.files(leaf, flow)

    def table(self, leaf: TableLeaf) -> StructType:
        try:
            return options_of(leaf).columns(self.analyze(delta_relation(leaf.path)))
        except UserError as error:
            raise _UnknownError(f"the table {leaf.path!r}: {error.args[0]}") from error

    def files(self, leaf: FilesLeaf, flow: FlowNode) -> StructType:
        try:
            return self.infer(flow.flow, leaf)
        except PipelineError:
            raise
        except UserError as error:
            raise _UnknownError(f"the files in {leaf.path!r}: {error.args[0]}") from error

    def schema(
        self, plan: Relation, what: str, origin: QueryOrigin, texts: Sequence[str]
    ) -> StructType:
        try:
            return self.analyze(plan)
        except UserError as error:
            raise PipelineError(
                f"{what} is wrong: {error.args[0]}",
                condition=error.condition,
                location=place_of(error, texts, origin, plan, self.analyze),
            ) from error

    def expectation(self, name: str, rule: Expectation, plan: Relation, flow: FlowNode) -> None:
        filtered = proto.Relation()
        filtered.filter.input.CopyFrom(plan)
        at, text = rule.location or flow.flow.location, rule.condition
        sql: SqlQuery | None = None
        texts: tuple[str, ...] = ()
        if isinstance(text, str):
            texts = (text,)
            sql = SqlQuery(text, at, source=rule.source)
            filtered.filter.condition.expression_string.expression = sql_text.for_engine(
                text, sql.place
            )
        else:
            filtered.filter.condition.CopyFrom(text.to_plan(None))
        what = f"the expectation {rule.name!r} of {name!r}"
        self.schema(filtered, what, QueryOrigin(at, sql), texts)
