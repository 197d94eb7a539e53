"""What is answered of a table: its version, its metadata, its files, its changes; in both formats."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proa.gateway.active_region import Serving
from proa.gateway.file_hints import chosen_files
from proa.gateway.links import LinkedTable, Links
from proa.gateway.served_region import ServedRegion
from proa.gateway.shared_versions import VersionLine, parse_version, shared_version
from proa.gateway.shares import SharedTable
from proa.gateway.snapshots import (
    CHANGE_FEED,
    SharedFile,
    TableSnapshot,
    TableState,
    file_id,
    needs_of,
)
from proa.http.api_errors import InvalidParameterError, MissingError, moment_parameter
from proa.lake import Table
from proa.storage import NotFoundError

PARQUET, DELTA = "parquet", "delta"
_FILE_ACTIONS = ("add", "remove", "cdc")


@dataclass(frozen=True)
class Capabilities:
    """What a client says that it understands, in the header `delta-sharing-capabilities`."""

    formats: Sequence[str] = (PARQUET,)
    features: frozenset[str] = frozenset()
    end_action: bool = False
    """Whether it wants a last line that says that the answer is whole."""

    @classmethod
    def parse(cls, header: str | None) -> Capabilities:
        """Read the header; what is not known is passed over. Raises InvalidParameterError."""
        pairs = (part.partition("=") for part in (header or "").lower().split(";"))
        values = {key.strip(): [one.strip() for one in text.split(",")] for key, _, text in pairs}
        formats = [
            one for one in values.get("responseformat", [PARQUET]) if one in {PARQUET, DELTA}
        ]
        if not formats:
            raise InvalidParameterError("responseformat is parquet, delta, or both")
        features = frozenset(values.get("readerfeatures", ()))
        return cls(formats, features, values.get("includeendstreamaction") == ["true"])

    def format_of(self, state: TableState) -> str:
        """The format of an answer about a table. Raises InvalidParameterError when none fits."""
        missing = {one for one in state.features if one.lower() not in self.features}
        if state.features and (DELTA not in self.formats or missing):
            names = ", ".join(sorted(state.features))
            raise InvalidParameterError(
                f"the table needs a client that knows {names}: one that sends the header"
                f" delta-sharing-capabilities: responseformat=delta;readerfeatures={names.lower()}"
            )
        return DELTA if state.features or PARQUET not in self.formats else PARQUET


@dataclass(frozen=True)
class Question:
    """What a client asks of a table's rows."""

    version: int | None = None
    timestamp: str | None = None
    starting_version: int | None = None
    starting_timestamp: str | None = None
    ending_version: int | None = None
    ending_timestamp: str | None = None
    sql_hints: Sequence[str] = ()
    json_hint: str | None = None
    limit: int | None = None
    with_metadata: bool = False
    """Whether changed metadata is told among changes."""


@dataclass(frozen=True)
class TableAnswer:
    """An answer: the version it is of, the format it is in, one JSON object a line."""

    version: int
    format: str = PARQUET
    lines: Sequence[str] = ()
    has_end: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """The headers that say so."""
        capabilities = f"responseformat={self.format}"
        if self.has_end:
            capabilities += ";includeendstreamaction=true"
        return {
            "delta-table-version": str(self.version),
            "delta-sharing-capabilities": capabilities,
        }


