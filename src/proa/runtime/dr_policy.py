"""What the project has agreed on about findings, and what an update makes of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proa.errors import PipelineError
from proa.graph.findings import Finding, Verdicts, judge
from proa.settings import LANDING_ZONE, AcceptedFinding, ProjectSettings

if TYPE_CHECKING:
    from proa.graph import Graph

_VOLATILE = frozenset(
    {
        "CLOCK",
        "RANDOM",
        "NONDETERMINISTIC_UDF",
        "EXTERNAL_LOOKUP",
        "UNTRACKED_FILES",
        "FILES_BY_CLOCK",
    }
)
"""Findings of what may be different next time although no table and no landed file is new."""


@dataclass(frozen=True)
class DrPolicy:
    """`dr_safety` and `accept` of a project; without a project nothing is looked for."""

    dr_safety: str = "off"
    accept: tuple[AcceptedFinding, ...] = ()
    regional_keys: frozenset[str] = field(default_factory=lambda: frozenset({LANDING_ZONE}))
    """The configuration keys that each region sets for itself."""

    @classmethod
    def of(cls, settings: ProjectSettings | None, unsaid: str = "warn") -> DrPolicy:
        """What the settings say; `unsaid` is the `dr_safety` of settings that do not say any."""
        if settings is None:
            return cls()
        return cls(settings.dr_safety or unsaid, settings.accept, settings.regional_keys)

    def regional(self, configuration: Mapping[str, str]) -> dict[str, str]:
        """What the configuration says that another region's would not."""
        keys = sorted(self.regional_keys)
        return {key: configuration[key] for key in keys if configuration.get(key)}

    def judge(self, found: Collection[Finding]) -> Verdicts:
        """Sort findings by what they mean for this project."""
        return judge(tuple(found), self.dr_safety, self.accept)


def volatile_datasets(graph: Graph, found: Collection[Finding]) -> frozenset[str]:
    """The datasets whose query may yield other rows although nothing that it reads is new."""
    names = {finding.dataset for finding in found if finding.code in _VOLATILE}
    for name, node in graph.datasets.items():
        views = {read for flow in node.flows for read in flow.reads if graph.datasets[read].is_view}
        if views & names:
            names.add(name)
    return frozenset(names)


def finding_sentence(finding: Finding) -> str:
    """A finding as one sentence, without its place."""
    where = finding.dataset if finding.column is None else f"{finding.dataset}.{finding.column}"
    return f"{where} depends on {finding.expression}, and {finding.why}; {finding.remedy}"


def refusal_of_findings(judged: Verdicts) -> PipelineError:
    """Why a pipeline with such findings is not run."""
    first, more = judged.errors[0], len(judged.errors) - 1
    others = f"; {more} more finding{'s' * (more != 1)}: `proa dry-run` shows them" if more else ""
    return PipelineError(
        f"{first.code}: {finding_sentence(first)}, or accept '{first.code}:{first.dataset}' with a reason in"
        f" proa.yml{others}",
        condition="ENVIRONMENT_DEPENDENT",
        location=first.location,
    )
