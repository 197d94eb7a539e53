"""Tables depend on the order of shipments and on nothing else: not on batches, not on the region."""

from __future__ import annotations

import io
import os
import tempfile
from datetime import UTC
from decimal import Decimal
from pathlib import Path
from random import Random  # noqa: TID251 - seeded
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from generated_files import FORMATS, MODES, leaf_options, shipments
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from shipped_zone import InProcessEngine, Region, Zone, content

from proa.autoloader import AutoLoader, KnownFiles
from proa.autoloader.schema import FileSchema
from proa.autoloader.schema_fold import SchemaFold, shipments_of
from proa.errors import PipelineError, UnavailableError
from proa.formats.json_schema import JsonInference
from proa.formats.problems import Problem, ProblemKind, ReadError
from proa.formats.source import OpenPart, Part
from proa.landing import Manifest


@pytest.mark.slow
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
            if region.stopped.startswith("PipelineError"):
                continue  # a mistake stops each where it meets it
            assert region.table() == one_by_one.table()
            assert region.history() == one_by_one.history()


JSON = {"cloudFiles.format": "json", "cloudFiles.inferColumnTypes": "true"}


@pytest.mark.parametrize(("seed", "typed"), [(1, "false"), (2, "true"), (3, "true"), (9, "true")])
def test_many_small_files_that_are_looked_at_in_one_go_decide_as_each_alone(
    tmp_path: Path, seed: int, typed: str
):
    """Fields come seldom, of every shape and case, and with several files of one shipment."""
    random = Random(seed)
    zone, engine = Zone(tmp_path / "zone"), InProcessEngine(backwards=bool(seed % 2))
    structs = [b"null", b"{}", b'{"x": 1}', b'{"X": null}', b'{"y": {"z": 2}}']
    numbers = [b"null", b"1", b"1.5", b"123456789012345678901234567890"]
    lists = [b"null", b"[]", b"[null]", b'[{"x": 1}]', b'[{"x": {"y": 1}}]']
    for number in range(120):
        brings = number % 20 == 7
        files = {}
        for part in range(4 if brings else random.choice((1, 2))):
            lines = [b'{"id": %d}' % number]
            if brings or random.random() < 0.1:
                age = (number + 13) // 20
                name = b"A%d" % age if random.random() < 0.1 else b"a%d" % age
                value = random.choice((structs, numbers, lists)[age % 3])
                lines.append(b'{"%s": %s}' % (name, value))
            if random.random() < 0.01:
                lines.append(random.choice((b"not JSON", b"", b"\xff", b"[1]")))
            files[f"{number:03}-{part}.json"] = b"\n".join(lines) + random.choice((b"", b"\n"))
        zone.ship(files)
    hint = {"cloudFiles.schemaHints": "a3.x double"} if seed % 3 == 0 else {}
    options = {**JSON, **hint, "cloudFiles.inferColumnTypes": typed}
    for name, most in (("a", 1), ("b", 40), ("c", 1000)):
        region = Region(engine, zone, tmp_path / name, {**options, "maxFilesPerTrigger": str(most)})
        region.run()
        assert not region.stopped
        loader = region.loader()
        found = [(version.shipment, version.schema) for version in loader.versions()]
        assert found == folded_one_by_one(loader)


def folded_one_by_one(loader: AutoLoader) -> list[tuple[int, FileSchema]]:
    """The plain definition of a schema: each file is looked at alone, and shipments are folded."""
    fold = SchemaFold(loader.options, loader.base)
    inference = JsonInference(
        loader.options.reader,
        types=loader.options.infer_types,
        pinned=frozenset(),
        hinted=fold.hinted,
    )
    versions: list[tuple[int, FileSchema]] = []
    for shipment, files in shipments_of(loader.discover(None).take_all()):
        sources = [
            OpenPart(Part(file.path, file.size, file.modified), loader.options.reader, {})
            for file in files
        ]
        inferred = {source.part.path: inference.infer(source) for source in sources}
        old = versions[-1][1] if versions else None
        new = fold.extend(old, files, inferred) if old else fold.first(files, inferred)
        if new != old:
            versions.append((shipment, new))
    return versions


