"""Who reads what: files, or ranges of large ones, spread over the engine's partitions."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence

from proa.autoloader.discovery import FileRef
from proa.autoloader.options import ReaderOptions
from proa.autoloader.readers.source import COMPRESSED, Part

_RANGE = 64 << 20
"""Bytes; larger files are read in ranges of about this size."""
_OPENING = 256 << 10
"""What opening a file costs, in bytes that could be read instead."""


def split(files: Sequence[FileRef], options: ReaderOptions, parallelism: int) -> list[list[Part]]:
    """The parts of each partition, evenly loaded; at least one partition, at most `parallelism`."""
    parts = sorted(
        (part for file in files for part in _parts(file, options, parallelism)),
        key=lambda part: (-_weight(part), part.path, part.start),
    )
    count = max(1, min(parallelism, len(parts)))
    loads = [(0, index) for index in range(count)]
    assigned: list[list[Part]] = [[] for _ in range(count)]
    for part in parts:
        load, index = heapq.heappop(loads)
        assigned[index].append(part)
        heapq.heappush(loads, (load + _weight(part), index))
    for partition in assigned:
        partition.sort(key=lambda part: (part.modified, part.path, part.start))
    return assigned


def _weight(part: Part) -> int:
    return (part.size if part.end is None else part.end) - part.start + _OPENING


def _parts(file: FileRef, options: ReaderOptions, parallelism: int) -> Iterator[Part]:
    pieces = min(-(-file.size // _RANGE), 4 * parallelism) if _can_split(file, options) else 1
    if pieces <= 1:
        yield Part(file.path, file.size, file.modified)
        return
    bounds = [file.size * i // pieces for i in range(pieces + 1)]
    for start, end in itertools.pairwise(bounds):
        last = end == file.size
        yield Part(file.path, file.size, file.modified, start, None if last else end)


def _can_split(file: FileRef, options: ReaderOptions) -> bool:
    return (
        options.format in {"json", "csv", "text"}
        and not options.multi_line
        and not options.whole_text
        and options.encoding == "utf-8"
        and options.line_separator == "\n"
        and not file.path.lower().endswith(COMPRESSED)
    )
