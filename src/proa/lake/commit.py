"""How a Delta table changes: one commit on top of the version that was looked at.

A commit carries a `txn` action that says which batch of which flow it is; so whether a batch has
happened is a question that the table itself answers, and `commit` asks it before it does anything
twice. Files, columns, partitions and a new generation come in the same commit: a reader sees all of
a batch or nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.table import TableFeatures

from proa.clock import Ids
from proa.engine import Engine
from proa.errors import ConflictError, DataError, UnavailableError, UnknownOutcome, UserError
from proa.formats.place import PLACE, place_field, with_place
from proa.lake import log
from proa.lake.log import EPOCH, GENERATION, REFRESH
from proa.lake.table import Table
from proa.lake.table_schema import keeps_types, merge_schemas, to_arrow, to_delta
from proa.lake.writer import DataFile, Destination, WriteResult, discard_attempt, write_frame
from proa.steps import Step, step
from proa.storage import NotFoundError, Store

STALE_FILES = "STALE_FILES"
"""The condition of a commit whose files no longer fit the table: they must be written anew."""


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
    """Paths of files, relative to the table, whose rows go: a merge puts `adds` in their place."""
    based_on: int | None = None
    """The version that the files were computed from, when rows that came since would matter."""
    replaces: bool = False
    """All other files go, and the table takes `schema`."""
    schema: Any = None
    """The columns of the files, as a StructType; None: those that the table has."""
    partition_by: Sequence[str] | None = None
    """The partition columns of the files; None: those that the table has."""
    widens: bool = False
    """Columns of the table may take wider types, in which its rows are written once more."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Noted in the commit under `proa`."""
    transactions: Mapping[str, int] = field(default_factory=dict)
    """Further `txn` actions of the same commit."""
    changes: Sequence[DataFile] = ()
    """Files that say row by row what changed; left out where all rows are replaced."""
    epoch: int = 0
    """The epoch of the region that writes, where only an active one may; noted when it is not 0."""


@dataclass(frozen=True)
class Committed:
    """The batch is in the table."""

    version: int
    by_us: bool
    """False: another attempt at the same batch was committed, and nothing of this one."""


@dataclass(frozen=True)
class Rewriter:
    """Writes rows of a table once more, into other files."""

    engine: Engine
    ids: Ids

    def write(
        self, table: Table, files: Sequence[str], schema: Any
    ) -> tuple[Destination, WriteResult]:
        """The rows of `files` (absolute locations) in new files of the columns `schema`."""
        table.check(files)
        keeps_places = any(_has_place(file, table.options) for file in files)
        destination = Destination(
            url=table.url,
            options=table.options,
            schema=to_arrow(schema),
            attempt=self.ids.new(),
            partition_by=table.partition_by,
            hidden=(place_field(),) if keeps_places else (),
        )
        columns = with_place(schema) if keeps_places else schema
        frame = self.engine.dataframe(self.engine.parquet(files, columns))
        return destination, write_frame(self.engine, frame, destination)


def _has_place(file: str, options: Mapping[str, str]) -> bool:
    """Whether a file holds the places of its rows, beside the table's columns."""
    folder, _, name = file.rpartition("/")
    return PLACE in pq.read_schema(Store.open(folder, options).open_reader(name)).names


