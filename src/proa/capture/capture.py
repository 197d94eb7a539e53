"""One capture: a database's tables, first as they are, then every change, as files of a source.

The order that loses nothing and repeats nothing: it is written down which files a round makes and
up to where; the files are made, each whole or not at all; the slot moves. Whoever comes after a
crash finds the round written down, asks the slot, which has not moved, for the same changes, and
makes the files that are missing.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from proa.capture import dms_files
from proa.capture.dms_files import TableFile
from proa.capture.heartbeat import Heartbeat, read_heartbeat, write_heartbeat
from proa.capture.pgoutput import SourceTable, Transaction
from proa.capture.postgres import Postgres, Slot, SlotStatus, Snapshot, table_parts
from proa.clock import Clock
from proa.errors import ConflictError, SettingsError, UnavailableError
from proa.settings import CaptureSettings
from proa.steps import Step, step
from proa.storage import NotFoundError, Store
from proa.storage.folded import check_format
from proa.storage.local import chunks

_STATE = "_proa_capture/{slot}.json"
_HEARTBEAT_SECONDS = 30.0
_FORMAT = 2
_WRITERS_SECONDS = 30.0
"""How long transactions are waited for that wrote to a table before its changes were told."""
_LOAD_BYTES = 64 << 20
"""Bytes of CSV in one file of the full load."""
_CHUNK = 4 << 20
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
    """Log behind the slot's position: changes, of any table, that are not captured."""
    kept_bytes: int = 0
    """Log that the server keeps for the slot."""


@dataclass(frozen=True)
class CaptureStatus:
    """How far a capture is."""

    slot: SlotStatus | None
    last_look: datetime | None
    """When everything was captured that had happened, to half a minute."""
    age_s: float | None
    """Seconds since then."""
    loaded: tuple[str, ...]
    to_load: tuple[str, ...]
    problem: str | None
    """Why changes are or may soon be missing, and what to do."""


@dataclass(frozen=True)
class _Round:
    """The files that hold the changes up to a position."""

    end: int
    names: tuple[str, ...]


@dataclass(frozen=True)
class _Load:
    """How far the load of one table is."""

    is_done: bool = False
    snapshot: str | None = None
    """The transactions that its first attempt has seen."""
    seen_until: int = 0
    """The log's position behind the last of them."""
    is_again: bool = False
    """Whether rows of it are in the source that may be no longer in the table."""

    def saw(self, transaction: Transaction) -> bool:
        """Whether the load has what a transaction did."""
        if self.snapshot is None or transaction.end > self.seen_until:
            return False
        return Snapshot.parse(self.snapshot).sees(transaction.xid)


