"""Hints leave files out, and never a row that matches."""

from __future__ import annotations

import json
import operator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proa.gateway.file_hints import chosen_files
from proa.gateway.snapshots import SharedFile

COLUMNS = {"number": "int", "word": "string", "part": "int"}
COMPARED = {
    "equal": operator.eq,
    "lessThan": operator.lt,
    "lessThanOrEqual": operator.le,
    "greaterThan": operator.gt,
    "greaterThanOrEqual": operator.ge,
}
SIGNS = {
    "equal": "=",
    "lessThan": "<",
    "lessThanOrEqual": "<=",
    "greaterThan": ">",
    "greaterThanOrEqual": ">=",
}
NUMBERS = st.integers(-3, 3)
WORDS = st.sampled_from(["", "a", "ab", "b", "ü", "\U0010ffff"])

ROWS = st.lists(st.tuples(st.none() | NUMBERS, st.none() | WORDS), min_size=1, max_size=4)
FILES = st.lists(st.tuples(ROWS, st.none() | NUMBERS, st.booleans()), max_size=5)


def leaf(column: str) -> st.SearchStrategy[Any]:
    values = WORDS if column == "word" else NUMBERS
    sides = st.tuples(st.sampled_from(sorted(COMPARED)), values, st.booleans())
    return sides.map(lambda side: _comparison(column, *side)) | st.just(
        {
            "op": "isNull",
            "children": [{"op": "column", "name": column, "valueType": COLUMNS[column]}],
        }
    )


def _comparison(column: str, op: str, value: Any, turned: bool) -> dict[str, Any]:  # noqa: FBT001
    kind = COLUMNS[column]
    sides = [
        {"op": "column", "name": column, "valueType": kind},
        {"op": "literal", "value": str(value), "valueType": kind},
    ]
    return {"op": op, "children": sides[::-1] if turned else sides}


TREES = st.recursive(
    st.sampled_from(sorted(COLUMNS)).flatmap(leaf),
    lambda below: (
        st.builds(
            lambda op, parts: {"op": op, "children": parts},
            st.sampled_from(["and", "or"]),
            st.lists(below, min_size=2, max_size=3),
        )
        | below.map(lambda one: {"op": "not", "children": [one]})
    ),
    max_leaves=6,
)


def shared_file(number: int, rows, part, bare: bool) -> SharedFile:  # noqa: FBT001
    """A file with the statistics that its rows have; `bare` without any."""
    if bare:
        return SharedFile(str(number), 1, 0, None, {"part": part})
    low, high, nulls = {}, {}, {}
    for index, name in enumerate(("number", "word")):
        values = [row[index] for row in rows if row[index] is not None]
        nulls[name] = len(rows) - len(values)
        low[name], high[name] = (min(values), max(values)) if values else (None, None)
    return SharedFile(str(number), 1, 0, len(rows), {"part": part}, low, high, nulls)


def matches(tree: Any, row: dict[str, Any]) -> bool | None:
    """What SQL says of a row: true, false or unknown."""
    op, below = tree["op"], tree["children"]
    if op == "isNull":
        return row[below[0]["name"]] is None
    if op in COMPARED:
        sides = [side_of(side, row) for side in below]
        return None if None in sides else COMPARED[op](*sides)
    answers = [matches(part, row) for part in below]
    if op == "not":
        return None if answers[0] is None else not answers[0]
    decisive = op == "or"
    if decisive in answers:
        return decisive
    return None if None in answers else not decisive


def side_of(side: Any, row: dict[str, Any]) -> Any:
    if side["op"] == "column":
        return row[side["name"]]
    return side["value"] if side["valueType"] == "string" else int(side["value"])


def as_sql(tree: Any) -> str:
    op, below = tree["op"], tree["children"]
    if op == "isNull":
        return f"{below[0]['name']} IS NULL"
    if op == "not":
        return f"NOT ({as_sql(below[0])})"
    if op in COMPARED:
        left, right = (sql_side(side) for side in below)
        return f"{left} {SIGNS[op]} {right}"
    return f" {op} ".join(f"({as_sql(part)})" for part in below)


def sql_side(side: Any) -> str:
    if side["op"] == "column":
        return str(side["name"])
    return f"'{side['value']}'" if side["valueType"] == "string" else str(side["value"])


@pytest.mark.slow
@given(files=FILES, tree=TREES)
def test_no_row_that_matches_is_left_out(files, tree):
    shared = [shared_file(number, *file) for number, file in enumerate(files)]
    needed = {
        str(number)
        for number, (rows, part, _) in enumerate(files)
        if any(matches(tree, {"number": n, "word": w, "part": part}) for n, w in rows)
    }
    for how in ({"tree": json.dumps(tree)}, {"sql": [as_sql(tree)]}):
        chosen = {file.path for file in chosen_files(shared, **how)}
        assert needed <= chosen


@given(files=FILES, limit=st.integers(0, 12))
def test_a_limit_leaves_enough_rows(files, limit):
    shared = [shared_file(number, *file) for number, file in enumerate(files)]
    rows = {str(number): len(rows) for number, (rows, _, _) in enumerate(files)}
    chosen = [rows[file.path] for file in chosen_files(shared, limit=limit)]
    assert sum(chosen) >= min(limit, sum(rows.values()))


@pytest.mark.parametrize(
    "hint",
    [
        "number = 'many'",
        "word > 5",
        "upper(word) = 'X'",
        "number in (1)",
        "a.number = 9",
        "9",
        "NOT",
        "number = 9 OR upper(word) = 'X'",
    ],
)
def test_a_hint_that_cannot_be_used_leaves_nothing_out(hint):
    file = shared_file(0, [(1, "a")], None, bare=False)
    assert chosen_files([file], sql=[hint]) == [file]


def test_a_hint_that_can_leaves_out_what_it_rules_out():
    files = [shared_file(n, [(n, "a"), (None, None)], n, bare=False) for n in range(3)]
    for hint in ("number > 1", "part = 2", "number = 2 AND upper(word) = 'X'", "NOT number <= 1"):
        assert [file.path for file in chosen_files(files, sql=[hint])] == ["2"]