@pytest.mark.parametrize("first", [b"", b'{"b": 1}'], ids=["no field", "another field"])
def test_a_hints_spelling_names_the_column_whichever_file_comes_first(
    engine: Any, tmp_path: Path, first: bytes
):
    zone = Zone(tmp_path / "zone")
    options = {**JSON, "cloudFiles.schemaHints": "s.x double"}
    one_by_one, at_once = (Region(engine, zone, tmp_path / name, options) for name in "ab")
    for number, data in enumerate([first, b'{"S": {"y": 1}}', b'{"s": {"y": 1, "x": 2}}']):
        zone.ship({f"{number}.json": data})
        one_by_one.run()
    at_once.run()
    assert at_once.table() == one_by_one.table()
    assert {"s"} == {name for name, _ in at_once.table()[0] if name.lower() == "s"}


@pytest.fixture
def zone(tmp_path: Path) -> Zone:
    return Zone(tmp_path / "zone")


def line(**fields: Any) -> bytes:
    return content("json", [fields])


@pytest.mark.parametrize("hint", ["s.a double", "s struct<a double>", "s.a.q double"])
def test_a_hinted_field_takes_in_those_that_differ_in_case_only(
    engine: Any, tmp_path: Path, hint: str
):
    zone = Zone(tmp_path / "zone")
    options = {**JSON, "cloudFiles.schemaHints": hint}
    one_by_one, at_once = (Region(engine, zone, tmp_path / name, options) for name in "cd")
    values = [b'{"A": {"z": 1}}', b'{"a": {"w": 1}, "A": 2}', b'{"a": 1}', b'{"A": 1, "b": 2}']
    for number, value in enumerate(values):
        zone.ship({f"{number}.json": b'{"s": %s}' % value})
        one_by_one.run()
    at_once.run()
    assert at_once.table() == one_by_one.table()


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


PLACE = {"proa.metadata": "shipment,file_index,row_index,shipped_at"}
THREE = {
    "json": b'{"a": 1}\n\nnot json\n{"a": "x", "b": 2}\n',
    "csv": b'a,b\n1,2\n"3",4\nx,y,z\n',
    "parquet": content("parquet", [{"a": 1}, {"a": 2}, {"a": 3}]),
    "text": b"one\n\nthree",
    "binaryfile": b"whole",
}


@pytest.mark.parametrize("kind", THREE)
def test_rows_know_their_shipment_their_file_and_their_place_in_it(
    engine: Any, zone: Zone, tmp_path: Path, kind: str
):
    zone.ship({"1.x": THREE[kind]})
    zone.ship({"b/2.x": THREE[kind], "a/2.x": THREE[kind]})
    region = Region(engine, zone, tmp_path / "state", {"cloudFiles.format": kind, **PLACE})
    region.run()

    places = [row["_metadata"] for row in region.rows]
    ordered = sorted((p["shipment"], p["file_index"], p["row_index"]) for p in places)
    rows = range(1 if kind == "binaryfile" else 3)
    assert ordered == [(s, f, r) for s, f in [(1, 0), (2, 0), (2, 1)] for r in rows]
    shipped = Manifest(zone.store, "s").table().to_pylist()
    times = {(row["shipment"], row["seq"] - row["shipment"]): row["shipped_at"] for row in shipped}
    assert all(
        p["shipped_at"].replace(tzinfo=UTC) == times[p["shipment"], p["file_index"]] for p in places
    )
    names = {(p["shipment"], p["file_index"]): p["file_path"] for p in places}
    assert names[2, 1].endswith("/s/a/2.x")


def test_places_are_told_of_a_batch_that_another_process_planned(
    engine: Any, zone: Zone, tmp_path: Path
):
    for number in range(40):
        zone.ship({f"{number}.json": line(id=number)})
    first, second = (Region(engine, zone, tmp_path / "state", {**JSON, **PLACE}) for _ in "ab")
    first.run(most=20)
    first.through = {"s": 20}
    first.run(most=7, crash_at=1)
    second.planned = first.planned
    second.run(crash_at=1)
    assert [row["_metadata"]["shipment"] for row in second.rows] == [
        row["id"] + 1 for row in second.rows
    ]


