"""One capture: a database's tables, first as they are, then every change, as files of a source.

The order that loses nothing and repeats nothing: it is written down which files a round makes and
up to where; the files are made, each whole or not at all; the slot moves. Whoever comes after a
crash finds the round written down, asks the slot, which has not moved, for the same changes, and
makes the files that are missing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from proa.capture import dms_files
from proa.capture.pgoutput import SourceTable, Transaction
from proa.capture.postgres import Postgres, Snapshot, table_parts
from proa.clock import Clock
from proa.errors import ConflictError
from proa.settings import CaptureSettings
from proa.steps import Step, step
from proa.storage import NotFoundError, Store
from proa.storage.folded import check_format

_STATE = "_proa_capture/{slot}.json"
_FORMAT = 1
_LOAD_BYTES = 64 << 20
"""Bytes of CSV in one file of the full load."""
_ATTEMPT = 10**12
"""Numbers of rows that one attempt at a full load may use."""


@dataclass(frozen=True)
class CaptureReport:
    """What one run captured."""

    loaded: tuple[str, ...] = ()
    """Tables that were loaded as they are."""
    files: int = 0
    changes: int = 0
    lag_bytes: int = 0
    """Log that the slot still keeps."""


@dataclass(frozen=True)
class _Round:
    """The files that hold the changes up to a position."""

    end: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class _State:
    """What is written down, beside the files."""

    start: int = 0
    """The slot's position before everything that was captured."""
    snapshot: str | None = None
    """The transactions that the full load has seen."""
    seen_until: int = 0
    """The log's position behind the last of them."""
    attempts: int = 0
    files: int = 0
    """Files that attempts at the full load have named for a table, at most."""
    loaded: bool = False
    pending: _Round | None = None
    last: str = ""
    """The newest name of a file of changes."""


@dataclass
class _Counts:
    loaded: tuple[str, ...] = ()
    files: int = 0
    changes: int = 0
    keys: set[tuple[int, str]] = field(default_factory=set)


