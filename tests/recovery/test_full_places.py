"""A source, a landing zone or a third place that is full: what waits is done, once, when there is room again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from test_controller import invariants

from fake_group import Group
from full_disk import SmallDisk, needs_mounts
from proa.errors import UnavailableError
from proa.recovery.control_record import Operation
from proa.recovery.driver import Role
from proa.storage import Store
from proa.testing import FakeClock
from two_region_project import Project, new_project

pytestmark = [pytest.mark.slow, needs_mounts]
MOST = 60
REMEDY = "the disk is full: make room there and run it again"

Fill = Callable[[SmallDisk, int], None]


@pytest.fixture(params=["pages", "files"])
def fill(request: pytest.FixtureRequest) -> Fill:
    """Let a disk be full after so many more pages, or files."""
    return lambda disk, count: disk.leave(**{request.param: count})


@pytest.mark.parametrize("place", ["source", "west/landing"])
def test_files_are_shipped_once_and_in_order(
    tmp_path: Path, clock: FakeClock, fill: Fill, place: str
) -> None:
    with SmallDisk.at(tmp_path / place) as disk:
        project = new_project(str(tmp_path), {}, clock)
        for at in range(MOST):
            project.arrive(2 * at, 2 * at + 1)
            fill(disk, at)
            said = ship(project)
            disk.make_room()
            if said is not None:
                assert REMEDY in said
                assert ship(project) is None
            assert_shipped(project, 2 * at + 2)
            if said is None:
                break
        assert 0 < at < MOST - 1


def ship(project: Project) -> str | None:
    """Why not everything was shipped. None when it was."""
    try:
        report = project.ship()
    except UnavailableError as error:
        return str(error)
    return next((str(zone.error) for zone in report.zones if zone.error is not None), None)


def assert_shipped(project: Project, count: int) -> None:
    """Both zones hold the same manifest, of every file once, with its bytes."""
    tables = [project.region(name).manifest("orders") for name in ("east", "west")]
    assert tables[0].equals(tables[1])
    assert sorted(tables[0]["path"].to_pylist()) == sorted(f"{n}.json" for n in range(count))
    for name in ("east", "west"):
        zone = Store.open(project.settings.region(name).landing_zone)
        assert {zone.get(f"orders/{n}.json") for n in range(count)} == {
            str(n).encode() for n in range(count)
        }


@pytest.mark.parametrize("operation", [Operation.SWITCHOVER, Operation.FAILOVER, Operation.DRILL])
def test_a_change_of_roles_goes_on(
    tmp_path: Path, clock: FakeClock, fill: Fill, operation: Operation
) -> None:
    for region in ("east", "west"):
        (tmp_path / region / "storage").mkdir(parents=True)
    with SmallDisk.at(tmp_path / "third") as disk:
        group = Group(tmp_path, clock)
        group.begin(Operation.SWITCHOVER, "east")
        for at in range(MOST):
            before = group.controller().record()
            target = "west" if before.active == "east" else "east"
            fill(disk, at)
            said = None
            try:
                group.begin(operation, target, force=True)
            except UnavailableError as error:
                said = str(error)
            disk.make_room()
            if said is not None:
                assert REMEDY in said
                group.controller("bob").resume()
                if len(group.store().reports()) == at:  # it was never begun
                    group.begin(operation, target, force=True)
            record = group.controller().record()
            moved = operation is not Operation.DRILL
            assert record.is_steady
            assert (record.active == target) is moved
            assert record.epoch == before.epoch + moved
            assert group.world.roles[record.active] is Role.ACTIVE
            assert len(group.store().reports()) == at + 1, "each change leaves its report"
            invariants(group)
            if said is None:
                break
        assert 3 < at < MOST - 1
