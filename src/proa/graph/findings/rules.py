"""The rules: what in a query's steps and terms makes its result depend on where it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proa.engine import spark_functions as f
from proa.errors import SourceLocation
from proa.graph.column_facts import (
    ONE_ROW,
    ColumnFacts,
    Types,
    columns_of,
    is_float,
    is_total,
    is_tracked,
    naming,
    type_of,
)
from proa.graph.column_needs import ColumnNeeds
from proa.graph.findings import finding as m
from proa.graph.python_code import uses
from proa.graph.query import Operator, Output, QueryStep, Term, TermKind

_FILES = frozenset(
    {"parquet", "json", "csv", "text", "orc", "avro", "xml", "binaryfile", "delta", "iceberg"}
)
_REGION_FIELDS = frozenset({"file_path", "file_modification_time"})


@dataclass(frozen=True)
class Hit:
    """A rule's match, before it is known which dataset it belongs to."""

    rule: m.Rule
    column: str | None
    expression: str
    location: SourceLocation | None
    detail: str = ""


@dataclass(frozen=True)
class RuleContext:
    """What the rules need besides the query."""

    facts: ColumnFacts
    region_values: Mapping[str, str]
    """Values of configuration keys that each region sets for itself, by key."""


def hits(query: QueryStep, context: RuleContext) -> Iterator[Hit]:
    """All matches in a query, outer steps first."""
    needs = ColumnNeeds(query)
    for step in query.walk():
        yield from _step(step, context, needs)
        known = context.facts.input_types(step)
        for output in (*step.outputs, *(Output(None, key) for key in step.keys)):
            for term, above in output.term.walk():
                for rule, detail in _term(term, above, _Where(step, known, needs), context):
                    at = term.location or next(
                        filter(None, (part.location for part, _ in term.walk())),
                        next(filter(None, (part.location for part in above)), step.location),
                    )
                    yield Hit(rule, output.column, term.text, at, detail)


# -- steps ------------------------------------------------------------------------------------------


def _step(step: QueryStep, context: RuleContext, needs: ColumnNeeds) -> Iterator[Hit]:
    if step.operator is Operator.SAMPLE:
        yield Hit(m.RANDOM, None, "a sample", step.location)
    elif step.operator is Operator.LIMIT:
        yield from _limit(step, context.facts, needs)
    elif step.operator is Operator.DEDUPLICATE and step.keys and not _reads_stream(step):
        yield from _deduplicate(step, context.facts)
    elif step.operator is Operator.SOURCE and step.dataset is None and not is_tracked(step):
        what = f"{step.format} {step.path}".strip()
        rule = m.UNTRACKED_FILES if step.format in _FILES else m.EXTERNAL_LOOKUP
        yield Hit(rule, None, what, step.location)
    elif step.operator is Operator.SOURCE:
        for option in step.clock_options:
            yield Hit(m.FILES_BY_CLOCK, None, f"{option} of files {step.path}", step.location)
        # Hints are taken to pin the types of all columns.
        if step.infers_types and step.streaming and not step.schema:
            yield Hit(m.INFERRED_TYPES, None, f"files {step.path}", step.location)


def _limit(step: QueryStep, facts: ColumnFacts, needs: ColumnNeeds) -> Iterator[Hit]:
    keys = facts.keys_of(step.inputs[0])
    if step.count == 0 or ONE_ROW in keys:
        return
    below = step.inputs[0]
    while (
        below.operator in (Operator.PROJECT, Operator.EXTEND, Operator.RENAME, Operator.LIMIT)
        and below.inputs
    ):
        below = below.inputs[0]
    what = "LIMIT" if step.count is None else f"LIMIT {step.count}"
    if below.operator is not Operator.SORT:
        yield Hit(m.LIMIT_WITHOUT_TOTAL_ORDER, None, what, step.location, "there is no ORDER BY")
    elif not is_total(below.keys, (), facts.visible_keys(below.inputs[0]), _columns(below, needs)):
        order = ", ".join(key.text for key in below.keys)
        detail = f"rows may be equal in ORDER BY {order}"
        at = step.location or below.location
        yield Hit(m.LIMIT_WITHOUT_TOTAL_ORDER, None, what, at, detail)


