"""Drills and changes of roles in a row, over real manifests, tables, proofs and control records.

Each has a fault at some step of the controller, of shipping or of a store, and files arrive meanwhile; at
times the active region is lost first. A set checker compares what consumers read with what was shipped.
`PROA_DRILLS=100` runs that many, another `PROA_DRILL_SEED` runs others.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from deltalake import DeltaTable
from test_controller import STEPS

from proa.errors import ProaError, UnavailableError
from proa.recovery.control_record import ControlRecord, ControlStore, Operation
from proa.recovery.controller import Controller, Request
from proa.recovery.driver import Role
from proa.recovery.region_view import StorageView
from proa.settings import ControlSettings, ProjectSettings, RecoverySettings
from proa.steps import Step, probing
from proa.testing import Fail, FakeClock, Fault, FaultProbe, Kill, Killed, LoseAnswer, When
from two_region_project import Project, new_project

pytestmark = pytest.mark.slow

DRILLS = int(os.environ.get("PROA_DRILLS", "30"))
SEED = int(os.environ.get("PROA_DRILL_SEED", "10"))
SHIP = [step for step in Step if step.startswith("ship.")]


@dataclass
class DrillGround:
    """Both regions, what runs them, their operators and a consumer."""

    project: Project
    random: np.random.Generator
    third_place: bool
    roles: dict[str, Role] = field(
        default_factory=lambda: {"east": Role.ACTIVE, "west": Role.STANDBY}
    )
    files: int = 0
    lost: str | None = None
    done: Counter[str] = field(default_factory=Counter)
    read: tuple[int, int] = (0, 0)
    """The newest epoch that the consumer has seen, and how many rows in it."""

    @property
    def settings(self) -> ProjectSettings:
        control = ControlSettings(path=f"{self.project.base}/third") if self.third_place else None
        recovery = RecoverySettings(control=control)
        return self.project.settings.model_copy(update={"recovery": recovery})

    def controller(self) -> Controller:
        """A new process, on whatever machine."""
        settings, clock = self.settings, self.project.clock
        view = StorageView(settings, clock)
        return Controller(settings, ControlStore.of(settings), self, view, clock, "ada")

    # -- the regions, as a driver flips them --------------------------------------------------------

    def _set(self, region: str, role: Role) -> None:
        if region == self.lost:
            raise UnavailableError(f"{region} does not answer")
        self.roles[region] = role

    def role(self, region: str) -> Role:
        self._set(region, self.roles[region])
        return self.roles[region]

    def fence(self, region: str) -> None:
        self._set(region, Role.FENCED)

    def activate(self, region: str) -> None:
        self._set(region, Role.ACTIVE)

    def demote(self, region: str) -> None:
        self._set(region, Role.STANDBY)

    def drain(self, region: str, through: Mapping[str, int] | None = None) -> None:
        """One batch of all that has landed; files go on arriving before and after."""
        self._set(region, self.roles[region])
        with probing(FaultProbe()):
            self.arrive()
            self.update(region, None if through is None else through["orders"])
            self.arrive()

    def update(self, region: str, last: int | None = None) -> None:
        """One batch of the region's new files, through file number `last`.

        What strikes an update itself is the matter of the runtime's tests: these batches are two commits
        that nobody would finish.
        """
        with probing(FaultProbe()):
            self._process(region, last)

    def _process(self, region: str, last: int | None) -> None:
        status = StorageView(self.settings, self.project.clock).status(region)
        if status.error is not None:
            raise status.error
        (source,) = status.sources
        landed = self.project.region(region).manifest("orders")["path"].to_pylist()
        new = landed[source.processed : len(landed) if last is None else last]
        if new:
            self.project.process(region, *(int(path.removesuffix(".json")) for path in new))

    # -- what happens -------------------------------------------------------------------------------

    def arrive(self) -> None:
        """New files at the source; shipped to the zones that are there."""
        numbers = range(self.files, self.files + self.random.integers(3))
        self.project.arrive(*numbers)
        self.files += len(numbers)
        self.project.ship()
        active = ControlStore.of(self.settings).read()
        at_work = "east" if active is None else active.active
        if at_work != self.lost and self.roles[at_work] is Role.ACTIVE:
            self.update(at_work)

    def strike(self, act: Callable[[], object]) -> Fault | None:
        """Do something under a fault. Returns the fault, if it has come to pass."""
        fault = self.fault()
        probe = FaultProbe(fault)
        try:
            with probing(probe):
                act()
        except (Killed, ProaError) as error:
            if not probe.struck and self.lost is None:
                raise AssertionError("nothing was struck") from error
        return fault if probe.struck else None

    def fault(self) -> Fault:
        stores = [Step.STORE_READ, Step.STORE_WRITE]
        steps = (STEPS, SHIP, stores)[self.random.integers(3)]
        chosen = steps[self.random.integers(len(steps))]
        at = int(self.random.integers(1, 60 if chosen in stores else 4))
        kind = self.random.integers(4)
        if kind < 2:
            return Kill(chosen, list(When)[kind], at)
        return (Fail, LoseAnswer)[kind - 2](chosen, at)

    def drill(self) -> None:
        """One change of roles or drill, whatever strikes it; then everything that was shipped is read."""
        record = self.controller().record()
        standby = "west" if record.active == "east" else "east"
        operation = list(Operation)[self.random.integers(len(Operation))]
        if operation is Operation.FAILOVER and self.random.integers(2):
            self.lose(record.active)
        what = f"{operation} of a lost region" if self.lost else str(operation)
        request = Request(operation, standby, force=True, patience=60.0)
        fault = self.strike(lambda: (self.arrive(), self.controller().begin(request)))
        self.read_as_consumer()
        self.finish(request, record)
        if self.lost is not None:
            self.give_back()
        after = self.controller().resume()
        assert (after.is_steady, after.owed) == (True, ())
        moved = operation is not Operation.DRILL
        assert (after.active, after.epoch) == (
            standby if moved else record.active,
            record.epoch + moved,
        )
        assert sorted(self.roles.values()) == [Role.ACTIVE, Role.STANDBY]
        assert self.roles[after.active] is Role.ACTIVE
        self.done[what] += 1
        self.done["with a fault that struck"] += fault is not None
        self.arrive()
        self.update(after.active)
        assert self.read_as_consumer() == set(range(self.files)), "rows are lost"

    def finish(self, request: Request, before: ControlRecord) -> None:
        """What an operator does whose command has died: `proa resume`, or the command again."""
        controller = self.controller()
        controller.resume(60.0)
        done = controller.record()
        if request.operation is Operation.DRILL:
            if done.number == before.number:
                self.controller().begin(request)
        elif done.active != request.target:
            self.controller().begin(request)

    def lose(self, region: str) -> None:
        place = Path(self.project.base, region)
        place.rename(place.with_name(f"{region}-lost"))
        place.touch()  # a folder would be made again, and a new landing zone filled
        self.lost = region

    def give_back(self) -> None:
        place = Path(self.project.base, str(self.lost))
        place.unlink()
        place.with_name(f"{self.lost}-lost").rename(place)
        self.lost = None
        self.project.ship()

    def read_as_consumer(self) -> set[int]:
        """The whole table of the active region: no row twice, none that nobody wrote, none gone."""
        record = self.controller().record()
        if record.active == self.lost:
            return set()
        table = DeltaTable(f"{self.settings.region(record.active).storage}/tables/gold")
        rows = [int(one) for one in table.to_pyarrow_table(columns=["id"])["id"].to_pylist()]
        found = set(rows)
        assert len(found) == len(rows), "rows are there twice"
        assert found <= set(range(self.files)), "rows that nobody wrote"
        assert (record.epoch, len(rows)) >= self.read, "rows are gone, or an epoch"
        self.read = (record.epoch, len(rows))
        return found


@pytest.mark.parametrize(
    ("third_place", "drills"),
    [(True, DRILLS), (False, DRILLS // 5)],
    ids=["third place", "both regions"],
)
def test_drills_in_a_row_keep_every_row_once(
    tmp_path: Path, clock: FakeClock, third_place, drills
) -> None:
    for folder in ("source", "east/storage", "west/storage", "east/landing", "west/landing"):
        (tmp_path / folder).mkdir(parents=True)
    ground = DrillGround(
        new_project(str(tmp_path), {}, clock), np.random.default_rng(SEED), third_place
    )
    ground.project.arrive(0)
    ground.files = 1
    ground.project.ship()
    for region in ("east", "west"):
        ground.update(region)
    for _ in range(drills):
        ground.drill()
    sys.stdout.write(f"seed {SEED}, {drills} drills, {ground.files} rows: {dict(ground.done)}\n")
    assert ground.done["with a fault that struck"] > drills / 10
