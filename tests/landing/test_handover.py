"""The order goes on as fast as the fastest zone and holds little in memory."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from proa.landing import Shipment, ShippedFile
from proa.landing.handover import Handover, Parcel

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def parcel(number: int, size: int = 10) -> Parcel:
    file = ShippedFile(path=f"{number}", size=size, sha256="0" * 64, modified=NOON)
    return Parcel(
        Shipment(first=number, shipped_at=NOON, files=(file,)), {f"{number}": bytes(size)}
    )


def test_a_parcel_goes_to_every_zone_and_is_dropped_when_all_have_it():
    handover = Handover({"a", "b"}, 0, 100)
    assert handover.offer(parcel(1)) is True
    assert handover.next("a", 0) == handover.next("b", 0) == parcel(1)
    handover.offer(parcel(2))
    assert handover.next("a", 1) == parcel(2)
    assert handover.next("b", 1) == parcel(2)
    assert handover.next("b", 0) == 1


def test_a_slow_zone_looks_up_what_is_no_longer_held():
    handover = Handover({"fast", "slow"}, 0, 15)
    handover.offer(parcel(1))
    waiting = threading.Thread(target=handover.offer, args=(parcel(2),))
    waiting.start()
    assert handover.next("fast", 0) in (parcel(1), 1)
    assert handover.next("fast", 1) == parcel(2)
    closing = threading.Timer(0, handover.close)
    closing.start()
    assert handover.next("fast", 2) is None
    waiting.join()
    assert handover.next("slow", 0) == 1
    assert handover.next("slow", 1) == parcel(2)


def test_nobody_waits_for_zones_that_left():
    handover = Handover({"a"}, 0, 5)
    handover.leave("a")
    assert handover.offer(parcel(1)) is False
    assert Handover(set(), 0, 5, others=True).offer(parcel(1)) is True


def test_a_zone_that_has_everything_ends_when_the_order_is_closed():
    handover = Handover({"a"}, 7, 5)
    handover.close()
    assert handover.next("a", 7) is None
    assert handover.next("a", 5) == 6


def test_what_another_shipper_ordered_is_looked_up():
    handover = Handover({"a"}, 0, 5)
    handover.advance(3)
    assert handover.next("a", 0) == 1
