"""Plans made by hand: protobuf trees that need no server to build."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyspark.sql.connect import proto
from pyspark.sql.connect.dataframe import DataFrame
from pyspark.sql.connect.plan import LogicalPlan, MapPartitions
from pyspark.sql.connect.udf import UserDefinedFunction
from pyspark.sql.types import StructType
from pyspark.util import PythonEvalType

from proa.text import quote_identifier


class _Ready(LogicalPlan):  # type: ignore[misc]
    """A plan that is a finished relation."""

    def __init__(self, relation: Any) -> None:
        super().__init__(None)
        self._relation = relation

    def plan(self, session: Any) -> Any:  # noqa: ARG002 - pyspark's signature
        return self._relation


def dataframe(relation: Any, spark: Any) -> Any:
    """A DataFrame of `spark` over a finished relation."""
    return DataFrame(_Ready(relation), spark)


def is_drawing(relation: Any) -> bool:
    """Whether a plan yields one text that shows rows (`show()`); servers tell no columns of it."""
    return relation.WhichOneof("rel_type") in {"show_string", "html_string"}


def is_drawn(frame: Any) -> bool:
    """Whether a DataFrame over a finished relation is a text that shows rows."""
    return isinstance(frame._plan, _Ready) and is_drawing(frame._plan._relation)  # noqa: SLF001


def relation_of(frame: Any) -> Any:
    """The plan of a DataFrame, as a relation."""
    return frame._plan.plan(frame.sparkSession.client)  # noqa: SLF001 - pyspark has no other way


def parquet_relation(urls: Sequence[str], schema: Any) -> Any:
    """A relation that reads Parquet files as `schema`, a pyspark StructType."""
    relation = proto.Relation()
    relation.read.data_source.format = "parquet"
    relation.read.data_source.schema = schema.json()
    relation.read.data_source.paths.extend(urls)
    return relation


def delta_relation(path: str, version: int | None = None) -> Any:
    """A relation that reads a Delta table at a path or URL, at a version or as it is now."""
    relation = proto.Relation()
    relation.read.data_source.format = "delta"
    relation.read.data_source.paths.append(path)
    if version is not None:
        relation.read.data_source.options["versionAsOf"] = str(version)
    return relation


def empty_relation(schema: Any) -> Any:
    """A relation with the columns of `schema`, a pyspark StructType, and no rows."""
    relation = proto.Relation()
    relation.local_relation.schema = schema.json()
    return relation


def map_in_arrow(
    frame: Any, function: Any, schema: StructType, columns: Sequence[str] | None = None
) -> Any:
    """Apply a function to a frame's rows as Arrow batches, whatever the columns' names are.

    `columns` are the names of the frame's columns; the engine is asked for them where they are not
    known. The client would ask in any case, and name them as a user would write them, so that "a.b"
    were a field of "a".
    """
    names = frame.columns if columns is None else columns
    mapping = UserDefinedFunction(function, schema, evalType=PythonEvalType.SQL_MAP_ARROW_ITER_UDF)
    plan = MapPartitions(
        frame._plan,  # noqa: SLF001 - pyspark has no other way
        mapping,
        [quote_identifier(name) for name in names],
        is_barrier=False,
        profile=None,
    )
    return DataFrame(plan, frame.sparkSession)
