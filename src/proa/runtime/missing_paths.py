"""Folders that a query reads and that are not there: refused, where an engine would read no rows."""

from __future__ import annotations

import re
from pathlib import Path

from proa.errors import PipelineError, SourceLocation
from proa.graph import FlowNode, plan_proto
from proa.runtime.context import Context
from proa.runtime.sources import FilesSource
from proa.storage import is_url

_GLOB = re.compile(r"[*?\[{]")


def check_static_reads(node: FlowNode) -> None:
    """Look for the files that the engine itself reads. PipelineError when a path is not there."""
    for relation in plan_proto.relations(node.plan.template):
        if plan_proto.kind(relation) != "read" or not relation.read.HasField("data_source"):
            continue
        for path in relation.read.data_source.paths:
            if not _is_there(path):
                raise _missing(path, node, plan_proto.location(relation))


def check_source(source: FilesSource, node: FlowNode, context: Context) -> None:
    """Look for the folder of an Auto Loader's leaf.

    PipelineError when it is not there, and no shipment will make it.
    """
    folder = source.folder
    if not source.has_files and not _is_there(folder) and not context.may_come(folder):
        raise _missing(folder, node, None)


def _is_there(path: str) -> bool:
    """Whether a path on disk exists; buckets have no folders, and patterns may match later."""
    if is_url(path) or _GLOB.search(path):
        return True
    return Path(re.sub(r"^file:(?://)?", "", path)).exists()


def _missing(path: str, node: FlowNode, where: SourceLocation | None) -> PipelineError:
    return PipelineError(
        f"the flow {node.flow.name!r} reads {path!r}, which is not there; correct the path, or make"
        " the folder",
        condition="PATH_NOT_FOUND",
        location=where or node.flow.location,
    )
