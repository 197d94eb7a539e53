"""Every file lands in every zone, in one order, exactly once, whoever dies."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proa.errors import DataError, UnavailableError
from proa.landing import shipper as ship_module
from proa.steps import Step, probing
from proa.storage import NotFoundError, Store
from proa.storage.visible import LeftOut
from proa.testing import FaultProbe, Killed, every_fault

if TYPE_CHECKING:
    from conftest import World

TakeAway = Callable[[str], Callable[[], None]]


def arrive(world: World, names: str, prefix: str = "") -> dict[str, bytes]:
    """Put one file for each letter; returns what every zone should hold of them."""
    files = {f"{prefix}{name}.json": f'{{"id": "{name}"}}\n'.encode() for name in names}
    for path, content in files.items():
        world.source.put(path, content)
    return files


def test_files_land_in_every_zone_with_a_manifest(world: World):
    files = arrive(world, "xyz")
    report = world.ship()
    assert report.files == report.head == 3
    assert report.bytes == sum(map(len, files.values()))
    assert [(zone.zone, zone.files, zone.through, zone.error) for zone in report.zones] == [
        ("a", 3, 3, None),
        ("b", 3, 3, None),
    ]
    for zone in "ab":
        assert world.landed(zone) == files
        assert world.order(zone) == world.order()


def test_the_manifest_tells_the_hash_of_each_file(world: World):
    files = arrive(world, "x")
    world.ship()
    from proa.landing import Manifest

    shipment = Manifest(world.zone("b"), "orders").shipment(1)
    assert shipment is not None
    assert shipment.shipped_at == world.clock.now()
    assert [(file.path, file.size, file.sha256) for file in shipment.files] == [
        (path, len(content), hashlib.sha256(content).hexdigest()) for path, content in files.items()
    ]


def test_shipping_again_ships_nothing(world: World):
    arrive(world, "xy")
    shipper = world.shipper()
    shipper.ship()
    again = (shipper.ship(), world.ship())
    assert [(report.files, report.head, len(report.zones)) for report in again] == [(0, 2, 2)] * 2
    assert [zone.files for report in again for zone in report.zones] == [0] * 4


def test_names_with_special_characters_land_unchanged(world: World):
    names = ["a b.json", "100%.json", "ü#1.json", "day=2026-01-01/part 0.json", "%41?.json"]
    for name in names:
        world.source.put(name, name.encode())
    world.ship()
    assert world.landed("a") == {name: name.encode() for name in names} == world.landed("b")


def test_an_empty_file_lands(world: World):
    world.source.put("empty.json", b"")
    world.ship()
    assert world.landed("a") == {"empty.json": b""} == world.landed("b")


def test_hidden_and_temporary_names_are_not_shipped(disk: World):
    for name in (
        "_x.json",
        ".x.json",
        "_d/x.json",
        "d/.e/x.json",
        "x.json.tmp",
        "x._COPYING_",
        "x~",
    ):
        disk.source.put(name, b"1")
    report = disk.ship()
    assert report.head == 0
    assert report.left_out == {LeftOut.HIDDEN: 5, LeftOut.UNFINISHED: 2}
    assert disk.landed("a") == {}


def test_a_folder_named_as_a_partition_is_shipped_as_spark_reads_it(disk: World):
    disk.source.put("_day=2026-01-01/a.json", b"1")
    report = disk.ship()
    assert (report.head, sum(report.left_out.values())) == (1, 0)
    assert list(disk.landed("a")) == ["_day=2026-01-01/a.json"]
    assert disk.ship().left_out == {LeftOut.HIDDEN: 0}, "Proa's own journal is not counted"


def test_files_are_ordered_by_age(disk: World):
    arrive(disk, "zyx")
    for age, name in enumerate("xzy"):
        os.utime(Path(disk.source.url) / f"{name}.json", (1000 - age, 1000 - age))
    disk.ship()
    assert disk.order("a") == ["y.json", "z.json", "x.json"]


def test_a_zone_that_is_down_delays_nobody_and_is_filled_in_order_later(
    disk: World, take_away: TakeAway
):
    files = arrive(disk, "1")
    disk.ship()
    back = take_away("b")
    for name in "234":
        files |= arrive(disk, name)
        report = disk.ship()
    assert [(zone.zone, zone.through) for zone in report.zones] == [("a", 4), ("b", None)]
    assert isinstance(report.zones[1].error, UnavailableError)
    assert disk.landed("a") == files
    back()
    assert [zone.files for zone in disk.ship().zones] == [0, 3]
    assert disk.landed("b") == files
    assert disk.order("b") == disk.order("a")


def test_zones_that_are_down_in_turn_still_agree_on_the_order(disk: World, take_away: TakeAway):
    for down, name in zip("abab", "1234", strict=True):
        arrive(disk, name)
        back = take_away(down)
        disk.ship()
        back()
    disk.ship()
    assert disk.order("a") == disk.order("b") == disk.order()
    assert disk.landed("a") == disk.landed("b")


def test_with_all_zones_down_nothing_is_lost(disk: World, take_away: TakeAway):
    files = arrive(disk, "12")
    back = [take_away(name) for name in "ab"]
    report = disk.ship()
    assert [zone.through for zone in report.zones] == [None, None]
    for bring in back:
        bring()
    disk.ship()
    assert disk.landed("a") == files == disk.landed("b")


def test_a_file_that_the_source_lost_comes_from_another_zone(disk: World, take_away: TakeAway):
    files = arrive(disk, "1")
    back = take_away("b")
    disk.ship()
    disk.source.delete("1.json")
    back()
    assert [zone.error for zone in disk.ship().zones] == [None, None]
    assert disk.landed("b") == files


def test_a_file_that_nobody_has_stops_its_zone_and_is_named(disk: World, take_away: TakeAway):
    arrive(disk, "1")
    back = take_away("b")
    disk.ship()
    disk.source.delete("1.json")
    disk.zone("a").delete("orders/1.json")
    back()
    error = disk.ship().zones[1].error
    assert isinstance(error, DataError)
    assert "'1.json'" in str(error)
    assert "put the original file back" in str(error)


def test_other_bytes_under_an_old_name_are_refused_with_both_hashes(world: World):
    files = arrive(world, "x")
    shipper = world.shipper()
    shipper.ship()
    world.source.put("x.json", b"other bytes")
    for report in (shipper.ship(), shipper.ship(), world.ship()):
        (refusal,) = report.refused
        assert refusal.path == "x.json"
        assert hashlib.sha256(files["x.json"]).hexdigest() in refusal.reason
        assert hashlib.sha256(b"other bytes").hexdigest() in refusal.reason
    assert world.landed("a") == files
    world.source.put("x.json", files["x.json"])
    assert shipper.ship().refused == ()


def test_the_same_bytes_again_are_fine(world: World):
    arrive(world, "x")
    shipper = world.shipper()
    shipper.ship()
    arrive(world, "x")
    report = shipper.ship()
    assert (report.files, report.refused) == (0, ())


def test_other_bytes_in_a_zone_are_reported_with_both_hashes(world: World):
    files = arrive(world, "x")
    world.zone("b").put("orders/x.json", b"stranger")
    report = world.ship()
    assert report.zones[0].error is None
    assert isinstance(report.zones[1].error, DataError)
    for content in (b"stranger", files["x.json"]):
        assert hashlib.sha256(content).hexdigest() in str(report.zones[1].error)
    assert world.order("b") == []


def test_the_same_bytes_in_a_zone_are_adopted(world: World):
    files = arrive(world, "x")
    world.zone("b").put("orders/x.json", files["x.json"])
    assert [zone.error for zone in world.ship().zones] == [None, None]
    assert world.order("b") == ["x.json"]


def test_a_file_waits_until_it_has_settled(disk: World):
    disk.settle = 10
    arrive(disk, "x")
    written = disk.source.head("x.json").modified
    disk.clock.advance((written - disk.clock.now()).total_seconds() + 5)
    report = disk.ship()
    assert (report.head, report.waiting) == (0, ("x.json",))
    disk.clock.advance(6)
    assert disk.ship().head == 1


class Growing(Store):
    """A store whose file grows while it is read, `times` times."""

    times = 1

    def get(self, path: str) -> bytes:
        content = super().get(path)
        if path == "x.json" and self.times:
            self.times -= 1
            self.put(path, content + b"more")
        return content


def test_a_file_that_grows_while_it_is_read_waits(world: World):
    world.source = Growing.open(world.source.url, world.options)
    arrive(world, "xy")
    shipper = world.shipper()
    report = shipper.ship()
    assert (report.waiting, report.head) == (("x.json",), 1)
    report = shipper.ship()
    assert (report.waiting, report.head) == ((), 2)
    assert world.landed("a")["x.json"].endswith(b"more")


class Vanishing(Store):
    """A store whose file is listed and then gone."""

    def get(self, path: str) -> bytes:
        if path == "x.json":
            raise NotFoundError(f"there is no object {path!r}")
        return super().get(path)


def test_a_file_that_vanishes_does_not_stop_the_others(disk: World):
    disk.source = Vanishing.open(disk.source.url)
    arrive(disk, "xy")
    assert disk.ship().head == 1
    assert list(disk.landed("a")) == ["y.json"]


@pytest.fixture
def small_memory():
    before, ship_module.IN_MEMORY = ship_module.IN_MEMORY, 4
    yield
    ship_module.IN_MEMORY = before


def test_a_file_too_large_for_memory_is_streamed(world: World, small_memory: None):
    files = arrive(world, "xy")
    world.ship()
    assert world.landed("a") == files == world.landed("b")


@pytest.mark.parametrize(
    "fault",
    [
        fault
        for at in (1, 2)
        for fault in every_fault([step for step in Step if step.startswith("ship.put")], at=at)
    ],
    ids=str,
)
def test_whatever_step_fails_the_next_run_finishes_it(disk: World, fault):
    files = arrive(disk, "12")
    disk.ship()
    files |= arrive(disk, "34")
    shipper = disk.shipper()
    probe = FaultProbe(fault)
    with probing(probe):
        try:
            for name in "56":
                shipper.ship()
                files |= arrive(disk, name)
        except (Killed, UnavailableError):
            pass
    files |= arrive(disk, "56")
    assert probe.struck == [fault]
    disk.ship()
    assert disk.landed("a") == files == disk.landed("b")
    assert sorted(disk.order()) == sorted(files)
    assert disk.order("a") == disk.order() == disk.order("b")


@pytest.mark.parametrize("step", [step for step in Step if step.startswith("ship.put")])
def test_a_living_shipper_goes_on_after_a_lost_answer(disk: World, step: Step):
    from proa.testing import LoseAnswer

    files = arrive(disk, "12")
    shipper = disk.shipper()
    with probing(FaultProbe(LoseAnswer(step))):
        try:
            shipper.ship()
        except UnavailableError:
            shipper.ship()
    shipper.ship()
    assert disk.landed("a") == files == disk.landed("b")
    assert disk.order("a") == disk.order() == disk.order("b")
    assert sorted(disk.order()) == sorted(files)


@pytest.mark.slow
def test_two_shippers_at_once_do_not_fork_the_order(world: World):
    files: dict[str, bytes] = {}
    for round_ in range(3):
        files |= arrive(world, "abcdefgh", prefix=f"{round_}/")
        shippers = [world.shipper() for _ in range(3)]
        ready = threading.Barrier(3)

        def run(shipper, ready=ready):
            ready.wait()
            shipper.ship()

        threads = [threading.Thread(target=run, args=(shipper,)) for shipper in shippers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    world.ship()
    assert sorted(world.order()) == sorted(files)
    assert world.order("a") == world.order() == world.order("b")
    assert world.landed("a") == files == world.landed("b")


def test_a_lost_journal_is_restored_from_the_furthest_zone(disk: World, take_away: TakeAway):
    arrive(disk, "1")
    disk.ship()
    back = take_away("a")
    arrive(disk, "2")
    disk.ship()
    back()
    before = disk.order("b")
    for info in list(disk.source.walk("_proa")):
        disk.source.delete(info.path)
    arrive(disk, "3")
    disk.ship()
    assert disk.order() == disk.order("a") == disk.order("b") == [*before, "3.json"]


def test_a_zone_that_was_emptied_is_filled_again(disk: World):
    files = arrive(disk, "12")
    shipper = disk.shipper()
    shipper.ship()
    for info in list(disk.zone("b").walk()):
        disk.zone("b").delete(info.path)
    files |= arrive(disk, "3")
    shipper.ship()
    assert disk.landed("b") == files
    assert disk.order("b") == disk.order()


def test_a_zone_with_another_order_is_told_apart(disk: World):
    arrive(disk, "1")
    disk.ship()
    manifest = "_proa/manifest/orders/00000000000000000001.json"
    content = disk.zone("b").get(manifest)
    disk.zone("b").put(manifest, content.replace(b'"1.json"', b'"7.json"'))
    report = disk.ship()
    assert report.zones[0].error is None
    assert "differ at file 1" in str(report.zones[1].error)


def test_zones_in_the_background_are_named_until_they_are_done(disk: World):
    files = arrive(disk, "123")
    shipper = disk.shipper()
    report = shipper.ship(patience=0)
    while report.busy:
        report = shipper.ship(patience=0)
    shipper.ship()
    assert disk.landed("a") == files == disk.landed("b")


def test_a_shipper_that_is_told_to_stop_starts_nothing_new(disk: World):
    stop = threading.Event()
    stop.set()
    arrive(disk, "1")
    assert disk.shipper(stop).ship().head == 0
    assert disk.ship().head == 1
