"""Environment-dependence: why two regions that read the same files could hold different rows.

The rules look at the query's plan and at its SQL; see `finding` for each rule's words. A pipeline in
which none of them matches computes the same rows in every region, as far as they can see.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from proa.errors import SourceLocation
from proa.graph import query_from_sql, sql_text
from proa.graph.column_facts import ColumnFacts, rows_of_files, types_of_schema
from proa.graph.findings import finding as m
from proa.graph.findings.finding import Finding
from proa.graph.findings.rules import Hit, RuleContext, hits
from proa.graph.leaves import DatasetLeaf
from proa.graph.nodes import DatasetNode, FlowNode, Graph
from proa.graph.python_code import Use, declared_with, line_in_source
from proa.graph.query import Operator, Output, QueryStep
from proa.graph.query_from_plan import PlanReader
from proa.graph.table_options import options_of
from proa.pipelines.definitions import DatasetKind, Expectation, Replacement, SqlQuery
from proa.violations import Violation


def findings(
    graph: Graph,
    *,
    region_values: Mapping[str, str] | None = None,
    schemas: Mapping[str, Any] | None = None,
) -> tuple[Finding, ...]:
    """All findings of a pipeline, upstream datasets first.

    `region_values` are the values of configuration keys that each region sets for itself (the
    landing zone's path, a region's name), by key. `schemas` are the datasets' columns
    (`StructType`), where they are known; the rest is read off the queries as far as it goes.
    """
    context = RuleContext(ColumnFacts(), region_values or {})
    known = schemas or {}
    found: dict[Finding, None] = {}
    for name, node in graph.datasets.items():
        for finding in _Dataset(graph, node, context, known.get(name)).findings():
            if node.is_view and not _is_read(graph, name):
                continue
            found[finding] = None
    return tuple(found)


def _is_read(graph: Graph, view: str) -> bool:
    return any(view in flow.reads for node in graph.datasets.values() for flow in node.flows)


class _Dataset:
    """Finds what one dataset's queries and expectations depend on."""

    def __init__(self, graph: Graph, node: DatasetNode, context: RuleContext, schema: Any) -> None:
        self.graph = graph
        self.node = node
        self.context = context
        self.schema = schema or node.dataset.schema

    def findings(self) -> Iterator[Finding]:
        queries = [(flow, flow.plan.query) for flow in self.node.flows]
        for flow, query in queries:
            for hit in hits(query, self.context):
                yield self.finding(hit, _location_of(hit, flow))
            yield from self.flow_findings(flow)
        stored = () if self.node.is_view else self.node.dataset.expectations
        for expectation in stored:  # a view's are part of its query
            yield from self.expectation_findings(expectation, [query for _, query in queries])
        self.remember([query for _, query in queries])

    def finding(self, hit: Hit, location: SourceLocation) -> Finding:
        why = f"{hit.detail}: {hit.rule.why}" if hit.detail else hit.rule.why
        return Finding(
            hit.rule.code,
            hit.rule.severity,
            self.node.dataset.name,
            hit.column,
            hit.expression,
            location,
            why,
            hit.rule.remedy,
        )

    def flow_findings(self, flow: FlowNode) -> Iterator[Finding]:
        """What depends not on an expression but on how the flow runs."""
        at = flow.flow.location
        tables = [
            leaf.dataset
            for leaf in flow.plan.leaves
            if isinstance(leaf, DatasetLeaf) and not leaf.streaming
        ]
        for leaf in flow.plan.leaves:
            if isinstance(leaf, DatasetLeaf) and options_of(leaf).names_versions:
                text = f"{flow.flow.name} reads versions of {leaf.dataset}"
                yield self.finding(Hit(m.VERSIONS_OF_TABLES, None, text, at), at)
        if flow.flow.once and flow.plan.leaves:
            names = ", ".join(
                leaf.dataset if isinstance(leaf, DatasetLeaf) else leaf.path
                for leaf in flow.plan.leaves
            )
            yield self.finding(Hit(m.ONCE_FLOW, None, f"once: {names}", at), at)
        elif flow.plan.streaming and not self.node.is_view:
            for table in tables:
                text = f"{flow.flow.name} reads {table}"
                yield self.finding(Hit(m.STREAM_STATIC_JOIN, None, text, at), at)
        if not isinstance(flow.flow.query, SqlQuery):
            for visible, line in declared_with(flow.flow.query):
                rule = m.CLOCK if visible.use is Use.CLOCK else m.RANDOM
                where = SourceLocation(at.file, line)
                yield self.finding(Hit(rule, None, f"{visible.name}()", where), where)

    def expectation_findings(
        self, expectation: Expectation, queries: Sequence[QueryStep]
    ) -> Iterator[Finding]:
        """A rule that drops rows or fails must say the same in every region."""
        if expectation.violation is Violation.WARN:
            return
        at = expectation.location or self.node.dataset.location
        if isinstance(expectation.condition, str):
            term = query_from_sql.expression(sql_text.expression(expectation.condition), at).term
        else:
            reader = PlanReader(self.graph.names.find, sql_text.SqlTexts())
            term = reader.term(expectation.condition.to_plan(None))
        step = QueryStep(Operator.FILTER, tuple(queries), (Output(None, term),), location=at)
        for hit in hits(QueryStep(Operator.FILTER, (), step.outputs, location=at), self.context):
            yield self.finding(hit, hit.location or at)

    def remember(self, queries: Sequence[QueryStep]) -> None:
        """Keep what the queries say about the dataset's columns for those downstream."""
        facts, dataset = self.context.facts, self.node.dataset
        known = facts.types_of(QueryStep(Operator.UNION, tuple(queries)))
        facts.types[dataset.name] = {**known, **types_of_schema(self.schema)}
        facts.keys[dataset.name] = frozenset(self.keys(queries))

    def keys(self, queries: Sequence[QueryStep]) -> Iterator[frozenset[str]]:
        """The dataset's keys: declared, those of changes that are applied, those of its query."""
        dataset = self.node.dataset
        if dataset.primary_key:
            yield frozenset(name.lower() for name in dataset.primary_key)
        changes = [flow.flow.cdc for flow in self.node.flows]
        if any(isinstance(cdc, Replacement) for cdc in changes):
            return
        applied = {(cdc.keys, cdc.history) for cdc in changes if cdc is not None}
        if len(applied) == 1 and None not in changes:
            ((names, history),) = applied
            key = frozenset(name.lower() for name in names)
            yield key | {"__start_at"} if history else key
        elif len(queries) == 1 and (
            dataset.kind is not DatasetKind.STREAMING_TABLE or rows_of_files(queries[0])
        ):
            yield from self.context.facts.keys_of(queries[0])


def _location_of(hit: Hit, flow: FlowNode) -> SourceLocation:
    """The place, with the user's file named as the flow names it."""
    at, location = flow.flow.location, hit.location
    if location is not None:
        return (
            SourceLocation(at.file, location.line) if location.file.endswith(at.file) else location
        )
    if isinstance(flow.flow.query, SqlQuery):
        return at
    called = re.match(r"(?:a )?(\w+)", hit.expression)
    wanted = [f"{quote}{hit.column}{quote}" for quote in "'\"" if hit.column]
    wanted += [f"{called.group(1).lower()}("] if called else []
    for text in wanted:
        line = line_in_source(flow.flow.query, text)
        if line is not None:
            return SourceLocation(at.file, line)
    return at
