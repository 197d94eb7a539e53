"""Folders that a query reads and that are not there: refused, where an engine would read no rows.

Apart because it alone tells a missing folder from an empty one.
"""

from __future__ import annotations

from proa.graph import FlowNode
from proa.graph.local_paths import check_paths, is_there, missing
from proa.graph.query_origin import QueryOrigin
from proa.runtime.context import Context
from proa.runtime.sources import FilesSource


def check_static_reads(node: FlowNode) -> None:
    """Look for the files that the engine itself reads. PipelineError when a path is not there."""
    check_paths(node.plan, QueryOrigin.of(node.flow))


def check_source(source: FilesSource, node: FlowNode, context: Context) -> None:
    """Look for the folder of an Auto Loader's leaf.

    PipelineError when it is not there, and no shipment will make it.
    """
    folder = source.folder
    if not source.has_files and not is_there(folder) and not context.may_come(folder):
        raise missing(folder, node.flow.location)
