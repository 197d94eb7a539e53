"""Finding the files of a leaf: listing, globs, filters, and what of it is new."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from proa.autoloader.file_ref import FileRef
from proa.autoloader.known import KnownFiles, version_key
from proa.autoloader.options import Options
from proa.errors import PipelineError, UnavailableError
from proa.formats.reader_options import Evolution, Mode
from proa.landing.manifest_tail import ListedFolder, ManifestTail
from proa.lazy import compute as pc
from proa.storage import Store, absolute, is_url
from proa.storage.visible import HIDDEN

_GLOB = re.compile(r"[*?\[{]")
_LISTED = pa.schema([("path", pa.string()), ("size", pa.int64()), ("modified", pa.int64())])
_ORDERED = pa.schema([*_LISTED, ("source", pa.string()), ("shipment", pa.int64())])
Positions = Mapping[str, int]
"""For each source the number of the last file, in its manifest's order, that was taken."""
_EVERYTHING: Positions = {}


@dataclass(frozen=True)
class Place:
    """Where a leaf's files lie: a folder, and a pattern below it when the path has a glob."""

    base: str
    """Absolute path or URL of the deepest folder without a glob."""
    pattern: str | None = None
    """Matches paths relative to `base`; None takes all."""

    @classmethod
    def of(cls, path: str) -> Place:
        """The place that a load path names; PipelineError when there is none."""
        if not path.strip():
            raise PipelineError(
                "the Auto Loader was given no path to load; call .load('<folder or URL>')",
                condition="CF_EMPTY_DIR",
            )
        path = re.sub(r"^(dbfs:|file:)(?=/)(//)?", "", path.strip())
        scheme, found, rest = path.partition("://")
        parts = (rest if found else path).split("/")
        at = next((i for i, part in enumerate(parts) if _GLOB.search(part)), None)
        if at is None:
            return cls(absolute(path))
        base = "/".join(parts[:at])
        base = f"{scheme}://{base}" if found else (base or ("/" if path.startswith("/") else "."))
        glob = "/".join(part for part in parts[at:] if part)
        return cls(absolute(base), f"^{glob_to_regex(glob)}(?:/.*)?$")

    def resolve(self, storage_options: Mapping[str, str]) -> Place:
        """The place, or the folder and the name when the path names a single file."""
        if self.pattern is not None or "/" not in self.base.split("://")[-1].strip("/"):
            return self
        folder, _, name = self.base.rpartition("/")
        if is_url(self.base):
            single = "." in name and Store.open(folder, storage_options).exists(name)
        else:
            single = Path(self.base).is_file()
        return Place(folder or "/", f"^{re.escape(name)}$") if single else self


class FileBacklog:
    """The files that are outstanding: in their manifest's order, or oldest first."""

    def __init__(
        self,
        listed: pa.Table,
        base: str,
        options: Options,
        heads: Positions | None = None,
    ) -> None:
        """`heads`: where the manifests end that `listed` comes from, as `_ORDERED`."""
        self._listed = listed
        self._base = base
        self._options = options
        self._heads = heads
        self._next = 0
        self._starts = _group_starts(listed) if heads is not None else np.arange(len(listed))
        # What is meant to stop at what it meets stops at the same shipment in every region.
        stops = options.reader.evolution in {Evolution.FAIL, Evolution.WIDEN}
        alone = heads is not None and (stops or options.reader.mode is Mode.FAIL)
        self._most_groups = 1 if alone else max(1, len(listed))

    @property
    def files(self) -> int:
        """How many files are outstanding."""
        return len(self._listed) - self._next

    @property
    def bytes(self) -> int:
        """How large the outstanding files are, together."""
        left = self._listed["size"].slice(self._next)
        return int(pc.sum(left).as_py()) if len(left) else 0

    @property
    def positions(self) -> Positions | None:
        """Up to where everything was taken; None where no manifest gives the order."""
        if self._heads is None:
            return None
        positions = dict(self._heads)
        rest = self._listed.slice(self._next)
        if not len(rest):
            return positions
        firsts = rest.group_by("source").aggregate([("shipment", "min")])
        for row in firsts.to_pylist():
            positions[row["source"]] = row["shipment_min"] - 1
        return positions

    def take(self) -> tuple[FileRef, ...]:
        """The files of the next batch, within the limits; they are outstanding no longer.

        Whole shipments, at least one while there are any, however large; empty when all are taken.
        """
        end = self._end(self._options.max_files, self._options.max_bytes)
        taken = self._files(self._next, end)
        self._next = end
        return taken

    def take_all(self) -> tuple[FileRef, ...]:
        """Every outstanding file, limits set aside."""
        taken = self._files(self._next, len(self._listed))
        self._next = len(self._listed)
        return taken

    def sample(self) -> tuple[FileRef, ...]:
        """The outstanding files that a schema is inferred from; they stay outstanding."""
        end = self._end(self._options.sample_files, self._options.sample_bytes)
        return self._files(self._next, end)

    def _end(self, most: int, most_bytes: int | None) -> int:
        """Where a batch ends that begins at the first outstanding file."""
        begin = np.searchsorted(self._starts, self._next)
        ends = np.append(self._starts[begin + 1 :], len(self._listed))[: self._most_groups]
        fits = ends - self._next <= most
        if most_bytes is not None:
            sizes = _numbers(self._listed["size"].slice(self._next, most + 1))
            sums = np.concatenate([[0], np.cumsum(sizes)])
            reach = np.minimum(ends - self._next, len(sums) - 1)
            fits &= sums[reach] <= most_bytes
        return int(ends[max(int(fits.sum()) - 1, 0)])

    def _files(self, begin: int, end: int) -> tuple[FileRef, ...]:
        rows = self._listed.slice(begin, end - begin)
        shipments = rows["shipment"].to_pylist() if self._heads is not None else [0] * len(rows)
        return tuple(
            FileRef(f"{self._base}/{path}", size, modified, shipment)
            for path, size, modified, shipment in zip(
                rows["path"].to_pylist(),
                rows["size"].to_pylist(),
                rows["modified"].to_pylist(),
                shipments,
                strict=True,
            )
        )


