"""How files are named to people: as seen from the project's root, the same in every region."""

from __future__ import annotations

from pathlib import Path


def seen_from(root: Path, file: str | Path) -> str:
    """`file` relative to `root` when it lies below, else as it is."""
    path = Path(file)
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
