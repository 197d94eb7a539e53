"""A graph as text, as a Mermaid diagram and as an object for programs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from proa.graph.leaves import DatasetLeaf, FilesLeaf, TableLeaf
from proa.graph.nodes import DatasetNode, FlowNode, Graph
from proa.graph.refresh_kinds import RefreshKind
from proa.pipelines.definitions import DatasetKind

KINDS = {
    DatasetKind.STREAMING_TABLE: "streaming table",
    DatasetKind.MATERIALIZED_VIEW: "materialized view",
    DatasetKind.TEMPORARY_VIEW: "view",
    DatasetKind.SINK: "sink",
}
_SHAPES = {
    DatasetKind.STREAMING_TABLE: ('[["', '"]]'),
    DatasetKind.MATERIALIZED_VIEW: ('["', '"]'),
    DatasetKind.TEMPORARY_VIEW: ('("', '")'),
    DatasetKind.SINK: ('[/"', '"/]'),
}


def text(graph: Graph, refreshes: Mapping[str, RefreshKind] | None = None) -> str:
    """One line per dataset, upstream ones first, and below it what its flows read.

    `refreshes` says how tables that are computed from all rows are refreshed.
    """
    lines = []
    for name, node in graph.datasets.items():
        lines.append(f"{name}  ({_kind_words(node)})")
        if name in (refreshes or {}):
            lines.append(f"     refreshed {refresh_words((refreshes or {})[name])}")
        for flow in node.flows:
            prefix = "" if flow.flow.implicit else f"{flow.flow.name}: "
            once = " once" if flow.flow.once else ""
            lines += [f"  <- {prefix}{source}{once}" for source in _sources(graph, flow)]
            lines += [f"     after {before}" for before in flow.flow.depends_on]
    return "\n".join(lines)


def refresh_words(kind: RefreshKind) -> str:
    """How a table is refreshed, after the word "refreshed"."""
    if not kind.incremental:
        return f"whole: {kind.why}"
    rest = f" (whole when {' or '.join(kind.whole_for)} changes)" if kind.whole_for else ""
    return f"from what changed: {kind.why}{rest}"


def _kind_words(node: DatasetNode) -> str:
    words = KINDS[node.dataset.kind]
    is_table = node.dataset.kind is DatasetKind.STREAMING_TABLE
    return f"{words}, computed from all rows" if is_table and node.is_recomputed else words


def mermaid(graph: Graph) -> str:
    """A flowchart: streams are thick arrows, complete reads thin ones; files are round."""
    ids = {name: f"d{number}" for number, name in enumerate(graph.datasets)}
    lines = ["flowchart LR"]
    files: dict[str, str] = {}
    edges: dict[str, None] = {}
    for name, node in graph.datasets.items():
        opening, closing = _SHAPES[node.dataset.kind]
        lines.append(f"  {ids[name]}{opening}{_escape(name)}{closing}")
        for flow in node.flows:
            for leaf in _own_sources(graph, flow):
                source = files.setdefault(leaf.path, f"f{len(files)}")
                edges[f"  {source} {_arrow(leaf.streaming)} {ids[name]}"] = None
            for upstream in flow.reads:
                arrow = _arrow(upstream in _streamed_names(graph, flow))
                edges[f"  {ids[upstream]} {arrow} {ids[name]}"] = None
    lines += [f'  {source}[("{_escape(path)}")]' for path, source in files.items()]
    return "\n".join([*lines, *edges])


def as_object(graph: Graph, refreshes: Mapping[str, RefreshKind] | None = None) -> dict[str, Any]:
    """The graph for programs; `refreshes` as for `text`."""
    kinds = refreshes or {}
    return {
        "stages": [list(stage) for stage in graph.stages],
        "datasets": [
            {
                **_dataset(graph, name, node),
                "refresh": asdict(kinds[name]) if name in kinds else None,
            }
            for name, node in graph.datasets.items()
        ],
    }


def _dataset(graph: Graph, name: str, node: DatasetNode) -> dict[str, Any]:
    return {
        "name": name,
        "kind": str(node.dataset.kind),
        "recomputed": not node.is_view and node.is_recomputed,
        "location": str(node.dataset.location),
        "private": node.dataset.private,
        "comment": node.dataset.comment,
        "format": None if node.dataset.sink is None else node.dataset.sink.format,
        "expectations": [
            {"name": rule.name, "violation": str(rule.violation)}
            for rule in node.dataset.expectations
        ],
        "flows": [
            {
                "name": flow.flow.name,
                "once": flow.flow.once,
                "depends_on": list(flow.flow.depends_on),
                "streaming": flow.plan.streaming,
                "reads": [
                    {"dataset": upstream, "streaming": upstream in _streamed_names(graph, flow)}
                    for upstream in flow.reads
                ],
                "files": [
                    {
                        "path": leaf.path,
                        "streaming": leaf.streaming,
                        "format": leaf.options.get("cloudFiles.format"),
                    }
                    for leaf in _own_sources(graph, flow)
                    if isinstance(leaf, FilesLeaf)
                ],
                "tables": [
                    {"path": leaf.path, "streaming": leaf.streaming}
                    for leaf in _own_sources(graph, flow)
                    if isinstance(leaf, TableLeaf)
                ],
            }
            for flow in node.flows
        ],
    }


def _sources(graph: Graph, flow: FlowNode) -> list[str]:
    streamed = _streamed_names(graph, flow)
    tables = [f"{name}{' (stream)' if name in streamed else ''}" for name in flow.reads]
    others = [
        f"{'files' if isinstance(leaf, FilesLeaf) else 'table'} {leaf.path}"
        f"{' (stream)' if leaf.streaming else ''}"
        for leaf in _own_sources(graph, flow)
    ]
    return others + tables


def _streamed_names(graph: Graph, flow: FlowNode) -> set[str]:
    """What the flow names and reads as a stream: a view is one when its query is."""
    streamed = {
        leaf.dataset
        for leaf in flow.plan.leaves
        if isinstance(leaf, DatasetLeaf) and leaf.streaming
    }
    for name in flow.reads:
        node = graph.datasets[name]
        if node.is_view and any(below.plan.streaming for below in node.flows):
            streamed.add(name)
    return streamed


def _own_sources(graph: Graph, flow: FlowNode) -> list[FilesLeaf | TableLeaf]:
    """What the flow itself reads from outside the pipeline, not what the views that it reads do."""
    through_views = {
        leaf.path
        for name in flow.reads
        if graph.datasets[name].is_view
        for below in graph.datasets[name].flows
        for leaf in below.plan.leaves
        if not isinstance(leaf, DatasetLeaf)
    }
    return [
        leaf
        for leaf in flow.plan.leaves
        if not isinstance(leaf, DatasetLeaf) and leaf.path not in through_views
    ]


def _arrow(streaming: bool) -> str:  # noqa: FBT001 - one of two arrows
    return "==>" if streaming else "-->"


def _escape(name: str) -> str:
    return re.sub(r"[\"<>]", lambda found: f"#{ord(found.group())};", name)
