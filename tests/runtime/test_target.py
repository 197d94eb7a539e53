"""What every target of flows promises; each implementation of the port goes through it."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from pyspark.sql.types import LongType, StringType, StructField, StructType

from proa.engine import Engine
from proa.errors import ConflictError, SourceLocation, UnavailableError
from proa.lake.commit import begin_generation, replace_files
from proa.layout import Layout
from proa.pipelines.definitions import Dataset, DatasetKind
from proa.runtime.checkpoint import Plan
from proa.runtime.context import Context
from proa.runtime.event import Origin
from proa.runtime.event_log import EventLog
from proa.runtime.flow_kinds import Append, BatchWork, Replace
from proa.runtime.target import Attempt, Position, TableTarget, TargetDelivery
from proa.steps import Step, probing
from proa.testing import FakeClock, Fault, FaultProbe, FixedIds, Killed, every_fault

ID = StructType([StructField("id", LongType())])
ID_AND_TEXT = StructType([*ID.fields, StructField("text", StringType())])


class Feeding:
    """A flow that brings made-up rows to a target."""

    def __init__(self, engine: Engine, target: TableTarget, flow: str = "f") -> None:
        self.engine = engine
        self.target = target
        self.flow = flow

    def delivery(
        self, batch: int, rows: str, columns=ID, *, generation=0, kind=None
    ) -> TargetDelivery:
        kind = kind or Append()
        self.target.position(self.flow)
        attempt = self.target.begin(columns, (), replaces=kind.replaces, widens=False)
        frame = self.engine.spark.sql(f"SELECT {', '.join(columns.names)} FROM VALUES {rows}")
        work = BatchWork(
            self.engine,
            frame,
            columns,
            attempt.columns,
            attempt.destination,
            self.target.table,
        )
        plan = Plan(batch, {}, "d", kind.replaces)
        return TargetDelivery(self.flow, generation, plan, attempt, kind.store(work))

    def bring(self, batch: int, rows: str, columns=ID, **options) -> bool:
        return self.target.commit(self.delivery(batch, rows, columns, **options))

    def rows(self) -> list[tuple]:
        self.target.position(self.flow)
        return sorted(tuple(row.values()) for row in self.target.table.to_arrow().to_pylist())


def one(*ids: int) -> str:
    return ", ".join(f"({number})" for number in ids) + " AS t(id)"


@pytest.fixture
def targets(tmp_path: Path, engines: Callable[[dict[str, str]], Engine]):
    """Makes handles of one target, as several runners have them."""

    def make(**declared) -> Feeding:
        engine, clock, ids = engines({}), FakeClock(), FixedIds()
        layout = Layout(str(tmp_path))
        events = EventLog(layout.events, {}, origin=Origin("p", "p"), clock=clock, ids=ids)
        context = Context(layout, {}, engine, clock, ids, events)
        where = SourceLocation("p.py", 1)
        dataset = Dataset("t", DatasetKind.STREAMING_TABLE, where, **declared)
        return Feeding(engine, TableTarget("t", dataset, context))

    return make


@pytest.fixture
def feeding(targets) -> Feeding:
    return targets()


def test_a_flow_begins_before_its_first_batch(feeding: Feeding) -> None:
    assert feeding.target.position("f") == Position(0, None)


def test_a_batch_that_was_committed_is_the_position(feeding: Feeding) -> None:
    assert feeding.bring(0, one(1, 2))
    assert feeding.bring(1, one(3))
    assert feeding.target.position("f") == Position(0, 1)
    assert feeding.target.position("another") == Position(0, None)
    assert feeding.rows() == [(1,), (2,), (3,)]


def test_nobody_sees_rows_before_they_are_committed(feeding: Feeding) -> None:
    feeding.bring(0, one(1))
    delivery = feeding.delivery(1, one(2))
    assert feeding.rows() == [(1,)]
    feeding.target.abort(delivery.attempt, delivery.stored)
    assert feeding.rows() == [(1,)]
    assert feeding.target.position("f") == Position(0, 0)


def test_of_two_attempts_at_a_batch_one_is_committed(targets) -> None:
    ours, theirs = targets(), targets()
    ours.bring(0, one(1))
    delivery = ours.delivery(1, one(2))
    assert theirs.bring(1, one(2))
    assert not ours.target.commit(delivery)
    ours.target.abort(delivery.attempt, delivery.stored)
    assert ours.rows() == [(1,), (2,)]


@pytest.mark.parametrize("fault", every_fault([Step.TABLE_CREATE, Step.COMMIT]), ids=str)
def test_a_batch_is_there_once_whatever_happens_to_its_commit(targets, fault: Fault) -> None:
    feeding = targets()
    delivery = feeding.delivery(0, one(1))
    with probing(FaultProbe(fault)), contextlib.suppress(Killed, UnavailableError):
        feeding.target.commit(delivery)
    after = targets()
    if after.target.position("f").batch is None:
        after.bring(0, one(1))
    assert after.rows() == [(1,)]


def test_a_batch_may_bring_new_columns(feeding: Feeding) -> None:
    feeding.bring(0, one(1))
    feeding.bring(1, "(2, 'x') AS t(id, text)", ID_AND_TEXT)
    assert feeding.rows() == [(1, None), (2, "x")]


def test_a_replacing_batch_takes_the_place_of_all_rows(feeding: Feeding) -> None:
    feeding.bring(0, one(1, 2), kind=Replace())
    feeding.bring(1, "('x') AS t(text)", StructType(ID_AND_TEXT.fields[1:]), kind=Replace())
    assert feeding.rows() == [("x",)]


def test_rows_stay_until_a_full_refresh_has_its_first_batch(feeding: Feeding) -> None:
    feeding.bring(0, one(1))
    late = feeding.delivery(1, one(2))
    begin_generation(feeding.target.table, {})
    assert feeding.target.position("f") == Position(1, None)
    with pytest.raises(ConflictError):
        feeding.target.commit(late)
    assert feeding.rows() == [(1,)]
    feeding.bring(0, one(7), generation=1)
    feeding.bring(1, one(8), generation=1)
    assert feeding.rows() == [(7,), (8,)]


def test_files_may_be_compacted_beside_a_flow(feeding: Feeding) -> None:
    feeding.bring(0, one(1))
    delivery = feeding.delivery(1, one(2))
    table = feeding.target.table
    whole = feeding.delivery(1, one(1))
    replace_files(table, table.live_paths(), whole.stored.adds)
    assert feeding.target.commit(delivery)
    assert feeding.rows() == [(1,), (2,)]


def test_a_target_with_declared_columns_is_set_up_once(targets) -> None:
    feeding = targets(schema="id bigint", comment="said")
    feeding.target.set_up()
    feeding.target.set_up()
    assert (feeding.rows(), feeding.target.table.comment) == ([], "said")
    feeding.bring(0, one(1))
    assert isinstance(feeding.delivery(1, one(2)).attempt, Attempt)
    assert feeding.rows() == [(1,)]
