"""A query as the rules see it: steps that make rows, and terms that make values.

A flow's query is turned into this once, whether it is a DataFrame's plan or SQL text
(`query_from_plan`, `query_from_sql`). Statefulness, findings and what an engine lacks are rules
over it. A new operator is one entry here and in the translator of each language.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from proa.errors import SourceLocation


class TermKind(StrEnum):
    """What a term is."""

    CALL = "call"
    COLUMN = "column"
    LITERAL = "literal"
    CAST = "cast"
    WINDOW = "window"
    UDF = "udf"
    STAR = "star"
    SUBQUERY = "subquery"
    OTHER = "other"


@dataclass(frozen=True)
class Term:
    """An expression."""

    kind: TermKind
    name: str = ""
    """A function's name in lower case, a column's dotted name, a literal's text, a cast's type."""
    args: tuple[Term, ...] = ()
    text: str = ""
    """As the user would recognise it."""
    location: SourceLocation | None = None
    partition: tuple[Term, ...] = ()
    order: tuple[Term, ...] = ()
    """Of a window, or of an aggregate's WITHIN GROUP."""
    rows_frame: bool = False
    """A window whose frame counts rows, so that equal rows are told apart."""
    type: str = ""
    """A literal's type, when it is known."""
    function: Any = None
    """A user's function, as the plan carries it."""
    query: QueryStep | None = None

    @property
    def column(self) -> str:
        """A column's own name, without what it is qualified with; lower case."""
        return self.name.rpartition(".")[2].lower()

    def walk(self, above: tuple[Term, ...] = ()) -> Iterator[tuple[Term, tuple[Term, ...]]]:
        """The term and all inside it, each with the terms around it, innermost first."""
        yield self, above
        for part in (*self.args, *self.partition, *self.order):
            yield from part.walk((self, *above))


@dataclass(frozen=True)
class Output:
    """A term, and the column that it becomes, if it becomes one."""

    column: str | None
    term: Term


class Operator(StrEnum):
    """What a step does to its input's rows."""

    SOURCE = "source"
    PROJECT = "project"
    """Its outputs replace the columns."""
    EXTEND = "extend"
    """Its outputs are added to the columns."""
    FILTER = "filter"
    AGGREGATE = "aggregate"
    SORT = "sort"
    LIMIT = "limit"
    DEDUPLICATE = "deduplicate"
    JOIN = "join"
    UNION = "union"
    """All rows of all inputs."""
    SET_OPERATION = "set operation"
    """INTERSECT or EXCEPT."""
    PIVOT = "pivot"
    UNPIVOT = "unpivot"
    WATERMARK = "watermark"
    GROUP_FUNCTION = "group function"
    """A user's function that gets the rows of a group."""
    STATISTICS = "statistics"
    """One result over all rows: summary, correlation, transposing."""
    SAMPLE = "sample"
    RENAME = "rename"
    OTHER = "other"
    """Row by row, or unknown."""


class JoinKind(StrEnum):
    """Which rows of a join's two inputs are in its result."""

    INNER = "inner"
    LEFT = "left"
    """Left rows stay without a partner; semi and anti joins too."""
    RIGHT = "right"
    FULL = "full"
    LATERAL = "lateral"
    """The right side is computed for each row of the left side."""
    NEAREST = "nearest"
    """As-of and nearest-by joins: the partner depends on all rows of the right side."""


@dataclass(frozen=True)
class QueryStep:
    """One operator."""

    operator: Operator
    inputs: tuple[QueryStep, ...] = ()
    outputs: tuple[Output, ...] = ()
    keys: tuple[Term, ...] = ()
    """What is grouped by, sorted by, or deduplicated by (all columns when empty)."""
    location: SourceLocation | None = None
    text: str = ""
    """The operator as the user knows it: "GROUP BY", "a limit"."""
    dataset: str | None = None
    """The dataset that a source reads."""
    streaming: bool = False
    """Whether a source is read as a stream."""
    format: str = ""
    """The format of a source that is not a dataset ("jdbc", "parquet")."""
    path: str = ""
    schema: str = ""
    """DDL or JSON that a source's user gave, hints included."""
    infers_types: bool = False
    """Files whose columns' types are taken from the files themselves."""
    clock_options: tuple[str, ...] = ()
    """Options by which a region's start or clock chooses among a source's files."""
    names: tuple[tuple[str, str], ...] = ()
    """A rename's (old, new) columns."""
    count: int | None = None
    """A limit, when it is a constant."""
    join: JoinKind = JoinKind.INNER
    named_values: bool = True
    """Whether a pivot names its values."""
    extra: tuple[QueryStep, ...] = ()
    """Queries inside of expressions, and relations that are read beside the inputs."""

    def walk(self) -> Iterator[QueryStep]:
        """The step and everything below it, subqueries included."""
        yield self
        for below in (*self.inputs, *self.extra):
            yield from below.walk()
        for term, _ in self.terms():
            if term.query is not None:
                yield from term.query.walk()

    def terms(self) -> Iterator[tuple[Term, tuple[Term, ...]]]:
        """All terms of the step's outputs and keys, each with the terms around it."""
        for output in (*self.outputs, *(Output(None, key) for key in self.keys)):
            yield from output.term.walk()

    @property
    def place(self) -> SourceLocation | None:
        """Where the user wrote the step, or the first of its terms whose place is known."""
        return self.location or next(
            (term.location for term, _ in self.terms() if term.location is not None), None
        )
