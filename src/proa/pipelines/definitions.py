"""What a pipeline declares: datasets, flows and expectations. Frozen; declaring runs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, ClassVar

from proa.errors import SourceLocation
from proa.pipelines.sql.lexer import SqlText
from proa.violations import Violation


class DatasetKind(StrEnum):
    """What a dataset is."""

    STREAMING_TABLE = "STREAMING_TABLE"
    MATERIALIZED_VIEW = "MATERIALIZED_VIEW"
    TEMPORARY_VIEW = "TEMPORARY_VIEW"
    TABLE = "TABLE"
    """`@dlt.table`: a streaming table over a streaming query, else a materialized view. The graph
    decides, once the query is known; nothing after the graph sees this kind."""
    SINK = "SINK"
    """A place outside the pipeline that flows write to and nothing in it reads."""


@dataclass(frozen=True)
class Expectation:
    """A rule about each row of a dataset. A row for which it is not true (NULL included) breaks it."""

    name: str
    condition: Any
    """A Spark SQL expression (str) or a pyspark Column."""
    violation: Violation
    location: SourceLocation | None = None
    source: SqlText | None = field(default=None, compare=False, repr=False)
    """The condition as a part of its SQL file; None where it is written in Python."""


@dataclass(frozen=True)
class SinkPlace:
    """Where the rows of a sink go: to a Delta table, to topics of Kafka, or to a function."""

    format: str
    """`delta`, `kafka` or `foreachBatch`."""
    options: Mapping[str, str] = field(default_factory=dict)
    """By lower-case name."""
    function: Callable[[Any, int], Any] | None = None
    """Gets each batch as a DataFrame, and its number."""


@dataclass(frozen=True)
class GeneratedColumn:
    """A column that is computed from the row's other columns (GENERATED ALWAYS AS)."""

    name: str
    type: str
    """As DDL."""
    expression: str


@dataclass(frozen=True)
class Dataset:
    """A table or view that the pipeline makes, or a sink that it writes to."""

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
    primary_key: tuple[str, ...] = ()
    """Columns that the user says identify a row; nothing enforces it."""
    generated: tuple[GeneratedColumn, ...] = ()
    """Columns of the schema that the table computes."""
    sink: SinkPlace | None = None
    """Where a sink's rows go; None for what is not a sink."""


@dataclass(frozen=True)
class SqlQuery:
    """A query written in SQL. `text` is the user's own, parameters `${key}` already replaced."""

    text: str
    location: SourceLocation
    """Where `text` begins."""
    schema: tuple[str, ...] = ()
    """What USE has named above: the (catalog and) schema of names with one part."""
    source: SqlText | None = field(default=None, compare=False, repr=False)
    """`text` as a part of its file; None where it comes from elsewhere."""

    def place(self, offset: int) -> SourceLocation:
        """Where a character of `text` stands."""
        if self.source is not None:
            return self.source.place(offset)
        return SourceLocation(
            self.location.file, self.location.line + self.text.count("\n", 0, offset)
        )


@dataclass(frozen=True)
class ColumnChoice:
    """Some columns of a source: those named, or all but those named."""

    names: tuple[str, ...] = ()
    excluded: bool = False
    """Whether the names are those left out."""

    def of(self, columns: Iterable[str]) -> tuple[str, ...]:
        """Those of `columns` that are chosen; names are compared whatever their case."""
        named = {name.lower() for name in self.names}
        return tuple(column for column in columns if (column.lower() in named) != self.excluded)


@dataclass(frozen=True)
class AutoCdc:
    """How a flow's rows, which are changes, are applied to its target."""

    keys: tuple[str, ...]
    sequence_by: Any
    """What orders the changes of a key: Spark SQL (str) or a pyspark Column."""
    deletes: Any = None
    """A condition, SQL or Column: such a change deletes its key."""
    truncates: Any = None
    """A condition, SQL or Column: such a change deletes all rows that are older."""
    columns: ColumnChoice | None = None
    """The target's columns; None: the source's."""
    history: bool = False
    """SCD type 2."""
    tracked: ColumnChoice | None = None
    """Columns whose change opens a row of the history; None: all."""
    null_keeps: ColumnChoice | None = None
    """Columns of which NULL leaves the value as it was; None: no columns."""
    update_column: str | None = None
    """The column that names the columns which a change sets."""


@dataclass(frozen=True)
class SnapshotCdc:
    """How a flow's rows, which are all rows of a source, are compared with its target."""

    keys: tuple[str, ...]
    history: bool = False
    tracked: ColumnChoice | None = None
    next_snapshot: Callable[[Any], Any] | None = None
    """From the version applied last (None: nothing yet) to the next (DataFrame, version), or None.
    Without it the flow's query is the snapshot."""
    versions: tuple[Any, ...] | None = None
    """The versions that the query yields, oldest first; None when it yields one, without a number.
    Known once the graph is built."""


@dataclass(frozen=True)
class Replacement:
    """How a flow's rows take the place of all rows of their keys."""

    keys: tuple[str, ...]
    sequence: str
    """The column that says which rows of a key are newer."""
    history: ClassVar[bool] = False
    tracked: ClassVar[None] = None


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
    cdc: AutoCdc | SnapshotCdc | Replacement | None = None
    """How the rows are applied; None: they are the table's own."""
    depends_on: tuple[str, ...] = ()
    """Flows that must be completed before this one begins."""
    to_sink: bool = False
    """An update flow, which only a sink takes."""
    sql: SqlQuery | None = field(default=None, compare=False, repr=False)
    """The SQL that `query`, a function, adds something to: the expectations of a view."""


@dataclass(frozen=True)
class Declarations:
    """Everything one pipeline declares, in the order in which it was declared."""

    datasets: tuple[Dataset, ...]
    flows: tuple[Flow, ...]
    configuration: Mapping[str, str] = field(default_factory=dict)
    """The pipeline's configuration. What `SET` adds is in its flows' `spark_conf`."""
    session: Any = field(default=None, compare=False, repr=False)
    """The `DeclaringSession` that the query functions were declared with; None for a new one."""
