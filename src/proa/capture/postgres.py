"""The PostgreSQL side of capture: publication, slot, snapshot, and the changes behind a position."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from proa.capture.pgoutput import (
    UNCHANGED,
    Row,
    RowChange,
    SourceColumn,
    SourceTable,
    Transaction,
    transactions,
)
from proa.errors import SettingsError, UnavailableError
from proa.extras import needs

_WRITING = ("RowExclusiveLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")
_FETCHED_ROWS = 200
"""Messages that come from the server at once."""
_TEXTS = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET bytea_output = 'hex'"


@dataclass(frozen=True)
class Snapshot:
    """Which transactions the initial load has seen."""

    xmin: int
    xmax: int
    running: frozenset[int] = frozenset()

    def sees(self, xid: int) -> bool:
        """Whether the transaction `xid`, of 32 bits, had committed before."""
        whole = self.xmax - ((self.xmax - xid + 2**31) % 2**32 - 2**31)
        return whole < self.xmin or (whole < self.xmax and whole not in self.running)

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """From PostgreSQL's own spelling, `xmin:xmax:running,...`."""
        xmin, xmax, running = text.split(":")
        return cls(int(xmin), int(xmax), frozenset(map(int, filter(None, running.split(",")))))


@dataclass(frozen=True)
class Slot:
    """The replication slot as it is found or made."""

    position: int
    """It has every change that commits behind this position."""
    is_new: bool


@dataclass(frozen=True)
class SlotStatus:
    """How the replication slot is."""

    position: int
    """Everything up to here is in files, as the slot knows."""
    lag_bytes: int
    """Log behind the position: changes, of any table, that are not captured."""
    kept_bytes: int
    """Log that the server keeps for the slot, transactions that are under way included."""
    wal_status: str
    """As in pg_replication_slots: reserved, extended, unreserved (the next checkpoint may remove
    log that is needed) or lost.
    """
    safe_bytes: int | None
    """Log that may still be written before the server removes what is needed; None without a limit."""


