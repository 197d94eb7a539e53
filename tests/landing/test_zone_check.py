"""A zone is what its manifest says, or the check names each file that is not."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from proa.errors import DataError
from proa.landing import ShipSource, Zone
from proa.landing.delivery import Delivery
from proa.landing.zone_check import check_zone, repair_zone

if TYPE_CHECKING:
    from conftest import World


def test_lost_changed_and_unknown_files_are_named(disk: World):
    for name in "wxyz":
        disk.source.put(f"{name}.json", b'{"id": 1}')
    disk.ship()
    zone = Zone("a", disk.places["a"])
    assert check_zone(zone, "orders", deep=True).is_right
    store = disk.zone("a")
    store.delete("orders/x.json")
    store.put("orders/y.json", b"cut")
    store.put("orders/z.json", b'{"id": 2}')
    store.put("orders/new.json", b"1")
    store.put("orders/_hidden", b"1")

    check = check_zone(zone, "orders")

    assert [file.path for file in check.missing] == ["x.json"]
    assert check.differing == ("y.json",)
    assert check.unknown == ("new.json",)
    assert check_zone(zone, "orders", deep=True).differing == ("y.json", "z.json")


@pytest.mark.parametrize("source_has_it", [True, False], ids=["source", "other zone"])
def test_a_lost_file_is_fetched_again(disk: World, source_has_it: bool):  # noqa: FBT001
    disk.source.put("x.json", b'{"id": 1}')
    disk.ship()
    disk.zone("a").delete("orders/x.json")
    if not source_has_it:
        disk.source.delete("x.json")
    zones = [Zone(name, place) for name, place in disk.places.items()]
    source = ShipSource("orders", disk.source, disk.source)
    delivery = Delivery(source, zones, lambda _zone, _shipment: None, threading.Event())

    check = repair_zone(
        check_zone(zones[0], "orders"), lambda file: delivery.restore(zones[0], file)
    )

    assert (check.is_right, check.repaired) == (True, ("x.json",))
    assert check_zone(zones[0], "orders", deep=True).is_right
    disk.zone("a").delete("orders/x.json")
    if not source_has_it:
        disk.zone("b").delete("orders/x.json")
        with pytest.raises(DataError, match=r"put the original file back"):
            repair_zone(check_zone(zones[0], "orders"), lambda f: delivery.restore(zones[0], f))
    delivery.close()


def test_what_is_left_out_because_of_its_name_is_listed_and_no_fault(disk: World):
    disk.source.put("x.json", b'{"id": 1}')
    disk.ship()
    for name in ("_hidden", ".tmp/y.json"):
        disk.zone("a").put(f"orders/{name}", b"1")
    check = check_zone(Zone("a", disk.places["a"]), "orders")
    assert (check.is_right, check.left_out) == (True, (".tmp/y.json", "_hidden"))


@pytest.mark.slow
def test_shipping_sends_lost_files_again_before_anybody_asks(world: World):
    for name in "xyz":
        world.source.put(f"{name}.json", name.encode())
    world.ship()
    world.zone("a").delete("orders/x.json")
    world.zone("a").delete("orders/z.json")
    world.source.delete("x.json")
    world.source.put("new.json", b"1")

    a, b = world.ship().zones

    assert (a.restored, a.files, b.restored) == (("x.json", "z.json"), 1, ())
    assert world.landed("a") == world.landed("b")


def test_a_running_shipper_looks_back_once_a_minute(disk: World):
    disk.source.put("x.json", b"1")
    shipper = disk.shipper()
    shipper.ship()
    disk.zone("a").delete("orders/x.json")
    assert shipper.ship().zones[0].restored == ()
    disk.clock.advance(60)
    assert shipper.ship().zones[0].restored == ("x.json",)


def test_a_lost_file_that_nobody_has_is_told_and_new_files_arrive_all_the_same(disk: World):
    disk.source.put("x.json", b"1")
    disk.ship()
    for store, path in ((disk.zone("a"), "orders/x.json"), (disk.zone("b"), "orders/x.json")):
        store.delete(path)
    disk.source.delete("x.json")
    disk.source.put("y.json", b"2")
    report = disk.ship()
    assert [zone.error.condition for zone in report.zones if zone.error] == [
        "SHIPPED_FILE_LOST"
    ] * 2
    assert disk.landed("a") == disk.landed("b") == {"y.json": b"2"}
