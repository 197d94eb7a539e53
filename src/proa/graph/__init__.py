"""Planning: declarations in, a checked dataflow graph out. Nothing runs."""

from typing import TYPE_CHECKING

from proa.lazy import exports

if TYPE_CHECKING:
    from proa.graph.leaves import DatasetLeaf, FilesLeaf, Leaf, TableLeaf
    from proa.graph.nodes import DatasetNode, FlowNode, Graph, Selection
    from proa.graph.plan import FlowPlan

__all__ = [
    "DatasetLeaf",
    "DatasetNode",
    "FilesLeaf",
    "FlowNode",
    "FlowPlan",
    "Graph",
    "Leaf",
    "Selection",
    "TableLeaf",
]

__getattr__ = exports(
    __name__,
    {
        "DatasetLeaf": "leaves",
        "TableLeaf": "leaves",
        "DatasetNode": "nodes",
        "FilesLeaf": "leaves",
        "FlowNode": "nodes",
        "FlowPlan": "plan",
        "Graph": "nodes",
        "Leaf": "leaves",
        "Selection": "nodes",
    },
)
