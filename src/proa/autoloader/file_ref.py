"""A file as plans and the engine's workers know it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file as it was when it was discovered."""

    path: str
    """Absolute path or URL."""
    size: int
    """Bytes."""
    modified: int
    """Microseconds since 1970, UTC."""
    shipment: int = 0
    """The number of its shipment's first file; 0 where no manifest gives the order."""
