"""The shipped fakes keep their promises."""

from __future__ import annotations

import threading

import pytest

from proa.errors import UnavailableError, UnknownOutcome
from proa.steps import Step, probing, step
from proa.testing import (
    FakeClock,
    FaultProbe,
    FixedIds,
    Kill,
    Killed,
    LoseAnswer,
    When,
    every_fault,
)


def act(done: list[int]) -> None:
    with step(Step.COMMIT):
        done.append(1)


def test_waiting_on_the_fake_clock_makes_time_pass():
    clock = FakeClock()
    start = clock.now()
    assert clock.wait(90) is False
    assert (clock.now() - start).total_seconds() == clock.monotonic() == 90


def test_a_wait_that_is_called_off_takes_no_time():
    clock, stop = FakeClock(), threading.Event()
    stop.set()
    assert clock.wait(90, stop) is True
    assert clock.monotonic() == 0


def test_ids_count_up():
    ids = FixedIds()
    assert [ids.new()[-1] for _ in range(2)] == ["1", "2"]


@pytest.mark.parametrize("fault", every_fault([Step.COMMIT]), ids=str)
def test_a_fault_strikes_on_its_side_of_the_effect(fault):
    done: list[int] = []
    with probing(FaultProbe(fault)), pytest.raises((Killed, UnavailableError)):
        act(done)
    assert done == ([1] if fault.when is When.AFTER else [])


def test_a_lost_answer_is_an_unknown_outcome():
    with probing(FaultProbe(LoseAnswer(Step.COMMIT))), pytest.raises(UnknownOutcome):
        act([])


def test_a_dead_process_does_nothing_more():
    done: list[int] = []
    with probing(FaultProbe(Kill(Step.COMMIT, When.AFTER, at=2))):
        act(done)
        for _ in range(2):
            with pytest.raises(Killed):
                act(done)
    assert done == [1, 1]
