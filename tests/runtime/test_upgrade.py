"""What an older version of Proa has written is read by this one, and goes on where it was.

`state_fb1e045.zip` is a pipeline with its landing zone and storage after four updates of the version
of that commit: streams, a once flow, a view, two full refreshes.
"""

import zipfile
from pathlib import Path

import pytest
from small_projects import Project, ok

from proa.errors import DataError
from proa.runtime.checkpoint import Plan
from proa.runtime.lineage import Lineage

STATE = Path(__file__).parent / "data" / "state_fb1e045.zip"
RECORDED_AT = b"/recorded"


@pytest.fixture
def old(project: Project) -> Project:
    """The recorded pipeline, as if it had always been here."""
    base = Path(project.base)
    with zipfile.ZipFile(STATE) as recorded:
        recorded.extractall(base)
    for path in base.rglob("*.json"):
        path.write_bytes(path.read_bytes().replace(RECORDED_AT, str(base).encode()))
    project.files = [base / "pipeline.py"]
    return project


def test_nothing_is_read_twice_and_what_is_new_follows(old: Project) -> None:
    assert ok(old.run()).rows == 0
    assert old.rows("bronze", "id") == [0, 1, 2]
    old.land("3.json", [{"id": 3, "v": "new"}])
    ok(old.run())
    assert old.rows("bronze", "id") == [0, 1, 2, 3]
    assert old.rows("silver", "id", "v")[-1] == (3, "new")
    assert old.rows("seeded", "id") == [0, 1, 2]
    assert old.rows("gold", "n") == [4]


def test_what_its_tables_contain_is_known(old: Project) -> None:
    files = {old.landing.url_of(f"{n}.json") for n in range(3)}
    assert Lineage(old.storage).files("gold") == files


def test_its_tables_are_refreshed_fully(old: Project) -> None:
    ok(old.run(full_refresh_all=True))
    assert old.rows("bronze", "id") == [0, 1, 2]
    assert old.rows("gold", "n") == [3]


def test_a_plan_of_a_later_version_is_refused() -> None:
    plan = Plan(0, {}, "d")
    assert Plan.from_json(plan.to_json()) == plan
    later = plan.to_json().replace('"format": ', '"format": 9')
    with pytest.raises(DataError, match=r"format 9\d, and this version of Proa reads format"):
        Plan.from_json(later)
