"""Files as AWS DMS writes them to S3: `Op`, the columns, commit time and place in the order."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from proa.capture.pgoutput import RowChange, SourceColumn, SourceTable, Transaction, Value
from proa.errors import DataError

OPERATION, COMMITTED, SEQUENCE = "Op", "commit_timestamp", "change_seq"
_BOOL, _TIMESTAMPTZ = 16, 1184
_TEXTS = {"t": "true", "f": "false"}
_ARROW = {16: "bool", 20: "int64", 21: "int16", 23: "int32", 700: "float32", 701: "float64"}
_DATE, _TIMESTAMP, _NUMERIC = 1082, 1114, 1700
_HEADER_BYTES = 4
_BLOCK_BYTES = 4 << 20


def sequence(position: int, number: int) -> str:
    """35 digits, greater for a later change: the log's position, and the number behind it."""
    return f"{position:020d}{number:015d}"


def moment(time: datetime) -> str:
    """A commit time, `yyyy-MM-dd HH:mm:ss.SSSSSS` in UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S.%f")


def load_name(number: int) -> str:
    """The name, without ending, of the full load's file `number`, counted from 1."""
    return f"LOAD{number:08X}"


def change_name(time: datetime) -> str:
    """The name, without ending, of a file of changes."""
    return f"{time:%Y%m%d-%H%M%S}{time.microsecond // 1000:03d}"


def header(columns: Iterable[SourceColumn]) -> list[str]:
    """The columns of a file."""
    return [OPERATION, *(c.name for c in columns), COMMITTED, SEQUENCE]


def rows_of(
    transaction: Transaction, keys: Collection[tuple[int, str]]
) -> Iterator[tuple[RowChange, list[str | None]]]:
    """Yield the rows of a transaction's changes, each with the change that it tells.

    `keys` are the key columns by table and name: an update that changes one is a delete of the old
    key and an insert.
    """
    committed = moment(transaction.committed)
    numbers = count()

    def row(operation: str, change: RowChange, values: Iterable[Value]) -> list[str | None]:
        texts = [_text(v, c) for v, c in zip(values, change.table.columns, strict=True)]
        return [operation, *texts, committed, sequence(transaction.end, next(numbers))]

    for change in transaction.changes:
        if change.operation == "T":
            yield change, row("T", change, (None,) * len(change.table.columns))
        elif change.operation == "U" and _key_changed(change, keys):
            assert change.old is not None
            yield change, row("D", change, change.old)
            yield change, row("I", change, change.row)
        else:
            yield change, row(change.operation, change, change.row)


class TableFile:
    """Rows of one table in a local CSV file, with a header. NULL is nothing, an empty string `""`."""

    def __init__(self, path: Path, table: SourceTable) -> None:
        self.path = path
        self.table = table
        self.rows = 0
        self._longest = 0
        """Bytes of its longest row."""
        self._file = path.open("wb")
        self.add(header(table.columns))
        self.rows = 0

    def add(self, row: Sequence[str | None]) -> None:
        """Add a row of texts."""
        self.add_line((",".join(map(_field, row)) + "\n").encode())

    def add_line(self, line: bytes) -> None:
        """Add a row as CSV has it."""
        self._file.write(line)
        self.rows += 1
        self._longest = max(self._longest, len(line))

    def close(self) -> None:
        """End the file, which may then be read."""
        self._file.close()

    @property
    def size(self) -> int:
        """Bytes, of a file that has ended."""
        return self.path.stat().st_size

    def become_parquet(self) -> None:
        """End the file and write its rows as Parquet in its place."""
        self.close()
        target = self.path.with_suffix(".parquet")
        write_parquet(self.path, self.table, target, max(_BLOCK_BYTES, 2 * self._longest))
        self.path.unlink()
        self.path = target


def _field(value: str | None) -> str:
    if value is None:
        return ""
    if value == "" or value != value.strip() or any(mark in value for mark in ',"\n\r'):
        return '"' + value.replace('"', '""') + '"'
    return value


def write_parquet(source: Path, table: SourceTable, target: Path, block: int) -> None:
    """Write a CSV file as Parquet, `block` bytes at a time, in which the longest row has room.

    Raises DataError, with the column, for a value that its Arrow type does not have: `infinity`, a
    year before 1 or behind 9999, a numeric `NaN`.
    """
    import pyarrow as pa
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pq

    types = {c.name: arrow_type(c) for c in table.columns}
    texts = (OPERATION, COMMITTED, SEQUENCE)

    def open_rows(*names: str) -> Any:
        convert = pa_csv.ConvertOptions(
            column_types={**types, **dict.fromkeys(texts, pa.string())},
            include_columns=names,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["true"],
            false_values=["false"],
        )
        return pa_csv.open_csv(
            source,
            pa_csv.ReadOptions(block_size=block),
            pa_csv.ParseOptions(newlines_in_values=True),
            convert,
        )

    try:
        with open_rows() as rows, pq.ParquetWriter(target, rows.schema, compression="zstd") as file:
            for batch in rows:
                file.write_batch(batch)
    except pa.ArrowInvalid:
        for name, kind in types.items():
            try:
                with open_rows(name) as rows:
                    deque(rows, maxlen=0)
            except pa.ArrowInvalid as error:
                raise DataError(
                    f"the column {name!r} of {table.schema}.{table.name} has a value that Parquet's"
                    f" {kind} has not: {str(error).rpartition(': ')[2]}; correct the value in"
                    " the database and run `proa capture --reload`, or capture with format: csv into"
                    " a source with an own 'path' and 'slot'",
                    condition="CAPTURE_VALUE_REFUSED",
                ) from None
        raise


def arrow_type(column: SourceColumn) -> Any:
    """The Arrow type of a PostgreSQL column; a string where Arrow has none for every value."""
    import pyarrow as pa

    if column.type_oid in _ARROW:
        return pa.type_for_alias(_ARROW[column.type_oid])
    if column.type_oid == _DATE:
        return pa.date32()
    if column.type_oid == _TIMESTAMP:
        return pa.timestamp("us")
    if column.type_oid == _TIMESTAMPTZ:
        return pa.timestamp("us", "UTC")
    if column.type_oid == _NUMERIC and column.modifier >= 0:
        precision, scale = divmod(column.modifier - _HEADER_BYTES, 1 << 16)
        if 0 < precision <= 38 and scale <= precision:
            return pa.decimal128(precision, scale)
    return pa.string()


def _text(value: Value, column: SourceColumn) -> str | None:
    if value is None or not isinstance(value, str):
        return None
    if column.type_oid == _BOOL:
        return _TEXTS.get(value, value)
    if column.type_oid == _TIMESTAMPTZ and value[-3:-2] in "+-":
        return f"{value}:00"
    return value


def _key_changed(change: RowChange, keys: Collection[tuple[int, str]]) -> bool:
    if change.old is None:
        return False
    pairs = zip(change.table.columns, change.old, change.row, strict=True)
    return any((change.table.oid, c.name) in keys and old != new for c, old, new in pairs)
