"""Proa's own functions of the embedded engine over many rows of distinct values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.measure import Result, seconds

GOAL_SECONDS = 1.0
"""For a million rows: a kernel must not be what a batch waits for."""


def measure(_folder: Path, *, rows: int) -> list[Result]:
    """Seconds that each kernel takes over `rows` rows, called as the engine calls it."""
    from proa.engine.parity.kernels import caller

    results = []
    for name, kernel, type_, arrays in _calls(rows):
        run = caller(kernel, type_)
        run(*(array.slice(0, 1000) for array in arrays))
        took = min(seconds(lambda run=run, arrays=arrays: run(*arrays)) for _ in range(2))
        scaled = took * 1_000_000 / rows
        results.append(
            Result(
                f"{name} over a million rows",
                scaled,
                "s",
                f"at most {GOAL_SECONDS}",
                scaled <= GOAL_SECONDS,
            )
        )
    return results


def _calls(rows: int) -> list[tuple[str, str, Any, list[Any]]]:
    rng = np.random.default_rng(7)
    micros = pa.array(1_700_000_000_000_000 + rng.integers(0, 10**14, rows))
    moments = micros.cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
    stamps = pa.compute.strftime(
        moments.cast(pa.timestamp("s", "UTC"), safe=False), "%Y-%m-%d %H:%M:%S"
    )
    days = pa.compute.strftime(moments.cast(pa.timestamp("s", "UTC"), safe=False), "%d.%m.%Y")
    doubles = pa.array(rng.normal(0, 1000, rows).round(4))
    ids = pa.array([f"order-{k}/item-{k % 97}, {k % 13}" for k in range(rows)])
    prices = (
        pa.array(rng.integers(1, 10**7, rows)).cast(pa.decimal128(19, 0)).cast(pa.decimal128(21, 2))
    )
    price_texts = prices.cast(pa.string())
    lists = pa.ListArray.from_arrays(pa.array(range(0, rows + 1, 10), pa.int32()), doubles)

    def same(value: Any) -> Any:
        return pa.array([value]).take(pa.array(np.zeros(rows, np.int64)))

    def few(value: Any) -> Any:
        return pa.array([value]).take(pa.array(np.zeros(rows // 10, np.int64)))

    text, long, double = pa.string(), pa.int64(), pa.float64()
    utc = pa.timestamp("us", "UTC")
    return [
        (
            "date_format(ts, 'd MMM yyyy, h:mm a')",
            "date_format",
            text,
            [moments, same("d MMM yyyy, h:mm a")],
        ),
        ("to_timestamp(text, 'dd.MM.yyyy')", "to_moment", utc, [days, same("dd.MM.yyyy")]),
        ("cast(text as timestamp)", "from_text", utc, [stamps]),
        ("cast(text as decimal(12,2))", "from_text", pa.decimal128(12, 2), [price_texts]),
        ("cast(timestamp as string)", "text", text, [moments]),
        ("cast(double as string)", "text", text, [doubles]),
        ("cast(double as int)", "whole", pa.int32(), [doubles]),
        ("cast(double as decimal(12,2))", "to_decimal", pa.decimal128(12, 2), [doubles]),
        ("round(double, 2)", "rounded", double, [doubles, same(2)]),
        ("round(decimal, 1)", "rounded", pa.decimal128(21, 1), [prices, same(1)]),
        ("floor(double)", "floored", long, [doubles, same(0)]),
        ("decimal / decimal", "decimal_divide", pa.decimal128(38, 17), [prices, prices]),
        ("rlike", "rlike", pa.bool_(), [ids, same("^order-\\d+/item-(1|2)\\d*,")]),
        ("regexp_extract", "regexp_extract", text, [ids, same("item-(\\d+)"), same(1)]),
        ("regexp_replace", "regexp_replace", text, [ids, same("[/, ]+"), same("_"), same(1)]),
        ("split", "split", pa.list_(text), [ids, same("[/,]"), same(-1)]),
        ("percentile of groups of ten", "percentile", double, [lists, few(0.9), few(False)]),
        ("percentile_approx of groups of ten", "percentile_approx", double, [lists, few(0.9)]),
    ]
