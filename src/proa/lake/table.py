"""One Delta table: what it holds, and the only ways in which it changes.

Every change is one commit on top of the version that was looked at. A commit carries a `txn`
action that says which batch of which flow it is; so whether a batch has happened is a question
that the table itself answers, and `commit` asks it before it does anything twice.
"""

from __future__ import annotations

import re
import threading
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.table import TableFeatures
from deltalake.transaction import AddAction, RemoveAction

from proa.clock import Clock, SystemClock
from proa.errors import ConflictError, DataError, ProaError, UnavailableError, UnknownOutcome
from proa.lake import log
from proa.lake.log import Commit
from proa.lake.table_schema import from_delta, keeps_types, to_delta
from proa.lake.writer import DataFile
from proa.steps import Step, step
from proa.storage import NotFoundError, Store, absolute, is_url

GENERATION = "proa:generation"
"""The `txn` application that counts a table's full refreshes."""
TYPES_CHANGED = "TYPES_CHANGED"
"""The condition of a commit whose files have other types than the table's columns."""

_CACHED_COMMITS = 2000
_RECENT = 3600.0
"""Seconds; no entry of a log expires as fast."""
_LOOKED_AT_ONE_BY_ONE = 16


@dataclass(frozen=True)
class Change:
    """One batch's effect on a table."""

    app_id: str
    batch: int
    """The `txn`: this batch of this flow."""
    attempt: str
    """Tells this attempt from others at the same batch."""
    generation: int
    """The generation that the batch was planned in."""
    adds: Sequence[DataFile] = ()
    removes: Sequence[str] = ()
    """Paths of files, relative to the table, whose rows go."""
    overwrite: bool = False
    """All other files go, and the table takes `schema`."""
    schema: Any = None
    """The columns of the files, as a StructType; None: those that the table has."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Noted in the commit under `proa`."""
    transactions: Mapping[str, int] = field(default_factory=dict)
    """Further `txn` actions of the same commit."""


@dataclass(frozen=True)
class Committed:
    """The batch is in the table."""

    version: int
    by_us: bool
    """False: another attempt at the same batch was committed, and nothing of this one."""


