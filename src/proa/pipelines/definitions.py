"""What a pipeline declares: datasets, flows and expectations. Frozen; declaring runs nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from proa.errors import SourceLocation


class DatasetKind(StrEnum):
    """What a dataset is."""

    STREAMING_TABLE = "STREAMING_TABLE"
    MATERIALIZED_VIEW = "MATERIALIZED_VIEW"
    TEMPORARY_VIEW = "TEMPORARY_VIEW"
    TABLE = "TABLE"
    """`@dlt.table`: a streaming table over a streaming query, else a materialized view. The graph
    decides, once the query is known; nothing after the graph sees this kind."""


class Violation(StrEnum):
    """What happens to a row that breaks an expectation."""

    WARN = "warn"
    DROP = "drop"
    FAIL = "fail"


@dataclass(frozen=True)
class Expectation:
    """A rule about each row of a dataset. A row for which it is not true (NULL included) breaks it."""

    name: str
    condition: Any
    """A Spark SQL expression (str) or a pyspark Column."""
    violation: Violation
    location: SourceLocation | None = None


@dataclass(frozen=True)
class Dataset:
    """A table or view that the pipeline makes."""

    name: str
    """As the user wrote it; may have several parts ("sales.orders")."""
    kind: DatasetKind
    location: SourceLocation
    comment: str | None = None
    schema: Any = None
    """A DDL string, a pyspark StructType or None (the query's own schema)."""
    partition_cols: tuple[str, ...] = ()
    cluster_by: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    spark_conf: Mapping[str, str] = field(default_factory=dict)
    path: str | None = None
    private: bool = False
    """Visible in the pipeline only (formerly `temporary`)."""
    expectations: tuple[Expectation, ...] = ()


@dataclass(frozen=True)
class SqlQuery:
    """A query written in SQL. `text` is the user's own, parameters `${key}` already replaced."""

    text: str
    location: SourceLocation
    """Where `text` begins."""


@dataclass(frozen=True)
class Flow:
    """A query that feeds a dataset."""

    name: str
    target: str
    query: Callable[[], Any] | SqlQuery
    """A function that returns a pyspark DataFrame, or SQL. It may be called at any time: it brings
    the surroundings that its file was loaded in."""
    location: SourceLocation
    once: bool = False
    comment: str | None = None
    spark_conf: Mapping[str, str] = field(default_factory=dict)
    implicit: bool = False
    """True for the flow that a decorated table or view brings along."""


@dataclass(frozen=True)
class Declarations:
    """Everything one pipeline declares, in the order in which it was declared."""

    datasets: tuple[Dataset, ...]
    flows: tuple[Flow, ...]
    configuration: Mapping[str, str] = field(default_factory=dict)
    """The pipeline's configuration. What `SET` adds is in its flows' `spark_conf`."""
    session: Any = field(default=None, compare=False, repr=False)
    """The `DeclaringSession` that the query functions were declared with; None for a new one."""
