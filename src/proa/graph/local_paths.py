"""Files on this machine that a batch query reads by path: are they there?"""

from __future__ import annotations

import re
from pathlib import Path

from pyspark.sql.connect import proto

from proa.errors import PipelineError, SourceLocation
from proa.graph import plan_proto, sql_text
from proa.graph.plan import FlowPlan
from proa.graph.query_origin import QueryOrigin

CONDITION = "PATH_NOT_FOUND"

_GLOB = re.compile(r"[*?{\[]")


def check_paths(plan: FlowPlan, origin: QueryOrigin) -> None:
    """Raise PipelineError (PATH_NOT_FOUND) for a path that the engine would find nothing at."""
    for part in plan_proto.walk(plan.template):
        if isinstance(part, proto.Read) and part.WhichOneof("read_type") == "data_source":
            source = part.data_source
            paths = list(source.paths)
            if source.format.lower() in sql_text.PATH_FORMATS | {""} and not part.is_streaming:
                _check(paths, origin)
        elif isinstance(part, proto.SQL):
            tables = sql_text.read(part.query).tables
            _check([t.parts[1] for t in tables if sql_text.is_path(t.parts)], origin)


def _check(paths: list[str], origin: QueryOrigin) -> None:
    for path in paths:
        local = re.sub(r"^(file|dbfs):(//)?(?=/)", "", path)
        if "://" in local or not local.startswith("/") or _GLOB.search(local):
            continue
        if not Path(local).exists():
            raise PipelineError(
                f"there is nothing at {path!r}, which the query reads; correct the path, or put the"
                " files there",
                condition=CONDITION,
                location=_reader_line(path, origin),
            )


def _reader_line(path: str, origin: QueryOrigin) -> SourceLocation:
    """Return the line of the query that reads a path, its own line if it cannot be told."""
    for words in (path, ".load(", "spark.read", "spark.sql("):
        line = origin.of_words(words)
        if line is not None:
            return line
    return origin.location
