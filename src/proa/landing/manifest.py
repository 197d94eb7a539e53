"""What was shipped, in which order: the list that a landing zone carries beside its files.

Layout, below `_proa/manifest/<source>/`::

    00000000000000000001.json              a shipment: files 1 to 3
    00000000000000000004.json              the next one begins where the last one ended
    segments/<first>-<last>.parquet        the same, many shipments in one object, to read it fast

A shipment is created, never replaced, under the sequence number of its first file. So the numbers are
contiguous, and of two writers at the same point one loses and looks again.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from proa.errors import DataError
from proa.steps import Step, step
from proa.storage import NotFoundError, Store

FOLDER = "_proa/manifest"

LOOSE_SHIPMENTS = 64
"""After so many shipments outside any segment, a new segment is written."""

SCHEMA = pa.schema(
    [
        pa.field("seq", pa.int64()),
        pa.field("shipment", pa.int64()),
        pa.field("path", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("sha256", pa.string()),
        pa.field("modified", pa.timestamp("us", "UTC")),
        pa.field("shipped_at", pa.timestamp("us", "UTC")),
        pa.field("event_min", pa.timestamp("us", "UTC")),
        pa.field("event_max", pa.timestamp("us", "UTC")),
    ]
)
"""The columns of `Manifest.table`; one row per file, in the order of `seq`.

`shipment` is the number of its shipment's first file.
"""

_SEGMENT = re.compile(r"^(\d{20})-(\d{20})\.parquet$")


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class ShippedFile(_Model):
    """One file of a source, as it was when its place in the order was decided."""

    path: str = Field(min_length=1)
    """Relative to the source, parts joined by "/"."""
    size: int = Field(ge=0)
    """Bytes."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    modified: AwareDatetime
    """When the source last changed it."""
    event_min: AwareDatetime | None = None
    """The earliest event in it, when known."""
    event_max: AwareDatetime | None = None


class Shipment(_Model):
    """Files whose order was decided together."""

    format: Literal[1] = 1
    first: int = Field(ge=1)
    """The sequence number of the first file; the others follow without gaps."""
    shipped_at: AwareDatetime
    files: tuple[ShippedFile, ...] = Field(min_length=1)

    @property
    def last(self) -> int:
        """The sequence number of the last file."""
        return self.first + len(self.files) - 1

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)

    def encode(self) -> bytes:
        """The same bytes for the same shipment, in every zone."""
        return self.model_dump_json(exclude_none=True).encode()


