"""What an operator with state remembers between the batches of its flow.

It lies in files below the table that the flow feeds. Which state belongs to a version of the table,
the table's own log says: a `txn` action in the commit of the batch. So the state is never ahead of
the rows, and never behind.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from proa.errors import DataError
from proa.layout import folder_name
from proa.steps import Step
from proa.storage import ObjectInfo, Store
from proa.storage.folded import NumberedEntries, check_format

FOLDER = "_proa_state"
"""Below the table's folder; readers of Delta tables pass over it."""
_FORMAT = 2
_RUNS = 8
"""Files that a state may have before all of them are put into one."""
FOREVER = (1 << 63) - 1
"""The `until` of rows that never go."""


def state_app(flow: str) -> str:
    """The `txn` application that counts a flow's states."""
    return f"proa:state:{flow}"


@dataclass(frozen=True)
class StateFile:
    """Rows that are remembered."""

    path: str
    """In the table's folder."""
    rows: int
    until: int
    """All of its rows are needed no more once the watermark, in microseconds, is here."""
    side: int = 0
    """Of a join: 0 for rows of the left stream, 1 for the right one."""


@dataclass(frozen=True)
class StreamState:
    """The state after a batch."""

    number: int = 0
    """Its `txn` version; 0 for that before the first batch."""
    generation: int = 0
    batch: int = -1
    """The batch after which it is the state."""
    contract: Mapping[str, Any] = field(default_factory=dict)
    """What the operator was when it was written."""
    seen: Mapping[str, int] = field(default_factory=dict)
    """The greatest event time of each stream, in microseconds; of a join by "0:" or "1:", the side,
    and the stream."""
    closed: int | None = None
    """The watermark up to which windows were let through."""
    files: tuple[StateFile, ...] = ()
    left_out: tuple[str, ...] = ()
    """Columns, in lower case, that rows in the files lack: the query did not name them then."""

    def check(self, contract: Mapping[str, Any], flow: str, target: str) -> None:
        """Raises DataError when the state is that of another operator."""
        if self.batch >= 0 and self.contract != contract:
            drifts = [name for name, value in contract.items() if self.contract.get(name) != value]
            raise DataError(
                f"the flow {flow!r} remembers rows by another {' and '.join(drifts)} than its query"
                f" has now; refresh the table fully (--full-refresh {target})",
                condition="STREAMING_STATE_DRIFT",
            )

    def check_columns(self, named: frozenset[str] | None, flow: str, target: str) -> None:
        """Raises DataError when rows lack columns that the query names now; None names all."""
        lacking = [name for name in self.left_out if named is None or name in named]
        if lacking:
            raise DataError(
                f"the flow {flow!r} remembers rows without {' and '.join(map(repr, lacking))}, which its"
                f" query did not name before; refresh the table fully (--full-refresh {target})",
                condition="STREAMING_STATE_DRIFT",
            )

    def merges(self, added: int) -> int:
        """How many of the newest files a file of `added` rows is put together with.

        Each file is at least twice as large as all newer ones, so that a row is written anew few
        times only.
        """
        count = 0
        for file in reversed(self.files):
            if len(self.files) - count < _RUNS and file.rows > 2 * added:
                break
            count += 1
            added += file.rows
        return count


class StateStore:
    """The states of one flow."""

    def __init__(self, table_url: str, options: Mapping[str, str], flow: str) -> None:
        self.url = table_url
        self.options = options
        self.folder = f"{FOLDER}/{folder_name(flow)}"
        self._store = Store.open(table_url, options)
        self._entries = NumberedEntries(
            self._store, f"{self.folder}/states", suffix=".json", step=Step.STREAM_STATE_PUT
        )

    def read(self, number: int | None, generation: int) -> StreamState:
        """The state of a `txn` version; an empty one for None, and for one of before `generation`."""
        if not number:
            return StreamState(generation=generation)
        path = self._entries.path(number)
        data = json.loads(self._store.get(path))
        check_format(data.pop("format"), _FORMAT, f"the state {self._store.url_of(path)!r}")
        if data["generation"] != generation:
            return StreamState(generation=generation)
        files = tuple(StateFile(**file) for file in data.pop("files"))
        left_out = tuple(data.pop("left_out", ()))  # format 1 left none out
        return StreamState(**data, files=files, left_out=left_out)

    def put(self, state: StreamState, before: int) -> StreamState:
        """Write a state under the next free number after `before`; it with that number.

        Nobody reads it until a commit names the number.
        """

        def body(number: int) -> bytes:
            numbered = {**asdict(replace(state, number=number)), "format": _FORMAT}
            return json.dumps(numbered).encode()

        return replace(state, number=self._entries.add(before, body))

    def superseded_objects(
        self, current: int, generation: int, objects: Iterable[ObjectInfo]
    ) -> list[ObjectInfo]:
        """Those of the state's objects that the state `current` does not need."""
        state = self.read(current, generation)
        needed = {self._entries.path(current), *(file.path for file in state.files)}
        return [info for info in objects if info.path not in needed]

    def objects(self) -> list[ObjectInfo]:
        """All objects of the flow's states, used or not."""
        return list(self._store.walk(self.folder))
