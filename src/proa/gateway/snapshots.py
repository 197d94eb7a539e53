"""Snapshots of a table: the files that hold its rows at a version, with what is known of each."""

from __future__ import annotations

import hashlib
import threading
import urllib.parse
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from proa.http.api_errors import InvalidParameterError, MissingError
from proa.lake import Table, stats
from proa.storage import NotFoundError
from proa.times import millis

_REMEMBERED = 32
"""Snapshots of a region that are kept; each is a list of its files."""
CHANGE_FEED = "delta.enableChangeDataFeed"
_SERVED_FEATURES = frozenset({"timestampNtz", "v2Checkpoint", "vacuumProtocolCheck"})
"""What a reader must know to read the files that are named here, or need not know at all."""
_FEATURES_OF_FILES = frozenset({"timestampNtz"})


@dataclass(frozen=True)
class SharedFile:
    """One data file of a table."""

    path: str
    """Relative to the table."""
    size: int
    modified: int
    rows: int | None
    partition: Mapping[str, Any]
    """By column: the value that all its rows have."""
    low: Mapping[str, Any] = field(default_factory=dict)
    high: Mapping[str, Any] = field(default_factory=dict)
    nulls: Mapping[str, Any] = field(default_factory=dict)
    partition_values: Mapping[str, str | None] = field(default_factory=dict)
    """As Delta spells them."""
    stats: str | None = None

    @property
    def file_id(self) -> str:
        """Names the file for ever: clients keep what they have read under it."""
        return file_id(self.path)


@dataclass(frozen=True)
class TableState:
    """What a version of a table is, without its files."""

    version: int
    protocol: Mapping[str, Any]
    metadata: Mapping[str, Any]
    """The `metaData` action as the log has it."""

    @property
    def features(self) -> frozenset[str]:
        """The features that a reader of its files must know."""
        return frozenset(self.protocol.get("readerFeatures", ())) & _FEATURES_OF_FILES

    @property
    def has_change_feed(self) -> bool:
        """Whether it keeps a change data feed."""
        return str(self.metadata["configuration"].get(CHANGE_FEED)).lower() == "true"


@dataclass(frozen=True)
class TableSnapshot:
    """The files of a version of a table."""

    state: TableState
    files: Sequence[SharedFile]


class SnapshotReader:
    """The tables of one region, and the snapshots that were asked for last."""

    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = options
        self._tables: dict[str, Table] = {}
        self._snapshots: OrderedDict[tuple[str, str, int], TableSnapshot] = OrderedDict()
        self._lock = threading.Lock()

    def table(self, url: str) -> Table:
        """The table there, looked at now. Raises MissingError when there is none."""
        with self._lock:
            table = self._tables.setdefault(url, Table.at(url, self._options))
        if table.refresh() is not None and not table.is_current:
            table = Table.at(url, self._options)
            with self._lock:
                self._tables[url] = table
            table.refresh()
        if not table.exists:
            raise MissingError("the table has not been computed yet")
        return table

    def state(self, table: Table, version: int | None = None) -> TableState:
        """What a version is, the newest when None. Raises MissingError when it is gone."""
        with table.lock, table.wrap_errors("read"):
            try:
                delta = table.at_version(version)
            except NotFoundError as error:
                raise MissingError(
                    f"version {version} of the table cannot be read any more"
                ) from error
            return TableState(delta.version(), _protocol(delta), _metadata(delta))

    def snapshot(self, table: Table, version: int | None = None) -> TableSnapshot:
        """The files of a version, the newest when None. Raises as `state`."""
        with table.lock:
            state = self.state(table, version)
            key = (table.url, str(state.metadata["id"]), state.version)
            known = self._snapshots.get(key)
            if known is not None:
                return known
            with table.wrap_errors("read"):
                actions = pa.table(table.at_version(version).get_add_actions(flatten=False))
        snapshot = TableSnapshot(state, _files(actions))
        with self._lock:
            self._snapshots[key] = snapshot
            while len(self._snapshots) > _REMEMBERED:
                self._snapshots.popitem(last=False)
        return snapshot

    def version_at(self, table: Table, moment: datetime) -> int:
        """The newest version that was there at a moment.

        Raises InvalidParameterError when the table, or what its log still tells, is younger.
        """
        first = self._first_version_after(table, millis(moment) + 1)
        if first == 0 or not _is_readable(table, first - 1):
            raise InvalidParameterError(
                f"nothing is known of the table at {moment.isoformat()}: it is younger, or its log is"
            )
        return first - 1

    def version_from(self, table: Table, moment: datetime) -> int:
        """The oldest version that was committed at a moment or later.

        Raises InvalidParameterError when there is none yet.
        """
        first = self._first_version_after(table, millis(moment))
        if first > table.version:
            raise InvalidParameterError(
                f"the table has no version since {moment.isoformat()}; its newest is of"
                f" {table.committed_at(table.version)} ms since 1970"
            )
        return first

    @staticmethod
    def _first_version_after(table: Table, at: int) -> int:
        """The oldest readable version with a time of at least `at`; one above the newest if none has."""
        low, high = 0, table.version + 1
        while low < high:
            middle = (low + high) // 2
            if not _is_readable(table, middle) or table.committed_at(middle) < at:
                low = middle + 1
            else:
                high = middle
        return low


