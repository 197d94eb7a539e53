"""Tables depend on the order of shipments and on nothing else: not on batches, not on the region."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from shipped_zone import Region, Zone, content

from proa.autoloader import KnownFiles
from proa.errors import UnavailableError
from proa.storage import Store

MODES = ["addNewColumns", "rescue", "none", "failOnNewColumns", "addNewColumnsWithTypeWidening"]
NAMES = ["a", "A", "b", "id", "n.x", " c", "é", "_rescued_data"]
SIMPLE = st.integers(-3, 3) | st.sampled_from([2**40, 1.5, "x", "7", None, 2**70])
NESTED = st.recursive(
    SIMPLE,
    lambda inner: (
        st.dictionaries(st.sampled_from(["x", "y"]), inner, max_size=2)
        | st.lists(inner, max_size=2)
    ),
    max_leaves=3,
)
FOLDERS = ["", "", "day=1/", "day=2/", "hour=3/", "day=1/hour=2/"]


@st.composite
def shipments(draw: st.DrawFn, kind: str) -> list[dict[str, bytes]]:
    """Files of several shipments, with new columns, case twins, dirt and folders."""
    values: Any = NESTED if kind == "json" else SIMPLE
    numbers = itertools.count()
    made = []
    for _ in range(draw(st.integers(1, 5))):
        files = {}
        for _ in range(draw(st.integers(1, 2))):
            name = f"{draw(st.sampled_from(FOLDERS))}{next(numbers)}.{kind}"
            if kind == "parquet":
                fields = st.dictionaries(st.sampled_from(NAMES), values, max_size=3)
                rows = [{k: v for k, v in draw(fields).items() if v != 2**70}]
            else:
                rows = draw(
                    st.lists(
                        st.dictionaries(st.sampled_from(NAMES), values, max_size=3), max_size=3
                    )
                )
            files[name] = content(kind, rows)
        made.append(files)
    return made


@pytest.mark.parametrize("kind", ["json", "csv", "parquet"])
@settings(
    max_examples=5,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_cutting_into_batches_gives_the_same_table(engine: Any, kind: str, data: st.DataObject):
    options = {
        "cloudFiles.format": kind,
        "cloudFiles.schemaEvolutionMode": data.draw(st.sampled_from(MODES)),
        "cloudFiles.inferColumnTypes": data.draw(st.sampled_from(["true", "false"])),
    }
    made = data.draw(shipments(kind))
    with tempfile.TemporaryDirectory() as folder:
        zone = Zone(Path(folder, "zone"))
        one_by_one = Region(engine, zone, Path(folder, "a"), options)
        cut = Region(engine, zone, Path(folder, "b"), options)
        at_once = Region(engine, zone, Path(folder, "c"), options)
        for files in made:
            zone.ship(files)
            one_by_one.run()
            if data.draw(st.booleans()):
                cut.run(data.draw(st.integers(1, 4)))
        cut.run()
        at_once.run()

        assert cut.table() == one_by_one.table()
        assert at_once.table() == one_by_one.table()


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
    known = KnownFiles(Store.open(str(tmp_path / "state")))
    region = Region(engine, zone, tmp_path / "state", JSON)
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
