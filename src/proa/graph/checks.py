"""What makes a pipeline wrong, under Apache Spark's names for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from proa.errors import PipelineError, SourceLocation, UserError
from proa.graph.dataset_names import DatasetNames
from proa.graph.leaves import DatasetLeaf, FilesLeaf, TableLeaf
from proa.graph.table_options import FEED_PROPERTY, options_of
from proa.pipelines.definitions import (
    Dataset,
    DatasetKind,
    Declarations,
    Flow,
    Replacement,
    SnapshotCdc,
)
from proa.text import suggestion

if TYPE_CHECKING:
    from proa.graph.nodes import DatasetNode, FlowNode
    from proa.graph.plan import FlowPlan

    _Datasets = Mapping[str, DatasetNode]


def flows_by_target(declarations: Declarations, names: DatasetNames) -> dict[str, tuple[Flow, ...]]:
    """The flows of each dataset. Raises for a flow without target and a dataset without flow."""
    flows: dict[str, list[Flow]] = {dataset.name: [] for dataset in declarations.datasets}
    for flow in declarations.flows:
        target = names.find(flow.target)
        if target is None:
            raise PipelineError(
                f"the flow {flow.name!r} writes to {flow.target!r}, which the pipeline does not"
                f" declare{names.suggestion(flow.target)}",
                condition="TABLE_OR_VIEW_NOT_FOUND",
                location=flow.location,
            )
        flows[target].append(flow)
    for dataset in declarations.datasets:
        if not flows[dataset.name]:
            raise PipelineError(
                f"nothing writes to {dataset.name!r}; give it a query, or a flow whose target it is",
                condition="PIPELINE_DATASET_WITHOUT_FLOW",
                location=dataset.location,
            )
    return {name: tuple(found) for name, found in flows.items()}


def single_query(dataset: Dataset, flows: Sequence[Flow]) -> None:
    """MATERIALIZED_VIEW_WITH_MULTIPLE_QUERIES: only a streaming table has several flows."""
    if len(flows) > 1:
        kind = "view" if dataset.kind is DatasetKind.TEMPORARY_VIEW else "materialized view"
        raise PipelineError(
            f"the {kind} {dataset.name!r} has {len(flows)} queries"
            f" ({', '.join(flow.name for flow in flows)}) and can have one; join them with UNION,"
            " or make it a streaming table",
            condition="MATERIALIZED_VIEW_WITH_MULTIPLE_QUERIES",
            location=flows[1].location,
        )


def view_read(
    dataset: Dataset,
    plan: FlowPlan,
    location: SourceLocation,
    *,
    streaming: bool,
) -> None:
    """A streaming view is read as a stream, any other is not."""
    if streaming == plan.streaming:
        return
    have, other, how = (
        ("a streaming view", "not as a stream", "spark.readStream.table() or STREAM(...)")
        if plan.streaming
        else ("a batch view", "as a stream", "spark.read.table() or its bare name")
    )
    raise PipelineError(
        f"{dataset.name!r} is {have} and is read {other}; read it with {how}",
        condition=(
            "INCOMPATIBLE_STREAMING_VIEW_READ" if plan.streaming else "INCOMPATIBLE_BATCH_VIEW_READ"
        ),
        location=location,
    )


def topological(
    nodes: Mapping[str, Sequence[FlowNode]], datasets: Mapping[str, Dataset]
) -> list[str]:
    """The datasets, upstream ones first, otherwise as declared. Raises for a cycle."""
    order: list[str] = []
    done: set[str] = set()
    path: list[str] = []

    def visit(name: str) -> None:
        if name in path:
            raise cycle_error([*path[path.index(name) :], name], datasets)
        if name in done:
            return
        path.append(name)
        for flow in nodes[name]:
            for upstream in flow.reads:
                visit(upstream)
        path.pop()
        done.add(name)
        order.append(name)

    for name in nodes:
        visit(name)
    return order


def cycle_error(path: Sequence[str], datasets: Mapping[str, Dataset]) -> PipelineError:
    """The error for datasets that read one another in a circle."""
    circle = " reads ".join(repr(name) for name in path)
    return PipelineError(
        f"datasets read one another in a circle: {circle}; break it at one of them",
        condition="PIPELINE_GRAPH_NOT_TOPOLOGICALLY_SORTED",
        location=datasets[path[0]].location,
    )


def decide_kind(dataset: Dataset, flows: Sequence[FlowNode]) -> Dataset:
    """The dataset with the kind TABLE replaced by what its query makes of it."""
    if dataset.kind is not DatasetKind.TABLE:
        return dataset
    streaming = any(node.plan.streaming or node.flow.once for node in flows)
    kind = DatasetKind.STREAMING_TABLE if streaming else DatasetKind.MATERIALIZED_VIEW
    return replace(dataset, kind=kind)


def sink_read(dataset: Dataset, reader: str, location: SourceLocation) -> PipelineError:
    """The error for a query that reads a sink."""
    return PipelineError(
        f"{reader!r} reads {dataset.name!r}, which is a sink: flows write to it, and nothing in the"
        " pipeline reads it; read what is written to it",
        condition="TABLE_OR_VIEW_NOT_FOUND",
        location=location,
    )


def predecessors(datasets: Mapping[str, DatasetNode]) -> None:
    """Raise PipelineError for a flow that depends on what is not a flow, or in a circle."""
    nodes = [node for one in datasets.values() for node in one.flows]
    by_name = {node.flow.name.casefold(): node for node in nodes}
    feeding: dict[str, list[FlowNode]] = {}
    for node in nodes:
        feeding.setdefault(node.target, []).append(node)
    done: set[str] = set()
    path: list[str] = []

    def visit(node: FlowNode) -> None:
        name = node.flow.name
        if name in done:
            return
        if name in path:
            circle = " waits for ".join(map(repr, [*path[path.index(name) :], name]))
            raise PipelineError(
                f"flows wait for one another in a circle: {circle}; take one out of 'depends_on'",
                condition="PIPELINE_GRAPH_NOT_TOPOLOGICALLY_SORTED",
                location=node.flow.location,
            )
        path.append(name)
        for upstream in node.upstream:
            for other in feeding.get(upstream, ()):
                visit(other)
        for wanted in node.flow.depends_on:
            before = by_name.get(wanted.casefold())
            if before is None:
                raise PipelineError(
                    f"the flow {name!r} depends on {wanted!r}, which is not a flow of the pipeline"
                    f"{suggestion(wanted, [other.flow.name for other in nodes])}",
                    condition="FLOW_NOT_FOUND",
                    location=node.flow.location,
                )
            visit(before)
        path.pop()
        done.add(name)

    for node in nodes:
        visit(node)


def stages(datasets: Mapping[str, DatasetNode]) -> tuple[tuple[str, ...], ...]:
    """The tables and sinks by levels: a level is one above the highest that is read."""
    levels: dict[str, int] = {}
    for name, node in datasets.items():
        if not node.is_view:
            above = [levels[up] + 1 for flow in node.flows for up in flow.upstream]
            levels[name] = max(above, default=0)
    return tuple(
        tuple(name for name, level in levels.items() if level == number)
        for number in range(max(levels.values(), default=-1) + 1)
    )


def dataset(node: DatasetNode, datasets: Mapping[str, DatasetNode]) -> None:
    """Whether a dataset's queries suit its kind."""
    declared = node.dataset
    for flow in node.flows:
        for leaf in flow.plan.leaves:
            if not isinstance(leaf, FilesLeaf):
                _readable(flow, leaf, datasets)
    _change_flows(declared, [flow.flow for flow in node.flows])
    for flow in node.flows:
        if flow.flow.to_sink and not node.is_sink:
            raise PipelineError(
                f"the update flow {flow.flow.name!r} writes to {declared.name!r}, which is not a sink;"
                " declare it with create_sink() or @foreach_batch_sink, or write an append flow",
                condition="UPDATE_FLOW_TARGET_IS_NOT_A_SINK",
                location=flow.flow.location,
            )
    if declared.kind in {DatasetKind.STREAMING_TABLE, DatasetKind.SINK}:
        for flow in node.flows:
            _streaming_table_flow(declared, flow)
            if flow.plan.recomputed and flow.plan.streaming:
                _recomputed_flow(node, flow)
        return
    single_query(declared, [flow.flow for flow in node.flows])
    if declared.kind is DatasetKind.MATERIALIZED_VIEW:
        _materialized_view_flow(declared, node.flows[0])


