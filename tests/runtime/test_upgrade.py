"""What an older version of Proa has written is read by this one, and goes on where it was.

`state_fb1e045.zip` is a pipeline with its landing zone and storage after four updates of the version
of that commit: streams, a once flow, a view, two full refreshes. `folds_fb1e045.zip` has what the same
version folded: the plans of 70 batches, the files of 12, a manifest of 132 shipments.
"""

import zipfile
from pathlib import Path

import pytest
from small_projects import Project, ok

from proa.autoloader import KnownFiles
from proa.autoloader.file_ref import FileRef
from proa.errors import DataError
from proa.landing import Manifest
from proa.runtime.checkpoint import Checkpoint, FilesInput, Plan
from proa.runtime.lineage import Lineage
from proa.storage import Store

DATA = Path(__file__).parent / "data"
STATE = DATA / "state_fb1e045.zip"
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


@pytest.mark.slow
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


@pytest.fixture
def folded(tmp_path: Path) -> Store:
    with zipfile.ZipFile(DATA / "folds_fb1e045.zip") as recorded:
        recorded.extractall(tmp_path)
    return Store.open(str(tmp_path))


def test_its_folded_plans_are_read_and_more_are_folded(folded: Store) -> None:
    checkpoint = Checkpoint(folded.child("checkpoint"))
    for batch in range(70, 96):
        checkpoint.put(Plan(batch, {}, "d"))
    checkpoint.mark_committed(95)
    assert checkpoint.folded_count() == 96
    plans = checkpoint.plans(95)
    assert [plan.batch for plan in plans if plan] == list(range(96))
    files = FilesInput((FileRef("/landing/63.json", 63, 63),))
    assert plans[63] == Plan(63, {"leaf": files}, "d")


def test_the_files_that_it_read_stay_known(folded: Store) -> None:
    known = KnownFiles(folded.child("leaf"))
    for batch in range(12, 40):
        known.record(batch, [FileRef(f"/landing/{batch}.json", 1, 1)])
        known.compact()
    again = KnownFiles(folded.child("leaf"))
    numbers = [f"/landing/{number}.json" for number in range(41)]
    assert again.contains([*numbers, "/landing/old.json"]).tolist() == [*[True] * 40, False, True]


def test_its_manifest_is_read_and_goes_on(folded: Store) -> None:
    manifest = Manifest(folded, "orders")
    assert [shipment.first for shipment in manifest.refresh()] == [193, 194, 196, 197]
    rows = manifest.table()
    assert rows["seq"].to_pylist() == list(range(1, 199))
    assert rows["shipment"].to_pylist()[-4:] == [194, 196, 197, 197]
    assert Manifest(folded, "orders").table(after=100)["seq"].to_pylist() == list(range(101, 199))
