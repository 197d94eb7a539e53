"""A target is a function of the set of its changes, in whatever batches and order they come."""

import tempfile
from dataclasses import replace
from pathlib import Path

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