class Table:
    """A Delta table at a path or URL, which may not exist yet.

    Holds the last version it looked at; `refresh` looks again. Safe to share between threads:
    whoever touches delta-rs holds the lock, because delta-rs waits for its own lock without
    letting other Python threads run. Raises `UnavailableError` where the store does not answer.
    """

    def __init__(self, url: str, options: Mapping[str, str], clock: Clock | None = None) -> None:
        self.url = url
        self._clock = clock or SystemClock()
        self.options = dict(options)
        self._place: Store | None = None
        self._lock = threading.RLock()
        self._delta: DeltaTable | None = None
        self._schema: Any = None
        self._commits: dict[int, Commit] = {}
        self._looked = 0.0

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
        with self._lock, self._wrapped("read"):
            now, looked = self._clock.monotonic(), self._looked
            self._looked = now
            if self._delta is None:
                self._delta = self._opened()
            else:
                before: int = self._delta.version()
                # A log is listed whole on disk. The next version's entry tells as much, unless we
                # have slept so long that it may have come and expired.
                if now - looked < _RECENT and not self._store.exists(log.name(before + 1)):
                    return before
                self._delta.update_incremental()
                if self._delta.version() != before:
                    self._schema = None
            return None if self._delta is None else self._delta.version()

    @property
    def exists(self) -> bool:
        with self._lock:
            return self._delta is not None or self.refresh() is not None

    @property
    def version(self) -> int:
        """The version that was looked at last; -1 while there is no table."""
        with self._lock:
            return -1 if self._delta is None else self._delta.version()

    @property
    def schema(self) -> Any:
        """The columns, as a pyspark StructType."""
        with self._lock:
            if self._schema is None:
                self._schema = from_delta(self._there().schema())
            return self._schema

    @property
    def partition_by(self) -> tuple[str, ...]:
        with self._lock:
            return tuple(self._there().metadata().partition_columns)

    @property
    def comment(self) -> str | None:
        with self._lock:
            comment: str | None = self._there().metadata().description
            return comment

    @property
    def properties(self) -> Mapping[str, str]:
        with self._lock:
            return dict(self._there().metadata().configuration)

    @property
    def generation(self) -> int:
        """How often the table was fully refreshed."""
        return self.transaction(GENERATION) or 0

    @property
    def is_empty(self) -> bool:
        with self._lock:
            return not self._there().get_add_actions(flatten=False).num_rows

    def transaction(self, app_id: str, version: int | None = None) -> int | None:
        """The last `txn` version of an application, as of a version of the table."""
        with self._lock:
            if self._delta is None:
                return None
            found: int | None = self._as_of(version).transaction_version(app_id)
            return found

    def files(self, version: int | None = None) -> tuple[str, ...]:
        """The absolute locations of the files that hold the table's rows at a version."""
        with self._lock:
            paths = self._as_of(version).get_add_actions(flatten=False).column("path").to_pylist()
            return tuple(sorted(f"{self.url}/{urllib.parse.unquote(path)}" for path in paths))

    def check(self, files: Sequence[str]) -> None:
        """DataError when one of these files of the table is gone.

        Asked before an engine reads them: engines take a file that is not there for an empty one.
        """
        if not is_url(self.url):
            missing = next((file for file in files if not Path(file).exists()), None)
        elif len(files) <= _LOOKED_AT_ONE_BY_ONE:
            missing = next(
                (f for f in files if not self._store.exists(f.removeprefix(f"{self.url}/"))), None
            )
        else:
            there = {f"{self.url}/{found.path}" for found in self._store.walk()}
            missing = next((file for file in files if file not in there), None)
        if missing is not None:
            raise DataError(
                f"the file {missing!r} belongs to a table and is gone; restore it, or refresh the"
                " table fully. Of Proa only `proa maintain` removes files, and only from versions"
                " older than its retention",
                condition="FAILED_READ_FILE.FILE_NOT_EXIST",
            )

    def live(self) -> list[tuple[str, int, int]]:
        """The files of the version looked at last: path as in the log, bytes, rows."""
        with self._lock:
            found = self._there().get_add_actions(flatten=True)
            names = ("path", "size_bytes", "num_records")
            columns = (found.column(name).to_pylist() for name in names)
            return [(path, size, rows or 0) for path, size, rows in zip(*columns, strict=True)]

    def upper_bounds(self, column: str) -> list[tuple[str, Any]]:
        """For each file, by its path in the table, a value that no value of the column is above.

        None where nothing is known, as for partition columns.
        """
        with self._lock:
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
        with self._lock:
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
        with self._lock:
            actions = self._as_of(version).get_add_actions(flatten=True)
            return sum(n or 0 for n in actions.column("num_records").to_pylist())

    def size(self, version: int | None = None) -> tuple[int, int]:
        """How many files hold the table's rows, and their bytes."""
        with self._lock:
            sizes = self._as_of(version).get_add_actions(flatten=False).column("size_bytes")
            return len(sizes), sum(sizes.to_pylist())

    def schema_at(self, version: int) -> Any:
        """The columns at a version."""
        with self._lock:
            if version == self.version:
                return self.schema
            return from_delta(self._as_of(version).schema())

    def to_arrow(self, version: int | None = None) -> Any:
        """All rows at a version as a `pyarrow.Table`: for small tables."""
        with self._lock, self._wrapped("read"):
            return self._as_of(version).to_pyarrow_table()

    def commits(self, after: int, until: int) -> list[Commit]:
        """What the versions `after`+1 to `until` did."""
        return [self.commit_info(version) for version in range(after + 1, until + 1)]

    def commit_info(self, version: int) -> Commit:
        """What one version did; `NotFoundError` when the log no longer reaches back to it."""
        known = self._commits.get(version)
        if known is None:
            known = log.read(self._store, version)
            if len(self._commits) >= _CACHED_COMMITS:
                self._commits.clear()
            self._commits[version] = known
        return known

    def added_between(self, after: int, until: int, *, skip_changes: bool = False) -> list[str]:
        """The files that the versions `after`+1 to `until` added.

        `DataError` when one of them took rows out, unless `skip_changes` leaves such versions
        out, and when the log no longer reaches back.
        """
        found: list[str] = []
        for version in range(after + 1, until + 1):
            try:
                commit = self.commit_info(version)
            except NotFoundError as error:
                raise DataError(
                    f"the log of {self.url!r} no longer has version {version}: the reader fell"
                    " too far behind; refresh the reading table fully",
                    condition="DELTA_VERSION_NOT_FOUND",
                ) from error
            if commit.removes:
                if skip_changes:
                    continue
                raise DataError(
                    f"version {version} of {self.url!r} changed or removed rows, which a stream"
                    " cannot follow; refresh the reading table fully, or read with the option"
                    " skipChangeCommits",
                    condition="DELTA_SOURCE_TABLE_IGNORE_CHANGES",
                )
            found.extend(f"{self.url}/{path}" for path, _ in commit.adds)
        return found

    def create(
        self,
        schema: Any,
        *,
        partition_by: Sequence[str] = (),
        comment: str | None = None,
        properties: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Make the table, in generation 0. Nothing happens when there is one already."""
        with self._lock:
            if self.exists:
                return
            try:
                with step(Step.TABLE_CREATE), self._wrapped("create"):
                    DeltaTable.create(
                        self.url,
                        to_delta(schema),
                        mode="error",
                        partition_by=list(partition_by),
                        description=comment,
                        configuration=dict(properties or {}),
                        storage_options=self.options,
                        commit_properties=_noted(metadata or {}, {GENERATION: 0}),
                        raise_if_key_not_exists=False,
                    )
            except ConflictError:
                pass
            except UnavailableError:
                if self.refresh() is None:
                    raise
            self.refresh()

    def evolve(
        self,
        schema: Any,
        partition_by: Sequence[str] | None = None,
        *,
        version: int | None = None,
    ) -> None:
        """Give the table other columns, all of whose values in older files are NULL or fit.

        The partition columns may change only while the table is empty. `version` is the one for
        which the columns were found to fit. `ConflictError` when another commit was first.
        """
        with self._lock:
            self._check_version(version)
            parts = list(self.partition_by if partition_by is None else partition_by)
            if parts != list(self.partition_by) and not self.is_empty:
                raise DataError(
                    f"the table {self.url!r} is partitioned by {list(self.partition_by)} and the"
                    f" pipeline now says {parts}; refresh the table fully",
                    condition="CANNOT_UPDATE_PARTITION_COLUMNS",
                )
            if schema != self.schema:
                self._allow_types(schema)
            self._describe(schemaString=schema.json(), partitionColumns=parts)

    def rewrite(self, version: int, files: Sequence[DataFile], schema: Any) -> None:
        """Put `files`, the rows of `version` as `schema`, in the place of that version's files.

        Streams see no new rows. `ConflictError` when another commit was first.
        """
        with self._lock:
            self._check_version(version)
            now = int(self._clock.now().timestamp() * 1000)
            self._allow_types(schema)
            old = self._there().get_add_actions(flatten=False).column("path").to_pylist()
            actions: list[dict[str, Any]] = [
                {"remove": {"path": path, "deletionTimestamp": now, "dataChange": False}}
                for path in old
            ]
            actions += [log.added(file) for file in files]
            self._describe(actions, schemaString=schema.json())

    def replace(self, old: Sequence[str], new: Sequence[DataFile]) -> None:
        """Put `new` in the place of the files `old`, paths as in the log: the same rows.

        Streams see no new rows. `ConflictError` when one of the old files is no part of the table
        any more; then nothing happened.
        """
        with self._lock:
            for _ in range(_TRIES):
                self.refresh()
                actions = self._there().get_add_actions(flatten=False)
                live = set(actions.column("path").to_pylist())
                if not live.issuperset(old):
                    raise ConflictError(f"files of {self.url!r} were replaced by another commit")
                if self._replaced(old, new):
                    return
            raise ConflictError(f"the table {self.url!r} is changed by others all the time")

    def _replaced(self, old: Sequence[str], new: Sequence[DataFile]) -> bool:
        """Try to be the next version; False when another commit was first."""
        now = int(self._clock.now().timestamp() * 1000)
        note = {"timestamp": now, "operation": "OPTIMIZE", "operationParameters": {}}
        whole: list[dict[str, Any]] = [{"commitInfo": note}]
        whole += [
            {"remove": {"path": path, "deletionTimestamp": now, "dataChange": False}}
            for path in old
        ]
        whole += [log.added(file) for file in new]
        try:
            with step(Step.MAINTAIN_COMPACT):
                log.put(self._store, self.version + 1, whole)
        except ConflictError:
            return False
        except UnknownOutcome:
            self.refresh()
            files = self.files()
            if not all(f"{self.url}/{file.path}" in files for file in new):
                raise
        self.refresh()
        return True

    def describe(self, comment: str | None, properties: Mapping[str, str]) -> None:
        """Give the table this comment and, besides those it has, these properties.

        `ConflictError` when another commit was first.
        """
        with self._lock:
            self._describe(
                description=self.comment if comment is None else comment,
                configuration={**self.properties, **properties},
            )

    def _describe(self, actions: Sequence[Mapping[str, Any]] = (), **changes: Any) -> None:
        """Change the table's metadata, and more; nothing happens when it says so already."""
        before = self._metadata()
        wanted = {**before, **changes}
        if wanted == before:
            return
        note = {
            "timestamp": int(self._clock.now().timestamp() * 1000),
            "operation": "CHANGE TABLE",
            "operationParameters": {},
        }
        try:
            with step(Step.TABLE_EVOLVE):
                whole = [{"commitInfo": note}, {"metaData": wanted}, *actions]
                log.put(self._store, self.version + 1, whole)
        except UnknownOutcome:
            self.refresh()
            if self._metadata() != wanted:
                raise
        finally:
            self.refresh()

    def _metadata(self) -> dict[str, Any]:
        """The `metaData` action as it stands."""
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

    def reset(self, metadata: Mapping[str, Any]) -> int:
        """Take all rows out and begin the next generation. The new generation's number.

        `ConflictError` when another commit was first: look whether the table was reset by it.
        """
        with self._lock:
            generation = self.generation + 1
            try:
                with step(Step.RESET), self._wrapped("reset"):
                    self._there().create_write_transaction(
                        [],
                        "overwrite",
                        self._there().schema(),
                        list(self.partition_by),
                        commit_properties=_noted(metadata, {GENERATION: generation}),
                        post_commithook_properties=_HOOKS,
                    )
            except UnavailableError:
                self.refresh()
                if self.generation != generation:
                    raise
            self.refresh()
            return generation

    def commit(self, change: Change) -> Committed:
        """Make `change` part of the table, exactly once.

        Looks at the table's own `txn` first, and again whenever the answer to a commit is lost or
        another commit was first. `ConflictError` when the table was reset since the batch was
        planned, or its columns have other types than the files (`TYPES_CHANGED`);
        `UnavailableError` when the commit did not happen; `UnknownOutcome` when it may have.
        """
        with self._lock:
            for _ in range(_TRIES):
                done = self._find_own_commit(change)
                if done is not None:
                    return done
                try:
                    with step(Step.COMMIT), self._wrapped("commit to"):
                        self._write(change)
                except ConflictError as error:
                    before = self.version
                    if self.refresh() == before:
                        raise UnavailableError(str(error)) from error
                except UnavailableError:
                    self.refresh()
                    done = self._find_own_commit(change)
                    if done is None:
                        raise
                    return done
                else:
                    self.refresh()
            raise ConflictError(
                f"{_TRIES} other commits to {self.url!r} were first; try again later"
            )

    def compact(self) -> None:
        """Put the rows of many small files into few; no row changes.

        `ConflictError` when another commit was first; then nothing happened.
        """
        with self._lock, self._wrapped("compact"):
            self._there().optimize.compact(
                commit_properties=CommitProperties(max_commit_retries=0),
                post_commithook_properties=_HOOKS,
            )
            self.refresh()

    def _find_own_commit(self, change: Change) -> Committed | None:
        """Whether the batch is in the table, and whose attempt it was."""
        if self.generation != change.generation:
            raise ConflictError(
                f"the table {self.url!r} was fully refreshed while batch {change.batch} was"
                " computed; plan it anew",
                condition="GENERATION_CHANGED",
            )
        last = self.transaction(change.app_id)
        if last is None or last < change.batch:
            self._check_types(change)
            return None
        for version in range(self.version, -1, -1):
            try:
                found = self.commit_info(version)
            except NotFoundError:
                break
            if found.transactions.get(change.app_id) == change.batch:
                return Committed(version, found.proa.get("attempt") == change.attempt)
        # Nobody can tell any more, and files that may be committed are never removed.
        return Committed(self.version, by_us=True)

    def _check_version(self, version: int | None) -> None:
        if version is not None and version != self.version:
            raise ConflictError(f"the table {self.url!r} has a newer version than {version}")

    def _check_types(self, change: Change) -> None:
        """Files of one type must not come into a table of another: engines read them differently."""
        if change.overwrite or change.schema is None or keeps_types(change.schema, self.schema):
            return
        raise ConflictError(
            f"the columns of {self.url!r} were given other types while batch {change.batch} was"
            " computed; compute it once more",
            condition=TYPES_CHANGED,
        )

    def _write(self, change: Change) -> None:
        table = self._there()
        actions: list[AddAction | RemoveAction] = [
            AddAction(f.path, f.size, f.partition, f.modified, data_change=True, stats=f.stats)
            for f in change.adds
        ]
        now = int(self._clock.now().timestamp() * 1000)
        actions += [
            RemoveAction(path, data_change=True, deletion_timestamp=now) for path in change.removes
        ]
        if change.overwrite:
            self._allow_types(change.schema)
            table = self._there()
        mode: Literal["overwrite", "append"] = "overwrite" if change.overwrite else "append"
        table.create_write_transaction(
            actions,
            mode,
            to_delta(change.schema) if change.overwrite else table.schema(),
            list(self.partition_by),
            commit_properties=_noted(
                {**change.metadata, "attempt": change.attempt},
                {change.app_id: change.batch, **change.transactions},
            ),
            post_commithook_properties=_HOOKS,
        )

    def _allow_types(self, schema: Any) -> None:
        """Write down the table feature that a type of `schema` needs, where it is missing."""
        if "timestamp_ntz" not in schema.json():
            return
        features = self._there().protocol().reader_features or []
        if "timestampNtz" not in features:
            with self._wrapped("change"):
                self._there().alter.add_feature(
                    TableFeatures.TimestampWithoutTimezone, allow_protocol_versions_increase=True
                )
            self.refresh()

    def _there(self) -> DeltaTable:
        if self._delta is None and self.refresh() is None:
            raise NotFoundError(f"there is no table at {self.url!r}")
        assert self._delta is not None
        return self._delta

    def _as_of(self, version: int | None) -> DeltaTable:
        table = self._there()
        if version is None or version == table.version():
            return table
        try:
            with self._wrapped("read"):
                return DeltaTable(self.url, version=version, storage_options=self.options)
        except UnavailableError as error:
            if version < table.version() and not self._store.exists(log.name(version)):
                raise NotFoundError(
                    f"the log of {self.url!r} no longer reaches back to version {version}"
                ) from error
            raise

    def _opened(self) -> DeltaTable | None:
        try:
            return DeltaTable(self.url, storage_options=self.options)
        except TableNotFoundError:
            return None

    def _wrapped(self, verb: str) -> _Wrapped:
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
        if isinstance(error, (DeltaError, OSError)):
            kind = (
                UnknownOutcome if is_url(self._url) and self._verb != "read" else UnavailableError
            )
            raise kind(f"cannot {self._verb} the table {self._url!r}: {line}") from error


def _line(text: str) -> str:
    """The first line of an error, and of a chain of causes also the last."""
    causes = [re.sub(r"\x1b\[[\d;]*m", "", line).strip(" ↳") for line in text.splitlines()]
    chained = len(causes) > 1 and "↳" in text
    return f"{causes[0]}: {causes[-1]}" if chained else "".join(causes[:1])


_TRIES = 50
_HOOKS = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)


def _noted(metadata: Mapping[str, Any], transactions: Mapping[str, int]) -> CommitProperties:
    return CommitProperties(
        custom_metadata={"proa": dict(metadata)},
        max_commit_retries=0,
        app_transactions=[Transaction(app, version) for app, version in transactions.items()],
    )
