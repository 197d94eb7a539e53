"""What is not known is not told as if it were: clocks that disagree, silent sources, damaged records."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from fake_group import Group, World
from proa.cli.main import app
from proa.errors import ConflictError, DataError, ProaError, UnavailableError, UserError
from proa.landing.manifest import SCHEMA
from proa.recovery.control_record import ControlStore, Operation
from proa.recovery.controller import Request
from proa.recovery.driver import Role
from proa.recovery.readiness import Level, checks
from proa.recovery.region_status import RegionStatus, ShipmentOrder, read_status
from proa.recovery.region_view import Loss, loss_of
from proa.settings import ControlSettings, RecoverySettings
from proa.testing import FakeClock
from two_region_project import Project

NOW = datetime(2026, 3, 1, 3, tzinfo=UTC)


def order(*ages: float, whole: bool = True) -> ShipmentOrder:
    """A source whose files were shipped so many seconds ago, by the shipper's clock."""
    rows = [
        {
            "seq": number,
            "shipment": number,
            "path": f"{number}.json",
            "size": 10,
            "sha256": "0" * 64,
            "modified": NOW,
            "shipped_at": NOW - timedelta(seconds=age),
        }
        for number, age in enumerate(ages, 1)
    ]
    return ShipmentOrder("orders", pa.Table.from_pylist(rows, schema=SCHEMA), whole)


def loss(landed: int, *ages: float, whole: bool = True) -> Loss:
    return loss_of("west", [(order(*ages, whole=whole), landed)], NOW)


def test_nothing_missing_is_nothing_whatever_clocks_say():
    for ages in ((), (50.0,), (-9999.0,)):
        found = loss(len(ages), *ages)
        assert not found.exceeds(0)
        assert found.sentence.startswith("nothing would be missing in west")


def test_a_missing_file_exceeds_no_loss_however_young_it_is():
    for age in (0.0, -30.0):
        found = loss(1, 50.0, age)
        assert (found.seconds, found.bounded, found.exceeds(0), found.exceeds(60)) == (
            0.0, True, True, False,
        )  # fmt: skip


def test_the_age_of_a_file_from_the_future_is_not_known():
    found = loss(1, 50.0, -300.0)
    assert found.exceeds(3600)
    assert found.sentence == (
        "1 shipped files (10 bytes) have not landed in west; how old they are is not known: the clock"
        " that dated the files of orders is 300 s or more ahead of this one"
    )


def test_of_a_silent_source_from_which_nothing_landed_nothing_is_known():
    found = loss(0, whole=False)
    assert (found.files, found.exceeds(3600)) == (0, True)
    assert found.sentence == (
        "the source does not answer, so what was shipped since is not known:"
        " no file of orders has landed there (west)"
    )


def test_of_a_silent_source_the_newest_landed_file_tells_the_age():
    found = loss(2, 500.0, 50.0, whole=False)
    assert (found.exceeds(49), found.exceeds(51)) == (True, False)
    assert found.sentence.endswith("the newest file that landed in west was shipped 50 s ago")
    ahead = loss(1, -300.0, whole=False)
    assert ahead.exceeds(3600)
    assert "300 s or more ahead of this one (west)" in ahead.sentence


@pytest.mark.parametrize("allowed", [None, 3600.0])
def test_a_failover_that_may_lose_a_file_needs_force(tmp_path: Path, allowed: float | None):
    class Skewed(World):
        def loss(self, region: str) -> Loss:
            found = super().loss(region)
            return replace(found, files=1, seconds=0.0, bounded=allowed is None)

    group = Group(tmp_path, FakeClock(), Skewed())
    asked = Request(Operation.FAILOVER, "west", max_loss=allowed)
    with pytest.raises(ProaError, match="may be lost") as found:
        group.controller().begin(asked)
    assert found.value.condition == "LOSS_TOO_LARGE"
    assert group.controller().begin(replace(asked, force=True)).active == "west"


def test_a_region_behind_is_behind_whatever_clocks_say(project: Project):
    project.arrive(1, 2)
    project.ship()
    project.process("west", 1)
    project.clock = FakeClock(project.clock.now() - timedelta(hours=1))
    (status,) = read_status(project.settings, project.clock, ["west"])
    assert status.lag is not None
    assert status.lag > 0


def answers(group: Group, world: World, status: RegionStatus | None = None) -> dict:
    """The checks by their names, with `status` for each region."""
    if status is not None:
        world.status = lambda _region: status
    found = checks(group.settings, group.store(), world, world, group.clock)
    return {check.name: check for check in found}


