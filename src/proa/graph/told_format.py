"""The format of files that a query does not name: what their names say, or the folder's Delta log."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

_ENDINGS = {
    "json": "json",
    "jsonl": "json",
    "ndjson": "json",
    "csv": "csv",
    "parquet": "parquet",
    "avro": "avro",
    "orc": "orc",
    "txt": "text",
}
_PACKED = re.compile(r"\.(?:gz|gzip|bz2|zst|deflate|snappy|lz4)$", re.IGNORECASE)
_PATTERNS = frozenset({"pathglobfilter", "filenamepattern"})
_ON_DISK = re.compile(r"^(?:file|dbfs):(?://)?|^(?!\w+://)")
_MOST_NAMES = 1000
"""Files that are looked at for one whose name tells a format."""


def format_of_files(path: str, options: Mapping[str, str]) -> str | None:
    """Return the format of the files that read_files() is to read without a word about it.

    The path or the pattern of names says it, else the first file on disk; None if nothing does.
    """
    patterns = [value for key, value in options.items() if _word(key) in _PATTERNS]
    for name in (path, *patterns):
        if found := _ending(name):
            return found
    names = enumerate(_files(path))
    return next((found for n, name in names if n < _MOST_NAMES and (found := _ending(name))), None)


def names_format(options: Mapping[str, str]) -> bool:
    """Whether the options of read_files() name a format."""
    return any(_word(key) == "format" and value.strip() for key, value in options.items())


def format_of_source(path: str, *, streaming: bool) -> str:
    """Return the format that `load(path)` reads without a word: Delta where a table is, else Parquet.

    Streams are Delta's, as on Databricks: no other format streams without its name.
    """
    if streaming:
        return "delta"
    return "delta" if Path(_ON_DISK.sub("", path), "_delta_log").is_dir() else "parquet"


def _word(key: str) -> str:
    return key.lower().removeprefix("cloudfiles.")


def _ending(name: str) -> str | None:
    return _ENDINGS.get(_PACKED.sub("", name).rpartition(".")[2].lower())


def _files(path: str) -> Iterator[str]:
    """Yield the names of the files at a path on disk, in order, without hidden ones."""
    if not _ON_DISK.match(path):
        return
    local = _ON_DISK.sub("", path)
    roots = sorted(glob.glob(local)) if glob.has_magic(local) else [local]  # noqa: PTH207 - any pattern
    for root in roots:
        if Path(root).is_file():
            yield root
        for _, folders, names in os.walk(root):
            folders[:] = sorted(f for f in folders if f[0] != "." and (f[0] != "_" or "=" in f))
            yield from sorted(name for name in names if name[0] not in "._")