def file_id(path: str) -> str:
    """32 hexadecimal digits for a file of a table: Proa never writes two files under one name."""
    return hashlib.sha256(path.encode()).hexdigest()[:32]


def needs_of(state: TableState) -> None:
    """Raise InvalidParameterError for a table that cannot be shared file by file."""
    protocol = state.protocol
    features = set(protocol.get("readerFeatures", ())) - _SERVED_FEATURES
    if protocol["minReaderVersion"] == 2:
        features.add("columnMapping")
    if features:
        raise InvalidParameterError(
            f"the table has features that the gateway does not share: {', '.join(sorted(features))};"
            " read it with SQL"
        )


def _is_readable(table: Table, version: int) -> bool:
    try:
        table.commit_info(version)
    except NotFoundError:
        return False
    return True


def _protocol(delta: Any) -> dict[str, Any]:
    protocol = delta.protocol()
    action: dict[str, Any] = {
        "minReaderVersion": protocol.min_reader_version,
        "minWriterVersion": protocol.min_writer_version,
    }
    if protocol.min_reader_version >= 3:
        action["readerFeatures"] = sorted(protocol.reader_features or ())
    if protocol.min_writer_version >= 7:
        action["writerFeatures"] = sorted(protocol.writer_features or ())
    return action


def _metadata(delta: Any) -> dict[str, Any]:
    metadata = delta.metadata()
    action = {
        "id": str(metadata.id),
        "name": metadata.name,
        "description": metadata.description,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": delta.schema().to_json(),
        "partitionColumns": list(metadata.partition_columns),
        "createdTime": metadata.created_time,
        "configuration": dict(metadata.configuration),
    }
    return {key: value for key, value in action.items() if value is not None}


def _files(actions: pa.Table) -> list[SharedFile]:
    names = actions.schema.names
    columns = {name: actions.column(name).to_pylist() for name in names}
    empty: list[Any] = [{}] * actions.num_rows
    files = []
    for path, size, modified, rows, nulls, low, high, partition in zip(
        *(columns[name] for name in ("path", "size_bytes", "modification_time")),
        *(columns.get(name, empty) for name in ("num_records", "null_count", "min", "max")),
        columns.get("partition", empty),
        strict=True,
    ):
        values = partition or {}
        files.append(
            SharedFile(
                urllib.parse.unquote(path),
                size,
                _milliseconds(modified),
                rows,
                values,
                low or {},
                high or {},
                nulls or {},
                {name: _partition_text(value) for name, value in values.items()},
                stats.of_action(rows, low, high, nulls),
            )
        )
    return files


def _milliseconds(value: Any) -> int:
    return millis(value) if isinstance(value, datetime) else int(value)


def _partition_text(value: Any) -> str | None:
    """A partition's value as Delta writes it."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.replace(tzinfo=None).isoformat(" ", "microseconds")
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return format(value, "f") if isinstance(value, Decimal) else str(value)
