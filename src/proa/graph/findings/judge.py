"""Verdicts: what a project's settings make of its findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from proa.graph.findings.finding import Finding, Severity
from proa.settings import AcceptedFinding


@dataclass(frozen=True)
class Verdicts:
    """Findings sorted by what they mean for this project."""

    errors: tuple[Finding, ...]
    """These forbid to run."""
    warnings: tuple[Finding, ...]
    accepted: tuple[tuple[Finding, str], ...]
    """With the team's reason."""
    unused: tuple[AcceptedFinding, ...]
    """Entries of `accept` that accept nothing."""

    @property
    def names(self) -> tuple[str, ...]:
        """The findings that nobody has accepted, as `CLOCK in gold`, each once."""
        open_ones = (*self.errors, *self.warnings)
        return tuple(sorted({f"{finding.code} in {finding.dataset}" for finding in open_ones}))


def judge(
    found: Sequence[Finding], dr_safety: str, accept: Sequence[AcceptedFinding] = ()
) -> Verdicts:
    """Sort findings by the project's settings.

    With `dr_safety` "error", findings of severity error are errors and the others warnings; with
    "warn", all are warnings; with "off", none count.
    """
    errors, warnings, accepted = [], [], []
    used: set[str] = set()
    reasons = {entry.finding.casefold(): entry for entry in accept}
    for finding in found:
        names = (f"{finding.code}:{finding.dataset}".casefold(), finding.code.casefold())
        entry = next((reasons[name] for name in names if name in reasons), None)
        if entry is not None:
            used.add(entry.finding)
            accepted.append((finding, entry.reason))
        elif dr_safety == "error" and finding.severity is Severity.ERROR:
            errors.append(finding)
        elif dr_safety != "off":
            warnings.append(finding)
    unused = tuple(entry for entry in accept if entry.finding not in used)
    return Verdicts(tuple(errors), tuple(warnings), tuple(accepted), unused)