def test_a_large_file_is_read_whole_when_its_rows_are_to_be_counted(
    engine: Any, zone: Zone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    zone.ship({"1.json": b"".join(line(id=number) for number in range(50))})
    monkeypatch.setattr("proa.autoloader.tasks._RANGE", 100)
    for asked in ("row_index", "true"):
        options = {**JSON, "proa.metadata": asked}
        region = Region(engine, zone, tmp_path / f"state-{asked}", options)
        region.run()
        about = [row["_metadata"] for row in region.rows]
        assert {(m["file_block_start"], m["file_block_length"]) for m in about} == {
            (0, about[0]["file_size"])
        }
        if asked == "row_index":
            assert [m["row_index"] for m in about] == [row["id"] for row in region.rows]


@pytest.mark.parametrize("field", ["shipment", "file_index", "shipped_at"])
def test_a_place_is_refused_where_no_manifest_gives_it(
    engine: Any, zone: Zone, tmp_path: Path, field: str
):
    zone.store.put("s/1.json", line(id=1))
    region = Region(engine, zone, tmp_path / "state", {**JSON, "proa.metadata": field})
    region.run()
    assert region.stopped == "PipelineError FILES_WITHOUT_ORDER"
    with pytest.raises(PipelineError, match=rf"_metadata\.{field}, because no manifest.*adopt"):
        region.loader().schema(engine, ())


@pytest.mark.parametrize("asked", ["row_index", "*"])
def test_a_row_has_its_index_without_a_manifest_too(source: Any, asked: str):
    source.write("1.json", line(id=1) + line(id=2))
    rows = source.read({**JSON, "proa.metadata": asked})
    assert [row["_metadata"]["row_index"] for row in rows] == [0, 1]
    assert "shipment" not in rows[0]["_metadata"]


def test_files_of_several_sources_have_no_common_order(engine: Any, zone: Zone, tmp_path: Path):
    zone.ship({"1.json": line(id=1)})
    Manifest(zone.store, "t").append(
        zone.ship({"2.json": line(id=2)}).model_copy(update={"first": 1})
    )
    zone.store.put("t/2.json", line(id=2))
    region = Region(engine, zone, tmp_path / "state", {**JSON, **PLACE}, path="")
    region.run()
    assert region.stopped == "PipelineError FILES_WITHOUT_ORDER"
    whole = Region(engine, zone, tmp_path / "whole", {**JSON, "proa.metadata": "*"}, path="")
    whole.run()
    assert {
        m.keys() >= {"row_index", "shipped_at"} for m in (r["_metadata"] for r in whole.rows)
    } == {True}


def test_a_folder_without_files_may_get_a_manifest_with_its_first_one(
    engine: Any, zone: Zone, tmp_path: Path
):
    (zone.folder / "s").mkdir(parents=True)
    region = Region(engine, zone, tmp_path / "state", {**JSON, **PLACE}, schema="id int")
    region.options = {**region.options, "cloudFiles.schemaEvolutionMode": "none"}
    names = region.loader().schema(engine, ())["_metadata"].dataType.names
    assert names[-4:] == ["shipment", "file_index", "row_index", "shipped_at"]


NUMBERS = [pa.int8(), pa.int32(), pa.float32(), pa.float64(), pa.decimal128(5, 2)]


@pytest.mark.parametrize("second", NUMBERS, ids=str)
@pytest.mark.parametrize("third", NUMBERS, ids=str)
def test_columns_widen_in_the_order_of_files(
    zone: Zone, tmp_path: Path, second: pa.DataType, third: pa.DataType
):
    def file(kind: pa.DataType) -> bytes:
        sink = io.BytesIO()
        one = Decimal(1) if pa.types.is_decimal(kind) else 1
        values = pa.array([one], kind)
        nested = pa.StructArray.from_arrays([values], names=["x"])
        pq.write_table(pa.table({"a": values, "s": nested}), sink)
        return sink.getvalue()

    zone.ship({"1.parquet": file(pa.int16())})
    zone.ship({"2.parquet": file(second), "3.parquet": file(third)})
    options = {
        "cloudFiles.format": "parquet",
        "cloudFiles.schemaEvolutionMode": "addNewColumnsWithTypeWidening",
    }
    columns = []
    for backwards in (True, False):
        region = Region(InProcessEngine(backwards), zone, tmp_path / f"{backwards}", options)
        region.run()
        assert not region.stopped
        columns.append(region.columns)
    assert columns[0] == columns[1]


@pytest.mark.parametrize("x", [None, False, 7, "t"])
def test_names_inside_a_struct_may_differ_in_case_only(zone: Zone, tmp_path: Path, x: Any):
    regions = [Region(InProcessEngine(), zone, tmp_path / name, JSON) for name in "ab"]
    for files in (
        {"1.json": line(a={"x": x, "X": True})},
        {"2.json": line(a={"x": x, "X": True}, b=1)},
    ):
        zone.ship(files)
        regions[0].run()
    regions[1].run()
    assert regions[0].table() == regions[1].table()
    assert regions[0].history() == regions[1].history()


@pytest.mark.parametrize("mode", MODES)
def test_folders_of_files_without_fields_are_columns_in_each_mode(
    zone: Zone, tmp_path: Path, mode: str
):
    options = {**JSON, "cloudFiles.schemaEvolutionMode": mode}
    regions = [Region(InProcessEngine(), zone, tmp_path / name, options) for name in "ab"]
    for files in ({"1.json": b""}, {"day=1/2.json": b"[{]"}, {"day=1/3.json": line(a=1)}):
        zone.ship(files)
        regions[0].run()
    regions[1].run()
    assert regions[0].table() == regions[1].table()
    assert regions[0].history() == regions[1].history()


def test_no_file_decides_about_a_column_that_a_hint_makes(zone: Zone, tmp_path: Path):
    options = {**JSON, "cloudFiles.schemaHints": "a int, s struct<x:int>"}
    regions = [Region(InProcessEngine(), zone, tmp_path / name, options) for name in "ab"]
    for files in (
        {"1.json": line(id=1)},
        {"2.json": line(a=1)},
        {"day=1/3.json": line(a=2, s={"x": 1})},
        {"4.json": line(b=1, s={"y": 1})},
    ):
        zone.ship(files)
        regions[0].run()
    regions[1].run()
    assert regions[0].table() == regions[1].table()
    assert regions[0].history() == regions[1].history()


def test_failfast_stops_at_the_same_shipment_with_everything_before_it(zone: Zone, tmp_path: Path):
    options = {**JSON, "mode": "FAILFAST"}
    regions = [Region(InProcessEngine(), zone, tmp_path / name, options) for name in "ab"]
    for files in (
        {"1.json": line(id=1)},
        {"2.json": line(id=2)},
        {"3.json": b"{"},
        {"4.json": line(id=4)},
    ):
        zone.ship(files)
        regions[0].run()
    regions[1].run()
    for region in regions:
        assert [row["id"] for row in region.rows] == [1, 2]
        assert region.stopped


@pytest.mark.parametrize("order", ["zw", "wz"])
def test_what_readers_meet_in_any_order_is_in_the_order_of_shipments(
    engine: Any, zone: Zone, tmp_path: Path, order: str
):
    region = Region(engine, zone, tmp_path / "state", JSON)
    zone.ship({"1.json": line(id=1)})
    region.run()
    for number, name in enumerate("zyw", 2):
        zone.ship({f"{number}.json": line(id=number, **({"y": 1} if name == "y" else {}))})
    loader = region.loader()
    files = loader.discover(None, after=region.through).take()
    for name in order:
        path = files["zyw".index(name)].path
        met = ReadError(Problem(ProblemKind.NEW_FIELDS, path, fields=(name,)))
        loader.evolve(engine, met, files)
    assert loader.schema(engine, files).names == ["id", "_rescued_data", "z", "y", "w"]


@pytest.mark.parametrize("kind", ["json", "parquet"])
@pytest.mark.parametrize("twin", [{"a": {"x": 1}}, {"A": {"Y": {"z": 1}}}, {"A": [{"Y": 1}]}])
def test_a_name_in_another_case_adds_no_field_to_a_known_one(
    zone: Zone, tmp_path: Path, kind: str, twin: dict[str, Any]
):
    options = {"cloudFiles.format": kind, "cloudFiles.inferColumnTypes": "true"}
    regions = [Region(InProcessEngine(), zone, tmp_path / name, options) for name in "ab"]
    known = {"A": [{"y": 1}]} if isinstance(twin.get("A"), list) else {"A": {"y": {"w": 1}}}
    for number, row in enumerate([{"id": 1}, {"id": 2, **known}, {"id": 3, **twin}]):
        zone.ship({f"{number}.x": content(kind, [row])})
        regions[0].run()
    regions[1].run()
    assert regions[0].columns == regions[1].columns
    assert regions[0].table() == regions[1].table()


NO_STRUCT = [False, 1, "x", [1], None, [{"z": 1}], {"q": {"y": None}}]


@pytest.mark.parametrize("kind", ["json", "parquet"])
@pytest.mark.parametrize("first", NO_STRUCT, ids=str)
@pytest.mark.parametrize(
    ("hint", "later"),
    [
        ("s struct<x:int>", [{"y": 1}, {"x": 1, "w": {"v": 2}}]),
        ("s.x double", [{"y": 1}, {"x": 1, "w": 2}]),
        ("s.x.q double", [{"x": 3}, {"x": {"p": 1}}, {"x": {"q": 4}, "a": 1}]),
        ("s array<struct<x:int>>", [[{"y": 1}], [{"x": 1, "w": 2}]]),
        ("s.element.x double", [[{"y": 1}], [{"x": 1, "w": 2}]]),
        ("s struct<x:array<struct<a:int>>>", [{"x": 1}, {"x": [{"b": 1}]}]),
    ],
)
def test_values_without_fields_decide_nothing_about_a_column_that_a_hint_makes_of_structs(
    tmp_path: Path, kind: str, first: Any, hint: str, later: list[Any]
):
    zone = Zone(tmp_path / "zone")
    options = {
        "cloudFiles.format": kind,
        "cloudFiles.inferColumnTypes": "true",
        "cloudFiles.schemaHints": hint,
    }
    regions = [Region(InProcessEngine(), zone, tmp_path / name, options) for name in "ab"]
    values = [first, later[0], first, *later]
    for number, value in enumerate(values):
        zone.ship({f"{number}.x": content(kind, [{"id": number, "s": value}])})
        regions[0].run()
    regions[1].run()
    for region in regions:
        assert not region.stopped
        assert sorted(row["id"] for row in region.rows) == list(range(len(values)))
    assert regions[0].columns == regions[1].columns
    assert regions[0].table() == regions[1].table()
    assert regions[0].history() == regions[1].history()


@pytest.mark.parametrize("kind", ["json", "parquet"])
@pytest.mark.parametrize("second", ["in one file", "in two files"])
@pytest.mark.parametrize(
    "rows",
    [
        [{"b": {"x": 1}}, {"B": None}, {"b": {"y": 1}}, {"b": {"z": 1}}],
        [{"s": {"b": {"x": 1}}}, {"s": {"B": 1}}, {"s": {"b": {"y": 1}}}, {"s": {"b": {"z": 1}}}],
    ],
)
def test_a_twin_of_a_known_name_hides_no_new_field_inside_of_it(
    tmp_path: Path, kind: str, second: str, rows: list[dict[str, Any]]
):
    zone = Zone(tmp_path / "zone")
    options = {"cloudFiles.format": kind, "cloudFiles.inferColumnTypes": "true"}
    regions = [Region(InProcessEngine(), zone, tmp_path / name, options) for name in "cd"]
    one = second == "in one file" and kind == "json"
    middle = [rows[1:3]] if one else [[row] for row in rows[1:3]]
    for number, files in enumerate([[rows[:1]], middle, [rows[3:]]]):
        zone.ship({f"{number}{i}.x": content(kind, some) for i, some in enumerate(files)})
        regions[0].run()
    regions[1].run()
    assert regions[0].columns == regions[1].columns
    assert regions[0].table() == regions[1].table()
    assert regions[0].history() == regions[1].history()
