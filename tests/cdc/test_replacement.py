"""The rows of a key are all rows of its highest sequence, in whatever batches and order they come."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import rank
from pyspark.sql import types as T
from tables import Merging

from proa.cdc import ChangeShape, Merged, MergeInput, replace_keys
from proa.errors import DataError

COLUMNS = T.StructType(
    [
        T.StructField("id", T.LongType()),
        T.StructField("n", T.LongType()),
        T.StructField("a", T.StringType()),
    ]
)
ROWS = pa.schema([("id", pa.int64()), ("n", pa.int64()), ("a", pa.string())])


class Replacing(Merging):
    """A table that a replace flow feeds."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ChangeShape(("id",), COLUMNS, T.LongType()))

    def compute(self, given: MergeInput) -> Merged:
        return replace_keys(given, "n")

    def bring(self, *rows: tuple) -> Merged:
        named = [dict(zip(ROWS.names, row, strict=True)) for row in rows]
        return self.merge_rows(pa.Table.from_pylist(named, schema=ROWS))


row = st.tuples(st.integers(1, 3), st.integers(1, 4), st.sampled_from(["x", "y", None]))
batches = st.lists(st.lists(row, max_size=4), min_size=1, max_size=5)


@pytest.mark.slow
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(batches)
def test_a_table_is_a_function_of_all_rows_whatever_their_batches(batches) -> None:
    rows = [row for batch in batches for row in batch]
    highest: dict[int, int] = {}
    for key, n, _ in rows:
        highest[key] = max(n, highest.get(key, n))
    expected = Counter(row for row in rows if row[1] == highest[row[0]])
    with tempfile.TemporaryDirectory() as folder:
        replacing = Replacing(Path(folder))
        for batch in batches:
            replacing.bring(*batch)
        assert replacing.rows() == sorted(expected.elements(), key=rank)


def test_files_of_other_keys_stay(tmp_path: Path) -> None:
    replacing = Replacing(tmp_path)
    replacing.bring((1, 1, "a"), (2, 1, "b"))
    replacing.bring((8, 1, "c"), (9, 1, "d"))
    merged = replacing.bring((9, 2, "e"))
    assert len(merged.removes) == 1
    assert (merged.upserted, merged.deleted) == (1, 1)
    assert replacing.bring((9, 1, "late")).adds == ()


@pytest.mark.parametrize(
    ("row", "what"), [((None, 1, "a"), "NULL_KEY"), ((1, None, "a"), "NULL_SEQUENCE")]
)
def test_rows_without_key_or_sequence_are_refused(tmp_path: Path, row, what) -> None:
    with pytest.raises(DataError) as caught:
        Replacing(tmp_path).bring(row)
    assert caught.value.condition == f"AUTOCDC_MICROBATCH_VALIDATION.{what}"
