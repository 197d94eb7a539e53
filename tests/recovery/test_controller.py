"""A change of roles is done whatever interrupts it, is refused when it must be, and is told."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from fake_group import Group, World
from proa.errors import ConflictError, ProaError, UnavailableError, UserError
from proa.recovery.caught_up import CaughtUp
from proa.recovery.control_record import ControlStore, Operation, Phase
from proa.recovery.controller import Request, drift
from proa.recovery.driver import Role
from proa.recovery.failover_table import TABLE, phases, transition
from proa.recovery.region_status import RegionStatus, SourceStatus
from proa.recovery.region_view import Proof
from proa.steps import Step, probing
from proa.testing import FakeClock, Fault, FaultProbe, Kill, Killed, every_fault

STEPS = [step for step in Step if step.startswith(("control.", "region."))]


@pytest.fixture(params=["third place", "both regions"])
def group(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Group:
    for region in ("east", "west"):
        (tmp_path / region / "storage").mkdir(parents=True)
    return Group(tmp_path, clock, third_place=request.param == "third place")


def invariants(group: Group) -> None:
    """What holds between any two moments."""
    history = group.store().history()
    actives: dict[int, str] = {}
    for before, after in itertools.pairwise(history):
        assert after.number == before.number + 1
        assert after.epoch in {before.epoch, before.epoch + 1}
        assert (after.active != before.active) <= (after.epoch > before.epoch)
    for record in history:
        assert actives.setdefault(record.epoch, record.active) == record.active


def test_a_switchover_moves_everything_and_loses_nothing(group: Group):
    record = group.begin(Operation.SWITCHOVER, "west", reason="upgrade")
    assert (record.active, record.epoch, record.phase) == ("west", 2, Phase.STEADY)
    assert group.world.roles == {"west": Role.ACTIVE, "east": Role.STANDBY}
    assert group.world.consumers == "west"
    calls = group.world.calls
    order = [
        "fence east",
        "drain west",
        "caught_up west",
        "prove east",
        "activate west",
        "demote east",
    ]
    assert sorted(order, key=calls.index) == order
    assert [r.phase for r in group.store().history()][1:] == [
        *phases(Operation.SWITCHOVER),
        Phase.STEADY,
    ]
    assert len(group.store().reports()) == 1
    invariants(group)


def test_doing_it_again_changes_nothing(group: Group):
    group.begin(Operation.SWITCHOVER, "west")
    entries = len(group.store().history())
    group.world.calls.clear()
    assert group.begin(Operation.SWITCHOVER, "west").active == "west"
    assert (len(group.store().history()), group.world.calls) == (entries, [])


def test_a_failover_never_asks_the_dead_region(group: Group):
    group.controller().record()
    group.lose("east")
    record = group.begin(Operation.FAILOVER, "west")
    assert (record.active, record.epoch, record.owed) == ("west", 2, ("east",))
    assert group.world.consumers == "west"
    assert not [call for call in group.world.calls if call.endswith(" east")]
    group.give_back("east")
    record = group.controller().resume()
    assert (record.owed, group.world.roles["east"]) == ((), Role.STANDBY)
    assert group.controller().former() == "east"
    assert group.begin(Operation.FAILBACK, "east").epoch == 3
    invariants(group)


def test_a_failover_does_not_wait_for_files_that_land_meanwhile(group: Group):
    group.world.arriving = 2
    group.lose("east")
    assert group.begin(Operation.FAILOVER, "west", force=True).active == "west"
    assert group.world.calls.count("drain west") == 1


def test_a_failover_that_would_lose_too_much_is_refused(group: Group):
    group.world.missing_s = 400
    with pytest.raises(ProaError, match="more than the 300 s") as refused:
        group.begin(Operation.FAILOVER, "west", max_loss=300.0)
    assert refused.value.condition == "LOSS_TOO_LARGE"
    assert [r.is_steady for r in group.store().history()] == [True]
    with pytest.raises(ProaError):
        group.begin(Operation.FAILOVER, "west")
    assert group.begin(Operation.FAILOVER, "west", max_loss=500.0).active == "west"
    assert group.begin(Operation.FAILOVER, "east", force=True).active == "east"


def test_regions_that_differ_are_not_switched_and_it_can_be_taken_back(group: Group):
    group.world.equal = False
    with pytest.raises(ProaError, match="not equal"):
        group.begin(Operation.SWITCHOVER, "west")
    assert group.store().read().phase is Phase.PROVING
    record = group.controller().cancel("not today")
    assert (record.active, record.epoch, record.phase) == ("east", 1, Phase.STEADY)
    assert group.world.roles["east"] is Role.ACTIVE


def test_a_drill_moves_nobody_and_files_its_report(group: Group):
    group.world.equal = False
    record = group.begin(Operation.DRILL, "west")
    assert (record.active, record.epoch, group.world.consumers) == ("east", 1, "east")
    assert group.world.roles == {"east": Role.ACTIVE, "west": Role.STANDBY}
    (report,) = group.store().reports().values()
    assert b'"equal": false' in report
    with pytest.raises(UserError, match="practised on a standby"):
        group.begin(Operation.DRILL, "east")


@pytest.mark.parametrize("loss_is_known", [True, False])
def test_a_failover_files_what_it_did_without_a_comparison(group: Group, loss_is_known):
    group.world.loss_is_told_after_drain = loss_is_known
    group.world.silent.add("east")
    assert group.begin(Operation.FAILOVER, "west", force=True).active == "west"
    (data,) = group.store().reports().values()
    report = json.loads(data)
    assert (report["operation"], report["equal"], report["tables"]) == ("failover", None, {})
    assert "west took over without a comparison" in report["sentence"]
    assert report["loss"]["certain"] is loss_is_known


def test_another_change_waits_for_the_one_under_way(group: Group):
    group.world.full.add("west")
    with pytest.raises(UnavailableError):
        group.begin(Operation.SWITCHOVER, "west")
    with pytest.raises(ConflictError, match="`proa resume` finishes it"):
        group.begin(Operation.DRILL, "west")
    group.world.full.clear()
    assert group.controller("bob").resume().active == "west"


def test_a_region_lost_during_a_switchover_is_failed_over(group: Group):
    group.world.silent.add("east")
    with pytest.raises(UnavailableError):
        group.begin(Operation.SWITCHOVER, "west")
    record = group.begin(Operation.FAILOVER, "west", force=True)
    assert (record.active, record.operation) == ("west", Operation.FAILOVER)
    invariants(group)


def test_a_standby_that_answers_and_takes_no_change_keeps_nobody_waiting(group: Group):
    group.world.full.add("east")
    group.begin(Operation.FAILOVER, "west", force=True)
    record = group.controller("bob").resume()
    assert (record.active, record.is_steady, record.owed) == ("west", True, ("east",))
    assert group.world.roles["east"] is Role.ACTIVE
    group.world.full.clear()
    assert group.controller("bob").resume().owed == ()
    assert group.world.roles["east"] is Role.STANDBY
    # A later apply undoes the change, and again it cannot be put right.
    group.world.roles["east"] = Role.ACTIVE
    group.world.full.add("east")
    told: list[str] = []
    controller = group.controller("bob", told.append)
    controller.resume()
    assert told == [
        "east could not be demoted now, `proa resume` will: the state of east does not answer"
    ]
    # The active one is needed.
    group.world.roles["west"] = Role.STANDBY
    group.world.full = {"west"}
    with pytest.raises(UnavailableError, match="the state of west"):
        controller.resume()


@pytest.mark.parametrize("operation", list(Operation), ids=str)
@pytest.mark.parametrize(
    "fault", [*every_fault(STEPS), *every_fault([Step.CONTROL_PUT], at=4)], ids=str
)
def test_whatever_interrupts_it_asking_again_finishes_it(
    tmp_path: Path, clock: FakeClock, fault: Fault, operation: Operation
):
    for region in ("east", "west"):
        (tmp_path / region / "storage").mkdir(parents=True)
    group = Group(tmp_path, clock, third_place=fault.at == 1)
    try:
        with probing(FaultProbe(fault)):
            group.begin(operation, "west", force=True)
    except (Killed, UnavailableError):
        invariants(group)
    again = group.controller("bob")
    record = again.resume() if isinstance(fault, Kill) else again.record()
    if operation is not Operation.DRILL:
        record = group.begin(operation, "west", force=True)
        assert (record.active, record.epoch, group.world.consumers) == ("west", 2, "west")
        assert group.world.roles["west"] is Role.ACTIVE
    else:
        record = again.resume()
        assert (record.active, record.epoch, group.world.consumers) == ("east", 1, "east")
    assert record.is_steady
    invariants(group)


def test_two_operators_at_once_do_it_once(group: Group):
    """The second one does it all while the first one fences, and the first one's fence comes last."""
    operation = Request(Operation.SWITCHOVER, "west")
    fences = group.world.fence

    def fence(region: str) -> None:
        group.world.fence = fences
        group.controller("bob").begin(operation)
        fences(region)

    group.world.fence = fence
    record = group.controller().begin(operation)
    assert (record.active, record.epoch, record.is_steady) == ("west", 2, True)
    assert group.world.roles == {"east": Role.STANDBY, "west": Role.ACTIVE}
    invariants(group)


