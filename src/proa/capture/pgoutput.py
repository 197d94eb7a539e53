"""PostgreSQL's `pgoutput` messages, protocol version 1, as values."""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from tempfile import SpooledTemporaryFile
from typing import Final

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_HELD_BYTES = 8 << 20
"""Of one transaction, in memory."""
_OF_ROWS = {b"R", b"I", b"U", b"D", b"T"}
"""Messages of relations, rows and truncations."""


class _Unchanged:
    """A large value that an update did not touch and that was not sent."""

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = _Unchanged()

Value = str | None | _Unchanged
Row = tuple[Value, ...]


@dataclass(frozen=True)
class SourceColumn:
    """A column of a captured table."""

    name: str
    type_oid: int
    modifier: int
    is_key: bool


@dataclass(frozen=True)
class SourceTable:
    """A captured table as it was when a change was made."""

    oid: int
    schema: str
    name: str
    columns: tuple[SourceColumn, ...]


@dataclass(frozen=True)
class RowChange:
    """An insert (I), update (U), delete (D) or truncate (T) of one table."""

    operation: str
    table: SourceTable
    row: Row
    """The row after an insert or update, before a delete; empty for a truncate."""
    old: Row | None = None
    """Of an update: the row, or only its key, before; None when the key is the same."""
    old_is_key: bool = False


@dataclass(frozen=True)
class Transaction:
    """A committed transaction."""

    xid: int
    end: int
    """The log position behind its commit."""
    committed: datetime
    changes: Iterable[RowChange]
    """May be gone through until the next transaction is asked for: they may lie on disk."""


def transactions(messages: Iterable[bytes]) -> Generator[Transaction]:
    """Yield the transactions that whole messages make up, in the order of their commits.

    A transaction that is larger than 8 MB waits for its end in a temporary file.
    """
    with closing(_Reader()) as reader:
        for message in messages:
            done = reader.take(message)
            if done is not None:
                yield done


class _Reader:
    def __init__(self) -> None:
        self._tables: dict[int, SourceTable] = {}
        self._xid = 0
        self._tables_before: dict[int, SourceTable] = {}
        self._open_spool()

    def close(self) -> None:
        self._spool.close()

    def _open_spool(self) -> None:
        """Where the messages of a transaction wait for its end, each behind its length."""
        self._spool = SpooledTemporaryFile(max_size=_HELD_BYTES)  # noqa: SIM115 - see close()
        self._tables_before = dict(self._tables)

    def take(self, message: bytes) -> Transaction | None:
        """Read one message; the transaction that it ends, or None."""
        kind, body = message[:1], _Body(message[1:])
        if kind == b"B":
            body.skip(16)
            self._xid = body.int32()
            self.close()
            self._open_spool()
        elif kind == b"C":
            body.skip(9)
            end, micros = body.int64(), body.int64()
            moment = _EPOCH + timedelta(microseconds=micros)
            return Transaction(self._xid, end, moment, self._changes())
        elif kind in _OF_ROWS:
            if kind == b"R":
                table = body.table()
                self._tables[table.oid] = table
            self._spool.write(struct.pack("!I", len(message)))
            self._spool.write(message)
        return None

    def _changes(self) -> Iterator[RowChange]:
        """The changes that wait, each with its table as it was then."""
        tables = self._tables_before
        self._spool.seek(0)
        while head := self._spool.read(4):
            message = self._spool.read(struct.unpack("!I", head)[0])
            kind, body = message[:1], _Body(message[1:])
            if kind == b"R":
                table = body.table()
                tables[table.oid] = table
            elif kind == b"T":
                count = body.int32()
                body.skip(1)
                for _ in range(count):
                    yield RowChange("T", tables[body.int32()], ())
            else:
                yield self._change(kind.decode(), tables, body)

    def _change(self, operation: str, tables: dict[int, SourceTable], body: _Body) -> RowChange:
        table = tables[body.int32()]
        part = body.byte()
        old, is_key = None, False
        if part in "KO":
            old, is_key = body.row(), part == "K"
            if operation == "D":
                return RowChange("D", table, old)
            part = body.byte()
        return RowChange(operation, table, body.row(), old, is_key)


class _Body:
    """The rest of a message, read from the left."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def skip(self, count: int) -> None:
        self._at += count

    def byte(self) -> str:
        return self._take(1).decode()

    def int16(self) -> int:
        return int(struct.unpack("!h", self._take(2))[0])

    def int32(self) -> int:
        return int(struct.unpack("!i", self._take(4))[0]) & 0xFFFFFFFF

    def int64(self) -> int:
        return int(struct.unpack("!q", self._take(8))[0])

    def text(self) -> str:
        end = self._data.index(0, self._at)
        found = self._data[self._at : end].decode()
        self._at = end + 1
        return found

    def table(self) -> SourceTable:
        oid, schema, name = self.int32(), self.text(), self.text()
        self.skip(1)
        columns = []
        for _ in range(self.int16()):
            is_key = self._take(1) == b"\x01"
            column, type_oid = self.text(), self.int32()
            modifier = int(struct.unpack("!i", self._take(4))[0])
            columns.append(SourceColumn(column, type_oid, modifier, is_key))
        return SourceTable(oid, schema, name, tuple(columns))

    def row(self) -> Row:
        return tuple(self._value() for _ in range(self.int16()))

    def _value(self) -> Value:
        kind = self.byte()
        if kind == "n":
            return None
        if kind == "u":
            return UNCHANGED
        return self._take(self.int32()).decode()

    def _take(self, count: int) -> bytes:
        found = self._data[self._at : self._at + count]
        self._at += count
        return found
