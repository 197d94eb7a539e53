"""Files that a batch query reads by path, which engines find nothing at without a word."""

from __future__ import annotations

import re
from pathlib import Path

from pyspark.sql.connect import proto

from proa.errors import PipelineError, SourceLocation
from proa.graph import plan_proto, sql_text
from proa.graph.leaves import FilesLeaf
from proa.graph.mistakes import Mistakes
from proa.graph.nodes import Graph
from proa.graph.plan import FlowPlan
from proa.graph.query_origin import QueryOrigin

_URL = re.compile(r"(?!file:|dbfs:)\w+://")
_GLOB = re.compile(r"[*?{\[]")


def check_all_paths(graph: Graph, mistakes: Mistakes) -> None:
    """Note the flows of a graph that read a path at which there is nothing."""
    for flow in graph.flows:
        with mistakes.collecting():
            check_paths(flow.plan, QueryOrigin.of(flow.flow))


def check_paths(plan: FlowPlan, origin: QueryOrigin) -> None:
    """Raise PipelineError (PATH_NOT_FOUND), at the reader's line, for a path that is not there."""
    for leaf in plan.leaves:
        if isinstance(leaf, FilesLeaf) and leaf.is_plain_read and not is_there(leaf.path):
            raise missing_path_error(leaf.path, _reader_line(leaf.path, origin))
    for part in plan_proto.walk(plan.template):
        paths: list[str] = []
        if isinstance(part, proto.Read) and part.WhichOneof("read_type") == "data_source":
            if part.data_source.format.lower() in sql_text.PATH_FORMATS | {""}:
                paths = list(part.data_source.paths)
        elif isinstance(part, proto.SQL):
            tables = sql_text.read(part.query).tables
            paths = [table.parts[1] for table in tables if sql_text.is_path(table.parts)]
        for path in paths:
            if not is_there(path):
                raise missing_path_error(path, _reader_line(path, origin))


def is_there(path: str) -> bool:
    """Whether a path on disk exists; buckets have no folders, and patterns may match later."""
    if _URL.match(path) or _GLOB.search(path):
        return True
    return Path(re.sub(r"^(?:file|dbfs):(?://)?", "", path)).exists()


def missing_path_error(path: str, location: SourceLocation | None) -> PipelineError:
    """The error for a path that is not there; to be raised by the caller."""
    return PipelineError(
        f"there is nothing at {path!r}, which the query reads; correct the path, or make the folder",
        condition="PATH_NOT_FOUND",
        location=location,
    )


def _reader_line(path: str, origin: QueryOrigin) -> SourceLocation:
    """Return the line of the query that reads a path, its own line if it cannot be told."""
    for words in (path, ".load(", "spark.read", "spark.sql("):
        line = origin.of_words(words)
        if line is not None:
            return line
    return origin.location
