"""Which rows of a pipeline must know their place in the order of shipments, and how they do.

An operator with state needs the places of its rows. They come from files, and tables on the way
keep them when the flows that feed them can carry them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from pyspark.sql.connect import proto

from proa.errors import PipelineError
from proa.graph import plan_proto
from proa.graph.leaves import DatasetLeaf, FilesLeaf, TableLeaf
from proa.graph.nodes import FlowNode
from proa.graph.plan import FlowPlan, placeholder_key
from proa.graph.plan_proto import Relation
from proa.graph.query_origin import QueryOrigin
from proa.graph.sql_text import SqlTexts
from proa.graph.stateful_plan import CONDITION, StatefulOperator, StatefulReader, cut_stateful_plan
from proa.graph.table_options import options_of

_SHIP = "ship the files to a landing zone, read them with cloudFiles, and read that table"


class FlowPlaces:
    """Cuts the plans of flows with state, and lets the flows before them keep places."""

    def __init__(
        self,
        flows: Mapping[str, tuple[FlowNode, ...]],
        views: Collection[str] = (),
        sinks: Collection[str] = (),
    ) -> None:
        """`flows` by the datasets that they feed; `views` of these are never stored, and `sinks` lie
        outside of the pipeline.
        """
        self.flows = dict(flows)
        """The flows; once they are settled, with everything that state needs."""
        self._views = views
        self._sinks = sinks
        self._placed: dict[str, tuple[FlowNode, ...]] = {}
        self._streams: dict[str, tuple[str, ...]] = {}

    def settle(self) -> None:
        """Cut what has state, and let what is before it keep places. Raises PipelineError."""
        cuts = {
            name: tuple(self._cut(flow) if _remembers(flow) else flow for flow in flows)
            for name, flows in self.flows.items()
        }
        self.flows = {
            name: tuple(
                flow if flow.plan.stateful is not None else placed
                for flow, placed in zip(flows, self._placed.get(name, flows), strict=True)
            )
            for name, flows in cuts.items()
        }

    def _cut(self, flow: FlowNode) -> FlowNode:
        reader = _reader_of(flow)
        stateful = cut_stateful_plan(flow.plan.template, reader)
        if stateful is None:
            reader.refuse(
                "an operator with state inside of a larger text",
                "write that query as a view or a streaming table of its own",
            )
        if flow.target in self._sinks:
            reader.refuse(
                "an operator with state of a flow to a sink",
                "let a streaming table hold the result, and the sink read that",
            )
        if flow.target in self._views:
            return replace(flow, plan=replace(flow.plan, stateful=stateful))
        names = self._leaves(flow)
        streams = tuple(sorted({stream for of_leaf in names.values() for stream in of_leaf}))
        picks = stateful.operator is StatefulOperator.DEDUPLICATE_WITHIN or stateful.keys
        if len(streams) > 1 and picks and stateful.operator in _PICKING:
            reader.refuse(
                "the first row of each key over several streams, which have no order together,",
                "let one flow read all files as one source, or name all columns",
            )
        sides = tuple(
            replace(side, streams=_orders_in(side.rows, names)) for side in stateful.sides
        )
        plan = replace(
            flow.plan,
            stateful=replace(stateful, streams=streams, sides=sides),
            streams=_labels(flow.plan, names),
        )
        return replace(flow, plan=plan)

    def _leaves(self, flow: FlowNode) -> dict[str, tuple[str, ...]]:
        """The orders in which the rows of each stream that the flow reads come, by leaf."""
        found: dict[str, tuple[str, ...]] = {}
        for leaf in flow.plan.leaves:
            if not leaf.streaming:
                continue
            if isinstance(leaf, FilesLeaf):
                found[leaf.key] = (f"{flow.target}/{flow.flow.name}/{leaf.key}",)
            elif isinstance(leaf, DatasetLeaf):
                if options_of(leaf).feed:
                    raise _error(flow, f"the change feed of {leaf.dataset!r},")
                found[leaf.key] = self._table(leaf.dataset, flow)
            else:
                assert isinstance(leaf, TableLeaf)
                raise _error(flow, f"the table {leaf.path!r}, which the pipeline does not make,")
        return found

    def _table(self, name: str, reader: FlowNode) -> tuple[str, ...]:
        """Let a table keep its rows' places; the names of the orders in which they come."""
        if name not in self._streams:
            placed, streams = [], []
            for flow in self.flows[name]:
                if flow.flow.cdc is not None or not flow.plan.streaming or flow.plan.recomputed:
                    raise _error(reader, f"{name!r}, whose rows do not all come from files,")
                if _remembers(flow):
                    raise _error(
                        reader,
                        f"{name!r}, whose rows come from an operator with state,",
                        "write the second result as a materialized view",
                    )
                names = self._leaves(flow)
                streams += [stream for of_leaf in names.values() for stream in of_leaf]
                plan = proto.Relation()
                plan.CopyFrom(flow.plan.template)
                _reader_of(flow).carry(plan, f"the query of {flow.flow.name!r}")
                labels = _labels(flow.plan, names)
                placed.append(replace(flow, plan=replace(flow.plan, placed=plan, streams=labels)))
            self._placed[name], self._streams[name] = tuple(placed), tuple(streams)
        return self._streams[name]


def _remembers(flow: FlowNode) -> bool:
    return flow.plan.remembers and flow.plan.streaming


_PICKING = (StatefulOperator.DEDUPLICATE, StatefulOperator.DEDUPLICATE_WITHIN)


def _reader_of(flow: FlowNode) -> StatefulReader:
    origin = QueryOrigin.of(flow.flow)
    streaming = {leaf.key for leaf in flow.plan.leaves if leaf.streaming}

    def is_stream(relation: Relation) -> bool:
        return placeholder_key(relation) in streaming

    return StatefulReader(SqlTexts(origin.place), is_stream, flow.flow.location)


def _orders_in(rows: Relation, names: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
    """The orders in which the rows of a part of a plan come."""
    keys = map(placeholder_key, plan_proto.relations(rows))
    return tuple(sorted({name for key in keys if key is not None for name in names.get(key, ())}))


def _labels(plan: FlowPlan, names: Mapping[str, Iterable[str]]) -> dict[str, str]:
    return {
        leaf.key: next(iter(names[leaf.key])) if isinstance(leaf, FilesLeaf) else ""
        for leaf in plan.leaves
        if leaf.key in names
    }


def _error(flow: FlowNode, what: str, remedy: str = _SHIP) -> PipelineError:
    return PipelineError(
        f"{flow.flow.name!r} has an operator with state over a stream of {what} so there is no"
        f" order of shipments; {remedy}",
        condition=CONDITION,
        location=flow.flow.location,
    )
