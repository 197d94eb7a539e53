"""Both regions: how far each one is, whether it has caught up, and whether they are the same."""

from typing import TYPE_CHECKING

from proa.lazy import exports

if TYPE_CHECKING:
    from proa.recovery.by_storage import StoredRegion
    from proa.recovery.caught_up import CaughtUp, read_caught_up
    from proa.recovery.compare import Comparison, Rules
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
    "read_caught_up",
    "read_status",
    "rules_of",
    "verify",
]

__getattr__ = exports(
    __name__,
    {
        "CaughtUp": "caught_up",
        "Comparison": "compare",
        "RegionStatus": "region_status",
        "Rules": "compare",
        "SourceStatus": "region_status",
        "StoredRegion": "by_storage",
        "TableReport": "verification",
        "Verdict": "verification",
        "read_caught_up": "caught_up",
        "read_status": "region_status",
        "rules_of": "verification",
        "verify": "verification",
    },
)