class Manifest:
    """The manifest of one source in one store. Not for use by several threads at once."""

    def __init__(self, store: Store, source: str) -> None:
        self.source = source
        self._store = store
        self._folder = f"{FOLDER}/{source}"
        self._segments: list[tuple[int, int]] | None = None
        self._tables: dict[tuple[int, int], pa.Table] = {}
        self._loose: list[Shipment] = []
        self._newest_first = 0

    @property
    def head(self) -> int:
        """The sequence number of the last file, as of the last `refresh`; 0 when there is none."""
        if self._loose:
            return self._loose[-1].last
        return self._segments[-1][1] if self._segments else 0

    @property
    def newest(self) -> Shipment | None:
        """The last shipment, when it is not in a segment yet."""
        return self._loose[-1] if self._loose else None

    def is_there(self) -> bool:
        """Whether the last shipment that was seen is still there."""
        return self._newest_first > 0 and self._store.exists(self._path(self._newest_first))

    def refresh(self) -> list[Shipment]:
        """Look for shipments after `head` and return them.

        Costs one request when there are none. The first time it lists the segments and returns the
        shipments after them only.
        """
        if self._segments is None:
            self._segments = self._cover()
        found = []
        while (shipment := self.shipment(self.head + 1)) is not None:
            self._note_shipment(shipment)
            found.append(shipment)
        return found

    def shipment(self, first: int) -> Shipment | None:
        """The shipment that begins with file `first`, or None. DataError when it is damaged."""
        path = self._path(first)
        try:
            data = self._store.get(path)
        except NotFoundError:
            return None
        try:
            shipment = Shipment.model_validate_json(data)
        except ValidationError as error:
            raise DataError(
                f"the manifest {self._store.url_of(path)!r} is damaged or written by another version"
                f" of Proa ({error.errors()[0]['msg']}); restore it from another landing zone",
                condition="INVALID_MANIFEST",
            ) from error
        if shipment.first != first:
            raise DataError(
                f"the manifest {self._store.url_of(path)!r} says it begins with file"
                f" {shipment.first}; restore it from another landing zone",
                condition="INVALID_MANIFEST",
            )
        return shipment

    def append(self, shipment: Shipment) -> None:
        """Add the shipment after `head`; ConflictError when another writer has added one there."""
        assert shipment.first == self.head + 1, (shipment.first, self.head)
        self._store.create(self._path(shipment.first), shipment.encode())
        self._note_shipment(shipment)

    def _note_shipment(self, shipment: Shipment) -> None:
        self._loose.append(shipment)
        self._newest_first = shipment.first

    def table(self, after: int = 0) -> pa.Table:
        """Read the files after number `after` up to `head`; a table of `SCHEMA`."""
        if self._segments is None:
            self.refresh()
        table = pa.concat_tables([*self._segment_tables(after), rows_of(self._loose)])
        return table.filter(pc.greater(table["seq"], after)) if after else table

    def compact(self) -> bool:
        """Write a segment when enough shipments lie outside of one. True when it did.

        A new segment swallows its neighbours that are not larger, so that there are few of them
        and each file is rewritten seldom.
        """
        if len(self._loose) < LOOSE_SHIPMENTS or self._segments is None:
            return False
        rows, kept = rows_of(self._loose), list(self._segments)
        swallowed = []
        while kept and kept[-1][1] - kept[-1][0] + 1 <= 2 * rows.num_rows:
            swallowed.append(kept.pop())
            rows = pa.concat_tables([self._read_segment(swallowed[-1]), rows])
        new = (rows["seq"][0].as_py(), rows["seq"][-1].as_py())
        sink = io.BytesIO()
        pq.write_table(rows.combine_chunks(), sink, compression="zstd")
        with step(Step.SHIP_COMPACT):
            self._store.put(self._segment_path(new), sink.getvalue())
        for old in swallowed:
            self._store.delete(self._segment_path(old))
            self._tables.pop(old, None)
        self._segments = [*kept, new]
        self._loose = []
        return True

    @staticmethod
    def entry(source: str, first: int) -> str:
        """The object that holds the shipment which begins with file `first`."""
        return f"{FOLDER}/{source}/{first:020d}.json"

    def _path(self, first: int) -> str:
        return self.entry(self.source, first)

    def _segment_path(self, segment: tuple[int, int]) -> str:
        return f"{self._folder}/segments/{segment[0]:020d}-{segment[1]:020d}.parquet"

    def _cover(self) -> list[tuple[int, int]]:
        """The segments to read: contiguous from file 1, the longest at each point."""
        names = (
            info.path.rsplit("/", 1)[-1] for info in self._store.walk(f"{self._folder}/segments")
        )
        found = sorted(
            (int(match[1]), -int(match[2])) for name in names if (match := _SEGMENT.match(name))
        )
        cover: list[tuple[int, int]] = []
        for first, negative_last in found:
            if first == (cover[-1][1] + 1 if cover else 1):
                cover.append((first, -negative_last))
        return cover

    def _segment_tables(self, after: int) -> list[pa.Table]:
        for attempt in range(3):
            try:
                return [self._remembered_segment(s) for s in self._segments or () if s[1] > after]
            except NotFoundError:
                if attempt == 2:
                    raise
                # Somebody has merged them meanwhile: what they held is in a longer one now.
                self._segments, self._loose = None, []
                self.refresh()
        return []

    def _remembered_segment(self, segment: tuple[int, int]) -> pa.Table:
        if segment not in self._tables:
            self._tables[segment] = self._read_segment(segment)
        return self._tables[segment]

    def _read_segment(self, segment: tuple[int, int]) -> pa.Table:
        path = self._segment_path(segment)
        data = self._store.get(path)
        try:
            table = pq.read_table(io.BytesIO(data))
            if "shipment" not in table.schema.names:
                table = self._with_shipments(table)
            return table.select(SCHEMA.names).cast(SCHEMA)
        except (pa.ArrowException, KeyError) as error:
            raise DataError(
                f"the manifest segment {self._store.url_of(path)!r} is damaged; delete it,"
                " it is only a copy",
                condition="INVALID_MANIFEST",
            ) from error

    def _with_shipments(self, table: pa.Table) -> pa.Table:
        """The rows of a segment that an older version wrote, each with its shipment's number.

        The shipments' own names say where each begins.
        """
        names = (info.path.rsplit("/", 1)[-1] for info in self._store.walk(self._folder))
        firsts = np.sort([int(n[:20]) for n in names if n.endswith(".json") and n[:20].isdigit()])
        numbers = table["seq"].to_numpy()
        starts = firsts[np.searchsorted(firsts, numbers, side="right") - 1]
        return table.append_column("shipment", pa.array(starts, pa.int64()))


def rows_of(shipments: Sequence[Shipment]) -> pa.Table:
    """The files of shipments as a table of `SCHEMA`."""
    rows: list[dict[str, Any]] = []
    for shipment in shipments:
        for seq, file in enumerate(shipment.files, shipment.first):
            own = {"seq": seq, "shipment": shipment.first, "shipped_at": shipment.shipped_at}
            rows.append({**file.model_dump(), **own})
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def microseconds(moment: datetime) -> int:
    """`moment` as microseconds since 1970, exactly."""
    delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
