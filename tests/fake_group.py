"""A group of two regions that obey at once, with a real control record, for tests of who changes roles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from proa.errors import UnavailableError
from proa.recovery.caught_up import CaughtUp
from proa.recovery.control_record import ControlRecord, ControlStore, Operation
from proa.recovery.controller import Controller, Request
from proa.recovery.driver import Role
from proa.recovery.region_status import RegionStatus, SourceStatus
from proa.recovery.region_view import Loss, Proof
from proa.settings import ControlSettings, ProjectSettings, RecoverySettings, RegionSettings
from proa.testing import FakeClock


@dataclass
class World:
    """Two regions that obey at once, unless they are silent."""

    roles: dict[str, Role] = field(
        default_factory=lambda: {"east": Role.ACTIVE, "west": Role.STANDBY}
    )
    behind: dict[str, int] = field(default_factory=lambda: {"east": 0, "west": 3})
    silent: set[str] = field(default_factory=set)
    full: set[str] = field(default_factory=set)
    """Regions that answer and take no change: their disk is full."""
    equal: bool = True
    missing_s: float = 0.0
    loss_is_told_after_drain: bool = True
    consumers: str = "east"
    arriving: int = 0
    """Files that land in each region whenever one is drained, behind what it reads."""
    landed: int = 3
    waiting_s: dict[str, float] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    def _answers(self, region: str, what: str) -> None:
        self.calls.append(f"{what} {region}")
        if region in self.silent:
            raise UnavailableError(f"{region} does not answer")
        if region in self.full and what in {"fence", "drain", "activate", "demote"}:
            raise UnavailableError(f"the state of {region} does not answer")

    def role(self, region: str) -> Role:
        self._answers(region, "role")
        return self.roles[region]

    def fence(self, region: str) -> None:
        self._answers(region, "fence")
        self.roles[region] = Role.FENCED

    def drain(self, region: str, through: Mapping[str, int] | None = None) -> None:
        self._answers(region, "drain")
        self.landed += self.arriving
        self.behind[region] = self.arriving

    def activate(self, region: str) -> None:
        self._answers(region, "activate")
        self.roles[region] = Role.ACTIVE

    def demote(self, region: str) -> None:
        self._answers(region, "demote")
        self.roles[region] = Role.STANDBY

    def repoint(self, region: str) -> None:
        self.consumers = region

    def explain(self, region: str) -> list[str]:
        return []

    def drift(self, active: str) -> list[str]:
        return [] if self.consumers == active else [f"{self.consumers} is read"]

    def status(self, region: str) -> RegionStatus:
        self._answers(region, "status")
        files = self.behind[region]
        waits = self.waiting_s.get(region, 0.0)
        landed = self.landed
        source = SourceStatus(
            "s", landed, landed, landed - files, files, 0, None, waits, waiting=waits
        )
        return RegionStatus(region, (source,))

    def caught_up(self, region: str, as_of: datetime) -> CaughtUp:
        self._answers(region, "caught_up")
        return CaughtUp(region, as_of, not self.behind[region], "so it is", None)

    def loss(self, region: str) -> Loss:
        if not self.loss_is_told_after_drain and f"drain {region}" in self.calls:
            raise UnavailableError("the source does not answer")
        return Loss(
            int(self.missing_s > 0), 1, self.missing_s, certain=True, sentence="1 file is missing"
        )

    def prove(self, left: str, right: str) -> Proof:
        self._answers(left, "prove")
        return Proof(self.equal, f"{left} and {right} are {'equal' if self.equal else 'not equal'}")


@dataclass
class Group:
    """A group of two regions, its record in a third place or in both regions."""

    folder: Path
    clock: FakeClock
    world: World = field(default_factory=World)
    third_place: bool = True
    recovery: dict[str, Any] = field(default_factory=dict)
    """More settings below `recovery`."""

    @property
    def settings(self) -> ProjectSettings:
        regions = {
            name: RegionSettings(
                landing_zone=f"{self.folder}/{name}/landing",
                storage=f"{self.folder}/{name}/storage",
            )
            for name in ("east", "west")
        }
        control = ControlSettings(path=f"{self.folder}/third") if self.third_place else None
        return ProjectSettings(
            regions=regions, recovery=RecoverySettings(control=control, **self.recovery)
        )

    def controller(
        self, who: str = "ada", tell: Callable[[str], None] = lambda _sentence: None
    ) -> Controller:
        """A new process, on whatever machine."""
        world = self.world
        return Controller(
            self.settings, self.store(), world, world, self.clock, who, consumers=world, tell=tell
        )

    def store(self) -> ControlStore:
        return ControlStore.of(self.settings)

    def begin(self, operation: Operation, target: str, **options) -> ControlRecord:
        return self.controller().begin(Request(operation, target, **options))

    def lose(self, region: str) -> None:
        self.world.silent.add(region)
        place = self.folder / region
        place.rename(place.with_name(f"{region}-lost"))

    def give_back(self, region: str) -> None:
        self.world.silent.discard(region)
        place = self.folder / f"{region}-lost"
        place.rename(place.with_name(region))
