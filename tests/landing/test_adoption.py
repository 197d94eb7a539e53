"""A folder that somebody else fills gets the same numbers in every zone, however often it is tried."""

import contextlib

import pytest

from proa.errors import UserError
from proa.landing import Manifest
from proa.landing.adoption import adopt_files
from proa.landing.delivery import Zone
from proa.steps import Step, probing
from proa.testing import FakeClock, FaultProbe, Kill, Killed, LoseAnswer, When


@pytest.fixture
def zones(tmp_path):
    return [Zone(name, str(tmp_path / name)) for name in ("east", "west")]


def put(zones, path, data=b"{}\n"):
    for zone in zones:
        zone.open().put(path, data)


def manifests(zones):
    found = []
    for zone in zones:
        manifest = Manifest(zone.open(), "clicks")
        manifest.refresh()
        found.append(manifest.table().to_pylist())
    return found


def test_files_get_numbers_once_and_in_all_zones_alike(zones):
    put(zones, "clicks/a.json")
    put(zones, "clicks/deep/b.json")
    put(zones, "clicks/_tmp/c.json")
    put(zones, "other/d.json")
    assert adopt_files("clicks", zones, FakeClock()).files == 2
    again = adopt_files("clicks", zones, FakeClock())
    assert (again.files, again.through, again.waiting) == (0, 2, {})
    put(zones, "clicks/e.json")
    assert adopt_files("clicks", zones, FakeClock()).through == 3
    east, west = manifests(zones)
    assert east == west
    assert sorted(row["path"] for row in east) == ["a.json", "deep/b.json", "e.json"]


def test_a_file_that_zones_do_not_share_waits(zones):
    put(zones, "clicks/a.json")
    put(zones[:1], "clicks/b.json")
    put(zones[:1], "clicks/c.json", b"1")
    put(zones[1:], "clicks/c.json", b"2")
    done = adopt_files("clicks", zones, FakeClock())
    assert done.files == 1
    assert done.waiting == {
        "b.json": "it is not in west",
        "c.json": "it has other bytes in west than in east",
    }
    put(zones, "clicks/b.json")
    assert list(adopt_files("clicks", zones, FakeClock()).waiting) == ["c.json"]


@pytest.mark.parametrize("moment", [1, 2])
@pytest.mark.parametrize("kind", ["before", "after", "lost"])
def test_a_crash_at_any_step_is_made_up_for(zones, moment, kind):
    put(zones, "clicks/a.json")
    step = Step.SHIP_PUT_MANIFEST
    faults = {
        "before": Kill(step, When.BEFORE, moment),
        "after": Kill(step, When.AFTER, moment),
        "lost": LoseAnswer(step, moment),
    }
    with contextlib.suppress(Killed), probing(FaultProbe(faults[kind])):
        adopt_files("clicks", zones, FakeClock())
    put(zones, "clicks/b.json")
    adopt_files("clicks", zones, FakeClock())
    east, west = manifests(zones)
    assert east == west
    assert [row["path"] for row in east] == ["a.json", "b.json"]


def test_a_folder_that_is_nowhere_is_named(zones):
    with pytest.raises(UserError, match="'clicks'"):
        adopt_files("clicks", zones, FakeClock())