class Postgres:
    """One database, its publication and its slot.

    Raises SettingsError for the URL of a database of another kind.
    """

    def __init__(self, url: str, publication: str, slot: str) -> None:
        kind, is_url, _ = url.partition("://")
        if is_url and kind not in {"postgresql", "postgres"}:
            raise SettingsError(
                f"proa capture reads PostgreSQL, and the connection begins with {kind}://; let AWS DMS"
                " or another tool write the changes of that database as files into the source's"
                " folder, leave out 'capture', and run proa ship",
                condition="UNSUPPORTED_FEATURE",
            )
        self._url = url
        self._publication = publication
        self._slot = slot

    @contextmanager
    def open_connection(self) -> Iterator[Any]:
        """A connection whose values come as texts that mean the same everywhere.

        Raises UnavailableError when the database does not answer.
        """
        with needs("postgresql"):
            import psycopg

        try:
            with psycopg.connect(self._url, autocommit=True) as connection:
                connection.execute(_TEXTS)
                yield connection
        except psycopg.errors.InsufficientPrivilege as error:
            raise SettingsError(
                f"the database refuses: {_line(error)}; {self._remedy()}",
                condition="CAPTURE_MISSING_RIGHTS",
            ) from error
        except psycopg.errors.ObjectNotInPrerequisiteState as error:
            raise SettingsError(
                f"the database cannot be captured: {_line(error)}; set wal_level = logical and"
                " start the server anew",
                condition="CAPTURE_NOT_PREPARED",
            ) from error
        except psycopg.OperationalError as error:
            raise UnavailableError(f"the database does not answer: {_line(error)}") from error

    def prepare(self, tables: Sequence[str], captured: int | None) -> Slot:
        """Make the publication and the slot where they are missing; return the slot.

        `captured` is the position up to which changes were captured, 0 where it is unknown, None
        where the tables are to be loaded. Raises SettingsError, with what to run, where something
        is missing that cannot be made, or the slot no longer has what follows `captured`.
        """
        with self.open_connection() as connection:
            level = connection.execute("SHOW wal_level").fetchone()[0]
            if level != "logical":
                raise SettingsError(
                    f"the database's wal_level is {level!r}; run ALTER SYSTEM SET wal_level ="
                    " 'logical' and start the server anew",
                    condition="CAPTURE_NOT_PREPARED",
                )
            query = (
                "SELECT confirmed_flush_lsn - '0/0', coalesce(wal_status = 'lost', false)"
                " FROM pg_replication_slots WHERE slot_name = %s"
            )
            row = connection.execute(query, [self._slot]).fetchone()
            end = connection.execute("SELECT pg_current_wal_flush_lsn() - '0/0'").fetchone()[0]
            if captured is not None and int(end) < captured:
                raise SettingsError(
                    "the database's log ends before what was captured, so it is another database"
                    " or an older backup of it; capture it into a new source with an own 'path'",
                    condition="CAPTURE_SLOT_LOST",
                )
            if captured is not None:
                self._check_slot(row, captured)
            for table in tables:
                # The database refuses the updates of a published table that cannot tell them.
                self.columns(connection, table)
            self._publish(connection, tables)
            is_new = row is None or row[1]
            if row is not None and row[1]:
                connection.execute("SELECT pg_drop_replication_slot(%s)", [self._slot])
            if is_new:
                connection.execute(
                    "SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [self._slot]
                )
                row = connection.execute(query, [self._slot]).fetchone()
            return Slot(int(row[0]), is_new)

    def _check_slot(self, row: tuple[Any, bool] | None, captured: int) -> None:
        """Raise SettingsError where the slot does not have every change behind `captured`."""
        if row is None:
            reason = "is gone"
        elif row[1]:
            reason = "has lost its log (wal_status = 'lost', see max_slot_wal_keep_size)"
        elif captured and int(row[0]) > captured:
            reason = f"was moved or made anew: it begins {int(row[0]) - captured} bytes too late"
        else:
            return
        raise SettingsError(
            f"the replication slot {self._slot!r} {reason}, so changes are missing; run"
            " `proa capture --reload`, which loads the tables again, each behind a row with"
            " Op = 'T': a consumer needs apply_as_truncates, or forgets no deleted rows",
            condition="CAPTURE_SLOT_LOST",
        )

    def writers(self, tables: Sequence[str]) -> set[str]:
        """The open transactions that write to tables, or to partitions of them, now."""
        with self.open_connection() as connection:
            rows = connection.execute(
                "SELECT DISTINCT l.virtualtransaction FROM pg_locks l CROSS JOIN LATERAL"
                " (SELECT l.relation AS oid UNION SELECT relid FROM"
                " pg_partition_ancestors(l.relation)) written"
                " JOIN pg_class c ON c.oid = written.oid JOIN pg_namespace n ON n.oid ="
                " c.relnamespace WHERE l.database = (SELECT oid FROM pg_database WHERE datname ="
                " current_database()) AND l.granted AND l.mode = ANY(%s)"
                " AND (n.nspname || '.' || c.relname) = ANY(%s)",
                [list(_WRITING), [".".join(table_parts(name)) for name in tables]],
            ).fetchall()
            return {row[0] for row in rows}

    def _publish(self, connection: Any, tables: Sequence[str]) -> None:
        from psycopg import sql

        wanted = {table_parts(table) for table in tables}
        known = set(
            connection.execute(
                "SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = %s",
                [self._publication],
            ).fetchall()
        )
        there = connection.execute(
            "SELECT pubviaroot FROM pg_publication WHERE pubname = %s", [self._publication]
        ).fetchone()
        partitioned = connection.execute(
            "SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid ="
            " c.relnamespace WHERE c.relkind = 'p' AND (n.nspname || '.' || c.relname) = ANY(%s)",
            [[".".join(parts) for parts in sorted(wanted)]],
        ).fetchone()
        if there is not None and not there[0] and partitioned is not None:
            # Changes would carry the names of the partitions, which nobody asked for.
            raise SettingsError(
                f"the table {partitioned[0]!r} is partitioned, and the publication"
                f" {self._publication!r} tells its changes under the partitions' names; run ALTER"
                f" PUBLICATION {self._publication} SET (publish_via_partition_root = true), and"
                " `proa capture --reload` where the table was captured before",
                condition="CAPTURE_NOT_PREPARED",
            )
        names = sql.SQL(", ").join(sql.Identifier(*parts) for parts in sorted(wanted - known))
        publication = sql.Identifier(self._publication)
        if there is None:
            statement = sql.SQL(
                "CREATE PUBLICATION {} FOR TABLE {} WITH (publish_via_partition_root = true)"
            ).format(publication, names)
        elif wanted - known:
            statement = sql.SQL("ALTER PUBLICATION {} ADD TABLE {}").format(publication, names)
        else:
            return
        connection.execute(statement)

    @contextmanager
    def snapshot(self) -> Iterator[tuple[Any, Snapshot]]:
        """A connection that sees one moment, and which transactions that moment has seen."""
        with self.open_connection() as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            text = connection.execute("SELECT pg_current_snapshot()::text").fetchone()[0]
            yield connection, Snapshot.parse(text)
            connection.execute("ROLLBACK")

    @contextmanager
    def changes(
        self, most: int, after: int, until: int | None
    ) -> Iterator[tuple[Iterator[Transaction], int]]:
        """The next transactions in the slot, about `most` changes of them, and the position that
        the log had before they were asked for. The slot stays where it is.

        A slot that a crash of the server set back is first moved to `after`. With `until` all
        transactions up to that position are read, however many changes they have. They come one
        by one, in memory that does not grow with them.
        """
        self.advance(after)
        with self.open_connection() as connection:
            now = connection.execute("SELECT pg_current_wal_flush_lsn() - '0/0'").fetchone()[0]
            with connection.transaction(), connection.cursor(name="proa_changes") as cursor:
                cursor.itersize = _FETCHED_ROWS
                cursor.execute(
                    "SELECT data FROM pg_logical_slot_peek_binary_changes(%s, '0/0'::pg_lsn + %s::"
                    "numeric, %s, 'proto_version', '1', 'publication_names', %s)",
                    [self._slot, until, most if until is None else None, self._publication],
                )
                with closing(transactions(bytes(row[0]) for row in cursor)) as reading:
                    yield (self._whole(connection, t) for t in reading), int(now)

    def log_end(self) -> int:
        """Where the database's log ends now."""
        with self.open_connection() as connection:
            row = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchone()
            return int(row[0])

    def advance(self, position: int) -> None:
        """Tell the slot that everything before `position` is safe elsewhere."""
        with self.open_connection() as connection:
            connection.execute(
                "SELECT pg_replication_slot_advance(%s, '0/0'::pg_lsn + %s) FROM"
                " pg_replication_slots WHERE slot_name = %s AND confirmed_flush_lsn - '0/0' < %s",
                [self._slot, position, self._slot, position],
            )

    def slot_status(self) -> SlotStatus | None:
        """How the slot is. None while there is no slot."""
        with self.open_connection() as connection:
            row = connection.execute(
                "SELECT confirmed_flush_lsn - '0/0', pg_current_wal_lsn() - confirmed_flush_lsn,"
                " coalesce(pg_current_wal_lsn() - restart_lsn, 0), wal_status, safe_wal_size"
                " FROM pg_replication_slots WHERE slot_name = %s",
                [self._slot],
            ).fetchone()
        if row is None:
            return None
        safe = None if row[4] is None else int(row[4])
        return SlotStatus(int(row[0]), int(row[1]), int(row[2]), row[3], safe)

    def columns(self, connection: Any, table: str) -> SourceTable:
        """A table as it is now. Raises SettingsError when there is none, or it has no key."""
        schema, name = table_parts(table)
        rows = connection.execute(
            # A key column is one that an update or delete tells: of the replica identity's index, or
            # the primary key; columns that an index only includes are none.
            """SELECT a.attname, a.atttypid::bigint, a.atttypmod, coalesce(
                 a.attnum = ANY((i.indkey::int2[])[0:i.indnkeyatts - 1]), false),
                 c.oid::bigint, c.relreplident::text
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
               LEFT JOIN pg_index i ON i.indrelid = c.oid
                 AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END
               WHERE n.nspname = %s AND c.relname = %s AND a.attgenerated = '' ORDER BY a.attnum""",
            [schema, name],
        ).fetchall()
        if not rows:
            raise SettingsError(f"the database has no table {table!r}; correct 'tables'")
        identity = rows[0][5]
        if identity == "n" or (identity != "f" and not any(row[3] for row in rows)):
            lacking = "replica identity" if identity in "ni" else "primary key"
            raise SettingsError(
                f"the table {table!r} has no {lacking}, so updates and deletes cannot be told;"
                f" run ALTER TABLE {schema}.{name} REPLICA IDENTITY FULL, or ... USING INDEX of a"
                " unique one whose columns are NOT NULL",
                condition="CAPTURE_NOT_PREPARED",
            )
        columns = tuple(SourceColumn(row[0], row[1], row[2], row[3]) for row in rows)
        return SourceTable(rows[0][4], schema, name, columns)

    def _whole(self, connection: Any, transaction: Transaction) -> Transaction:
        """The transaction with large values that were not sent, because an update left them."""
        changes = (
            _complete_change(connection, change) if UNCHANGED in change.row else change
            for change in transaction.changes
        )
        return replace(transaction, changes=changes)

    def _remedy(self) -> str:
        return (
            f"as an owner of the tables run CREATE PUBLICATION {self._publication} FOR TABLE ..."
            " WITH (publish_via_partition_root = true),"
            " and give the user REPLICATION and SELECT on the tables"
        )


