"""Both regions: how far each one is, whether it has caught up, and whether they are the same."""

from proa.recovery.by_storage import StoredRegion
from proa.recovery.caught_up import CaughtUp, read_caught_up
from proa.recovery.compare import Comparison, Rules, compare
from proa.recovery.region_status import RegionStatus, SourceStatus, read_status
from proa.recovery.verification import TableReport, Verdict, rules_of, verify

__all__ = [
    "CaughtUp",
    "Comparison",
    "RegionStatus",
    "Rules",
    "SourceStatus",
    "StoredRegion",
    "TableReport",
    "Verdict",
    "compare",
    "read_caught_up",
    "read_status",
    "rules_of",
    "verify",
]