@dataclass
class TableReading:
    """One table of the active region, looked at for one request."""

    shared: SharedTable
    region: ServedRegion
    serving: Serving
    versions: VersionLine
    links: Links
    base: str
    """Where the client reaches the gateway."""
    table: Table = field(init=False)
    newest: int = field(init=False)
    """Its newest version, as consumers see it."""

    def __post_init__(self) -> None:
        try:
            self.table = self.region.snapshots.table(self.shared.url)
        except MissingError:
            # A region that was just lost has no tables either.
            self.region.look()
            self.region.check()
            raise
        self.newest = self.versions.advance(self.shared.dataset, self.serving, self.table.version)

    def version(self, starting_timestamp: str | None) -> TableAnswer:
        """The newest version, or the oldest since a moment."""
        if starting_timestamp is None:
            return TableAnswer(self.newest)
        moment = moment_parameter(starting_timestamp, "startingTimestamp")
        return TableAnswer(self._public(self.region.snapshots.version_from(self.table, moment)))

    def metadata(self, question: Question, capabilities: Capabilities) -> TableAnswer:
        """The protocol and the metadata of a version."""
        asked, version = self._asked_version(question)
        snapshot = self.region.snapshots.snapshot(self.table, version)
        needs_of(snapshot.state)
        form = capabilities.format_of(snapshot.state)
        lines = self._head(snapshot.state, form, _sizes(snapshot, asked))
        return self._answer(
            self.newest if asked is None else asked, form, lines, capabilities, None
        )

    def files(self, question: Question, capabilities: Capabilities) -> TableAnswer:
        """The files of a version that the hints leave."""
        asked, version = self._asked_version(question)
        snapshot = self.region.snapshots.snapshot(self.table, version)
        needs_of(snapshot.state)
        form = capabilities.format_of(snapshot.state)
        chosen = chosen_files(
            snapshot.files, sql=question.sql_hints, tree=question.json_hint, limit=question.limit
        )
        urls, until = self._links([file.path for file in chosen])
        about: dict[str, Any] = {"expirationTimestamp": until}
        if asked is not None:
            about["version"] = asked
            about["timestamp"] = self.table.committed_at(snapshot.state.version)
        write = _delta_file if form == DELTA else _parquet_file
        lines = self._head(snapshot.state, form, _sizes(snapshot, asked))
        lines += [_line(file=write(*pair, about)) for pair in zip(chosen, urls, strict=True)]
        shown = self._public(snapshot.state.version) if asked is None else asked
        return self._answer(shown, form, lines, capabilities, until)

    def changes(self, question: Question, capabilities: Capabilities, *, feed: bool) -> TableAnswer:
        """The changes of a range of versions: the change data feed, or with `feed` False the files
        that came and went.
        """
        first, last = self._asked_range(question)
        state = self.region.snapshots.state(self.table, last)
        needs_of(state)
        if feed and not state.has_change_feed:
            raise InvalidParameterError(
                f"the table {self.shared.name!r} keeps no change data feed: its property"
                f" {CHANGE_FEED!r} is not true; read its versions instead"
            )
        form = capabilities.format_of(state)
        lines = self._head(state, form, {"version": self._public(first)})
        until = None
        for version in range(first, last + 1):
            told, until = self._change_lines(version, form, question, feed=feed)
            lines += told
        return self._answer(self._public(first), form, lines, capabilities, until)

    # -- versions -----------------------------------------------------------------------------------

    def _public(self, version: int) -> int:
        return shared_version(self.serving.epoch, version)

    def _asked_version(self, question: Question) -> tuple[int | None, int | None]:
        """The version asked for, as consumers see it and as the region does; None for the newest."""
        if question.version is not None and question.timestamp is not None:
            raise InvalidParameterError("ask for a version or for a timestamp, not for both")
        if question.timestamp is not None:
            moment = moment_parameter(question.timestamp, "timestamp")
            version = self.region.snapshots.version_at(self.table, moment)
            return self._public(version), version
        if question.version is None:
            return None, None
        return question.version, self._region_version(question.version)

    def _region_version(self, shared: int) -> int:
        version = self.versions.region_version(shared, self.serving)
        if version > self.table.version:
            raise InvalidParameterError(
                f"there is no version {shared} yet; the newest is {self.newest}"
            )
        return version

    def _asked_range(self, question: Question) -> tuple[int, int]:
        """The first and last version of the region that changes are asked of."""
        if (question.starting_version is None) == (question.starting_timestamp is None):
            raise InvalidParameterError("give startingVersion or startingTimestamp, one of the two")
        if question.ending_version is not None and question.ending_timestamp is not None:
            raise InvalidParameterError("give endingVersion or endingTimestamp, not both")
        if question.starting_version is not None:
            first = self._in_this_epoch(question.starting_version)
        else:
            moment = moment_parameter(question.starting_timestamp or "", "startingTimestamp")
            first = self.region.snapshots.version_from(self.table, moment)
        last = self.table.version
        if question.ending_version is not None:
            last = min(last, self.versions.region_version(question.ending_version, self.serving))
        if question.ending_timestamp is not None:
            moment = moment_parameter(question.ending_timestamp, "endingTimestamp")
            last = self.region.snapshots.version_at(self.table, moment)
        if last < first:
            raise InvalidParameterError("the range of versions ends before it begins")
        return first, last

    def _in_this_epoch(self, shared: int) -> int:
        if parse_version(shared)[0] < self.serving.epoch:
            raise InvalidParameterError(
                f"the changes since version {shared} cannot be told: another region was active then."
                f" Read the table anew; its changes are told from version {self._public(0)} on"
            )
        return self._region_version(shared)

    # -- lines --------------------------------------------------------------------------------------

    def _head(self, state: TableState, form: str, more: Mapping[str, Any]) -> list[str]:
        """The protocol's line and the metadata's."""
        protocol = {"deltaProtocol": state.protocol} if form == DELTA else {"minReaderVersion": 1}
        return [_line(protocol=protocol), self._metadata_line(state.metadata, form, more)]

    def _metadata_line(
        self, metadata: Mapping[str, Any], form: str, more: Mapping[str, Any]
    ) -> str:
        settings = {
            key: value
            for key, value in metadata.get("configuration", {}).items()
            if key.startswith("delta.")
        }
        if str(settings.get(CHANGE_FEED)).lower() == "true":
            settings["enableChangeDataFeed"] = "true"
        shown = {**metadata, "id": self.shared.table_id, "configuration": settings}
        if form == DELTA:
            return _line(metaData={**more, "deltaMetadata": shown})
        shown.pop("createdTime", None)
        return _line(metaData={**shown, **more, "format": {"provider": "parquet"}})

    def _change_lines(
        self, version: int, form: str, question: Question, *, feed: bool
    ) -> tuple[list[str], int | None]:
        """The lines of one version, and when their links end."""
        try:
            actions = self.table.actions(version)
            stamp = self.table.committed_at(version)
        except NotFoundError as error:
            raise MissingError(
                f"the table's log no longer has version {self._public(version)}; read the table anew"
            ) from error
        lines = []
        if feed is False or question.with_metadata:
            more = {"version": self._public(version)}
            lines = [
                self._metadata_line(action["metaData"], form, more)
                for action in actions
                if "metaData" in action
            ]
        changes = list(_file_changes(actions, feed=feed))
        urls, until = self._links([urllib.parse.unquote(one["path"]) for _, one in changes])
        about = {"version": self._public(version), "timestamp": stamp, "expirationTimestamp": until}
        write = _delta_change if form == DELTA else _parquet_change
        lines += [write(*change, url, about) for change, url in zip(changes, urls, strict=True)]
        return lines, until

    def _links(self, paths: Sequence[str]) -> tuple[list[str], int]:
        options = self.region.settings.options
        table = LinkedTable(self.region.name, self.shared.dataset, self.shared.url, options)
        return self.links.sign(table, paths, self.base)

    @staticmethod
    def _answer(
        version: int, form: str, lines: list[str], capabilities: Capabilities, until: int | None
    ) -> TableAnswer:
        if capabilities.end_action:
            end = {} if until is None else {"minUrlExpirationTimestamp": until}
            lines = [*lines, _line(endStreamAction=end)]
        return TableAnswer(version, form, lines, capabilities.end_action)


