"""No entry of a log is lost or read twice: wherever a store call fails, whoever folds at once."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from folded_logs import LOGS, Log, Plain
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from proa.errors import DataError, ProaError
from proa.steps import Step, probing
from proa.storage import Store
from proa.storage.folded import NumberedEntries, Span, SpanNames, seal, unseal
from proa.testing import Fail, Fault, FaultProbe, Kill, Killed, LoseAnswer, When

every_log = pytest.mark.parametrize("log", LOGS, ids=lambda log: log.__name__)


def fault_kinds(at: int) -> list[Fault]:
    """What may befall the store call number `at`; a read that is lost is a read that failed."""
    write = Step.STORE_WRITE
    return [
        Fail(Step.STORE_READ, at),
        Kill(write, When.BEFORE, at),
        Kill(write, When.AFTER, at),
        Fail(write, at),
        LoseAnswer(write, at),
    ]


def spans(store: Store, folder: str) -> list[tuple[int, int]]:
    names = (info.path.rsplit("/", 1)[-1].partition(".")[0] for info in store.walk(folder))
    pairs = (name.split("-") for name in names)
    return sorted((int(first), int(last)) for first, last in pairs)


def is_tidy(store: Store, folder: str) -> bool:
    """Whether no fold lies within another."""
    found = spans(store, folder)
    return not any(a != b and a[0] <= b[0] and b[1] <= a[1] for a in found for b in found)


def grow(log: type[Log], store: Store, first: int, count: int) -> None:
    """Append entries `first` to `count`, folding as the log does it."""
    process = log(store)
    for number in range(first, count):
        process.append(number)
        process.fold(number + 1)


class Stage:
    """A log whose next entry makes a fold that swallows others; a fresh copy for each life."""

    def __init__(self, log: type[Log], folder: Path) -> None:
        unit, factor = LOGS[log]
        self.log = log
        self.count = unit * factor - 1
        self._folder = folder
        self._copies = 0
        grow(log, Store.open(str(folder / "base")), 0, self.count)

    def copy(self) -> Store:
        self._copies += 1
        target = self._folder / str(self._copies)
        # Objects are replaced, never written into.
        shutil.copytree(self._folder / "base", target, copy_function=os.link)
        return Store.open(str(target))


@pytest.fixture(scope="module")
def stages(tmp_path_factory) -> Iterator[Callable[[type[Log]], Stage]]:
    made: dict[type[Log], Stage] = {}

    def stage(log: type[Log]) -> Stage:
        if log not in made:
            made[log] = Stage(log, tmp_path_factory.mktemp(log.__name__))
        return made[log]

    yield stage
    for name in made.values():
        shutil.rmtree(name._folder)


@every_log
def test_wherever_a_store_call_fails_no_entry_is_lost(log, stages) -> None:
    stage = stages(log)
    count, at, struck = stage.count, 1, True
    while struck:
        struck = False
        for fault in fault_kinds(at):
            store = stage.copy()
            probe = FaultProbe(fault)
            with contextlib.suppress(Killed, ProaError), probing(probe):
                process = log(store)
                process.append(count)
                process.fold(count + 1)
            struck = struck or bool(probe.struck)
            before = log(store).read(count + 1)
            assert before in (list(range(count)), list(range(count + 1))), fault
            grow(log, store, count, count + 1)
            assert log(store).read(count + 1) == list(range(count + 1)), fault
        at += 1
    assert at > 2


@every_log
def test_what_a_crash_left_behind_goes_with_a_later_fold(log, stages) -> None:
    stage = stages(log)
    unit, factor = LOGS[log]
    store = stage.copy()
    probe = FaultProbe(Kill({"Shipments": Step.SHIP_COMPACT, "Known": Step.CHECKPOINT_COMPACT}.get(
        log.__name__, Step.PLAN_FOLD), When.AFTER))  # fmt: skip
    with pytest.raises(Killed), probing(probe):
        grow(log, store, stage.count, stage.count + 1)
    assert not is_tidy(store, log.folder)
    end = stage.count + 1 + unit * factor
    grow(log, store, stage.count, end)
    assert is_tidy(store, log.folder)
    assert log(store).read(end) == list(range(end))


class Meanwhile:
    """Another process does something just before this one's store call number `at`."""

    def __init__(self, at: int, action: Callable[[], None]) -> None:
        self.at = at
        self.calls = 0
        self.action: Callable[[], None] | None = action

    def before(self, step: Step) -> None:
        if step in {Step.STORE_READ, Step.STORE_WRITE}:
            self.calls += 1
            if self.calls == self.at and self.action is not None:
                action, self.action = self.action, None
                action()

    def after(self, step: Step) -> None:
        pass


