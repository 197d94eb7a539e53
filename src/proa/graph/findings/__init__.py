"""Findings: why two regions that read the same files could hold different rows."""

from proa.graph.findings.finding import (
    RULES,
    SEQUENCE_TIES,
    Finding,
    Rule,
    Severity,
    Verdicts,
    judge,
)
from proa.graph.findings.search import findings

__all__ = ["RULES", "SEQUENCE_TIES", "Finding", "Rule", "Severity", "Verdicts", "findings", "judge"]
