"""What has been read stays known: through restarts, crashes, races and compaction."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from proa.autoloader.file_ref import FileRef
from proa.autoloader.known import KnownFiles, digest
from proa.errors import DataError, ProaError
from proa.steps import Step, probing
from proa.storage import Store
from proa.testing import FaultProbe, Killed, every_fault


def file(number: int) -> FileRef:
    return FileRef(f"/landing/{number}.json", 1, 1)


def known(state: Store, numbers: range) -> list[int]:
    found = KnownFiles(state).contains([file(n).path for n in numbers])
    return [n for n, yes in zip(numbers, found, strict=True) if yes]


def test_a_file_is_known_once_its_batch_is_recorded_and_after_compaction(store):
    files = KnownFiles(store)
    files.record(0, [file(1), file(2)])
    files.record(1, [file(3)])
    assert files.contains([file(n).path for n in range(5)]).tolist() == [
        False, True, True, True, False,
    ]  # fmt: skip
    assert (files.through, len(files)) == (-1, 3)

    files.compact(0)

    assert (files.through, len(files)) == (0, 3)
    assert known(store, range(5)) == [1, 2]
    files.compact()
    assert known(store, range(5)) == [1, 2, 3]
    assert KnownFiles(store).through == 1


def test_recording_a_batch_again_changes_nothing(store):
    files = KnownFiles(store)
    for _ in range(2):
        files.record(0, [file(1)])
        files.compact()
    assert len(files) == 1


@pytest.mark.slow
def test_many_segments_become_one(store):
    files = KnownFiles(store)
    for batch in range(30):
        files.record(batch, [file(batch)])
        files.compact()
    assert known(store, range(40)) == list(range(30))
    assert len(list(store.walk("known"))) <= 9


def test_of_two_runners_that_compact_neither_forgets_a_file(store):
    first, second = KnownFiles(store), KnownFiles(store)
    for runner in (first, second):
        for batch in range(4):
            runner.record(batch, [file(batch)])
    first.compact(1)
    second.compact(2)
    first.compact()

    fresh = KnownFiles(store)
    for batch in range(fresh.through + 1, 4):
        fresh.record(batch, [file(batch)])

    assert fresh.contains([file(n).path for n in range(4)]).all()


@pytest.mark.parametrize("fault", every_fault([Step.CHECKPOINT_COMPACT]), ids=str)
def test_a_fault_while_compacting_forgets_nothing(tmp_path, fault):
    store = Store.open(str(tmp_path))
    files = KnownFiles(store)
    for batch in range(3):
        files.record(batch, [file(batch)])
    with probing(FaultProbe(fault)), pytest.raises((Killed, ProaError)):
        files.compact(1)

    fresh = KnownFiles(store)
    for batch in range(fresh.through + 1, 3):
        fresh.record(batch, [file(batch)])
    fresh.compact()

    assert known(store, range(5)) == [0, 1, 2]


def test_a_damaged_segment_is_reported(tmp_path):
    store = Store.open(str(tmp_path))
    files = KnownFiles(store)
    files.record(0, [file(1)])
    files.compact()
    (path,) = (tmp_path / "known").iterdir()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)

    with pytest.raises(DataError, match="damaged"):
        KnownFiles(store)


def test_hashes_with_equal_halves_are_told_apart(tmp_path):
    files = KnownFiles(Store.open(str(tmp_path)))
    one = digest("x")
    high, low = one[:8], one[8:]
    others = [high + bytes([n]) * 8 for n in range(5)]
    files._pending[0] = [*others, one]
    files.compact()

    assert files.contains(["x", "y"]).tolist() == [True, False]
    assert low not in others


class Knowing(RuleBasedStateMachine):
    """Batches, compactions and restarts in any order, against a plain dictionary."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.folder = tempfile.TemporaryDirectory()
        self.store = Store.open(str(Path(self.folder.name)))
        self.plans: list[list[int]] = []
        self.files = KnownFiles(self.store)

    @rule(numbers=st.lists(st.integers(0, 60), max_size=4))
    def batch(self, numbers: list[int]) -> None:
        self.plans.append(numbers)
        self.files.record(len(self.plans) - 1, map(file, numbers))

    @rule(data=st.data())
    @precondition(lambda self: self.plans)
    def compact(self, data: st.DataObject) -> None:
        self.files.compact(data.draw(st.integers(0, len(self.plans) - 1)))

    @rule()
    def restart(self) -> None:
        self.files = KnownFiles(self.store)
        for number in range(self.files.through + 1, len(self.plans)):
            self.files.record(number, map(file, self.plans[number]))

    @invariant()
    def knows_exactly_what_was_recorded(self) -> None:
        expected = {number for plan in self.plans for number in plan}
        found = self.files.contains([file(n).path for n in range(61)])
        assert {n for n in range(61) if found[n]} == expected

    def teardown(self) -> None:
        self.folder.cleanup()


TestKnowing = pytest.mark.slow(Knowing.TestCase)
TestKnowing.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
