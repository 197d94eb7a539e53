"""`proa verify` against a scan of the same tables: what it costs to know that two regions hold the same rows."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import duckdb

from benchmarks import data
from benchmarks.measure import Result, alternate
from benchmarks.verifying import commit_batch, region_of

RATIO_GOAL, KNOWN_GOAL = 2.0, 0.2
_REGIONS = ("east", "west")
_COLUMNS = {
    "id": "bigint",
    "event_timestamp": "timestamp",
    "customer": "struct(name varchar, address struct(city varchar, zip bigint))",
    "amount": "double",
    "items": "struct(sku varchar, quantity bigint)[]",
    "paid": "boolean",
    "tags": "varchar[]",
}


def measure(folder: Path, *, megabytes: int, runs: int) -> list[Result]:
    """Whole, and with what an earlier proof has read; in processor time, the scan in the same process."""
    from proa.recovery import Rules, verify
    from proa.recovery.kept_sums import KeptSums
    from proa.storage import Store

    place = folder / f"proving-{megabytes}"
    if not (place / "made").exists():
        shutil.rmtree(place, ignore_errors=True)
        _make(place, data.orders(folder / "orders", megabytes=megabytes))
        (place / "made").touch()
    regions = [region_of(place, name) for name in _REGIONS]
    sums = place / "sums"

    def prove(kept: KeptSums | None = None) -> None:
        reports = list(verify(*regions, lambda _table: Rules(), kept=kept))
        assert all(one.comparison is not None and one.comparison.equal for one in reports), reports

    def scan(_run: int) -> None:
        for region in regions:
            for _batch in region.rows("bronze", region.lineage.version("bronze")).to_batches():
                pass

    def forget(_run: int) -> None:
        shutil.rmtree(sums, ignore_errors=True)
        sums.mkdir()

    def prove_kept(_run: int) -> None:
        prove(KeptSums(Store.open(str(sums))))

    processor = {"runs": runs, "timer": time.process_time}
    whole = alternate(lambda _run: prove(), scan, **processor)
    first = alternate(prove_kept, scan, prepare=forget, **processor)
    again = alternate(prove_kept, scan, **processor)
    rows = f"{regions[0].rows('bronze', regions[0].lineage.version('bronze')).count_rows():,} rows"
    what = f"verify of two regions with {rows} each"
    return [
        _row(what, RATIO_GOAL, *whole),
        _row(f"{what}, --incremental for the first time", RATIO_GOAL, *first),
        _row(f"{what}, --incremental with nothing new", KNOWN_GOAL, *again),
    ]


def _row(what: str, goal: float, ours: float, theirs: float, ratio: float) -> Result:
    return Result(
        f"{what}, processor time against reading both tables",
        ratio,
        "x",
        f"at most {goal}",
        ratio <= goal,
        {"verify_s": ours, "scan_s": theirs},
    )


def _make(folder: Path, files: list[Path]) -> None:
    """Two regions that have processed the same files: one of them a file a batch, the other three."""
    from proa.autoloader import FileRef
    from proa.layout import Layout
    from proa.runtime.checkpoint import FilesInput, Plan

    for name, size in zip(_REGIONS, (1, 3), strict=True):
        (folder / name / "landing").mkdir(parents=True)
        layout = Layout(str(folder / name / "storage"))
        for batch, first in enumerate(range(0, len(files), size)):
            numbers = range(first, min(first + size, len(files)))
            refs = tuple(
                FileRef(f"{folder}/{name}/landing/orders/{n:08}.json", 1, n) for n in numbers
            )
            paths = [str(files[number]) for number in numbers]
            rows = duckdb.read_json(paths, columns=_COLUMNS).to_arrow_table()
            commit_batch(
                layout, "bronze", Plan(batch, {"files:orders:0": FilesInput(refs)}, "d"), rows
            )
