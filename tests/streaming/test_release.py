"""However shipments are cut into batches, an operator lets the same rows through: its oracle's."""

from __future__ import annotations

import itertools
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import Row, Shipments, first_rows, first_rows_within, joined, sessions, windows
from pyspark.sql.connect import proto
from pyspark.sql.types import LongType, StructField, StructType, TimestampType

from proa.errors import DataError
from proa.formats.place import PLACE, PLACE_TYPE, TIME
from proa.graph.stateful_plan import KEY, EventWindow, StatefulOperator, StatefulPlan
from proa.graph.stream_joins import LEFT, OVER, RIGHT, JoinSide
from proa.streaming.release import ReleaseInput, release, release_pairs
from proa.streaming.stream_state import StateFile, StateStore, StreamState

SECOND = 1_000_000
DELAY = 5
COLUMNS = StructType(
    [
        StructField("key", LongType()),
        StructField("at", TimestampType()),
        StructField("value", LongType()),
    ]
)
NOTHING = proto.Relation()
PLANS = {
    "first": StatefulPlan(
        StatefulOperator.DEDUPLICATE, NOTHING, NOTHING, ("key",), DELAY * SECOND, streams=("s",)
    ),
    "within": StatefulPlan(
        StatefulOperator.DEDUPLICATE_WITHIN,
        NOTHING,
        NOTHING,
        ("key",),
        DELAY * SECOND,
        streams=("s",),
    ),
    "tumbling": StatefulPlan(
        StatefulOperator.WINDOW,
        NOTHING,
        NOTHING,
        delay=DELAY * SECOND,
        window=EventWindow(4 * SECOND, 4 * SECOND),
        streams=("s",),
    ),
    "sliding": StatefulPlan(
        StatefulOperator.WINDOW,
        NOTHING,
        NOTHING,
        delay=DELAY * SECOND,
        window=EventWindow(7 * SECOND, 3 * SECOND),
        streams=("s",),
    ),
    "session": StatefulPlan(
        StatefulOperator.SESSION,
        NOTHING,
        NOTHING,
        (f"{KEY}0",),
        DELAY * SECOND,
        window=EventWindow(3 * SECOND, 3 * SECOND),
        streams=("s",),
    ),
}
ORACLES = {
    "first": lambda shipments: first_rows(shipments, DELAY),
    "within": lambda shipments: first_rows_within(shipments, DELAY),
    "tumbling": lambda shipments: windows(shipments, DELAY, 4, 4),
    "sliding": lambda shipments: windows(shipments, DELAY, 7, 3),
    "session": lambda shipments: sessions(shipments, DELAY, 3),
}
ROWS = st.builds(Row, st.integers(0, 2), st.none() | st.integers(0, 40), st.integers(0, 3))
SHIPMENTS = st.lists(st.lists(ROWS, max_size=4), min_size=1, max_size=7)


def table(shipments: Shipments, first: int) -> pa.Table:
    """The rows as an engine hands them over; `first` is the number of the first shipment."""
    rows = [
        {
            "key": row.key,
            "at": None if row.at is None else row.at * SECOND,
            "value": row.value,
            TIME: None if row.at is None else row.at * SECOND,
            f"{KEY}0": row.key,
            PLACE: {"stream": "s", "shipment": number, "file": "f", "start": 0, "row": index},
        }
        for number, shipment in enumerate(shipments, first)
        for index, row in enumerate(shipment)
    ]
    time = pa.timestamp("us", "UTC")
    schema = pa.schema(
        [
            ("key", pa.int64()),
            ("at", time),
            ("value", pa.int64()),
            (TIME, time),
            (f"{KEY}0", pa.int64()),
            (PLACE, PLACE_TYPE),
        ]
    )
    return pa.Table.from_pylist(rows, schema)


