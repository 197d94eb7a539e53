"""Folded plans: whoever folds, and whatever interrupts it, every plan can be read."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proa.runtime.checkpoint import Checkpoint, Plan
from proa.runtime.history import FOLD, History
from proa.steps import Step, probing
from proa.storage import Store
from proa.testing import Fault, FaultProbe, Killed, every_fault


def text(number: int) -> bytes:
    return b'{"plan": %d}' % number


def plans(first: int, end: int) -> dict[int, bytes]:
    return {number: text(number) for number in range(first, end)}


def objects(store: Store) -> list[str]:
    return sorted(info.path.removeprefix("history/") for info in store.walk("history"))


def test_plans_stand_in_ever_larger_segments(store: Store) -> None:
    history = History(store)
    for end in range(FOLD, 17 * FOLD + 1, FOLD):
        history.fold(plans(end - FOLD, end), end)
    assert objects(store) == ["0000000000-0000000512", "0000000512-0000000544"]
    assert history.folded_count() == 17 * FOLD
    assert history.read(10_000) == plans(0, 17 * FOLD)


def test_only_the_segments_that_are_asked_for_are_read(store: Store) -> None:
    history = History(store)
    history.fold(plans(0, 2 * FOLD), 2 * FOLD)
    assert set(history.read(FOLD)) == set(range(FOLD))
    assert history.read(0) == {}


def test_a_gap_is_left_for_later(store: Store) -> None:
    history = History(store)
    lacking = plans(0, 3 * FOLD)
    del lacking[FOLD + 1]
    history.fold(lacking, 3 * FOLD)
    assert history.folded_count() == FOLD
    history.fold(plans(FOLD, 3 * FOLD), 3 * FOLD)
    assert history.read(3 * FOLD) == plans(0, 3 * FOLD)


@settings(max_examples=40, deadline=None)
@given(ends=st.lists(st.integers(0, 1200), min_size=1, max_size=6), fault=st.data())
def test_every_plan_can_be_read_whatever_was_interrupted(tmp_path_factory, ends, fault) -> None:
    store = Store.open(str(tmp_path_factory.mktemp("history")))
    most = 0
    for end in sorted(ends):
        struck = fault.draw(st.sampled_from([None, *every_fault([Step.PLAN_FOLD])]))
        probe = FaultProbe(*filter(None, [struck]))
        history = History(store)
        with contextlib.suppress(Killed, Exception), probing(probe):
            history.fold(plans(history.folded_count(), end), end)
        most = max(most, History(store).folded_count())
        assert History(store).read(10_000) == plans(0, most)
    History(store).fold(plans(most, 1200), 1200)
    assert History(store).read(10_000) == plans(0, 1200 // FOLD * FOLD)


def checkpoint(store: Store, batches: int) -> Checkpoint:
    found = Checkpoint(store)
    for number in range(batches):
        found.put(Plan(number, {}, "d"))
        found.mark_committed(number)
    return found


def test_plans_come_from_segments_and_from_their_own_objects(store: Store) -> None:
    found = checkpoint(store, FOLD + 3)
    for number in range(FOLD):
        store.delete(f"plans/{number:010d}.json")
    assert [plan and plan.batch for plan in found.plans(FOLD + 3)] == [*range(FOLD + 3), None]


@pytest.mark.parametrize("fault", every_fault([Step.PLAN_FOLD]), ids=str)
def test_what_a_crash_left_unfolded_is_folded_next_time(store: Store, fault: Fault) -> None:
    with contextlib.suppress(Killed, Exception), probing(FaultProbe(fault)):
        checkpoint(store, FOLD)
    checkpoint(store, 2 * FOLD)
    assert objects(store) == ["0000000000-0000000032", "0000000032-0000000064"]