def _group_starts(listed: pa.Table) -> np.ndarray[Any, Any]:
    """The rows where another shipment begins."""
    if not len(listed):
        return np.array([], np.int64)
    shipments = _numbers(listed["shipment"])
    sources = listed["source"].dictionary_encode().combine_chunks()
    codes = (sources.chunk(0) if isinstance(sources, pa.ChunkedArray) else sources).indices
    changed = (np.diff(shipments) != 0) | (np.diff(_numbers(codes)) != 0)
    return np.concatenate([[0], np.flatnonzero(changed) + 1])


class ListedFiles:
    """The files of a place that manifests list, in their order. Remembers what it has read."""

    def __init__(self, place: Place, folder: ListedFolder, storage: Mapping[str, str]) -> None:
        self._place = place
        self._zone = folder.zone
        store = Store.open(folder.zone, storage)
        self.sources = folder.sources
        """Names of the sources whose files lie in the place."""
        self._tails = {name: ManifestTail(store, name) for name in folder.sources}

    def discover(
        self,
        options: Options,
        known: KnownFiles | None,
        after: Positions,
        *,
        now: datetime,
        through: Positions = _EVERYTHING,
    ) -> FileBacklog:
        """What came after the positions and is wanted; `known` are files that an older version read.

        `through` ends the order of a source at the last whole shipment up to a file.

        Raises UnavailableError when a manifest does not answer, or ends before its position.
        """
        tables, heads = [], {}
        for source, tail in self._tails.items():
            rows = tail.rows_after(after.get(source, 0))
            heads[source] = tail.head
            if source in through:
                whole, rows = len(rows), _shipments_through(rows, through[source])
                heads[source] -= whole - len(rows)
            if len(rows):
                tables.append(self._files_in_place(source, rows))
        listed = pa.concat_tables(tables) if tables else pa.Table.from_batches([], _SHIPPED)
        if len(tables) > 1:
            order = [
                ("shipped_at", "ascending"),
                ("source", "ascending"),
                ("shipment", "ascending"),
            ]
            listed = listed.take(pc.sort_indices(listed, sort_keys=order))
        listed = listed.select(_ORDERED.names).combine_chunks()
        wanted = [_filter_listed(page, self._place, options, now) for page in listed.to_batches()]
        table = pa.Table.from_batches(wanted, schema=_ORDERED)
        if known is not None and len(known) and len(table):
            paths = [f"{self._place.base}/{path}" for path in table["path"].to_pylist()]
            table = table.filter(_mask(~known.contains(paths)))
        return FileBacklog(table, self._place.base, options, heads)

    def places(self, files: Mapping[str, int]) -> dict[str, tuple[int, int, int]]:
        """The shipment, the place in it and the time of files, by path, from their shipments.

        A file whose shipment is 0 is looked for in the whole manifest.
        """
        found: dict[str, tuple[int, int, int]] = {}
        first, last = min(files.values(), default=0), max(files.values(), default=0)
        for source, tail in self._tails.items():
            rows = tail.rows_of(first, last) if first else tail.rows_of(1, None)
            whole = pc.binary_join_element_wise(f"{self._zone}/{source}", rows["path"], "/")
            wanted = pc.is_in(whole, value_set=pa.array(files, pa.string()))
            if first:
                wanted = pc.and_(wanted, pc.is_in(rows["shipment"], pa.array(set(files.values()))))
            rows, whole = rows.filter(wanted), whole.filter(wanted)
            columns = (
                whole,
                rows["shipment"],
                pc.subtract(rows["seq"], rows["shipment"]),
                rows["shipped_at"].cast(pa.int64()),
            )
            for path, *place in zip(*(column.to_pylist() for column in columns), strict=True):
                found[path] = (place[0], place[1], place[2])
        return found

    def heads(self) -> Positions:
        """Where the manifests end now."""
        for tail in self._tails.values():
            tail.rows_after(tail.head)
        return {source: tail.head for source, tail in self._tails.items()}

    def _files_in_place(self, source: str, rows: pa.Table) -> pa.Table:
        """The rows whose files lie in the place, with paths relative to its base."""
        whole = pc.binary_join_element_wise(f"{self._zone}/{source}", rows["path"], "/")
        inside = pc.starts_with(whole, f"{self._place.base}/")
        rows, whole = rows.filter(inside), whole.filter(inside)
        return pa.Table.from_arrays(
            [
                pc.utf8_slice_codeunits(whole, len(self._place.base) + 1),
                rows["size"],
                rows["modified"].cast(pa.int64()),
                pa.array([source] * len(rows), pa.string()),
                rows["shipment"],
                rows["shipped_at"].cast(pa.int64()),
            ],
            schema=_SHIPPED,
        )


