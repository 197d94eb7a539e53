"""A target that is merged into without a pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from oracle import Event, rank
from pyspark.sql import types as T

from proa.cdc import MEMORY, ChangeShape, MemoryStore, Merged, MergeInput
from proa.cdc.merge import merge
from proa.lake import Change, Table, commit_change, create_table

COLUMNS = T.StructType(
    [
        T.StructField("id", T.LongType()),
        T.StructField("a", T.StringType()),
        T.StructField("b", T.LongType()),
    ]
)
CHANGES = pa.schema(
    [
        ("id", pa.int64()),
        ("a", pa.string()),
        ("b", pa.int64()),
        ("__proa_sequence", pa.int64()),
        ("__proa_delete", pa.bool_()),
        ("__proa_truncate", pa.bool_()),
        ("__proa_update", pa.list_(pa.string())),
    ]
)


class Merging:
    """A table in `folder`, and the batches that went into it."""

    def __init__(self, folder: Path, shape: ChangeShape, *, feed: bool = False) -> None:
        self.folder = folder
        self.feed = feed
        self.shape = shape
        self.table = Table.at(str(folder / "table"))
        create_table(self.table, shape.target)
        self.batch = 0

    def merge(self, events: Sequence[Event]) -> Merged:
        rows = [
            {
                "id": e.key,
                "a": e.values[0] if e.values else None,
                "b": e.values[1] if e.values else None,
                "__proa_sequence": e.sequence,
                "__proa_delete": e.kind == "delete",
                "__proa_truncate": e.kind == "truncate",
                "__proa_update": e.update,
            }
            for e in events
        ]
        return self.merge_rows(pa.Table.from_pylist(rows, schema=CHANGES))

    def merge_rows(self, rows: pa.Table) -> Merged:
        file = self.folder / f"changes-{self.batch}.parquet"
        pq.write_table(rows, file)
        self.table.refresh()
        merged = self.compute(
            MergeInput(
                self.table,
                self.table.version,
                0,
                self.shape,
                "target",
                [str(file)],
                self.shape.target,
                (),
                f"attempt-{self.batch}",
                self.feed,
            )
        )
        transactions = {}
        if merged.memory is not None:
            store = MemoryStore(self.table.url, {})
            transactions = {MEMORY: store.put(merged.memory, merged.memory.number).number}
        commit_change(
            self.table,
            Change(
                "flow",
                self.batch,
                f"attempt-{self.batch}",
                0,
                adds=merged.adds,
                removes=merged.removes,
                transactions=transactions,
            ),
        )
        self.batch += 1
        return merged

    def compute(self, given: MergeInput) -> Merged:
        return merge(given)

    def rows(self) -> list[tuple]:
        table = self.table.to_arrow()
        return sorted((tuple(row.values()) for row in table.to_pylist()), key=rank)
