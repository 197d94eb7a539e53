"""What a file's path says: its place below the folder that is loaded, and its partition's values."""

from __future__ import annotations

from urllib.parse import unquote


def partition_values(path: str, base: str) -> dict[str, str | None]:
    """What the folders' names below `base` say: `day=2026-01-01/` gives {"day": "2026-01-01"}."""
    found: dict[str, str | None] = {}
    for part in path.removeprefix(base).strip("/").split("/")[:-1]:
        name, equals, value = part.partition("=")
        if equals and name:
            found[unquote(name)] = None if value in _NULL_PARTITION else unquote(value)
    return found


_NULL_PARTITION = {"__HIVE_DEFAULT_PARTITION__", ""}


def relative(path: str, base: str) -> str:
    """`path` below `base`: the same in every region that holds the same files."""
    return path.removeprefix(base).lstrip("/")
