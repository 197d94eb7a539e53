"""Streaming queries that would need state between batches, refused by name with the remedy.

A batch is computed from the rows that arrived since the last one. What must look across batches
(aggregates, duplicates, joins of two streams, sorting, windows) would come out differently for
every way of cutting the batches, so it is refused, not computed wrongly.
"""

from __future__ import annotations

from typing import NoReturn

from proa.engine.spark_functions import AGGREGATES
from proa.errors import PipelineError, SourceLocation
from proa.graph.query import JoinKind, Operator, QueryStep, TermKind

CONDITION = "UNSUPPORTED_STREAMING_OPERATOR"

_MATERIALIZE = "write the result as a materialized view, which is computed from all rows"
_TWO_FLOWS = "feed the streaming table by two flows, one of them once (once=True, INSERT INTO ONCE)"
_NEEDS_STATE = frozenset(
    {
        Operator.AGGREGATE,
        Operator.DEDUPLICATE,
        Operator.GROUP_FUNCTION,
        Operator.LIMIT,
        Operator.PIVOT,
        Operator.SET_OPERATION,
        Operator.SORT,
        Operator.STATISTICS,
        Operator.WATERMARK,
    }
)
_VALUES = frozenset({Operator.PROJECT, Operator.EXTEND, Operator.FILTER})
_STREAM_MUST_BE = {
    JoinKind.LEFT: "left",
    JoinKind.RIGHT: "right",
    JoinKind.LATERAL: "left",
    JoinKind.FULL: "nowhere",
}


def check(query: QueryStep, location: SourceLocation) -> None:
    """Check that no operator over a stream needs state. Raises PipelineError for the first one.

    `location` is used where the query does not say where its operator is written.
    """
    _Checker(location).streams(query)


class _Checker:
    def __init__(self, location: SourceLocation) -> None:
        self.location = location

    def streams(self, step: QueryStep) -> bool:
        """Whether the step's rows are a stream. Refuses what needs state on the way."""
        if step.operator is Operator.SOURCE:
            return step.streaming
        inputs = [self.streams(below) for below in step.inputs]  # each is checked
        self._beside(step)
        if not any(inputs):
            return False
        if step.operator in _NEEDS_STATE:
            self.refuse(f"{step.text} over a stream", step)
        if step.operator is Operator.JOIN:
            self._join(step, *inputs)
        elif step.operator is Operator.UNION and not all(inputs):
            self.refuse("a union of a stream and a table", step, _TWO_FLOWS)
        elif step.operator in _VALUES:
            self._values(step)
        return True

    def _beside(self, step: QueryStep) -> None:
        """Refuse streams that are not an input: in a subquery, or in a relation beside it."""
        queries = [term.query for term, _ in step.terms() if term.query is not None]
        for query in (*step.extra, *queries):
            if self.streams(query):
                self.refuse(
                    "a subquery over a stream", query, "join the stream with a table instead"
                )

    def _join(self, step: QueryStep, left: bool, right: bool) -> None:  # noqa: FBT001
        if left and right:
            self.refuse("a join of two streams", step)
        if step.join is JoinKind.NEAREST:
            self.refuse(f"{step.text} over a stream", step)
        must_be = _STREAM_MUST_BE.get(step.join)
        if must_be == "nowhere":
            self.refuse("a full outer join over a stream", step)
        if must_be is not None and must_be != ("left" if left else "right"):
            self.refuse(
                f"an outer, semi, anti or lateral join with a table on the {must_be} side and a"
                " stream on the other",
                step,
            )

    def _values(self, step: QueryStep) -> None:
        for term, _ in step.terms():
            if term.kind is TermKind.WINDOW:
                self.refuse("a window function over a stream", step, at=term.location)
            if term.kind is TermKind.CALL and term.name in AGGREGATES:
                self.refuse(f"the aggregate {term.name}() over a stream", step, at=term.location)

    def refuse(
        self,
        what: str,
        step: QueryStep,
        remedy: str = _MATERIALIZE,
        *,
        at: SourceLocation | None = None,
    ) -> NoReturn:
        raise PipelineError(
            f"{what} would depend on how a region cuts its batches; {remedy}",
            condition=CONDITION,
            location=at or step.place or self.location,
        )