def test_validate_tells_a_backlog_and_not_its_age_alone(tmp_path: Path):
    group = Group(tmp_path, FakeClock())
    status = group.world.status("west")
    (source,) = status.sources
    for changed, expected in (
        ({"lag": 0.0}, "3 landed files are not processed"),
        ({"lag": None}, "3 landed files are not processed"),
        ({"lag": 90.0}, "3 landed files are not processed, 90 s behind"),
        ({"lag": 90.0, "backlog_files": 0}, "90 s behind"),
        ({"lag": 0.4, "backlog_files": 0}, "under 1 s behind"),
        ({"lag": 0.0, "backlog_files": 0}, "everything is processed"),
        (
            {"lag": 0.0, "backlog_files": 0, "shipped": None},
            "everything that has landed is processed; what was shipped is not known",
        ),
    ):
        told = RegionStatus("west", (replace(source, **changed),))
        assert answers(group, World(), told)["west: storage"].sentence == expected


def test_validate_tells_the_role_that_a_region_has(tmp_path: Path):
    group = Group(tmp_path, FakeClock())
    both = World(roles={"east": Role.ACTIVE, "west": Role.ACTIVE})
    # Nothing was ever changed, and still only one region is meant to be active.
    check = answers(group, both)["west: role"]
    assert check.level is Level.FAILURE
    assert "west is set to run as active, and the record says standby" in check.sentence
    neither = World(roles={"east": Role.UNKNOWN, "west": Role.STANDBY})
    found = answers(group, neither)
    assert found["east: role"].sentence == "the driver cannot tell"
    assert found["west: role"].sentence == "set to run as a standby"
    group.world.full = {"west"}
    with pytest.raises(ProaError):
        group.controller().begin(Request(Operation.SWITCHOVER, "west"))
    assert group.world.roles["east"] is Role.FENCED
    group.world.full = set()
    assert answers(group, group.world)["east: role"].sentence == "set not to run at all"


def test_validate_tells_a_change_under_way_although_a_place_is_silent(tmp_path: Path):
    for region in ("east", "west"):
        (tmp_path / region / "storage").mkdir(parents=True)
    group = Group(tmp_path, FakeClock(), third_place=False)
    group.world.full = {"west"}
    with pytest.raises(ProaError):
        group.controller().begin(Request(Operation.SWITCHOVER, "west"))
    (tmp_path / "east" / "storage").rename(tmp_path / "east-lost")
    check = answers(group, World())["control record"]
    assert check.level is Level.FAILURE
    assert check.sentence == (
        "a switchover to west is under way (draining); `proa resume` finishes it;"
        " east does not answer"
    )


def test_a_drill_dated_in_the_future_is_not_taken_for_a_recent_one(tmp_path: Path):
    group = Group(tmp_path, FakeClock())
    group.controller().begin(Request(Operation.DRILL, "west"))
    check = answers(Group(tmp_path, FakeClock(group.clock.now() - timedelta(days=1))), World())
    assert check["drill"].level is Level.WARNING
    assert "is dated in the future" in check["drill"].sentence


def entry(group: Group, region: str = "", number: int = 1) -> Path:
    place = group.folder / (f"{region}/storage" if region else "third")
    return place / "_proa/control/default" / f"{number:010d}.json"


@pytest.mark.parametrize("left", [0, 40])
def test_a_record_that_was_cut_off_is_named_with_what_to_do(tmp_path: Path, left: int):
    group = Group(tmp_path, FakeClock())
    group.controller().begin(Request(Operation.SWITCHOVER, "west"))
    last = group.store().history()[-1].number
    file = entry(group, number=last)
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(DataError) as found:
        group.store().history()
    assert found.value.condition == "INVALID_CONTROL_RECORD"
    assert str(file.relative_to(tmp_path / "third")) in str(found.value)
    file.unlink()
    assert group.controller().resume().active == "west"


def test_of_two_places_one_of_which_is_damaged_each_is_told_as_it_is(tmp_path: Path):
    for region in ("east", "west"):
        (tmp_path / region / "storage").mkdir(parents=True)
    group = Group(tmp_path, FakeClock(), third_place=False)
    group.controller().begin(Request(Operation.SWITCHOVER, "west"))
    entry(group, "east").write_bytes(b'{"format": 1, "nu')
    with pytest.raises(ConflictError) as found:
        group.store().history()
    said = str(found.value)
    assert "east says 17 bytes that are no entry: it is damaged; west says east is active" in said
    name = entry(group, "east").relative_to(tmp_path / "east" / "storage")
    assert f"Delete {name} in the storage of east; the next command writes it anew" in said
    entry(group, "east").unlink()
    assert group.store().history()[-1].active == "west"
    assert entry(group, "east").read_bytes() == entry(group, "west").read_bytes()


def test_a_failback_that_is_asked_for_again_does_not_go_there_and_back(tmp_path: Path):
    group = Group(tmp_path, FakeClock())
    with pytest.raises(UserError, match="so there is nothing to go back to"):
        group.controller().former()
    group.controller().begin(Request(Operation.FAILOVER, "west"))
    assert group.controller().former() == "east"
    group.world.full = {"east"}
    with pytest.raises(ProaError):
        group.controller().begin(Request(Operation.FAILBACK, "east"))
    assert group.controller().former() == "east"
    group.world.full = set()
    group.controller().resume()
    for _ in range(3):
        target = group.controller().former()
        assert group.controller().begin(Request(Operation.FAILBACK, target)).active == "east"
    group.controller().begin(Request(Operation.DRILL, "west"))
    assert group.controller().former() == "east"
    assert group.controller().record().epoch == 3
    group.controller().begin(Request(Operation.SWITCHOVER, "west"))
    assert group.controller().former() == "east"