@dataclass(frozen=True)
class _State:
    """What is written down, beside the files."""

    has_slot: bool = False
    """Whether changes count from `position`; without it tables are loaded from a new start."""
    position: int = 0
    """Everything up to here is captured; 0 where an older version did not write it down."""
    tables: dict[str, _Load] = field(default_factory=dict)
    """By `schema.table`."""
    attempts: int = 0
    files: int = 0
    """Files that attempts at a load have named for a table, at most."""
    pending: _Round | None = None
    last: str = ""
    """The newest name of a file of changes."""

    def forget(self, names: Iterable[str]) -> _State:
        """The state in which tables are loaded again when they are asked for."""
        again = dict.fromkeys(names, _Load(is_again=True))
        return replace(self, tables={**self.tables, **again})


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
        self._beaten: float | None = None

    def run(self, *, reload: bool = False) -> CaptureReport:
        """Capture everything that has happened until now; with `reload` all tables anew.

        May be called again after any interruption. Raises SettingsError where the database is not
        prepared or the slot lost changes, UnavailableError where it or the source does not answer.
        """
        counts = _Counts()
        state = self._read()
        if state == _State():
            state = self._left_behind(reload=reload)
        captured = max(state.position, state.pending.end if state.pending is not None else 0)
        if reload:
            state = state.forget(state.tables)
            state = replace(state, has_slot=False, position=captured, pending=None)
            self._write(state)
        slot = self._database.prepare(self._settings.tables, captured if state.has_slot else None)
        counts.keys = self._keys(state)
        while state.pending is not None:
            state, _ = self._round(state, counts)
        state = self._begin(state, slot)
        missing = [name for name in self._names() if not state.tables[name].is_done]
        if missing:
            state = self._load(state, missing, counts)
        counts.keys = self._keys(state)
        while True:
            state, more = self._round(state, counts)
            if not more:
                break
        slot_now = self._database.slot_status()
        lag = 0 if slot_now is None else slot_now.lag_bytes
        self._beat(slot_now)
        kept = 0 if slot_now is None else slot_now.kept_bytes
        return CaptureReport(counts.loaded, counts.files, counts.changes, lag, kept)

    def status(self) -> CaptureStatus:
        """How far the capture is; changes nothing. Raises UnavailableError where the database or the
        source does not answer.
        """
        state, slot = self._read(), self._database.slot_status()
        beat = read_heartbeat(self._store, self._settings.slot)
        last = None if beat is None else beat.at
        names = self._names()
        loaded = [name for name in names if name in state.tables and state.tables[name].is_done]
        return CaptureStatus(
            slot=slot,
            last_look=last,
            age_s=None if last is None else max(0.0, (self._clock.now() - last).total_seconds()),
            loaded=tuple(loaded),
            to_load=tuple(name for name in names if name not in loaded),
            problem=_problem(slot, has_slot=state.has_slot, name=self._settings.slot),
        )

    def _beat(self, slot: SlotStatus | None) -> None:
        """Write down, twice a minute at most, that everything until now is captured."""
        now = self._clock.monotonic()
        if self._beaten is None or now - self._beaten >= _HEARTBEAT_SECONDS:
            beat = Heartbeat(self._clock.now(), slot)
            write_heartbeat(self._store, self._settings.slot, beat)
            self._beaten = now

    def _names(self) -> list[str]:
        return [".".join(table_parts(name)) for name in self._settings.tables]

    def _begin(self, state: _State, slot: Slot) -> _State:
        """Write down which tables are captured from here on.

        A table that joins a slot that was there may have open transactions whose first changes
        were made before they were published; its load has to see them, so it waits for them.
        """
        names = self._names()
        # What happens in a table that is not asked for is not captured.
        left = [n for n, load in state.tables.items() if n not in names and load.is_done]
        joining = [name for name in names if name not in state.tables]
        if joining and not slot.is_new:
            self._wait_for_writers(joining)
        new = state.forget(left)
        new = replace(new, tables={**new.tables, **{name: _Load() for name in joining}})
        new = replace(new, has_slot=True, position=max(state.position, slot.position))
        if new != state:
            self._write(new)
        return new

    def _wait_for_writers(self, names: Sequence[str]) -> None:
        waiting = self._database.writers(names)
        end = self._clock.monotonic() + _WRITERS_SECONDS
        while waiting:
            if self._clock.monotonic() > end:
                raise UnavailableError(
                    f"{len(waiting)} open transactions write to {', '.join(names)}, which can be"
                    " loaded once they have ended; end them or try again"
                )
            self._clock.wait(1.0)
            waiting &= self._database.writers(names)

    # -- full load --------------------------------------------------------------------------------

    def _load(self, state: _State, names: Sequence[str], counts: _Counts) -> _State:
        """Make files of tables as they are.

        An attempt that died may have left files, which somebody may have read. So the next one
        makes files of other names, and changes count from what the first one saw.
        """
        with TemporaryDirectory(prefix="proa-capture-") as folder:
            files, snapshot, until = self._spool(state, names, Path(folder))
            begun = {
                name: load if load.snapshot else replace(load, snapshot=snapshot, seen_until=until)
                for name, load in state.tables.items()
                if name in names
            }
            most = max([state.files, *(number for _, number, _ in files)])
            tables = {**state.tables, **begun}
            state = replace(state, tables=tables, attempts=state.attempts + 1, files=most)
            self._write(state)
            for name, _, file in files:
                self._make(name, file)
        done = {name: replace(load, is_done=True) for name, load in begun.items()}
        state = replace(state, tables={**state.tables, **done})
        self._write(state)
        counts.loaded = tuple(n for n in self._settings.tables if ".".join(table_parts(n)) in names)
        counts.files += len(files)
        return state

    def _spool(
        self, state: _State, names: Sequence[str], folder: Path
    ) -> tuple[list[tuple[str, int, TableFile]], str, int]:
        """Tables of one moment in local files: (name in the source, number, file)."""
        files: list[tuple[str, int, TableFile]] = []
        with self._database.snapshot() as (connection, snapshot):
            running = ",".join(map(str, sorted(snapshot.running)))
            text = f"{snapshot.xmin}:{snapshot.xmax}:{running}"
            for name in names:
                table = self._database.columns(connection, name)
                paths = (folder / f"{len(files)}-{number}" for number in itertools.count())
                parts = self._parts(
                    connection, table, state, paths, is_again=state.tables[name].is_again
                )
                for number, file in enumerate(parts, state.files + 1):
                    place = self._place(table, dms_files.load_name(number))
                    files.append((place, number, file))
            until = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchone()[0]
        return files, text, int(until)

    def _parts(
        self,
        connection: Any,
        table: SourceTable,
        state: _State,
        paths: Iterator[Path],
        *,
        is_again: bool,
    ) -> Iterator[TableFile]:
        """The files of one table, each of whole rows; of a table loaded again behind a `T`."""
        moment = dms_files.moment(self._clock.now())
        first = state.attempts * _ATTEMPT
        file, size = TableFile(next(paths), table), 0
        if is_again:
            nothing = [None] * len(table.columns)
            file.add(["T", *nothing, moment, dms_files.sequence(state.position, first)])
        query = _load_query(table, moment, state.position, first)
        try:
            with connection.cursor().copy(query) as copy:
                for row in copy:
                    if size >= _LOAD_BYTES:
                        yield self._finish(file)
                        file, size = TableFile(next(paths), table), 0
                    file.add_line(bytes(row))
                    size += len(row)
            if file.rows:
                yield self._finish(file)
        finally:
            file.close()

    # -- changes ----------------------------------------------------------------------------------

    def _round(self, state: _State, counts: _Counts) -> tuple[_State, bool]:
        """Bring the next changes into the source and move the slot; whether there may be more."""
        pending = state.pending
        with TemporaryDirectory(prefix="proa-capture-") as folder:
            # A value that no file can hold is refused here, before anything is written down.
            files, last, now = self._spool_changes(state, counts, Path(folder))
            end = pending.end if pending is not None else last or now
            if pending is None and files:
                pending = _Round(end, tuple(self._file_names(files, state)))
                state = replace(state, pending=pending, last=pending.names[-1].rpartition("/")[2])
                self._write(state)
            if pending is not None:
                # Changes that the slot has let go are in files already.
                for name, file in zip(pending.names, files, strict=False):
                    self._make(name, file)
                    counts.files += 1
                    counts.changes += file.rows
        if pending is None and end > state.position:
            state = replace(state, position=end)
            self._write(state)
        with step(Step.CAPTURE_ADVANCE):
            self._database.advance(end)
        if pending is not None:
            state = replace(state, pending=None, position=max(end, state.position))
            self._write(state)
        return state, last > 0 or pending is not None

    def _spool_changes(
        self, state: _State, counts: _Counts, folder: Path
    ) -> tuple[list[TableFile], int, int]:
        """The next changes in local files, table by table; a table whose columns change has two.

        Also the end of the last transaction, 0 where there is no transaction, and where the log ended before.
        """
        # A round that was begun has the tables that it had then, whatever is asked for now.
        pending, places = state.pending, None
        if pending is not None:
            places = {name.rpartition("/")[0] for name in pending.names}
        files: dict[SourceTable, TableFile] = {}
        last = 0
        until = pending.end if pending is not None else None
        with (
            ExitStack() as stack,
            self._database.changes(self._settings.max_changes, state.position, until) as (
                transactions,
                now,
            ),
        ):
            for transaction in transactions:
                last = max(last, transaction.end)
                if until is not None and transaction.end > until:
                    continue
                for change, row in dms_files.rows_of(transaction, counts.keys):
                    table = change.table
                    load = state.tables.get(f"{table.schema}.{table.name}")
                    # The publication may have tables that are not asked for.
                    if load is None or not load.is_done or load.saw(transaction):
                        continue
                    if places is not None and f"{table.schema}/{table.name}" not in places:
                        continue
                    if table not in files:
                        files[table] = TableFile(folder / str(len(files)), table)
                        stack.callback(files[table].close)
                    files[table].add(row)
        return [self._finish(file) for file in files.values()], last, now

    def _file_names(self, files: Sequence[TableFile], state: _State) -> Iterator[str]:
        """Names that sort behind all names so far."""
        time = self._clock.now()
        last = state.last.partition(".")[0]
        for file in files:
            if last and dms_files.change_name(time) <= last:
                time = _time_of(last) + timedelta(milliseconds=1)
            last = dms_files.change_name(time)
            yield self._place(file.table, last)

    def _keys(self, state: _State) -> set[tuple[int, str]]:
        """The key columns of all tables whose changes may be asked for."""
        asked, keys = self._names(), set()
        with self._database.open_connection() as connection:
            for name in {*asked, *state.tables}:
                try:
                    table = self._database.columns(connection, name)
                except SettingsError:
                    if name in asked:
                        raise
                    continue  # It was captured once, and was dropped since.
                keys |= {(table.oid, c.name) for c in table.columns if c.is_key}
        return keys

    # -- the source -------------------------------------------------------------------------------

    def _place(self, table: SourceTable, name: str) -> str:
        return f"{table.schema}/{table.name}/{name}.{self._settings.format}"

    def _finish(self, file: TableFile) -> TableFile:
        """The file, ended and in the format that is asked for."""
        file.close()
        if self._settings.format == "parquet":
            file.become_parquet()
        return file

    def _make(self, name: str, file: TableFile) -> None:
        """Make a file, unless it is there: then an earlier attempt at the same round made it."""
        with suppress(ConflictError), step(Step.CAPTURE_PUT_FILE):
            self._store.create_from(name, chunks(file.path, _CHUNK), file.size)

    def _read(self) -> _State:
        try:
            data = json.loads(self._store.get(self._path))
        except NotFoundError:
            return _State()
        number = data.pop("format")
        check_format(number, _FORMAT, f"the state {self._store.url_of(self._path)!r}")
        pending = data.pop("pending")
        if number == 1:
            data = self._upgrade(data)
        data["tables"] = {name: _Load(**load) for name, load in data["tables"].items()}
        state = _State(**data)
        if pending is None:
            return state
        return replace(state, pending=_Round(pending["end"], tuple(pending["names"])))

    def _left_behind(self, *, reload: bool) -> _State:
        """The state of a source that was not captured before, or whose tables are to be loaded again
        behind the files that are there. Raises SettingsError for such files without `reload`.
        """
        names: dict[str, list[str]] = {}
        for name in self._names():
            infos = self._store.walk(f"{name.replace('.', '/')}/")
            names[name] = [info.path.rpartition("/")[2].partition(".")[0] for info in infos]
        filled = [name for name, files in names.items() if files]
        if not filled:
            return _State()
        if not reload:
            raise SettingsError(
                f"the source has files of {', '.join(filled)}, but what was written down about them in"
                f" {self._path!r} is gone; run `proa capture --reload`, which loads the tables again"
                " behind them, or capture into a new source with an own 'path'",
                condition="CAPTURE_STATE_LOST",
            )
        files = [file for name in filled for file in names[name]]
        loads = [file.removeprefix("LOAD") for file in files if file.startswith("LOAD")]
        return _State(
            # Every change that is in a file was made before now.
            position=self._database.log_end(),
            tables=dict.fromkeys(filled, _Load(is_again=True)),
            files=max((int(number, 16) for number in loads), default=0),
            last=max((file for file in files if not file.startswith("LOAD")), default=""),
        )

    def _upgrade(self, data: dict[str, Any]) -> dict[str, Any]:
        """State of format 1, which had one load for all tables and did not say for which.

        A table without a file of the load was empty then, or came later and was never loaded.
        """
        load = {
            "is_done": data.pop("loaded"),
            "snapshot": data.pop("snapshot"),
            "seen_until": data.pop("seen_until"),
        }
        tables = {}
        for name in self._names():
            folder = f"{name.replace('.', '/')}/"
            files = [info.path.rpartition("/")[2] for info in self._store.walk(folder)]
            if not load["is_done"] or any(file.startswith("LOAD") for file in files):
                tables[name] = load
            elif files:
                tables[name] = {"is_again": True}
        data["position"] = 0 if load["is_done"] else data["start"]
        del data["start"]
        return {**data, "has_slot": True, "tables": tables}

    def _write(self, state: _State) -> None:
        with step(Step.CAPTURE_PUT_STATE):
            self._store.put(self._path, json.dumps({"format": _FORMAT, **asdict(state)}).encode())


def _load_query(table: SourceTable, moment: str, position: int, first: int) -> Any:
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
    return sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT WITH (FORMAT csv)").format(
        sql.SQL(", ").join(parts), sql.Identifier(table.schema, table.name)
    )


def _problem(slot: SlotStatus | None, *, has_slot: bool, name: str) -> str | None:
    """Say why changes are or may soon be missing, and what to do. None when all is well."""
    if slot is None:
        if not has_slot:
            return None
        return f"the replication slot {name!r} is gone; run `proa capture --reload`"
    if slot.wal_status == "lost":
        return (
            f"the replication slot {name!r} lost its log (see max_slot_wal_keep_size); run"
            " `proa capture --reload`"
        )
    if slot.wal_status == "unreserved":
        return (
            f"the database will soon remove log that the replication slot {name!r} needs; run"
            " `proa capture --once` now, or raise max_slot_wal_keep_size"
        )
    return None


def _time_of(name: str) -> datetime:
    return datetime.strptime(f"{name}000", "%Y%m%d-%H%M%S%f").replace(tzinfo=UTC)