def test_regions_that_disagree_are_told_and_nothing_is_guessed(tmp_path: Path, clock: FakeClock):
    for region in ("east", "west"):
        (tmp_path / region / "storage").mkdir(parents=True)
    group = Group(tmp_path, clock, third_place=False)
    group.begin(Operation.SWITCHOVER, "east")
    group.lose("east")
    group.begin(Operation.FAILOVER, "west", force=True)
    (tmp_path / "west").rename(tmp_path / "west-lost")
    group.give_back("east")
    group.begin(Operation.DRILL, "west")
    (tmp_path / "west-lost").rename(tmp_path / "west")
    with pytest.raises(ConflictError, match="the regions disagree since entry 2") as conflict:
        group.controller().record()
    assert conflict.value.condition == "CONTROL_RECORD_CONFLICT"


def test_a_place_that_missed_entries_is_completed(tmp_path: Path, clock: FakeClock):
    for region in ("east", "west"):
        (tmp_path / region / "storage").mkdir(parents=True)
    group = Group(tmp_path, clock, third_place=False)
    group.begin(Operation.SWITCHOVER, "east")
    group.lose("east")
    group.begin(Operation.FAILOVER, "west", force=True)
    group.give_back("east")
    assert group.controller().record().active == "west"
    alone = ControlStore("default", {"east": (f"{tmp_path}/east/storage", {})})
    assert alone.read().active == "west"