class Capture:
    """Captures the tables of one database into one source."""

    def __init__(self, store: Store, settings: CaptureSettings, clock: Clock) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._database = Postgres(settings.connection, settings.publication, settings.slot)
        self._path = _STATE.format(slot=settings.slot)

    def run(self) -> CaptureReport:
        """Capture everything that has happened until now.

        May be called again after any interruption. Raises SettingsError where the database is not
        prepared, UnavailableError where it or the source does not answer.
        """
        counts = _Counts()
        state = self._read()
        position = self._database.prepare(self._settings.tables)
        if not state.loaded:
            state = self._load(replace(state, start=state.start or position), counts)
        counts.keys = self._keys()
        while True:
            state, more = self._round(state, counts)
            if not more:
                break
        return CaptureReport(counts.loaded, counts.files, counts.changes, self._database.lag())

    # -- full load --------------------------------------------------------------------------------

    def _load(self, state: _State, counts: _Counts) -> _State:
        """Make files of the tables as they are.

        An attempt that died may have left files, which somebody may have read. So the next one
        makes files of other names, and changes count from what the first one saw.
        """
        with TemporaryDirectory(prefix="proa-capture-") as folder:
            files, snapshot, until = self._spool(state, Path(folder))
            most = max((number for _, number, _ in files), default=0)
            state = replace(
                state,
                snapshot=state.snapshot or snapshot,
                seen_until=state.seen_until or until,
                attempts=state.attempts + 1,
                files=most,
            )
            self._write(state)
            for name, _, path in files:
                self._make(name, path.read_bytes())
        state = replace(state, loaded=True)
        self._write(state)
        counts.loaded = tuple(self._settings.tables)
        counts.files += len(files)
        return state

    def _spool(self, state: _State, folder: Path) -> tuple[list[tuple[str, int, Path]], str, int]:
        """The tables of one moment in local files: (name in the source, number, path)."""
        files: list[tuple[str, int, Path]] = []
        with self._database.snapshot() as (connection, snapshot):
            running = ",".join(map(str, sorted(snapshot.running)))
            text = f"{snapshot.xmin}:{snapshot.xmax}:{running}"
            for name in self._settings.tables:
                table = self._database.columns(connection, name)
                for number, data in enumerate(
                    self._parts(connection, table, state), state.files + 1
                ):
                    path = folder / str(len(files))
                    path.write_bytes(data)
                    files.append((self._place(table, dms_files.load_name(number)), number, path))
            until = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchone()[0]
        return files, text, int(until)

    def _parts(self, connection: Any, table: SourceTable, state: _State) -> Iterator[bytes]:
        """The files of one table, each of whole rows."""
        moment = dms_files.moment(self._clock.now())
        names = dms_files.csv_text(dms_files.header(table.columns), [])
        first = state.attempts * _ATTEMPT
        query = _load_query(connection, table, moment, state.start, first)
        held, size = [names], 0
        with connection.cursor().copy(query) as copy:
            for row in copy:
                held.append(bytes(row))
                size += len(row)
                if size >= _LOAD_BYTES:
                    yield self._format_file(b"".join(held), table)
                    held, size = [names], 0
        if len(held) > 1:
            yield self._format_file(b"".join(held), table)

    # -- changes ----------------------------------------------------------------------------------

    def _round(self, state: _State, counts: _Counts) -> tuple[_State, bool]:
        """Bring the next changes into the source and move the slot; whether there may be more."""
        found, now = self._database.changes(self._settings.max_changes)
        pending = state.pending
        if pending is not None:
            found = [t for t in found if t.end <= pending.end]
        end = pending.end if pending is not None else max((t.end for t in found), default=now)
        files = self._files([t for t in found if not self._was_loaded(t, state)], counts)
        if pending is None and files:
            pending = _Round(end, tuple(self._file_names(files, state)))
            state = replace(state, pending=pending, last=pending.names[-1].rpartition("/")[2])
            self._write(state)
        if pending is not None:
            # Changes that the slot has let go are in files already.
            for name, (table, rows) in zip(pending.names, files, strict=False):
                text = dms_files.csv_text(dms_files.header(table.columns), rows)
                self._make(name, self._format_file(text, table))
                counts.files += 1
                counts.changes += len(rows)
        with step(Step.CAPTURE_ADVANCE):
            self._database.advance(end)
        if state.pending is not None:
            state = replace(state, pending=None)
            self._write(state)
        return state, bool(found) or pending is not None

    def _files(
        self, found: Sequence[Transaction], counts: _Counts
    ) -> list[tuple[SourceTable, list[list[str | None]]]]:
        """The rows of transactions, table by table; a table whose columns change has two files."""
        # The publication may have tables that are not asked for.
        wanted = {table_parts(name) for name in self._settings.tables}
        files: dict[SourceTable, list[list[str | None]]] = {}
        for transaction in found:
            for change, row in dms_files.rows_of(transaction, counts.keys):
                if (change.table.schema, change.table.name) in wanted:
                    files.setdefault(change.table, []).append(row)
        return list(files.items())

    def _file_names(self, files: Sequence[tuple[SourceTable, Any]], state: _State) -> Iterator[str]:
        """Names that sort behind all names so far."""
        time = self._clock.now()
        last = state.last.partition(".")[0]
        for table, _ in files:
            if last and dms_files.change_name(time) <= last:
                time = _time_of(last) + timedelta(milliseconds=1)
            last = dms_files.change_name(time)
            yield self._place(table, last)

    @staticmethod
    def _was_loaded(transaction: Transaction, state: _State) -> bool:
        """Whether the full load has what a transaction did."""
        if state.snapshot is None or transaction.end > state.seen_until:
            return False
        return Snapshot.parse(state.snapshot).sees(transaction.xid)

    def _keys(self) -> set[tuple[int, str]]:
        with self._database.open_connection() as connection:
            tables = [self._database.columns(connection, name) for name in self._settings.tables]
        return {(table.oid, c.name) for table in tables for c in table.columns if c.is_key}

    # -- the source -------------------------------------------------------------------------------

    def _place(self, table: SourceTable, name: str) -> str:
        return f"{table.schema}/{table.name}/{name}.{self._settings.format}"

    def _format_file(self, text: bytes, table: SourceTable) -> bytes:
        if self._settings.format == "csv":
            return text
        return dms_files.parquet_of(text, table.columns)

    def _make(self, name: str, data: bytes) -> None:
        """Make a file, unless it is there: then an earlier attempt at the same round made it."""
        with suppress(ConflictError), step(Step.CAPTURE_PUT_FILE):
            self._store.create(name, data)

    def _read(self) -> _State:
        try:
            data = json.loads(self._store.get(self._path))
        except NotFoundError:
            return _State()
        pending = data.pop("pending")
        check_format(data.pop("format"), _FORMAT, f"the state {self._store.url_of(self._path)!r}")
        found = _State(**data)
        if pending is None:
            return found
        return replace(found, pending=_Round(pending["end"], tuple(pending["names"])))

    def _write(self, state: _State) -> None:
        with step(Step.CAPTURE_PUT_STATE):
            self._store.put(self._path, json.dumps({"format": _FORMAT, **asdict(state)}).encode())


def _load_query(connection: Any, table: SourceTable, moment: str, position: int, first: int) -> Any:
    """COPY of a table's rows as a file of the full load holds them."""
    from psycopg import sql

    columns = [
        sql.SQL(
            "regexp_replace({}::text, '([+-][0-9][0-9])$', '\\1:00')"
            if c.type_oid == 1184
            else "{}::text"
        ).format(sql.Identifier(c.name))
        for c in table.columns
    ]
    number = sql.SQL("lpad(({} + row_number() OVER ())::text, 15, '0')").format(sql.Literal(first))
    parts = [
        sql.Literal("I"),
        *columns,
        sql.Literal(moment),
        sql.SQL("{} || {}").format(sql.Literal(f"{position:020d}"), number),
    ]
    del connection
    return sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT WITH (FORMAT csv)").format(
        sql.SQL(", ").join(parts), sql.Identifier(table.schema, table.name)
    )


def _time_of(name: str) -> datetime:
    return datetime.strptime(f"{name}000", "%Y%m%d-%H%M%S%f").replace(tzinfo=UTC)
