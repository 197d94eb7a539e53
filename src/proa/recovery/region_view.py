"""The port through which the controller sees regions, and the view of their storages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from proa.clock import Clock
from proa.recovery.by_storage import StoredRegion
from proa.recovery.caught_up import CaughtUp, read_caught_up
from proa.recovery.proof_report import table_facts
from proa.recovery.region_status import RegionStatus, ShipmentOrder, read_order, read_status
from proa.recovery.verification import Verdict, rules_of, verify
from proa.settings import ProjectSettings


@dataclass(frozen=True)
class Loss:
    """What a region would not have if the others were gone now."""

    files: int
    """Shipped, and not in the region's landing zone."""
    bytes: int
    seconds: float
    """How old the oldest of them is; with `certain` False, how old the newest that landed is."""
    certain: bool
    """False: the source does not answer, and more may have been shipped than anybody knows."""
    sentence: str
    bounded: bool = True
    """False: how old is not known, since no file has landed or the clock that dated them is ahead."""

    def exceeds(self, bound: float) -> bool:
        """Whether more may be missing than a bound in seconds allows; 0 allows no file."""
        if self.certain and not self.files:
            return False
        return not self.bounded or self.seconds > max(bound, 0.0) or bound <= 0


@dataclass(frozen=True)
class Proof:
    """Whether two regions hold the same rows."""

    equal: bool | None
    """None: nothing could be compared, since one of them is lost."""
    sentence: str
    behind: bool = False
    """No table was found to differ; some cannot be compared before a region has read more files."""
    tables: Mapping[str, Any] = field(default_factory=dict)
    """By table what `proof_report.table_facts` says."""


class RegionsView(Protocol):
    """What the controller asks about regions."""

    def status(self, region: str) -> RegionStatus:
        """How far a region is. Its `error` says why nothing is known."""

    def caught_up(self, region: str, as_of: datetime) -> CaughtUp:
        """Whether a region has processed everything up to a moment."""

    def loss(self, region: str) -> Loss:
        """What would be missing in a region if the others were gone now."""

    def prove(self, left: str, right: str) -> Proof:
        """Compare the tables of two regions. Raises UnavailableError when one does not answer."""


class StorageView:
    """Regions as their storages and landing zones show them."""

    def __init__(self, settings: ProjectSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock

    def status(self, region: str) -> RegionStatus:
        (status,) = read_status(self._settings, self._clock, [region])
        return status

    def caught_up(self, region: str, as_of: datetime) -> CaughtUp:
        return read_caught_up(self._settings, region, as_of, self._clock)

    def loss(self, region: str) -> Loss:
        here = StoredRegion.for_looks(region, self._settings.region(region))
        orders = [read_order(self._settings, source) for source in self._settings.sources]
        landed = [(order, here.manifest(order.source).num_rows) for order in orders]
        return loss_of(region, landed, self._clock.now())

    def prove(self, left: str, right: str) -> Proof:
        regions = [StoredRegion(name, self._settings.region(name)) for name in (left, right)]
        settings = self._settings.verify
        reports = list(verify(regions[0], regions[1], lambda table: rules_of(settings, table)))
        equal = all(report.verdict is Verdict.EQUAL for report in reports)
        lagging = [r for r in reports if r.verdict is not Verdict.EQUAL]
        behind = all(r.verdict is Verdict.BEHIND and any(r.behind) for r in lagging)
        sentence = "; ".join(r.sentence for r in reports if r.verdict is not Verdict.EQUAL)
        both = f"{left} and {right}"
        return Proof(
            equal,
            f"{both} are equal: {len(reports)} tables" if equal else f"{both} differ: {sentence}",
            behind=bool(lagging) and behind,
            tables={
                report.table: table_facts(report, rules_of(settings, report.table))
                for report in reports
            },
        )


def open_view(settings: ProjectSettings, clock: Clock) -> RegionsView:
    """The view that `proa.yml` asks for."""
    if settings.recovery is not None and settings.recovery.view == "api":
        from proa.recovery.by_api import ApiView

        return ApiView(settings, clock)
    return StorageView(settings, clock)


_MOST_SKEW_S = 60.0
"""By how much clocks may disagree before an age that is computed from two of them says nothing."""


def loss_of(region: str, landed: Sequence[tuple[ShipmentOrder, int]], now: datetime) -> Loss:
    """What is shipped and not landed: for each source, its order and how many files have landed."""
    files, size, certain, ages, why = 0, 0, True, [0.0], ""
    for order, count in landed:
        stamps, missing = order.table["shipped_at"], order.table.slice(count)
        files += missing.num_rows
        size += sum(missing["size"].to_pylist())
        dated = [count] if missing.num_rows else []
        if not order.whole:
            certain = False
            dated += [count - 1] if 0 < count <= order.head else []
            if not count:
                why = f"no file of {order.source} has landed there"
        for place in dated:
            ages.append((now - stamps[place].as_py()).total_seconds())
            if ages[-1] < -_MOST_SKEW_S:
                why = (
                    f"the clock that dated the files of {order.source} is {-ages[-1]:,.0f} s or more ahead"
                    " of this one"
                )
    loss = Loss(files, size, max(ages), certain, "", bounded=not why)
    return replace(loss, sentence=_loss_sentence(region, loss, why))


def _loss_sentence(region: str, loss: Loss, why: str) -> str:
    """Say what would be missing; `why` says why the age is not known, where it is not."""
    missing = f"{loss.files} shipped files ({loss.bytes:,} bytes) have not landed in {region}"
    if loss.certain and not loss.files:
        return f"nothing would be missing in {region}: everything that was shipped has landed there"
    if loss.certain:
        age = f"the oldest was shipped {loss.seconds:,.0f} s ago"
        return f"{missing}; {f'how old they are is not known: {why}' if why else age}"
    age = f"the newest file that landed in {region} was shipped {loss.seconds:,.0f} s ago"
    known = f", and {loss.files} files that are known have not landed" if loss.files else ""
    return (
        "the source does not answer, so what was shipped since is not known:"
        f" {f'{why} ({region})' if why else age}{known}"
    )