def test_taking_back_what_is_not_under_way_says_so(tmp_path: Path):
    told: list[str] = []
    Group(tmp_path, FakeClock()).controller(tell=told.append).cancel()
    assert told == ["nothing is under way, so nothing was taken back"]


def test_status_and_advice_do_not_guess_who_is_active(project: Project, monkeypatch):
    project.arrive(1, 2)
    project.ship()
    for region in ("east", "west"):
        project.process(region, 1, 2)
    folder = Path(project.base)
    regions = {
        name: {"landing_zone": one.landing_zone, "storage": one.storage}
        for name, one in project.settings.regions.items()
    }
    settings = {
        "regions": regions,
        "recovery": {"driver": "command", "commands": {"drain": "true"}, "rpo": "5m", "group": "g"},
    }
    (folder / "proa.yml").write_text(json.dumps(settings))
    for name in ("east", "west"):
        place = Path(regions[name]["storage"]) / "_proa/control/g"
        place.mkdir(parents=True)
        (place / f"{1:010d}.json").write_bytes(b"")
    monkeypatch.chdir(folder)
    told = CliRunner().invoke(app, ["status"])
    assert (told.exit_code, "is damaged" in told.output) == (1, True)
    asked = CliRunner().invoke(app, ["advise"])
    assert isinstance(asked.exception, DataError)
    by_name = CliRunner().invoke(app, ["advise", "--region", "west", "--json"])
    assert not isinstance(by_name.exception, DataError)


def test_a_project_whose_regions_were_never_changed_has_its_first_active_region(project: Project):
    control = ControlSettings(path=f"{project.base}/third")
    asked = project.settings.model_copy(
        update={"recovery": RecoverySettings(control=control, active="west")}
    )
    world = World(roles={"east": Role.STANDBY, "west": Role.ACTIVE})
    found = {
        check.name: check
        for check in checks(asked, ControlStore.of(asked), world, world, project.clock)
    }
    assert found["west: role"].sentence == "set to run as the active region"
    assert "east: loss" in found


@pytest.mark.parametrize("what", list(Operation))
def test_nothing_is_stopped_for_a_target_that_does_not_answer(tmp_path: Path, what: Operation):
    group = Group(tmp_path, FakeClock())
    group.world.silent = {"west"}
    with pytest.raises(UnavailableError, match="Nothing was changed: west must answer"):
        group.controller().begin(Request(what, "west"))
    assert (group.world.roles["east"], group.controller().record().is_steady) == (Role.ACTIVE, True)


def test_nothing_is_stopped_for_a_target_that_refuses_the_token(tmp_path: Path):
    class Expired(World):
        def role(self, region: str) -> Role:
            if region == "west":
                raise UserError("west refuses the token", condition="PERMISSION_DENIED")
            return super().role(region)

    group = Group(tmp_path, FakeClock(), Expired())
    for what in Operation:
        with pytest.raises(UserError, match=r"refuses the token\. Nothing was changed") as found:
            group.controller().begin(Request(what, "west"))
    assert group.controller().record().is_steady
    assert found.value.condition == "PERMISSION_DENIED"
    assert group.world.roles["east"] is Role.ACTIVE


def taken_back(group: Group, what: Operation) -> None:
    """Begin a change to west, take it back, and find that the active region is lost."""
    group.world.full = {"west"}
    with pytest.raises(UnavailableError):
        group.controller().begin(Request(what, "west", force=True))
    group.world.silent = {"east"}
    with pytest.raises(UnavailableError):
        group.controller().cancel()
    group.world.full = set()


@pytest.mark.parametrize("what", list(Operation))
def test_a_change_that_is_taken_back_is_taken_over_by_a_failover(tmp_path: Path, what: Operation):
    group = Group(tmp_path, FakeClock())
    taken_back(group, what)
    says = (
        f"a {what} to west is being taken back; `proa resume` finishes that, and east stays active"
    )
    assert answers(group, World())["control record"].sentence == says
    for other in (Operation.SWITCHOVER, Operation.FAILBACK, Operation.DRILL):
        # Asking for what is being taken back does not answer that it is done.
        with pytest.raises(ConflictError, match="is being taken back"):
            group.controller().begin(Request(other, "west"))
    record = group.controller().begin(Request(Operation.FAILOVER, "west", force=True))
    assert (record.active, record.epoch, record.is_steady) == ("west", 2, True)


def test_what_is_taken_back_is_finished_by_resume(tmp_path: Path):
    group = Group(tmp_path, FakeClock())
    taken_back(group, Operation.SWITCHOVER)
    group.world.silent = set()
    assert group.controller().resume().active == "east"
    assert group.controller().begin(Request(Operation.SWITCHOVER, "west")).active == "west"
