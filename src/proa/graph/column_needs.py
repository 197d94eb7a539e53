"""Which columns of each step's rows its query needs: what is left out cannot tell rows apart."""

from __future__ import annotations

from collections.abc import Iterable

from proa.graph.column_facts import naming
from proa.graph.query import Operator, Output, QueryStep, Term, TermKind

Needs = frozenset[str] | None
"""Names in lower case; None: all columns, or it is not known which."""

_PASSED_ON = (
    Operator.EXTEND,
    Operator.FILTER,
    Operator.JOIN,
    Operator.LIMIT,
    Operator.SAMPLE,
    Operator.SORT,
    Operator.UNION,
    Operator.WATERMARK,
)


class ColumnNeeds:
    """The columns that a query needs of each of its steps."""

    def __init__(self, query: QueryStep) -> None:
        self._needs: dict[int, Needs] = {}
        self._steps = [query]  # keeps the identities of steps that are compared by them
        self._visit(query, None)

    def of(self, step: QueryStep) -> Needs:
        """The columns of the step's rows that are needed above it."""
        return self._needs.get(id(step))

    def _visit(self, step: QueryStep, needed: Needs) -> None:
        seen = id(step) in self._needs  # a common table expression that is read twice
        known = self._needs.get(id(step))
        self._needs[id(step)] = _together(needed, known) if seen else needed
        below = _below(step, self._needs[id(step)])
        for each in step.inputs:
            self._visit(each, below)
        for query in step.extra:
            self._visit(query, None)
        for term, _ in step.terms():
            if term.query is not None:
                self._visit(term.query, None)


def _below(step: QueryStep, needed: Needs) -> Needs:
    """The columns that a step needs of its inputs."""
    if step.operator is Operator.AGGREGATE:
        return _columns((*(output.term for output in step.outputs), *step.keys))
    if step.operator is Operator.PROJECT:
        return _projected_needs(step.outputs, needed)
    if step.operator is Operator.DEDUPLICATE and step.keys:
        return _together(needed, _columns(step.keys))
    if step.operator is Operator.RENAME:
        names = {new.lower(): old.lower() for old, new in step.names}
        return None if needed is None else frozenset(names.get(name, name) for name in needed)
    if step.operator not in _PASSED_ON:
        return None
    kept = needed
    if step.operator is Operator.EXTEND and needed is not None:
        made = {output.column.lower() for output in step.outputs if output.column is not None}
        kept = frozenset(needed - made)
    terms = [output.term for output in step.outputs if _is_needed(output, needed)]
    return _together(kept, _columns((*terms, *step.keys)))


def _projected_needs(outputs: Iterable[Output], needed: Needs) -> Needs:
    outputs = tuple(outputs)
    made = {output.column.lower() for output in outputs if output.column is not None}
    found: Needs = frozenset()
    for output in outputs:
        if output.term.kind is TermKind.STAR:
            found = _together(found, None if needed is None else frozenset(needed - made))
        elif _is_needed(output, needed):
            found = _together(found, _columns([output.term]))
    return found


def _is_needed(output: Output, needed: Needs) -> bool:
    return needed is None or output.column is None or output.column.lower() in needed


def _columns(terms: Iterable[Term]) -> Needs:
    """The columns that the terms name."""
    found: set[str] = set()
    for term in terms:
        for part, above in term.walk():
            counts = bool(above) and above[0].name == "count"
            if part.kind is TermKind.SUBQUERY or (part.kind is TermKind.STAR and not counts):
                return None
            if part.kind is TermKind.COLUMN:
                found.add(naming(part))
    return frozenset(found)


def _together(one: Needs, other: Needs) -> Needs:
    return None if one is None or other is None else one | other