def _streaming_table_flow(declared: Dataset, node: FlowNode) -> None:
    if node.flow.once and node.plan.streaming:
        raise PipelineError(
            f"the flow {node.flow.name!r} runs once and reads a stream; read its sources complete,"
            " or leave 'once' out",
            condition="INVALID_FLOW_QUERY_TYPE.STREAMING_RELATION_FOR_ONCE_FLOW",
            location=node.flow.location,
        )
    complete = node.flow.once or isinstance(node.flow.cdc, SnapshotCdc)
    if not complete and not node.plan.streaming:
        raise PipelineError(
            f"the flow {node.flow.name!r} feeds the {_kind_words(declared)} {declared.name!r} and"
            " reads no stream; read a source with spark.readStream or STREAM(...),"
            f"{'' if declared.sink else ' make the dataset a materialized view,'} or run the flow"
            " once",
            condition="INVALID_FLOW_QUERY_TYPE.BATCH_RELATION_FOR_STREAMING_TABLE",
            location=node.flow.location,
        )


def _recomputed_flow(node: DatasetNode, flow: FlowNode) -> None:
    """Raise PipelineError unless all rows of the dataset may be replaced by those of the flow."""
    name = node.dataset.name
    if node.is_sink:
        what, remedy = f"writes to the sink {name!r}", "let a streaming table hold its result"
    elif flow.flow.cdc is not None:
        what = f"applies changes to {name!r}"
        remedy = "compare snapshots of the table instead (create_auto_cdc_from_snapshot_flow)"
    elif len(node.flows) > 1:
        other = next(each.flow.name for each in node.flows if each is not flow)
        what = f"shares {name!r} with the flow {other!r}"
        remedy = "give it a table of its own, or aggregate over the union of both"
    else:
        return
    raise PipelineError(
        f"the flow {flow.flow.name!r} aggregates a stream without a window, so that its result replaces"
        f" all rows, and it {what}; {remedy}",
        condition="UNSUPPORTED_STREAMING_OPERATOR",
        location=flow.flow.location,
    )