def test_drift_is_told_and_resume_mends_it(group: Group):
    record = group.begin(Operation.SWITCHOVER, "west")
    assert drift(record, "west", Role.ACTIVE) is None
    assert "undone the change" in str(drift(record, "east", Role.ACTIVE))
    group.world.roles = {"east": Role.ACTIVE, "west": Role.STANDBY}
    group.controller().resume()
    assert group.world.roles == {"east": Role.STANDBY, "west": Role.ACTIVE}


def test_waiting_ends_with_what_is_lacking(group: Group):
    group.world.caught_up = lambda region, as_of: CaughtUp(
        region, as_of, False, "a file is missing", None
    )
    began = group.clock.now()
    with pytest.raises(UnavailableError, match="a file is missing"):
        group.begin(Operation.SWITCHOVER, "west", patience=60.0)
    assert timedelta(seconds=60) <= group.clock.now() - began < timedelta(seconds=70)


class BusyWorld(World):
    """Files arrive at every call, and land in west later than in east; a drain that is not told where to
    end reads them all in one batch.
    """

    def __init__(
        self, clock: FakeClock, *, arrivals: int, obeys: bool, landing_s: float = 0.0
    ) -> None:
        super().__init__()
        self._landing_s = {"east": 0.0, "west": landing_s}
        self._clock = clock
        self._arrivals = arrivals
        self._obeys = obeys
        self._shipped = [clock.now() - timedelta(hours=1)] * 3
        self._heads = {"east": {0, 3}, "west": {0}}
        """By region: how many files its versions hold."""

    def _answers(self, region: str, what: str) -> None:
        super()._answers(region, what)
        self._clock.advance(0.1)
        if self._arrivals:
            self._arrivals -= 1
            self._shipped.append(self._clock.now())

    def drain(self, region: str, through: Mapping[str, int] | None = None) -> None:
        super().drain(region)
        last = through["s"] if through and self._obeys else len(self._shipped)
        self._heads[region].add(max(min(last, self._landed(region)), *self._heads[region]))

    def _landed(self, region: str) -> int:
        latest = self._clock.now() - timedelta(seconds=self._landing_s[region])
        return sum(moment <= latest for moment in self._shipped)

    def status(self, region: str) -> RegionStatus:
        self._answers(region, "status")
        landed = self._landed(region)
        if self.roles[region] is Role.ACTIVE:
            self._heads[region].add(landed)
        processed = max(self._heads[region])
        backlog = max(0, landed - processed)
        source = SourceStatus("s", len(self._shipped), landed, processed, backlog, 0, None, None)
        return RegionStatus(region, (source,))

    def prove(self, left: str, right: str) -> Proof:
        super().prove(left, right)
        equal = max(self._heads[left] & self._heads[right]) > 0
        return Proof(equal, f"{right} is behind", behind=not equal)