def _complete_change(connection: Any, change: RowChange) -> RowChange:
    """A change whose unsent values are those of the old row, or what the table has now: a later
    change of them comes later in the log.
    """
    row = change.row
    if change.old is not None:
        columns = change.table.columns
        row = tuple(
            old if value is UNCHANGED and (column.is_key or not change.old_is_key) else value
            for value, old, column in zip(row, change.old, columns, strict=True)
        )
    if UNCHANGED in row:
        now = connection.execute(current_query(change.table, row)).fetchone()
        values = [None] * len(row) if now is None else now
        row = tuple(n if v is UNCHANGED else v for v, n in zip(row, values, strict=True))
    return RowChange(change.operation, change.table, row, change.old, change.old_is_key)


def current_query(table: SourceTable, row: Row) -> Any:
    """The query of what a table has now for the key of `row`, as texts.

    The key is compared as what it is, and not as a text, so that its index serves.
    """
    from psycopg import sql

    return sql.SQL("SELECT {} FROM {} WHERE {}").format(
        sql.SQL(", ").join(
            sql.SQL("{}::text").format(sql.Identifier(c.name)) for c in table.columns
        ),
        sql.Identifier(table.schema, table.name),
        sql.SQL(" AND ").join(
            sql.SQL("{} = {}").format(sql.Identifier(column.name), sql.Literal(value))
            for column, value in zip(table.columns, row, strict=True)
            if column.is_key
        ),
    )


def table_parts(table: str) -> tuple[str, str]:
    """Schema and name of a table as settings spell it."""
    schema, _, name = table.rpartition(".")
    return schema or "public", name


def _line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
