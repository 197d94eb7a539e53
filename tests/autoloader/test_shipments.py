"""Tables depend on the order of shipments and on nothing else: not on batches, not on the region."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from generated_files import FORMATS, leaf_options, shipments
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from shipped_zone import InProcessEngine, Region, Zone, content

from proa.autoloader import KnownFiles
from proa.errors import UnavailableError
from proa.formats.problems import Problem, ProblemKind, ReadError


@pytest.mark.parametrize("kind", FORMATS)
@settings(
    max_examples=int(os.environ.get("PROA_EXAMPLES", "8")),
    phases=[
        Phase.explicit,
        Phase.generate,
        *([Phase.shrink] if "PROA_EXAMPLES" in os.environ else []),
    ],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_any_cutting_into_batches_gives_the_same_table(kind: str, data: st.DataObject):
    options, schema = data.draw(leaf_options(kind))
    made = data.draw(shipments(kind))
    engine = InProcessEngine(backwards=data.draw(st.booleans()))
    with tempfile.TemporaryDirectory() as folder:
        zone = Zone(Path(folder, "zone"))
        one_by_one, cut, at_once = (
            Region(engine, zone, Path(folder, name), options, schema=schema) for name in "abc"
        )
        for files in made:
            zone.ship(files)
            one_by_one.run()
            for _ in range(data.draw(st.integers(0, 2))):
                cut.run(data.draw(st.integers(1, 4)), data.draw(st.integers(-1, 8)))
            if data.draw(st.integers(0, 9)) == 0:
                cut.refresh_fully()
        cut.run()
        at_once.run()

        for region in (cut, at_once):
            assert region.stopped == one_by_one.stopped
            assert region.table() == one_by_one.table()
            assert region.history() == one_by_one.history()


JSON = {"cloudFiles.format": "json", "cloudFiles.inferColumnTypes": "true"}


@pytest.fixture
def zone(tmp_path: Path) -> Zone:
    return Zone(tmp_path / "zone")


def line(**fields: Any) -> bytes:
    return content("json", [fields])


def test_batches_end_where_shipments_end(engine: Any, zone: Zone, tmp_path: Path):
    for first in ("a", "b", "c"):
        zone.ship({f"{first}{n}.json": line(id=n) for n in range(3)})
    region = Region(engine, zone, tmp_path / "state", {**JSON, "maxFilesPerTrigger": "4"})
    backlog = region.loader().discover(None)
    batches = []
    while files := backlog.take():
        batches.append(([Path(f.path).name[0] for f in files], backlog.positions))
    assert batches == [
        (["a"] * 3, {"s": 3}),
        (["b"] * 3, {"s": 6}),
        (["c"] * 3, {"s": 9}),
    ]


@pytest.mark.parametrize("begin", [0, 2, 4, 6])
@pytest.mark.parametrize("last", [0, 1, 2, 3, 4, 5, 6, 9])
def test_what_was_shipped_later_is_left_for_the_next_batch(
    engine: Any, zone: Zone, tmp_path: Path, begin: int, last: int
):
    """Whole shipments, never less than was read before, and then the others."""
    for number in range(3):
        zone.ship({f"{number}a.json": line(a=number), f"{number}b.json": line(a=number)})
    loader = Region(engine, zone, tmp_path / "east", {"cloudFiles.format": "json"}).loader()
    numbers: list[int] = []
    after = {"s": begin}
    for through in ({"s": last}, {"s": last}, None):
        backlog = loader.discover(None, after=after, through=through)
        numbers.append(len(backlog.take()))
        after = backlog.positions
    end = max(begin, min(last // 2 * 2, 6))
    assert (numbers, after) == ([end - begin, 0, 6 - end], {"s": 6})


def test_a_shipment_larger_than_the_limit_is_a_batch_alone(engine: Any, zone: Zone, tmp_path: Path):
    zone.ship({"1.json": line(id=1)})
    zone.ship({f"x{n}.json": line(id=n) for n in range(5)})
    region = Region(engine, zone, tmp_path / "state", {**JSON, "maxFilesPerTrigger": "2"})
    backlog = region.loader().discover(None)
    assert [len(backlog.take()) for _ in range(3)] == [1, 5, 0]


def test_files_that_the_manifest_does_not_name_are_not_read(
    engine: Any, zone: Zone, tmp_path: Path
):
    zone.ship({"1.json": line(id=1)})
    zone.store.put("s/2.json", line(id=2))
    region = Region(engine, zone, tmp_path / "state", JSON)
    region.run()
    assert [row["id"] for row in region.rows] == [1]


def test_globs_folders_and_times_choose_among_the_manifests_files(
    engine: Any, zone: Zone, tmp_path: Path
):
    zone.ship({"x/1.json": line(id=1), "y/2.json": line(id=2)})
    zone.ship({"x/3.json": line(id=3), "x/4.txt": b"no"})
    for path, options, ids in [
        ("s/x", {"pathGlobFilter": "*.json"}, [1, 3]),
        ("s/{x,y}/*.json", {}, [1, 2, 3]),
        ("s", {"pathGlobFilter": "*.json", "modifiedAfter": "2026-01-01T00:01:00Z"}, [3]),
        ("", {"pathGlobFilter": "*.json"}, [1, 2, 3]),
    ]:
        state = tmp_path / f"state-{len(ids)}-{len(path)}-{len(options)}"
        region = Region(engine, zone, state, {**JSON, **options}, path)
        region.run()
        assert sorted(row["id"] for row in region.rows) == ids
        region.run()
        assert len(region.rows) == len(ids)


def test_a_zone_that_was_moved_is_not_read_twice(engine: Any, zone: Zone, tmp_path: Path):
    zone.ship({"1.json": line(id=1)})
    region = Region(engine, zone, tmp_path / "state", JSON)
    region.run()
    zone.folder = zone.folder.rename(tmp_path / "moved")
    zone.ship({"2.json": line(id=2)})
    region.run()
    assert [row["id"] for row in region.rows] == [1, 2]


def test_a_manifest_that_is_gone_is_not_an_empty_zone(engine: Any, zone: Zone, tmp_path: Path):
    zone.ship({"1.json": line(id=1)})
    region = Region(engine, zone, tmp_path / "state", JSON)
    region.run()
    (zone.folder / "_proa").rename(tmp_path / "aside")
    with pytest.raises(UnavailableError, match="manifest"):
        region.run()


def test_what_an_older_version_read_by_name_is_not_read_again(
    engine: Any, zone: Zone, tmp_path: Path
):
    zone.ship({"1.json": line(id=1), "2.json": line(id=2)})
    zone.ship({"3.json": line(id=3)})
    region = Region(engine, zone, tmp_path / "state", JSON)
    known = KnownFiles(region.store)
    read = [f for f in region.loader().discover(None).take_all() if not f.path.endswith("2.json")]
    known.record(0, read)
    known.compact()
    region.run()
    assert [row["id"] for row in region.rows] == [2]
    assert region.through == {"s": 3}


def test_the_history_of_a_schema_names_the_shipments_and_the_files(
    engine: Any, zone: Zone, tmp_path: Path
):
    zone.ship({"1.json": line(id=1)})
    zone.ship({"2.json": line(id=2), "3.json": line(id=2, x=1)})
    zone.ship({"4.json": line(y="s")})
    region = Region(engine, zone, tmp_path / "state", JSON)
    region.run()
    assert [(v.shipment, v.decided) for v in region.loader().versions()] == [
        (1, {"id": "1.json"}),
        (2, {"x": "3.json"}),
        (4, {"y": "4.json"}),
    ]


def test_what_only_a_reader_meets_is_a_field_of_its_files_shipment(
    engine: Any, zone: Zone, tmp_path: Path
):
    zone.ship({"1.json": line(id=1)})
    region = Region(engine, zone, tmp_path / "state", JSON)
    region.run()
    zone.ship({"2.json": line(id=2)})
    zone.ship({"day=1/3.json": line(id=3, y=1)})
    loader = region.loader()
    files = loader.discover(None, after=region.through).take()
    met = ReadError(Problem(ProblemKind.NEW_FIELDS, files[0].path, fields=("z",)))

    assert loader.evolve(engine, met, files)

    assert [(v.shipment, v.decided) for v in loader.versions()[1:]] == [
        (2, {"z": "2.json"}),
        (3, {"y": "day=1/3.json"}),
    ]


def test_objects_in_an_array_come_before_the_folders_of_later_shipments(
    engine: Any, zone: Zone, tmp_path: Path
):
    zone.ship({"1.json": b'[{"a": 1}]'})
    zone.ship({"day=1/2.json": b""})
    region = Region(engine, zone, tmp_path / "state", JSON)
    region.run()
    assert [name for name, _ in region.columns] == ["a", "_rescued_data", "day"]


def test_folders_count_before_any_file_has_a_field_however_batches_are_cut(
    engine: Any, zone: Zone, tmp_path: Path
):
    regions = [Region(engine, zone, tmp_path / name, JSON) for name in "ab"]
    for files in ({"1.json": b""}, {"day=1/2.json": b""}, {"3.json": line(a=1)}):
        zone.ship(files)
        regions[0].run()
    regions[1].run()
    for region in regions:
        assert [name for name, _ in region.columns] == ["_rescued_data", "day", "a"]
        assert [v.shipment for v in region.loader().versions()] == [1, 2, 3]