def _shipments_through(rows: pa.Table, last: int) -> pa.Table:
    """The rows of a manifest that belong to whole shipments up to the file number `last`."""
    count = int(np.searchsorted(_numbers(rows["seq"]), last, side="right"))
    if 0 < count < len(rows):
        shipments = _numbers(rows["shipment"])
        if shipments[count] == shipments[count - 1]:
            count = int(np.searchsorted(shipments, shipments[count]))
    return rows.slice(0, count)


def _numbers(column: pa.Array | pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """Whole numbers, none of them NULL, for NumPy; by its own way there pyarrow imports pandas."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    numbers: np.ndarray[Any, Any] = np.from_dlpack(whole)
    return numbers


def _mask(wanted: np.ndarray[Any, Any]) -> pa.BooleanArray:
    """Which rows are wanted, for Arrow, which imports pandas to look at other arrays than its own."""
    bits = pa.py_buffer(np.packbits(wanted, bitorder="little"))
    return pa.BooleanArray.from_buffers(pa.bool_(), len(wanted), [None, bits])


_SHIPPED = pa.schema([*_ORDERED, ("shipped_at", pa.int64())])


def discover(
    place: Place,
    options: Options,
    storage_options: Mapping[str, str],
    known: KnownFiles | None,
    *,
    now: datetime,
) -> FileBacklog:
    """List the place; what is visible, wanted and not known is the backlog.

    Raises UnavailableError when the place cannot be listed, and when a folder is gone that files
    were read from before: a disk that is not mounted is not an empty one.
    """
    if known is not None and len(known) and not _is_there(place):
        raise UnavailableError(
            f"the folder {place.base!r}, which files were read from before, is not there;"
            " mount it or put it back"
        )
    versions = options.reader.allow_overwrites
    new = []
    for page in _visible(place, options, storage_options, now=now):
        if known is not None:
            paths = [f"{place.base}/{path}" for path in page["path"].to_pylist()]
            if versions:
                sizes, times = page["size"].to_pylist(), page["modified"].to_pylist()
                paths = list(map(version_key, paths, sizes, times))
            page = page.filter(_mask(~known.contains(paths)))  # noqa: PLW2901
        if page.num_rows:
            new.append(page)
    table = pa.Table.from_batches(new, schema=_LISTED)
    order = pc.sort_indices(table, sort_keys=[("modified", "ascending"), ("path", "ascending")])
    return FileBacklog(table.take(order), place.base, options)


def existing_keys(
    place: Place, options: Options, storage_options: Mapping[str, str], *, now: datetime
) -> Iterator[str]:
    """The keys of all files that are there now, in the words of `KnownFiles`."""
    for page in _visible(place, options, storage_options, now=now):
        for row in page.to_pylist():
            path = f"{place.base}/{row['path']}"
            yield (
                version_key(path, row["size"], row["modified"])
                if options.reader.allow_overwrites
                else path
            )


def _visible(
    place: Place,
    options: Options,
    storage_options: Mapping[str, str],
    *,
    now: datetime,
) -> Iterator[pa.RecordBatch]:
    """Pages of files that a reader may see and the user wants, as `_LISTED`."""
    for page in _pages(place, storage_options):
        listed = pa.RecordBatch.from_arrays(
            [
                page["path"],
                page["size"].cast(pa.int64()),
                page["last_modified"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()),
            ],
            schema=_LISTED,
        )
        kept = _filter_listed(listed, place, options, now)
        if kept.num_rows:
            yield kept


def _filter_listed(
    listed: pa.RecordBatch, place: Place, options: Options, now: datetime
) -> pa.RecordBatch:
    """Those of the files that a reader may see and the user wants."""
    earliest = options.modified_after
    if options.max_age is not None:
        oldest = now - timedelta(seconds=options.max_age)
        earliest = max(earliest, oldest) if earliest else oldest
    return _select_listed(listed, place, options, earliest, options.modified_before)


def _is_there(place: Place) -> bool:
    """Whether there is something to list; a bucket says so itself."""
    return is_url(place.base) or Path(place.base).is_dir()


def _pages(place: Place, storage_options: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
    if _is_there(place):
        yield from Store.open(place.base, storage_options).pages()


def select_paths(paths: pa.Array, place: Place, options: Options) -> pa.Array:
    """For each path below the place's folder, whether its name lets the Auto Loader read it."""
    keep = pc.invert(pc.match_substring_regex(paths, HIDDEN))
    if place.pattern is not None:
        keep = pc.and_(keep, pc.match_substring_regex(paths, place.pattern))
    if options.name_glob is not None:
        name = f"(?:^|/){glob_to_regex(options.name_glob)}$"
        keep = pc.and_(keep, pc.match_substring_regex(paths, name))
    return keep


def _select_listed(
    listed: pa.RecordBatch,
    place: Place,
    options: Options,
    earliest: datetime | None,
    latest: datetime | None,
) -> pa.RecordBatch:
    keep = select_paths(listed["path"], place, options)
    if earliest is not None:
        keep = pc.and_(keep, pc.greater(listed["modified"], _micros(earliest)))
    if latest is not None:
        keep = pc.and_(keep, pc.less_equal(listed["modified"], _micros(latest)))
    return listed.filter(keep)


def _micros(moment: datetime) -> int:
    return int(np.datetime64(moment.replace(tzinfo=None), "us").astype(np.int64))


_WILD = {"*": "[^/]*", "?": "[^/]"}


def glob_to_regex(glob: str) -> str:
    r"""A Hadoop glob (`*`, `?`, `[a-b]`, `[^a]`, `{a,b}`, `\x`) as an RE2 expression.

    `*` and `?` stay within a folder's name. PipelineError when brackets do not match.
    """
    out: list[str] = []
    depth, at = 0, 0
    while at < len(glob):
        character = glob[at]
        if character == "\\" and at + 1 < len(glob):
            at += 1
            out.append(re.escape(glob[at]))
        elif character in _WILD:
            out.append(_WILD[character])
        elif character == "[":
            end = glob.find("]", at + 2)
            if end < 0:
                raise _bad_glob(glob)
            body = glob[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            out.append(f"[^{body[1:]}]" if body[0] in "!^" else f"[{body}]")
            at = end
        elif character == "{":
            depth += 1
            out.append("(?:")
        elif character == "}" and depth:
            depth -= 1
            out.append(")")
        elif character == "," and depth:
            out.append("|")
        else:
            out.append(re.escape(character))
        at += 1
    if depth:
        raise _bad_glob(glob)
    return "".join(out)


def _bad_glob(glob: str) -> PipelineError:
    return PipelineError(
        f"the pattern {glob!r} has a bracket that is not closed; close it or write '\\' before it",
        condition="CF_INVALID_GLOB",
    )
