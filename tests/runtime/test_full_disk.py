"""Whichever write of an update finds the disk full: nothing is lost or doubled, and it says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_projects import Project, ok
from test_storage_faults import PIPELINE, exact

from full_disk import SmallDisk, needs_mounts
from proa.errors import ProaError, UnavailableError

pytestmark = [pytest.mark.slow, needs_mounts]
MOST = 100


def error_of(project: Project) -> Exception | None:
    """Why an update did not end well. None when it did."""
    try:
        return project.run().error
    except ProaError as error:
        return error


@pytest.mark.parametrize("what", ["pages", "files"])
def test_an_update_goes_on_once_there_is_room(project: Project, what: str) -> None:
    project.write(PIPELINE)
    with SmallDisk.at(Path(project.storage)) as disk:
        project.land("0.json", [{"id": 0}])
        ok(project.run())
        for at in range(1, MOST):
            project.land(f"{at}.json", [{"id": at}])
            disk.leave(**{what: at - 1})
            error = error_of(project)
            disk.make_room()
            if error is not None:
                assert isinstance(error, UnavailableError)
                assert "the disk is full: make room there and run it again" in str(error)
                ok(project.run())
            exact(project, at)
            if error is None:
                break
        assert 5 < at < MOST - 1
