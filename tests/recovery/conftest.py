from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from proa.storage import Store
from proa.testing import FakeClock
from two_region_project import Project, new_project


@pytest.fixture
def anywhere(location: tuple[str, dict[str, str]], clock: FakeClock) -> Project:
    """The project on disk and on S3."""
    base, options = location
    Store.open(f"{base}/source", options)
    return new_project(base, options, clock)


@pytest.fixture
def project(tmp_path: Path, clock: FakeClock) -> Project:
    """The project on disk, where regions can be lost."""
    (tmp_path / "source").mkdir()
    return new_project(str(tmp_path), {}, clock)


@pytest.fixture
def lose(project: Project) -> Callable[[str], None]:
    """Lose a region, or the source, with everything in it."""

    def take(name: str) -> None:
        place = Path(project.base, name)
        place.rename(place.with_name(f"{name}-lost"))

    return take