def _columns(sort: QueryStep, needs: ColumnNeeds) -> tuple[str, ...] | None:
    """The columns of sorted rows that matter, by the names that the sort's keys have."""
    rows = sort.inputs[0]
    needed = needs.of(sort)
    columns = columns_of(rows) if needed is None else tuple(needed)
    if not columns:
        return None
    while rows.operator in (Operator.DEDUPLICATE, Operator.FILTER) and rows.inputs:
        rows = rows.inputs[0]
    keys = {naming(key) for key in sort.keys}
    sources = {o.column.lower(): naming(o.term) for o in rows.outputs if o.column is not None}
    return tuple(name if name in keys else sources.get(name, name) for name in columns)


def _reads_stream(step: QueryStep) -> bool:
    """Whether the rows come in the order of shipments, so that the first one is a fact."""
    return any(below.operator is Operator.SOURCE and below.streaming for below in step.walk())


def _deduplicate(step: QueryStep, facts: ColumnFacts) -> Iterator[Hit]:
    subset = {naming(key) for key in step.keys}
    columns = columns_of(step.inputs[0])
    if columns and set(columns) <= subset:
        return
    if any(key <= subset for key in facts.keys_of(step.inputs[0])):
        return
    names = ", ".join(key.text for key in step.keys)
    yield Hit(m.DUPLICATES_BY_SUBSET, None, f"dropDuplicates({names})", step.location)


# -- terms ------------------------------------------------------------------------------------------

Match = tuple[m.Rule, str]


@dataclass(frozen=True)
class _Where:
    """The step that a term is in, and what is known there."""

    step: QueryStep
    types: Types
    needs: ColumnNeeds


def _term(
    term: Term, above: tuple[Term, ...], where: _Where, context: RuleContext
) -> Iterator[Match]:
    if term.kind is TermKind.CALL:
        yield from _call(term, above, where, context.facts)
    elif term.kind is TermKind.COLUMN:
        yield from _column(term, above)
    elif term.kind is TermKind.WINDOW:
        yield from _window(term, where, context.facts)
    elif term.kind is TermKind.UDF:
        yield from _udf(term)
    elif term.kind is TermKind.LITERAL:
        yield from _literal(term, above, context)


def _call(
    term: Term, above: tuple[Term, ...], where: _Where, facts: ColumnFacts
) -> Iterator[Match]:
    name = term.name
    if name in f.CLOCK or (name in f.CLOCK_WITHOUT_ARGUMENTS and not term.args):
        yield m.CLOCK, ""
    elif name in f.RANDOM:
        yield m.RANDOM, ""
    elif name in f.ENVIRONMENT:
        yield m.ENVIRONMENT, ""
    elif name in f.EXTERNAL:
        yield m.EXTERNAL_LOOKUP, ""
    elif name in f.REGION_PATHS and not _is_normalised(above):
        yield m.REGION_METADATA, ""
    elif name in f.ORDER_DEPENDENT and not _order_forgotten(term, above, where.step, facts):
        yield m.ORDER_DEPENDENT_AGGREGATE, ""
    elif name in f.PICKS_A_ROW and len(term.args) > 1:
        order = term.args[1]
        parts = order.args if order.name in ("struct", "named_struct") else (order,)
        if not _order_is_total(term, parts, where.step, facts):
            text = f"rows may be equal in {order.text}"
            yield m.ORDER_DEPENDENT_AGGREGATE, text
    if name in f.FLOAT_SUMS and any(is_float(type_of(part, where.types)) for part in term.args):
        yield m.FLOAT_SUM, ""


