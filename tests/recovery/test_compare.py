"""Two tables are equal when they hold the same rows, however they are arranged."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import proa
from proa.errors import SettingsError
from proa.recovery.compare import Rules, compare

pytestmark = pytest.mark.slow

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("text", pa.string()),
        ("number", pa.float64()),
        ("flag", pa.bool_()),
        ("at", pa.timestamp("us", "UTC")),
        ("day", pa.date32()),
        ("price", pa.decimal128(20, 2)),
        ("raw", pa.binary()),
        ("tags", pa.list_(pa.string())),
        ("place", pa.struct([("x", pa.int32()), ("name", pa.string())])),
        ("counts", pa.map_(pa.string(), pa.int64())),
    ]
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=6)
VALUES = {
    "id": st.integers(-3, 3),
    "text": TEXT,
    "number": st.floats(width=64).map(lambda x: 0.0 if x == 0 else x),
    "flag": st.booleans(),
    "at": st.timedeltas(timedelta(-9999), timedelta(9999)).map(lambda gone: EPOCH + gone),
    "day": st.dates(date(1960, 1, 1), date(2100, 1, 1)),
    "price": st.decimals(-(10**15), 10**15, places=2),
    "raw": st.binary(max_size=4),
    "tags": st.lists(st.none() | TEXT, max_size=3),
    "place": st.fixed_dictionaries({"x": st.none() | st.integers(-9, 9), "name": st.none() | TEXT}),
    "counts": st.dictionaries(TEXT, st.integers(-9, 9), max_size=3).map(lambda d: list(d.items())),
}
ROWS = st.lists(
    st.fixed_dictionaries({name: st.none() | values for name, values in VALUES.items()}), max_size=8
)


def table(rows) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=SCHEMA)


@settings(max_examples=20, deadline=None)
@given(rows=ROWS, data=st.data())
def test_the_order_of_rows_and_columns_does_not_matter(rows, data):
    shuffled = data.draw(st.permutations(rows))
    names = data.draw(st.permutations(SCHEMA.names))
    assert compare(table(rows), table(shuffled).select(names)).equal


@settings(max_examples=40, deadline=None)
@given(rows=ROWS.filter(bool), data=st.data())
def test_one_changed_value_is_found(rows, data):
    number = data.draw(st.integers(0, len(rows) - 1))
    name = data.draw(st.sampled_from(SCHEMA.names))
    other = data.draw(st.none() | VALUES[name])
    before = rows[number][name]
    both_nan = isinstance(other, float) and isinstance(before, float)
    both_nan = both_nan and math.isnan(other) and math.isnan(before)
    same = other == before or both_nan
    if name == "counts" and other is not None and before is not None:
        same = dict(other) == dict(before)
    changed = [*rows[:number], {**rows[number], name: other}, *rows[number + 1 :]]
    assert compare(table(rows), table(changed)).equal is same


@settings(max_examples=12, deadline=None)
@given(rows=ROWS.filter(bool), data=st.data())
def test_how_often_a_row_is_there_matters(rows, data):
    row = data.draw(st.sampled_from(rows))
    found = compare(table(rows), table([*rows, row]))
    assert (found.equal, found.only) == (False, (0, 1))
    pairs = compare(table([row, row]), table([]))
    assert (pairs.equal, pairs.only) == (False, (2, 0))


def big(changed: dict[int, float] | None = None) -> pa.Table:
    rows = 1_000_000
    amounts = np.random.default_rng(7).random(rows)
    for number, value in (changed or {}).items():
        amounts[number] = value
    return pa.table({"order_id": np.arange(rows), "amount": amounts})


def test_one_changed_value_among_a_million_rows_is_named():
    found = compare(big(), big({777_777: 2.0}))
    assert (found.equal, found.changed, found.only) == (False, 1, (0, 0))
    assert found.key == ("order_id",)
    (change,) = found.changes
    assert change.key == {"order_id": 777_777}
    assert set(change.columns) == {"amount"}
    assert change.columns["amount"][1] == 2.0


def test_a_key_of_several_columns_is_guessed():
    rows = [{"carrier": c, "day": d, "n": c + d} for c in range(5) for d in range(5)]
    left = pa.Table.from_pylist(rows)
    rows[3]["n"] = 99
    found = compare(left, pa.Table.from_pylist(rows))
    assert found.key == ("carrier", "day")
    assert [change.columns for change in found.changes] == [{"n": (3, 99)}]


def test_a_given_key_is_used():
    left = pa.table({"a": [1, 2], "b": [5, 6]})
    right = pa.table({"a": [1, 2], "b": [5, 7]})
    assert [one.key for one in compare(left, right, Rules(key=("a",))).changes] == [{"a": 2}]
    found = compare(left, right, Rules(key=("b",)))
    assert (found.changed, found.only) == (0, (1, 1))
    assert found.only_left == ({"a": 2, "b": 6},)
    with pytest.raises(SettingsError, match="no column 'c'"):
        compare(left, right, Rules(key=("c",)))
    assert compare(left, right, Rules(key=("c",), key_needed=False)).changed == 1


def test_rows_without_a_key_are_listed_as_left_over():
    left = pa.table({"x": [1.0, 1.0, 2.0]})
    right = pa.table({"x": [1.0, 2.0, 3.0]})
    found = compare(left, right)
    assert (found.only, found.only_left, found.only_right) == ((1, 1), ({"x": 1.0},), ({"x": 3.0},))


def test_missing_and_retyped_columns_are_differences_and_the_rest_is_compared():
    left = pa.table({"a": pa.array([1], pa.int32()), "b": [1], "c": [1]})
    right = pa.table({"a": pa.array([1], pa.int64()), "c": [2], "d": [1]})
    found = compare(left, right)
    assert found.schema == (
        "the column 'a' is int32 on the left and int64 on the right",
        "the column 'b' is missing on the right",
        "the column 'd' is missing on the left",
    )
    assert found.columns == ("a", "c")
    assert found.changes[0].columns == {"c": (1, 2)}


def test_ignored_columns_are_left_out_and_listed():
    left, right = pa.table({"a": [1], "at": [1]}), pa.table({"a": [1], "at": [2]})
    found = compare(left, right, Rules(ignore=("at",)))
    assert (found.equal, found.ignored, found.columns) == (True, ("at",), ("a",))


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        (1.0, 1.0 + 1e-12, True),
        (1.0, 1.0 + 1e-6, False),
        (1e12, 1e12 + 10, True),
        (1e12, 1e12 + 1e5, False),
        (0.0, -1e-12, True),
        (None, 0.0, False),
        (float("nan"), float("nan"), True),
        (float("nan"), 1.0, False),
        (float("inf"), float("inf"), True),
        (float("inf"), 1e300, False),
    ],
)
def test_floats_are_compared_with_the_tolerance(left, right, equal):
    tables = [
        pa.table({"id": [1, 2], "x": pa.array([value, 5.0], pa.float64())})
        for value in (left, right)
    ]
    assert compare(*tables, Rules(tolerance=1e-9)).equal is equal


def test_many_floats_within_the_tolerance_are_counted():
    left = pa.table({"k": ["a", "a", "b"], "x": [1.0, 2.0, 3.0]})
    right = pa.table({"k": ["a", "b", "a"], "x": [2.0 + 1e-13, 3.0, 1.0 + 1e-13]})
    found = compare(left, right, Rules(tolerance=1e-9))
    assert (found.equal, found.tolerated) == (True, 2)
    assert compare(left, right).changed + sum(compare(left, right).only) > 0


def column(values, kind) -> pa.Table:
    return pa.table({"x": pa.array(values, kind)})


def test_decimals_of_another_scale_hold_the_same_numbers():
    values = [Decimal("1.50"), Decimal("-0.10"), Decimal("100.00"), Decimal(0), None]
    left = column(values, pa.decimal128(10, 2))
    right = column(values, pa.decimal128(38, 4))
    found = compare(left, right)
    assert found.only == (0, 0)
    assert found.changed == 0
    assert len(found.schema) == 1


def test_wide_decimals_are_exact():
    kind = pa.decimal128(38, 10)
    left = column([Decimal("1234567890123456789012345678.0000000001")], kind)
    right = column([Decimal("1234567890123456789012345678.0000000002")], kind)
    assert compare(left, left).equal
    assert not compare(left, right).equal


def test_zero_has_no_sign_and_there_is_one_nan():
    kind = pa.float64()
    assert compare(column([0.0], kind), column([-0.0], kind)).equal
    odd_nan = pa.array(np.array([0x7FF8000000000001], dtype="u8").view("f8"))
    assert compare(column([float("nan")], kind), pa.table({"x": odd_nan})).equal


def test_null_empty_and_the_text_of_null_are_three_things():
    kind = pa.string()
    values = [None, "", "N", "-1", "0:"]
    for one in values:
        for other in values:
            assert compare(column([one], kind), column([other], kind)).equal is (one == other)


def test_text_cannot_move_between_columns():
    left = pa.table({"a": ["x", "s1:y"], "b": ["ys1:", ""]})
    right = pa.table({"a": ["xy", "s1:"], "b": ["s1:", "y"]})
    assert not compare(left, right).equal


@pytest.mark.parametrize("name", ["two words", 'quo"te', "it's", "select", "ü", "a.b"])
def test_column_names_may_be_anything(name: str):
    kind = pa.struct([(name, pa.int64())])
    left = pa.table({name: pa.array([{name: 1}], kind), "k": [1]})
    right = pa.table({name: pa.array([{name: 2}], kind), "k": [1]})
    assert compare(left, left).equal
    assert compare(left, right).changes[0].columns == {name: ({name: 1}, {name: 2})}


def test_empty_tables_are_equal():
    assert compare(table([]), table([])).equal
    assert compare(pa.table({}), pa.table({})).equal


def reserved_names() -> list[str]:
    """Every word in the code that compares, and every name that the code base keeps for itself."""
    root = Path(proa.__file__).parent
    words: dict[str, str] = {"c0": "c0", "c1": "c1"}
    for file in (root / "recovery").glob("*.py"):
        for word in re.findall(r"[A-Za-z_]\w*", file.read_text()):
            words.setdefault(word.lower(), word)
    for file in root.rglob("*.py"):
        for word in re.findall(r"[\"'](_\w+|proa\w+)[\"']", file.read_text()):
            words.setdefault(word.lower(), word)
    return list(words.values())


def test_no_name_of_ours_hides_a_users_column():
    names = reserved_names()
    assert {"proa_h", "left_rows", "_rescued_data"} <= set(names)
    left = pa.table({name: pa.array([n, 7]) for n, name in enumerate(names)})
    right = pa.table({name: pa.array([-1 - n, 7]) for n, name in enumerate(names)})
    assert compare(left, left).equal
    found = compare(left, right, Rules(key=(names[0],)))
    assert (found.changed, found.only) == (0, (1, 1))
    kept = (
        left.set_column(0, names[0], pa.array([0, 7])),
        right.set_column(0, names[0], pa.array([0, 7])),
    )
    (change,) = compare(*kept, Rules(key=(names[0],))).changes
    assert set(change.columns) == set(names[1:])


def test_a_name_of_ours_inside_a_struct_hides_nothing():
    names = ["proa_h", "c0", "key", "value", "k", "v", "x0", "entries"]
    kind = pa.map_(pa.string(), pa.struct([(name, pa.float64()) for name in names]))
    values = dict.fromkeys(names, 1.0)
    for name in names:
        tables = [
            column([[("a", {**values, name: other})]], kind) for other in (1.0, 1.0 + 1e-12, 2.0)
        ]
        assert not compare(tables[0], tables[1]).equal
        assert compare(tables[0], tables[1], Rules(tolerance=1e-9)).equal
        assert not compare(tables[0], tables[2], Rules(tolerance=1e-9)).equal


def test_the_order_of_a_structs_fields_does_not_matter_at_any_depth():
    def kind(*names: str) -> pa.DataType:
        inner = pa.struct([(name, pa.int64()) for name in names])
        return pa.list_(
            pa.struct(
                [("m", pa.map_(pa.string(), inner)), ("n", inner)][:: 1 if names[0] == "x" else -1]
            )
        )

    rows = [[{"m": [("k", {"x": 1, "y": 2})], "n": {"x": 3, "y": None}}], None]
    assert compare(column(rows, kind("x", "y")), column(rows, kind("y", "x"))).equal
    other = [[{"m": [("k", {"x": 1, "y": 2})], "n": {"x": 3, "y": 0}}], None]
    assert not compare(column(rows, kind("x", "y")), column(other, kind("y", "x"))).equal


NESTED = pa.struct(
    [
        ("f", pa.float64()),
        ("l", pa.list_(pa.float32())),
        ("s", pa.list_(pa.struct([("g", pa.float64()), ("t", pa.string())]))),
        ("m", pa.map_(pa.string(), pa.float64())),
    ]
)
NUMBERS = st.none() | st.sampled_from([0.0, 1.0, 2.5, -3.0, 1e12, math.inf, -math.inf, math.nan])
NESTED_VALUES = st.fixed_dictionaries(
    {
        "f": NUMBERS,
        "l": st.none() | st.lists(NUMBERS, max_size=3),
        "s": st.none()
        | st.lists(st.fixed_dictionaries({"g": NUMBERS, "t": st.sampled_from("ab")}), max_size=2),
        "m": st.none()
        | st.dictionaries(st.sampled_from("xyz"), NUMBERS, max_size=3).map(
            lambda d: list(d.items())
        ),
    }
)


def moved(value, by: float):
    """The value with every finite float off by a relative `by`."""
    if isinstance(value, float):
        return value + by * max(1.0, abs(value)) if math.isfinite(value) else value
    if isinstance(value, dict):
        return {name: moved(held, by) for name, held in value.items()}
    if isinstance(value, list):
        return [moved(held, by) for held in value]
    return (value[0], moved(value[1], by)) if isinstance(value, tuple) else value


@settings(max_examples=20, deadline=None)
@given(rows=st.lists(st.none() | NESTED_VALUES, max_size=5), data=st.data())
def test_the_tolerance_reaches_floats_at_any_depth(rows, data):
    near = [moved(row, data.draw(st.sampled_from([4e-7, -4e-7]))) for row in rows]
    shuffled = data.draw(st.permutations(near))
    assert compare(column(rows, NESTED), column(shuffled, NESTED), Rules(tolerance=1e-6)).equal
    far = [moved(row, 1e-3) for row in rows]
    differs = pa.array(rows, NESTED).equals(pa.array(far, NESTED))
    found = compare(column(rows, NESTED), column(far, NESTED), Rules(tolerance=1e-6))
    assert found.equal or not differs


def test_a_column_may_have_a_tolerance_of_its_own():
    left = pa.table({"id": [1, 2], "x": [1.0, 2.0], "y": [1.0, 2.0]})
    right = pa.table({"id": [1, 2], "x": [1.1, 2.1], "y": [1.0, 2.0]})
    assert compare(left, right, Rules(tolerances={"x": 0.2})).equal
    assert not compare(left, right, Rules(tolerances={"y": 0.2})).equal
    assert not compare(left, right, Rules(tolerance=0.2, tolerances={"x": 0.0})).equal


def test_neighbours_within_the_tolerance_find_each_other_in_any_order():
    left = pa.table({"x": [1.0, 1.0 + 1e-9], "y": [5.0, 3.0]})
    right = pa.table({"x": [1.0 + 1e-9, 1.0], "y": [5.0, 3.0]})
    found = compare(left, right, Rules(tolerance=1e-6))
    assert (found.equal, found.tolerated) == (True, 2)
