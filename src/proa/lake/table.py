"""One Delta table as it was looked at: its columns, its files, and what each version did.

How a table changes stands in `commit`; everything there goes through `Table.put`, one version after
the one that was looked at.
"""

from __future__ import annotations

import re
import threading
import urllib.parse
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from proa.clock import Clock, SystemClock
from proa.errors import (
    ConflictError,
    DataError,
    ProaError,
    UnavailableError,
    UnknownOutcome,
    UserError,
)
from proa.lake import log
from proa.lake.log import GENERATION, REFRESH, Commit
from proa.lake.table_schema import from_delta
from proa.storage import NotFoundError, Store, absolute, is_url
from proa.storage.local import with_remedy
from proa.times import millis

_CACHED_COMMITS = 2000
_RECENT = 3600.0
"""Seconds; no entry of a log expires as fast, and no file is removed as fast."""
_LOOKED_AT_ONE_BY_ONE = 16
_FOLLOWED = 32
"""New versions of a table that are read one by one; of more, the log is asked as a whole."""
_OLDER_KEPT = 4
"""Each holds the list of its files."""
_CHECKPOINT_EVERY = "delta.checkpointInterval"
"""The property that says after how many versions there is a checkpoint; 100 when it does not."""


class Table:
    """A Delta table at a path or URL, which may not exist yet.

    Holds the last version it looked at; `refresh` looks again. Safe to share between threads:
    whoever touches delta-rs holds the lock, because delta-rs waits for its own lock without
    letting other Python threads run. Raises `UnavailableError` where the store does not answer.
    """

    def __init__(self, url: str, options: Mapping[str, str], clock: Clock | None = None) -> None:
        self.url = url
        self.clock = clock or SystemClock()
        self.options = dict(options)
        self._place: Store | None = None
        self.lock = threading.RLock()
        """Held by whoever reads several things that must belong to one version."""
        self._delta: DeltaTable | None = None
        self._schema: Any = None
        self._older: dict[int, DeltaTable] = {}
        """Versions that were read besides the newest, the one that was asked for last at the end."""
        self._transactions: dict[str, int | None] = {}
        """`txn` versions that were asked for, as of the newest version: reading one is a whole log."""
        self._commits: dict[int, Commit] = {}
        self._looked = 0.0
        self._seen_files: dict[str, float] = {}
        """When a file was last found to be there."""

    @classmethod
    def at(cls, url: str, options: Mapping[str, str] | None = None) -> Table:
        """The table in the folder `url`; nothing is read yet."""
        return cls(absolute(url), options or {})

    @property
    def _store(self) -> Store:
        """The table's folder; opened late, because opening one on disk makes it."""
        if self._place is None:
            self._place = Store.open(self.url, self.options)
        return self._place

    def refresh(self) -> int | None:
        """Look at the newest version. Its number, or None while there is no table."""
        with self.lock, self.wrap_errors("read"):
            now = self.clock.monotonic()
            if self._delta is None:
                self._delta = self._open()
            else:
                # A log is listed whole on disk. The next version's entry tells as much, unless we
                # have slept so long that it may have come and expired.
                recent = now - self._looked < _RECENT
                if not recent or self._store.exists(log.name(self._delta.version() + 1)):
                    self._update(self._delta)
            self._looked = now
            return None if self._delta is None else self._delta.version()

    def _update(self, delta: DeltaTable) -> None:
        """Go to the newest version, and take along what is known of transactions."""
        before, known = delta.version(), self._transactions
        self._schema, self._transactions = None, {}
        delta.update_incremental()
        after = delta.version()
        if after - before > _FOLLOWED:
            return
        with suppress(NotFoundError, UnavailableError):
            newer: dict[str, int] = {}
            for commit in self.commits(before, after):
                newer.update(commit.transactions)
            self._transactions = {app: newer.get(app, last) for app, last in known.items()}

    @property
    def exists(self) -> bool:
        with self.lock:
            return self._delta is not None or self.refresh() is not None

    @property
    def is_current(self) -> bool:
        """Whether the log still has the version looked at last: not when the table was made anew."""
        return self._store.exists(log.name(self.version))

    @property
    def version(self) -> int:
        """The version that was looked at last; -1 while there is no table."""
        with self.lock:
            return -1 if self._delta is None else self._delta.version()

    @property
    def schema(self) -> Any:
        """The columns, as a pyspark StructType."""
        with self.lock:
            if self._schema is None:
                self._schema = from_delta(self._there().schema())
            return self._schema

    @property
    def partition_by(self) -> tuple[str, ...]:
        with self.lock:
            return tuple(self._there().metadata().partition_columns)

    @property
    def comment(self) -> str | None:
        with self.lock:
            comment: str | None = self._there().metadata().description
            return comment

    @property
    def properties(self) -> Mapping[str, str]:
        with self.lock:
            return dict(self._there().metadata().configuration)

    @property
    def generation(self) -> int:
        """How often the table's rows were replaced by a full refresh."""
        return self.transaction(GENERATION) or 0

    @property
    def wanted_generation(self) -> int:
        """The generation that flows compute for: above `generation` while a full refresh goes on.

        Its first batch takes the place of the rows that are there.
        """
        with self.lock:
            return max(self.generation, self.transaction(REFRESH) or 0)

    @property
    def is_empty(self) -> bool:
        with self.lock:
            return not self._there().get_add_actions(flatten=False).num_rows

    def transaction(self, app_id: str, version: int | None = None) -> int | None:
        """The last `txn` version of an application, as of a version of the table."""
        with self.lock:
            if self._delta is None:
                return None
            if version is not None and version != self._delta.version():
                older: int | None = self._as_of(version).transaction_version(app_id)
                return older
            if app_id not in self._transactions:
                self._transactions[app_id] = self._delta.transaction_version(app_id)
            return self._transactions[app_id]

    def files(self, version: int | None = None) -> tuple[str, ...]:
        """The absolute locations of the files that hold the table's rows at a version."""
        with self.lock:
            paths = self._as_of(version).get_add_actions(flatten=False).column("path").to_pylist()
            return tuple(sorted(f"{self.url}/{urllib.parse.unquote(path)}" for path in paths))

    def whole_files(self, version: int | None = None) -> tuple[str, ...]:
        """The same, when all rows of these files count. Raises UserError where others have marked
        rows as deleted in files that stay.
        """
        if self.marks_rows():
            raise UserError(
                f"rows of the table {self.url!r} were deleted by another program with deletion"
                " vectors, which are not followed here; rewrite its files (REORG TABLE ... APPLY"
                " (PURGE)) and its history, or refresh it fully",
                condition="UNSUPPORTED_FEATURE",
            )
        return self.files(version)

    def marks_rows(self) -> bool:
        """Whether a version that the log knows since the last full refresh has deletion vectors."""
        if "deletionVectors" not in self.features():
            return False
        for version in range(self.version, -1, -1):
            try:
                commit = self.commit_info(version)
            except NotFoundError:
                return False
            if commit.vectors or commit.begins_generation:
                return commit.vectors
        return False

    def deletion_vectors(self) -> dict[str, Any]:
        """The deletion vectors of files that others have marked rows in, by paths as in the log."""
        found: dict[str, Any] = {}
        if self.marks_rows():
            for version in range(self.version, -1, -1):
                try:
                    adds = [a["add"] for a in self.actions(version) if "add" in a]
                except NotFoundError:
                    break
                for add in adds:
                    found.setdefault(add["path"], add.get("deletionVector"))
        return found

    def partition_texts(self, version: int) -> dict[str, dict[str, str | None]]:
        """The values of partition columns, as text, of each file of a version, by its location."""
        with self.lock:
            found = self._as_of(version).get_add_actions(flatten=True)
        names = [name for name in found.schema.names if name.startswith(_PARTITION)]
        columns = [map(_partition_text, found.column(name).to_pylist()) for name in names]
        paths = found.column("path").to_pylist()
        rows = zip(*columns, strict=True) if names else ((),) * len(paths)
        keys = [name.removeprefix(_PARTITION) for name in names]
        return {
            f"{self.url}/{urllib.parse.unquote(path)}": dict(zip(keys, row, strict=True))
            for path, row in zip(paths, rows, strict=True)
        }

    def is_plain(self, version: int) -> bool:
        """Whether a version's rows are those of its files, under the names that they have there."""
        with self.lock:
            there = self._as_of(version)
            features = there.protocol().reader_features or ()
            mapping = there.metadata().configuration.get("delta.columnMapping.mode", "none")
        return mapping == "none" and "deletionVectors" not in features

    def check(self, files: Sequence[str]) -> None:
        """DataError when one of these files of the table is gone.

        Asked before an engine reads them: engines take a file that is not there for an empty one.
        """
        missing = self._missing(files)
        if missing is not None:
            raise DataError(
                f"the file {missing!r} belongs to a table and is gone; restore it, or refresh the"
                " table fully. Of Proa only `proa maintain` removes files, and only from versions"
                " older than its retention",
                condition="FAILED_READ_FILE.FILE_NOT_EXIST",
            )

    def _missing(self, files: Sequence[str]) -> str | None:
        """One of `files` that is gone; in a bucket each is looked for once an hour."""
        if not is_url(self.url):
            return next((file for file in files if not Path(file).exists()), None)
        now = self.clock.monotonic()
        seen = self._seen_files
        unseen = [f for f in files if now - seen.get(f, -_RECENT) >= _RECENT]
        if len(unseen) <= _LOOKED_AT_ONE_BY_ONE:
            there = {f for f in unseen if self._store.exists(f.removeprefix(f"{self.url}/"))}
        else:
            there = {f"{self.url}/{found.path}" for found in self._store.walk()}
        missing = next((file for file in unseen if file not in there), None)
        if missing is None:
            self._seen_files = {file: seen.get(file, now) for file in files} | dict.fromkeys(
                unseen, now
            )
        return missing

    def live(self) -> list[tuple[str, int, int]]:
        """The files of the version looked at last: path as in the log, bytes, rows."""
        with self.lock:
            found = self._there().get_add_actions(flatten=True)
            names = ("path", "size_bytes", "num_records")
            columns = (found.column(name).to_pylist() for name in names)
            return [(path, size, rows or 0) for path, size, rows in zip(*columns, strict=True)]

    def at_version(self, version: int | None = None) -> DeltaTable:
        """The table as delta-rs has it at a version; whoever uses it holds the lock.

        NotFoundError when there is no such version, or none any more.
        """
        if version is not None and version > self.version:
            raise NotFoundError(f"the table {self.url!r} has no version {version} yet")
        return self._as_of(version)

    def upper_bounds(self, column: str) -> list[tuple[str, Any]]:
        """For each file, by its path in the table, a value that no value of the column is above.

        None where nothing is known, as for partition columns.
        """
        with self.lock:
            actions = self._there().get_add_actions(flatten=True)
            names = actions.schema.names
            paths = map(urllib.parse.unquote, actions.column("path").to_pylist())
            if f"max.{column}" not in names:
                return [(path, None) for path in paths]
            return list(zip(paths, actions.column(f"max.{column}").to_pylist(), strict=True))

    def key_bounds(self, column: str, version: int | None = None) -> Any:
        """For each file its `path` in the table and bounds `low` and `high` of a column, as a
        `pyarrow.Table`; bounds are NULL where nothing is known. None when no file has bounds.
        """
        with self.lock:
            actions = self._as_of(version).get_add_actions(flatten=True)
            names = [f"min.{column}", f"max.{column}"]
            if not set(names) <= set(actions.schema.names):
                return None
            paths = [urllib.parse.unquote(path) for path in actions.column("path").to_pylist()]
            low, high = (actions.column(name) for name in names)
            bounds = map(pa.chunked_array, (low, high))
            return pa.table(dict(zip(("path", "low", "high"), (paths, *bounds), strict=True)))

    def count(self, version: int | None = None) -> int:
        """The number of rows, from the files' statistics."""
        with self.lock:
            actions = self._as_of(version).get_add_actions(flatten=True)
            return sum(n or 0 for n in actions.column("num_records").to_pylist())

    def size(self, version: int | None = None) -> tuple[int, int]:
        """How many files hold the table's rows, and their bytes."""
        with self.lock:
            sizes = self._as_of(version).get_add_actions(flatten=False).column("size_bytes")
            return len(sizes), sum(sizes.to_pylist())

    def schema_at(self, version: int) -> Any:
        """The columns at a version."""
        with self.lock:
            if version == self.version:
                return self.schema
            return from_delta(self._as_of(version).schema())

    def to_arrow(self, version: int | None = None) -> Any:
        """All rows at a version as a `pyarrow.Table`: for small tables."""
        with self.lock, self.wrap_errors("read"):
            return self._as_of(version).to_pyarrow_table()

    def commits(self, after: int, until: int) -> list[Commit]:
        """What the versions `after`+1 to `until` did."""
        return [self.commit_info(version) for version in range(after + 1, until + 1)]

    def commit_info(self, version: int) -> Commit:
        """What one version did; `NotFoundError` when the log no longer reaches back to it."""
        known = self._commits.get(version)
        if known is None:
            known = log.read(self._store, version)
            self._remember(known)
        return known

    def actions(self, version: int) -> list[dict[str, Any]]:
        """The actions of one version as the log spells them; `NotFoundError` as for `commit_info`."""
        return log.read_actions(self._store, version)

    def committed_at(self, version: int) -> int:
        """When a version was committed, milliseconds since 1970; `NotFoundError` as for `commit_info`."""
        stamp = self.commit_info(version).info.get("timestamp")
        if isinstance(stamp, int):
            return stamp
        return millis(self._store.head(log.name(version)).modified)

    def _remember(self, commit: Commit) -> None:
        if len(self._commits) >= _CACHED_COMMITS:
            self._commits.clear()
        self._commits[commit.version] = commit

    def file_actions(self, version: int) -> log.FileActions:
        """What one version did to rows, file by file. DataError when the log no longer has it."""
        try:
            return log.read_files(self._store, version)
        except NotFoundError as error:
            raise self._forgotten(version) from error

    def time_of(self, version: int) -> datetime:
        """When a version was made. DataError when the log no longer has it."""
        try:
            return datetime.fromtimestamp(self.committed_at(version) / 1000, UTC)
        except NotFoundError as error:
            raise self._forgotten(version) from error

    def _forgotten(self, version: int) -> DataError:
        return DataError(
            f"the log of {self.url!r} no longer has version {version}: the reader fell too far"
            " behind; refresh the reading table fully",
            condition="DELTA_VERSION_NOT_FOUND",
        )

    def added_between(
        self, after: int, until: int, *, skip_changes: bool = False, ignore_deletes: bool = False
    ) -> list[str]:
        """The files that the versions `after`+1 to `until` added.

        `DataError` when one of them took rows out, unless `skip_changes` leaves such versions out,
        or `ignore_deletes` those that added none; and when the log no longer reaches back. UserError
        when not all rows of a file count.
        """
        found: list[str] = []
        for version in range(after + 1, until + 1):
            try:
                commit = self.commit_info(version)
            except NotFoundError as error:
                raise self._forgotten(version) from error
            if commit.removes and ignore_deletes and not commit.adds:
                continue
            if commit.removes and not skip_changes:
                raise DataError(
                    f"version {version} of {self.url!r} changed or removed rows, which a stream"
                    " cannot follow; refresh the reading table fully, or read with the option"
                    " skipChangeCommits",
                    condition="DELTA_SOURCE_TABLE_IGNORE_CHANGES",
                )
            if commit.vectors and commit.appended:
                raise UserError(
                    f"version {version} of {self.url!r} added files with deletion vectors, which a"
                    " stream cannot follow; read the table complete, in a materialized view",
                    condition="UNSUPPORTED_FEATURE",
                )
            found.extend(f"{self.url}/{path}" for path, _ in commit.appended)
        return found

    def compact(self) -> None:
        """Put the rows of many small files into few; no row changes.

        `ConflictError` when another commit was first; then nothing happened.
        """
        with self.lock, self.wrap_errors("compact"):
            self._there().optimize.compact(
                commit_properties=CommitProperties(max_commit_retries=0),
                post_commithook_properties=_HOOKS,
            )
            self.refresh()

    # -- for changes --------------------------------------------------------------------------------

    def live_paths(self) -> list[str]:
        """The paths, as in the log, of the files of the version looked at last."""
        with self.lock:
            actions = self._there().get_add_actions(flatten=False)
            paths: list[str] = actions.column("path").to_pylist()
            return paths

    def metadata_action(self) -> dict[str, Any]:
        """The `metaData` action as it stands."""
        with self.lock:
            meta = self._there().metadata()
            return {
                "id": str(meta.id),
                "name": meta.name,
                "description": meta.description,
                "format": {"provider": "parquet", "options": {}},
                "schemaString": self.schema.json(),
                "partitionColumns": list(meta.partition_columns),
                "createdTime": meta.created_time,
                "configuration": dict(meta.configuration),
            }

    def features(self) -> list[str]:
        """The table features that a reader must know."""
        with self.lock:
            return list(self._there().protocol().reader_features or [])

    def delta(self) -> DeltaTable:
        """The table as delta-rs has it; whoever uses it holds the lock."""
        return self._there()

    def put(self, actions: Sequence[Mapping[str, Any]]) -> None:
        """Make `actions` the version after the one looked at, and look again.

        `ConflictError` when another commit was first, `UnknownOutcome` when it may have happened.
        """
        with self.lock:
            version = self.version + 1
            log.put(self._store, version, actions)
            self._remember(log.commit_of(version, actions))
            self.refresh()
            every = self.properties.get(_CHECKPOINT_EVERY, "")
            if (version + 1) % (int(every) if every.isdigit() and int(every) else 100) == 0:
                # Readers are faster with a checkpoint and read the same without one.
                with suppress(DeltaError, OSError):
                    self._there().create_checkpoint()

    def _there(self) -> DeltaTable:
        if self._delta is None and self.refresh() is None:
            raise NotFoundError(f"there is no table at {self.url!r}")
        assert self._delta is not None
        return self._delta

    def _as_of(self, version: int | None) -> DeltaTable:
        table = self._there()
        if version is None or version == table.version():
            return table
        known = self._older.pop(version, None)
        if known is not None:
            self._older[version] = known
            return known
        try:
            with self.wrap_errors("read"):
                older = DeltaTable(self.url, version=version, storage_options=self.options)
        except UnavailableError as error:
            if version < table.version() and not self._store.exists(log.name(version)):
                raise NotFoundError(
                    f"the log of {self.url!r} no longer reaches back to version {version}"
                ) from error
            raise
        self._older[version] = older
        if len(self._older) > _OLDER_KEPT:
            self._older.pop(next(iter(self._older)))
        return older

    def _open(self) -> DeltaTable | None:
        try:
            return DeltaTable(self.url, storage_options=self.options)
        except TableNotFoundError:
            return None

    def wrap_errors(self, verb: str) -> _Wrapped:
        return _Wrapped(verb, self.url)