class Flow:
    """A flow's batches, without an engine: state goes from one to the next."""

    def __init__(self, plan: StatefulPlan, folder: Path) -> None:
        self.plan = plan
        self.folder = folder
        self.store = StateStore(str(folder), {}, "flow")
        self.number = 0
        self.shipped = 0
        self.rows: list[tuple[Any, ...]] = []

    def batch(self, shipments: Shipments) -> None:
        """Compute one batch; an attempt before it is lost."""
        rows = table(shipments, self.shipped + 1)
        self.shipped += len(shipments)
        path = str(self.folder / f"{self.shipped}.parquet")
        pq.write_table(rows, path)
        before = self.store.read(self.number, 0)
        for attempt in ("lost", "kept")[self.shipped % 2 :]:
            given = ReleaseInput(
                self.plan,
                [path] if len(rows) else [],
                None,
                COLUMNS,
                before,
                f"{attempt}-{self.shipped}",
            )
            released = release(given, self.store)
            state = self.store.put(replace(released.state, batch=before.batch + 1), self.number)
        self.number = state.number
        for file in released.files:
            self.rows += map(self.row_of, pq.read_table(file).to_pylist())

    @staticmethod
    def row_of(row: dict[str, Any]) -> tuple[Any, ...]:
        def seconds(moment: Any) -> Any:
            return None if moment is None else int(moment.timestamp())

        own = (row["key"], seconds(row["at"]), row["value"])
        if "session_window" in row:
            window = row["session_window"]
            return (seconds(window["start"]), seconds(window["end"]), *own)
        return (seconds(row["window"]["start"]), *own) if "window" in row else own


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANS)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_any_cutting_lets_the_oracles_rows_through(name, data):
    shipments = data.draw(SHIPMENTS)
    cuts = data.draw(st.sets(st.integers(1, 6)))
    bounds = [0, *sorted(cut for cut in cuts if cut < len(shipments)), len(shipments)]
    with tempfile.TemporaryDirectory() as folder:
        flow = Flow(PLANS[name], Path(folder))
        for start, end in itertools.pairwise(bounds):
            flow.batch(shipments[start:end])
        expected = ORACLES[name](shipments)
        assert sorted(flow.rows, key=str) == sorted(map(tuple, expected), key=str)


@pytest.mark.slow
def test_what_no_row_can_come_for_leaves_the_state(tmp_path):
    flow = Flow(PLANS["tumbling"], tmp_path)
    for number in range(30):
        flow.batch([[Row(key, number * 4 + key, 0) for key in range(3)]])
    state = flow.store.read(flow.number, 0)
    assert sum(file.rows for file in state.files) < 12
    assert len(state.files) < 8


@pytest.mark.slow
def test_a_key_whose_time_is_part_of_it_leaves_the_state(tmp_path):
    plan = replace(PLANS["first"], keys=("key", "at"), forgets=True)
    flow = Flow(plan, tmp_path)
    for number in range(30):
        flow.batch([[Row(1, number, 0), Row(1, number, 1)]])
    assert len(flow.rows) == 30
    assert sum(file.rows for file in flow.store.read(flow.number, 0).files) < 15


def test_a_state_of_the_release_before_has_left_no_column_out(tmp_path):
    store = StateStore(str(tmp_path), {}, "flow")
    written = StreamState(batch=3, seen={"s": 5}, files=(StateFile("rows", 2, 7),))
    number = store.put(written, 0).number
    [path] = tmp_path.rglob("*.json")
    data = json.loads(path.read_text())
    del data["left_out"]
    path.write_text(json.dumps({**data, "format": 1}))
    assert store.read(number, 0) == replace(written, number=number)


def test_a_state_is_that_of_one_operator(tmp_path):
    flow = Flow(PLANS["tumbling"], tmp_path)
    flow.batch([[Row(1, 1, 1)]])
    state = flow.store.read(flow.number, 0)
    with pytest.raises(DataError) as caught:
        state.check(PLANS["sliding"].contract, "flow", "target")
    assert caught.value.condition == "STREAMING_STATE_DRIFT"
    assert "window" in str(caught.value)
    assert "--full-refresh target" in str(caught.value)