@pytest.mark.parametrize(
    ("arrivals", "obeys"), [(10_000, True), (25, False)], ids=["steady load", "pauses"]
)
@pytest.mark.parametrize("lag", [0, 2])
@pytest.mark.parametrize("landing_s", [0.0, 30.0])
def test_files_that_arrive_during_a_switchover_do_not_keep_the_regions_apart(
    group: Group, arrivals, obeys, lag, landing_s
):
    group.world = BusyWorld(group.clock, arrivals=arrivals, obeys=obeys, landing_s=landing_s)
    group.world._heads["east"] = {0, 3 - lag}
    record = group.begin(Operation.SWITCHOVER, "west")
    assert (record.active, record.is_steady) == ("west", True)
    assert group.world.roles == {"west": Role.ACTIVE, "east": Role.STANDBY}
    assert group.begin(Operation.FAILBACK, "east").active == "east"
    assert len(group.store().reports()) == 2
    invariants(group)


def test_a_failover_without_a_manifest_waits_for_no_more_than_two_updates(group: Group):
    world = group.world
    world.status = lambda region: RegionStatus(
        region, (SourceStatus("s", None, None, None, 5, 0, None, None, manifest=False),)
    )
    assert group.begin(Operation.FAILOVER, "west", force=True, patience=60.0).active == "west"
    assert world.calls.count("drain west") == 2


def test_regions_that_never_meet_are_told_when_patience_ends(group: Group):
    group.world = BusyWorld(group.clock, arrivals=10_000, obeys=False)
    with pytest.raises(ProaError, match="west is behind") as refused:
        group.begin(Operation.SWITCHOVER, "west", patience=60.0)
    assert refused.value.condition == "REGIONS_DIFFER"
    assert group.controller().cancel().active == "east"


@pytest.mark.parametrize("landing_s", [0.0, 30.0])
def test_a_drill_leaves_the_region_at_work_alone(group: Group, landing_s):
    group.world = BusyWorld(group.clock, arrivals=10_000, obeys=True, landing_s=landing_s)
    assert group.begin(Operation.DRILL, "west").active == "east"
    assert "drain east" not in group.world.calls
    (report,) = group.store().reports().values()
    assert json.loads(report)["equal"]


def test_every_row_of_the_table_is_a_way_somewhere():
    assert len({(row.phase, row.event) for row in TABLE}) == len(TABLE)
    assert {row.next for row in TABLE} | {Phase.STEADY} == set(Phase)
    for operation in Operation:
        assert phases(operation)[-1] in {Phase.DEMOTING, Phase.PROVING}
    with pytest.raises(ConflictError):
        transition(Phase.PROMOTING, TABLE[0].event)


def test_an_explanation_names_what_begin_does_and_changes_nothing(group: Group):
    lines = group.controller().explain(Request(Operation.SWITCHOVER, "west"))
    assert lines[0] == "east is stopped, so that west can overtake it"
    assert any("no way back" in line for line in lines)
    assert group.store().history() == []
    assert [call for call in group.world.calls if not call.startswith("role")] == []
