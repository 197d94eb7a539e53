"""Plays a task of AWS DMS: writes the files that such a task writes into a bucket, here into a folder.

    python dms_task.py load      the full load
    python dms_task.py changes   what happened since, each time some more

Its three tables have the settings that tasks have in the wild; the transformations say which.
"""

import argparse
import csv
import gzip
import io
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

BUCKET = Path("data/source/erp/sales")
BEGIN = datetime(2026, 11, 23, 23, 55)
PAYMENTS = pa.schema(
    [
        ("Op", pa.string()),
        ("id", pa.int64()),
        ("customer", pa.int64()),
        ("amount", pa.decimal128(12, 2)),
        ("paid_at", pa.timestamp("us")),
        ("AR_H_CHANGE_SEQ", pa.string()),
    ]
)
LOADED = {
    "customers": [
        (1, 'Anna "Ann" Smith', "Oslo", date(2024, 2, 29)),
        (2, "Bob,\nthe builder", None, date(2025, 1, 1)),
        (3, "Chen", "Lima", None),
    ],
    "orders": [(10, 1, "new", Decimal("120.50")), (11, 2, "new", Decimal("8.00"))],
    "payments": [(100, 1, Decimal("20.50"), datetime(2026, 11, 1, 9))],
}
# One list for each call of `changes`, in the order in which they were committed.
CHANGED = [
    [
        ("customers", "U", (2, "Bob", "Bergen", date(2025, 1, 1))),
        ("orders", "U", (10, 1, "shipped", Decimal("120.50"))),
        ("orders", "I", (12, 3, "new", Decimal("33.00"))),
        ("payments", "I", (101, 1, Decimal("100.00"), datetime(2026, 11, 23, 12))),
        ("customers", "I", (4, "Dora", "Rome", date(2026, 11, 23))),
        ("customers", "U", (4, "Dora", "Turin", date(2026, 11, 23))),
    ],
    [
        ("customers", "D", (3, "Chen", "Lima", None)),
        ("orders", "U", (12, 3, "cancelled", Decimal("33.00"))),
        ("orders", "D", (11, 2, "new", Decimal("8.00"))),
        ("payments", "D", (100, 1, Decimal("20.50"), datetime(2026, 11, 1, 9))),
    ],
]


def tables_after(steps):
    """The rows of each table, by name, after the load and so many calls of `changes`."""
    tables = {name: {row[0]: row for row in rows} for name, rows in LOADED.items()}
    for name, operation, row in [change for step in CHANGED[:steps] for change in step]:
        if operation == "D":
            del tables[name][row[0]]
        else:
            tables[name][row[0]] = row
    return {name: [rows[key] for key in sorted(rows)] for name, rows in tables.items()}


def csv_bytes(rows, header=None):
    """Rows as DMS writes CSV: NULL is a word, and quotes inside of quotes are doubled."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if header:
        writer.writerow(header)
    writer.writerows([["NULL" if value is None else value for value in row] for row in rows])
    return out.getvalue().encode()


def put(path, data):
    """Write a file as an object store does: whole, under its name at last."""
    path.parent.mkdir(parents=True, exist_ok=True)
    being_written = path.with_name(f".{path.name}")
    being_written.write_bytes(data)
    being_written.rename(path)


def write_customers(name, rows, operations):
    """The defaults: no header, and `Op` in files of changes only."""
    if operations:
        rows = [(op, *row) for op, row in zip(operations, rows, strict=True)]
    put(BUCKET / "customers" / f"{name}.csv", csv_bytes(rows))


def write_orders(name, rows, operations, numbers, at):
    """A header, `Op` always, GZIP, and changes in a folder for the day of their commit."""
    header = ["Op", "id", "customer", "status", "amount", "committed", "AR_H_CHANGE_SEQ"]
    moment = at.strftime("%Y-%m-%d %H:%M:%S.%f")
    full = [
        (op, *row, moment, number)
        for op, row, number in zip(operations, rows, numbers, strict=True)
    ]
    folder = BUCKET / "orders" if name.startswith("LOAD") else BUCKET / "orders" / f"{at:%Y/%m/%d}"
    put(folder / f"{name}.csv.gz", gzip.compress(csv_bytes(full, header), mtime=0))


def write_payments(name, rows, operations, numbers):
    """Parquet, with the database's types."""
    full = [(op, *row, number) for op, row, number in zip(operations, rows, numbers, strict=True)]
    table = pa.table([list(column) for column in zip(*full, strict=True)], schema=PAYMENTS)
    out = io.BytesIO()
    pq.write_table(table, out)
    put(BUCKET / "payments" / f"{name}.parquet", out.getvalue())


def write(name, rows_of, operations_of, numbers_of, at):
    """One file for each table that has rows."""
    if rows_of.get("customers"):
        operations = None if name.startswith("LOAD") else operations_of["customers"]
        write_customers(name, rows_of["customers"], operations)
    if rows_of.get("orders"):
        write_orders(name, rows_of["orders"], operations_of["orders"], numbers_of["orders"], at)
    if rows_of.get("payments"):
        rows, numbers = rows_of["payments"], numbers_of["payments"]
        write_payments(name, rows, operations_of["payments"], numbers)


def load():
    """Write the full load."""
    operations = {name: ["I"] * len(rows) for name, rows in LOADED.items()}
    numbers = {name: [None] * len(rows) for name, rows in LOADED.items()}
    write("LOAD00000001", LOADED, operations, numbers, BEGIN)


def changes():
    """Write what happened since the last call. Returns False if nothing has."""
    step = len(list((BUCKET / "customers").glob("2*.csv")))
    if step == len(CHANGED):
        return False
    at = BEGIN + timedelta(minutes=10 * step, milliseconds=7)
    rows, operations, numbers = {}, {}, {}
    for number, (table, operation, row) in enumerate(CHANGED[step], 1):
        rows.setdefault(table, []).append(row)
        operations.setdefault(table, []).append(operation)
        numbers.setdefault(table, []).append(f"{at:%Y%m%d%H%M%S}00{number:019d}")
    write(f"{at:%Y%m%d-%H%M%S}{at.microsecond // 1000:03d}", rows, operations, numbers, at)
    return True


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["load", "changes"])
    if parser.parse_args().what == "load":
        load()
    elif not changes():
        print("nothing else has happened")