def test_rows_without_a_place_are_refused_with_the_remedy(tmp_path):
    rows = table([[Row(1, 1, 1)]], 1)
    rows = rows.set_column(rows.schema.get_field_index(PLACE), PLACE, pa.nulls(1, PLACE_TYPE))
    path = str(tmp_path / "rows.parquet")
    pq.write_table(rows, path)
    store = StateStore(str(tmp_path), {}, "flow")
    with pytest.raises(DataError) as caught:
        release(
            ReleaseInput(PLANS["first"], [path], None, COLUMNS, store.read(None, 0), "a"), store
        )
    assert caught.value.condition == "STREAM_WITHOUT_ORDER"
    assert "manifest" in str(caught.value)


LOW, HIGH = -2, 6
DELAYS = (DELAY, 3)
JOIN = StatefulPlan(
    StatefulOperator.JOIN,
    NOTHING,
    NOTHING,
    sides=(
        JoinSide(NOTHING, HIGH * SECOND, True, DELAYS[0] * SECOND, None, ("s",)),
        JoinSide(NOTHING, -LOW * SECOND, True, DELAYS[1] * SECOND, None, ("s",)),
    ),
)


class Join:
    """A join's batches, without an engine: pairs are made here of what is let through."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = StateStore(str(folder), {}, "flow")
        self.number = 0
        self.shipped = [0, 0]
        self.rows: list[tuple[Row | None, Row | None]] = []

    def batch(self, *sides: Shipments) -> None:
        """Compute one batch with what is new on both sides."""
        before = self.store.read(self.number, 0)
        given = []
        for index, shipments in enumerate(sides):
            rows = table(shipments, self.shipped[index] + 1)
            self.shipped[index] += len(shipments)
            path = str(self.folder / f"{index}-{before.batch}.parquet")
            pq.write_table(rows, path)
            name = f"{before.batch}-{index}"
            files = [path] if len(rows) else []
            given.append(ReleaseInput(JOIN, files, None, COLUMNS, before, name))
        left, right = release_pairs((given[0], given[1]), self.store)
        self.number = self.store.put(
            replace(left.state, batch=before.batch + 1), self.number
        ).number
        self._pair(self._rows(left.files, LEFT), self._rows(right.files, RIGHT))

    @staticmethod
    def _rows(files: Any, mark: str) -> list[tuple[Row, int]]:
        rows = [row for file in files for row in pq.read_table(file).to_pylist()]
        return [(Row(*Flow.row_of(row)), row[mark]) for row in rows]

    def _pair(self, left: list[tuple[Row, int]], right: list[tuple[Row, int]]) -> None:
        def match(one: Row, other: Row) -> bool:
            times = one.at is not None and other.at is not None
            return times and one.key == other.key and LOW <= other.at - one.at <= HIGH

        for one, mark in left:
            partners = [(other, m) for other, m in right if match(one, other)]
            self.rows += [(one, other) for other, m in partners if mark % 2 + m % 2 > 0]
            if not partners and mark >= OVER:
                self.rows.append((one, None))
        for other, mark in right:
            if mark >= OVER and not any(match(one, other) for one, _ in left):
                self.rows.append((None, other))


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(left=SHIPMENTS, right=SHIPMENTS, data=st.data())
def test_any_interleaving_of_two_streams_joins_the_oracles_rows(left, right, data):
    """After each batch the rows are those of the two prefixes that were read."""
    with tempfile.TemporaryDirectory() as folder:
        join, at = Join(Path(folder)), (0, 0)
        while at != (len(left), len(right)):
            more = (
                data.draw(st.integers(at[0], len(left))),
                data.draw(st.integers(at[1], len(right))),
            )
            if more == at:
                more = (len(left), len(right))
            join.batch(left[at[0] : more[0]], right[at[1] : more[1]])
            at = more
            expected = joined(left[: at[0]], right[: at[1]], DELAYS, LOW, HIGH)
            assert sorted(join.rows, key=str) == sorted(expected, key=str)


@pytest.mark.slow
def test_rows_that_find_no_partner_any_more_leave_the_state_of_a_join(tmp_path):
    join = Join(tmp_path)
    for number in range(30):
        rows = [[Row(1, number, 0)]]
        join.batch(rows, rows)
    state = join.store.read(join.number, 0)
    assert sum(file.rows for file in state.files) < 50
    assert len(join.rows) > 200
