"""Folded plans: every plan can be read, from a fold or from its own object."""

import contextlib

import pytest

from proa.errors import DataError
from proa.runtime.checkpoint import FOLD, Checkpoint, Plan
from proa.steps import Step, probing
from proa.storage import Store
from proa.testing import Fault, FaultProbe, Killed, every_fault


def checkpoint(store: Store, batches: int, *, gap: int | None = None) -> Checkpoint:
    found = Checkpoint(store)
    for number in range(batches):
        if number != gap:
            found.put(Plan(number, {}, "d"))
        found.mark_committed(number)
    return found


def folds(store: Store) -> list[str]:
    return sorted(info.path.removeprefix("history/") for info in store.walk("history"))


def test_plans_come_from_folds_and_from_their_own_objects(store: Store) -> None:
    found = checkpoint(store, FOLD + 3)
    for number in range(FOLD):
        store.delete(f"plans/{number:010d}.json")
    assert [plan and plan.batch for plan in found.plans(FOLD + 3)] == [*range(FOLD + 3), None]
    assert found.committed_plan(FOLD - 1) == Plan(FOLD - 1, {}, "d")
    assert found.committed_plan(FOLD + 3) is None


def test_a_gap_is_left_for_later(tmp_path) -> None:
    store = Store.open(str(tmp_path))
    found = checkpoint(store, 3 * FOLD, gap=FOLD + 1)
    assert found.folded_count() == FOLD
    found.put(Plan(FOLD + 1, {}, "d"))
    found.mark_committed(3 * FOLD - 1)
    assert [plan.batch for plan in found.plans(3 * FOLD - 1) if plan] == list(range(3 * FOLD))
    assert found.folded_count() == 3 * FOLD


@pytest.mark.parametrize("fault", every_fault([Step.PLAN_FOLD]), ids=str)
def test_what_a_crash_left_unfolded_is_folded_next_time(tmp_path, fault: Fault) -> None:
    store = Store.open(str(tmp_path))
    with contextlib.suppress(Killed, Exception), probing(FaultProbe(fault)):
        checkpoint(store, FOLD)
    assert checkpoint(store, 2 * FOLD).folded_count() == 2 * FOLD


def test_a_damaged_fold_is_named(tmp_path) -> None:
    store = Store.open(str(tmp_path))
    found = checkpoint(store, FOLD)
    (name,) = folds(store)
    for content in [b"", b"x", store.get(f"history/{name}")[:-3]]:
        store.put(f"history/{name}", content)
        with pytest.raises(DataError, match=r"history/0000000000-0000000032' (is|are) damaged"):
            found.plans(3)
