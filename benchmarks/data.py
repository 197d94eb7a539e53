"""The data that is measured on: nested JSON, made the same on every machine."""

from __future__ import annotations

from pathlib import Path

ROWS_PER_FILE = 40_000
DDL = (
    "id bigint, event_timestamp timestamp,"
    " customer struct<name: string, address: struct<city: string, zip: bigint>>,"
    " amount double, items array<struct<sku: string, quantity: bigint>>,"
    " paid boolean, tags array<string>"
)

_ORDERS = """
    COPY (
      SELECT n AS id,
        strftime(TIMESTAMP '2026-01-01' + to_seconds(n), '%Y-%m-%dT%H:%M:%SZ') AS event_timestamp,
        {{name: 'customer-' || n % 5000,
          address: {{city: 'city-' || n % 50, zip: n * 7919 % 99999}}}} AS customer,
        (n * 7919 % 1000000) / 100 AS amount,
        [{{sku: 'sku-' || k, quantity: k}} FOR k IN range(n % 4)] AS items,
        n % 2 = 0 AS paid,
        ['a', 'b', 'tag-' || n % 9] AS tags
      FROM range({first}, {last}) AS t(n)
    ) TO '{path}' (FORMAT json)
"""


def orders(folder: Path, *, megabytes: int, first_file: int = 0) -> list[Path]:
    """JSON lines of nested orders, about 9 MB a file; files that are there already are kept."""
    import duckdb

    folder.mkdir(parents=True, exist_ok=True)
    made: list[Path] = []
    total = 0
    number = first_file
    while total < megabytes * 1_000_000:
        path = folder / f"orders-{number:05}.json"
        if not path.exists():
            write_orders(duckdb, path, number * ROWS_PER_FILE, ROWS_PER_FILE)
        total += path.stat().st_size
        made.append(path)
        number += 1
    return made


def write_orders(duckdb: object, path: Path, first: int, rows: int) -> None:
    query = _ORDERS.format(first=first, last=first + rows, path=path)
    duckdb.sql(query)  # type: ignore[attr-defined]
