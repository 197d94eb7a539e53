"""Where a region's state lies."""

from __future__ import annotations

from pathlib import Path


def state_url(name: str, configured: str | None, project: Path) -> str:
    """The database URL of a region's state: as configured, or a file in the project."""
    if configured is None:
        return f"sqlite:///{(project / '.proa' / f'{name}.db').absolute()}"
    if "://" in configured:
        return configured
    return f"sqlite:///{(project / configured).absolute()}"
