"""Operators who run commands at once, in any order, from machines that die: the invariants hold.

Two regions, a control record in a third place or in both regions, faults at every step, clocks that differ,
and a consumer that reads whatever region the record names.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from test_controller import STEPS, Group, invariants

from proa.errors import ProaError
from proa.recovery.control_record import Operation
from proa.recovery.controller import Request
from proa.recovery.driver import Role
from proa.steps import probing
from proa.testing import Fail, FakeClock, FaultProbe, Kill, Killed, LoseAnswer, When

REGIONS = st.sampled_from(["east", "west"])
MOMENTS = st.integers(1, 3)
FAULTS = st.none() | st.one_of(
    st.builds(Kill, st.sampled_from(STEPS), st.sampled_from(list(When)), MOMENTS),
    st.builds(Fail, st.sampled_from(STEPS), MOMENTS),
    st.builds(LoseAnswer, st.sampled_from(STEPS), MOMENTS),
)


class Operators(RuleBasedStateMachine):
    """Everything that operators, regions and the network may do."""

    @initialize(third_place=st.booleans())
    def begin(self, third_place) -> None:
        self.folder = tempfile.TemporaryDirectory()
        base = Path(self.folder.name)
        for region in ("east", "west"):
            (base / region / "storage").mkdir(parents=True)
        self.group = Group(base, FakeClock(), third_place=third_place)
        self.lost: str | None = None
        self.seen = 0
        """The newest epoch that a consumer has read."""

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    @rule(
        operation=st.sampled_from(list(Operation)),
        to=REGIONS,
        fault=FAULTS,
        who=st.sampled_from(["ada", "bob"]),
        force=st.booleans(),
    )
    def ask(self, operation, to, fault, who, force) -> None:
        request = Request(operation, to, force=force, patience=10.0)
        self._run(lambda: self.group.controller(who).begin(request), fault)

    @rule(fault=FAULTS)
    def resume(self, fault) -> None:
        self._run(lambda: self.group.controller().resume(10.0), fault)

    @rule(fault=FAULTS)
    def cancel(self, fault) -> None:
        self._run(lambda: self.group.controller().cancel(), fault)

    @precondition(lambda self: self.lost is None)
    @rule(region=REGIONS)
    def lose(self, region) -> None:
        self.group.lose(region)
        self.lost = region

    @precondition(lambda self: self.lost is not None)
    @rule()
    def give_back(self) -> None:
        self.group.give_back(self.lost)
        self.lost = None

    @rule(region=REGIONS, files=st.integers(0, 3))
    def files_arrive(self, region, files) -> None:
        self.group.world.behind[region] = files

    @rule(equal=st.booleans(), missing=st.sampled_from([0.0, 100.0]))
    def regions_differ(self, equal, missing) -> None:
        self.group.world.equal, self.group.world.missing_s = equal, missing

    @rule(seconds=st.integers(-3600, 3600))
    def another_machine_has_another_clock(self, seconds) -> None:
        start = self.group.clock.now()
        self.group.clock = FakeClock(start.fromtimestamp(start.timestamp() + seconds, start.tzinfo))

    @rule()
    def a_consumer_reads(self) -> None:
        """Epochs never go back for a reader of the record, whichever places answer."""
        try:
            record = self.group.store().read()
        except ProaError:
            return
        if record is not None and self.group.third_place:
            assert record.epoch >= self.seen
            self.seen = record.epoch

    @precondition(lambda self: self.lost is None)
    @rule()
    def everything_heals(self) -> None:
        """With all regions answering, and equal, whatever is under way comes to its end."""
        self.group.world.equal, self.group.world.missing_s = True, 0.0
        record = self.group.controller("carol").resume()
        assert record.is_steady
        assert record.owed == ()
        roles = self.group.world.roles
        assert roles[record.active] is Role.ACTIVE
        assert [role for role in roles.values() if role is not Role.ACTIVE] == [Role.STANDBY]

    @invariant()
    def the_history_is_sound(self) -> None:
        if not hasattr(self, "group"):
            return
        try:
            invariants(self.group)
        except ProaError:
            return  # nobody answers

    def _run(self, command, fault) -> None:
        try:
            with probing(FaultProbe(*([fault] if fault else []))):
                command()
        except (Killed, ProaError):
            pass


Operators.TestCase.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)
TestOperators = Operators.TestCase
