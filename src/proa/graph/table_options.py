"""What the options of a leaf say about how a Delta table is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from pyspark.sql.types import LongType, StringType, StructField, StructType, TimestampType

from proa.errors import DataError, UserError
from proa.graph.leaves import DatasetLeaf, TableLeaf
from proa.times import parse_moment

CHANGE_TYPE, COMMIT_VERSION = "_change_type", "_commit_version"
COMMIT_TIME = "_commit_timestamp"
_FEED = (
    StructField(CHANGE_TYPE, StringType()),
    StructField(COMMIT_VERSION, LongType()),
    StructField(COMMIT_TIME, TimestampType()),
)
FEED_PROPERTY = "delta.enableChangeDataFeed"
_REFUSED = {
    "ignoreChanges": "add the option skipChangeCommits, or read the change feed (readChangeFeed)",
    "ignoreFileDeletion": "add the option ignoreDeletes or skipChangeCommits",
    "excludeRegex": "filter the rows in the query",
    "schemaTrackingLocation": "columns are followed without it",
}


@dataclass(frozen=True)
class TableOptions:
    """How a Delta table is read, complete or as a stream."""

    feed: bool = False
    """Its changes are read, not its rows."""
    skip_changes: bool = False
    """As a stream: commits that take rows out are left out."""
    ignore_deletes: bool = False
    """As a stream: commits that only take rows out are left out."""
    max_files: int | None = None
    """As a stream: files of a batch, about."""
    start: int | datetime | None = None
    """The first version whose rows or changes are read, or the moment from which on they are."""
    end: int | datetime | None = None
    """Of a complete feed: the last version, or the moment until which; None: the newest."""
    as_of: int | datetime | None = None
    """The version whose rows are read, or the moment as of which; None: the newest."""

    @classmethod
    def of(cls, options: Mapping[str, str], what: str, *, streaming: bool) -> TableOptions:
        """Read the options of a leaf; `what` names the table. UserError for what is not done."""
        given = {key.lower(): str(value) for key, value in options.items()}
        for name, remedy in _REFUSED.items():
            if given.get(name.lower(), "false").lower() != "false":
                raise _refusal(name, what, remedy)
        feed = _flag(given, "readChangeFeed", what) or _flag(given, "readChangeData", what)
        start, end = (_moment(given, edge, what) for edge in ("starting", "ending"))
        as_of = _travel(given, what)
        if start is not None and not (streaming or feed):
            raise _refusal("startingVersion", what, "it belongs to a stream or to a change feed")
        if end is not None and (streaming or not feed):
            raise _refusal("endingVersion", what, "it belongs to a complete change feed")
        if as_of is not None and (streaming or feed):
            raise _refusal("versionAsOf", what, "it belongs to a complete read")
        if feed and not streaming and start is None:
            raise UserError(
                f"the change feed of {what} has no beginning; give it the option startingVersion or"
                " startingTimestamp",
                condition="DELTA_NO_START_FOR_CDC_READ",
            )
        limit = given.get("maxfilespertrigger")
        return cls(
            feed,
            _flag(given, "skipChangeCommits", what),
            _flag(given, "ignoreDeletes", what),
            None if limit is None else _number(limit, "maxFilesPerTrigger", what),
            start,
            end,
            as_of,
        )

    @property
    def names_versions(self) -> bool:
        """Whether what is read depends on how the table's commits were cut."""
        return self.feed or self.start is not None or self.as_of is not None

    def columns(self, table: StructType) -> StructType:
        """The columns that are read of a table."""
        return StructType([*table.fields, *_FEED]) if self.feed else table


def version_at(
    moment: int | datetime, newest: int, time_of: Callable[[int], datetime], *, after: bool
) -> int:
    """The version that a number or a moment means, of those up to `newest`.

    With `after` the first one that is not older than the moment, which may be still to come; without,
    the last one that is not newer. Raises DataError when there is none.
    """
    if isinstance(moment, int):
        return moment
    version = newest
    while version >= 0 and time_of(version) >= moment:
        if not after and time_of(version) == moment:
            return version
        version -= 1
    if after:
        return version + 1
    if version < 0:
        raise DataError(
            f"the table has no version as old as {moment.isoformat()}; name a later moment",
            condition="DELTA_TIMESTAMP_EARLIER_THAN_COMMIT_RETENTION",
        )
    return version


def _moment(given: Mapping[str, str], edge: str, what: str) -> int | datetime | None:
    version, time = given.get(f"{edge}version"), given.get(f"{edge}timestamp")
    if version is not None and time is not None:
        raise _refusal(f"{edge}Timestamp", what, f"{edge}Version says the same; give one of them")
    if version is not None:
        return _number(version, f"{edge}Version", what)
    return None if time is None else _time(time, f"{edge}Timestamp", what)


def _travel(given: Mapping[str, str], what: str) -> int | datetime | None:
    version, time = given.get("versionasof"), given.get("timestampasof")
    if version is not None:
        return _number(version, "versionAsOf", what)
    return None if time is None else _time(time, "timestampAsOf", what)


def _flag(given: Mapping[str, str], option: str, what: str) -> bool:
    text = given.get(option.lower(), "false").lower()
    if text not in {"true", "false"}:
        raise _refusal(option, what, f"it is true or false, not {text!r}")
    return text == "true"


def _number(text: str, option: str, what: str) -> int:
    if not text.isdigit():
        raise _refusal(option, what, f"give it a number, not {text!r}")
    return int(text)


def _time(text: str, option: str, what: str) -> datetime:
    try:
        return parse_moment(text.strip())
    except ValueError as error:
        raise _refusal(
            option, what, f"give it a time as 2026-01-31 12:00:00, not {text!r}"
        ) from error


def _refusal(option: str, what: str, remedy: str) -> UserError:
    return UserError(
        f"the option {option!r} of the read of {what} cannot be followed: {remedy}",
        condition="UNSUPPORTED_FEATURE",
    )


def options_of(leaf: DatasetLeaf | TableLeaf) -> TableOptions:
    """How a leaf is read. UserError for options that are not done."""
    what = leaf.dataset if isinstance(leaf, DatasetLeaf) else leaf.path
    return TableOptions.of(leaf.options, repr(what), streaming=leaf.streaming)
