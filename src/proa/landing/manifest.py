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
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from proa.errors import DataError
from proa.lazy import compute as pc
from proa.steps import Step
from proa.storage import Store
from proa.storage.folded import Folds, NumberedEntries, Span, SpanNames, check_format

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

_FACTOR = 2
"""Segments that make a larger one."""
_SEGMENT_FORMAT = 2
_FORMAT_KEY = b"proa.format"
"""In a segment's metadata. Format 1, of older versions, has no number and may lack `shipment`."""


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
    """The manifest of one source in one store. Not for use by several threads at once.

    Shipments are folded `fold` at a time.
    """

    def __init__(self, store: Store, source: str, *, fold: int = LOOSE_SHIPMENTS) -> None:
        self.source = source
        self._fold = fold
        self._store = store
        folder = f"{FOLDER}/{source}"
        self._entries = NumberedEntries(store, folder, digits=20, suffix=".json")
        self._folds = Folds(
            store,
            f"{folder}/segments",
            SpanNames(20, ".parquet", last=1),
            _FileFolds(self._entries),
            step=Step.SHIP_COMPACT,
            unit=fold,
            factor=_FACTOR,
            start=1,
            remember=True,
        )
        self._is_begun = False
        self._loose: list[Shipment] = []
        self._newest_first = 0

    @property
    def head(self) -> int:
        """The sequence number of the last file, as of the last `refresh`; 0 when there is none."""
        if self._loose:
            return self._loose[-1].last
        return self._folds.end - 1 if self._is_begun else 0

    @property
    def newest(self) -> Shipment | None:
        """The last shipment, when it is not in a segment yet."""
        return self._loose[-1] if self._loose else None

    def recent(self, count: int) -> list[ShippedFile]:
        """The last files, the newest first, at most `count`: those that are in no segment yet."""
        newest_first = (f for shipment in reversed(self._loose) for f in reversed(shipment.files))
        return list(islice(newest_first, count))

    def is_there(self) -> bool:
        """Whether the last shipment that was seen is still there."""
        path = self._entries.path(self._newest_first)
        return self._newest_first > 0 and self._store.exists(path)

    def refresh(self) -> list[Shipment]:
        """Look for shipments after `head` and return them.

        Costs one request when there are none. The first time it lists the segments and returns the
        shipments after them only.
        """
        if not self._is_begun:
            self._folds.refresh()
            self._is_begun = True
        new = []
        while (shipment := self.shipment(self.head + 1)) is not None:
            self._note_shipment(shipment)
            new.append(shipment)
        return new

    def shipment(self, first: int) -> Shipment | None:
        """The shipment that begins with file `first`, or None. DataError when it is damaged."""
        path = self._entries.path(first)
        data = self._entries.get(first)
        if data is None:
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
        self._entries.create(shipment.first, shipment.encode())
        self._note_shipment(shipment)

    def _note_shipment(self, shipment: Shipment) -> None:
        self._loose.append(shipment)
        self._newest_first = shipment.first

    def table(self, after: int = 0) -> pa.Table:
        """Read the files after number `after` up to `head`; a table of `SCHEMA`."""
        if not self._is_begun:
            self.refresh()
        folded = self._folds.read(after + 1)
        end = max(self._folds.end, after + 1)
        loose = rows_of([shipment for shipment in self._loose if shipment.last >= end])
        return pa.concat_tables([*folded, loose.filter(pc.greater_equal(loose["seq"], end))])

    def compact(self) -> bool:
        """Write a segment when enough shipments lie outside of one. Returns whether it did."""
        if len(self._loose) < self._fold:
            return False
        rows = rows_of(self._loose)
        self._folds.add(Span(self._loose[0].first, self.head + 1), rows)
        self._loose = []
        return True

    @staticmethod
    def entry(source: str, first: int) -> str:
        """The object that holds the shipment which begins with file `first`."""
        return f"{FOLDER}/{source}/{first:020d}.json"


class _FileFolds:
    """The files of many shipments as Parquet."""

    def __init__(self, entries: NumberedEntries) -> None:
        self._entries = entries

    def encode(self, rows: pa.Table) -> bytes:
        numbered = rows.replace_schema_metadata({_FORMAT_KEY: str(_SEGMENT_FORMAT)})
        sink = io.BytesIO()
        pq.write_table(numbered.combine_chunks(), sink, compression="zstd")
        return sink.getvalue()

    def decode(self, span: Span, data: bytes, url: str) -> pa.Table:  # noqa: ARG002 - the port's shape
        try:
            table = pq.read_table(io.BytesIO(data))
            number = int((table.schema.metadata or {}).get(_FORMAT_KEY, 1))
            check_format(number, _SEGMENT_FORMAT, f"the manifest segment {url!r}")
            if "shipment" not in table.schema.names:
                table = self._with_shipments(table)
            return table.select(SCHEMA.names).cast(SCHEMA)
        except (pa.ArrowException, KeyError, ValueError) as error:
            raise DataError(
                f"the manifest segment {url!r} is damaged; delete it, it is only a copy",
                condition="INVALID_MANIFEST",
            ) from error

    def join(self, parts: Sequence[pa.Table]) -> pa.Table:
        return pa.concat_tables(parts)

    def cut(self, rows: pa.Table, span: Span) -> pa.Table:
        seq = rows["seq"]
        return rows.filter(pc.and_(pc.greater_equal(seq, span.first), pc.less(seq, span.end)))

    def _with_shipments(self, table: pa.Table) -> pa.Table:
        """The rows of a segment of an older version, each with its shipment's number.

        The shipments' own names say where each begins.
        """
        firsts = np.array(self._entries.numbers())
        starts = firsts[np.searchsorted(firsts, table["seq"].to_numpy(), side="right") - 1]
        return table.append_column("shipment", pa.array(starts, pa.int64()))


def rows_of(shipments: Sequence[Shipment]) -> pa.Table:
    """The files of shipments as a table of `SCHEMA`."""
    if not shipments:
        return pa.Table.from_batches([], SCHEMA)
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