class _Wrapped:
    """Says delta-rs's errors in Proa's kinds."""

    def __init__(self, verb: str, url: str) -> None:
        self._verb, self._url = verb, url

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None or isinstance(error, ProaError) or not isinstance(error, Exception):
            return
        text = str(error).strip()
        line = _line(text) or type(error).__name__
        if isinstance(error, CommitFailedError) or "already exists" in text:
            raise ConflictError(
                f"another commit to the table {self._url!r} was first: {line}"
            ) from error
        if self._verb == "read" and _NO_DELTA_LOG.search(text):
            raise DataError(
                f"the log of the table {self._url!r} cannot be read: {line}; restore its _delta_log,"
                " or name another table",
                condition="DELTA_STATE_RECOVER_ERROR",
            ) from error
        if isinstance(error, (DeltaError, OSError)):
            kind = (
                UnknownOutcome if is_url(self._url) and self._verb != "read" else UnavailableError
            )
            reason = with_remedy(line)
            raise kind(f"cannot {self._verb} the table {self._url!r}: {reason}") from error


_NO_DELTA_LOG = re.compile(
    r"Json error|Invalid argument error|Invalid protocol action|No (?:table metadata|protocol) found"
)
"""What delta-rs says of a log that is damaged, whenever it is asked."""
_PARTITION = "partition."


def _partition_text(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(" ")
    return None if value is None else str(value)


def _line(text: str) -> str:
    """The first line of an error, and of a chain of causes also the last."""
    causes = [re.sub(r"\x1b\[[\d;]*m", "", line).strip(" ↳") for line in text.splitlines()]
    chained = len(causes) > 1 and "↳" in text
    return f"{causes[0]}: {causes[-1]}" if chained else "".join(causes[:1])


_HOOKS = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)
