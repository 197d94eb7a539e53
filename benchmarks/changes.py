"""(h) Changes merged into a table, against delta-rs's own MERGE of the same rows."""

from __future__ import annotations

import shutil
from pathlib import Path

import deltalake
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import types as T  # noqa: N812 - as Spark's users know it

from benchmarks.measure import Result, alternate, peak_memory_mb
from proa.cdc import MEMORY, ChangeShape, MemoryStore, MergeInput
from proa.cdc.merge import merge
from proa.graph.change_target import DELETE, SEQUENCE
from proa.lake import Change, Table, commit_change, create_table

GOAL = 1 / 3
CITIES = np.array(["Cancun", "Mexicali", "Monterrey", "Oaxaca", "Tijuana"])
COLUMNS = T.StructType(
    [
        T.StructField("id", T.LongType()),
        T.StructField("name", T.StringType()),
        T.StructField("city", T.StringType()),
        T.StructField("amount", T.DoubleType()),
    ]
)
WHY = "most of the time is the writing of files anew, which delta-rs does too; see decisions 0035 and 0093"


def measure(folder: Path, *, rows: int, changes: int, runs: int) -> list[Result]:
    luck = np.random.default_rng(1)
    return [
        _measured(folder, name, rows, _batches(luck, rows, changes, within, runs))
        for name, within in (("random keys", rows), ("keys that lie together", changes))
    ]


def _batches(
    luck: np.random.Generator, rows: int, changes: int, within: int, runs: int
) -> list[pa.Table]:
    """The first rows, then one batch of changes for each run."""
    batches = [_rows(luck, np.arange(rows), 1, 0.0)]
    for run in range(runs + 1):
        keys = luck.choice(within, changes, replace=False)
        batches.append(_rows(luck, keys, run + 2, 0.1))
    return batches


def _rows(luck: np.random.Generator, keys: np.ndarray, sequence: int, deletes: float) -> pa.Table:
    count = len(keys)
    return pa.table(
        {
            "id": pa.array(keys, pa.int64()),
            "name": [f"customer {number}" for number in luck.integers(0, 1 << 40, count)],
            "city": pa.array(CITIES[luck.integers(0, len(CITIES), count)]),
            "amount": luck.random(count),
            SEQUENCE: pa.array(np.full(count, sequence)),
            DELETE: pa.array(luck.random(count) < deletes),
        }
    )


def _measured(folder: Path, name: str, rows: int, batches: list[pa.Table]) -> Result:
    place = folder / "changes"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for number, batch in enumerate(batches):
        pq.write_table(batch, place / f"{number}.parquet")
    shape = ChangeShape(("id",), COLUMNS, T.LongType())
    table = Table.at(str(place / "ours"))
    create_table(table, shape.target)
    _merge(table, shape, place, 0)
    peer = str(place / "peer")
    deltalake.write_deltalake(peer, batches[0].drop([DELETE]))
    ours, theirs, ratio = alternate(
        lambda run: _merge(table, shape, place, run + 1),
        lambda run: _merge_by_peer(peer, batches[run + 1]),
        runs=len(batches) - 2,
    )
    changes = batches[1].num_rows
    return Result(
        f"{changes:,} changes into {rows:,} rows, {name}: time against delta-rs merge",
        ratio,
        "x",
        f"at most {GOAL:.2f}",
        ratio <= GOAL,
        {"ours_s": ours, "peer_s": theirs, "peak_mb_of_both": round(peak_memory_mb())},
        "" if ratio <= GOAL else WHY,
    )


def _merge(table: Table, shape: ChangeShape, place: Path, batch: int) -> None:
    table.refresh()
    changes = [str(place / f"{batch}.parquet")]
    attempt = f"attempt-{batch}"
    merged = merge(
        MergeInput(table, table.version, 0, shape, "ours", changes, shape.target, (), attempt)
    )
    memory = MemoryStore(table.url, {}).put(merged.memory, merged.memory.number)
    change = Change(
        "benchmark",
        batch,
        attempt,
        0,
        adds=merged.adds,
        removes=merged.removes,
        transactions={MEMORY: memory.number},
    )
    commit_change(table, change)


def _merge_by_peer(url: str, batch: pa.Table) -> None:
    values = {name: f"s.{name}" for name in batch.column_names if name != DELETE}
    newer = f"s.{SEQUENCE} > t.{SEQUENCE}"
    merging = deltalake.DeltaTable(url).merge(batch, "t.id = s.id", "s", "t")
    merging.when_matched_delete(f"s.{DELETE} AND {newer}").when_matched_update(
        values, newer
    ).when_not_matched_insert(values, f"NOT s.{DELETE}").execute()
