"""Both regions: how far each one is, whether it has caught up, and whether they are the same."""

from proa.recovery.caught_up import Answer, read_caught_up
from proa.recovery.compare import Comparison, Rules, compare
from proa.recovery.regions import RawFile, Region
from proa.recovery.status import RegionStatus, SourceStatus, read_status
from proa.recovery.verify import TableReport, Verdict, rules_of, verify

__all__ = [
    "Answer",
    "Comparison",
    "RawFile",
    "Region",
    "RegionStatus",
    "Rules",
    "SourceStatus",
    "TableReport",
    "Verdict",
    "compare",
    "read_caught_up",
    "read_status",
    "rules_of",
    "verify",
]