def create_table(  # noqa: PLR0913 - what a table is
    table: Table,
    schema: Any,
    *,
    partition_by: Sequence[str] = (),
    comment: str | None = None,
    properties: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Make the table, in generation 0. Nothing happens when there is one already."""
    with table.lock:
        if table.exists:
            return
        try:
            with step(Step.TABLE_CREATE), table.wrap_errors("create"):
                DeltaTable.create(
                    table.url,
                    to_delta(schema),
                    mode="error",
                    partition_by=list(partition_by),
                    description=comment,
                    configuration=dict(properties or {}),
                    storage_options=table.options,
                    commit_properties=CommitProperties(
                        custom_metadata={"proa": dict(metadata or {})},
                        max_commit_retries=0,
                        app_transactions=[Transaction(GENERATION, 0)],
                    ),
                    raise_if_key_not_exists=False,
                )
        except ConflictError:
            pass
        except UnavailableError:
            if table.refresh() is None:
                raise
        table.refresh()


_APPENDED_TO = frozenset(
    {
        "appendOnly",
        "changeDataFeed",
        "clustering",
        "columnMapping",
        "checkConstraints",
        "deletionVectors",
        "domainMetadata",
        "generatedColumns",
        "identityColumns",
        "invariants",
        "timestampNtz",
        "v2Checkpoint",
        "vacuumProtocolCheck",
    }
)
"""Features of tables that rows may be added to; what these ask for is looked at one by one."""
_COMPUTED = ("delta.generationExpression", "delta.identity.start", "delta.invariants")


def check_appendable(table: Table) -> None:
    """Raise UserError when a table made by others asks more of its writers than is done here."""
    with table.lock:
        protocol, properties = table.delta().protocol(), table.properties
        asked = sorted(set(protocol.writer_features or ()) - _APPENDED_TO)
        if properties.get("delta.columnMapping.mode", "none") != "none":
            asked.append("columnMapping")
        asked += sorted(key for key in properties if key.startswith("delta.constraints."))
        for column in table.schema.fields:
            given = column.metadata or {}
            asked += [f"{key} of {column.name!r}" for key in _COMPUTED if key in given]
    if asked:
        raise UserError(
            f"the table {table.url!r} asks its writers for {', '.join(asked)}, which Proa does not"
            " do; write to a table of its own, and copy from there",
            condition="DELTA_UNSUPPORTED_FEATURES_FOR_WRITE",
        )


def commit_change(table: Table, change: Change, rewriter: Rewriter | None = None) -> Committed:
    """Make `change` part of the table, exactly once.

    Looks at the table's own `txn` first, and again whenever the answer to a commit is lost or
    another commit was first. `rewriter` writes the table's rows anew where `change.widens` asks for
    it. Raises `ConflictError` when a full refresh has begun since the batch was planned, and with
    the condition STALE_FILES when the files do not fit the table any more; `DataError` when their
    columns never will; `UnavailableError` when the commit did not happen; `UnknownOutcome` when it
    may have.
    """
    for _ in range(_TRIES):
        with table.lock:
            outcome = _try_commit(table, change)
        if isinstance(outcome, Committed):
            return outcome
        if outcome is not None:
            _widen(table, outcome, rewriter)
    raise ConflictError(f"{_TRIES} other commits to {table.url!r} were first; try again later")


def describe_table(table: Table, comment: str | None, properties: Mapping[str, str]) -> None:
    """Give the table this comment and, besides those it has, these properties.

    Nothing happens when it says so already. `ConflictError` when another commit was first.
    """
    with table.lock:
        before = table.metadata_action()
        wanted = {
            **before,
            "description": before["description"] if comment is None else comment,
            "configuration": {**before["configuration"], **properties},
        }
        if wanted == before:
            return
        if _records_changes(wanted) and not _records_changes(before):
            with table.wrap_errors("change"):
                table.delta().alter.add_feature(
                    TableFeatures.ChangeDataFeed, allow_protocol_versions_increase=True
                )
            table.refresh()
        try:
            with step(Step.TABLE_EVOLVE):
                table.put([_info(table, "SET TBLPROPERTIES"), {"metaData": wanted}])
        except UnknownOutcome:
            table.refresh()
            if table.metadata_action() != wanted:
                raise


def _records_changes(metadata: Mapping[str, Any]) -> bool:
    return str(metadata["configuration"].get("delta.enableChangeDataFeed")).lower() == "true"


def begin_generation(table: Table, metadata: Mapping[str, Any]) -> int:
    """Ask for a full refresh: the number of the generation that flows compute from now on.

    The rows that are there stay until the first batch of that generation takes their place.
    `ConflictError` when another commit was first: look whether it asked for the same.
    """
    with table.lock:
        generation = table.wanted_generation + 1
        try:
            with step(Step.RESET):
                table.put([_info(table, "REFRESH", metadata), _txn(table, REFRESH, generation)])
        except UnavailableError:
            table.refresh()
            if table.wanted_generation != generation:
                raise
        return generation


def end_generation(table: Table, metadata: Mapping[str, Any]) -> None:
    """Take out the rows of older generations, when no batch has: the new one has no rows.

    `ConflictError` when other commits are first all the time.
    """
    for _ in range(_TRIES):
        with table.lock:
            wanted = table.wanted_generation
            if table.generation >= wanted:
                return
            actions = [_info(table, "TRUNCATE", metadata), _txn(table, GENERATION, wanted)]
            now = _millis(table)
            actions += _removals(table, table.live_paths(), now)
            try:
                with step(Step.COMMIT):
                    table.put(actions)
            except ConflictError:
                table.refresh()
            except UnavailableError:
                table.refresh()
                if table.generation < wanted:
                    raise
    raise ConflictError(f"{_TRIES} other commits to {table.url!r} were first; try again later")


def replace_files(table: Table, old: Sequence[str], new: Sequence[DataFile]) -> None:
    """Put `new` in the place of the files `old`, paths as in the log: the same rows.

    Streams see no new rows. `ConflictError` when one of the old files is not part of the table any
    more; then nothing happened.
    """
    with table.lock:
        for _ in range(_TRIES):
            table.refresh()
            if not set(table.live_paths()).issuperset(old):
                raise ConflictError(f"files of {table.url!r} were replaced by another commit")
            actions = [_info(table, "OPTIMIZE"), *_exchange_actions(table, old, new)]
            try:
                with step(Step.MAINTAIN_COMPACT):
                    table.put(actions)
            except ConflictError:
                continue
            except UnknownOutcome:
                table.refresh()
                live = set(table.live_paths())
                if not all(log.log_path(file.path) in live for file in new):
                    raise
            return
        raise ConflictError(f"the table {table.url!r} is changed by others all the time")


# -- one attempt ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Widening:
    """The table's rows must be written in other types before a change can be committed."""

    version: int
    schema: Any


def _try_commit(table: Table, change: Change) -> Committed | _Widening | None:
    """Try to be the next version. None when another commit was first."""
    done = _own_commit(table, change)
    if done is not None:
        return done
    plan = _actions(table, change)
    if isinstance(plan, _Widening):
        return plan
    before = table.version
    try:
        with step(Step.COMMIT):
            table.put(plan)
    except ConflictError as error:
        if table.refresh() == before:
            raise UnavailableError(str(error)) from error
        return None
    except UnavailableError:
        table.refresh()
        done = _own_commit(table, change)
        if done is None:
            raise
        return done
    return _own_commit(table, change)


def _own_commit(table: Table, change: Change) -> Committed | None:
    """The commit of the batch `change`, by whichever attempt; None while there is none.

    Raises ConflictError when a full refresh was asked for since the batch was planned.
    """
    if table.wanted_generation != change.generation:
        raise ConflictError(
            f"a full refresh of the table {table.url!r} has begun while batch {change.batch} was"
            " computed; plan it anew",
            condition="GENERATION_CHANGED",
        )
    last = table.transaction(change.app_id)
    if last is None or last < change.batch:
        if change.epoch < (epoch := table.transaction(EPOCH) or 0):
            raise ConflictError(
                f"the table {table.url!r} was written in epoch {epoch}, and this region writes in"
                f" epoch {change.epoch}: another one is active",
                condition="REGION_FENCED",
            )
        return None
    for version in range(table.version, -1, -1):
        try:
            entry = table.commit_info(version)
        except NotFoundError:
            break
        if entry.transactions.get(change.app_id) == change.batch:
            return Committed(version, entry.proa.get("attempt") == change.attempt)
    # Nobody can tell any more, and files that may be committed are never removed.
    return Committed(table.version, by_us=True)


def _actions(table: Table, change: Change) -> list[Mapping[str, Any]] | _Widening:
    """What the next version consists of, for the table as it was looked at last."""
    begins = table.generation < change.generation
    replaces = change.replaces or begins
    schema, parts = _columns(table, change, replaces=replaces)
    if isinstance(schema, _Widening):
        return schema
    _allow_types(table, schema)
    before = table.metadata_action()
    wanted = {**before, "schemaString": schema.json(), "partitionColumns": parts}
    now = _millis(table)
    mode = "Overwrite" if replaces else "Append"
    actions: list[Mapping[str, Any]] = [
        _info(
            table,
            "MERGE" if change.removes else "WRITE",
            {**change.metadata, "attempt": change.attempt},
            mode=mode,
        ),
        _txn(table, change.app_id, change.batch),
    ]
    actions += [_txn(table, app, version) for app, version in change.transactions.items()]
    if begins:
        actions.append(_txn(table, GENERATION, change.generation))
    if change.epoch:
        actions.append(_txn(table, EPOCH, change.epoch))
    if wanted != before:
        actions.append({"metaData": wanted})
    gone = table.live_paths() if replaces else _live(table, change)
    actions += _removals(table, gone, now)
    actions += [log.add_action(file, new_rows=True) for file in change.adds]
    if not replaces:
        actions += [log.change_action(file) for file in change.changes]
    return actions


def _columns(table: Table, change: Change, *, replaces: bool) -> tuple[Any, list[str]]:
    """The columns (or the widening that they need) and partition columns after the change.

    Raises ConflictError (STALE_FILES) when the files have other types than the table will have.
    """
    have = list(table.partition_by)
    parts = have if change.partition_by is None else list(change.partition_by)
    if change.schema is None or (change.schema == table.schema and parts == have):
        return table.schema, parts
    if replaces or table.is_empty:
        return change.schema, parts
    if parts != have:
        raise DataError(
            f"the table {table.url!r} is partitioned by {have} and the pipeline now says {parts};"
            " refresh the table fully",
            condition="CANNOT_UPDATE_PARTITION_COLUMNS",
        )
    wanted = merge_schemas(table.schema, change.schema, table.url, widen=change.widens)
    if not keeps_types(change.schema, wanted):
        raise ConflictError(
            f"the columns of {table.url!r} were given other types while batch {change.batch} was"
            " computed; compute it once more",
            condition=STALE_FILES,
        )
    if not keeps_types(table.schema, wanted):
        _allow_types(table, wanted)
        return _Widening(table.version, wanted), parts
    return wanted, parts


def _live(table: Table, change: Change) -> list[str]:
    """The files that a merge takes out, as the log spells them.

    Raises ConflictError (STALE_FILES) when other commits replaced one of them, or changed rows of
    the version that the merge was computed from.
    """
    paths = [log.log_path(path) for path in change.removes]
    since = table.version if change.based_on is None else change.based_on
    changed = any(c.adds or c.removes for c in table.commits(since, table.version))
    if changed or (paths and not set(table.live_paths()).issuperset(paths)):
        raise ConflictError(
            f"files of {table.url!r} were replaced while a batch was computed; compute it once more",
            condition=STALE_FILES,
        )
    return paths


def _widen(table: Table, widening: _Widening, rewriter: Rewriter | None) -> None:
    """Put the table's rows, in wider types, in the place of its files; others may be first."""
    if rewriter is None:
        raise ConflictError(f"the types of {table.url!r} changed", condition=STALE_FILES)
    destination, result = rewriter.write(
        table, table.whole_files(widening.version), widening.schema
    )
    with table.lock:
        if table.version != widening.version:
            discard_attempt(destination, result.files)
            return
        meta = {**table.metadata_action(), "schemaString": widening.schema.json()}
        actions = [
            _info(table, "CHANGE COLUMN"),
            {"metaData": meta},
            *_exchange_actions(table, table.live_paths(), result.files),
        ]
        try:
            with step(Step.TABLE_EVOLVE):
                table.put(actions)
        except ConflictError:
            discard_attempt(destination, result.files)
            table.refresh()
        except UnknownOutcome:
            table.refresh()
            if table.metadata_action()["schemaString"] != meta["schemaString"]:
                raise


def _allow_types(table: Table, schema: Any) -> None:
    """Write down the table feature that a type of `schema` needs, where it is missing."""
    if "timestamp_ntz" not in schema.json() or "timestampNtz" in table.features():
        return
    with table.wrap_errors("change"):
        table.delta().alter.add_feature(
            TableFeatures.TimestampWithoutTimezone, allow_protocol_versions_increase=True
        )
    table.refresh()


def _exchange_actions(
    table: Table, old: Sequence[str], new: Sequence[DataFile]
) -> list[Mapping[str, Any]]:
    """The actions that put the files `new` in the place of `old`, whose rows they hold."""
    now = _millis(table)
    gone = [log.remove_action(path, now, rows_go=False) for path in old]
    return [*gone, *(log.add_action(file, new_rows=False) for file in new)]


def _removals(table: Table, paths: Sequence[str], now: int) -> list[Mapping[str, Any]]:
    """The actions that take out files with their rows; one with a deletion vector is named by both."""
    vectors = table.deletion_vectors()
    actions = [log.remove_action(path, now, rows_go=True) for path in paths]
    for action in actions:
        vector = vectors.get(action["remove"]["path"])
        if vector is not None:
            action["remove"]["deletionVector"] = vector
    return list(actions)


def _info(
    table: Table, operation: str, noted: Mapping[str, Any] | None = None, **parameters: str
) -> Mapping[str, Any]:
    info: dict[str, Any] = {
        "timestamp": _millis(table),
        "operation": operation,
        "operationParameters": parameters,
        "engineInfo": "proa",
    }
    if noted is not None:
        info["proa"] = dict(noted)
    return {"commitInfo": info}


def _txn(table: Table, app_id: str, version: int) -> Mapping[str, Any]:
    return {"txn": {"appId": app_id, "version": version, "lastUpdated": _millis(table)}}


def _millis(table: Table) -> int:
    return int(table.clock.now().timestamp() * 1000)


_TRIES = 50
