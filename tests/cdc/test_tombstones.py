"""Deletions are remembered, for ever or as long as the table says, by the clock of the data."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from pyspark.sql import types as T
from tables import CHANGES, COLUMNS, Merging

from proa.cdc import MEMORY, ChangeShape, MemoryStore

FOREVER = ChangeShape(("id",), COLUMNS, T.TimestampType())
SHAPES = {"rows": FOREVER, "history": replace(FOREVER, history=True)}
BEGIN = datetime(2020, 1, 1, tzinfo=UTC)
SCHEMA = CHANGES.set(3, pa.field("__proa_sequence", pa.timestamp("us", "UTC")))


class Timed(Merging):
    """A target whose changes are ordered by time; seconds count from its beginning."""

    def bring(self, *changes: tuple[int, int, str | None]) -> None:
        """Apply (key, seconds, value); without a value the key is deleted."""
        rows = [
            {
                "id": key,
                "a": value,
                "__proa_sequence": BEGIN + timedelta(seconds=seconds),
                "__proa_delete": value is None,
                "__proa_truncate": False,
            }
            for key, seconds, value in changes
        ]
        self.merge_rows(pa.Table.from_pylist(rows, schema=SCHEMA))

    def values(self) -> list[tuple]:
        return [row[:2] for row in self.rows()]

    def remembers(self) -> int:
        """Rows of the memory."""
        self.table.refresh()
        memory = MemoryStore(self.table.url, {}).read(self.table.transaction(MEMORY), 0)
        return sum(rows for _, rows in memory.files)


@pytest.mark.parametrize(
    "shape", [FOREVER, replace(FOREVER, retention=100.0)], ids=["ever", "100 s"]
)
def test_a_late_change_does_not_bring_back_what_was_deleted(tmp_path: Path, shape) -> None:
    target = Timed(tmp_path, shape)
    target.bring((1, 0, "x"), (1, 10, None))
    target.bring((2, 90, "y"))
    target.bring((1, 5, "late"))
    assert target.values() == [(2, "y")]


@pytest.mark.slow
def test_deletions_older_than_the_data_by_the_threshold_are_forgotten(tmp_path: Path) -> None:
    target = Timed(tmp_path, replace(FOREVER, retention=100.0))
    target.bring(*((key, 0, None) for key in range(50)))
    assert target.remembers() == 50
    # Years have passed by the wall's clock; the data's has not moved.
    target.bring((100, 50, "x"))
    assert target.remembers() == 51
    for seconds in range(200, 260, 10):
        target.bring(*((100 + seconds + i, seconds, "x") for i in range(10)))
    (tmp_path / "other").mkdir()
    forever = Timed(tmp_path / "other", FOREVER)
    forever.bring(*((key, 0, None) for key in range(50)))
    assert forever.remembers() == 50
    kept = target.remembers()
    assert kept == 61, "the deletions are gone, the sequences of living keys stay"


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_what_is_shown_does_not_depend_on_what_is_forgotten(tmp_path: Path, shape) -> None:
    """Without late changes both thresholds give the same table."""
    tables = []
    for name, retention in (("ever", None), ("short", 1.0)):
        (tmp_path / name).mkdir()
        target = Timed(tmp_path / name, replace(shape, retention=retention))
        for n in range(6):
            target.bring((n % 3, n * 10, None if n % 4 == 3 else "abc"[n % 3]), (9, n * 10, str(n)))
        tables.append(target.rows())
    assert tables[0] == tables[1]
