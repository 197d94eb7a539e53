"""A target is a function of the set of its changes, in whatever batches and order they come."""

import tempfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Event, Rules, scd1, scd2
from pyspark.sql import types as T
from tables import COLUMNS, Merging

from proa.cdc import ChangeShape

SCD1 = ChangeShape(("id",), COLUMNS, T.LongType())
SCD2 = replace(SCD1, history=True)

SHAPES = {
    "whole rows": (SCD1, Rules(), scd1),
    "history": (SCD2, Rules(), scd2),
    "history of a": (
        replace(SCD2, tracked=frozenset({"a"})),
        Rules(tracked=frozenset({"a"})),
        scd2,
    ),
    "null keeps": (
        replace(SCD1, null_keeps=frozenset({"a", "b"})),
        Rules(null_keeps=frozenset({"a", "b"})),
        scd1,
    ),
    "null keeps a": (
        replace(SCD1, null_keeps=frozenset({"a"})),
        Rules(null_keeps=frozenset({"a"})),
        scd1,
    ),
    "null keeps, history": (
        replace(SCD2, null_keeps=frozenset({"a", "b"})),
        Rules(null_keeps=frozenset({"a", "b"})),
        scd2,
    ),
    "named updates": (replace(SCD1, names_updates=True), Rules(names_updates=True), scd1),
    "named updates, history": (replace(SCD2, names_updates=True), Rules(names_updates=True), scd2),
}

values = st.tuples(st.sampled_from(["x", "y", None]), st.sampled_from([1, 2, None]))
updates = st.one_of(st.none(), st.sampled_from([("a",), ("b",), ("a", "b"), ()]))


@st.composite
def histories(draw, *, truncates: bool, named: bool) -> list[list[Event]]:
    """Batches of events, some of them twice, in any order."""
    kinds = ["upsert", "upsert", "upsert", "delete", *(["truncate"] if truncates else [])]
    events = draw(
        st.lists(
            st.builds(
                Event,
                st.integers(1, 3),
                st.integers(1, 9),
                values,
                st.sampled_from(kinds),
                updates if named else st.none(),
            ),
            min_size=1,
            max_size=14,
        )
    )
    events = [
        e if e.kind == "upsert" else replace(e, values=(None, None), update=None) for e in events
    ]
    batches: list[list[Event]] = [[]]
    for event in events:
        if batches[-1] and draw(st.booleans()):
            batches.append([])
        batches[-1].append(event)
    return batches


@pytest.mark.slow
@pytest.mark.parametrize("name", SHAPES)
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_order_and_cutting_of_changes_gives_the_same_table(name, data) -> None:
    shape, rules, oracle = SHAPES[name]
    batches = data.draw(histories(truncates=not shape.history, named=shape.names_updates))
    with tempfile.TemporaryDirectory() as folder:
        target = Merging(Path(folder), shape)
        for batch in batches:
            target.merge(batch)
        assert target.rows() == oracle([event for batch in batches for event in batch], rules)


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_changes_of_different_moments_give_the_same_table_late_or_not(data) -> None:
    """No two changes of a key are of one moment, so no value decides which one is the newest."""
    kinds = st.sampled_from(["upsert", "upsert", "delete"])
    events = [
        Event(key, sequence, (None, None) if kind == "delete" else data.draw(values), kind)
        for sequence in data.draw(st.permutations(range(8)))
        for key, kind in [(data.draw(st.integers(1, 3)), data.draw(kinds))]
    ]
    cut = data.draw(st.integers(1, len(events)))
    with tempfile.TemporaryDirectory() as folder:
        target = Merging(Path(folder), SCD1)
        for batch in (events[:cut], events[cut:]):
            if batch:
                target.merge(batch)
        assert target.rows() == scd1(events)


def test_a_row_that_is_newer_takes_the_place_of_the_one_in_its_file(tmp_path: Path) -> None:
    target = Merging(tmp_path, SCD1)
    target.merge([Event(key, 1, ("x", key)) for key in range(5)])
    merged = target.merge(
        [
            Event(0, 2, ("y", 0)),
            Event(1, 2, (None, None), "delete"),
            Event(2, 0, ("late", 2)),
            Event(9, 2, (None, None), "delete"),
            Event(7, 2, ("new", 7)),
        ]
    )
    assert (merged.upserted, merged.deleted, len(merged.removes)) == (2, 1, 1)
    assert target.rows() == [
        (0, "y", 0),
        (2, "x", 2),
        (3, "x", 3),
        (4, "x", 4),
        (7, "new", 7),
    ]


def test_a_change_feed_tells_which_rows_went_and_came(tmp_path: Path) -> None:
    target = Merging(tmp_path, SCD1, feed=True)
    target.merge([Event(key, 1, ("x", key)) for key in range(4)])
    merged = target.merge(
        [Event(0, 2, ("y", 0)), Event(1, 2, (None, None), "delete"), Event(7, 2, ("new", 7))]
    )
    told = pa.concat_tables(
        pq.read_table(f"{target.table.url}/{file.path}") for file in merged.changes
    )
    assert sorted(tuple(row.values()) for row in told.to_pylist()) == [
        (0, "x", 0, "update_preimage"),
        (0, "y", 0, "update_postimage"),
        (1, "x", 1, "delete"),
        (7, "new", 7, "insert"),
    ]


KEYED = T.StructType(
    [
        T.StructField("Shop", T.StringType()),
        T.StructField("number", T.IntegerType()),
        T.StructField("value", T.StringType()),
    ]
)


def test_keys_of_several_columns_are_found_in_several_files(tmp_path: Path) -> None:
    target = Merging(tmp_path, ChangeShape(("shop", "number"), KEYED, T.LongType()))
    expected = {}
    for sequence, shops in enumerate(["ab", "bc", "ac", "abcd"]):
        rows = [(shop, number) for shop in shops for number in range(sequence, sequence + 3)]
        expected |= dict.fromkeys(rows, f"{sequence}")
        target.merge_rows(
            pa.Table.from_pylist(
                [
                    {"shop": s, "number": n, "value": f"{sequence}", "__proa_sequence": sequence}
                    for s, n in reversed(rows)
                ]
            )
        )
    assert {row[:2]: row[2] for row in target.rows()} == expected


@pytest.mark.slow
def test_columns_may_have_any_name(tmp_path: Path) -> None:
    names = ("o", "d", "k0", "v", "file", "pos", "c0", "u")
    columns = T.StructType([T.StructField(name, T.LongType()) for name in names])
    for key, folder in (("o", "one"), ("file", "two")):
        (tmp_path / folder).mkdir()
        target = Merging(tmp_path / folder, ChangeShape((key,), columns, T.LongType()))
        for sequence in (1, 2):
            row = {name: 1 if name == key else sequence * 10 + i for i, name in enumerate(names)}
            target.merge_rows(pa.Table.from_pylist([{**row, "__proa_sequence": sequence}]))
            assert target.rows() == [tuple(row.values())]
