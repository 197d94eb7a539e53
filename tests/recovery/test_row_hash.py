"""Values that are hashed as they are are told apart as their texts are."""

from __future__ import annotations

import math
from itertools import product

import duckdb
import pyarrow as pa
import pytest

from proa.recovery.row_hash import hash_halves, row_hash, row_text

pytestmark = pytest.mark.slow

INT, LIST = pa.int64(), pa.list_(pa.int64())
STRUCT = pa.struct([("b", pa.int64()), ("a", pa.string())])
VALUES = {
    "text": (pa.string(), [None, "", "N", "a", "ab", "a\x00", "long enough to lie elsewhere"]),
    "bytes": (pa.binary(), [None, b"", b"\x00", b"\x00\x00", b"a"]),
    "float": (pa.float64(), [None, 0.0, -0.0, 1.0, math.nan, -math.nan, math.inf, -math.inf]),
    "short float": (pa.float32(), [None, 0.0, -0.0, 0.1, math.nan]),
    "flag": (pa.bool_(), [None, True, False]),
    "nothing": (pa.null(), [None]),
    "moment": (pa.timestamp("us", "UTC"), [None, 0, 1, -1]),
    "time": (pa.time64("us"), [None, 0, 1]),
    "price": (pa.decimal128(38, 4), [None, 0, 1, -1]),
    "word": (pa.dictionary(pa.int32(), pa.string()), [None, "", "a", "b"]),
    "list": (LIST, [None, [], [None], [None, None], [0], [0, None], [None, 0], [1, 2], [2, 1]]),
    "short list": (pa.list_(INT, 2), [None, [1, 2], [2, 1], [None, None]]),
    "texts": (pa.list_(pa.string()), [None, [], [""], ["", ""], ["ab"], ["a", "b"], ["ab", ""]]),
    "lists": (
        pa.list_(LIST),
        [None, [], [None], [[]], [[], []], [[None]], [[1, 2]], [[1], [2]], [[1, 2], []], [[], [1, 2]]],
    ),
    "struct": (
        STRUCT,
        [None, {"b": None, "a": None}, {"b": 1, "a": "x"}, {"b": None, "a": "1"}, {"b": 1, "a": None}],
    ),
    "structs": (
        pa.list_(STRUCT),
        [None, [], [None], [{"b": None, "a": None}], [{"b": 1, "a": "x"}], [None, {"b": 1, "a": "x"}]],
    ),
    "map": (
        pa.map_(pa.string(), INT),
        [None, [], [("a", None)], [("a", 1)], [("a", 1), ("b", 2)], [("b", 2), ("a", 1)], [("b", 1)]],
    ),
    "map of lists": (
        pa.map_(pa.string(), LIST),
        [None, [], [("a", None)], [("a", [])], [("a", [None])], [("a", [1, 2])]],
    ),
    "nothings": (pa.list_(pa.null()), [None, [], [None], [None, None]]),
}  # fmt: skip


def hashes(table: pa.Table) -> list[tuple]:
    with duckdb.connect() as db:
        db.register("rows", table)
        fields = list(table.schema)
        high, low = hash_halves(fields, typed=True)
        whole = row_hash(fields, typed=True)
        found = db.execute(f"SELECT {row_text(fields)}, {high}, {low}, {whole} FROM rows")
        return found.fetchall()


@pytest.mark.parametrize("name", VALUES)
def test_hashes_tell_apart_what_texts_tell_apart(name):
    kind, values = VALUES[name]
    pairs = list(product(values, repeat=2))
    table = pa.table([pa.array(side, kind) for side in zip(*pairs, strict=True)], names=["x", "y"])
    found = hashes(table)
    texts = {text for text, *_ in found}
    for part in (1, 2, 3):
        assert len({row[part] for row in found}) == len(texts)
        assert len({(row[0], row[part]) for row in found}) == len(texts)
    assert all((high << 64 | low) == whole for _, high, low, whole in found)


def test_rows_that_swap_values_have_other_sums():
    values = list(range(60))
    table = pa.table({"a": values, "b": [n * 7919 for n in values], "c": ["x"] * 60})
    swapped = table.set_column(1, "b", pa.array([values[n ^ 1] * 7919 for n in values]))
    for one, other in zip(range(0, 60, 2), range(1, 60, 2), strict=True):
        for part in (1, 2):
            sums = [
                sum(row[part] for number, row in enumerate(hashes(rows)) if number in {one, other})
                for rows in (table, swapped)
            ]
            assert sums[0] != sums[1]


def test_the_order_of_columns_and_fields_does_not_matter():
    table = pa.table({"b": pa.array([{"b": 1, "a": "x"}], STRUCT), "a": [1]})
    other = pa.struct([STRUCT[1], STRUCT[0]])
    turned = pa.table({"a": [1], "b": pa.array([{"b": 1, "a": "x"}], other)})
    assert hashes(table) == hashes(turned)