def _sizes(snapshot: TableSnapshot, asked: int | None) -> dict[str, Any]:
    sizes = {"size": sum(file.size for file in snapshot.files), "numFiles": len(snapshot.files)}
    return sizes if asked is None else {**sizes, "version": asked}


def _file_changes(
    actions: Sequence[Mapping[str, Any]], *, feed: bool
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield what a version did to files: kind, action. In a feed, `cdc` files stand for all others."""
    kinds: Sequence[str] = _FILE_ACTIONS[:2]
    if feed and any("cdc" in action for action in actions):
        kinds = _FILE_ACTIONS[2:]
    for action in actions:
        for kind in kinds:
            if kind in action and (kind == "cdc" or action[kind].get("dataChange", True)):
                yield kind, action[kind]


def _parquet_file(file: SharedFile, url: str, about: Mapping[str, Any]) -> dict[str, Any]:
    written: dict[str, Any] = {
        "url": url,
        "id": file.file_id,
        "partitionValues": _shown_values(file.partition_values),
        "size": file.size,
        **about,
    }
    return written if file.stats is None else {**written, "stats": file.stats}


def _delta_file(file: SharedFile, url: str, about: Mapping[str, Any]) -> dict[str, Any]:
    add: dict[str, Any] = {
        "path": url,
        "partitionValues": file.partition_values,
        "size": file.size,
        "modificationTime": file.modified,
        "dataChange": True,
    }
    if file.stats is not None:
        add["stats"] = file.stats
    return {"id": file.file_id, "size": file.size, **about, "deltaSingleAction": {"add": add}}


def _parquet_change(
    kind: str, action: Mapping[str, Any], url: str, about: Mapping[str, Any]
) -> str:
    written = {
        "url": url,
        "id": file_id(urllib.parse.unquote(action["path"])),
        "partitionValues": _shown_values(action.get("partitionValues") or {}),
        "size": action.get("size", 0),
        **about,
    }
    if action.get("stats"):
        written["stats"] = action["stats"]
    return _line(**{"cdf" if kind == "cdc" else kind: written})


def _delta_change(kind: str, action: Mapping[str, Any], url: str, about: Mapping[str, Any]) -> str:
    single = {kind: {**action, "path": url}}
    name = file_id(urllib.parse.unquote(action["path"]))
    return _line(
        file={"id": name, "size": action.get("size", 0), **about, "deltaSingleAction": single}
    )


def _shown_values(values: Mapping[str, str | None]) -> dict[str, str]:
    """Partition values in the format `parquet`, which writes NULL as an empty text."""
    return {name: "" if value is None else value for name, value in values.items()}


def _line(**wrapped: Any) -> str:
    return json.dumps(wrapped, separators=(",", ":"), ensure_ascii=False)
