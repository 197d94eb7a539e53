"""Streaming queries that remember rows between batches: which can be computed, and which are refused.

A batch is computed from the rows that arrived since the last one, so what looks across batches
needs state. Where the order of shipments decides everything (duplicates, windows that a watermark
closes) it comes out the same however batches are cut; see `stateful_plan`. An aggregation without a
watermark is computed anew from all rows, which is a table's own place (complete mode). Everything
else would come out otherwise, or is not built, and is refused by name with the remedy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from proa.engine.spark_functions import AGGREGATES
from proa.errors import PipelineError, SourceLocation
from proa.graph.query import JoinKind, Operator, QueryStep, Term, TermKind
from proa.graph.stateful_plan import CONDITION, WINDOWS

_WINDOW = (
    "group by a window of the watermark's column, or leave the watermark out: then the table is"
    " computed from all rows, and kept up to date"
)
_MATERIALIZE = "write the result as a materialized view, which is computed from all rows"
_TWO_FLOWS = "feed the streaming table by two flows, one of them once (once=True, INSERT INTO ONCE)"
_NEEDS_STATE = frozenset(
    {
        Operator.GROUP_FUNCTION,
        Operator.LIMIT,
        Operator.PIVOT,
        Operator.SET_OPERATION,
        Operator.SORT,
        Operator.STATISTICS,
    }
)
_VALUES = frozenset({Operator.PROJECT, Operator.EXTEND, Operator.FILTER})
_WITH_STATE = frozenset({Operator.AGGREGATE, Operator.DEDUPLICATE})
_STREAM_MUST_BE = {
    JoinKind.LEFT: "left",
    JoinKind.RIGHT: "right",
    JoinKind.LATERAL: "left",
    JoinKind.FULL: "nowhere",
}


@dataclass(frozen=True)
class StreamOperators:
    """What a query over streams needs besides the rows that are new."""

    remembers: bool
    """An operator needs state between batches."""
    recomputed: bool
    """An aggregation that nothing ends is computed from all rows."""


def check(query: QueryStep, location: SourceLocation) -> StreamOperators:
    """Look for operators over a stream that need more than new rows.

    `location` is used where the query does not say where its operator is written. Raises
    PipelineError for the first operator that cannot be computed over a stream.
    """
    checker = _Checker(location)
    checker.streams(query)
    if checker.stateful is not None and checker.recomputed is not None:
        checker.refuse_two(checker.recomputed.text, checker.recomputed)
    return StreamOperators(checker.stateful is not None, checker.recomputed is not None)


class _Checker:
    def __init__(self, location: SourceLocation) -> None:
        self.location = location
        self.stateful: QueryStep | None = None
        self.recomputed: QueryStep | None = None

    def streams(self, step: QueryStep) -> bool:
        """Whether the step's rows are a stream. Refuses what needs state on the way.

        Groups of all rows are none: what is above them is computed from all rows as well.
        """
        if step.operator is Operator.SOURCE:
            return step.streaming
        inputs = [self.streams(below) for below in step.inputs]  # each is checked
        self._beside(step)
        if not any(inputs):
            return False
        if step.operator in _NEEDS_STATE:
            self.refuse(f"{step.text} over a stream", step)
        if self._groups_all(step):
            self.recomputed = self.recomputed or step
            return False
        if step.operator in _WITH_STATE:
            self._with_state(step)
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
        if step.join is JoinKind.NEAREST:
            self.refuse(f"{step.text} over a stream", step)
        if left and right:
            if step.join is JoinKind.LATERAL:
                self.refuse("a lateral join of two streams", step)
            self._remember(step, "a join of two streams")
            return
        must_be = _STREAM_MUST_BE.get(step.join)
        if must_be == "nowhere":
            self.refuse("a full outer join over a stream", step)
        if must_be is not None and must_be != ("left" if left else "right"):
            self.refuse(
                f"an outer, semi, anti or lateral join with a table on the {must_be} side and a"
                " stream on the other",
                step,
            )

    def _groups_all(self, step: QueryStep) -> bool:
        """Whether the step aggregates rows that have no watermark."""
        if any(below.operator is Operator.WATERMARK for below in step.walk()):
            return False
        return step.operator is Operator.AGGREGATE or (
            step.operator in {Operator.PROJECT, Operator.EXTEND}
            and any(_aggregates(term) for term, _ in step.terms())
        )

    def _with_state(self, step: QueryStep) -> None:
        """Refuse what no window of event time ends, and one such operator over another."""
        if step.operator is Operator.AGGREGATE and not _ends(step):
            self.refuse(f"{step.text} over a stream", step, _WINDOW)
        if step.text == "UNION without ALL":
            self.refuse(f"{step.text} over streams", step, "use UNION ALL, and DISTINCT above it")
        self._remember(step, step.text)

    def _remember(self, step: QueryStep, text: str) -> None:
        if self.stateful is not None:
            self.refuse_two(text, step)
        self.stateful = step

    def refuse_two(self, text: str, step: QueryStep) -> NoReturn:
        """Refuse an operator because there is another one that looks across batches."""
        self.refuse(
            f"{text} over another operator with state",
            step,
            "let a streaming table of its own hold the result of the first one",
        )

    def _values(self, step: QueryStep) -> None:
        is_having = step.operator is Operator.FILTER and step.inputs[0] is self.stateful
        for term, _ in step.terms():
            if term.kind is TermKind.WINDOW:
                self.refuse("a window function over a stream", step, at=term.location)
            if _aggregates(term) and not is_having:
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


def _aggregates(term: Term) -> bool:
    return term.kind is TermKind.CALL and term.name in AGGREGATES


def _ends(step: QueryStep) -> bool:
    """Whether groups come to an end: by a window of event time, or by the event time itself."""
    if any(key.name == "grouping_id" for key in step.keys) or not step.named_values:
        return False
    windows = any(
        term.kind is TermKind.CALL and term.name in WINDOWS
        for key in step.keys
        for term, _ in key.walk()
    )
    return windows or any(key.kind is TermKind.COLUMN for key in step.keys)