def _kind_words(declared: Dataset) -> str:
    return declared.kind.value.replace("_", " ").lower()


def _materialized_view_flow(declared: Dataset, node: FlowNode) -> None:
    if node.plan.streaming:
        raise PipelineError(
            f"the materialized view {declared.name!r} reads a stream; read its sources with"
            " spark.read, without STREAM, or make it a streaming table",
            condition="INVALID_FLOW_QUERY_TYPE.STREAMING_RELATION_FOR_MATERIALIZED_VIEW",
            location=node.flow.location,
        )


def _change_flows(declared: Dataset, flows: Sequence[Flow]) -> None:
    """Changes are applied to a streaming table, by flows that agree on what a row is."""
    changing = [flow for flow in flows if flow.cdc is not None]
    if not changing:
        return
    first = changing[0]
    if declared.kind is not DatasetKind.STREAMING_TABLE:
        what = "a replace flow" if isinstance(first.cdc, Replacement) else "AUTO CDC"
        raise PipelineError(
            f"{what} writes to {declared.name!r}, which is not a streaming table; declare it with"
            " create_streaming_table() or CREATE STREAMING TABLE, without a query",
            condition="AUTOCDC_TARGET_IS_NOT_A_STREAMING_TABLE",
            location=first.location,
        )
    if len(changing) != len(flows):
        other = next(flow for flow in flows if flow.cdc is None)
        raise PipelineError(
            f"{declared.name!r} is fed by {first.name!r} and by the flow {other.name!r}, which appends;"
            " let one kind of flow feed it",
            condition="AUTOCDC_TARGET_WITH_OTHER_FLOWS",
            location=other.location,
        )
    for flow in changing[1:]:
        if _row_identity(flow) != _row_identity(first):
            raise PipelineError(
                f"the flows {first.name!r} and {flow.name!r} change {declared.name!r} with different"
                " kinds, keys, SCD types or tracked columns; make them the same",
                condition="AUTOCDC_MULTIPLE_FLOWS_TO_TARGET",
                location=flow.location,
            )


def _row_identity(flow: Flow) -> object:
    assert flow.cdc is not None
    cdc = flow.cdc
    sequence = cdc.sequence.lower() if isinstance(cdc, Replacement) else None
    return ([key.lower() for key in cdc.keys], cdc.history, cdc.tracked, sequence)


def _readable(node: FlowNode, leaf: DatasetLeaf | TableLeaf, datasets: _Datasets) -> None:
    """Raise PipelineError for a table that cannot be read as the leaf reads it."""
    try:
        options = options_of(leaf)
    except UserError as error:
        raise PipelineError(
            str(error.args[0]), condition=error.condition, location=node.flow.location
        ) from error
    if not isinstance(leaf, DatasetLeaf):
        return
    upstream = datasets[leaf.dataset]
    if options.feed:
        properties = upstream.dataset.properties
        if properties.get(FEED_PROPERTY, "false").lower() != "true":
            raise PipelineError(
                f"{node.flow.name!r} reads the change feed of {leaf.dataset!r}, and that table"
                f" records no changes; give it the table property {FEED_PROPERTY}: true",
                condition="DELTA_MISSING_CHANGE_DATA",
                location=node.flow.location,
            )
    elif leaf.streaming and not options.skip_changes:
        _streamable(node, upstream)


def _streamable(node: FlowNode, upstream: DatasetNode) -> None:
    name = upstream.dataset.name
    if upstream.dataset.kind is DatasetKind.MATERIALIZED_VIEW:
        raise PipelineError(
            f"{node.flow.name!r} reads the materialized view {name!r} as a stream, but it"
            " is rewritten when it is refreshed; read it with spark.read, without STREAM, or its"
            " change feed (readChangeFeed)",
            condition="UNSUPPORTED_STREAMING_SOURCE",
            location=node.flow.location,
        )
    if upstream.is_recomputed:
        raise PipelineError(
            f"{node.flow.name!r} reads {name!r} as a stream, but an aggregation without a window"
            " computes all its rows anew; read it with spark.read, without STREAM, in a materialized"
            " view, or its change feed (readChangeFeed)",
            condition="UNSUPPORTED_STREAMING_SOURCE",
            location=node.flow.location,
        )
    if any(flow.flow.cdc is not None for flow in upstream.flows):
        raise PipelineError(
            f"{node.flow.name!r} reads {name!r} as a stream, but {upstream.flows[0].flow.name!r}"
            " changes and removes rows of it; read it with spark.read, without STREAM, in a materialized view, or with the"
            " option skipChangeCommits or readChangeFeed",
            condition="UNSUPPORTED_STREAMING_SOURCE",
            location=node.flow.location,
        )
