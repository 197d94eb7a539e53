"""Planning: declarations in, a checked dataflow graph out. Nothing runs."""

from proa.graph.build import build
from proa.graph.leaves import DatasetLeaf, FilesLeaf, Leaf
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
    "build",
]