def _order_is_total(term: Term, order: Sequence[Term], step: QueryStep, facts: ColumnFacts) -> bool:
    """Whether rows of a group that are equal in `order` give the aggregate the same value."""
    rows = step.inputs[0] if len(step.inputs) == 1 else None
    keys = facts.keys_of(rows) if rows is not None else frozenset()
    return is_total(order, step.keys, keys, {naming(term.args[0])} if term.args else ())


def _order_forgotten(
    term: Term, above: tuple[Term, ...], step: QueryStep, facts: ColumnFacts
) -> bool:
    """Whether the order in which the aggregate meets its rows does not show in the result."""
    if term.order:
        return _order_is_total(term, term.order, step, facts)
    if above and above[0].kind is TermKind.WINDOW:
        return bool(above[0].order)  # then it is a question of ties
    if term.name in f.MAKES_A_LIST:
        for outer in above:
            if outer.name in f.FORGETS_ORDER:
                # a comparison of one's own may find elements equal that are not
                return not any(part.name == "lambda" for part in outer.args)
            if outer.name not in f.KEEPS_ORDER:
                return False
        return False
    grouped = {naming(key) for key in step.keys}
    return bool(term.args) and naming(term.args[0]) in grouped


def _column(term: Term, above: tuple[Term, ...]) -> Iterator[Match]:
    parts = [part.strip("`").lower() for part in term.name.split(".")]
    if "_metadata" not in parts:
        return
    asked = parts[parts.index("_metadata") + 1 :]
    if asked and asked[0] not in _REGION_FIELDS:
        return
    if not _is_normalised(above):
        yield m.REGION_METADATA, "" if asked else "it holds the file's whole path"


def _is_normalised(above: tuple[Term, ...]) -> bool:
    return any(outer.name in f.NORMALISES_A_PATH for outer in above)


def _window(term: Term, where: _Where, facts: ColumnFacts) -> Iterator[Match]:
    step = where.step
    function = term.args[0].name
    counts_rows = term.rows_frame and function in f.AGGREGATES
    if function not in f.TIE_SENSITIVE and not counts_rows:
        return
    if not term.order:
        if function not in f.ORDER_DEPENDENT:  # those are found by their own rule
            yield m.TIES_IN_WINDOW, "the window has no ORDER BY"
        return
    rows = (
        step
        if step.operator is Operator.AGGREGATE
        else step.inputs[0]
        if len(step.inputs) == 1
        else None
    )
    keys = facts.visible_keys(rows) if rows is not None else frozenset()
    needed = None if rows is None or rows is step else where.needs.of(rows) or columns_of(rows)
    if not is_total(term.order, term.partition, keys, needed or None):
        order = ", ".join(key.text for key in term.order)
        yield m.TIES_IN_WINDOW, f"rows may be equal in ORDER BY {order}"


def _udf(term: Term) -> Iterator[Match]:
    if not term.function.deterministic:
        yield m.NONDETERMINISTIC_UDF, "it is declared as non-deterministic"
        return
    function = _load_function(term.function)
    for visible in uses(function) if function is not None else ():
        yield m.NONDETERMINISTIC_UDF, f"it uses {visible.use.value} ({visible.name})"


def _load_function(udf: Any) -> Callable[..., Any] | None:
    from pyspark import cloudpickle

    try:
        function = cloudpickle.loads(udf.python_udf.command)
    except Exception:  # noqa: BLE001 - whatever the user's code raises: it cannot be looked into
        return None
    found = function[0] if isinstance(function, tuple) else function
    return found if callable(found) else None


def _literal(term: Term, above: tuple[Term, ...], context: RuleContext) -> Iterator[Match]:
    casts = [outer.name for outer in above[:1] if outer.kind is TermKind.CAST]
    if casts and term.name.strip().lower() in ("now", "today", "yesterday", "tomorrow"):
        yield m.CLOCK, ""
    for key, value in context.region_values.items():
        if (
            term.type == "string"
            and value
            and (term.name == value or ("/" in value and value in term.name))
        ):
            yield m.REGION_CONFIGURATION, f"it is the value of {key!r}"