@every_log
def test_whoever_folds_at_the_same_time_no_entry_is_lost(log, stages) -> None:
    stage = stages(log)
    count, at, over = stage.count, 1, False
    while not over:
        store = stage.copy()
        other = log(store)
        one = log(store)
        one.append(count)
        other.append(count)

        def fold(other=other) -> None:
            other.fold(count + 1)

        probe = Meanwhile(at, fold)
        with probing(probe):
            one.fold(count + 1)
            seen = one.read(count + 1)
        assert seen == list(range(count + 1))
        assert log(store).read(count + 1) == list(range(count + 1))
        assert is_tidy(store, log.folder)
        at, over = at + 1, probe.action is not None
    assert at > 2


class Crowd(RuleBasedStateMachine):
    """Processes with views of different age append, fold, read and die in any order."""

    log: type[Log] = Plain

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.store = Store.open(self.folder.name)
        self.count = 0
        self.processes = [self.log(self.store) for _ in range(3)]

    @rule(who=st.integers(0, 2), entries=st.integers(1, 5))
    def append(self, who: int, entries: int) -> None:
        for _ in range(entries):
            self.processes[who].append(self.count)
            self.count += 1

    @rule(who=st.integers(0, 2), fault=st.none() | st.integers(1, 6).flatmap(
        lambda at: st.sampled_from(fault_kinds(at))))  # fmt: skip
    def fold(self, who: int, fault: Fault | None) -> None:
        probe = FaultProbe(*filter(None, [fault]))
        try:
            with probing(probe):
                self.processes[who].fold(self.count)
        except (Killed, ProaError):
            assert probe.struck
            self.processes[who] = self.log(self.store)

    @rule(who=st.integers(0, 2))
    def read(self, who: int) -> None:
        assert self.processes[who].read(self.count) == list(range(self.count))

    @invariant()
    def every_entry_is_read_once(self) -> None:
        assert self.log(self.store).read(self.count) == list(range(self.count))

    def teardown(self) -> None:
        self.folder.cleanup()


TestCrowd = Crowd.TestCase
TestCrowd.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)


def test_many_entries_are_in_few_folds_and_each_is_written_seldom(tmp_path) -> None:
    store = Store.open(str(tmp_path))
    process = Plain(store)
    written = 0
    for number in range(2 * 3**5):
        process.append(number)
        before = set(spans(store, "folds"))
        process.fold(number + 1)
        written += sum(end - first for first, end in set(spans(store, "folds")) - before)
        assert len(spans(store, "folds")) <= 2 * 6
    assert spans(store, "folds") == [(0, 2 * 3**5)]
    assert written <= 2 * 3**5 * 6


def test_an_entry_is_settled_once(store) -> None:
    entries = NumberedEntries(store, "log", suffix=".json")
    assert entries.get(3) is None
    assert entries.settle(3, b"mine") == b"mine"
    assert entries.settle(3, b"another's") == b"mine"
    entries.settle(10, b"x")
    store.put("log/notes.txt", b"x")
    assert entries.numbers() == [3, 10]


def test_an_entry_whose_answer_was_lost_is_ours(tmp_path) -> None:
    entries = NumberedEntries(Store.open(str(tmp_path)), "log")
    with probing(FaultProbe(LoseAnswer(Step.STORE_WRITE))):
        assert entries.settle(0, b"mine") == b"mine"
    with probing(FaultProbe(Fail(Step.STORE_WRITE))), pytest.raises(ProaError, match="on purpose"):
        entries.settle(1, b"mine")


def test_an_entry_is_added_behind_those_that_are_there(tmp_path) -> None:
    entries = NumberedEntries(Store.open(str(tmp_path)), "log")
    for expected in (1, 2):
        assert entries.add(0, lambda n, mine=expected: b"%d by %d" % (n, mine)) == expected
    with probing(FaultProbe(LoseAnswer(Step.STORE_WRITE))):
        assert entries.add(2, lambda n: b"%d" % n) == 3
    with probing(FaultProbe(Fail(Step.STORE_WRITE))), pytest.raises(ProaError, match="on purpose"):
        entries.add(3, lambda n: b"%d" % n)
    assert entries.numbers() == [1, 2, 3]


@pytest.mark.parametrize("names", [SpanNames(10), SpanNames(20, last=1), SpanNames(20, ".x", 1)])
def test_a_fold_is_named_after_its_span(names: SpanNames) -> None:
    assert names.span(names.name(Span(7, 12))) == Span(7, 12)
    for other in ["existing", "7", "a-b", names.name(Span(7, 12)) + "y"]:
        assert names.span(other) is None


def test_a_sealed_object_says_that_it_is_damaged_or_of_a_later_version() -> None:
    sealed = seal(b"KIND", 3, b"body")
    assert unseal(b"KIND", 3, sealed, "u") == b"body"
    for damaged in [b"", sealed[:-1], sealed[:6], b"X" + sealed[1:], sealed + b"x"]:
        with pytest.raises(DataError, match="is damaged"):
            unseal(b"KIND", 3, damaged, "u")
    with pytest.raises(DataError, match="format 3, and this version of Proa reads format 2"):
        unseal(b"KIND", 2, sealed, "u")
