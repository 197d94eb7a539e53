"""A query as the rules see it: steps that make rows, and terms that make values.

DataFrame plans and SQL text are both translated to this, so that every rule is written once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
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
    SAMPLE = "sample"
    RENAME = "rename"
    OTHER = "other"


@dataclass(frozen=True)
class QueryStep:
    """One operator."""

    op: Operator
    inputs: tuple[QueryStep, ...] = ()
    outputs: tuple[Output, ...] = ()
    keys: tuple[Term, ...] = ()
    """What is grouped by, sorted by, or deduplicated by (all columns when empty)."""
    location: SourceLocation | None = None
    dataset: str | None = None
    """The dataset that a source reads."""
    streaming: bool = False
    format: str = ""
    """The format of a source that is no dataset ("jdbc", "parquet")."""
    path: str = ""
    schema: str = ""
    """DDL or JSON that a source's user gave, hints included."""
    infers_types: bool = False
    """Files whose columns' types are taken from the files themselves."""
    names: tuple[tuple[str, str], ...] = ()
    """A rename's (old, new) columns."""
    count: int | None = None
    """A limit, when it is a constant."""
    extra: tuple[QueryStep, ...] = field(default=())
    """Queries inside of expressions."""

    def walk(self) -> Iterator[QueryStep]:
        """The step and everything below it, subqueries included."""
        yield self
        for below in (*self.inputs, *self.extra):
            yield from below.walk()
        for output in (*self.outputs, *(Output(None, key) for key in self.keys)):
            for term, _ in output.term.walk():
                if term.query is not None:
                    yield from term.query.walk()
