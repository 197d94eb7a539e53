"""The options of all files that a pipeline reads, looked at before anything runs."""

from __future__ import annotations

from proa.autoloader.options import parse
from proa.errors import PipelineError
from proa.graph import FilesLeaf, Graph


def check_options(graph: Graph) -> None:
    """Raise PipelineError, with the query's place, for the first option that is wrong."""
    for node in graph.datasets.values():
        for flow in node.flows:
            for leaf in flow.plan.leaves:
                if isinstance(leaf, FilesLeaf):
                    try:
                        parse(leaf.options, schema_given=leaf.schema is not None)
                    except PipelineError as error:
                        error.location = error.location or flow.flow.location
                        raise
